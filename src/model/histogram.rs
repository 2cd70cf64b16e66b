//! Native histograms: sparse buckets whose bounds follow from a schema.
//!
//! Shapes and meaning are those of Prometheus's native histogram specification: schemas -4 to 8 are exponential
//! (`2^(2^-schema)` per bucket), schema -53 has custom upper bounds. Buckets are stored as spans of consecutive
//! indexes; integer histograms hold deltas to the bucket before, float histograms hold absolute counts.

/// A run of consecutive buckets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// Gap to the end of the span before; for the first span the index of its first bucket.
    pub offset: i32,
    /// Number of buckets in the run.
    pub length: u32,
}

/// What is known about a counter reset before this sample.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CounterResetHint {
    /// Must be found out by comparing with the sample before.
    #[default]
    Unknown,
    /// A reset happened.
    Reset,
    /// None happened.
    NotReset,
    /// A gauge histogram, where resets mean nothing.
    Gauge,
}

/// The bucket layout and the scalar fields that integer and float histograms share.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct BucketLayout {
    /// Resolution, or -53 for custom bounds.
    pub schema: i32,
    /// Width of the zero bucket, at least 0.
    pub zero_threshold: f64,
    /// Spans of the positive buckets; for custom bounds those of all buckets.
    pub positive_spans: Vec<Span>,
    /// Spans of the negative buckets.
    pub negative_spans: Vec<Span>,
    /// Upper bounds, ascending, without +Inf; only with custom bounds.
    pub custom_values: Vec<f64>,
}

/// A histogram with integer counts.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Histogram {
    /// Reset hint.
    pub counter_reset_hint: CounterResetHint,
    /// Where the buckets lie.
    pub layout: BucketLayout,
    /// Observations in the zero bucket.
    pub zero_count: u64,
    /// All observations.
    pub count: u64,
    /// Sum of observations; the staleness marker here makes the whole sample stale.
    pub sum: f64,
    /// Deltas, one per positive bucket.
    pub positive_buckets: Vec<i64>,
    /// Deltas, one per negative bucket.
    pub negative_buckets: Vec<i64>,
}

/// A histogram with float counts.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct FloatHistogram {
    /// Reset hint.
    pub counter_reset_hint: CounterResetHint,
    /// Where the buckets lie.
    pub layout: BucketLayout,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// All observations.
    pub count: f64,
    /// Sum of observations.
    pub sum: f64,
    /// Absolute counts, one per positive bucket.
    pub positive_buckets: Vec<f64>,
    /// Absolute counts, one per negative bucket.
    pub negative_buckets: Vec<f64>,
}
