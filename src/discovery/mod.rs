//! Service discovery: where targets come from.
//!
//! A provider turns its configuration into a stream of target groups. It sends the whole group whenever the group has
//! changed; an empty group takes back what was sent under the same `source` before. Providers know nothing of
//! scraping. A provider that fails keeps what it last knew, reports the failure as metric and log line, and tries again.

mod config;

pub use config::{DiscoveryConfig, DnsRecordType, DnsSdConfig, FileSdConfig, HttpSdConfig, StaticConfig, TargetGroup};
