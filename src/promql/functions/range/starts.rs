//! What start timestamps say of resets.
//!
//! A sample's start timestamp is when its counter was last zero. 0 is none.

use super::Samples;

/// Two neighbouring samples: their start timestamps and times, milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct StartPair {
    earlier_start: i64,
    earlier: i64,
    start: i64,
    time: i64,
}

impl StartPair {
    /// Whether a reset lies between them.
    pub fn is_reset(self) -> bool {
        let StartPair { earlier_start, earlier, start, time } = self;
        // A start at or behind the sample's own time is invalid, or stands for an unknown one.
        if start == 0 || start >= time || start < earlier {
            return false;
        }
        // A start at the sample before is a delta's, unless that one's start is unknown: then it is a counter's whose
        // first sample stands for its start.
        start > earlier || earlier_start < earlier && earlier_start != 0
    }

    /// Whether the later sample starts before the earlier one, and not where that one does.
    pub fn is_overlap(self) -> bool {
        self.start != 0 && self.start < self.earlier && self.start != self.earlier_start
    }
}

impl Samples {
    /// The float at `at` and the one before, if start timestamps are known; there must be one before.
    pub(super) fn float_pair(&self, at: usize) -> Option<StartPair> {
        pair(&self.starts, &self.times, at)
    }

    /// As [`Samples::float_pair`], of histograms.
    pub(super) fn histogram_pair(&self, at: usize) -> Option<StartPair> {
        pair(&self.histogram_starts, &self.histogram_times, at)
    }
}

fn pair(starts: &[i64], times: &[i64], at: usize) -> Option<StartPair> {
    let start = *starts.get(at)?;
    Some(StartPair { earlier_start: starts[at - 1], earlier: times[at - 1], start, time: times[at] })
}

/// The start timestamp of a window's first sample, if the window knows of the zero there: it lies within the window and
/// before the sample.
pub(super) fn zero_within(starts: &[i64], first: usize, time: i64, window_start: i64) -> Option<i64> {
    starts.get(first).copied().filter(|start| *start != 0 && *start > window_start && *start < time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(earlier_start: i64, earlier: i64, start: i64, time: i64) -> StartPair {
        StartPair { earlier_start, earlier, start, time }
    }

    #[test]
    fn a_start_between_two_samples_is_a_reset() {
        assert!(pair(5, 10, 15, 20).is_reset());
        assert!(!pair(5, 10, 5, 20).is_reset());
        assert!(!pair(5, 10, 0, 20).is_reset());
        assert!(!pair(5, 10, 20, 20).is_reset(), "an unknown start stands at the sample");
        assert!(!pair(5, 10, 30, 20).is_reset(), "a start behind the sample is invalid");
    }

    #[test]
    fn a_start_at_the_sample_before_is_a_reset_of_deltas_only() {
        assert!(pair(5, 10, 10, 20).is_reset());
        assert!(!pair(0, 10, 10, 20).is_reset());
        assert!(!pair(10, 10, 10, 20).is_reset());
        assert!(!pair(11, 10, 10, 20).is_reset());
    }

    #[test]
    fn a_start_before_the_sample_before_overlaps_unless_it_is_the_same_start() {
        assert!(pair(5, 10, 7, 20).is_overlap());
        assert!(!pair(5, 10, 5, 20).is_overlap());
        assert!(!pair(5, 10, 10, 20).is_overlap());
        assert!(!pair(5, 10, 0, 20).is_overlap());
    }
}
