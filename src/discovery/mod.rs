//! Service discovery: where targets come from.
//!
//! [`spawn`] starts the providers of one job and gives a channel that always holds the job's complete, current groups.
//! A provider publishes everything it knows whenever that has changed; what it no longer publishes is gone. Providers
//! know nothing of scraping and nothing of each other.
//!
//! The law: a provider that fails keeps what it last knew, reports the failure as metric and log line, and tries again
//! at its next refresh. Only an answer that says so takes targets away. Updates are throttled: the first one is
//! immediate, later ones are at least [`MIN_UPDATE_INTERVAL`] apart, as in Prometheus. Discovery does not relabel, does
//! not deduplicate, and does not judge addresses.

mod config;
mod groups;
mod merge;
mod providers;

pub use config::{DiscoveryConfig, DnsRecordType, DnsSdConfig, FileSdConfig, HttpSdConfig, StaticConfig, TargetGroup};
pub use merge::{Deps, MIN_UPDATE_INTERVAL, spawn};

/// Reads target groups as files and HTTP endpoints write them: as JSON, or as YAML. `origin` names where they come from.
pub fn parse_groups(text: &str, is_json: bool, origin: &str) -> Result<Vec<TargetGroup>, String> {
    let meta = ("__meta_origin", origin);
    if is_json { groups::from_json(text.as_bytes(), origin, meta) } else { groups::from_yaml(text, origin, meta) }
}
