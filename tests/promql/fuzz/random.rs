//! Chance that is the same everywhere.

/// SplitMix64: every seed is good, 0 too.
#[derive(Clone)]
pub struct Random(pub u64);

impl Random {
    /// Any number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// At least `low`, less than `high`.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below(high.abs_diff(low)).cast_signed()
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of them.
    pub fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }

    /// At least 0, less than 1, with few digits or with many.
    pub fn fraction(&mut self) -> f64 {
        match self.below(3) {
            0 => self.below(100) as f64 / 100.0,
            1 => self.below(16) as f64 / 16.0,
            _ => (self.next() >> 11) as f64 / (1u64 << 53) as f64,
        }
    }
}
