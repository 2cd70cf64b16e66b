//! What a window's first or last sample tells, and how many there are: `first_over_time`, `last_over_time`,
//! `ts_of_first_over_time`, `ts_of_last_over_time`, `count_over_time`, `present_over_time`.

use std::sync::Arc;

use super::{RangeCall, Samples, Window};
use crate::model::FloatHistogram;
use crate::promql::exec::StepSeries;
use crate::promql::notes::Notes;

/// `count_over_time`
pub(super) fn count(call: &RangeCall<'_>, out: &mut StepSeries, _: &mut Notes) -> Result<(), String> {
    each(call, out, |window| (window.floats.len() + window.histograms.len()) as f64)
}

/// `present_over_time`
pub(super) fn present(call: &RangeCall<'_>, out: &mut StepSeries, _: &mut Notes) -> Result<(), String> {
    each(call, out, |_| 1.0)
}

/// `ts_of_first_over_time`
pub(super) fn time_of_first(call: &RangeCall<'_>, out: &mut StepSeries, _: &mut Notes) -> Result<(), String> {
    each(call, out, |window| End::First.time(call.samples, window) as f64 / 1000.0)
}

/// `ts_of_last_over_time`
pub(super) fn time_of_last(call: &RangeCall<'_>, out: &mut StepSeries, _: &mut Notes) -> Result<(), String> {
    each(call, out, |window| End::Last.time(call.samples, window) as f64 / 1000.0)
}

/// `first_over_time`
pub(super) fn first(call: &RangeCall<'_>, out: &mut StepSeries, _: &mut Notes) -> Result<(), String> {
    copy(call, out, End::First)
}

/// `last_over_time`
pub(super) fn last(call: &RangeCall<'_>, out: &mut StepSeries, _: &mut Notes) -> Result<(), String> {
    copy(call, out, End::Last)
}

#[inline]
fn each(call: &RangeCall<'_>, out: &mut StepSeries, value: impl Fn(&Window) -> f64) -> Result<(), String> {
    call.with_samples().for_each(|(step, window)| out.floats[step] = value(window));
    Ok(())
}

fn copy(call: &RangeCall<'_>, out: &mut StepSeries, end: End) -> Result<(), String> {
    for (step, window) in call.with_samples() {
        match end.sample(call.samples, window) {
            Ok(v) => out.floats[step] = v,
            Err(histogram) => out.set_histogram(step, Arc::clone(histogram)),
        }
    }
    Ok(())
}

/// Which sample of a window.
#[derive(Clone, Copy)]
enum End {
    First,
    Last,
}

impl End {
    fn of(self, range: &std::ops::Range<usize>) -> Option<usize> {
        (!range.is_empty()).then(|| match self {
            End::First => range.start,
            End::Last => range.end - 1,
        })
    }

    /// Whether a sample at `a` is further at this end than one at `b`.
    fn is_beyond(self, a: i64, b: i64) -> bool {
        match self {
            End::First => a < b,
            End::Last => a > b,
        }
    }

    /// The time of it; the window is not empty.
    fn time(self, samples: &Samples, window: &Window) -> i64 {
        let float = self.of(&window.floats).map(|at| samples.times[at]);
        let histogram = self.of(&window.histograms).map(|at| samples.histogram_times[at]);
        match (float, histogram) {
            (Some(float), Some(histogram)) if self.is_beyond(histogram, float) => histogram,
            (Some(time), _) | (None, Some(time)) => time,
            (None, None) => 0,
        }
    }

    /// A float, or else a histogram; the window is not empty.
    fn sample<'a>(self, samples: &'a Samples, window: &Window) -> Result<f64, &'a Arc<FloatHistogram>> {
        match (self.of(&window.floats), self.of(&window.histograms)) {
            (Some(float), Some(histogram)) => {
                if self.is_beyond(samples.times[float], samples.histogram_times[histogram]) {
                    Ok(samples.floats[float])
                } else {
                    Err(&samples.histograms[histogram])
                }
            }
            (_, Some(histogram)) => Err(&samples.histograms[histogram]),
            (Some(float), None) => Ok(samples.floats[float]),
            (None, None) => Ok(f64::NAN),
        }
    }
}
