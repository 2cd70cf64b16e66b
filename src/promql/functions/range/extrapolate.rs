//! From what samples in a window show to what happened in the whole window.
//!
//! Samples rarely lie at a window's borders. Up to 1.1 times the usual distance between samples, a border is taken for
//! covered; else the series is assumed to have begun or ended half a distance away from the sample. A counter is not
//! extrapolated below zero, and not at all where its start is known.

use super::lanes::Lanes;

/// How samples lie in windows: whole numbers, durations in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spreads<const N: usize> {
    /// From the window's start to the first sample.
    pub before: [f64; N],
    /// From the first sample to the last.
    pub between: [f64; N],
    /// From the last sample to the window's end.
    pub after: [f64; N],
    /// Number of samples minus one; above 0 unless the zero is known.
    pub gaps: [f64; N],
    /// From where the counter was zero to the first sample; 0 if that is not known.
    pub since_zero: [f64; N],
}

/// How samples lie in one window, milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Spread {
    pub before: i64,
    pub between: i64,
    pub after: i64,
    pub gaps: usize,
    pub since_zero: i64,
}

impl<const N: usize> Spreads<N> {
    /// Of no windows yet.
    pub fn new() -> Spreads<N> {
        let zeros = [0.0; N];
        Spreads { before: zeros, between: zeros, after: zeros, gaps: zeros, since_zero: zeros }
    }

    /// Sets one.
    #[inline]
    pub fn set(&mut self, at: usize, spread: Spread) {
        self.before[at] = spread.before as f64;
        self.between[at] = spread.between as f64;
        self.after[at] = spread.after as f64;
        self.gaps[at] = spread.gaps as f64;
        self.since_zero[at] = spread.since_zero as f64;
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extrapolation {
    /// By how many seconds the outcome is divided, 1 if it is not.
    pub per: f64,
    /// Whether values start at zero.
    pub is_counter: bool,
}

impl Extrapolation {
    /// What to multiply `growth` with, which is how much a value grew between the samples of a window; `first` is the
    /// first one.
    #[inline]
    pub fn factors<const N: usize>(self, spreads: &Spreads<N>, first: Lanes<N>, growth: Lanes<N>) -> Lanes<N> {
        let (nothing, thousand) = (Lanes::splat(0.0), Lanes::splat(1000.0));
        let (between, gaps, since_zero) = (Lanes(spreads.between), Lanes(spreads.gaps), Lanes(spreads.since_zero));
        let distance = nothing.if_less(gaps, between / thousand / gaps, nothing);
        let covered = distance * Lanes::splat(1.1);
        let half = distance / Lanes::splat(2.0);
        let before = Lanes(spreads.before) / thousand;
        let before = before.if_less(covered, before, half);
        let before = nothing.if_less(since_zero, nothing, before);
        let after = Lanes(spreads.after) / thousand;
        let after = after.if_less(covered, after, half);
        let sampled = (between + since_zero) / thousand;
        let before = if self.is_counter { until_zero(before, sampled, first, growth) } else { before };
        let factor = nothing.if_less(sampled, (sampled + before + after) / sampled, Lanes::splat(1.0));
        factor / Lanes::splat(self.per)
    }

    /// As [`Extrapolation::factors`], of one window.
    pub fn factor(self, spread: Spread, first: f64, growth: f64) -> f64 {
        let mut spreads = Spreads::<1>::new();
        spreads.set(0, spread);
        self.factors(&spreads, Lanes([first]), Lanes([growth])).0[0]
    }
}

/// How far back to extrapolate if there is no way below zero. Where the zero is known there is no way back at all.
#[inline]
fn until_zero<const N: usize>(before: Lanes<N>, sampled: Lanes<N>, first: Lanes<N>, growth: Lanes<N>) -> Lanes<N> {
    let nothing = Lanes::splat(0.0);
    let zero = sampled * (first / growth);
    let nearer = zero.if_less(before, zero, before);
    let nearer = nothing.if_less(growth, nearer, before);
    first.if_less(nothing, before, nearer)
}
