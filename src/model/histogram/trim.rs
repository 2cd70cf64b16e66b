//! Cutting off what lies above or below a value: PromQL's `</` and `>/`.
//!
//! How many observations of a bucket lie on either side is interpolated. Once anything is cut off, the sum is no longer
//! known and estimated anew from the middles of the buckets.

use super::FloatHistogram;
use super::bounds::CUSTOM_SCHEMA;
use super::buckets::Bucket;
use super::interpolate::Spread;

/// Which part of a histogram is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Keep {
    Below,
    Above,
}

/// What is kept of a bucket, and where it lies on average.
struct Kept {
    count: f64,
    middle: f64,
}

/// How a bucket's middle is found.
#[derive(Clone, Copy)]
struct Shape {
    spread: Spread,
    is_positive: bool,
}

impl FloatHistogram {
    /// Keeps what lies below `limit`: PromQL's `</`.
    pub fn trim_upper(&mut self, limit: f64) {
        self.trim(limit, Keep::Below);
    }

    /// Keeps what lies above `limit`: PromQL's `>/`.
    pub fn trim_lower(&mut self, limit: f64) {
        self.trim(limit, Keep::Above);
    }

    fn trim(&mut self, limit: f64, keep: Keep) {
        let spread = if self.layout.schema == CUSTOM_SCHEMA { Spread::Linear } else { Spread::Exponential };
        let mut total = Total::default();
        let shape = Shape { spread, is_positive: true };
        let positive: Vec<f64> = self.positive_buckets().map(|b| total.trim(&b, limit, keep, shape)).collect();
        let has_positive = std::mem::take(&mut total.has_any);
        let shape = Shape { spread, is_positive: false };
        let negative: Vec<f64> = self.negative_buckets().map(|b| total.trim(&b, limit, keep, shape)).collect();
        let has_negative = total.has_any;
        if let Some(zero) = self.zero_bucket().filter(|zero| zero.count > 0.0) {
            let kept = trim_zero_bucket(zero, limit, keep, has_negative, has_positive);
            total.take(&kept);
            total.is_trimmed |= zero.count != kept.count;
            self.zero_count = kept.count;
        }
        if total.is_trimmed {
            (self.positive_buckets, self.negative_buckets) = (positive, negative);
            (self.count, self.sum) = (total.count, total.sum);
            self.compact(0);
        }
    }
}

/// What all buckets keep together.
#[derive(Default)]
struct Total {
    count: f64,
    sum: f64,
    is_trimmed: bool,
    has_any: bool,
}

impl Total {
    /// The count that is left of a bucket.
    fn trim(&mut self, bucket: &Bucket<f64>, limit: f64, keep: Keep, shape: Shape) -> f64 {
        if bucket.count == 0.0 {
            return bucket.count;
        }
        self.has_any = true;
        let (is_inside, is_cut) = match keep {
            Keep::Below => (bucket.upper <= limit, bucket.lower < limit),
            Keep::Above => (bucket.lower >= limit, bucket.upper > limit),
        };
        if is_inside {
            self.take(&Kept { count: bucket.count, middle: middle(bucket.lower, bucket.upper, shape) });
            return bucket.count;
        }
        if is_cut {
            let kept = cut(bucket, limit, keep, shape);
            self.take(&kept);
            self.is_trimmed |= bucket.count != kept.count;
            return kept.count;
        }
        self.is_trimmed = true;
        0.0
    }

    fn take(&mut self, kept: &Kept) {
        self.count += kept.count;
        self.sum += kept.middle * kept.count;
    }
}

/// Cuts a bucket that the limit lies in.
fn cut(bucket: &Bucket<f64>, limit: f64, keep: Keep, shape: Shape) -> Kept {
    if bucket.lower == f64::NEG_INFINITY {
        return cut_below_infinity(bucket, limit, keep);
    }
    if bucket.upper == f64::INFINITY {
        // How far up its observations lie is unknown, so none counts as lying below any limit.
        return match keep {
            Keep::Above if limit >= bucket.lower => Kept { count: bucket.count, middle: limit },
            _ => Kept { count: 0.0, middle: finite_or_zero(bucket.lower) },
        };
    }
    let below = bucket.count * bucket.fraction_below(limit, shape.spread);
    match keep {
        Keep::Below => Kept { count: below, middle: middle(bucket.lower, limit, shape) },
        Keep::Above => Kept { count: bucket.count - below, middle: middle(limit, bucket.upper, shape) },
    }
}

/// Cuts the lowest bucket of custom bounds. If it reaches above 0 it is taken to begin there.
fn cut_below_infinity(bucket: &Bucket<f64>, limit: f64, keep: Keep) -> Kept {
    let (count, upper) = (bucket.count, bucket.upper);
    match keep {
        Keep::Below if limit >= upper => Kept { count, middle: 0.0 },
        Keep::Below if limit > 0.0 && upper > 0.0 && upper != f64::INFINITY => {
            Kept { count: count * limit / upper, middle: limit / 2.0 }
        }
        Keep::Below if upper <= 0.0 => Kept { count, middle: limit },
        Keep::Above if limit <= bucket.lower => Kept { count, middle: 0.0 },
        Keep::Above if limit >= 0.0 && upper > limit && upper != f64::INFINITY => {
            Kept { count: count * (1.0 - limit / upper), middle: (limit + upper) / 2.0 }
        }
        _ => Kept { count: 0.0, middle: finite_or_zero(upper) },
    }
}

/// The zero bucket ends at 0 on a side on which there is nothing else.
fn trim_zero_bucket(zero: Bucket<f64>, limit: f64, keep: Keep, has_negative: bool, has_positive: bool) -> Kept {
    let lower = if has_positive && !has_negative { 0.0 } else { zero.lower };
    let upper = if has_negative && !has_positive { 0.0 } else { zero.upper };
    let whole = Kept { count: zero.count, middle: (lower + upper) / 2.0 };
    let nothing = Kept { count: 0.0, middle: 0.0 };
    let (fraction, middle) = match keep {
        Keep::Below if limit <= lower => return nothing,
        Keep::Below if limit >= upper => return whole,
        Keep::Below => ((limit - lower) / (upper - lower), (lower + limit) / 2.0),
        Keep::Above if limit <= lower => return whole,
        Keep::Above if limit >= upper => return nothing,
        Keep::Above => ((upper - limit) / (upper - lower), (limit + upper) / 2.0),
    };
    Kept { count: zero.count * fraction, middle }
}

/// The middle of an interval: by arithmetic or geometric mean, or by guess if it has no end.
fn middle(lower: f64, upper: f64, shape: Shape) -> f64 {
    match (lower.is_infinite(), upper.is_infinite()) {
        (true, true) => 0.0,
        (true, false) if upper > 0.0 => upper / 2.0,
        (true, false) => upper,
        (false, true) => lower,
        (false, false) if shape.spread == Spread::Linear => (lower + upper) / 2.0,
        (false, false) => {
            let mean = (lower * upper).abs().sqrt();
            if shape.is_positive { mean } else { -mean }
        }
    }
}

fn finite_or_zero(v: f64) -> f64 {
    if v.is_infinite() { 0.0 } else { v }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{custom, exponential, with_zero};
    use super::*;

    /// What `</` and `>/` leave; the texts are the reference's.
    fn trimmed(h: &FloatHistogram, limit: f64) -> [String; 2] {
        let (mut below, mut above) = (h.clone(), h.clone());
        below.trim_upper(limit);
        above.trim_lower(limit);
        [below.to_string(), above.to_string()]
    }

    fn both_sides() -> FloatHistogram {
        let h = exponential(0, &[(0, &[1.0, 4.0]), (1, &[2.0])], &[(0, &[2.0, 1.0])]);
        FloatHistogram { sum: 10.0, ..with_zero(0.25, 2.0, h) }
    }

    #[test]
    fn buckets_are_cut_on_a_logarithmic_scale() {
        let h = both_sides();
        let below = "{count:8.339850002884624, sum:0.7443989472988963, \
                     [-2,-1):1, [-1,-0.5):2, [-0.25,0.25]:2, (0.5,1]:1, (1,2]:2.339850002884625}";
        let above = "{count:3.660149997115375, sum:14.189172642173915, (1,2]:1.6601499971153748, (4,8]:2}";
        assert_eq!(trimmed(&h, 1.5), [below, above]);
        let below = "{count:1.8300749985576874, sum:-2.133079598170384, [-2,-1):1, [-1,-0.5):0.8300749985576874}";
        let above = "{count:10.169925001442312, sum:16.961239706949055, \
                     [-1,-0.5):1.1699250014423126, [-0.25,0.25]:2, (0.5,1]:1, (1,2]:4, (4,8]:2}";
        assert_eq!(trimmed(&h, -0.75), [below, above]);
    }

    #[test]
    fn the_zero_bucket_is_cut_evenly_and_ends_at_zero_if_there_is_nothing_beyond() {
        let below = "{count:4.5, sum:-2.9221771247461903, [-2,-1):1, [-1,-0.5):2, [-0.25,0.25]:1.5}";
        let above = "{count:7.5, sum:17.77141952966369, [-0.25,0.25]:0.5, (0.5,1]:1, (1,2]:4, (4,8]:2}";
        assert_eq!(trimmed(&both_sides(), 0.125), [below, above]);
        let positive = with_zero(0.25, 2.0, exponential(0, &[(0, &[1.0, 4.0])], &[]));
        let below = "{count:1, sum:0.0625, [-0.25,0.25]:1}";
        let above = "{count:6, sum:6.5514610306789285, [-0.25,0.25]:1, (0.5,1]:1, (1,2]:4}";
        assert_eq!(trimmed(&positive, 0.125), [below, above]);
    }

    #[test]
    fn custom_buckets_are_cut_evenly() {
        let h = custom(&[2.0, 4.0], &[(0, &[4.0, 2.0, 1.0])]);
        for (limit, below, above) in [
            (1.0, "{count:2, sum:1, [-Inf,2]:2}", "{count:5, sum:13, [-Inf,2]:2, (2,4]:2, (4,+Inf]:1}"),
            (3.0, "{count:5, sum:6.5, [-Inf,2]:4, (2,4]:1}", "{count:2, sum:7.5, (2,4]:1, (4,+Inf]:1}"),
            (5.0, "{count:6, sum:10, [-Inf,2]:4, (2,4]:2}", "{count:1, sum:5, (4,+Inf]:1}"),
        ] {
            assert_eq!(trimmed(&h, limit), [below, above]);
        }
        let h = custom(&[-2.0, 4.0], &[(0, &[4.0, 2.0, 1.0])]);
        let (below, above) = ("{count:4, sum:-12, [-Inf,-2]:4}", "{count:3, sum:6, (-2,4]:2, (4,+Inf]:1}");
        assert_eq!(trimmed(&h, -3.0), [below, above]);
    }

    #[test]
    fn the_sum_stays_if_nothing_is_cut_off() {
        let mut h = both_sides();
        h.trim_upper(100.0);
        assert_eq!(h, both_sides());
        h.trim_lower(-2.0);
        assert_eq!(h, both_sides());
        h.trim_lower(100.0);
        assert_eq!(h.to_string(), "{count:0, sum:0}");
    }

    #[test]
    fn a_limit_that_is_no_number_leaves_nothing_known() {
        let mut h = both_sides();
        h.trim_upper(f64::NAN);
        assert_eq!(h.to_string(), "{count:NaN, sum:NaN, [-0.25,0.25]:NaN}");
    }
}
