//! Samples and the staleness marker.

use super::{Labels, TimestampMs};

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
