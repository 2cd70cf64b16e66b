//! Native histograms: sparse buckets whose bounds follow from a schema.
//!
//! Shapes and meaning are those of Prometheus's native histogram specification: schemas -4 to 8 are exponential
//! (`2^(2^-schema)` per bucket), schema -53 has custom upper bounds. Buckets are stored as spans of consecutive
//! indexes; integer histograms hold deltas to the bucket before, float histograms hold absolute counts.
//!
//! Queries compute with float histograms. Outcomes are those of the reference to the bit, buckets that hold nothing
//! included, but for how spans are cut: here they always are as long as can be. What a user should be told comes back
//! as data ([`Combined`], [`Accumulated`]), since only the caller knows of which expression it was.
//!
//! | file | content |
//! |---|---|
//! | `bounds`, `buckets`, `text` | bounds from schemas, buckets one by one, the text form |
//! | `cells` | spans with counts beside them, plain or [compensated](crate::model::Compensated) |
//! | `scale`, `combine`, `zero`, `custom` | arithmetic of one and of two histograms |
//! | `accumulate` | sums and means of many |
//! | `reset`, `trim`, `interpolate` | counter resets; cutting off at a value; values within buckets |
//! | `classic` | from the series of a classic histogram to one with custom buckets |
//! | `validate` | whether a histogram is sound |
//!
//! Not here: quantiles and what else only PromQL's functions ask, and the encodings.

use super::is_stale;

mod accumulate;
mod bounds;
mod buckets;
mod cells;
mod classic;
mod combine;
mod custom;
#[cfg(test)]
pub(crate) mod fixture;
mod interpolate;
mod reset;
mod scale;
mod text;
mod trim;
mod validate;
mod zero;

pub use accumulate::{Accumulated, HistogramMean, HistogramSum};
pub use buckets::Bucket;
pub use classic::{ClassicHistogram, MalformedClassic};
pub use combine::{Between, Combined, IncompatibleBounds};
pub use interpolate::Spread;
pub use validate::MalformedHistogram;

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

impl CounterResetHint {
    /// Whether counts may go down. The other hints are findings, which storing and reading may add or lose.
    pub fn is_gauge(self) -> bool {
        self == CounterResetHint::Gauge
    }
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

impl BucketLayout {
    fn has_same_bounds(&self, other: &BucketLayout) -> bool {
        let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        self.schema == other.schema
            && self.zero_threshold.to_bits() == other.zero_threshold.to_bits()
            && bits(&self.custom_values) == bits(&other.custom_values)
    }

    fn heap_bytes(&self) -> usize {
        let spans = self.positive_spans.len() + self.negative_spans.len();
        spans * size_of::<Span>() + self.custom_values.len() * size_of::<f64>()
    }
}

impl Histogram {
    /// Bytes beside its own size.
    pub fn heap_bytes(&self) -> usize {
        let buckets = self.positive_buckets.len() + self.negative_buckets.len();
        self.layout.heap_bytes() + buckets * size_of::<i64>()
    }

    /// With float counts.
    pub fn to_float(&self) -> FloatHistogram {
        // Floats are added up as the reference does, which above 2^53 is not the same as the float of an integer sum.
        let absolute = |deltas: &[i64]| {
            let mut count = 0.0;
            let add = |delta: &i64| {
                count += *delta as f64;
                count
            };
            deltas.iter().map(add).collect()
        };
        FloatHistogram {
            counter_reset_hint: self.counter_reset_hint,
            layout: self.layout.clone(),
            zero_count: self.zero_count as f64,
            count: self.count as f64,
            sum: self.sum,
            positive_buckets: absolute(&self.positive_buckets),
            negative_buckets: absolute(&self.negative_buckets),
        }
    }

    /// Whether both say the same to the bit. Empty buckets say nothing, because encoding adds some; neither do hints, as
    /// long as none or both are of a gauge. Of stale samples nothing else counts.
    pub fn is_same(&self, other: &Histogram) -> bool {
        let layouts = (&self.layout, &other.layout);
        let filled = |spans, deltas: &[i64]| filled(spans, absolute(deltas), |count| *count != 0);
        let scalars = |h: &Histogram| (h.count, h.zero_count, h.sum.to_bits(), h.counter_reset_hint.is_gauge());
        is_stale(self.sum) && is_stale(other.sum)
            || scalars(self) == scalars(other)
                && layouts.0.has_same_bounds(layouts.1)
                && filled(&layouts.0.positive_spans, &self.positive_buckets)
                    == filled(&layouts.1.positive_spans, &other.positive_buckets)
                && filled(&layouts.0.negative_spans, &self.negative_buckets)
                    == filled(&layouts.1.negative_spans, &other.negative_buckets)
    }
}

impl FloatHistogram {
    /// Bytes beside its own size.
    pub fn heap_bytes(&self) -> usize {
        let buckets = self.positive_buckets.len() + self.negative_buckets.len();
        self.layout.heap_bytes() + buckets * size_of::<f64>()
    }

    /// Whether PromQL's `==` holds: the same buckets, also empty ones, and the same counts to the bit. Hints, and how
    /// spans are cut, do not count.
    pub fn equals(&self, other: &FloatHistogram) -> bool {
        let (a, b) = (&self.layout, &other.layout);
        let bits = |h: &FloatHistogram| [h.count, h.sum, h.zero_count].map(f64::to_bits);
        let same_counts =
            |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
        a.schema == b.schema
            && bits(self) == bits(other)
            && a.zero_threshold == b.zero_threshold
            && (!a.has_custom_bounds() || a.custom_values == b.custom_values)
            && same_counts(&self.positive_buckets, &other.positive_buckets)
            && same_counts(&self.negative_buckets, &other.negative_buckets)
            && same_indexes(&a.positive_spans, &b.positive_spans, self.positive_buckets.len())
            && same_indexes(&a.negative_spans, &b.negative_spans, self.negative_buckets.len())
    }

    /// As [`Histogram::is_same`].
    pub fn is_same(&self, other: &FloatHistogram) -> bool {
        let layouts = (&self.layout, &other.layout);
        let bits = |counts: &[f64]| counts.iter().map(|c| c.to_bits()).collect::<Vec<_>>();
        let filled = |spans, counts| filled(spans, bits(counts), |bits| f64::from_bits(*bits) != 0.0);
        let scalars = |h: &FloatHistogram| {
            let bits = [h.count, h.zero_count, h.sum].map(f64::to_bits);
            (bits, h.counter_reset_hint.is_gauge())
        };
        is_stale(self.sum) && is_stale(other.sum)
            || scalars(self) == scalars(other)
                && layouts.0.has_same_bounds(layouts.1)
                && filled(&layouts.0.positive_spans, &self.positive_buckets)
                    == filled(&layouts.1.positive_spans, &other.positive_buckets)
                && filled(&layouts.0.negative_spans, &self.negative_buckets)
                    == filled(&layouts.1.negative_spans, &other.negative_buckets)
    }
}

/// Whether spans stand for the same buckets, of which there are `count`.
fn same_indexes(a: &[Span], b: &[Span], count: usize) -> bool {
    a == b || buckets::indexes(a).take(count).eq(buckets::indexes(b).take(count))
}

fn absolute(deltas: &[i64]) -> Vec<i64> {
    let mut count = 0i64;
    let add = |delta: &i64| {
        count = count.wrapping_add(*delta);
        count
    };
    deltas.iter().map(add).collect()
}

/// Indexes and counts of the buckets that hold something.
fn filled<C>(spans: &[Span], counts: Vec<C>, holds: impl Fn(&C) -> bool) -> Vec<(i64, C)> {
    let mut next = 0i64;
    let indexes = spans.iter().flat_map(|span| {
        let first = next.wrapping_add(i64::from(span.offset));
        next = first.wrapping_add(i64::from(span.length));
        first..next
    });
    indexes.zip(counts).filter(|(_, count)| holds(count)).collect()
}

#[cfg(test)]
mod tests {
    use super::fixture::{custom, exponential, hinted, with_zero};
    use super::*;

    #[test]
    fn integer_histograms_become_float_histograms() {
        let expected = with_zero(0.5, 2.0, exponential(1, &[(2, &[3.0, 1.0])], &[(1, &[4.0])]));
        let h = Histogram {
            counter_reset_hint: CounterResetHint::Gauge,
            layout: expected.layout.clone(),
            zero_count: 2,
            count: 10,
            sum: 7.5,
            positive_buckets: vec![3, -2],
            negative_buckets: vec![4],
        };
        assert_eq!(h.to_float(), hinted(CounterResetHint::Gauge, FloatHistogram { sum: 7.5, ..expected }));
    }

    #[test]
    fn equality_is_of_buckets_and_bits_but_not_of_hints_and_spans() {
        let h = with_zero(0.5, 2.0, exponential(1, &[(2, &[3.0, 0.0, 1.0])], &[(1, &[4.0])]));
        assert!(h.equals(&hinted(CounterResetHint::Gauge, h.clone())));
        let mut split = h.clone();
        split.layout.positive_spans =
            [(1, 0), (1, 1), (0, 2), (7, 0)].map(|(offset, length)| Span { offset, length }).into();
        assert!(h.equals(&split));
        let mut compact = h.clone();
        compact.compact(0);
        assert!(!h.equals(&compact), "empty buckets count");
        let changes: [fn(&mut FloatHistogram); 8] = [
            |h| h.sum = -0.0,
            |h| h.count += 1.0,
            |h| h.zero_count = 3.0,
            |h| h.layout.zero_threshold = 0.25,
            |h| h.layout.schema = 2,
            |h| h.positive_buckets[0] = 4.0,
            |h| h.negative_buckets[0] = 3.0,
            |h| h.layout.positive_spans[0].offset = 1,
        ];
        for change in changes {
            let mut other = h.clone();
            change(&mut other);
            assert!(!h.equals(&other), "{h} and {other}");
        }
        let (a, b) = (custom(&[1.0, 2.0], &[(0, &[1.0])]), custom(&[1.0, 3.0], &[(0, &[1.0])]));
        assert!(a.equals(&a.clone()) && !a.equals(&b));
    }

    #[test]
    fn overflow_is_seen_everywhere() {
        let h = with_zero(0.5, 2.0, exponential(1, &[(2, &[3.0])], &[(1, &[4.0])]));
        assert!(!FloatHistogram { sum: f64::NAN, ..h.clone() }.has_overflow());
        let changes: [fn(&mut FloatHistogram); 3] = [
            |h| h.sum = f64::NEG_INFINITY,
            |h| h.zero_count = f64::INFINITY,
            |h| h.negative_buckets[0] = f64::INFINITY,
        ];
        for change in changes {
            let mut other = h.clone();
            change(&mut other);
            assert!(other.has_overflow());
        }
    }
}
