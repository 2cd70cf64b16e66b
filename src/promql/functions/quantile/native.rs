//! Of native histograms.

use std::ops::ControlFlow;

use super::{Ranks, beyond_quantiles};
use crate::model::power::{exp2, log2};
use crate::model::{Bucket, FloatHistogram, Spread};

/// What observations of NaN, which lie in no bucket, did to a quantile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NanObservations {
    /// There are none, or it does not matter.
    Harmless,
    /// The quantile lies among them, so it is NaN.
    AreTheResult,
    /// They count as higher than everything else, so the quantile is too high.
    SkewTheResult,
}

/// The quantile of a native histogram.
///
/// The zero bucket ends at 0 towards a side without buckets. With custom bounds, the lowest and the highest bucket are
/// treated as in classic histograms. NaN without observations.
pub(crate) fn histogram_quantile(q: f64, h: &FloatHistogram) -> (f64, NanObservations) {
    if let Some(infinite) = beyond_quantiles(q) {
        return (infinite, NanObservations::Harmless);
    }
    if h.count == 0.0 || q.is_nan() {
        return (f64::NAN, NanObservations::Harmless);
    }
    // Observations of NaN are counted, but lie in no bucket: they have to be above all others. If they are possible, or
    // if it is shorter, count from below.
    if h.sum.is_nan() || q < 0.5 {
        quantile_from(h, h.all_buckets(), q * h.count, Direction::Up)
    } else {
        quantile_from(h, h.all_buckets_down(), (1.0 - q) * h.count, Direction::Down)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

/// The value with `rank` observations before it, in the order of the buckets.
fn quantile_from(
    h: &FloatHistogram,
    mut buckets: impl Iterator<Item = Bucket<f64>>,
    rank: f64,
    direction: Direction,
) -> (f64, NanObservations) {
    let (found, count) = bucket_with_rank(&mut buckets, rank);
    let mut bucket = match within_bounds(h, found) {
        ControlFlow::Continue(bucket) => bucket,
        ControlFlow::Break(value) => return (value, NanObservations::Harmless),
    };
    // Rounding may have made more of the buckets than there is altogether.
    let mut count = if count > h.count { h.count } else { count };
    if count < rank {
        // The rank is beyond all buckets, because of NaN or of rounding.
        let is_nan = h.sum.is_nan();
        let value = if is_nan { f64::NAN } else { bucket.upper };
        return (value, if is_nan { NanObservations::AreTheResult } else { NanObservations::Harmless });
    }
    let rank_in_bucket = if direction == Direction::Up { rank - (count - bucket.count) } else { count - rank };
    let mut nan = NanObservations::Harmless;
    if h.sum.is_nan() {
        // The sum is NaN too if both infinities were observed; then the buckets hold everything. That the reference
        // goes on with the last bucket that it counts here looks like a mistake, but its answers are what counts.
        for rest in buckets {
            count += rest.count;
            bucket = rest;
        }
        if count < h.count {
            nan = NanObservations::SkewTheResult;
        }
    }
    (value_within(h, &bucket, rank_in_bucket / bucket.count), nan)
}

/// The first bucket that reaches the rank, or the last one; and how many observations there are up to its end.
fn bucket_with_rank(buckets: &mut impl Iterator<Item = Bucket<f64>>, rank: f64) -> (Bucket<f64>, f64) {
    let none = Bucket { lower: 0.0, upper: 0.0, lower_inclusive: false, upper_inclusive: false, count: 0.0 };
    let (mut last, mut count) = (none, 0.0);
    for bucket in buckets {
        last = bucket;
        count += bucket.count;
        if bucket.count != 0.0 && count >= rank {
            break;
        }
    }
    (last, count)
}

/// The bucket with the bounds between which observations are expected, or, if one is infinite, the answer.
fn within_bounds(h: &FloatHistogram, mut bucket: Bucket<f64>) -> ControlFlow<f64, Bucket<f64>> {
    if !h.layout.has_custom_bounds() {
        if bucket.lower < 0.0 && bucket.upper > 0.0 {
            narrow_zero_bucket(h, &mut bucket);
        }
    } else if bucket.lower == f64::NEG_INFINITY {
        if bucket.upper <= 0.0 {
            return ControlFlow::Break(bucket.upper);
        }
        bucket.lower = 0.0;
    } else if bucket.upper == f64::INFINITY {
        return ControlFlow::Break(bucket.lower);
    }
    ControlFlow::Continue(bucket)
}

/// Lets a bucket around 0 end there towards the side on which the histogram has no buckets.
fn narrow_zero_bucket(h: &FloatHistogram, bucket: &mut Bucket<f64>) {
    match (h.negative_buckets.is_empty(), h.positive_buckets.is_empty()) {
        (true, false) => bucket.lower = 0.0,
        (false, true) => bucket.upper = 0.0,
        _ => {}
    }
}

/// The value up to which a fraction of the bucket's observations lies.
fn value_within(h: &FloatHistogram, bucket: &Bucket<f64>, fraction: f64) -> f64 {
    let Bucket { lower, upper, .. } = *bucket;
    if h.layout.has_custom_bounds() || lower <= 0.0 && upper >= 0.0 {
        return lower + (upper - lower) * fraction;
    }
    let (log_lower, log_upper) = (log2(lower.abs()), log2(upper.abs()));
    if lower > 0.0 {
        exp2(log_lower + (log_upper - log_lower) * fraction)
    } else {
        -exp2(log_upper + (log_lower - log_upper) * (1.0 - fraction))
    }
}

/// The part of a native histogram's observations that lies between two values, and whether there were observations of
/// NaN, which lie between no values.
pub(crate) fn histogram_fraction(lower: f64, upper: f64, h: &FloatHistogram) -> (f64, bool) {
    if h.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return (f64::NAN, false);
    }
    if lower >= upper {
        return (0.0, false);
    }
    let mut ranks = Ranks::new(lower, upper);
    let mut buckets = h.all_buckets();
    let mut count = 0.0;
    for mut bucket in buckets.by_ref() {
        count += bucket.count;
        let around_zero = bucket.lower <= 0.0 && bucket.upper >= 0.0;
        if around_zero {
            narrow_zero_bucket(h, &mut bucket);
        }
        let spread = if around_zero || h.layout.has_custom_bounds() { Spread::Linear } else { Spread::Exponential };
        let below = ranks.below;
        let rank_at = |value: f64| {
            if spread == Spread::Linear && bucket.lower == f64::NEG_INFINITY {
                return bucket.count;
            }
            below + bucket.count * bucket.fraction_below(value, spread)
        };
        if ranks.look_at(bucket.lower, bucket.upper, rank_at).is_break() {
            break;
        }
        ranks.below += bucket.count;
    }
    let mut has_nan = false;
    if h.sum.is_nan() {
        buckets.for_each(|bucket| count += bucket.count);
        has_nan = count < h.count;
    } else {
        count = h.count;
    }
    (ranks.between(count) / h.count, has_nan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::histogram::fixture::{custom, exponential, with_zero};

    const INF: f64 = f64::INFINITY;

    fn both_sides() -> FloatHistogram {
        with_zero(0.25, 2.0, exponential(0, &[(0, &[1.0, 4.0]), (1, &[2.0])], &[(0, &[2.0, 1.0])]))
    }

    fn only_positive() -> FloatHistogram {
        with_zero(0.25, 2.0, exponential(0, &[(0, &[1.0, 4.0])], &[]))
    }

    #[test]
    fn quantiles_of_native_histograms_are_those_of_the_reference() {
        let negative = with_zero(0.25, 2.0, exponential(0, &[], &[(0, &[1.0, 4.0])]));
        let positive_bounds = custom(&[2.0, 4.0], &[(0, &[4.0, 2.0, 1.0])]);
        for (q, h, expected) in [
            (0.0, both_sides(), -2.0),
            (0.1, both_sides(), -0.9330329915368074),
            (0.25, both_sides(), -0.5),
            (0.4, both_sides(), 0.20000000000000018),
            (0.5, both_sides(), 1.0),
            (0.75, both_sides(), 1.6817928305074292),
            (0.9, both_sides(), 5.278031643091579),
            (1.0, both_sides(), 8.0),
            (0.1, only_positive(), 0.08750000000000001),
            (0.5, only_positive(), 1.0905077326652577),
            (0.1, negative.clone(), -1.7715350382047212),
            (0.9, negative, -0.08749999999999997),
            (0.25, positive_bounds.clone(), 0.875),
            (0.75, positive_bounds.clone(), 3.25),
            (0.95, positive_bounds.clone(), 4.0),
            (0.25, custom(&[-2.0, 4.0], &[(0, &[4.0, 2.0, 1.0])]), -2.0),
            (-0.5, positive_bounds.clone(), -INF),
            (1.5, positive_bounds, INF),
        ] {
            assert_eq!(histogram_quantile(q, &h), (expected, NanObservations::Harmless), "{q} of {h}");
        }
        assert!(histogram_quantile(0.5, &exponential(0, &[], &[])).0.is_nan());
        assert!(histogram_quantile(f64::NAN, &both_sides()).0.is_nan());
    }

    #[test]
    fn observations_of_nan_are_above_all_others() {
        let buckets = exponential(0, &[(0, &[1.0, 2.0, 1.0])], &[]);
        let h = FloatHistogram { count: 8.0, sum: f64::NAN, ..buckets.clone() };
        assert_eq!(histogram_quantile(0.1, &h), (3.4822022531844965, NanObservations::SkewTheResult));
        assert_eq!(histogram_quantile(0.25, &h), (4.0, NanObservations::SkewTheResult));
        let (value, nan) = histogram_quantile(0.9, &h);
        assert!(value.is_nan() && nan == NanObservations::AreTheResult);
        let both_infinities = FloatHistogram { sum: f64::NAN, ..buckets };
        assert_eq!(histogram_quantile(0.5, &both_infinities), (4.0, NanObservations::Harmless));
    }

    #[test]
    fn fractions_of_native_histograms_are_those_of_the_reference() {
        let positive_bounds = || custom(&[2.0, 4.0], &[(0, &[4.0, 2.0, 1.0])]);
        for (lower, upper, h, expected) in [
            (1.5, 6.0, both_sides(), 0.23583958321314066),
            (-INF, 0.0, both_sides(), 0.3333333333333333),
            (-0.75, 0.1, both_sides(), 0.2141604167868594),
            (0.1, INF, only_positive(), 0.8857142857142858),
            (1.0, 3.0, positive_bounds(), 0.42857142857142855),
            (3.0, 7.0, positive_bounds(), 0.14285714285714285),
            (-3.0, 1.0, custom(&[-2.0, 4.0], &[(0, &[4.0, 2.0, 1.0])]), 0.07142857142857142),
            (2.0, 2.0, both_sides(), 0.0),
        ] {
            assert_eq!(histogram_fraction(lower, upper, &h), (expected, false), "{lower} to {upper} of {h}");
        }
        assert!(histogram_fraction(0.0, 1.0, &exponential(0, &[], &[])).0.is_nan());
        assert!(histogram_fraction(0.0, f64::NAN, &both_sides()).0.is_nan());
    }

    #[test]
    fn observations_of_nan_are_in_no_fraction() {
        let buckets = exponential(0, &[(0, &[1.0, 2.0, 1.0])], &[]);
        let h = FloatHistogram { count: 8.0, sum: f64::NAN, ..buckets.clone() };
        assert_eq!(histogram_fraction(-INF, INF, &h), (0.5, true));
        assert_eq!(histogram_fraction(-INF, INF, &FloatHistogram { sum: f64::NAN, ..buckets }), (1.0, false));
    }
}
