//! Where within a bucket a value lies.

use super::Bucket;
use crate::model::power::log2;

/// How observations are assumed to lie within a bucket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spread {
    /// Evenly: with custom bounds, and in the zero bucket.
    Linear,
    /// Evenly on a logarithmic scale: in buckets with exponential bounds.
    Exponential,
}

impl Bucket<f64> {
    /// The part of the bucket, between 0 and 1, up to a value strictly between its finite bounds.
    pub fn fraction_below(&self, value: f64, spread: Spread) -> f64 {
        if spread == Spread::Linear {
            return (value - self.lower) / (self.upper - self.lower);
        }
        let (lower, upper, at) = (log2(self.lower.abs()), log2(self.upper.abs()), log2(value.abs()));
        if value > 0.0 { (at - lower) / (upper - lower) } else { 1.0 - (at - upper) / (lower - upper) }
    }
}
