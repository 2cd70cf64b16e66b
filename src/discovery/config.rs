//! Checked configuration of the providers, and the target groups that they yield.

use std::path::PathBuf;

use crate::model::{DurationMs, Labels};
use crate::net::HttpClientConfig;

/// Targets that share labels; the unit in which providers report.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TargetGroup {
    /// Tells the groups of one provider apart, such as `path/file.json:0`.
    pub source: String,
    /// One label set a target; each holds at least `__address__`.
    pub targets: Vec<Labels>,
    /// Labels of every target of the group, weaker than the target's own.
    pub labels: Labels,
}

/// One entry of a job's `*_sd_configs` or `static_configs`.
#[derive(Clone, PartialEq, Debug)]
pub enum DiscoveryConfig {
    /// `static_configs`.
    Static(StaticConfig),
    /// `file_sd_configs`.
    File(FileSdConfig),
    /// `http_sd_configs`.
    Http(HttpSdConfig),
    /// `dns_sd_configs`.
    Dns(DnsSdConfig),
}

/// Targets written in the config itself. All `static_configs` of a job become one of these.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct StaticConfig {
    /// The groups, with their index as source.
    pub groups: Vec<TargetGroup>,
}

/// Targets in JSON or YAML files.
#[derive(Clone, PartialEq, Debug)]
pub struct FileSdConfig {
    /// Paths; the last component may hold `*`.
    pub files: Vec<PathBuf>,
    /// How often the files are read again even if no change was seen; default 5 minutes.
    pub refresh_interval: DurationMs,
}

/// Targets asked of an HTTP endpoint.
#[derive(Clone, PartialEq, Debug)]
pub struct HttpSdConfig {
    /// The endpoint.
    pub url: url::Url,
    /// How often it is asked; default 1 minute.
    pub refresh_interval: DurationMs,
    /// How it is asked.
    pub client: HttpClientConfig,
}

/// Targets asked of the DNS.
#[derive(Clone, PartialEq, Debug)]
pub struct DnsSdConfig {
    /// Names to look up.
    pub names: Vec<String>,
    /// How often; default 30 seconds.
    pub refresh_interval: DurationMs,
    /// Which records.
    pub record_type: DnsRecordType,
    /// The targets' port where the records carry none.
    pub port: Option<u16>,
}

/// DNS records that name targets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DnsRecordType {
    /// Service records with their own ports.
    Srv,
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Mail exchangers.
    Mx,
    /// Name servers.
    Ns,
}
