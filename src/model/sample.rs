//! Samples and the staleness marker.

use super::{FloatHistogram, Histogram, Labels, TimestampMs};

/// The bit pattern of the NaN that says "this series has ended here". Every other NaN is an ordinary value.
pub const STALE_NAN: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// True for the staleness marker and for no other NaN.
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN.to_bits()
}

/// One float at one instant.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When.
    pub t: TimestampMs,
    /// What; may be [`STALE_NAN`].
    pub v: f64,
}

/// Samples are equal when their bits are: NaN equals the same NaN, 0 differs from -0.
impl PartialEq for Sample {
    fn eq(&self, other: &Sample) -> bool {
        self.t == other.t && self.v.to_bits() == other.v.to_bits()
    }
}

/// What a sample of any kind says.
#[derive(Clone, Debug)]
pub enum Value {
    /// A float; may be [`STALE_NAN`].
    Float(f64),
    /// A native histogram with integer counts; stale if its sum is [`STALE_NAN`].
    Histogram(Box<Histogram>),
    /// A native histogram with float counts; stale if its sum is [`STALE_NAN`].
    FloatHistogram(Box<FloatHistogram>),
}

impl Value {
    /// Whether it says that the series has ended.
    pub fn is_stale(&self) -> bool {
        match self {
            Value::Float(v) => is_stale(*v),
            Value::Histogram(h) => is_stale(h.sum),
            Value::FloatHistogram(h) => is_stale(h.sum),
        }
    }
}

/// A reference from a sample to something outside, usually a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// What it points to, such as `trace_id`.
    pub labels: Labels,
    /// The value it stands for.
    pub value: f64,
    /// When; `None` where the exposition gave no timestamp.
    pub t: Option<TimestampMs>,
}
