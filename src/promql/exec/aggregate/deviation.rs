//! `stddev` and `stdvar`, by Welford's method.

use super::fold::{At, Fold, select};
use crate::promql::exec::{ABSENT, StepSeries, is_absent};

/// `stdvar`.
pub(super) struct Variance(Moments);

/// `stddev`.
pub(super) struct Deviation(Moments);

struct Moments {
    count: Vec<f64>,
    mean: Vec<f64>,
    /// Sums of squared distances to the mean.
    squares: Vec<f64>,
}

impl Moments {
    fn new(steps: usize) -> Moments {
        Moments { count: vec![0.0; steps], mean: vec![0.0; steps], squares: vec![0.0; steps] }
    }

    fn add(&mut self, floats: &[f64]) {
        let columns = self.count.iter_mut().zip(&mut self.mean).zip(&mut self.squares);
        for (((count, mean), squares), v) in columns.zip(floats) {
            // The first value comes out as mean itself and with squares 0, or NaN if it is not finite.
            let (n, delta) = (*count + 1.0, v - *mean);
            let moved = *mean + delta / n;
            let grown = *squares + delta * (v - moved);
            let absent = is_absent(*v);
            *count = select(absent, *count, n);
            *mean = select(absent, *mean, moved);
            *squares = select(absent, *squares, grown);
        }
    }

    fn finish(self, out: &mut StepSeries, of_variance: impl Fn(f64) -> f64) {
        for ((out, squares), count) in out.floats.iter_mut().zip(&self.squares).zip(&self.count) {
            *out = if *count == 0.0 { ABSENT } else { of_variance(squares / count) };
        }
    }
}

impl Fold for Variance {
    const STEP_BYTES: usize = 24;

    fn new(steps: usize) -> Variance {
        Variance(Moments::new(steps))
    }

    fn add(&mut self, series: &StepSeries, at: &At<'_, '_>) {
        at.ignore_histograms("stdvar", series);
        self.0.add(&series.floats);
    }

    fn finish(self, out: &mut StepSeries, _at: &At<'_, '_>) {
        self.0.finish(out, |variance| variance);
    }
}

impl Fold for Deviation {
    const STEP_BYTES: usize = 24;

    fn new(steps: usize) -> Deviation {
        Deviation(Moments::new(steps))
    }

    fn add(&mut self, series: &StepSeries, at: &At<'_, '_>) {
        at.ignore_histograms("stddev", series);
        self.0.add(&series.floats);
    }

    fn finish(self, out: &mut StepSeries, _at: &At<'_, '_>) {
        self.0.finish(out, f64::sqrt);
    }
}
