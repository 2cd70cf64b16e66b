//! From what samples in a window show to what happened in the whole window.
//!
//! Samples rarely lie at a window's borders. Up to 1.1 times the usual distance between samples, a border is taken for
//! covered; else the series is assumed to have begun or ended half a distance away from the sample. A counter is not
//! extrapolated below zero, and not at all where its start is known.

/// How samples lie in a window, milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Spread {
    /// From the window's start to the first sample.
    pub before: i64,
    /// From the first sample to the last.
    pub between: i64,
    /// From the last sample to the window's end.
    pub after: i64,
    /// Number of samples minus one; above 0 unless the zero is known.
    pub gaps: usize,
    /// From where the counter was zero to the first sample, if that is known.
    pub since_zero: Option<i64>,
}

/// What is computed of a [`Spread`], seconds.
#[derive(Clone, Copy, Debug)]
struct Reach {
    before: f64,
    sampled: f64,
    after: f64,
    factor: f64,
}

/// Extrapolates window after window. Samples at regular distances lie alike in many windows, so what was computed last
/// is kept.
#[derive(Debug)]
pub(super) struct Extrapolation {
    /// The window's length in seconds, if the outcome is to be per second.
    per: Option<f64>,
    /// Whether values start at zero.
    is_counter: bool,
    last: Option<(Spread, Reach)>,
}

impl Extrapolation {
    /// For windows of one length.
    pub fn new(is_counter: bool, per: Option<f64>) -> Extrapolation {
        Extrapolation { per, is_counter, last: None }
    }

    /// What to multiply `growth` with, which is how much the value grew between the samples; `first` is the first one.
    #[inline]
    pub fn factor(&mut self, spread: Spread, first: f64, growth: f64) -> f64 {
        let reach = match self.last {
            Some((last, reach)) if last == spread => reach,
            _ => self.reach(spread),
        };
        // Nothing reaches further back than 1.1 times what was sampled, so a first value well above the growth puts the
        // zero out of reach; this saves a division nearly always.
        if self.is_counter && growth > 0.0 && first >= 0.0 && first < growth * 1.2 && spread.since_zero.is_none() {
            let zero = reach.sampled * (first / growth);
            if zero < reach.before {
                return self.factor_of(zero, reach.sampled, reach.after);
            }
        }
        reach.factor
    }

    fn reach(&mut self, spread: Spread) -> Reach {
        let seconds = |ms: i64| ms as f64 / 1000.0;
        let distance = if spread.gaps > 0 { seconds(spread.between) / spread.gaps as f64 } else { 0.0 };
        let covered = distance * 1.1;
        let limited = |reach: f64| if reach >= covered { distance / 2.0 } else { reach };
        let before = match spread.since_zero {
            Some(_) => 0.0,
            None => limited(seconds(spread.before)),
        };
        let sampled = seconds(spread.between + spread.since_zero.unwrap_or(0));
        let after = limited(seconds(spread.after));
        let reach = Reach { before, sampled, after, factor: self.factor_of(before, sampled, after) };
        self.last = Some((spread, reach));
        reach
    }

    fn factor_of(&self, before: f64, sampled: f64, after: f64) -> f64 {
        let factor = if sampled == 0.0 { 1.0 } else { (sampled + before + after) / sampled };
        match self.per {
            Some(seconds) => factor / seconds,
            None => factor,
        }
    }
}
