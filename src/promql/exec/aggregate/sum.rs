//! `sum` and `avg`, with what rounding takes given back.
//!
//! The steps are those of [`Compensated`], on columns and without branches: a step that has no value yet takes the first
//! one as it is. To the bit the outcome is the reference's.

use super::fold::{At, Fold, select};
use super::histograms::Histograms;
use crate::model::{Compensated, HistogramMean, HistogramSum};
use crate::promql::exec::{ABSENT, StepSeries, is_absent};

/// So many steps are looked at for overflow before they are added.
const BLOCK: usize = 64;

/// `sum`.
pub(super) struct Sum {
    floats: Sums,
    histograms: Histograms<HistogramSum>,
}

/// `avg`: the sum divided by the number, or, from when the sum would overflow, the mean so far moved a little by each value.
pub(super) struct Mean {
    floats: Sums,
    count: Vec<f64>,
    /// The steps at which `floats` holds a mean; nothing as long as there are none.
    in_steps: Option<Box<[bool]>>,
    histograms: Histograms<HistogramMean>,
}

/// Compensated sums.
struct Sums {
    /// [`ABSENT`] as long as there is no value.
    value: Vec<f64>,
    lost: Vec<f64>,
}

impl Sums {
    fn new(steps: usize) -> Sums {
        Sums { value: vec![ABSENT; steps], lost: vec![0.0; steps] }
    }
}

/// Adds a column to sums.
#[inline]
fn add(value: &mut [f64], lost: &mut [f64], floats: &[f64]) {
    for ((value, lost), v) in value.iter_mut().zip(lost).zip(floats) {
        let (held, v) = (*value, *v);
        let sum = held + v;
        let is_held_larger = held.abs() >= v.abs();
        let (large, small) = (select(is_held_larger, held, v), select(is_held_larger, v, held));
        let missed = *lost + ((large - sum) + small);
        let missed = select(sum.is_infinite(), 0.0, missed);
        let (is_first, skips) = (is_absent(held), is_absent(v));
        *value = select(skips, held, select(is_first, v, sum));
        *lost = select(skips, *lost, select(is_first, 0.0, missed));
    }
}

impl Fold for Sum {
    const STEP_BYTES: usize = 16;

    fn new(steps: usize) -> Sum {
        Sum { floats: Sums::new(steps), histograms: Histograms::new() }
    }

    fn add(&mut self, series: &StepSeries, at: &At<'_, '_>) {
        if series.histograms.is_some() || !self.histograms.is_empty() {
            self.histograms.add(series, &self.floats.value, at);
        }
        // Where there are histograms too, these sums are not used.
        add(&mut self.floats.value, &mut self.floats.lost, &series.floats);
    }

    fn finish(self, out: &mut StepSeries, at: &At<'_, '_>) {
        out.floats = self.floats.value;
        let held = out.floats.iter_mut().zip(&self.floats.lost).filter(|(value, _)| !is_absent(**value));
        held.for_each(|(value, lost)| *value += lost);
        self.histograms.finish(out, at);
    }
}

impl Mean {
    /// Adds values one by one, and goes over to means where the sum would overflow.
    fn add_slowly(&mut self, first: usize, floats: &[f64]) {
        let steps = self.count.len();
        let in_steps = self.in_steps.get_or_insert_with(|| vec![false; steps].into_boxed_slice());
        for (step, v) in (first..).zip(floats).filter(|(_, v)| !is_absent(**v)) {
            let (value, lost) = (&mut self.floats.value[step], &mut self.floats.lost[step]);
            let count = &mut self.count[step];
            *count += 1.0;
            if is_absent(*value) {
                (*value, *lost) = (*v, 0.0);
                continue;
            }
            if !in_steps[step] {
                let mut sum = Compensated { value: *value, lost: *lost };
                sum.add(*v);
                if !sum.value.is_infinite() {
                    (*value, *lost) = (sum.value, sum.lost);
                    continue;
                }
                in_steps[step] = true;
                *value /= *count - 1.0;
                *lost /= *count - 1.0;
            }
            let kept = (*count - 1.0) / *count;
            let mut mean = Compensated { value: kept * *value, lost: kept * *lost };
            mean.add(*v / *count);
            (*value, *lost) = (mean.value, mean.lost);
        }
    }

    fn add_quickly(&mut self, first: usize, floats: &[f64]) {
        let range = first..first + floats.len();
        add(&mut self.floats.value[range.clone()], &mut self.floats.lost[range.clone()], floats);
        for (count, v) in self.count[range].iter_mut().zip(floats) {
            *count += if is_absent(*v) { 0.0 } else { 1.0 };
        }
    }
}

impl Fold for Mean {
    const STEP_BYTES: usize = 24;

    fn new(steps: usize) -> Mean {
        Mean { floats: Sums::new(steps), count: vec![0.0; steps], in_steps: None, histograms: Histograms::new() }
    }

    fn add(&mut self, series: &StepSeries, at: &At<'_, '_>) {
        if series.histograms.is_some() || !self.histograms.is_empty() {
            self.histograms.add(series, &self.floats.value, at);
        }
        for (block, floats) in series.floats.chunks(BLOCK).enumerate() {
            let first = block * BLOCK;
            // What is absent is NaN, so that no sum with it is infinite.
            let held = &self.floats.value[first..first + floats.len()];
            let overflows = held.iter().zip(floats).fold(false, |any, (held, v)| any | (held + v).is_infinite());
            if overflows || self.in_steps.is_some() {
                self.add_slowly(first, floats);
            } else {
                self.add_quickly(first, floats);
            }
        }
    }

    fn finish(self, out: &mut StepSeries, at: &At<'_, '_>) {
        for (step, out) in out.floats.iter_mut().enumerate() {
            let (value, lost, count) = (self.floats.value[step], self.floats.lost[step], self.count[step]);
            *out = match &self.in_steps {
                _ if is_absent(value) => ABSENT,
                Some(in_steps) if in_steps[step] => value + lost,
                _ => value / count + lost / count,
            };
        }
        self.histograms.finish(out, at);
    }
}
