//! Functions over windows of samples, of selectors and of subqueries.

use std::ops::Range;
use std::sync::Arc;

use super::extended::with_borders;
use super::read::{Markers, Reading, Scratch};
use super::select::Instants;
use super::series::{Cell, StepSeries};
use super::steps::Steps;
use super::{Evaluator, Failure, Sink};
use crate::model::{CounterResetHint, FloatHistogram, Labels, TimestampMs};
use crate::promql::ast::{Extension, Position};
use crate::promql::functions::range::{RangeCall, RangeFunction, Samples, Window};
use crate::promql::plan::{Node, Op, RangeSelect, Subquery};
use crate::storage::TimeRange;

/// A call of a function over windows; everything but the series.
pub(super) struct OverWindows<'a> {
    pub function: RangeFunction,
    /// Whether series keep their names.
    pub keeps_name: bool,
    /// The other arguments.
    pub args: Vec<Vec<f64>>,
    /// Place of the first argument.
    pub position: Position,
    /// The argument that has the windows.
    pub node: &'a Node,
    pub steps: Steps,
}

impl Evaluator<'_> {
    /// Calls a function for each series of its argument.
    pub(super) fn over_windows(&self, call: &OverWindows<'_>, sink: Sink<'_>) -> Result<(), Failure> {
        if call.steps.count == 0 {
            return Ok(());
        }
        match &call.node.op {
            Op::Range(range) => self.over_selector(call, range, sink),
            Op::Subquery(subquery) => self.over_subquery(call, subquery, sink),
            _ => Err(Failure::Execution("a function over windows needs a range vector".to_owned())),
        }
    }

    fn over_selector(&self, call: &OverWindows<'_>, range: &RangeSelect, sink: Sink<'_>) -> Result<(), Failure> {
        let select = &range.select;
        let bounds = WindowBounds::new(call.steps, select.offset, select.at, range.range);
        let bounds = bounds.extended(select.extension, self.context.lookback);
        let reading = Reading { select, range: bounds.range(), markers: Markers::Dropped };
        self.read(
            &reading,
            &|labels, scratch| self.apply(call, &bounds, select.extension, labels, false, scratch),
            sink,
        )
    }

    /// The subquery's series are samples like stored ones.
    fn over_subquery(&self, call: &OverWindows<'_>, subquery: &Subquery, sink: Sink<'_>) -> Result<(), Failure> {
        let bounds = WindowBounds::new(call.steps, subquery.offset, subquery.at, subquery.range);
        let inner = bounds.subquery_steps(subquery.step);
        // What one column takes must fit, whatever the node does with it.
        self.context.scope.charge(inner.count as u64, 8 * inner.count as u64)?;
        let mut scratch = Scratch::default();
        self.vector(&subquery.node, inner, &mut |series| {
            scratch.samples.clear();
            push_samples(&series, inner, &mut scratch.samples);
            let drops_name = series.drop_name;
            let made = self.apply(call, &bounds, Extension::None, series.labels, drops_name, &mut scratch)?;
            made.map_or(Ok(()), &mut *sink)
        })?;
        self.context.merge_notes(scratch.notes);
        self.context.scope.release(inner.count as u64, 8 * inner.count as u64);
        Ok(())
    }

    /// Calls the function for the series whose samples lie in `scratch`.
    fn apply(
        &self,
        call: &OverWindows<'_>,
        bounds: &WindowBounds,
        extension: Extension,
        labels: Labels,
        drops_name: bool,
        scratch: &mut Scratch,
    ) -> Result<Option<StepSeries>, Failure> {
        let Scratch { samples, windows, notes, .. } = scratch;
        self.context.count_samples(bounds.find(samples, windows));
        let mut series = StepSeries::absent(labels.clone(), call.steps.count);
        let range_call = RangeCall {
            labels: &labels,
            samples,
            windows,
            range: bounds.length,
            extension,
            args: &call.args,
            steps: call.steps,
            uses_starts: self.context.uses_starts,
            has_type_labels: self.context.has_type_labels,
            position: call.position,
        };
        (call.function)(&range_call, &mut series, notes).map_err(Failure::Execution)?;
        if series.is_empty() {
            return Ok(None);
        }
        series.drop_name = drops_name;
        if !call.keeps_name || drops_name {
            self.context.drop_name(&mut series.labels, &mut series.drop_name);
        }
        Ok(Some(series))
    }

    /// The samples of a range vector that is the whole query, series by series.
    pub fn raw(
        &self,
        node: &Node,
        at: i64,
        sink: &mut dyn FnMut(Labels, bool, Samples) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let steps = Steps::single(at);
        match &node.op {
            Op::Range(range) => {
                let select = &range.select;
                let bounds = WindowBounds::new(steps, select.offset, select.at, range.range);
                let bounds = bounds.extended(select.extension, self.context.lookback);
                let reading = Reading { select, range: bounds.range(), markers: Markers::Dropped };
                let found = parking_lot::Mutex::new(Vec::new());
                let one = Evaluator { context: self.context };
                one.read(
                    &reading,
                    &|labels, scratch| {
                        let mut windows = Vec::new();
                        self.context.count_samples(bounds.find(&scratch.samples, &mut windows));
                        let Some(window) = windows.pop() else { return Ok(None) };
                        let samples = scratch.samples.cut(&window);
                        let samples = bounds.at_borders(samples, select.extension, &window)?;
                        if samples.count() > 0 {
                            self.context.scope.charge(samples.count() as u64, 16 * samples.count() as u64)?;
                            found.lock().push((labels, samples));
                        }
                        Ok(None)
                    },
                    &mut |_| Ok(()),
                )?;
                found.into_inner().into_iter().try_for_each(|(labels, samples)| sink(labels, false, samples))
            }
            Op::Subquery(subquery) => {
                let bounds = WindowBounds::new(steps, subquery.offset, subquery.at, subquery.range);
                let inner = bounds.subquery_steps(subquery.step);
                self.context.scope.charge(inner.count as u64, 8 * inner.count as u64)?;
                self.vector(&subquery.node, inner, &mut |series| {
                    let mut samples = Samples::default();
                    push_samples(&series, inner, &mut samples);
                    self.context.scope.charge(samples.count() as u64, 16 * samples.count() as u64)?;
                    sink(series.labels, series.drop_name, samples)
                })
            }
            Op::Invariant(inner) => self.raw(inner, at, sink),
            _ => Err(Failure::Execution("a range vector is wanted".to_owned())),
        }
    }
}

/// Where the windows of all steps lie.
#[derive(Clone, Copy, Debug)]
struct WindowBounds {
    ends: Instants,
    steps: usize,
    /// Milliseconds.
    length: i64,
    /// Milliseconds before a window's start from which samples are of use.
    before: i64,
    /// Milliseconds behind a window's end until which samples are of use.
    after: i64,
}

impl WindowBounds {
    fn new(steps: Steps, offset: i64, at: Option<i64>, length: i64) -> WindowBounds {
        let ends = Instants::new(steps, offset, at);
        WindowBounds { ends, steps: steps.count, length, before: 0, after: 0 }
    }

    fn extended(self, extension: Extension, lookback: i64) -> WindowBounds {
        match extension {
            Extension::None => self,
            Extension::Anchored => WindowBounds { before: lookback, ..self },
            Extension::Smoothed => WindowBounds { before: lookback, after: lookback, ..self },
        }
    }

    /// What must be read.
    fn range(&self) -> TimeRange {
        self.ends.range(self.length.saturating_add(self.before), self.after)
    }

    /// The steps of a subquery: all multiples of `step` in any window.
    fn subquery_steps(&self, step: i64) -> Steps {
        let TimeRange { min: TimestampMs(first), max: TimestampMs(last) } = self.range();
        // The first instant belongs to the window already.
        let start = (first - 1).div_euclid(step) * step + step;
        Steps::between(start, last, step)
    }

    /// Finds every step's window; returns how many samples they hold together.
    fn find(&self, samples: &Samples, windows: &mut Vec<Window>) -> u64 {
        windows.clear();
        windows.reserve(self.steps);
        let (mut floats, mut histograms) = (Slide::default(), Slide::default());
        let mut found = 0;
        for end in self.ends.iter() {
            let start = end.saturating_sub(self.length).saturating_sub(self.before);
            let until = end.saturating_add(self.after);
            let floats = floats.to(&samples.times, start, until);
            let histograms = histograms.to(&samples.histogram_times, start, until);
            found += (floats.len() + histograms.len()) as u64;
            windows.push(Window { end, floats, histograms });
        }
        found
    }

    /// The window of a query that is nothing but an extended selector: values at its borders, what lies between them.
    fn at_borders(&self, samples: Samples, extension: Extension, window: &Window) -> Result<Samples, Failure> {
        let word = match extension {
            Extension::None => return Ok(samples),
            Extension::Anchored => "anchored",
            Extension::Smoothed => "smoothed",
        };
        if !samples.histograms.is_empty() {
            return Err(Failure::Execution(format!("{word} modifier is not supported with histograms")));
        }
        if samples.times.is_empty() {
            return Ok(samples);
        }
        let start = window.end - self.length;
        Ok(with_borders(&samples, start, window.end, extension == Extension::Smoothed))
    }
}

/// A window over times that only moves on.
#[derive(Default)]
struct Slide {
    first: usize,
    last: usize,
}

impl Slide {
    /// Behind `start`, until `end`.
    fn to(&mut self, times: &[i64], start: i64, end: i64) -> Range<usize> {
        while times.get(self.first).is_some_and(|t| *t <= start) {
            self.first += 1;
        }
        self.last = self.last.max(self.first);
        while times.get(self.last).is_some_and(|t| *t <= end) {
            self.last += 1;
        }
        self.first..self.last
    }
}

/// What a series has at its steps, as samples. Findings about resets were made between other samples; they are forgotten.
fn push_samples(series: &StepSeries, steps: Steps, samples: &mut Samples) {
    for (step, t) in steps.iter().enumerate() {
        match series.cell(step) {
            Cell::Absent => {}
            Cell::Float(v) => samples.push_float(t, v, 0),
            Cell::Histogram(histogram) => samples.push_histogram(t, without_finding(histogram), 0),
        }
    }
}

fn without_finding(histogram: &Arc<FloatHistogram>) -> Arc<FloatHistogram> {
    match histogram.counter_reset_hint {
        CounterResetHint::Unknown | CounterResetHint::Gauge => histogram.clone(),
        CounterResetHint::Reset | CounterResetHint::NotReset => {
            let mut histogram = FloatHistogram::clone(histogram);
            histogram.counter_reset_hint = CounterResetHint::Unknown;
            Arc::new(histogram)
        }
    }
}

impl Samples {
    pub fn count(&self) -> usize {
        self.times.len() + self.histogram_times.len()
    }

    /// The samples of one window alone.
    fn cut(&self, window: &Window) -> Samples {
        Samples {
            times: self.times[window.floats.clone()].to_vec(),
            floats: self.floats[window.floats.clone()].to_vec(),
            histogram_times: self.histogram_times[window.histograms.clone()].to_vec(),
            histograms: self.histograms[window.histograms.clone()].to_vec(),
            ..Samples::default()
        }
    }
}
