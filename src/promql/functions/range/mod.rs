//! Functions over windows of samples.
//!
//! A function gets a series' decoded samples once, and the bounds of every step's window in them; it may so carry over from
//! one window to the next what both share. Two ways of doing so keep the outcome equal to the bit to that of a computation
//! of every window by itself: what does not depend on the window (where a counter was reset, which neighbours differ, the
//! maximum from here to there) is found once per series; and where rounding makes every window its own case, several
//! windows are computed side by side ([`lanes`]).
//!
//! The law: windows come in order, so that neither their starts nor their ends ever go back. A window without samples
//! has no value. What is remarked of a series is remarked once per series, however many windows it is true of.
//!
//! Not here: decoding samples and finding the windows' bounds, dropping names, and what becomes of `absent_over_time`
//! over all series (`exec`).

mod ends;
mod extended;
mod extended_histograms;
mod extrapolate;
mod extremes;
#[cfg(test)]
mod golden;
mod histogram_rate;
mod histogram_sums;
mod instant;
mod lanes;
mod order;
mod rate;
mod regression;
mod seen;
mod smoothing;
mod starts;
mod sums;
#[cfg(test)]
mod tests;
mod transitions;

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
    /// Whether `__type__` tells counters from others; else the name does.
    pub has_type_labels: bool,
    /// Place of the first argument, of which all remarks are made, even if another one has the windows. Of a subquery it
    /// is empty, as in the reference.
    pub position: Position,
}

/// A function over windows: writes into the series' columns what it computes at each step; the floats are absent at first.
pub(crate) type RangeFunction = fn(&RangeCall<'_>, &mut StepSeries, &mut Notes) -> Result<(), String>;

/// Functions that know what to do with `anchored` windows.
pub(crate) const ANCHORED_FUNCTIONS: &[&str] = &["changes", "delta", "increase", "rate", "resets"];
/// Functions that know what to do with `smoothed` windows.
pub(crate) const SMOOTHED_FUNCTIONS: &[&str] = &["delta", "increase", "rate"];

/// The function of that name, if it is one over windows.
pub(crate) fn range_function(name: &str) -> Option<RangeFunction> {
    Some(match name {
        "rate" => rate::rate,
        "increase" => rate::increase,
        "delta" => rate::delta,
        "irate" => instant::irate,
        "idelta" => instant::idelta,
        "sum_over_time" => sums::sum,
        "avg_over_time" => sums::avg,
        "stddev_over_time" => sums::stddev,
        "stdvar_over_time" => sums::stdvar,
        "min_over_time" => extremes::min,
        "max_over_time" => extremes::max,
        "ts_of_min_over_time" => extremes::time_of_min,
        "ts_of_max_over_time" => extremes::time_of_max,
        "quantile_over_time" => order::quantile,
        "mad_over_time" => order::mad,
        "count_over_time" => ends::count,
        "present_over_time" | "absent_over_time" => ends::present,
        "first_over_time" => ends::first,
        "last_over_time" => ends::last,
        "ts_of_first_over_time" => ends::time_of_first,
        "ts_of_last_over_time" => ends::time_of_last,
        "changes" => transitions::changes,
        "resets" => transitions::resets,
        "deriv" => regression::deriv,
        "predict_linear" => regression::predict_linear,
        "double_exponential_smoothing" => smoothing::double_exponential,
        _ => return None,
    })
}

/// Whether a function over windows leaves a series its name: those do that only look back.
pub(crate) fn keeps_name(name: &str) -> bool {
    matches!(name, "first_over_time" | "last_over_time")
}

impl RangeCall<'_> {
    /// Where a window starts; this does not belong to it.
    fn start_of(&self, window: &Window) -> i64 {
        window.end - self.range
    }

    /// Length of the windows in seconds. The fraction is made separately, as the reference's durations do: it rounds
    /// differently.
    fn range_seconds(&self) -> f64 {
        (self.range / 1000) as f64 + (self.range % 1000 * 1_000_000) as f64 / 1e9
    }

    /// Windows that have floats, with the index of their step.
    fn with_floats(&self) -> impl Iterator<Item = (usize, &Window)> {
        self.windows.iter().enumerate().filter(|(_, window)| !window.floats.is_empty())
    }

    /// Windows that have samples, with the index of their step.
    fn with_samples(&self) -> impl Iterator<Item = (usize, &Window)> {
        let has_samples = |window: &Window| !window.floats.is_empty() || !window.histograms.is_empty();
        self.windows.iter().enumerate().filter(move |(_, window)| has_samples(window))
    }
}

impl Window {
    /// Whether it has both floats and histograms.
    fn is_mixed(&self) -> bool {
        !self.floats.is_empty() && !self.histograms.is_empty()
    }
}
