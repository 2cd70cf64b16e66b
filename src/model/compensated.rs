//! Sums that keep what rounding takes from them.

/// A running sum and its rounding error so far, after Kahan and Neumaier. The reference sums this way, so its results
/// come out to the bit only in the same order and with the same steps.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Compensated {
    /// The sum as plain addition has it.
    pub value: f64,
    /// What that addition lost; nothing once the sum is infinite.
    pub lost: f64,
}

impl Compensated {
    /// A sum of one number.
    pub fn new(value: f64) -> Compensated {
        Compensated { value, lost: 0.0 }
    }

    /// Adds a number.
    #[inline]
    pub fn add(&mut self, number: f64) {
        let sum = self.value + number;
        if sum.is_infinite() {
            self.lost = 0.0;
        } else if self.value.abs() >= number.abs() {
            self.lost += (self.value - sum) + number;
        } else {
            self.lost += (number - sum) + self.value;
        }
        self.value = sum;
    }

    /// The sum with what was lost given back.
    pub fn total(self) -> f64 {
        self.value + self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(numbers: &[f64]) -> Compensated {
        let mut sum = Compensated::default();
        numbers.iter().for_each(|n| sum.add(*n));
        sum
    }

    #[test]
    fn small_numbers_survive_beside_large_ones() {
        assert_eq!(sum(&[1e100, 1.0, -1e100]).total(), 1.0);
        assert_eq!(sum(&[1.0, 1e100, 1.0, -1e100]).total(), 2.0);
        assert_eq!(sum(&[0.1; 10]).total(), 1.0);
    }

    #[test]
    fn an_infinite_sum_has_lost_nothing() {
        let infinite = sum(&[1.0, 1e-30, f64::INFINITY, 5.0]);
        assert_eq!(infinite, Compensated { value: f64::INFINITY, lost: 0.0 });
        assert!(sum(&[f64::INFINITY, f64::NEG_INFINITY]).total().is_nan());
    }
}
