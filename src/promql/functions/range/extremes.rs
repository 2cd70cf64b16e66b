//! `min_over_time`, `max_over_time`, and when they were: `ts_of_min_over_time`, `ts_of_max_over_time`.
//!
//! For a sliding window the extreme is kept in two parts: for the samples before a pivot, the extreme from each of them up
//! to the pivot; for those behind it, the extreme so far. Each sample is so looked at twice, however long windows are.
//! When a window has left the pivot behind, the pivot moves to its end.

use std::ops::Range;

use super::RangeCall;
use super::seen::tell_ignored;
use crate::promql::exec::StepSeries;
use crate::promql::notes::Notes;

/// `min_over_time`
pub(super) fn min(call: &RangeCall<'_>, out: &mut StepSeries, notes: &mut Notes) -> Result<(), String> {
    each(call, out, notes, |a, b| a < b, |a, b| a <= b, |at| call.samples.floats[at])
}

/// `max_over_time`
pub(super) fn max(call: &RangeCall<'_>, out: &mut StepSeries, notes: &mut Notes) -> Result<(), String> {
    each(call, out, notes, |a, b| a > b, |a, b| a >= b, |at| call.samples.floats[at])
}

/// `ts_of_min_over_time`: of equal ones the last.
pub(super) fn time_of_min(call: &RangeCall<'_>, out: &mut StepSeries, notes: &mut Notes) -> Result<(), String> {
    each(call, out, notes, |a, b| a <= b, |a, b| a < b, |at| call.samples.times[at] as f64 / 1000.0)
}

/// `ts_of_max_over_time`: of equal ones the last.
pub(super) fn time_of_max(call: &RangeCall<'_>, out: &mut StepSeries, notes: &mut Notes) -> Result<(), String> {
    each(call, out, notes, |a, b| a >= b, |a, b| a > b, |at| call.samples.times[at] as f64 / 1000.0)
}

/// `beats` tells whether a later float replaces an earlier one, `beats_later` whether an earlier replaces a later one;
/// NaN is replaced by anything.
#[inline]
fn each(
    call: &RangeCall<'_>,
    out: &mut StepSeries,
    notes: &mut Notes,
    beats: impl Fn(f64, f64) -> bool,
    beats_later: impl Fn(f64, f64) -> bool,
    outcome: impl Fn(usize) -> f64,
) -> Result<(), String> {
    let mut extreme = Sliding::new(&call.samples.floats, beats, beats_later);
    for (step, window) in call.with_floats() {
        out.floats[step] = outcome(extreme.within(window.floats.clone()));
    }
    tell_ignored(call, notes);
    Ok(())
}

struct Sliding<'a, B, L> {
    floats: &'a [f64],
    beats: B,
    beats_later: L,
    /// Indexes of the extremes from each sample of the window, when the pivot was set, up to the pivot.
    before: Vec<u32>,
    /// Where the window started when the pivot was set.
    base: usize,
    pivot: usize,
    /// The extreme from the pivot to `end`.
    behind: Option<usize>,
    end: usize,
}

impl<'a, B, L> Sliding<'a, B, L>
where
    B: Fn(f64, f64) -> bool,
    L: Fn(f64, f64) -> bool,
{
    fn new(floats: &'a [f64], beats: B, beats_later: L) -> Self {
        Sliding { floats, beats, beats_later, before: Vec::new(), base: 0, pivot: 0, behind: None, end: 0 }
    }

    /// The index of a window's extreme; the last one if all are NaN.
    #[inline]
    fn within(&mut self, range: Range<usize>) -> usize {
        if range.start >= self.pivot {
            self.set_pivot(range.clone());
        }
        while self.end < range.end {
            self.behind = Some(self.later(self.behind, self.end));
            self.end += 1;
        }
        let before = self.before[range.start - self.base] as usize;
        self.behind.map_or(before, |behind| self.later(Some(before), behind))
    }

    fn later(&self, earlier: Option<usize>, later: usize) -> usize {
        let replaces = |earlier: usize| {
            let (a, b) = (self.floats[later], self.floats[earlier]);
            (self.beats)(a, b) || b.is_nan()
        };
        match earlier {
            Some(earlier) if !replaces(earlier) => earlier,
            _ => later,
        }
    }

    fn set_pivot(&mut self, range: Range<usize>) {
        (self.base, self.pivot, self.end, self.behind) = (range.start, range.end, range.end, None);
        self.before.clear();
        self.before.resize(range.len(), 0);
        let mut at = range.end - 1;
        let mut extreme = self.floats[at];
        for (slot, index) in self.before.iter_mut().zip(range).rev() {
            let v = self.floats[index];
            if (self.beats_later)(v, extreme) || (extreme.is_nan() && !v.is_nan()) {
                (at, extreme) = (index, v);
            }
            *slot = at as u32;
        }
    }
}
