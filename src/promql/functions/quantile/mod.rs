//! Quantiles and fractions: of values, of classic histograms, of native histograms.
//!
//! Within a bucket observations are taken to be spread evenly, between exponential bounds on a logarithmic scale.

mod classic;
mod native;

use std::cmp::Ordering;
use std::ops::ControlFlow;

pub(crate) use classic::{ClassicBucket, bucket_fraction, bucket_quantile};
pub(crate) use native::{NanObservations, histogram_fraction, histogram_quantile};

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

/// As [`quantile`], of values that are sorted, NaN first: the value `at` each place, of at least one.
pub(crate) fn quantile_of_sorted(q: f64, count: usize, at: impl Fn(usize) -> f64) -> f64 {
    if q.is_nan() {
        return f64::NAN;
    }
    if let Some(infinite) = beyond_quantiles(q) {
        return infinite;
    }
    let last = count - 1;
    let rank = q * last as f64;
    let lower = (rank.floor() as usize).min(last);
    let weight = rank - rank.floor();
    at(lower) * (1.0 - weight) + at((lower + 1).min(last)) * weight
}

fn nan_first(a: &f64, b: &f64) -> Ordering {
    // Without NaN the order is total.
    b.is_nan().cmp(&a.is_nan()).then_with(|| a.partial_cmp(b).unwrap_or(Ordering::Equal))
}

fn beyond_quantiles(q: f64) -> Option<f64> {
    match q {
        _ if q < 0.0 => Some(f64::NEG_INFINITY),
        _ if q > 1.0 => Some(f64::INFINITY),
        _ => None,
    }
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
        let capped = |rank: Option<f64>| match rank {
            Some(rank) if rank > count => count,
            rank => rank.unwrap_or(count),
        };
        capped(self.upper_rank) - capped(self.lower_rank)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INF: f64 = f64::INFINITY;

    #[test]
    fn quantiles_of_values_are_interpolated() {
        let quantile_of = |q: f64, values: &[f64]| quantile(q, &mut values.to_vec());
        let values = [4.0, 1.0, 3.0, 2.0];
        for (q, expected) in [(0.0, 1.0), (0.5, 2.5), (0.75, 3.25), (1.0, 4.0), (-0.1, -INF), (1.1, INF)] {
            assert_eq!(quantile_of(q, &values), expected, "{q}");
        }
        assert_eq!(quantile_of(0.5, &[7.0]), 7.0);
        assert!(quantile_of(0.5, &[]).is_nan() && quantile_of(f64::NAN, &values).is_nan());
    }

    #[test]
    fn values_that_are_not_numbers_are_the_lowest() {
        let mut values = [3.0, f64::NAN, 1.0, f64::NAN, 2.0];
        assert!(quantile(0.25, &mut values).is_nan());
        assert_eq!(quantile(0.5, &mut values), 1.0);
        assert_eq!(quantile(1.0, &mut values), 3.0);
        assert_eq!(quantile(0.75, &mut [1.0, INF, INF]), INF);
        assert!(quantile(0.0, &mut [1.0, INF]).is_nan(), "0 times infinity, as the reference has it");
    }
}
