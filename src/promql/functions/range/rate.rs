//! `rate`, `increase` and `delta`.
//!
//! Where a counter was reset is found once per series; a window without a reset in it then costs the same however long
//! it is.

use std::ops::Range;

use super::extrapolate::{Extrapolation, Spread, Spreads};
use super::lanes::{LANES, Lanes};
use super::seen::Seen;
use super::starts::zero_within;
use super::{RangeCall, extended, extended_histograms, histogram_rate};
use crate::model::MetricType;
use crate::promql::ast::Extension;
use crate::promql::exec::{StepSeries, is_absent};
use crate::promql::notes::{Note, Notes};

/// What is asked about a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Change {
    /// How much a counter grew per second.
    Rate,
    /// How much a counter grew.
    Increase,
    /// How much a gauge changed.
    Delta,
}

impl Change {
    /// Whether a value that goes down has started again at zero.
    pub fn is_counter(self) -> bool {
        self != Change::Delta
    }

    /// The window's length in seconds if the outcome is per second, else 1.
    pub fn per(self, call: &RangeCall<'_>) -> f64 {
        if self == Change::Rate { call.range_seconds() } else { 1.0 }
    }

    /// How windows are extrapolated.
    pub fn extrapolation(self, call: &RangeCall<'_>) -> Extrapolation {
        Extrapolation { per: self.per(call), is_counter: self.is_counter() }
    }
}

/// `rate`
pub(super) fn rate(call: &RangeCall<'_>, out: &mut StepSeries, notes: &mut Notes) -> Result<(), String> {
    change(call, Change::Rate, out, notes)
}

/// `increase`
pub(super) fn increase(call: &RangeCall<'_>, out: &mut StepSeries, notes: &mut Notes) -> Result<(), String> {
    change(call, Change::Increase, out, notes)
}

/// `delta`
pub(super) fn delta(call: &RangeCall<'_>, out: &mut StepSeries, notes: &mut Notes) -> Result<(), String> {
    change(call, Change::Delta, out, notes)
}

fn change(call: &RangeCall<'_>, change: Change, out: &mut StepSeries, notes: &mut Notes) -> Result<(), String> {
    let mut seen = Seen::default();
    let is_plain = call.extension == Extension::None;
    if !call.samples.floats.is_empty() {
        let run = if is_plain { floats } else { extended::floats };
        run(call, change, out, &mut seen);
    }
    if !call.samples.histograms.is_empty() {
        let run = if is_plain { histogram_rate::histograms } else { extended_histograms::histograms };
        run(call, change, out, &mut seen);
    }
    seen.tell(call, notes);
    if change.is_counter() {
        doubt_counter(call, out, notes);
    }
    Ok(())
}

fn floats(call: &RangeCall<'_>, change: Change, out: &mut StepSeries, seen: &mut Seen) {
    let samples = call.samples;
    let starts = if change.is_counter() && call.uses_starts { &samples.starts[..] } else { &[] };
    let mut resets = Marks::new(if change.is_counter() { resets(call) } else { Vec::new() });
    let mut overlaps = Marks::new(overlaps(call, starts));
    let mut waiting = Waiting::new(change.extrapolation(call));
    for (step, window) in call.windows.iter().enumerate() {
        let Range { start, end } = window.floats;
        if start == end || seen.is_mixed(window) {
            continue;
        }
        let (first, last) = (start, end - 1);
        let first_value = samples.floats[first];
        let mut growth = samples.floats[last] - first_value;
        for at in resets.within(first + 1..end) {
            growth += samples.floats[*at as usize - 1];
        }
        seen.overlaps += u32::from(!overlaps.within(first + 1..end).is_empty());
        let window_start = call.start_of(window);
        let (first_time, last_time) = (samples.times[first], samples.times[last]);
        let zero = zero_within(starts, first, first_time, window_start);
        match zero {
            Some(_) => growth += first_value,
            None if first == last => continue,
            None => {}
        }
        let spread = Spread {
            before: first_time - window_start,
            between: last_time - first_time,
            after: window.end - last_time,
            gaps: last - first,
            since_zero: zero.map_or(0, |zero| first_time - zero),
        };
        waiting.push(Grown { step, first: first_value, growth }, spread, &mut out.floats);
    }
    waiting.finish(&mut out.floats);
}

/// What is known of a window before it is extrapolated.
#[derive(Clone, Copy, Debug, Default)]
struct Grown {
    step: usize,
    first: f64,
    growth: f64,
}

/// Windows that wait for being extrapolated together, since the divisions are what takes time. Where samples lie in a
/// window as in the one before, and the zero is out of reach, there is nothing to wait for.
struct Waiting {
    extrapolation: Extrapolation,
    count: usize,
    grown: [Grown; LANES],
    spreads: Spreads<LANES>,
    last: Option<Spread>,
    /// What the last one's growth is multiplied with if the zero is out of reach; not known before it is needed.
    factor: Option<f64>,
}

impl Waiting {
    fn new(extrapolation: Extrapolation) -> Waiting {
        let (grown, spreads) = ([Grown::default(); LANES], Spreads::new());
        Waiting { extrapolation, count: 0, grown, spreads, last: None, factor: None }
    }

    #[inline]
    fn push(&mut self, grown: Grown, spread: Spread, out: &mut [f64]) {
        // Nothing reaches further back than 1.1 times what was sampled.
        let may_reach_zero = self.extrapolation.is_counter && grown.first < grown.growth * 1.2;
        if self.last != Some(spread) {
            (self.last, self.factor) = (Some(spread), None);
        } else if !may_reach_zero {
            let extrapolation = self.extrapolation;
            let factor = self.factor.get_or_insert_with(|| extrapolation.factor(spread, f64::NAN, f64::NAN));
            out[grown.step] = grown.growth * *factor;
            return;
        }
        self.grown[self.count] = grown;
        self.spreads.set(self.count, spread);
        self.count += 1;
        if self.count == LANES {
            self.finish(out);
        }
    }

    fn finish(&mut self, out: &mut [f64]) {
        let first = Lanes(self.grown.map(|grown| grown.first));
        let growth = Lanes(self.grown.map(|grown| grown.growth));
        let Lanes(outcomes) = growth * self.extrapolation.factors(&self.spreads, first, growth);
        for (grown, outcome) in self.grown[..self.count].iter().zip(outcomes) {
            out[grown.step] = outcome;
        }
        self.count = 0;
    }
}

/// Indexes of the floats before which the counter was reset.
fn resets(call: &RangeCall<'_>) -> Vec<u32> {
    let samples = call.samples;
    let mut resets = falls(&samples.floats);
    if call.uses_starts && !samples.starts.is_empty() {
        let is_reset = |at: &usize| samples.float_pair(*at).is_some_and(|pair| pair.is_reset());
        let started = (1..samples.floats.len()).filter(is_reset).map(|at| at as u32);
        resets.extend(started);
        resets.sort_unstable();
        resets.dedup();
    }
    resets
}

/// Indexes of the floats that are less than the one before.
pub(super) fn falls(floats: &[f64]) -> Vec<u32> {
    let pairs = floats.windows(2).enumerate();
    pairs.filter(|(_, pair)| pair[1] < pair[0]).map(|(at, _)| at as u32 + 1).collect()
}

fn overlaps(call: &RangeCall<'_>, starts: &[i64]) -> Vec<u32> {
    let is_overlap = |at: &usize| call.samples.float_pair(*at).is_some_and(|pair| pair.is_overlap());
    (1..starts.len()).filter(is_overlap).map(|at| at as u32).collect()
}

/// Marked samples, looked up for window after window.
#[derive(Debug)]
pub(super) struct Marks {
    at: Vec<u32>,
    /// None before it is in a window any more.
    next: usize,
}

impl Marks {
    /// From ascending indexes.
    pub fn new(at: Vec<u32>) -> Marks {
        Marks { at, next: 0 }
    }

    /// Those in a range; ranges must start one behind the other.
    #[inline]
    pub fn within(&mut self, range: Range<usize>) -> &[u32] {
        while self.at.get(self.next).is_some_and(|at| (*at as usize) < range.start) {
            self.next += 1;
        }
        let rest = &self.at[self.next..];
        let count = rest.iter().take_while(|at| (**at as usize) < range.end).count();
        &rest[..count]
    }
}

/// Remarks that a series has no counter's name, or type, if it gave any float.
fn doubt_counter(call: &RangeCall<'_>, out: &StepSeries, notes: &mut Notes) {
    let metric = call.labels.metric_name().unwrap_or_default();
    let note = if call.has_type_labels {
        let type_label = call.labels.get("__type__").unwrap_or_default();
        let fits = [MetricType::Counter, MetricType::Histogram].iter().any(|fitting| fitting.as_str() == type_label);
        (!fits).then_some(Note::PossibleNonCounterLabel { metric, type_label })
    } else {
        let fits = ["_total", "_sum", "_count", "_bucket"].iter().any(|ending| metric.ends_with(ending));
        (!fits).then_some(Note::PossibleNonCounter { metric })
    };
    if let Some(note) = note
        && !metric.is_empty()
        && out.floats.iter().any(|v| !is_absent(*v))
    {
        notes.add(note, call.position);
    }
}
