//! What a metric family says of itself.

use std::fmt;

/// The type of a metric family, in Prometheus's vocabulary.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum MetricType {
    /// Goes up and restarts at zero.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets, sum and count.
    Histogram,
    /// A histogram whose buckets may go down.
    GaugeHistogram,
    /// Quantiles, sum and count.
    Summary,
    /// Constant labels worth 1.
    Info,
    /// One of a set of states.
    StateSet,
    /// Nothing was said.
    #[default]
    Unknown,
}

impl MetricType {
    /// The name as the HTTP API and OpenMetrics write it.
    pub fn as_str(self) -> &'static str {
        match self {
            MetricType::Counter => "counter",
            MetricType::Gauge => "gauge",
            MetricType::Histogram => "histogram",
            MetricType::GaugeHistogram => "gaugehistogram",
            MetricType::Summary => "summary",
            MetricType::Info => "info",
            MetricType::StateSet => "stateset",
            MetricType::Unknown => "unknown",
        }
    }
}

impl fmt::Display for MetricType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Type, unit and help text of one metric family.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Metadata {
    /// What kind of metric it is.
    pub metric_type: MetricType,
    /// Base unit such as `seconds`; empty if none was given.
    pub unit: String,
    /// Help text, unescaped.
    pub help: String,
}
