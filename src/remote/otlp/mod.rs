//! OTLP metrics, the receiving end: from a request's body to samples in a store, as Prometheus translates them.
//!
//! What OpenTelemetry calls a resource with its scopes and metrics becomes series: the resource gives `job`, `instance` and
//! whatever attributes the config promotes, the scope its labels if that is wanted, a data point the rest. Gauges and sums
//! become floats, histograms classic ones or native ones with custom buckets, exponential histograms native ones. What of a
//! resource does not become labels stands in `target_info`.
//!
//! The laws:
//! * **All or nothing.** As in the reference a request of which something cannot be translated, or is refused by the store
//!   before the commit, leaves nothing behind, no series either, and the answer says why.
//! * **Memory is bounded.** A message is walked by a borrowed cursor down to its data points, which alone are decoded into
//!   the types of `opentelemetry-proto`, one at a time and none of more than a megabyte: decoding a whole message of
//!   empty parts would take a hundred times its size.
//! * **Cumulative counts only.** Deltas are refused in the reference's words.
//!
//! Where this is not what the reference does: the samples of `target_info` that fill the time between a resource's first
//! and last data point are limited, since a single wrong timestamp would make millions of them; so are attributes, buckets, and what a request costs in memory; an
//! attribute without a key is refused under every strategy; what the store fails at is answered by 503, which tells a sender
//! to come again, where the reference says 500.
//!
//! | file | content |
//! |---|---|
//! | `receiver`, `intake` | one request from its body to its outcome, and its samples into the store |
//! | `json` | the JSON form of the message, rewritten as protocol buffers |
//! | `translate`, `points`, `target_info` | from the message to its metrics and data points, and to samples |
//! | `histogram`, `exemplar` | the values that are no numbers |
//! | `labels`, `names`, `attributes` | names and labels |
//! | `config` | what the config says of it |
//!
//! Not here: HTTP, which is the business of `web`; logs and traces.

mod attributes;
mod config;
mod exemplar;
mod histogram;
mod intake;
mod json;
mod labels;
mod names;
mod points;
mod receiver;
mod target_info;
mod translate;

pub use config::{Config, TranslationStrategy};
pub use receiver::{Deps, Failure, Format, Options, Packing, Receiver};
