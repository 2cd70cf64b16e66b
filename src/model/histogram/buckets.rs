//! The buckets of native histograms one by one, with their bounds.

use super::bounds::{CUSTOM_SCHEMA, bound, custom_bound};
use super::{FloatHistogram, Histogram, Span};

/// A bucket with its bounds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Bucket<C> {
    /// Lower bound.
    pub lower: f64,
    /// Upper bound.
    pub upper: f64,
    /// Whether an observation of exactly [`lower`](Bucket::lower) is in it.
    pub lower_inclusive: bool,
    /// Whether an observation of exactly [`upper`](Bucket::upper) is in it.
    pub upper_inclusive: bool,
    /// Observations.
    pub count: C,
}

impl Histogram {
    /// The positive buckets, also empty ones, from the zero bucket upward.
    pub fn positive_buckets(&self) -> impl Iterator<Item = Bucket<u64>> {
        let (layout, counts) = (&self.layout, absolute(&self.positive_buckets));
        let indexes = indexes(&layout.positive_spans);
        indexes.zip(counts).map(|(index, count)| positive(index, layout.schema, &layout.custom_values, count))
    }

    /// The negative buckets, also empty ones, from the zero bucket downward.
    pub fn negative_buckets(&self) -> impl Iterator<Item = Bucket<u64>> {
        let (layout, counts) = (&self.layout, absolute(&self.negative_buckets));
        indexes(&layout.negative_spans).zip(counts).map(|(index, count)| negative(index, layout.schema, count))
    }
}

impl FloatHistogram {
    /// The positive buckets, also empty ones, from the zero bucket upward.
    pub fn positive_buckets(&self) -> impl Iterator<Item = Bucket<f64>> {
        let (layout, counts) = (&self.layout, self.positive_buckets.iter().copied());
        let indexes = indexes(&layout.positive_spans);
        indexes.zip(counts).map(|(index, count)| positive(index, layout.schema, &layout.custom_values, count))
    }

    /// The negative buckets, also empty ones, from the zero bucket downward.
    pub fn negative_buckets(&self) -> impl Iterator<Item = Bucket<f64>> {
        let (layout, counts) = (&self.layout, self.negative_buckets.iter().copied());
        indexes(&layout.negative_spans).zip(counts).map(|(index, count)| negative(index, layout.schema, count))
    }

    /// The positive buckets from the highest down to the zero bucket.
    pub fn positive_buckets_down(&self) -> impl Iterator<Item = Bucket<f64>> {
        let (layout, counts) = (&self.layout, self.positive_buckets.iter().rev().copied());
        let indexes = indexes_backward(&layout.positive_spans);
        indexes.zip(counts).map(|(index, count)| positive(index, layout.schema, &layout.custom_values, count))
    }

    /// The negative buckets from the lowest up to the zero bucket.
    pub fn negative_buckets_up(&self) -> impl Iterator<Item = Bucket<f64>> {
        let (layout, counts) = (&self.layout, self.negative_buckets.iter().rev().copied());
        let indexes = indexes_backward(&layout.negative_spans);
        indexes.zip(counts).map(|(index, count)| negative(index, layout.schema, count))
    }

    /// The zero bucket, unless there cannot be one because the bounds are custom.
    pub fn zero_bucket(&self) -> Option<Bucket<f64>> {
        let custom = self.layout.has_custom_bounds();
        (!custom).then(|| zero_bucket(self.layout.zero_threshold, self.zero_count))
    }

    /// All buckets, also empty ones except for the zero bucket, from the lowest to the highest. A bucket that the zero
    /// bucket reaches into begins or ends at the zero threshold.
    pub fn all_buckets(&self) -> impl Iterator<Item = Bucket<f64>> {
        let zero = self.zero_bucket().filter(|zero| zero.count > 0.0);
        let outer = |bucket| outside_of_zero(bucket, self.layout.zero_threshold);
        self.negative_buckets_up().map(outer).chain(zero).chain(self.positive_buckets().map(outer))
    }

    /// As [`FloatHistogram::all_buckets`], from the highest to the lowest.
    pub fn all_buckets_down(&self) -> impl Iterator<Item = Bucket<f64>> {
        let zero = self.zero_bucket().filter(|zero| zero.count > 0.0);
        let outer = |bucket| outside_of_zero(bucket, self.layout.zero_threshold);
        self.positive_buckets_down().map(outer).chain(zero).chain(self.negative_buckets().map(outer))
    }
}

/// What of a bucket lies beyond the zero bucket.
fn outside_of_zero(mut bucket: Bucket<f64>, threshold: f64) -> Bucket<f64> {
    if bucket.upper < 0.0 && bucket.upper > -threshold {
        bucket.upper = -threshold;
    } else if bucket.lower > 0.0 && bucket.lower < threshold {
        bucket.lower = threshold;
    }
    bucket
}

/// The indexes that spans stand for. Lazy, because a span may claim more buckets than there are.
pub(super) fn indexes(spans: &[Span]) -> impl Iterator<Item = i32> {
    let starts = spans.iter().scan(0i32, |end, span| {
        let start = end.wrapping_add(span.offset);
        *end = start.wrapping_add(span.length.cast_signed());
        Some((start, span.length))
    });
    starts.flat_map(|(start, length)| (0..length).map(move |n| start.wrapping_add(n.cast_signed())))
}

/// [`indexes`] from the last to the first.
fn indexes_backward(spans: &[Span]) -> impl Iterator<Item = i32> {
    let behind = |end: i32, span: &Span| end.wrapping_add(span.offset).wrapping_add(span.length.cast_signed());
    let last_end = spans.iter().fold(0, behind);
    let starts = spans.iter().rev().scan(last_end, |end, span| {
        let start = end.wrapping_sub(span.length.cast_signed());
        *end = start.wrapping_sub(span.offset);
        Some((start, span.length))
    });
    starts.flat_map(|(start, length)| (0..length).rev().map(move |n| start.wrapping_add(n.cast_signed())))
}

/// Counts from the deltas between them.
fn absolute(deltas: &[i64]) -> impl Iterator<Item = u64> {
    deltas.iter().scan(0i64, |count, delta| {
        *count = count.wrapping_add(*delta);
        Some(count.cast_unsigned())
    })
}

pub(super) fn zero_bucket<C>(threshold: f64, count: C) -> Bucket<C> {
    Bucket { lower: -threshold, upper: threshold, lower_inclusive: true, upper_inclusive: true, count }
}

fn positive<C>(index: i32, schema: i32, custom_values: &[f64], count: C) -> Bucket<C> {
    if schema == CUSTOM_SCHEMA {
        let (lower, upper) = (custom_bound(index.wrapping_sub(1), custom_values), custom_bound(index, custom_values));
        return Bucket { lower, upper, lower_inclusive: index == 0, upper_inclusive: true, count };
    }
    let (lower, upper) = (bound(index.wrapping_sub(1), schema), bound(index, schema));
    Bucket { lower, upper, lower_inclusive: lower < 0.0, upper_inclusive: upper > 0.0, count }
}

fn negative<C>(index: i32, schema: i32, count: C) -> Bucket<C> {
    let (lower, upper) = (-bound(index, schema), -bound(index.wrapping_sub(1), schema));
    Bucket { lower, upper, lower_inclusive: lower < 0.0, upper_inclusive: upper > 0.0, count }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fixture::{any_exponential, custom, exponential, with_zero};
    use super::*;

    fn intervals(buckets: impl Iterator<Item = Bucket<f64>>) -> Vec<(f64, f64, f64)> {
        buckets.map(|b| (b.lower, b.upper, b.count)).collect()
    }

    #[test]
    fn all_buckets_come_in_order_and_end_where_the_zero_bucket_begins() {
        let h = exponential(0, &[(-1, &[1.0, 0.0]), (2, &[2.0])], &[(-1, &[3.0]), (1, &[4.0])]);
        let h = with_zero(0.375, 5.0, h);
        let mut expected = vec![
            (-2.0, -1.0, 4.0),
            (-0.5, -0.375, 3.0),
            (-0.375, 0.375, 5.0),
            (0.375, 0.5, 1.0),
            (0.5, 1.0, 0.0),
            (4.0, 8.0, 2.0),
        ];
        assert_eq!(intervals(h.all_buckets()), expected);
        expected.reverse();
        assert_eq!(intervals(h.all_buckets_down()), expected);
    }

    #[test]
    fn an_empty_zero_bucket_is_left_out_and_custom_bounds_have_none() {
        let h = with_zero(0.1, 0.0, exponential(0, &[(0, &[1.0])], &[]));
        assert_eq!(intervals(h.all_buckets()), [(0.5, 1.0, 1.0)]);
        let h = custom(&[1.0], &[(0, &[2.0, 3.0])]);
        assert_eq!(h.zero_bucket(), None);
        assert_eq!(intervals(h.all_buckets_down()), [(1.0, f64::INFINITY, 3.0), (f64::NEG_INFINITY, 1.0, 2.0)]);
    }

    proptest! {
        #[test]
        fn downward_is_upward_reversed(h in any_exponential()) {
            let mut down: Vec<_> = h.all_buckets_down().collect();
            down.reverse();
            prop_assert_eq!(down, h.all_buckets().collect::<Vec<_>>());
            let mut down: Vec<_> = h.positive_buckets_down().collect();
            down.reverse();
            prop_assert_eq!(down, h.positive_buckets().collect::<Vec<_>>());
        }
    }
}
