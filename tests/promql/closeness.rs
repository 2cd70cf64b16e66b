//! When two floats count as the same.

use watershed::model::is_stale;

/// Compares floats, and remembers whether all were the same to the bit.
pub struct Closeness {
    /// Largest difference by the sum of the two.
    tolerance: f64,
    /// Whether every float that was the same was so to the bit. Every NaN is one, as far as results go.
    pub is_exact: bool,
}

impl Closeness {
    /// Floats may differ by `tolerance` times their sum.
    pub fn within(tolerance: f64) -> Closeness {
        Closeness { tolerance, is_exact: true }
    }

    /// Whether two floats are the same. Staleness markers are the same as no other NaN.
    pub fn is_same(&mut self, expected: f64, found: f64) -> bool {
        if is_stale(expected) || is_stale(found) {
            return is_stale(expected) && is_stale(found);
        }
        if expected.is_nan() && found.is_nan() || expected.to_bits() == found.to_bits() {
            return true;
        }
        self.is_exact = false;
        if expected == found {
            return true;
        }
        let (sum, difference) = (expected.abs() + found.abs(), (expected - found).abs());
        if expected == 0.0 || found == 0.0 || sum < f64::MIN_POSITIVE {
            return difference < self.tolerance * f64::MIN_POSITIVE;
        }
        difference / sum.min(f64::MAX) < self.tolerance
    }
}

#[test]
fn floats_are_close_by_their_sum() {
    let mut closeness = Closeness::within(1e-6);
    assert!(closeness.is_same(f64::NAN, -f64::NAN) && closeness.is_same(1.5, 1.5) && closeness.is_exact);
    assert!(closeness.is_same(1e300, 1.000_001e300) && !closeness.is_exact);
    assert!(closeness.is_same(0.0, -0.0));
    for (a, b) in [(0.0, 1e-300), (1.0, 1.00001), (f64::INFINITY, f64::MAX), (f64::NAN, 1.0), (1.0, -1.0)] {
        assert!(!closeness.is_same(a, b), "{a} {b}");
    }
    assert!(!closeness.is_same(watershed::model::STALE_NAN, f64::NAN));
}
