//! What `sum` and `avg` make of histograms.

use super::fold::At;
use crate::model::{Accumulated, FloatHistogram, HistogramMean, HistogramSum, IncompatibleBounds};
use crate::promql::exec::{StepSeries, is_absent};
use crate::promql::notes::{HistogramOperation, Note};

/// A running sum or mean.
pub(super) trait Running {
    fn first(histogram: &FloatHistogram) -> Self;
    fn add(&mut self, histogram: &FloatHistogram) -> Result<(), IncompatibleBounds>;
    fn bounds_reconciled(&self) -> bool;
    fn finish(self) -> Accumulated;
}

/// One step of a group.
enum Slot<R> {
    /// No histogram so far.
    Empty,
    /// A running sum or mean, and whether a float came too. Then there is no result, but remarks go on.
    Running(Box<R>, bool),
    /// A float came first, then a histogram: there is no result.
    Mixed,
    /// Bounds did not fit; nothing that comes later is looked at. Whether a float came before.
    Failed(bool),
}

/// The histograms of a group at all steps; nothing as long as there are none.
pub(super) struct Histograms<R>(Option<Box<[Slot<R>]>>);

impl<R: Running> Histograms<R> {
    pub fn new() -> Histograms<R> {
        Histograms(None)
    }

    /// Takes the histograms of a series in. `floats` are the group's so far.
    pub fn add(&mut self, series: &StepSeries, floats: &[f64], at: &At<'_, '_>) {
        if let Some(histograms) = &series.histograms {
            let slots = self.0.get_or_insert_with(|| floats.iter().map(|_| Slot::Empty).collect());
            for ((slot, histogram), float) in slots.iter_mut().zip(histograms).zip(floats) {
                if let Some(histogram) = histogram {
                    slot.add(histogram, !is_absent(*float), series, at);
                }
            }
        }
        if let Some(slots) = &mut self.0 {
            let floats = slots.iter_mut().zip(&series.floats).filter(|(_, v)| !is_absent(**v));
            floats.for_each(|(slot, _)| slot.see_float());
        }
    }

    /// Whether there is none at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Writes the results, over those of the floats.
    pub fn finish(self, out: &mut StepSeries, at: &At<'_, '_>) {
        for (step, slot) in self.0.into_iter().flatten().enumerate() {
            if matches!(slot, Slot::Empty) {
                continue;
            }
            out.clear(step);
            if let Some(histogram) = slot.finish(at) {
                out.set_histogram(step, histogram.into());
            }
        }
    }
}

impl<R: Running> Slot<R> {
    fn add(&mut self, histogram: &FloatHistogram, has_float: bool, series: &StepSeries, at: &At<'_, '_>) {
        match self {
            Slot::Empty if has_float => *self = Slot::Mixed,
            Slot::Empty => *self = Slot::Running(Box::new(R::first(histogram)), false),
            Slot::Running(running, has_float) => {
                if running.add(histogram).is_err() {
                    let metric = series.labels.metric_name().unwrap_or("");
                    at.context.note(Note::MixedExponentialCustomHistograms { metric }, at.position);
                    if running.bounds_reconciled() {
                        note_reconciled(at);
                    }
                    *self = Slot::Failed(*has_float);
                }
            }
            Slot::Mixed | Slot::Failed(_) => {}
        }
    }

    fn see_float(&mut self) {
        if let Slot::Running(_, has_float) = self {
            *has_float = true;
        }
    }

    fn finish(self, at: &At<'_, '_>) -> Option<FloatHistogram> {
        let mixed = || at.context.note(Note::MixedFloatsHistogramsInAggregation, at.position);
        match self {
            Slot::Empty | Slot::Failed(false) => None,
            Slot::Mixed | Slot::Failed(true) => {
                mixed();
                None
            }
            Slot::Running(running, has_float) => {
                if running.bounds_reconciled() {
                    note_reconciled(at);
                }
                if has_float {
                    mixed();
                    return None;
                }
                let mut accumulated = running.finish();
                if accumulated.resets_conflict {
                    let note = Note::CounterResetCollision(HistogramOperation::Aggregation);
                    at.context.note(note, at.position);
                }
                accumulated.histogram.compact(0);
                Some(accumulated.histogram)
            }
        }
    }
}

fn note_reconciled(at: &At<'_, '_>) {
    at.context.note(Note::MismatchedCustomBuckets(HistogramOperation::Aggregation), at.position);
}

impl Running for HistogramSum {
    fn first(histogram: &FloatHistogram) -> HistogramSum {
        HistogramSum::new(histogram)
    }
    fn add(&mut self, histogram: &FloatHistogram) -> Result<(), IncompatibleBounds> {
        HistogramSum::add(self, histogram)
    }
    fn bounds_reconciled(&self) -> bool {
        HistogramSum::bounds_reconciled(self)
    }
    fn finish(self) -> Accumulated {
        HistogramSum::finish(self)
    }
}

impl Running for HistogramMean {
    fn first(histogram: &FloatHistogram) -> HistogramMean {
        HistogramMean::new(histogram)
    }
    fn add(&mut self, histogram: &FloatHistogram) -> Result<(), IncompatibleBounds> {
        HistogramMean::add(self, histogram)
    }
    fn bounds_reconciled(&self) -> bool {
        HistogramMean::bounds_reconciled(self)
    }
    fn finish(self) -> Accumulated {
        HistogramMean::finish(self)
    }
}
