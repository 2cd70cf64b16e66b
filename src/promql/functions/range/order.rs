//! What needs a window's floats in order: `quantile_over_time`, `mad_over_time`.
//!
//! The floats of a window are kept sorted while it slides.

use std::cmp::Ordering;
use std::ops::Range;

use super::RangeCall;
use super::seen::tell_ignored;
use crate::promql::exec::StepSeries;
use crate::promql::functions::quantile::{quantile as quantile_of, quantile_of_sorted};
use crate::promql::notes::{Note, Notes};

/// `quantile_over_time`
pub(super) fn quantile(call: &RangeCall<'_>, out: &mut StepSeries, notes: &mut Notes) -> Result<(), String> {
    let (mut sorted, mut unsorted) = (Sorted::default(), Vec::new());
    let (mut noted, mut last) = (None, 0..0);
    for (step, window) in call.with_floats() {
        let q = call.args[0][step];
        if !(0.0..=1.0).contains(&q) && noted != Some(q.to_bits()) {
            notes.add(Note::InvalidQuantile(q), call.position);
            noted = Some(q.to_bits());
        }
        let (floats, range) = (&call.samples.floats, window.floats.clone());
        // Putting a float in its place costs as much as it does to look at some when searching the quantile.
        out.floats[step] = if (changes(&last, &range) * 6) < range.len() {
            sorted.slide(floats, range.clone());
            quantile_of_sorted(q, sorted.floats.len(), |at| sorted.floats[at])
        } else {
            unsorted.clear();
            unsorted.extend_from_slice(&floats[range.clone()]);
            quantile_of(q, &mut unsorted)
        };
        last = range;
    }
    tell_ignored(call, notes);
    Ok(())
}

/// `mad_over_time`: the median of the distances from the median. NaN has no distance, so nothing is known with one.
pub(super) fn mad(call: &RangeCall<'_>, out: &mut StepSeries, notes: &mut Notes) -> Result<(), String> {
    let mut sorted = Sorted::default();
    let mut distances = Vec::new();
    for (step, window) in call.with_floats() {
        sorted.slide(&call.samples.floats, window.floats.clone());
        out.floats[step] = median_distance(&sorted.floats, &mut distances);
    }
    tell_ignored(call, notes);
    Ok(())
}

fn median_distance(sorted: &[f64], distances: &mut Vec<f64>) -> f64 {
    if sorted[0].is_nan() {
        return f64::NAN;
    }
    let median = quantile_of_sorted(0.5, sorted.len(), |at| sorted[at]);
    distances.clear();
    if sorted.iter().any(|v| v.is_infinite()) {
        // Infinity minus infinity has no place in an order of distances.
        distances.extend(sorted.iter().map(|v| (v - median).abs()));
        distances.sort_unstable_by(order);
    } else {
        nearest(sorted, median, sorted.len() / 2 + 2, distances);
    }
    quantile_of_sorted(0.5, sorted.len(), |at| distances[at])
}

/// Distances of the `count` floats nearest to `middle`, ascending: from there they grow to both sides.
fn nearest(sorted: &[f64], middle: f64, count: usize, distances: &mut Vec<f64>) {
    let split = sorted.partition_point(|v| *v < middle);
    let mut below = sorted[..split].iter().rev().map(|v| (v - middle).abs()).peekable();
    let mut above = sorted[split..].iter().map(|v| (v - middle).abs()).peekable();
    distances.extend((0..count).map_while(|_| match (below.peek(), above.peek()) {
        (Some(low), Some(high)) if low < high => below.next(),
        (_, Some(_)) => above.next(),
        (_, None) => below.next(),
    }));
}

/// How many floats leave and enter when a window moves on.
fn changes(from: &Range<usize>, to: &Range<usize>) -> usize {
    (to.start - from.start) + (to.end - from.end)
}

/// NaN comes first.
fn order(a: &f64, b: &f64) -> Ordering {
    a.partial_cmp(b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}

/// The floats of a sliding window, sorted.
#[derive(Debug, Default)]
struct Sorted {
    floats: Vec<f64>,
    range: Range<usize>,
}

impl Sorted {
    /// Moves to a range that starts and ends no earlier.
    fn slide(&mut self, floats: &[f64], range: Range<usize>) {
        if changes(&self.range, &range) * 2 > range.len() {
            self.floats.clear();
            self.floats.extend_from_slice(&floats[range.clone()]);
            self.floats.sort_unstable_by(order);
        } else {
            floats[self.range.start..range.start].iter().for_each(|v| self.remove(*v));
            floats[self.range.end..range.end].iter().for_each(|v| self.insert(*v));
        }
        self.range = range;
    }

    fn remove(&mut self, v: f64) {
        let at = self.floats.partition_point(|other| order(other, &v).is_lt());
        self.floats.remove(at);
    }

    fn insert(&mut self, v: f64) {
        let at = self.floats.partition_point(|other| order(other, &v).is_le());
        self.floats.insert(at, v);
    }
}
