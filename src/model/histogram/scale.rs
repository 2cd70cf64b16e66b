//! Scaling, lower resolution, and what else changes or tells a histogram as a whole.

use super::bounds::{CUSTOM_SCHEMA, MAX_SCHEMA, MIN_SCHEMA};
use super::cells::{self, Cell};
use super::{BucketLayout, CounterResetHint, FloatHistogram, Histogram, Span, absolute};

impl BucketLayout {
    /// The finest resolution in use; up to 52 are reserved.
    pub const FINEST_SCHEMA: i32 = MAX_SCHEMA;
    /// The coarsest resolution in use.
    pub const COARSEST_SCHEMA: i32 = MIN_SCHEMA;

    /// Whether bounds are given one by one; there is no zero bucket then, and there are no negative buckets.
    pub fn has_custom_bounds(&self) -> bool {
        self.schema == CUSTOM_SCHEMA
    }

    /// How often resolution has to be halved to be that of a coarser schema.
    fn halvings_to(&self, schema: i32) -> Option<u32> {
        let is_coarser = schema < self.schema && schema != CUSTOM_SCHEMA && !self.has_custom_bounds();
        is_coarser.then(|| cells::halvings(self.schema, schema))
    }
}

impl Histogram {
    /// As [`FloatHistogram::reduce_resolution`].
    pub fn reduce_resolution(&mut self, schema: i32) {
        if let Some(halvings) = self.layout.halvings_to(schema) {
            coarsen_deltas(&mut self.layout.positive_spans, &mut self.positive_buckets, halvings);
            coarsen_deltas(&mut self.layout.negative_spans, &mut self.negative_buckets, halvings);
            self.layout.schema = schema;
        }
    }

    /// As [`FloatHistogram::compact`].
    pub fn compact(&mut self, max_gap: u32) {
        compact_deltas(&mut self.layout.positive_spans, &mut self.positive_buckets, max_gap);
        compact_deltas(&mut self.layout.negative_spans, &mut self.negative_buckets, max_gap);
    }
}

fn compact_deltas(spans: &mut Vec<Span>, deltas: &mut Vec<i64>, max_gap: u32) {
    let mut counts = absolute(deltas);
    cells::compact(spans, &mut counts, max_gap, |count| count == 0);
    *deltas = deltas_between(&counts);
}

fn deltas_between(counts: &[i64]) -> Vec<i64> {
    let mut before = 0i64;
    let delta = |count: &i64| count.wrapping_sub(std::mem::replace(&mut before, *count));
    counts.iter().map(delta).collect()
}

fn coarsen_deltas(spans: &mut Vec<Span>, deltas: &mut Vec<i64>, halvings: u32) {
    let mut counts = absolute(deltas);
    cells::coarsen(spans, &mut counts, halvings, |sum, count| *sum = sum.wrapping_add(count));
    *deltas = deltas_between(&counts);
}

impl FloatHistogram {
    /// Multiplies all counts and the sum. With a negative factor the outcome is a gauge.
    pub fn mul(&mut self, factor: f64) {
        self.scale(|count| count * factor);
        if factor < 0.0 {
            self.counter_reset_hint = CounterResetHint::Gauge;
        }
    }

    /// Divides all counts and the sum. With a negative divisor the outcome is a gauge; with 0 only the totals and the
    /// zero bucket are left, infinite or NaN.
    pub fn div(&mut self, divisor: f64) {
        self.scale(|count| count / divisor);
        if divisor == 0.0 {
            self.positive_buckets.clear();
            self.negative_buckets.clear();
            self.layout.positive_spans.clear();
            self.layout.negative_spans.clear();
        } else if divisor < 0.0 {
            self.counter_reset_hint = CounterResetHint::Gauge;
        }
    }

    fn scale(&mut self, scaled: impl Fn(f64) -> f64) {
        let totals = [&mut self.zero_count, &mut self.count, &mut self.sum];
        let counts = self.positive_buckets.iter_mut().chain(&mut self.negative_buckets);
        totals.into_iter().chain(counts).for_each(|count| *count = scaled(*count));
    }

    /// Drops empty buckets and joins adjacent spans. Gaps of at most `max_gap` buckets between two that hold something
    /// are filled with empty ones instead, so that they need no span of their own; arithmetic compacts with 0.
    pub fn compact(&mut self, max_gap: u32) {
        cells::compact(&mut self.layout.positive_spans, &mut self.positive_buckets, max_gap, Cell::is_empty);
        cells::compact(&mut self.layout.negative_spans, &mut self.negative_buckets, max_gap, Cell::is_empty);
    }

    /// Merges buckets to the coarser resolution `schema`. Changes nothing if it is not coarser, or if bounds are custom
    /// in either.
    pub fn reduce_resolution(&mut self, schema: i32) {
        if let Some(halvings) = self.layout.halvings_to(schema) {
            cells::coarsen(&mut self.layout.positive_spans, &mut self.positive_buckets, halvings, f64::add);
            cells::coarsen(&mut self.layout.negative_spans, &mut self.negative_buckets, halvings, f64::add);
            self.layout.schema = schema;
        }
    }

    /// A copy with [reduced resolution](FloatHistogram::reduce_resolution); what was known of resets is lost with it.
    pub fn to_schema(&self, schema: i32) -> FloatHistogram {
        let mut copy = self.clone();
        copy.reduce_resolution(schema);
        if copy.layout.schema != self.layout.schema {
            copy.counter_reset_hint = CounterResetHint::Unknown;
        }
        copy
    }

    /// Whether a count, the sum or a custom bound is infinite, as after adding up beyond the range of floats.
    pub fn has_overflow(&self) -> bool {
        let totals = [self.zero_count, self.count, self.sum];
        let counts = self.positive_buckets.iter().chain(&self.negative_buckets).chain(&self.layout.custom_values);
        totals.iter().chain(counts).any(|v| v.is_infinite())
    }

    /// Bytes in the reference's memory, by which PromQL limits the samples of a query.
    pub fn size(&self) -> usize {
        const STRUCT: usize = 168;
        let layout = &self.layout;
        let spans = layout.positive_spans.len() + layout.negative_spans.len();
        let floats = self.positive_buckets.len() + self.negative_buckets.len() + layout.custom_values.len();
        STRUCT + 8 * (spans + floats)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fixture::{any_exponential, custom, exponential, hinted, with_zero};
    use super::*;

    #[test]
    fn all_counts_and_the_sum_are_scaled() {
        let mut h = with_zero(0.5, 2.0, exponential(0, &[(1, &[1.0, 4.0])], &[(1, &[3.0])]));
        h.sum = 8.0;
        h.mul(2.0);
        assert_eq!(h.to_string(), "{count:20, sum:16, [-2,-1):6, [-0.5,0.5]:4, (1,2]:2, (2,4]:8}");
        h.div(4.0);
        assert_eq!(h.to_string(), "{count:5, sum:4, [-2,-1):1.5, [-0.5,0.5]:1, (1,2]:0.5, (2,4]:2}");
        assert_eq!(h.counter_reset_hint, CounterResetHint::Unknown);
    }

    #[test]
    fn negative_factors_make_a_gauge() {
        let h = hinted(CounterResetHint::NotReset, exponential(0, &[(0, &[1.0])], &[]));
        let (mut product, mut quotient) = (h.clone(), h);
        product.mul(-1.0);
        quotient.div(-1.0);
        assert_eq!(product.counter_reset_hint, CounterResetHint::Gauge);
        assert_eq!(quotient.counter_reset_hint, CounterResetHint::Gauge);
    }

    #[test]
    fn nothing_but_totals_is_left_of_a_division_by_zero() {
        let mut h = with_zero(0.5, 0.0, exponential(0, &[(1, &[1.0, 4.0])], &[(1, &[3.0])]));
        h.div(0.0);
        assert_eq!(h.to_string(), "{count:+Inf, sum:NaN, [-0.5,0.5]:NaN}");
        assert_eq!((h.layout.positive_spans.len(), h.negative_buckets.len()), (0, 0));
    }

    #[test]
    fn compacting_drops_empty_buckets_and_fills_short_gaps() {
        let h = exponential(0, &[(-2, &[0.0, 1.0, 0.0, 0.0, 2.0]), (0, &[3.0, 0.0]), (1, &[4.0]), (3, &[0.0])], &[]);
        let spans = |max_gap| {
            let mut h = h.clone();
            h.compact(max_gap);
            let spans: Vec<_> = h.layout.positive_spans.iter().map(|s| (s.offset, s.length)).collect();
            (spans, h.positive_buckets)
        };
        assert_eq!(spans(0), (vec![(-1, 1), (2, 2), (2, 1)], vec![1.0, 2.0, 3.0, 4.0]));
        assert_eq!(spans(1), spans(0));
        assert_eq!(spans(2), (vec![(-1, 8)], vec![1.0, 0.0, 0.0, 2.0, 3.0, 0.0, 0.0, 4.0]));
        assert_eq!(spans(u32::MAX), spans(2));
        let mut empty = exponential(0, &[(3, &[0.0, 0.0])], &[]);
        empty.compact(5);
        assert_eq!(empty.layout.positive_spans, []);
    }

    #[test]
    fn a_lower_resolution_merges_buckets_and_forgets_resets() {
        let h = exponential(2, &[(-3, &[1.0, 2.0, 3.0, 4.0]), (2, &[5.0, 6.0])], &[(1, &[1.0])]);
        let h = hinted(CounterResetHint::NotReset, h);
        let coarse = h.to_schema(0);
        assert_eq!(coarse.layout.positive_spans, [Span { offset: 0, length: 2 }]);
        assert_eq!(coarse.to_string(), "{count:22, sum:0, [-2,-1):1, (0.5,1]:10, (1,2]:11}");
        assert_eq!(coarse.counter_reset_hint, CounterResetHint::Unknown);
        assert_eq!(h.to_schema(2), h);
        assert_eq!(h.to_schema(3), h);
        assert_eq!(h.to_schema(CUSTOM_SCHEMA), h);
        let custom = custom(&[1.0], &[(0, &[1.0, 2.0])]);
        assert_eq!(custom.to_schema(-54), custom);
    }

    #[test]
    fn integer_histograms_merge_counts_and_not_deltas() {
        let mut h = Histogram {
            layout: exponential(2, &[(-3, &[1.0; 4]), (2, &[1.0; 2])], &[(1, &[1.0])]).layout,
            positive_buckets: vec![1, 1, 1, 1, 1, 1],
            negative_buckets: vec![1],
            ..Histogram::default()
        };
        h.reduce_resolution(3);
        assert_eq!(h.layout.schema, 2);
        h.reduce_resolution(0);
        assert_eq!((&h.positive_buckets[..], &h.negative_buckets[..]), (&[10, 1][..], &[1][..]));
        assert_eq!(h.to_string(), "{count:0, sum:0, [-2,-1):1, (0.5,1]:10, (1,2]:11}");
    }

    #[test]
    fn the_size_is_that_in_the_memory_of_the_reference() {
        assert_eq!(exponential(0, &[], &[]).size(), 168);
        assert_eq!(exponential(0, &[(0, &[1.0, 2.0]), (1, &[3.0])], &[(0, &[1.0])]).size(), 168 + 3 * 8 + 4 * 8);
        assert_eq!(custom(&[1.0, 2.0], &[(0, &[1.0])]).size(), 168 + 8 + 8 + 16);
    }

    fn filled(h: &FloatHistogram) -> Vec<super::super::Bucket<f64>> {
        h.all_buckets().filter(|bucket| bucket.count != 0.0).collect()
    }

    proptest! {
        #[test]
        fn compacting_changes_no_bucket_that_holds_something(h in any_exponential(), max_gap in 0u32..5) {
            let mut compact = h.clone();
            compact.compact(max_gap);
            prop_assert_eq!(filled(&compact), filled(&h));
            prop_assert_eq!(compact.to_string(), h.to_string());
            let once = compact.clone();
            compact.compact(max_gap);
            prop_assert_eq!(compact, once);
        }

        #[test]
        fn a_lower_resolution_has_the_same_counts_below_each_bound(h in any_exponential(), schema in -4i32..8) {
            let coarse = h.to_schema(schema);
            let below = |h: &FloatHistogram, bound: f64| {
                h.positive_buckets().filter(|b| b.upper <= bound).map(|b| b.count).sum::<f64>()
            };
            let above = |h: &FloatHistogram, bound: f64| {
                h.negative_buckets().filter(|b| b.lower >= bound).map(|b| b.count).sum::<f64>()
            };
            for bucket in coarse.positive_buckets() {
                prop_assert_eq!(below(&coarse, bucket.upper), below(&h, bucket.upper));
            }
            for bucket in coarse.negative_buckets() {
                prop_assert_eq!(above(&coarse, bucket.lower), above(&h, bucket.lower));
            }
            prop_assert_eq!(below(&coarse, f64::INFINITY), below(&h, f64::INFINITY));
            prop_assert_eq!(above(&coarse, f64::NEG_INFINITY), above(&h, f64::NEG_INFINITY));
        }
    }
}
