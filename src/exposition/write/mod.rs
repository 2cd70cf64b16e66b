//! Writers of the exposition formats: the pieces of which whoever has families and samples makes a body.
//!
//! | format | file | what only it can say |
//! |---|---|---|
//! | Prometheus text 0.0.4 and 1.0.0 | [`text`] | |
//! | OpenMetrics text 0.0.1 and 1.0.0 | [`text`] | units, exemplars, more types, the times at which counting began, its own end |
//! | delimited `io.prometheus.client.MetricFamily` | [`protobuf`] | all of these but the end, and native histograms |
//!
//! The law: what is written is read back by this crate's parsers and by the reference's as the same names, labels, values
//! (to the bit, except that text knows one zero and one NaN), times and exemplars. Writers append to a buffer and keep nothing between
//! two families.
//!
//! Not here: which families there are, in which order, and with which samples; see `federate`.

pub mod protobuf;
pub mod text;

use crate::model::{BucketLayout, FloatHistogram, Histogram, MetricType};

/// What a format says of a metric family before its samples.
#[derive(Clone, Copy, Debug)]
pub struct FamilyHead<'a> {
    /// Its name as the format wants it: OpenMetrics leaves out the `_total` of counters.
    pub name: &'a str,
    /// Its type. One that the format does not know is written as unknown.
    pub metric_type: MetricType,
    /// Left out if empty.
    pub help: &'a str,
    /// Left out if empty, if the format has none, or if the name does not end with it.
    pub unit: &'a str,
}

impl FamilyHead<'_> {
    /// The unit, if the name says the same, as OpenMetrics demands.
    fn named_unit(&self) -> Option<&str> {
        let stem = self.name.strip_suffix(self.unit)?.strip_suffix('_')?;
        (!self.unit.is_empty() && !stem.is_empty()).then_some(self.unit)
    }
}

/// A native histogram of either kind.
#[derive(Clone, Copy, Debug)]
pub enum AnyHistogram<'a> {
    /// With integer counts.
    Integer(&'a Histogram),
    /// With float counts.
    Float(&'a FloatHistogram),
}

/// A bucket of a classic histogram.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ClassicBucket {
    /// Its upper bound.
    pub bound: f64,
    /// Observations up to there.
    pub cumulative: f64,
}

impl AnyHistogram<'_> {
    /// Where its buckets lie.
    pub fn layout(&self) -> &BucketLayout {
        match self {
            AnyHistogram::Integer(h) => &h.layout,
            AnyHistogram::Float(h) => &h.layout,
        }
    }

    /// Whether counts may go down.
    pub fn is_gauge(&self) -> bool {
        match self {
            AnyHistogram::Integer(h) => h.counter_reset_hint.is_gauge(),
            AnyHistogram::Float(h) => h.counter_reset_hint.is_gauge(),
        }
    }

    /// All observations.
    pub fn count(&self) -> f64 {
        match self {
            AnyHistogram::Integer(h) => h.count as f64,
            AnyHistogram::Float(h) => h.count,
        }
    }

    /// The sum of all observations.
    pub fn sum(&self) -> f64 {
        match self {
            AnyHistogram::Integer(h) => h.sum,
            AnyHistogram::Float(h) => h.sum,
        }
    }

    /// The buckets of one with custom bounds as those of a classic histogram, without that of all observations.
    pub fn classic_buckets(&self) -> Vec<ClassicBucket> {
        let counts: Vec<(f64, f64)> = match self {
            AnyHistogram::Integer(h) => h.positive_buckets().map(|b| (b.upper, b.count as f64)).collect(),
            AnyHistogram::Float(h) => h.positive_buckets().map(|b| (b.upper, b.count)).collect(),
        };
        let (mut counts, mut cumulative) = (counts.into_iter().peekable(), 0.0);
        let bucket = |bound: &f64| {
            while let Some((_, count)) = counts.next_if(|(upper, _)| upper <= bound) {
                cumulative += count;
            }
            ClassicBucket { bound: *bound, cumulative }
        };
        self.layout().custom_values.iter().map(bucket).collect()
    }
}
