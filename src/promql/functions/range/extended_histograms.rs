//! `anchored` and `smoothed` windows of native histograms, as [`extended`](super::extended) has them of floats.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use super::extended::{Borders, Frame};
use super::rate::Change;
use super::seen::{Remark, Seen};
use super::{RangeCall, Samples};
use crate::model::{CounterResetHint, FloatHistogram, IncompatibleBounds};
use crate::promql::exec::StepSeries;

/// Writes the change in every window.
pub(super) fn histograms(call: &RangeCall<'_>, change: Change, out: &mut StepSeries, seen: &mut Seen) {
    for (step, window) in call.windows.iter().enumerate().filter(|(_, window)| !window.histograms.is_empty()) {
        if seen.is_mixed(window) {
            continue;
        }
        let mut growth = Growth {
            samples: call.samples,
            frame: call.frame(window),
            range: window.histograms.clone(),
            is_counter: change.is_counter(),
            seen,
        };
        let Some(mut grown) = growth.run() else { continue };
        grown.div(change.per(call));
        grown.counter_reset_hint = CounterResetHint::Gauge;
        grown.compact(0);
        out.set_histogram(step, Arc::new(grown));
    }
}

/// Finds how much histograms grew within one window.
struct Growth<'a> {
    samples: &'a Samples,
    frame: Frame,
    range: Range<usize>,
    is_counter: bool,
    seen: &'a mut Seen,
}

impl<'a> Growth<'a> {
    /// None if the window has no samples, or they do not go together.
    fn run(&mut self) -> Option<FloatHistogram> {
        let borders = self.frame.borders(&self.samples.histogram_times, self.range.clone())?;
        self.check(borders)?;
        let left = self.left(borders);
        let left = self.known(left)?;
        let right = self.right(borders);
        let right = self.known(right)?;
        if !self.is_counter {
            let gauges = [&left, &right].map(|h| h.counter_reset_hint.is_gauge());
            self.seen.add_if(gauges.contains(&false), Remark::NotGauge);
        }
        let mut grown = right.clone().into_owned();
        let subtracted = self.subtract(&mut grown, &left);
        self.known(subtracted)?;
        if self.is_counter
            && let Some(lost) = self.lost_by_resets(borders, &left, &right)?
        {
            let added = self.add(&mut grown, &lost);
            self.known(added)?;
        }
        Some(grown)
    }

    /// None if custom bounds and others are mixed.
    fn check(&mut self, Borders { first, last }: Borders) -> Option<()> {
        let all = &self.samples.histograms[first..=last];
        let is_custom = all[0].layout.has_custom_bounds();
        for h in all {
            if h.layout.has_custom_bounds() != is_custom {
                self.seen.add(Remark::IncompatibleBounds);
                return None;
            }
            self.seen.add_if(self.is_counter && h.counter_reset_hint.is_gauge(), Remark::NotCounter);
        }
        Some(())
    }

    fn known<T>(&mut self, outcome: Result<T, IncompatibleBounds>) -> Option<T> {
        self.seen.add_if(outcome.is_err(), Remark::IncompatibleBounds);
        outcome.ok()
    }

    fn left(&mut self, borders: Borders) -> Result<Cow<'a, FloatHistogram>, IncompatibleBounds> {
        match self.frame.is_interpolated_left(&self.samples.histogram_times, borders) {
            true => self.interpolated(borders.first, self.frame.start),
            false => Ok(Cow::Borrowed(&self.samples.histograms[borders.first])),
        }
    }

    fn right(&mut self, borders: Borders) -> Result<Cow<'a, FloatHistogram>, IncompatibleBounds> {
        match self.frame.is_interpolated_right(&self.samples.histogram_times, borders, &self.range) {
            true => self.interpolated(borders.last - 1, self.frame.end),
            false => Ok(Cow::Borrowed(&self.samples.histograms[borders.last])),
        }
    }

    /// The histogram at `t`, between the one at `at` and the next. A counter that was reset is taken to start at zero.
    fn interpolated(&mut self, at: usize, t: i64) -> Result<Cow<'a, FloatHistogram>, IncompatibleBounds> {
        let samples = self.samples;
        let (before, after) = (&samples.histograms[at], &samples.histograms[at + 1]);
        let (start, end) = (samples.histogram_times[at], samples.histogram_times[at + 1]);
        let share = (t - start) as f64 / (end - start) as f64;
        let between = after.between(before, share, self.is_counter)?;
        self.seen.add_if(between.subtracting_reconciled, Remark::ReconciledBySubtracting);
        self.seen.add_if(between.adding_reconciled, Remark::ReconciledByAdding);
        Ok(Cow::Owned(between.histogram))
    }

    fn subtract(&mut self, from: &mut FloatHistogram, other: &FloatHistogram) -> Result<(), IncompatibleBounds> {
        let combined = from.sub(other)?;
        self.seen.add_if(combined.bounds_reconciled, Remark::ReconciledBySubtracting);
        Ok(())
    }

    fn add(&mut self, to: &mut FloatHistogram, other: &FloatHistogram) -> Result<(), IncompatibleBounds> {
        let combined = to.add(other)?;
        self.seen.add_if(combined.bounds_reconciled, Remark::ReconciledByAdding);
        Ok(())
    }

    /// What was there before each reset, added up: none if there was no reset, and no outcome at all if histograms do not
    /// go together.
    fn lost_by_resets(
        &mut self,
        Borders { first, last }: Borders,
        left: &FloatHistogram,
        right: &FloatHistogram,
    ) -> Option<Option<FloatHistogram>> {
        let samples = self.samples;
        let all = &samples.histograms;
        let mut before = left;
        let mut next = first + 1;
        let is_before_start = self.frame.is_smoothed && samples.histogram_times[first] < self.frame.start;
        if is_before_start && all[first + 1].detect_reset(&all[first]) {
            // Interpolation has dealt with this reset.
            before = &all[first + 1];
            next += 1;
        }
        // The last one is what `right` comes from, so it is compared there.
        if next > last {
            return Some(None);
        }
        let mut lost = None;
        let inside = all[next..last].iter().map(|h| &**h).chain([right]);
        for h in inside {
            if h.detect_reset(before) {
                match &mut lost {
                    None => lost = Some(before.clone()),
                    Some(lost) => {
                        let added = self.add(lost, before);
                        self.known(added)?;
                    }
                }
            }
            before = h;
        }
        Some(lost)
    }
}
