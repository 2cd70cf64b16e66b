//! `min`, `max`, `count`, `group`.

use super::fold::{At, Fold};
use crate::promql::exec::{ABSENT, StepSeries, is_absent};
use crate::promql::notes::Note;

/// `min`: NaN only if there is nothing else.
pub(super) struct Min(Vec<f64>);

/// `max`: NaN only if there is nothing else.
pub(super) struct Max(Vec<f64>);

/// `count`, floats and histograms alike.
pub(super) struct Count(Vec<f64>);

/// `group`: 1 wherever there is something.
pub(super) struct Present(Count);

impl Fold for Min {
    const STEP_BYTES: usize = 8;

    fn new(steps: usize) -> Min {
        Min(vec![ABSENT; steps])
    }

    fn add(&mut self, series: &StepSeries, at: &At<'_, '_>) {
        at.ignore_histograms("min", series);
        replace_if(&mut self.0, &series.floats, |held, v| held > v);
    }

    fn finish(self, out: &mut StepSeries, _at: &At<'_, '_>) {
        out.floats = self.0;
    }
}

impl Fold for Max {
    const STEP_BYTES: usize = 8;

    fn new(steps: usize) -> Max {
        Max(vec![ABSENT; steps])
    }

    fn add(&mut self, series: &StepSeries, at: &At<'_, '_>) {
        at.ignore_histograms("max", series);
        replace_if(&mut self.0, &series.floats, |held, v| held < v);
    }

    fn finish(self, out: &mut StepSeries, _at: &At<'_, '_>) {
        out.floats = self.0;
    }
}

/// Replaces what is worse, NaN, or absent (which is a NaN too).
#[inline]
fn replace_if(held: &mut [f64], floats: &[f64], is_worse: impl Fn(f64, f64) -> bool) {
    for (held, v) in held.iter_mut().zip(floats) {
        let replaces = (is_worse(*held, *v) | held.is_nan()) & !is_absent(*v);
        *held = if replaces { *v } else { *held };
    }
}

impl Fold for Count {
    const STEP_BYTES: usize = 8;

    fn new(steps: usize) -> Count {
        Count(vec![0.0; steps])
    }

    fn add(&mut self, series: &StepSeries, _at: &At<'_, '_>) {
        for (count, v) in self.0.iter_mut().zip(&series.floats) {
            *count += if is_absent(*v) { 0.0 } else { 1.0 };
        }
        if let Some(histograms) = &series.histograms {
            let present = self.0.iter_mut().zip(histograms).filter(|(_, h)| h.is_some());
            present.for_each(|(count, _)| *count += 1.0);
        }
    }

    fn finish(self, out: &mut StepSeries, _at: &At<'_, '_>) {
        out.floats = self.0;
        out.floats.iter_mut().filter(|count| **count == 0.0).for_each(|count| *count = ABSENT);
    }
}

impl Fold for Present {
    const STEP_BYTES: usize = 8;

    fn new(steps: usize) -> Present {
        Present(Count::new(steps))
    }

    fn add(&mut self, series: &StepSeries, at: &At<'_, '_>) {
        self.0.add(series, at);
    }

    fn finish(self, out: &mut StepSeries, at: &At<'_, '_>) {
        self.0.finish(out, at);
        out.floats.iter_mut().filter(|count| !is_absent(**count)).for_each(|count| *count = 1.0);
    }
}

impl At<'_, '_> {
    /// Remarks that an aggregation takes no notice of a series' histograms.
    pub fn ignore_histograms(&self, aggregation: &'static str, series: &StepSeries) {
        if series.histograms.as_ref().is_some_and(|all| all.iter().any(Option::is_some)) {
            self.context.note(Note::HistogramIgnoredInAggregation { aggregation }, self.position);
        }
    }
}
