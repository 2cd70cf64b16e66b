//! One scrape job, checked, with the defaults of `global` filled in.

use std::path::PathBuf;

use crate::discovery::DiscoveryConfig;
use crate::model::DurationMs;
pub use crate::model::{EscapingScheme, NameValidation};
use crate::net::HttpClientConfig;
use crate::relabel::RuleConfig;

/// URL scheme of a target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheme {
    /// Plain.
    Http,
    /// Over TLS.
    Https,
}

/// Exposition formats in the order in which a job prefers them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ScrapeProtocol {
    /// `PrometheusProto`.
    PrometheusProto,
    /// `PrometheusText0.0.4`.
    PrometheusText004,
    /// `PrometheusText1.0.0`.
    PrometheusText100,
    /// `OpenMetricsText0.0.1`.
    OpenMetricsText001,
    /// `OpenMetricsText1.0.0`.
    OpenMetricsText100,
}

/// What becomes of what targets say of when counting began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum StartTimestamps {
    /// It is not read; OpenMetrics's `_created` lines are series like others.
    #[default]
    Ignore,
    /// Samples are stored with it, as far as the storage keeps it.
    Read,
    /// The same, and a sample of zero is put where counting began.
    ZeroSamples,
}

impl StartTimestamps {
    /// Whether anybody wants to know.
    pub(super) fn are_read(self) -> bool {
        self != StartTimestamps::Ignore
    }

    /// Whether samples of zero are put.
    pub(super) fn has_zero_samples(self) -> bool {
        self == StartTimestamps::ZeroSamples
    }
}

/// One job. Limits are `None` where the config says 0, which means no limit.
#[derive(Clone, Debug)]
pub struct JobConfig {
    /// Unique name; becomes the label `job`.
    pub name: String,
    /// Whether labels of the exposition win over those of the target.
    pub honor_labels: bool,
    /// Whether timestamps of the exposition are used.
    pub honor_timestamps: bool,
    /// Whether series with own timestamps get staleness markers too.
    pub track_timestamps_staleness: bool,
    /// URL parameters in order of name; several values a name are possible.
    pub params: Vec<(String, Vec<String>)>,
    /// Time between scrapes of one target.
    pub interval: DurationMs,
    /// Time allowed for one scrape, at most `interval`.
    pub timeout: DurationMs,
    /// Accepted formats, most wanted first.
    pub protocols: Vec<ScrapeProtocol>,
    /// Format of an answer without a usable content type; `None` fails the scrape.
    pub fallback_protocol: Option<ScrapeProtocol>,
    /// Where failed scrapes are written to, one JSON line each.
    pub failure_log_file: Option<PathBuf>,
    /// Path of the metrics; default `/metrics`.
    pub metrics_path: String,
    /// Default scheme of targets.
    pub scheme: Scheme,
    /// Whether compressed answers are asked for.
    pub enable_compression: bool,
    /// Uncompressed bytes of one answer.
    pub body_size_limit: Option<u64>,
    /// Samples of one scrape, after relabelling.
    pub sample_limit: Option<u64>,
    /// Targets of the job, after relabelling; more fail all of them.
    pub target_limit: Option<u64>,
    /// Labels of one series.
    pub label_limit: Option<u64>,
    /// Bytes of a label name.
    pub label_name_length_limit: Option<u64>,
    /// Bytes of a label value.
    pub label_value_length_limit: Option<u64>,
    /// How many dropped targets are remembered for the API.
    pub keep_dropped_targets: Option<u64>,
    /// Which names are valid.
    pub name_validation: NameValidation,
    /// Escaping asked of the target.
    pub name_escaping: EscapingScheme,
    /// Whether native histograms are taken where a target offers them; else their classic parts are.
    pub native_histograms: bool,
    /// Whether classic histograms become native ones with custom buckets.
    pub convert_classic_histograms: bool,
    /// Whether classic histograms are kept beside native ones.
    pub keep_classic_histograms: bool,
    /// Buckets of one native histogram; one with more gets a coarser resolution, or fails the scrape if there is none.
    pub native_histogram_bucket_limit: Option<u64>,
    /// The least factor between two bounds of a native histogram; finer ones get a coarser resolution. 0 is no wish.
    pub native_histogram_min_bucket_factor: f64,
    /// What becomes of what targets say of when counting began.
    pub start_timestamps: StartTimestamps,
    /// Whether the additional `scrape_*` series are written.
    pub extra_scrape_metrics: bool,
    /// Where targets come from.
    pub discovery: Vec<DiscoveryConfig>,
    /// How targets are asked.
    pub client: HttpClientConfig,
    /// Rules over targets.
    pub relabel: Vec<RuleConfig>,
    /// Rules over scraped series.
    pub metric_relabel: Vec<RuleConfig>,
    /// Everything above as YAML with defaults and without secrets, for people.
    pub rendered: String,
    /// Everything above as text, to tell whether a reload changed the job.
    pub fingerprint: String,
}
