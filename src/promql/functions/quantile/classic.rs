//! Of classic histograms: series of cumulative buckets.

use super::{Ranks, beyond_quantiles};

/// A bucket of a classic histogram; its count includes those of all lower buckets.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct ClassicBucket {
    /// Upper bound, the label `le`.
    pub upper: f64,
    /// Observations up to it.
    pub count: f64,
}

/// Where counts of a classic histogram fell, though they must not, and were lifted.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct ForcedMonotonicity {
    /// Upper bound of the lowest bucket that was lifted.
    pub min_bucket: f64,
    /// Upper bound of the highest one.
    pub max_bucket: f64,
    /// By how much at most.
    pub max_diff: f64,
}

/// The quantile of a classic histogram, and whether its counts had to be mended. Buckets may be in any order; they are
/// sorted, merged where bounds are equal, and mended in place.
///
/// In the highest bucket it is that bucket's lower bound; the lowest bucket begins at 0 if it ends above it, and otherwise
/// its upper bound is the quantile. NaN without a bucket up to +Inf, without another one, or without observations.
pub(crate) fn bucket_quantile(q: f64, buckets: &mut Vec<ClassicBucket>) -> (f64, Option<ForcedMonotonicity>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if let Some(infinite) = beyond_quantiles(q) {
        return (infinite, None);
    }
    if !put_in_order(buckets) {
        return (f64::NAN, None);
    }
    let forced = make_monotonic(buckets);
    let [.., second_last, last] = buckets[..] else { return (f64::NAN, forced) };
    if last.count == 0.0 {
        return (f64::NAN, forced);
    }
    let mut rank = q * last.count;
    let place = first_with_rank(&buckets[..buckets.len() - 1], rank);
    if place == buckets.len() - 1 {
        return (second_last.upper, forced);
    }
    let ClassicBucket { upper, mut count } = buckets[place];
    let mut lower = 0.0;
    if place > 0 {
        let below = buckets[place - 1];
        lower = below.upper;
        count -= below.count;
        rank -= below.count;
    } else if upper <= 0.0 {
        return (upper, forced);
    }
    (lower + (upper - lower) * (rank / count), forced)
}

/// Sorts buckets and merges those with equal bounds; false if there is none up to +Inf.
fn put_in_order(buckets: &mut Vec<ClassicBucket>) -> bool {
    let in_order = |a: &ClassicBucket, b: &ClassicBucket| a.upper < b.upper;
    if !buckets.is_sorted_by(in_order) {
        buckets.sort_by(|a, b| a.upper.total_cmp(&b.upper));
        buckets.dedup_by(|bucket, kept| {
            let is_equal = bucket.upper == kept.upper;
            if is_equal {
                kept.count += bucket.count;
            }
            is_equal
        });
    }
    buckets.last().is_some_and(|last| last.upper == f64::INFINITY)
}

/// Makes counts not fall from one bucket to the next. Differences that rounding makes are evened out silently, be they
/// up or down; real decreases are told.
fn make_monotonic(buckets: &mut [ClassicBucket]) -> Option<ForcedMonotonicity> {
    let mut forced: Option<ForcedMonotonicity> = None;
    let mut highest = buckets.first()?.count;
    for bucket in &mut buckets[1..] {
        if bucket.count == highest {
            continue;
        }
        if is_almost_equal(highest, bucket.count) {
            bucket.count = highest;
        } else if bucket.count < highest {
            let ForcedMonotonicity { min_bucket, max_bucket, max_diff } = forced.unwrap_or(ForcedMonotonicity {
                min_bucket: f64::INFINITY,
                max_bucket: f64::NEG_INFINITY,
                max_diff: 0.0,
            });
            forced = Some(ForcedMonotonicity {
                min_bucket: min_bucket.min(bucket.upper),
                max_bucket: max_bucket.max(bucket.upper),
                max_diff: max_diff.max(highest - bucket.count),
            });
            bucket.count = highest;
        } else {
            highest = bucket.count;
        }
    }
    forced
}

/// Whether counts differ by no more than rounding.
fn is_almost_equal(a: f64, b: f64) -> bool {
    /// Relative to the sum: one observation of a million million, which no histogram has in a window that matters.
    const TOLERANCE: f64 = 1e-12;
    if a.is_nan() && b.is_nan() {
        return true;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < TOLERANCE
}

/// The first bucket whose count reaches the rank, or the number of buckets. Which buckets are looked at is the
/// reference's choice: it shows if counts are NaN.
fn first_with_rank(buckets: &[ClassicBucket], rank: f64) -> usize {
    let (mut low, mut high) = (0, buckets.len());
    while low < high {
        let middle = low.midpoint(high);
        if buckets[middle].count >= rank {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

/// The part of a classic histogram's observations that lies between two values. Buckets are put in order as by
/// [`bucket_quantile`], but not mended.
pub(crate) fn bucket_fraction(lower: f64, upper: f64, buckets: &mut Vec<ClassicBucket>) -> f64 {
    if !put_in_order(buckets) {
        return f64::NAN;
    }
    let count = buckets.last().map_or(0.0, |last| last.count);
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let starts_at_zero = buckets.first().is_some_and(|first| first.upper > 0.0);
    let mut begin = if starts_at_zero { 0.0 } else { f64::NEG_INFINITY };
    let mut ranks = Ranks::new(lower, upper);
    for bucket in &*buckets {
        let rank = ranks.below;
        let rank_at = |value: f64| {
            if begin == f64::NEG_INFINITY {
                return bucket.count;
            }
            rank + (bucket.count - rank) * (value - begin) / (bucket.upper - begin)
        };
        if ranks.look_at(begin, bucket.upper, rank_at).is_break() {
            break;
        }
        ranks.below = bucket.count;
        begin = bucket.upper;
    }
    ranks.between(count) / count
}

#[cfg(test)]
mod tests {
    use super::*;

    const INF: f64 = f64::INFINITY;

    fn classic(buckets: &[(f64, f64)]) -> Vec<ClassicBucket> {
        buckets.iter().map(|&(upper, count)| ClassicBucket { upper, count }).collect()
    }

    #[test]
    fn quantiles_of_classic_histograms_are_interpolated() {
        let plain = [(1.0, 2.0), (2.0, 6.0), (4.0, 7.0), (INF, 8.0)];
        for (q, buckets, expected) in [
            (0.5, &plain[..], 1.5),
            (0.99, &plain, 4.0),
            (0.2, &plain, 0.8),
            (0.2, &[(-1.0, 2.0), (2.0, 6.0), (INF, 8.0)], -1.0),
            (0.5, &[(INF, 20.0), (2.0, 4.0), (2.0, 5.0), (1.0, 3.0)], 2.0),
            (-1.0, &plain, -INF),
            (2.0, &plain, INF),
        ] {
            assert_eq!(bucket_quantile(q, &mut classic(buckets)), (expected, None), "{q} of {buckets:?}");
        }
    }

    #[test]
    fn classic_histograms_without_what_it_takes_have_no_quantile() {
        for buckets in [
            &[][..],
            &[(INF, 8.0)],
            &[(INF, 8.0), (INF, 2.0)],
            &[(1.0, 2.0), (2.0, 6.0)],
            &[(1.0, 0.0), (INF, 0.0)],
            &[(1.0, 1.0), (f64::NAN, 5.0), (INF, 6.0)],
        ] {
            assert!(bucket_quantile(0.5, &mut classic(buckets)).0.is_nan(), "{buckets:?}");
        }
        assert!(bucket_quantile(f64::NAN, &mut classic(&[(1.0, 1.0), (INF, 2.0)])).0.is_nan());
    }

    #[test]
    fn counts_that_fall_are_lifted_and_told() {
        let mut buckets = classic(&[(1.0, 10.0), (2.0, 7.0), (3.0, 12.0), (4.0, 11.5), (INF, 20.0)]);
        let forced = ForcedMonotonicity { min_bucket: 2.0, max_bucket: 4.0, max_diff: 3.0 };
        assert_eq!(bucket_quantile(0.8, &mut buckets), (4.0, Some(forced)));
        assert_eq!(buckets, classic(&[(1.0, 10.0), (2.0, 10.0), (3.0, 12.0), (4.0, 12.0), (INF, 20.0)]));
    }

    #[test]
    fn differences_that_rounding_makes_are_evened_out_silently() {
        for count in [10.000000000001, 9.999999999999] {
            let mut buckets = classic(&[(1.0, 10.0), (2.0, count), (INF, 20.0)]);
            assert_eq!(bucket_quantile(0.5, &mut buckets), (1.0, None));
            assert_eq!(buckets[1].count, 10.0);
        }
    }

    #[test]
    fn fractions_of_classic_histograms_are_interpolated() {
        let plain = [(1.0, 2.0), (2.0, 6.0), (4.0, 7.0), (INF, 8.0)];
        let fraction = |lower, upper, buckets: &[(f64, f64)]| bucket_fraction(lower, upper, &mut classic(buckets));
        assert_eq!(fraction(0.5, 3.0, &plain), 0.6875);
        assert_eq!(fraction(-1.0, INF, &plain), 1.0);
        assert_eq!(fraction(3.0, 3.0, &plain), 0.0);
        assert_eq!(fraction(-5.0, 0.0, &[(-1.0, 2.0), (2.0, 6.0), (INF, 8.0)]), 0.16666666666666663);
        assert!(fraction(0.0, 1.0, &plain[..3]).is_nan() && fraction(f64::NAN, 1.0, &plain).is_nan());
        assert!(fraction(0.0, 1.0, &[]).is_nan() && fraction(0.0, 1.0, &[(INF, 0.0)]).is_nan());
    }
}
