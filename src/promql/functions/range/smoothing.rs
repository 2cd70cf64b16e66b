//! `double_exponential_smoothing`: a mean in which older samples count less, and a trend.

use std::array;
use std::ops::Range;

use super::RangeCall;
use super::lanes::{self, Batch, Kernel, Lanes};
use super::seen::tell_ignored;
use crate::promql::exec::StepSeries;
use crate::promql::notes::Notes;

/// `double_exponential_smoothing`
pub(super) fn double_exponential(call: &RangeCall<'_>, out: &mut StepSeries, notes: &mut Notes) -> Result<(), String> {
    let (level, trend) = (&call.args[0], &call.args[1]);
    for (step, _) in call.with_samples() {
        check("smoothing factor. Expected: 0 < sf < 1", level[step])?;
        check("trend factor. Expected: 0 < tf < 1", trend[step])?;
    }
    let kernel = Smoothing { floats: &call.samples.floats, level, trend };
    lanes::run(call, &kernel, &mut out.floats, |window| window.floats.len() > 1, |_| None);
    tell_ignored(call, notes);
    Ok(())
}

fn check(what: &str, factor: f64) -> Result<(), String> {
    if factor <= 0.0 || factor >= 1.0 {
        let text = match factor {
            f64::INFINITY => "+Inf".to_owned(),
            f64::NEG_INFINITY => "-Inf".to_owned(),
            factor => format!("{factor:.6}"),
        };
        return Err(format!("invalid {what}, got: {text}"));
    }
    Ok(())
}

struct Smoothing<'a> {
    floats: &'a [f64],
    /// How much a new sample counts, per step.
    level: &'a [f64],
    /// How much a new change counts, per step.
    trend: &'a [f64],
}

impl Kernel for Smoothing<'_> {
    /// The smoothed value before, the smoothed value, the trend; the two factors.
    type State = [Lanes; 5];

    fn start(&self, batch: &Batch) -> [Lanes; 5] {
        let zero = Lanes::splat(0.0);
        let factor = |all: &[f64]| Lanes(array::from_fn(|lane| all[batch.steps[lane]]));
        [zero, zero, zero, factor(self.level), factor(self.trend)]
    }

    #[inline]
    fn step(
        &self,
        [before, smoothed, trend, level_factor, trend_factor]: &mut [Lanes; 5],
        k: usize,
        v: Lanes,
        _: &Batch,
    ) {
        if k == 0 {
            *smoothed = v;
            return;
        }
        let one = Lanes::splat(1.0);
        *trend = match k {
            1 => v - *smoothed,
            _ => *trend_factor * (*smoothed - *before) + (one - *trend_factor) * *trend,
        };
        let next = *level_factor * v + (one - *level_factor) * (*smoothed + *trend);
        *before = *smoothed;
        *smoothed = next;
    }

    fn finish(&self, [_, smoothed, ..]: [Lanes; 5], _: &Batch) -> Lanes {
        smoothed
    }

    fn one(&self, step: usize, range: Range<usize>) -> f64 {
        let batch = Batch { steps: [step; lanes::LANES], ranges: array::from_fn(|_| range.clone()) };
        let mut state = self.start(&batch);
        for (k, v) in self.floats[range].iter().enumerate() {
            self.step(&mut state, k, Lanes::splat(*v), &batch);
        }
        self.finish(state, &batch).0[0]
    }
}
