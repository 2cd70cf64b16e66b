//! The nouns that every other module speaks: labels, matchers, samples, histograms, time, annotations.
//!
//! Nothing here does I/O or knows a component. Two laws hold everywhere: a label with an empty value is the same as
//! no label, and time is a [`TimestampMs`], never a bare integer.

pub mod angle;
mod annotations;
mod compensated;
pub(crate) mod histogram;
pub mod hyperbolic;
pub mod json;
pub mod labels;
mod matcher;
mod metadata;
mod name;
pub mod number;
pub mod power;
mod quoted;
pub mod regex;
mod sample;
mod time;

pub use annotations::{Annotation, AnnotationKind, Annotations};
pub use compensated::Compensated;
pub use histogram::{
    Accumulated, Between, Bucket, BucketLayout, ClassicHistogram, Combined, CounterResetHint, FloatHistogram,
    Histogram, HistogramMean, HistogramSum, IncompatibleBounds, MalformedClassic, MalformedHistogram, Span, Spread,
};
pub use labels::{Labels, LabelsBuilder, METRIC_NAME};
pub use matcher::{MatchOp, Matcher};
pub use metadata::{Metadata, MetricType};
pub use name::{EscapingScheme, NameValidation};
pub use quoted::{GoQuoted, Shortened};
pub use sample::{Exemplar, STALE_NAN, Sample, Value, is_stale};
pub use time::{DurationError, DurationMs, TimestampMs};
