//! Sums, means and variances: `sum_over_time`, `avg_over_time`, `stddev_over_time`, `stdvar_over_time`.
//!
//! Rounding is compensated, so the outcome depends on the order of additions, and the order is the samples'. Sums of
//! whole numbers are exact however they are added: then a window's sum is a difference of two sums from the beginning.

use std::ops::Range;

use super::lanes::{self, Batch, Kernel, Lanes, Sums};
use super::seen::{Seen, tell_ignored};
use super::{RangeCall, Window, histogram_sums};
use crate::model::Compensated;
use crate::promql::exec::StepSeries;
use crate::promql::notes::Notes;

/// `sum_over_time`
pub(super) fn sum(call: &RangeCall<'_>, out: &mut StepSeries, notes: &mut Notes) -> Result<(), String> {
    let mut seen = Seen::default();
    let totals = Totals::of(call);
    let done = |range: Range<usize>| Some(totals.as_ref()?.within(range));
    lanes::run(call, &Sum { floats: &call.samples.floats }, &mut out.floats, |window| !window.is_mixed(), done);
    histogram_sums::sums(call, out, &mut seen);
    seen.tell(call, notes);
    Ok(())
}

/// `avg_over_time`
pub(super) fn avg(call: &RangeCall<'_>, out: &mut StepSeries, notes: &mut Notes) -> Result<(), String> {
    let mut seen = Seen::default();
    let totals = Totals::of(call);
    let done = |range: Range<usize>| {
        let count = range.len() as f64;
        Some(totals.as_ref()?.within(range) / count)
    };
    lanes::run(call, &Mean { floats: &call.samples.floats }, &mut out.floats, |window| !window.is_mixed(), done);
    histogram_sums::means(call, out, &mut seen);
    seen.tell(call, notes);
    Ok(())
}

/// `stdvar_over_time`
pub(super) fn stdvar(call: &RangeCall<'_>, out: &mut StepSeries, notes: &mut Notes) -> Result<(), String> {
    lanes::run(call, &Variance { floats: &call.samples.floats }, &mut out.floats, any, |_| None);
    tell_ignored(call, notes);
    Ok(())
}

/// `stddev_over_time`
pub(super) fn stddev(call: &RangeCall<'_>, out: &mut StepSeries, notes: &mut Notes) -> Result<(), String> {
    stdvar(call, out, notes)?;
    // What is absent stays absent, to the bit, only if it is left alone.
    call.with_floats().for_each(|(step, _)| out.floats[step] = out.floats[step].sqrt());
    Ok(())
}

fn any(_: &Window) -> bool {
    true
}

/// Sums from the beginning, of whole numbers of which no sum needs more than the bits of a float.
struct Totals(Vec<f64>);

impl Totals {
    /// None if there are other numbers, or windows overlap so little that they are summed up sooner one by one.
    fn of(call: &RangeCall<'_>) -> Option<Totals> {
        /// Beyond it not all whole numbers are floats.
        const EXACT: f64 = (1u64 << 53) as f64;
        let floats = &call.samples.floats;
        if call.windows.iter().map(|window| window.floats.len()).sum::<usize>() < 3 * floats.len() {
            return None;
        }
        let mut size = 0.0;
        let mut total = 0.0;
        let mut totals = Vec::with_capacity(floats.len() + 1);
        totals.push(total);
        for v in floats {
            size += v.abs();
            if *v as i64 as f64 != *v || size > EXACT {
                return None;
            }
            total += v;
            totals.push(total);
        }
        Some(Totals(totals))
    }

    fn within(&self, range: Range<usize>) -> f64 {
        self.0[range.end] - self.0[range.start]
    }
}

struct Sum<'a> {
    floats: &'a [f64],
}

impl Kernel for Sum<'_> {
    type State = Sums;

    fn start(&self, _: &Batch) -> Sums {
        Sums::zero()
    }

    #[inline]
    fn step(&self, state: &mut Sums, _: usize, values: Lanes, _: &Batch) {
        state.add(values);
    }

    fn finish(&self, state: Sums, _: &Batch) -> Lanes {
        state.total()
    }

    fn one(&self, _: usize, range: Range<usize>) -> f64 {
        let mut sum = Compensated::default();
        self.floats[range].iter().for_each(|v| sum.add(*v));
        if sum.value.is_infinite() { sum.value } else { sum.total() }
    }
}

struct Mean<'a> {
    floats: &'a [f64],
}

impl Kernel for Mean<'_> {
    type State = Sums;

    fn start(&self, _: &Batch) -> Sums {
        Sums::zero()
    }

    #[inline]
    fn step(&self, state: &mut Sums, _: usize, values: Lanes, _: &Batch) {
        state.add(values);
    }

    fn finish(&self, state: Sums, batch: &Batch) -> Lanes {
        let counts = batch.counts();
        state.value / counts + state.lost / counts
    }

    /// Once the sum would be infinite, the mean so far is moved a little by each sample.
    fn one(&self, _: usize, range: Range<usize>) -> f64 {
        let floats = &self.floats[range];
        let mut sum = Compensated::new(floats[0]);
        let mut count = 1.0;
        let mut rest = floats[1..].iter();
        for v in &mut rest {
            let mut longer = sum;
            longer.add(*v);
            if longer.value.is_infinite() {
                let mut mean = Compensated { value: sum.value / count, lost: sum.lost / count };
                for v in [v].into_iter().chain(rest) {
                    count += 1.0;
                    let kept = (count - 1.0) / count;
                    mean = Compensated { value: kept * mean.value, lost: kept * mean.lost };
                    mean.add(v / count);
                }
                return mean.total();
            }
            sum = longer;
            count += 1.0;
        }
        sum.value / count + sum.lost / count
    }
}

/// Mean and squared distances from it, moved by every sample, after Welford.
struct Variance<'a> {
    floats: &'a [f64],
}

impl Kernel for Variance<'_> {
    type State = [Sums; 2];

    fn start(&self, _: &Batch) -> [Sums; 2] {
        [Sums::zero(); 2]
    }

    #[inline]
    fn step(&self, [mean, squares]: &mut [Sums; 2], k: usize, values: Lanes, _: &Batch) {
        let distance = values - mean.total();
        mean.add(distance / Lanes::splat((k + 1) as f64));
        squares.add(distance * (values - mean.total()));
    }

    fn finish(&self, [_, squares]: [Sums; 2], batch: &Batch) -> Lanes {
        squares.total() / batch.counts()
    }

    fn one(&self, _: usize, range: Range<usize>) -> f64 {
        let (mut mean, mut squares) = (Compensated::default(), Compensated::default());
        let mut count = 0.0;
        for v in &self.floats[range] {
            count += 1.0;
            let distance = v - mean.total();
            mean.add(distance / count);
            squares.add(distance * (v - mean.total()));
        }
        squares.total() / count
    }
}
