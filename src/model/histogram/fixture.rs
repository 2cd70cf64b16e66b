//! Histograms for tests.

use proptest::collection::vec;
use proptest::prelude::*;

use super::bounds::CUSTOM_SCHEMA;
use super::cells::SpanBuilder;
use super::{BucketLayout, CounterResetHint, FloatHistogram, Span};

/// Spans and counts from the runs of one sign: gap before the run, counts in it.
fn side(runs: &[(i32, &[f64])]) -> (Vec<Span>, Vec<f64>) {
    let spans = runs.iter().map(|(offset, counts)| Span { offset: *offset, length: counts.len() as u32 });
    (spans.collect(), runs.iter().flat_map(|(_, counts)| counts.iter().copied()).collect())
}

/// A histogram of the given runs with as many observations as there are in the buckets and a sum of 0.
pub(crate) fn exponential(schema: i32, positive: &[(i32, &[f64])], negative: &[(i32, &[f64])]) -> FloatHistogram {
    let ((positive_spans, positive_buckets), (negative_spans, negative_buckets)) = (side(positive), side(negative));
    let layout = BucketLayout { schema, positive_spans, negative_spans, ..BucketLayout::default() };
    let count = positive_buckets.iter().chain(&negative_buckets).sum();
    FloatHistogram { layout, count, positive_buckets, negative_buckets, ..FloatHistogram::default() }
}

/// As [`exponential`], with a zero bucket.
pub(crate) fn with_zero(threshold: f64, count: f64, mut h: FloatHistogram) -> FloatHistogram {
    (h.layout.zero_threshold, h.zero_count) = (threshold, count);
    h.count += count;
    h
}

/// As [`exponential`], with custom bounds.
pub(crate) fn custom(bounds: &[f64], runs: &[(i32, &[f64])]) -> FloatHistogram {
    let mut h = exponential(CUSTOM_SCHEMA, runs, &[]);
    h.layout.custom_values = bounds.to_vec();
    h
}

/// With a hint.
pub(crate) fn hinted(counter_reset_hint: CounterResetHint, h: FloatHistogram) -> FloatHistogram {
    FloatHistogram { counter_reset_hint, ..h }
}

/// Buckets of one sign with whole counts, so that sums are exact in any order. Some are empty.
fn any_side() -> impl Strategy<Value = (Vec<Span>, Vec<f64>)> {
    (-12i32..4, vec(prop::option::weighted(0.7, 0u32..9), 0..14)).prop_map(|(first, counts)| {
        let (mut spans, mut filled) = (SpanBuilder::default(), Vec::new());
        for (index, count) in (first..).zip(counts) {
            if let Some(count) = count {
                spans.push(index);
                filled.push(f64::from(count));
            }
        }
        (spans.finish(), filled)
    })
}

/// Histograms of a resolution and a zero threshold, as a counter would have them.
fn any_like(schema: i32, threshold: f64) -> impl Strategy<Value = FloatHistogram> {
    (0u32..9, any_side(), any_side()).prop_map(move |(zero, positive, negative)| {
        let ((positive_spans, positive_buckets), (negative_spans, negative_buckets)) = (positive, negative);
        let layout = BucketLayout { schema, positive_spans, negative_spans, ..BucketLayout::default() };
        let count = positive_buckets.iter().chain(&negative_buckets).sum();
        let h = FloatHistogram { layout, count, positive_buckets, negative_buckets, ..FloatHistogram::default() };
        without_buckets_in_zero_bucket(with_zero(threshold, f64::from(zero), h))
    })
}

fn any_schema() -> impl Strategy<Value = i32> {
    -4i32..=8
}

fn any_threshold() -> impl Strategy<Value = f64> {
    prop::sample::select(vec![0.0, 1e-128, 0.001, 0.25, 0.3, 1.0, 2.0])
}

/// Histograms of any resolution and zero threshold.
pub(crate) fn any_exponential() -> impl Strategy<Value = FloatHistogram> {
    (any_schema(), any_threshold()).prop_flat_map(|(schema, threshold)| any_like(schema, threshold))
}

/// Two that differ in resolution or in the zero threshold. If both differ, the reference counts buckets twice that lie in
/// the zero bucket only before they are merged to the lower resolution.
pub(crate) fn any_pair() -> impl Strategy<Value = (FloatHistogram, FloatHistogram)> {
    let schemas = (any_schema(), any_schema()).prop_flat_map(|(a, b)| {
        any_threshold().prop_flat_map(move |threshold| (any_like(a, threshold), any_like(b, threshold)))
    });
    let thresholds = (any_threshold(), any_threshold())
        .prop_flat_map(|(a, b)| any_schema().prop_flat_map(move |schema| (any_like(schema, a), any_like(schema, b))));
    prop_oneof![schemas, thresholds]
}

/// Two with the same zero threshold.
pub(crate) fn any_pair_of_one_threshold() -> impl Strategy<Value = (FloatHistogram, FloatHistogram)> {
    (any_schema(), any_schema(), any_threshold())
        .prop_flat_map(|(a, b, threshold)| (any_like(a, threshold), any_like(b, threshold)))
}

/// Drops what no histogram has that was filled by observations.
fn without_buckets_in_zero_bucket(mut h: FloatHistogram) -> FloatHistogram {
    let threshold = h.layout.zero_threshold;
    let positive = h.positive_buckets().take_while(|bucket| bucket.lower < threshold).count();
    let negative = h.negative_buckets().take_while(|bucket| bucket.upper > -threshold).count();
    h.positive_buckets[..positive].fill(0.0);
    h.negative_buckets[..negative].fill(0.0);
    h.count = h.zero_count + h.positive_buckets.iter().chain(&h.negative_buckets).sum::<f64>();
    h
}

/// Histograms with custom bounds, each with some of the same bounds.
pub(crate) fn any_custom() -> impl Strategy<Value = FloatHistogram> {
    let bounds = prop::sample::subsequence(vec![-2.0, -0.5, 0.0, 1.0, 2.5, 5.0, 10.0], 0..=7);
    (bounds, vec(0u32..9, 8)).prop_map(|(bounds, counts)| {
        let counts: Vec<f64> = counts.into_iter().take(bounds.len() + 1).map(f64::from).collect();
        custom(&bounds, &[(0, &counts)])
    })
}
