//! Several windows computed side by side.
//!
//! A sum in which rounding matters must add a window's samples one by one, and every addition waits for the one before.
//! Windows do not wait for each other: the k-th samples of some windows are added at once, which the processor does in
//! parallel and the compiler with vector instructions.

use std::array;
use std::ops::{Add, Div, Mul, Range, Sub};

use super::{RangeCall, Window};

/// How many windows are computed side by side: enough to fill the wait of an addition. More gain nothing.
pub(super) const LANES: usize = 8;

/// Below this number, windows are computed one by one: lanes without a window are no cheaper than others.
const WORTH_IT: usize = 3;

/// One float of each window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lanes<const N: usize = LANES>(pub [f64; N]);

impl<const N: usize> Lanes<N> {
    /// The same for all.
    #[inline]
    pub fn splat(v: f64) -> Lanes<N> {
        Lanes([v; N])
    }

    /// `then` where this is less than `limit`, else `otherwise`.
    #[inline]
    pub fn if_less(self, limit: Lanes<N>, then: Lanes<N>, otherwise: Lanes<N>) -> Lanes<N> {
        Lanes(array::from_fn(|i| if self.0[i] < limit.0[i] { then.0[i] } else { otherwise.0[i] }))
    }

    #[inline]
    fn zip(self, other: Lanes<N>, f: impl Fn(f64, f64) -> f64) -> Lanes<N> {
        Lanes(array::from_fn(|lane| f(self.0[lane], other.0[lane])))
    }
}

impl<const N: usize> Add for Lanes<N> {
    type Output = Lanes<N>;
    #[inline]
    fn add(self, other: Lanes<N>) -> Lanes<N> {
        self.zip(other, |a, b| a + b)
    }
}

impl<const N: usize> Sub for Lanes<N> {
    type Output = Lanes<N>;
    #[inline]
    fn sub(self, other: Lanes<N>) -> Lanes<N> {
        self.zip(other, |a, b| a - b)
    }
}

impl<const N: usize> Mul for Lanes<N> {
    type Output = Lanes<N>;
    #[inline]
    fn mul(self, other: Lanes<N>) -> Lanes<N> {
        self.zip(other, |a, b| a * b)
    }
}

impl<const N: usize> Div for Lanes<N> {
    type Output = Lanes<N>;
    #[inline]
    fn div(self, other: Lanes<N>) -> Lanes<N> {
        self.zip(other, |a, b| a / b)
    }
}

/// A [`Compensated`](crate::model::Compensated) sum per window, equal to the bit as long as it is finite in the end.
///
/// What an addition loses is exact, so it does not matter that it is computed without asking which number is larger.
/// That a sum was infinite cannot be undone, and then there is no finite total.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sums {
    /// The sums as plain addition has them.
    pub value: Lanes,
    /// What that addition lost.
    pub lost: Lanes,
}

impl Sums {
    /// Of nothing.
    pub fn zero() -> Sums {
        Sums { value: Lanes::splat(0.0), lost: Lanes::splat(0.0) }
    }

    /// Adds a number to each.
    #[inline]
    pub fn add(&mut self, numbers: Lanes) {
        let sum = self.value + numbers;
        let added = sum - self.value;
        self.lost = self.lost + ((self.value - (sum - added)) + (numbers - added));
        self.value = sum;
    }

    /// The sums with what was lost given back.
    #[inline]
    pub fn total(self) -> Lanes {
        self.value + self.lost
    }
}

/// What is kept per window while samples are taken in.
pub(super) trait State: Copy {
    /// `new` in the lanes for which `mask` says so, else `old`.
    fn choose(mask: &[bool; LANES], new: Self, old: Self) -> Self;
}

impl State for Lanes {
    #[inline]
    fn choose(mask: &[bool; LANES], new: Lanes, old: Lanes) -> Lanes {
        Lanes(array::from_fn(|lane| if mask[lane] { new.0[lane] } else { old.0[lane] }))
    }
}

impl State for Sums {
    #[inline]
    fn choose(mask: &[bool; LANES], new: Sums, old: Sums) -> Sums {
        Sums { value: State::choose(mask, new.value, old.value), lost: State::choose(mask, new.lost, old.lost) }
    }
}

impl<S: State, const N: usize> State for [S; N] {
    #[inline]
    fn choose(mask: &[bool; LANES], new: [S; N], old: [S; N]) -> [S; N] {
        array::from_fn(|i| S::choose(mask, new[i], old[i]))
    }
}

/// Windows that are computed side by side; never empty ones. If there are not enough, the first stands in.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    /// The windows' steps.
    pub steps: [usize; LANES],
    /// The windows' floats.
    pub ranges: [Range<usize>; LANES],
}

impl Batch {
    /// The `k`-th index of each window; the last one where it has fewer.
    #[inline]
    pub fn indexes(&self, k: usize) -> [usize; LANES] {
        array::from_fn(|lane| (self.ranges[lane].start + k).min(self.ranges[lane].end - 1))
    }

    /// The number of floats of each window.
    pub fn counts(&self) -> Lanes {
        Lanes(array::from_fn(|lane| self.ranges[lane].len() as f64))
    }
}

/// A computation that takes in a window's floats one by one.
pub(super) trait Kernel {
    /// What it keeps.
    type State: State;

    /// Before the first float.
    fn start(&self, batch: &Batch) -> Self::State;

    /// Takes in the `k`-th float of each window.
    fn step(&self, state: &mut Self::State, k: usize, values: Lanes, batch: &Batch);

    /// The outcomes.
    fn finish(&self, state: Self::State, batch: &Batch) -> Lanes;

    /// The outcome of one window by itself; also the one that counts where lanes found none that is finite.
    fn one(&self, step: usize, range: Range<usize>) -> f64;
}

/// Runs a kernel over windows and writes into their steps. `done` may know the outcome of a window already.
pub(super) fn run<K: Kernel>(
    call: &RangeCall<'_>,
    kernel: &K,
    out: &mut [f64],
    is_wanted: impl Fn(&Window) -> bool,
    done: impl Fn(Range<usize>) -> Option<f64>,
) {
    let mut waiting: Vec<(usize, Range<usize>)> = Vec::with_capacity(LANES);
    for (step, window) in call.with_floats().filter(|(_, window)| is_wanted(window)) {
        match done(window.floats.clone()) {
            Some(outcome) => out[step] = outcome,
            None => waiting.push((step, window.floats.clone())),
        }
        if waiting.len() == LANES {
            run_batch(call, kernel, &waiting, out);
            waiting.clear();
        }
    }
    if waiting.len() >= WORTH_IT {
        run_batch(call, kernel, &waiting, out);
    } else {
        waiting.into_iter().for_each(|(step, range)| out[step] = kernel.one(step, range));
    }
}

fn run_batch<K: Kernel>(call: &RangeCall<'_>, kernel: &K, windows: &[(usize, Range<usize>)], out: &mut [f64]) {
    let of = |lane: usize| windows.get(lane).unwrap_or(&windows[0]);
    let batch = Batch { steps: array::from_fn(|lane| of(lane).0), ranges: array::from_fn(|lane| of(lane).1.clone()) };
    let Lanes(outcomes) = compute(kernel, &call.samples.floats, &batch);
    for ((step, range), outcome) in windows.iter().zip(outcomes) {
        out[*step] = if outcome.is_finite() { outcome } else { kernel.one(*step, range.clone()) };
    }
}

fn compute<K: Kernel>(kernel: &K, values: &[f64], batch: &Batch) -> Lanes {
    let windows: [&[f64]; LANES] = array::from_fn(|lane| &values[batch.ranges[lane].clone()]);
    let lengths = windows.map(<[f64]>::len);
    let shortest = lengths.iter().copied().fold(usize::MAX, usize::min);
    let longest = lengths.iter().copied().fold(0, usize::max);
    let mut state = kernel.start(batch);
    let common = windows.map(|window| &window[..shortest]);
    (0..shortest).for_each(|k| kernel.step(&mut state, k, Lanes(array::from_fn(|lane| common[lane][k])), batch));
    for k in shortest..longest {
        let old = state;
        let values = array::from_fn(|lane| windows[lane][k.min(lengths[lane] - 1)]);
        kernel.step(&mut state, k, Lanes(values), batch);
        state = State::choose(&lengths.map(|length| k < length), state, old);
    }
    kernel.finish(state, batch)
}
