//! Scraping: manager -> pool (one per job) -> loop (one per target).
//!
//! A loop fetches its target's body into a reused buffer at its own jittered offset, parses it, applies the job's label
//! rules and appends the samples; one slow target never delays another. The law is Prometheus's: which series exist,
//! under which labels, when they go stale, and what the `up` and `scrape_*` series say is the same to the bit.
//! Scraping does not store (see `storage`) and does not discover (see `discovery`).

mod cache;
mod config;
mod door;
mod failure_log;
mod families;
mod fetch;
mod ingest;
mod job;
mod manager;
mod metrics;
mod negotiate;
mod pool;
mod report;
mod rules;
mod sample_rules;
mod status;
mod target;
mod target_loop;
#[cfg(test)]
mod tests;

pub use config::{EscapingScheme, JobConfig, NameValidation, Scheme, ScrapeProtocol, StartTimestamps};
#[doc(hidden)]
pub use door::{Taken, take_bodies};
pub use fetch::{FetchError, FetchInfo, FetchRequest, Fetcher, Fetchers, Fetching};
pub use manager::{ApplyError, Deps, Manager, offset_seed};
pub use status::{DroppedTarget, TargetHealth, TargetMetadata, TargetSource, TargetStatus};
