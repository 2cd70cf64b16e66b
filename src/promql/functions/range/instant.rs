//! `irate` and `idelta`: the change between a window's last two samples.

use std::ops::Range;
use std::sync::Arc;

use super::seen::{Remark, Seen};
use super::{RangeCall, Samples, Window};
use crate::model::{CounterResetHint, FloatHistogram};
use crate::promql::exec::StepSeries;
use crate::promql::notes::Notes;

/// `irate`: per second, of a counter.
pub(super) fn irate(call: &RangeCall<'_>, out: &mut StepSeries, notes: &mut Notes) -> Result<(), String> {
    last_change(call, true, out, notes)
}

/// `idelta`: of a gauge.
pub(super) fn idelta(call: &RangeCall<'_>, out: &mut StepSeries, notes: &mut Notes) -> Result<(), String> {
    last_change(call, false, out, notes)
}

fn last_change(call: &RangeCall<'_>, is_rate: bool, out: &mut StepSeries, notes: &mut Notes) -> Result<(), String> {
    let mut seen = Seen::default();
    for (step, window) in call.with_samples() {
        match last_two(call.samples, window) {
            Two::Floats(last) => {
                if let Some(change) = float(call, last, is_rate) {
                    out.floats[step] = change;
                }
            }
            Two::Histograms(last) => {
                if let Some(change) = histogram(call, last, is_rate, &mut seen) {
                    out.set_histogram(step, Arc::new(change));
                }
            }
            Two::Mixed => seen.add(Remark::Mixed),
            Two::TooFew => {}
        }
    }
    seen.tell(call, notes);
    Ok(())
}

/// What a window's last two samples are, with the index of the last.
enum Two {
    Floats(usize),
    Histograms(usize),
    Mixed,
    TooFew,
}

fn last_two(samples: &Samples, window: &Window) -> Two {
    let (floats, histograms) = (&window.floats, &window.histograms);
    if floats.len() + histograms.len() < 2 {
        return Two::TooFew;
    }
    /// The time of the last sample but `skip`.
    fn time(times: &[i64], range: &Range<usize>, skip: usize) -> i64 {
        times[range.clone()].iter().rev().nth(skip).copied().unwrap_or(i64::MIN)
    }
    let (float, histogram) = (&samples.times, &samples.histogram_times);
    if time(float, floats, 1) > time(histogram, histograms, 0) {
        Two::Floats(floats.end - 1)
    } else if time(histogram, histograms, 1) > time(float, floats, 0) {
        Two::Histograms(histograms.end - 1)
    } else {
        Two::Mixed
    }
}

fn float(call: &RangeCall<'_>, last: usize, is_rate: bool) -> Option<f64> {
    let samples = call.samples;
    let (before, value) = (samples.floats[last - 1], samples.floats[last]);
    let elapsed = samples.times[last] - samples.times[last - 1];
    if elapsed == 0 {
        return None;
    }
    if !is_rate {
        return Some(value - before);
    }
    let restarted = || call.uses_starts && samples.float_pair(last).is_some_and(|pair| pair.is_reset());
    let change = if value < before || restarted() { value } else { value - before };
    Some(change / (elapsed as f64 / 1000.0))
}

fn histogram(call: &RangeCall<'_>, last: usize, is_rate: bool, seen: &mut Seen) -> Option<FloatHistogram> {
    let samples = call.samples;
    let (before, value) = (&samples.histograms[last - 1], &samples.histograms[last]);
    let elapsed = samples.histogram_times[last] - samples.histogram_times[last - 1];
    if elapsed == 0 {
        return None;
    }
    let gauges = [before, value].map(|h| h.counter_reset_hint.is_gauge());
    seen.add_if(is_rate && gauges.contains(&true), Remark::NotCounter);
    seen.add_if(!is_rate && gauges.contains(&false), Remark::NotGauge);
    let restarted = || call.uses_starts && samples.histogram_pair(last).is_some_and(|pair| pair.is_reset());
    let mut change = FloatHistogram::clone(value);
    if !is_rate || !restarted() && !value.detect_reset(before) {
        match change.sub(before) {
            Ok(combined) => seen.add_if(combined.bounds_reconciled, Remark::ReconciledBySubtracting),
            Err(_) => {
                seen.add(Remark::IncompatibleBounds);
                return None;
            }
        }
    }
    change.counter_reset_hint = CounterResetHint::Gauge;
    change.compact(0);
    if is_rate {
        change.div(elapsed as f64 / 1000.0);
    }
    Some(change)
}
