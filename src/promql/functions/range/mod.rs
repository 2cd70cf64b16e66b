//! Functions over windows of samples.
//!
//! A function gets a series' decoded samples once, and the bounds of every step's window in them; it may so carry over from
//! one window to the next what both share.

use std::ops::Range;
use std::sync::Arc;

use crate::model::{FloatHistogram, Labels};
use crate::promql::ast::{Extension, Position};
use crate::promql::exec::StepSeries;
use crate::promql::notes::Notes;

/// One series' samples, ascending, without staleness markers.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    /// Times of the floats, milliseconds.
    pub times: Vec<i64>,
    /// The floats.
    pub floats: Vec<f64>,
    /// Start timestamps of the floats, 0 where unknown; empty if no sample has one.
    pub starts: Vec<i64>,
    /// Times of the histograms, milliseconds.
    pub histogram_times: Vec<i64>,
    /// The histograms.
    pub histograms: Vec<Arc<FloatHistogram>>,
    /// Start timestamps of the histograms, 0 where unknown; empty if no sample has one.
    pub histogram_starts: Vec<i64>,
}

/// The samples of one step: indexes into [`Samples`].
#[derive(Clone, Debug)]
pub(crate) struct Window {
    /// The window ends here and this belongs to it, milliseconds. With an extension, samples around it are in the ranges
    /// below too: those since a lookback before its start, for `smoothed` also those until a lookback behind its end.
    pub end: i64,
    /// Of the floats.
    pub floats: Range<usize>,
    /// Of the histograms.
    pub histograms: Range<usize>,
}

/// What a function is called with, for one series.
pub(crate) struct RangeCall<'a> {
    /// The series' labels, with its name.
    pub labels: &'a Labels,
    /// Its samples.
    pub samples: &'a Samples,
    /// One window per step.
    pub windows: &'a [Window],
    /// Length of the windows, milliseconds.
    pub range: i64,
    /// `anchored`, `smoothed`.
    pub extension: Extension,
    /// The other arguments, all of them numbers: one column per argument, one value per step.
    pub args: &'a [Vec<f64>],
    /// The instant of each step, milliseconds; differs from the windows' ends by the offset.
    pub steps: super::super::exec::Steps,
    /// Whether start timestamps are to be used.
    pub uses_starts: bool,
    /// Whether `__type__` tells counters from others.
    pub has_type_labels: bool,
    /// Place of the argument that has the windows.
    pub position: Position,
    /// Place of each argument of the call.
    pub arg_positions: &'a [Position],
}

/// A function over windows: writes into the series' columns what it computes at each step; the floats are absent at first.
pub(crate) type RangeFunction = fn(&RangeCall<'_>, &mut StepSeries, &mut Notes) -> Result<(), String>;

/// Functions that know what to do with `anchored` windows.
pub(crate) const ANCHORED_FUNCTIONS: &[&str] = &["changes", "delta", "increase", "rate", "resets"];
/// Functions that know what to do with `smoothed` windows.
pub(crate) const SMOOTHED_FUNCTIONS: &[&str] = &["delta", "increase", "rate"];

/// The function of a name.
pub(crate) fn range_function(_name: &str) -> Option<RangeFunction> {
    None
}

/// Whether series keep their names.
pub(crate) fn keeps_name(name: &str) -> bool {
    matches!(name, "last_over_time" | "first_over_time")
}
