//! `deriv` and `predict_linear`: the straight line through a window's floats with the least squares.

use std::array;
use std::ops::Range;

use super::lanes::{self, Batch, Kernel, Lanes, Sums};
use super::seen::tell_ignored;
use super::{RangeCall, Window};
use crate::model::Compensated;
use crate::promql::exec::StepSeries;
use crate::promql::notes::Notes;

/// `deriv`: the line's slope.
pub(super) fn deriv(call: &RangeCall<'_>, out: &mut StepSeries, notes: &mut Notes) -> Result<(), String> {
    // Times are counted from the first sample on: they are small numbers then and lose less.
    let line = Line { call, zero: |_, first| call.samples.times[first], outcome: |_, slope, _| slope };
    line.run(out, notes)
}

/// `predict_linear`: the line's value some seconds after the step.
pub(super) fn predict_linear(call: &RangeCall<'_>, out: &mut StepSeries, notes: &mut Notes) -> Result<(), String> {
    let outcome = |step: usize, slope, intercept| slope * call.args[0][step] + intercept;
    let line = Line { call, zero: |step, _| call.steps.at(step), outcome };
    line.run(out, notes)
}

struct Line<'a, Z, O> {
    call: &'a RangeCall<'a>,
    /// Where times are counted from, by step and first index.
    zero: Z,
    /// What is wanted of a step's slope and value at zero.
    outcome: O,
}

/// Sums over the samples `(x, y)`.
struct Totals<T> {
    x: T,
    y: T,
    xy: T,
    xx: T,
}

impl<Z, O> Line<'_, Z, O>
where
    Z: Fn(usize, usize) -> i64,
    O: Fn(usize, f64, f64) -> f64,
{
    fn run(&self, out: &mut StepSeries, notes: &mut Notes) -> Result<(), String> {
        let has_two = |window: &Window| window.floats.len() > 1;
        lanes::run(self.call, self, &mut out.floats, has_two, |_| None);
        tell_ignored(self.call, notes);
        Ok(())
    }

    fn line(&self, step: usize, count: f64, totals: Totals<f64>) -> f64 {
        let Totals { x, y, xy, xx } = totals;
        let covariance = xy - x * y / count;
        let variance = xx - x * x / count;
        let slope = covariance / variance;
        let intercept = y / count - slope * x / count;
        (self.outcome)(step, slope, intercept)
    }

    /// The outcome if all floats are the same: the sums would not give it exactly.
    fn level(&self, step: usize, range: Range<usize>) -> Option<f64> {
        let floats = &self.call.samples.floats[range];
        let level = floats[0];
        floats[1..].iter().all(|v| *v == level).then(|| {
            let (slope, intercept) = if level.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, level) };
            (self.outcome)(step, slope, intercept)
        })
    }
}

impl<Z, O> Kernel for Line<'_, Z, O>
where
    Z: Fn(usize, usize) -> i64,
    O: Fn(usize, f64, f64) -> f64,
{
    type State = [Sums; 4];

    fn start(&self, _: &Batch) -> [Sums; 4] {
        [Sums::zero(); 4]
    }

    #[inline]
    fn step(&self, [x, y, xy, xx]: &mut [Sums; 4], k: usize, values: Lanes, batch: &Batch) {
        let indexes = batch.indexes(k);
        let ms = array::from_fn(|lane| {
            let zero = (self.zero)(batch.steps[lane], batch.ranges[lane].start);
            (self.call.samples.times[indexes[lane]] - zero) as f64
        });
        let at = Lanes(ms) / Lanes::splat(1e3);
        x.add(at);
        y.add(values);
        xy.add(at * values);
        xx.add(at * at);
    }

    fn finish(&self, sums: [Sums; 4], batch: &Batch) -> Lanes {
        let [x, y, xy, xx] = sums.map(Sums::total);
        let counts = batch.counts();
        Lanes(array::from_fn(|lane| {
            let totals = Totals { x: x.0[lane], y: y.0[lane], xy: xy.0[lane], xx: xx.0[lane] };
            let range = batch.ranges[lane].clone();
            self.level(batch.steps[lane], range).unwrap_or_else(|| self.line(batch.steps[lane], counts.0[lane], totals))
        }))
    }

    fn one(&self, step: usize, range: Range<usize>) -> f64 {
        if let Some(outcome) = self.level(step, range.clone()) {
            return outcome;
        }
        let samples = self.call.samples;
        let zero = (self.zero)(step, range.start);
        let mut sums = [Compensated::default(); 4];
        for at in range.clone() {
            let (x, y) = ((samples.times[at] - zero) as f64 / 1e3, samples.floats[at]);
            sums.iter_mut().zip([x, y, x * y, x * x]).for_each(|(sum, v)| sum.add(v));
        }
        let [x, y, xy, xx] = sums.map(Compensated::total);
        self.line(step, range.len() as f64, Totals { x, y, xy, xx })
    }
}
