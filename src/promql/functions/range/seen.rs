//! What is noticed in a series' windows, to be said once.

use super::{RangeCall, Window};
use crate::promql::notes::{HistogramOperation, Note, Notes};

/// Something that a window can be remarked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Remark {
    /// It has floats and histograms, so it has no value.
    Mixed,
    /// It has floats and histograms, and only floats count.
    HistogramsIgnored,
    /// A gauge histogram is treated as a counter.
    NotCounter,
    /// A counter histogram is treated as a gauge.
    NotGauge,
    /// Custom and exponential bounds do not go together, so it has no value.
    IncompatibleBounds,
    /// Only the common custom bounds were left when histograms were added.
    ReconciledByAdding,
    /// As before, when they were subtracted.
    ReconciledBySubtracting,
    /// As before, when they were summed up.
    ReconciledBySumming,
    /// Some histograms in a sum say that a reset was before them, some that none was.
    ResetsConflict,
}

const ALL: [Remark; 9] = [
    Remark::Mixed,
    Remark::HistogramsIgnored,
    Remark::NotCounter,
    Remark::NotGauge,
    Remark::IncompatibleBounds,
    Remark::ReconciledByAdding,
    Remark::ReconciledBySubtracting,
    Remark::ReconciledBySumming,
    Remark::ResetsConflict,
];

/// A set of remarks about one series.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    bits: u16,
    /// How many windows have start timestamps that overlap with the sample before.
    pub overlaps: u32,
}

impl Seen {
    /// Only this.
    pub fn only(remark: Remark) -> Seen {
        let mut seen = Seen::default();
        seen.add(remark);
        seen
    }

    /// Takes in a remark.
    pub fn add(&mut self, remark: Remark) {
        self.bits |= 1 << remark as u16;
    }

    /// Takes in a remark if there is reason for it.
    pub fn add_if(&mut self, applies: bool, remark: Remark) {
        self.bits |= u16::from(applies) << remark as u16;
    }

    /// Takes in all remarks of a window.
    pub fn merge(&mut self, other: Seen) {
        self.bits |= other.bits;
        self.overlaps += other.overlaps;
    }

    /// Remarks on a window of both floats and histograms, and tells whether it is one.
    pub fn is_mixed(&mut self, window: &Window) -> bool {
        let is_mixed = window.is_mixed();
        self.add_if(is_mixed, Remark::Mixed);
        is_mixed
    }

    /// Says what was seen.
    pub fn tell(self, call: &RangeCall<'_>, notes: &mut Notes) {
        if self.bits == 0 && self.overlaps == 0 {
            return;
        }
        let metric = call.labels.metric_name().unwrap_or_default();
        for remark in ALL.into_iter().filter(|remark| self.bits & 1 << *remark as u16 != 0) {
            notes.add(note(remark, metric), call.position);
        }
        for _ in 0..self.overlaps {
            notes.add(Note::StartTimeOverlap { metric }, call.position);
        }
    }
}

/// Says once if there is a window of both floats and histograms, where only floats count.
pub(super) fn tell_ignored(call: &RangeCall<'_>, notes: &mut Notes) {
    if !call.samples.histograms.is_empty() && call.windows.iter().any(Window::is_mixed) {
        Seen::only(Remark::HistogramsIgnored).tell(call, notes);
    }
}

fn note(remark: Remark, metric: &str) -> Note<'_> {
    match remark {
        Remark::Mixed => Note::MixedFloatsHistograms { metric },
        Remark::HistogramsIgnored => Note::HistogramIgnoredInMixedRange { metric },
        Remark::NotCounter => Note::HistogramNotCounter { metric },
        Remark::NotGauge => Note::HistogramNotGauge { metric },
        Remark::IncompatibleBounds => Note::MixedExponentialCustomHistograms { metric },
        Remark::ReconciledByAdding => Note::MismatchedCustomBuckets(HistogramOperation::Addition),
        Remark::ReconciledBySubtracting => Note::MismatchedCustomBuckets(HistogramOperation::Subtraction),
        Remark::ReconciledBySumming => Note::MismatchedCustomBuckets(HistogramOperation::Aggregation),
        Remark::ResetsConflict => Note::CounterResetCollision(HistogramOperation::Aggregation),
    }
}
