//! `anchored` and `smoothed` windows of floats: values at a window's borders come from samples around it.
//!
//! Anchored, the value at a border is that of the last sample until there. Smoothed, it is interpolated between the
//! samples on both sides. Nothing is extrapolated.

use std::ops::Range;

use super::rate::{Change, Marks, falls};
use super::seen::Seen;
use super::{RangeCall, Samples};
use crate::promql::ast::Extension;
use crate::promql::exec::StepSeries;

/// A window, and whether its borders are interpolated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    /// Its start, milliseconds.
    pub start: i64,
    /// Its end, milliseconds.
    pub end: i64,
    /// Whether values between samples are interpolated.
    pub is_smoothed: bool,
}

/// The samples from which a window's values at its borders come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Borders {
    /// The last sample at or before the start, or the first sample.
    pub first: usize,
    /// The last sample; of a smoothed window the first one at or behind the end, or the last.
    pub last: usize,
}

impl Frame {
    /// Which samples of `range` stand for the window; none if it has none of its own.
    pub fn borders(self, times: &[i64], range: Range<usize>) -> Option<Borders> {
        let last = range.end.checked_sub(1).filter(|last| *last >= range.start)?;
        let (base, before_last) = (range.start, &times[range.start..last]);
        let first = base + before_last.partition_point(|t| *t <= self.start).saturating_sub(1);
        let last = if self.is_smoothed { base + before_last.partition_point(|t| *t < self.end) } else { last };
        let is_outside = times[last] <= self.start || self.is_smoothed && times[first] > self.end;
        (!is_outside).then_some(Borders { first, last })
    }

    /// Whether the value at the start is interpolated between the first sample and the next.
    pub fn is_interpolated_left(self, times: &[i64], borders: Borders) -> bool {
        self.is_smoothed && times[borders.first] < self.start
    }

    /// Whether the value at the end is interpolated between the last sample and the one before.
    pub fn is_interpolated_right(self, times: &[i64], borders: Borders, range: &Range<usize>) -> bool {
        self.is_smoothed && borders.last > range.start && times[borders.last] > self.end
    }

    fn left(self, samples: &Samples, borders: Borders, is_counter: bool) -> f64 {
        match self.is_interpolated_left(&samples.times, borders) {
            true => interpolated(samples, borders.first, self.start, is_counter),
            false => samples.floats[borders.first],
        }
    }

    fn right(self, samples: &Samples, borders: Borders, range: &Range<usize>, is_counter: bool) -> f64 {
        match self.is_interpolated_right(&samples.times, borders, range) {
            true => interpolated(samples, borders.last - 1, self.end, is_counter),
            false => samples.floats[borders.last],
        }
    }

    /// The samples strictly between the window's borders.
    fn inside(self, times: &[i64], Borders { first, last }: Borders) -> Range<usize> {
        let first = if times[first] <= self.start { first + 1 } else { first };
        let end = if times[last] >= self.end { last } else { last + 1 };
        first..end.max(first)
    }
}

impl RangeCall<'_> {
    /// The frame of a window.
    pub(super) fn frame(&self, window: &super::Window) -> Frame {
        let is_smoothed = self.extension == Extension::Smoothed;
        Frame { start: self.start_of(window), end: window.end, is_smoothed }
    }
}

/// Writes the change in every window.
pub(super) fn floats(call: &RangeCall<'_>, change: Change, out: &mut StepSeries, seen: &mut Seen) {
    let samples = call.samples;
    let is_counter = change.is_counter();
    let mut falls = Marks::new(if is_counter { falls(&samples.floats) } else { Vec::new() });
    let per = change.per(call);
    for (step, window) in call.with_floats() {
        let (frame, range) = (call.frame(window), &window.floats);
        if seen.is_mixed(window) {
            continue;
        }
        let Some(borders) = frame.borders(&samples.times, range.clone()) else { continue };
        let left = frame.left(samples, borders, is_counter);
        let right = frame.right(samples, borders, range, is_counter);
        let mut growth = right - left;
        if is_counter {
            growth += lost_by_resets(&samples.floats, frame.inside(&samples.times, borders), left, right, &mut falls);
        }
        out.floats[step] = growth / per;
    }
}

/// What was there before each reset from `left` over the floats `inside` to `right`.
fn lost_by_resets(floats: &[f64], inside: Range<usize>, left: f64, right: f64, falls: &mut Marks) -> f64 {
    let mut lost = 0.0;
    let mut before = left;
    if !inside.is_empty() {
        if floats[inside.start] < left {
            lost += left;
        }
        for at in falls.within(inside.start + 1..inside.end) {
            lost += floats[*at as usize - 1];
        }
        before = floats[inside.end - 1];
    }
    if right < before {
        lost += before;
    }
    lost
}

/// The value at `t`, between the float at `at` and the next. A counter that goes down is taken to start at zero.
fn interpolated(samples: &Samples, at: usize, t: i64, is_counter: bool) -> f64 {
    let (mut from, to) = (samples.floats[at], samples.floats[at + 1]);
    if is_counter && to < from {
        from = 0.0;
    }
    let (start, end) = (samples.times[at], samples.times[at + 1]);
    from + (to - from) * (t - start) as f64 / (end - start) as f64
}
