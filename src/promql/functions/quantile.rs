//! Quantiles and fractions: of values, of classic histograms, of native histograms.
//!
//! Within a bucket observations are taken to be spread evenly, between exponential bounds on a logarithmic scale.

use std::ops::ControlFlow;

use crate::model::power::{exp2, log2};
use crate::model::{Bucket, FloatHistogram, Spread};

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

/// The quantile of values, which come to lie in another order; between two of them it is interpolated. NaN without
/// values, and infinite for `q` outside of 0 to 1.
pub(crate) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if let Some(infinite) = beyond_quantiles(q) {
        return infinite;
    }
    let last = values.len() - 1;
    let rank = q * last as f64;
    let lower = (rank.floor() as usize).min(last);
    let weight = rank - rank.floor();
    let (_, low, higher) = values.select_nth_unstable_by(lower, nan_first);
    let low = *low;
    let high = higher.iter().copied().min_by(nan_first).unwrap_or(low);
    low * (1.0 - weight) + high * weight
}

fn nan_first(a: &f64, b: &f64) -> std::cmp::Ordering {
    // Without NaN the order is total.
    b.is_nan().cmp(&a.is_nan()).then_with(|| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal))
}

fn beyond_quantiles(q: f64) -> Option<f64> {
    match q {
        _ if q < 0.0 => Some(f64::NEG_INFINITY),
        _ if q > 1.0 => Some(f64::INFINITY),
        _ => None,
    }
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

/// How many observations lie below each of two values, found by going through buckets upward.
struct Ranks {
    lower: f64,
    upper: f64,
    lower_rank: Option<f64>,
    upper_rank: Option<f64>,
    /// Observations in the buckets so far.
    below: f64,
}

impl Ranks {
    fn new(lower: f64, upper: f64) -> Ranks {
        Ranks { lower, upper, lower_rank: None, upper_rank: None, below: 0.0 }
    }

    /// Takes up the next bucket; breaks when both values are found. A value that no bucket before holds, and that is not
    /// above where this one begins, has the rank of all buckets before.
    fn look_at(&mut self, begin: f64, end: f64, rank_at: impl Fn(f64) -> f64) -> ControlFlow<()> {
        for (value, rank) in [(self.lower, &mut self.lower_rank), (self.upper, &mut self.upper_rank)] {
            if rank.is_none() && begin >= value {
                *rank = Some(self.below);
            } else if rank.is_none() && begin < value && end > value {
                *rank = Some(rank_at(value));
            }
        }
        if self.lower_rank.is_some() && self.upper_rank.is_some() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    /// Observations between both values, of which there cannot be more than `count` below either.
    fn between(&self, count: f64) -> f64 {
        let capped = |rank: Option<f64>| rank.filter(|rank| !(*rank > count)).unwrap_or(count);
        capped(self.upper_rank) - capped(self.lower_rank)
    }
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
