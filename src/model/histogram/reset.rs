//! Whether a counter was reset between two histograms.

use std::iter::Peekable;

use super::bounds::ends_in_zero_bucket;
use super::buckets::{Bucket, indexes};
use super::cells;
use super::{BucketLayout, CounterResetHint, FloatHistogram, Span, custom};

impl FloatHistogram {
    /// Whether a reset lies between the histogram before and this one: the hint says so, or a count is lower or gone.
    ///
    /// The sum is not looked at, since observations may be negative. A finer resolution or a narrower zero bucket come
    /// only with a reset; after a change the other way the histogram before is compared as if it had been like this.
    /// Gauges are treated as counters: who asks for their resets is told elsewhere.
    pub fn detect_reset(&self, previous: &FloatHistogram) -> bool {
        match self.counter_reset_hint {
            CounterResetHint::Reset => return true,
            CounterResetHint::NotReset => return false,
            CounterResetHint::Unknown | CounterResetHint::Gauge => {}
        }
        if self.count < previous.count {
            return true;
        }
        if self.layout.has_custom_bounds() {
            if !previous.layout.has_custom_bounds() {
                return true;
            }
            if !custom::same_bounds(&self.layout.custom_values, &previous.layout.custom_values) {
                return self.has_less_between_common_bounds(previous);
            }
        }
        self.has_less_in_buckets(previous)
    }

    fn has_less_in_buckets(&self, previous: &FloatHistogram) -> bool {
        let (layout, before) = (&self.layout, &previous.layout);
        if layout.schema > before.schema || layout.zero_threshold < before.zero_threshold {
            return true;
        }
        let (zero_count, threshold) = previous.widened_zero_bucket(layout.zero_threshold);
        if threshold != layout.zero_threshold || self.zero_count < zero_count.value {
            return true;
        }
        let halvings = cells::halvings(before.schema, layout.schema);
        let positive = (&layout.positive_spans[..], &self.positive_buckets[..]);
        let positive_before = (&before.positive_spans[..], &previous.positive_buckets[..]);
        let negative = (&layout.negative_spans[..], &self.negative_buckets[..]);
        let negative_before = (&before.negative_spans[..], &previous.negative_buckets[..]);
        has_less_on_side(layout, positive, positive_before, halvings)
            || has_less_on_side(layout, negative, negative_before, halvings)
    }

    fn has_less_between_common_bounds(&self, previous: &FloatHistogram) -> bool {
        let common = custom::common_bounds(&self.layout.custom_values, &previous.layout.custom_values);
        let (mut now, mut before) = (self.positive_buckets().peekable(), previous.positive_buckets().peekable());
        let mut bounds = common.into_iter().chain([f64::INFINITY]);
        bounds.any(|bound| count_up_to(bound, &mut now) < count_up_to(bound, &mut before))
    }
}

/// Compares buckets of one sign, leaving out those up to the first one that reaches beyond the zero bucket.
fn has_less_on_side(
    layout: &BucketLayout,
    (spans, counts): (&[Span], &[f64]),
    (spans_before, counts_before): (&[Span], &[f64]),
    halvings: u32,
) -> bool {
    let threshold = layout.zero_threshold;
    let is_within = |index: i32| threshold != 0.0 && ends_in_zero_bucket(index, layout.schema, threshold);
    if halvings == 0 && spans == spans_before {
        let within = indexes(spans).take(counts.len()).take_while(|index| is_within(*index)).count();
        return counts.iter().zip(counts_before).skip(within).any(|(now, before)| now < before);
    }
    let now = indexes(spans).zip(counts.iter().copied()).skip_while(|(index, _)| is_within(*index));
    let before = indexes(spans_before).zip(counts_before.iter().copied());
    if halvings == 0 {
        has_less(now, before.skip_while(|(index, _)| is_within(*index)))
    } else {
        has_less(now, cells::coarser(before, halvings).skip_while(|(index, _)| is_within(*index)))
    }
}

/// Whether a bucket from before that held something is gone or holds less.
fn has_less(now: impl Iterator<Item = (i32, f64)>, mut before: impl Iterator<Item = (i32, f64)>) -> bool {
    let mut now = now.peekable();
    before.any(|(index, count)| {
        while now.next_if(|(at, _)| *at < index).is_some() {}
        match now.peek() {
            Some((at, now)) if *at == index => *now < count,
            _ => count != 0.0,
        }
    })
}

/// Takes and adds up the buckets that end at the bound or before.
fn count_up_to(bound: f64, buckets: &mut Peekable<impl Iterator<Item = Bucket<f64>>>) -> f64 {
    std::iter::from_fn(|| buckets.next_if(|bucket| bucket.upper <= bound)).fold(0.0, |sum, bucket| sum + bucket.count)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{custom, exponential, hinted, with_zero};
    use super::*;

    #[test]
    fn a_lower_or_missing_count_is_a_reset() {
        let before = with_zero(0.01, 2.0, exponential(1, &[(0, &[1.0, 2.0]), (2, &[3.0, 0.0])], &[(1, &[4.0])]));
        let after = |zero: f64, positive: &[(i32, &[f64])], negative: &[(i32, &[f64])]| {
            let mut h = with_zero(0.01, zero, exponential(1, positive, negative));
            h.count = 100.0;
            h.detect_reset(&before)
        };
        let same: &[(i32, &[f64])] = &[(0, &[1.0, 2.0]), (2, &[3.0, 0.0])];
        let negative: &[(i32, &[f64])] = &[(1, &[4.0])];
        assert!(!after(2.0, same, negative));
        assert!(!after(9.0, &[(-3, &[5.0, 0.0, 0.0, 1.0, 2.0, 7.0, 0.0, 3.0])], &[(1, &[4.0, 9.0])]));
        assert!(after(1.0, same, negative));
        assert!(after(2.0, &[(0, &[1.0, 1.5]), (2, &[3.0, 0.0])], negative));
        assert!(after(2.0, &[(0, &[1.0, 2.0]), (3, &[3.0])], negative));
        assert!(after(2.0, &[], negative));
        assert!(after(2.0, same, &[]));
        assert!(!before.detect_reset(&before));
        assert!(FloatHistogram { count: 11.0, ..before.clone() }.detect_reset(&before));
    }

    #[test]
    fn a_hint_that_knows_is_believed() {
        let (low, high) = (exponential(0, &[(0, &[1.0])], &[]), exponential(0, &[(0, &[5.0])], &[]));
        assert!(hinted(CounterResetHint::Reset, high.clone()).detect_reset(&low));
        assert!(!hinted(CounterResetHint::NotReset, low.clone()).detect_reset(&high));
        assert!(hinted(CounterResetHint::Gauge, low).detect_reset(&high));
    }

    #[test]
    fn resolution_may_fall_and_the_zero_bucket_grow_but_not_the_other_way() {
        let fine = with_zero(0.125, 1.0, exponential(1, &[(-4, &[1.0, 1.0]), (2, &[1.0, 2.0])], &[]));
        let coarse = with_zero(0.125, 1.0, exponential(0, &[(-2, &[2.0]), (2, &[1.0, 2.0])], &[]));
        assert!(!coarse.detect_reset(&exponential(1, &[(-5, &[1.0, 1.0])], &[])));
        assert!(FloatHistogram { count: 99.0, ..fine.clone() }.detect_reset(&coarse));

        let wide =
            |zero| FloatHistogram { count: 99.0, ..with_zero(0.5, zero, exponential(1, &[(0, &[1.0, 2.0])], &[])) };
        assert!(!wide(3.0).detect_reset(&fine), "two buckets went into the zero bucket");
        assert!(wide(2.5).detect_reset(&fine));
        assert!(fine.detect_reset(&with_zero(0.5, 0.0, exponential(1, &[], &[]))), "it cannot become narrower");
        let split = FloatHistogram {
            count: 99.0,
            ..with_zero(0.2, 9.0, exponential(1, &[(-3, &[9.0]), (2, &[9.0, 9.0])], &[]))
        };
        assert!(split.detect_reset(&fine), "it cannot end within a bucket that holds something");
    }

    #[test]
    fn custom_bounds_are_compared_where_both_have_them() {
        let before = custom(&[1.0, 2.0, 4.0], &[(0, &[1.0, 2.0, 3.0, 4.0])]);
        let after = |bounds: &[f64], counts: &[f64]| {
            FloatHistogram { count: 99.0, ..custom(bounds, &[(0, counts)]) }.detect_reset(&before)
        };
        assert!(!after(&[1.0, 2.0, 4.0], &[1.0, 2.0, 3.0, 4.0]));
        assert!(after(&[1.0, 2.0, 4.0], &[1.0, 2.0, 2.0, 5.0]));
        assert!(!after(&[2.0, 3.0], &[3.0, 0.0, 7.0]));
        assert!(after(&[2.0, 3.0], &[2.0, 1.0, 7.0]));
        assert!(after(&[2.0, 3.0], &[3.0, 0.0, 6.0]));
        assert!(!after(&[], &[10.0]));
        assert!(exponential(0, &[(0, &[99.0])], &[]).detect_reset(&before));
        assert!(FloatHistogram { count: 99.0, ..before.clone() }.detect_reset(&exponential(0, &[(0, &[1.0])], &[])));
    }
}
