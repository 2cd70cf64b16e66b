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
    /// Bytes beside its own size.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Value::Float(_) => 0,
            Value::Histogram(h) => size_of::<Histogram>() + h.heap_bytes(),
            Value::FloatHistogram(h) => size_of::<FloatHistogram>() + h.heap_bytes(),
        }
    }

    /// Whether it says that the series has ended.
    pub fn is_stale(&self) -> bool {
        match self {
            Value::Float(v) => is_stale(*v),
            Value::Histogram(h) => is_stale(h.sum),
            Value::FloatHistogram(h) => is_stale(h.sum),
        }
    }

    /// Whether both are of one kind and say the same to the bit; see [`Histogram::is_same`].
    pub fn is_same(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
            (Value::Histogram(a), Value::Histogram(b)) => a.is_same(b),
            (Value::FloatHistogram(a), Value::FloatHistogram(b)) => a.is_same(b),
            _ => false,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BucketLayout, CounterResetHint, Span};

    fn histogram(positive_spans: &[(i32, u32)], positive_buckets: &[i64]) -> Histogram {
        let positive_spans = positive_spans.iter().map(|&(offset, length)| Span { offset, length }).collect();
        Histogram {
            layout: BucketLayout { positive_spans, ..BucketLayout::default() },
            count: 5,
            sum: f64::NAN,
            positive_buckets: positive_buckets.to_vec(),
            ..Histogram::default()
        }
    }

    fn is_same(a: &Histogram, b: &Histogram) -> bool {
        Value::Histogram(Box::new(a.clone())).is_same(&Value::Histogram(Box::new(b.clone())))
    }

    #[test]
    fn empty_buckets_and_findings_about_resets_make_no_other_histogram() {
        let plain = histogram(&[(0, 1), (1, 1)], &[2, 1]);
        assert!(is_same(&plain, &histogram(&[(0, 1), (0, 0), (1, 1)], &[2, 1])));
        assert!(is_same(&plain, &histogram(&[(0, 4)], &[2, -2, 3, -3])));
        assert!(is_same(&plain, &Histogram { counter_reset_hint: CounterResetHint::NotReset, ..plain.clone() }));
        assert!(!is_same(&plain, &Histogram { counter_reset_hint: CounterResetHint::Gauge, ..plain.clone() }));
        assert!(!is_same(&plain, &histogram(&[(0, 1), (2, 1)], &[2, 1])));
        assert!(!is_same(&plain, &histogram(&[(0, 1), (1, 1)], &[2, 2])));
        assert!(!is_same(&plain, &Histogram { sum: -f64::NAN, ..plain.clone() }));
        assert!(!is_same(&plain, &Histogram { zero_count: 1, ..plain.clone() }));
    }

    #[test]
    fn floats_are_the_same_by_their_bits_and_kinds_never_are() {
        assert!(Value::Float(f64::NAN).is_same(&Value::Float(f64::NAN)));
        assert!(!Value::Float(f64::NAN).is_same(&Value::Float(STALE_NAN)));
        assert!(!Value::Float(0.0).is_same(&Value::Float(-0.0)));
        let stale = |count| Histogram { sum: STALE_NAN, count, ..Histogram::default() };
        assert!(is_same(&stale(0), &stale(3)), "a marker says nothing else");
        assert!(!Value::Float(STALE_NAN).is_same(&Value::Histogram(Box::new(stale(0)))));
    }
}
