//! From the series of a classic histogram to a native one with custom buckets.

use super::bounds::CUSTOM_SCHEMA;
use super::{BucketLayout, FloatHistogram, Histogram, Span};
use crate::model::Value;

/// Integer counts may have gaps of so many empty buckets between their spans' ends, as the reference leaves them.
const INTEGER_GAP: u32 = 2;
/// 2^63 and 2^64: floats from here on are no integer counts of buckets, or of all observations.
const BUCKET_COUNT_END: f64 = 9_223_372_036_854_775_808.0;
const COUNT_END: f64 = 2.0 * BUCKET_COUNT_END;

/// What the series of one classic histogram say: cumulative buckets, count and sum, in any order and as far as they came.
#[derive(Clone, Debug, Default)]
pub struct ClassicHistogram {
    /// Upper bounds and the observations up to them, as they came.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
    fault: Option<MalformedClassic>,
}

/// Why no histogram can be made of them.
#[derive(Clone, Copy, PartialEq, Debug, thiserror::Error)]
pub enum MalformedClassic {
    /// A bucket below zero.
    #[error("bucket count must be non-negative: le={bound}, count={count}")]
    NegativeBucket {
        /// Its upper bound.
        bound: f64,
        /// What it holds.
        count: f64,
    },
    /// A bound that is no number.
    #[error("bucket boundary must not be NaN")]
    NanBound,
    /// Less than no observations.
    #[error("count must be non-negative: count={0}")]
    NegativeCount(f64),
    /// A bucket holds more than one with a higher bound.
    #[error("count is not cumulative: {below} observations up to a bound, {above} up to a higher one")]
    NotCumulative {
        /// Up to the lower bound.
        below: f64,
        /// Up to the higher one.
        above: f64,
    },
    /// The last bucket holds other than all observations.
    #[error("count mismatch: count={count} != le={bound} count={in_bucket}")]
    Mismatch {
        /// All observations.
        count: f64,
        /// Upper bound of the last bucket.
        bound: f64,
        /// What it holds.
        in_bucket: f64,
    },
}

impl ClassicHistogram {
    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.buckets.clear();
        (self.count, self.sum, self.fault) = (None, 0.0, None);
    }

    /// Takes a bucket: `count` observations up to `bound`. Of two with one bound the first counts.
    pub fn set_bucket(&mut self, bound: f64, count: f64) {
        if bound.is_nan() {
            self.fault.get_or_insert(MalformedClassic::NanBound);
        } else if count < 0.0 {
            self.fault.get_or_insert(MalformedClassic::NegativeBucket { bound, count });
        } else {
            self.buckets.push((bound, count));
        }
    }

    /// Takes the number of all observations.
    pub fn set_count(&mut self, count: f64) {
        if count < 0.0 {
            self.fault.get_or_insert(MalformedClassic::NegativeCount(count));
        }
        self.count = Some(count);
    }

    /// Takes the sum of all observations.
    pub fn set_sum(&mut self, sum: f64) {
        self.sum = sum;
    }

    /// The native histogram: with integer counts if all are integers. Without a bucket up to +Inf the count stands for it,
    /// without a count the highest bucket for the count.
    pub fn convert(&mut self) -> Result<Value, MalformedClassic> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        self.order()?;
        let last = self.buckets.last().copied();
        let count = self.count.or(last.map(|(_, count)| count)).unwrap_or(0.0);
        if last.is_none_or(|(bound, _)| bound != f64::INFINITY) {
            self.buckets.push((f64::INFINITY, count));
        }
        if let Some((bound, in_bucket)) = self.buckets.last().copied()
            && count != in_bucket
        {
            return Err(MalformedClassic::Mismatch { count, bound, in_bucket });
        }
        let is_integer = |n: f64, end: f64| n < end && n == n.round();
        let all_integers =
            self.buckets.iter().all(|(_, n)| is_integer(*n, BUCKET_COUNT_END)) && is_integer(count, COUNT_END);
        Ok(if all_integers { self.to_integer(count as u64) } else { self.to_float(count) })
    }

    /// Puts the buckets into order. They nearly always are.
    fn order(&mut self) -> Result<(), MalformedClassic> {
        if !self.buckets.is_sorted_by(|a, b| a.0 < b.0) {
            // Stable, so that the first of equal bounds is the one that came first. There is no NaN.
            self.buckets.sort_by(|a, b| a.0.partial_cmp(&b.0).unwrap_or(std::cmp::Ordering::Equal));
            self.buckets.dedup_by(|later, first| later.0 == first.0);
        }
        let falls = |pair: &&[(f64, f64)]| pair[1].1 < pair[0].1;
        match self.buckets.windows(2).find(falls) {
            Some(pair) => Err(MalformedClassic::NotCumulative { below: pair[0].1, above: pair[1].1 }),
            None => Ok(()),
        }
    }

    fn to_integer(&self, count: u64) -> Value {
        let (mut before, mut held_before) = (0i64, 0i64);
        let delta = |(_, cumulative): &(f64, f64)| {
            let held = *cumulative as i64 - std::mem::replace(&mut before, *cumulative as i64);
            held - std::mem::replace(&mut held_before, held)
        };
        let positive_buckets = self.buckets.iter().map(delta).collect();
        let mut histogram =
            Histogram { layout: self.layout(), count, sum: self.sum, positive_buckets, ..Histogram::default() };
        histogram.compact(INTEGER_GAP);
        Value::Histogram(Box::new(histogram))
    }

    fn to_float(&self, count: f64) -> Value {
        let mut before = 0.0;
        let held = |(_, cumulative): &(f64, f64)| cumulative - std::mem::replace(&mut before, *cumulative);
        let positive_buckets = self.buckets.iter().map(held).collect();
        let mut histogram = FloatHistogram {
            layout: self.layout(),
            count,
            sum: self.sum,
            positive_buckets,
            ..FloatHistogram::default()
        };
        histogram.compact(0);
        Value::FloatHistogram(Box::new(histogram))
    }

    fn layout(&self) -> BucketLayout {
        let length = u32::try_from(self.buckets.len()).unwrap_or(u32::MAX);
        let bounds = self.buckets.iter().map(|(bound, _)| *bound);
        BucketLayout {
            schema: CUSTOM_SCHEMA,
            positive_spans: vec![Span { offset: 0, length }],
            custom_values: bounds.filter(|bound| *bound != f64::INFINITY).collect(),
            ..BucketLayout::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classic(buckets: &[(f64, f64)], count: Option<f64>, sum: f64) -> ClassicHistogram {
        let mut classic = ClassicHistogram::default();
        buckets.iter().for_each(|(bound, count)| classic.set_bucket(*bound, *count));
        count.into_iter().for_each(|count| classic.set_count(count));
        classic.set_sum(sum);
        classic
    }

    fn integer(mut classic: ClassicHistogram) -> Histogram {
        match classic.convert() {
            Ok(Value::Histogram(h)) => *h,
            other => panic!("not an integer histogram: {other:?}"),
        }
    }

    fn spans(spans: &[(i32, u32)]) -> Vec<Span> {
        spans.iter().map(|&(offset, length)| Span { offset, length }).collect()
    }

    #[test]
    fn integer_counts_become_deltas_between_the_buckets() {
        let h = integer(classic(&[(1.0, 2.0), (0.5, 1.0), (f64::INFINITY, 7.0), (1.0, 9.0)], Some(7.0), 3.5));
        assert_eq!((h.layout.schema, h.count, h.sum), (-53, 7, 3.5));
        assert_eq!(h.layout.custom_values, [0.5, 1.0]);
        assert_eq!(
            (h.layout.positive_spans.as_slice(), h.positive_buckets.as_slice()),
            (&spans(&[(0, 3)])[..], &[1, 0, 4][..])
        );
        assert_eq!(h.validate(), Ok(()));
    }

    #[test]
    fn long_runs_of_empty_buckets_split_the_span_and_short_ones_do_not() {
        let bounds: Vec<(f64, f64)> = [0.0, 3.0, 3.0, 3.0, 4.0, 4.0, 4.0, 4.0, 9.0, 9.0]
            .into_iter()
            .zip(1..)
            .map(|(n, le)| (f64::from(le), n))
            .collect();
        let h = integer(classic(&bounds, Some(9.0), 0.0));
        assert_eq!(h.layout.positive_spans, spans(&[(1, 4), (3, 1)]));
        assert_eq!(h.positive_buckets, [3, -3, 0, 1, 4]);
        assert_eq!((h.validate(), h.layout.custom_values.len()), (Ok(()), 10));
    }

    #[test]
    fn a_fraction_anywhere_makes_a_float_histogram() {
        let converted = classic(&[(1.0, 0.5), (2.0, 0.5)], Some(2.0), 1.0).convert();
        let Ok(Value::FloatHistogram(h)) = converted else { panic!("not a float histogram: {converted:?}") };
        assert_eq!(h.layout.positive_spans, spans(&[(0, 1), (1, 1)]));
        assert_eq!((h.positive_buckets.as_slice(), h.count), (&[0.5, 1.5][..], 2.0));
    }

    #[test]
    fn what_is_missing_is_taken_from_what_is_there() {
        let h = integer(classic(&[(1.0, 2.0), (2.0, 5.0)], None, 0.0));
        assert_eq!((h.count, h.positive_buckets.as_slice()), (5, &[2, 1][..]));
        let h = integer(classic(&[], Some(4.0), 1.0));
        assert_eq!((h.layout.custom_values.len(), h.positive_buckets.as_slice()), (0, &[4][..]));
        let h = integer(classic(&[], None, 0.0));
        assert_eq!((h.count, h.positive_buckets.len()), (0, 0));
    }

    #[test]
    fn contradictions_are_told() {
        use MalformedClassic as M;
        let fault = |mut classic: ClassicHistogram| classic.convert().expect_err("must be refused");
        assert_eq!(fault(classic(&[(1.0, 2.0), (2.0, 1.0)], None, 0.0)), M::NotCumulative { below: 2.0, above: 1.0 });
        assert_eq!(fault(classic(&[(2.0, 1.0), (1.0, 2.0)], None, 0.0)), M::NotCumulative { below: 2.0, above: 1.0 });
        assert_eq!(fault(classic(&[(1.0, -1.0)], None, 0.0)), M::NegativeBucket { bound: 1.0, count: -1.0 });
        assert_eq!(fault(classic(&[(f64::NAN, 1.0)], None, 0.0)), M::NanBound);
        assert_eq!(fault(classic(&[], Some(-2.0), 0.0)), M::NegativeCount(-2.0));
        let mismatch = fault(classic(&[(f64::INFINITY, 3.0)], Some(2.0), 0.0));
        assert_eq!(mismatch, M::Mismatch { count: 2.0, bound: f64::INFINITY, in_bucket: 3.0 });
        assert!(matches!(fault(classic(&[(1.0, f64::NAN)], None, 0.0)), M::Mismatch { .. }));
    }
}
