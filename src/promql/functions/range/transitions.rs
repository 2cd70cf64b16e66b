//! How often neighbouring samples differ: `changes` and `resets`.
//!
//! Floats and histograms of a series are one sequence by time, and so are those of a window. Which samples differ from
//! the one before is found once for the whole sequence and counted from its beginning, so that a window is a difference
//! of two counts.

use super::{RangeCall, Samples, Window};
use crate::promql::ast::Extension;
use crate::promql::exec::StepSeries;
use crate::promql::notes::Notes;

/// `changes`
pub(super) fn changes(call: &RangeCall<'_>, out: &mut StepSeries, _: &mut Notes) -> Result<(), String> {
    let samples = call.samples;
    let differ = |a: f64, b: f64| b != a && !(a.is_nan() && b.is_nan());
    count(
        call,
        out,
        |at| differ(samples.floats[at - 1], samples.floats[at]),
        |at| !samples.histograms[at].equals(&samples.histograms[at - 1]),
    )
}

/// `resets`
pub(super) fn resets(call: &RangeCall<'_>, out: &mut StepSeries, _: &mut Notes) -> Result<(), String> {
    let samples = call.samples;
    let uses_starts = call.uses_starts;
    let restarted = |at| uses_starts && samples.float_pair(at).is_some_and(|pair| pair.is_reset());
    let histogram_restarted = |at| uses_starts && samples.histogram_pair(at).is_some_and(|pair| pair.is_reset());
    count(
        call,
        out,
        |at| samples.floats[at] < samples.floats[at - 1] || restarted(at),
        |at| histogram_restarted(at) || samples.histograms[at].detect_reset(&samples.histograms[at - 1]),
    )
}

/// Counts samples that follow one of the other kind, or of the same kind if `float` or `histogram` says so of its index.
fn count(
    call: &RangeCall<'_>,
    out: &mut StepSeries,
    float: impl Fn(usize) -> bool,
    histogram: impl Fn(usize) -> bool,
) -> Result<(), String> {
    let counts = match (call.samples.floats.len(), call.samples.histograms.len()) {
        (0, histograms) => counts((0..histograms).map(|at| at > 0 && histogram(at))),
        (floats, 0) => counts((0..floats).map(|at| at > 0 && float(at))),
        _ => counts(transitions(call.samples, float, histogram)),
    };
    for (step, window) in call.with_samples() {
        let first = window.floats.start + window.histograms.start;
        let last = window.floats.end + window.histograms.end - 1;
        if let Some(first) = anchor(call, window, first, last) {
            out.floats[step] = f64::from(counts[last] - counts[first]);
        }
    }
    Ok(())
}

/// How many there are up to each one.
fn counts(marks: impl Iterator<Item = bool>) -> Vec<u32> {
    let mut count = 0;
    let add = |mark| {
        count += u32::from(mark);
        count
    };
    marks.map(add).collect()
}

/// The sequence of floats and histograms by time.
fn transitions(
    samples: &Samples,
    float: impl Fn(usize) -> bool,
    histogram: impl Fn(usize) -> bool,
) -> impl Iterator<Item = bool> {
    let (mut floats, mut histograms) = (0, 0);
    let mut was_float = None;
    (0..samples.floats.len() + samples.histograms.len()).map(move |_| {
        let is_float = match (samples.times.get(floats), samples.histogram_times.get(histograms)) {
            (Some(float), Some(histogram)) => float < histogram,
            (float, _) => float.is_some(),
        };
        let at = if is_float { &mut floats } else { &mut histograms };
        *at += 1;
        match was_float.replace(is_float) {
            None => false,
            Some(before) if before != is_float => true,
            Some(true) => float(floats - 1),
            Some(false) => histogram(histograms - 1),
        }
    })
}

/// The sample with which counting starts: if the window is anchored, the last one at or before its start. None if then
/// nothing is left in the window.
fn anchor(call: &RangeCall<'_>, window: &Window, first: usize, last: usize) -> Option<usize> {
    if call.extension != Extension::Anchored {
        return Some(first);
    }
    let start = call.start_of(window);
    let early = |times: &[i64]| times.partition_point(|t| *t <= start);
    let floats = early(&call.samples.times[window.floats.clone()]);
    let histograms = early(&call.samples.histogram_times[window.histograms.clone()]);
    let inside = first + floats + histograms;
    (inside <= last).then(|| inside.saturating_sub(1).max(first))
}
