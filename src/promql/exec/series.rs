//! One series over all steps of a query.

use std::sync::Arc;

use crate::model::{FloatHistogram, Labels, STALE_NAN};

/// Stands at a step without a float. No result can be it: staleness markers never leave the selectors, and arithmetic on
/// floats never makes its bits.
pub(crate) const ABSENT: f64 = STALE_NAN;

/// Whether a float stands for nothing.
#[inline]
pub(crate) fn is_absent(v: f64) -> bool {
    v.to_bits() == ABSENT.to_bits()
}

/// Histograms by step, as many as there are steps.
pub(crate) type Histograms = Box<[Option<Arc<FloatHistogram>>]>;

/// A series' values at all steps.
#[derive(Clone, Debug)]
pub(crate) struct StepSeries {
    /// Its labels.
    pub labels: Labels,
    /// Whether its name is to be dropped when the answer is complete (only if the removal of names is delayed; else it is
    /// gone already).
    pub drop_name: bool,
    /// One per step; [`ABSENT`] where there is none, also where there is a histogram.
    pub floats: Vec<f64>,
    /// Only if it has any.
    pub histograms: Option<Histograms>,
}

/// A series' value at one step.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cell<'a> {
    /// None.
    Absent,
    /// A float.
    Float(f64),
    /// A histogram.
    Histogram(&'a Arc<FloatHistogram>),
}

impl StepSeries {
    /// A series without any value yet.
    pub fn absent(labels: Labels, steps: usize) -> StepSeries {
        StepSeries { labels, drop_name: false, floats: vec![ABSENT; steps], histograms: None }
    }

    /// The value at a step.
    pub fn cell(&self, step: usize) -> Cell<'_> {
        let v = self.floats[step];
        if !is_absent(v) {
            return Cell::Float(v);
        }
        match self.histogram(step) {
            Some(h) => Cell::Histogram(h),
            None => Cell::Absent,
        }
    }

    /// The histogram at a step.
    pub fn histogram(&self, step: usize) -> Option<&Arc<FloatHistogram>> {
        self.histograms.as_ref()?[step].as_ref()
    }

    /// Whether there is a value at a step.
    pub fn has(&self, step: usize) -> bool {
        !is_absent(self.floats[step]) || self.histogram(step).is_some()
    }

    /// Sets a histogram; the step's float must be absent.
    pub fn set_histogram(&mut self, step: usize, histogram: Arc<FloatHistogram>) {
        let steps = self.floats.len();
        let all = self.histograms.get_or_insert_with(|| vec![None; steps].into_boxed_slice());
        all[step] = Some(histogram);
    }

    /// Takes the value away from a step.
    pub fn clear(&mut self, step: usize) {
        self.floats[step] = ABSENT;
        if let Some(histograms) = &mut self.histograms {
            histograms[step] = None;
        }
    }

    /// Whether there is no value at any step.
    pub fn is_empty(&self) -> bool {
        self.floats.iter().all(|v| is_absent(*v))
            && self.histograms.as_ref().is_none_or(|all| all.iter().all(Option::is_none))
    }

    /// Forgets all histograms.
    pub fn drop_histograms(&mut self) {
        self.histograms = None;
    }

    /// Bytes that it holds, histograms estimated.
    pub fn bytes(&self) -> u64 {
        let histograms = self.histograms.as_ref().map_or(0, |all| {
            all.iter().flatten().map(|h| 160 + 8 * (h.positive_buckets.len() + h.negative_buckets.len())).sum()
        });
        (self.floats.len() * 8 + self.labels.as_bytes().len() + 64 + histograms) as u64
    }
}
