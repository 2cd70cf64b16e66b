//! `smoothed` instant selectors, and windows with values at their borders.
//!
//! A smoothed selector gives at each step what lies on the line between the samples before and behind it, both at most a
//! lookback away. Without one behind, the one before stands; without one before, there is nothing.

use std::sync::Arc;

use super::read::{Markers, Reading};
use super::select::Instants;
use super::series::StepSeries;
use super::steps::Steps;
use super::{Evaluator, Failure, Sink};
use crate::model::{CounterResetHint, FloatHistogram};
use crate::promql::ast::Position;
use crate::promql::functions::range::Samples;
use crate::promql::notes::{HistogramOperation, Note, Notes};
use crate::promql::plan::Select;

impl Evaluator<'_> {
    /// Runs a smoothed selector.
    pub(super) fn smoothed(
        &self,
        position: Position,
        select: &Select,
        steps: Steps,
        sink: Sink<'_>,
    ) -> Result<(), Failure> {
        if steps.count == 0 {
            return Ok(());
        }
        let instants = Instants::new(steps, select.offset, select.at);
        let lookback = self.context.lookback;
        let range = instants.range(lookback, lookback);
        let reading = Reading { select, range, markers: Markers::Dropped };
        self.read(
            &reading,
            &|labels, scratch| {
                let mut series = StepSeries::absent(labels, steps.count);
                let mut smoother =
                    Smoother { samples: &scratch.samples, lookback, position, notes: &mut scratch.notes };
                for (step, t) in instants.iter().enumerate() {
                    smoother.fill(&mut series, step, t);
                }
                self.context.count_samples(steps.count as u64);
                Ok((!series.is_empty()).then_some(series))
            },
            sink,
        )
    }
}

struct Smoother<'a> {
    samples: &'a Samples,
    lookback: i64,
    position: Position,
    notes: &'a mut Notes,
}

/// The samples around an instant, by index.
enum Around {
    /// None at or before it.
    Nothing,
    /// One exactly there, or the newest before it if none follows.
    Exactly(usize),
    Before(usize),
    Between(usize),
}

impl Smoother<'_> {
    fn around(&self, times: &[i64], t: i64) -> (bool, Around) {
        let first = times.partition_point(|time| *time <= t - self.lookback);
        let last = times.partition_point(|time| *time <= t + self.lookback);
        let behind = first + times[first..last].partition_point(|time| *time < t);
        let around = match times[first..last].get(behind - first) {
            Some(time) if *time == t => Around::Exactly(behind),
            Some(_) if behind > first => Around::Between(behind),
            None if behind > first => Around::Before(behind - 1),
            _ => Around::Nothing,
        };
        (last > first, around)
    }

    fn fill(&mut self, series: &mut StepSeries, step: usize, t: i64) {
        let (has_floats, floats) = self.around(&self.samples.times, t);
        let (has_histograms, histograms) = self.around(&self.samples.histogram_times, t);
        if has_floats && has_histograms {
            let metric = series.labels.metric_name().unwrap_or_default();
            self.notes.add(Note::MixedFloatsHistograms { metric }, self.position);
        } else if has_histograms {
            if let Some(histogram) = self.histogram(series, histograms, t) {
                series.set_histogram(step, Arc::new(histogram));
            }
        } else {
            let Samples { times, floats: values, .. } = self.samples;
            series.floats[step] = match floats {
                Around::Nothing => return,
                Around::Exactly(index) | Around::Before(index) => values[index],
                Around::Between(next) => on_line((times[next - 1], values[next - 1]), (times[next], values[next]), t),
            };
        }
    }

    fn histogram(&mut self, series: &StepSeries, around: Around, t: i64) -> Option<FloatHistogram> {
        let Samples { histogram_times: times, histograms, .. } = self.samples;
        match around {
            Around::Nothing => None,
            Around::Exactly(index) => Some(FloatHistogram::clone(&histograms[index])),
            Around::Before(index) => {
                let counter_reset_hint = CounterResetHint::Unknown;
                Some(FloatHistogram { counter_reset_hint, ..FloatHistogram::clone(&histograms[index]) })
            }
            Around::Between(next) => {
                let (before, behind) = (&*histograms[next - 1], &*histograms[next]);
                let fraction = (t - times[next - 1]) as f64 / (times[next] - times[next - 1]) as f64;
                let made = between(before, behind, fraction, self.notes, self.position);
                if made.is_none() {
                    let metric = series.labels.metric_name().unwrap_or_default();
                    self.notes.add(Note::MixedExponentialCustomHistograms { metric }, self.position);
                }
                made
            }
        }
    }
}

/// The histogram that lies so far between two; `None` if they have no bounds in common.
fn between(
    before: &FloatHistogram,
    behind: &FloatHistogram,
    fraction: f64,
    notes: &mut Notes,
    position: Position,
) -> Option<FloatHistogram> {
    let is_gauge = before.counter_reset_hint.is_gauge() && behind.counter_reset_hint.is_gauge();
    if before.layout.has_custom_bounds() != behind.layout.has_custom_bounds() {
        return None;
    }
    let between = behind.between(before, fraction, !is_gauge).ok()?;
    for (was_reconciled, operation) in [
        (between.subtracting_reconciled, HistogramOperation::Subtraction),
        (between.adding_reconciled, HistogramOperation::Addition),
    ] {
        if was_reconciled {
            notes.add(Note::MismatchedCustomBuckets(operation), position);
        }
    }
    Some(between.histogram)
}

/// The value at `t` on the line through two points.
fn on_line((t1, v1): (i64, f64), (t2, v2): (i64, f64), t: i64) -> f64 {
    v1 + (v2 - v1) * (t - t1) as f64 / (t2 - t1) as f64
}

/// A window from `start` to `end` with a sample at either border, made of samples around it; empty if none lies behind
/// `start`. There is at least one sample.
pub(super) fn with_borders(samples: &Samples, start: i64, end: i64, is_smoothed: bool) -> Samples {
    let (times, values) = (&samples.times, &samples.floats);
    let mut last = times.len() - 1;
    let first = times[..last].partition_point(|t| *t <= start).saturating_sub(1);
    if is_smoothed {
        last = times[..last].partition_point(|t| *t < end);
    }
    let mut window = Samples::default();
    if times[last] <= start {
        return window;
    }
    let point = |index: usize| (times[index], values[index]);
    let left = match is_smoothed && times[first] < start {
        true => on_line(point(first), point(first + 1), start),
        false => values[first],
    };
    let right = match is_smoothed && last > 0 && times[last] > end {
        true => on_line(point(last - 1), point(last), end),
        false => values[last],
    };
    window.push_float(start, left, 0);
    for index in first..=last {
        if times[index] > start && times[index] < end {
            window.push_float(times[index], values[index], 0);
        }
    }
    window.push_float(end, right, 0);
    window
}
