//! `rate`, `increase` and `delta` of native histograms.
//!
//! As with floats, the last one minus the first one, plus what was there before each reset; every bucket by itself. Where
//! resets are is found once per series, because finding one is as dear as an addition.

use std::ops::Range;
use std::sync::Arc;

use super::RangeCall;
use super::extrapolate::Spread;
use super::rate::{Change, Marks};
use super::seen::{Remark, Seen};
use super::starts::zero_within;
use crate::model::{BucketLayout, CounterResetHint, FloatHistogram};
use crate::promql::exec::StepSeries;

/// Writes the change in every window.
pub(super) fn histograms(call: &RangeCall<'_>, change: Change, out: &mut StepSeries, seen: &mut Seen) {
    let samples = call.samples;
    let mut growth = Growth::new(call, change);
    let extrapolation = change.extrapolation(call);
    for (step, window) in call.windows.iter().enumerate() {
        let Range { start, end } = window.histograms;
        if start == end || seen.is_mixed(window) {
            continue;
        }
        let (first, last) = (start, end - 1);
        let grown = match first == last {
            true => None,
            false => match growth.within(start..end, seen) {
                Some(grown) => Some(grown),
                None => continue,
            },
        };
        let window_start = call.start_of(window);
        let (first_time, last_time) = (samples.histogram_times[first], samples.histogram_times[last]);
        let zero = zero_within(growth.starts, first, first_time, window_start);
        let first_value = &samples.histograms[first];
        let Some(mut grown) = (match zero {
            Some(_) => since_zero(grown, first_value, seen),
            None => grown,
        }) else {
            continue;
        };
        let spread = Spread {
            before: first_time - window_start,
            between: last_time - first_time,
            after: window.end - last_time,
            gaps: last - first,
            since_zero: zero.map_or(0, |zero| first_time - zero),
        };
        grown.mul(extrapolation.factor(spread, first_value.count, grown.count));
        out.set_histogram(step, Arc::new(grown));
    }
}

/// What had grown until the first sample comes on top.
fn since_zero(grown: Option<FloatHistogram>, first: &FloatHistogram, seen: &mut Seen) -> Option<FloatHistogram> {
    let Some(mut grown) = grown else { return Some(first.clone()) };
    match grown.add(first) {
        Ok(combined) => {
            seen.add_if(combined.bounds_reconciled, Remark::ReconciledByAdding);
            Some(grown)
        }
        Err(_) => {
            seen.add(Remark::IncompatibleBounds);
            None
        }
    }
}

/// Finds how much histograms grew within windows.
struct Growth<'a> {
    call: &'a RangeCall<'a>,
    change: Change,
    /// Start timestamps, if they are used.
    starts: &'a [i64],
    resets: Marks,
    overlaps: Marks,
    /// Whether all histograms have the same schema, and none is a gauge.
    is_uniform: bool,
}

impl<'a> Growth<'a> {
    fn new(call: &'a RangeCall<'a>, change: Change) -> Growth<'a> {
        let all = &call.samples.histograms;
        let starts = if change.is_counter() && call.uses_starts { &call.samples.histogram_starts[..] } else { &[] };
        let pair = |at: usize| if starts.is_empty() { None } else { call.samples.histogram_pair(at) };
        let marks = |is_marked: &dyn Fn(usize) -> bool| {
            let indexes = 1..if change.is_counter() { all.len() } else { 0 };
            Marks::new(indexes.filter(|at| is_marked(*at)).map(|at| at as u32).collect())
        };
        let is_alike =
            |h: &Arc<FloatHistogram>| h.layout.schema == all[0].layout.schema && !h.counter_reset_hint.is_gauge();
        Growth {
            call,
            change,
            starts,
            resets: marks(&|at| is_start(call, starts, at) || all[at].detect_reset(&all[at - 1])),
            overlaps: marks(&|at| pair(at).is_some_and(|pair| pair.is_overlap())),
            is_uniform: all.iter().all(is_alike),
        }
    }

    /// From at least two histograms; none if they do not go together.
    fn within(&mut self, range: Range<usize>, seen: &mut Seen) -> Option<FloatHistogram> {
        let mut noticed = Seen::default();
        let grown = self.grown(range, &mut noticed);
        seen.merge(noticed);
        grown
    }

    fn grown(&mut self, range: Range<usize>, noticed: &mut Seen) -> Option<FloatHistogram> {
        let (call, starts) = (self.call, self.starts);
        let all = &call.samples.histograms[range.clone()];
        let (last, second) = (&all[all.len() - 1], &all[1]);
        let is_counter = self.change.is_counter();
        let resets = self.resets.within(range.start + 1..range.end);
        let starts_anew = resets.first() == Some(&(range.start as u32 + 1));
        // After a reset nothing of the first histogram counts, so its layout should not matter.
        let nothing = starts_anew.then(|| nothing_like(second));
        let first = nothing.as_ref().unwrap_or(&all[0]);
        noticed
            .add_if(is_counter && [&all[0], last].iter().any(|h| h.counter_reset_hint.is_gauge()), Remark::NotCounter);
        let mut schema = first.layout.schema.min(last.layout.schema);
        if !self.is_uniform {
            schema = check_bounds(all, first, is_counter, schema, noticed)?;
        }
        let mut grown = last.to_schema(schema);
        subtract(&mut grown, first, noticed)?;
        if !is_counter {
            let gauges = [&all[0], last].map(|h| h.counter_reset_hint.is_gauge());
            noticed.add_if(gauges.contains(&false), Remark::NotGauge);
        }
        noticed.overlaps += u32::from(!self.overlaps.within(range.start + 1..range.end).is_empty());
        // Nor is the second one after a reset any more, but for what it says itself.
        if starts_anew && (is_start(call, starts, range.start + 1) || second.detect_reset(first)) {
            add(&mut grown, first, noticed)?;
        }
        for at in &resets[usize::from(starts_anew)..] {
            add(&mut grown, &call.samples.histograms[*at as usize - 1], noticed)?;
        }
        grown.counter_reset_hint = CounterResetHint::Gauge;
        grown.compact(0);
        Some(grown)
    }
}

/// Whether start timestamps tell of a reset before a histogram.
fn is_start(call: &RangeCall<'_>, starts: &[i64], at: usize) -> bool {
    !starts.is_empty() && call.samples.histogram_pair(at).is_some_and(|pair| pair.is_reset())
}

/// No observations, in the same buckets.
fn nothing_like(h: &FloatHistogram) -> FloatHistogram {
    let custom_values = h.layout.custom_values.clone();
    let layout = BucketLayout { schema: h.layout.schema, custom_values, ..BucketLayout::default() };
    FloatHistogram { layout, ..FloatHistogram::default() }
}

/// The lowest schema; none if some bounds are custom and some are not.
fn check_bounds(
    all: &[Arc<FloatHistogram>],
    first: &FloatHistogram,
    is_counter: bool,
    mut schema: i32,
    noticed: &mut Seen,
) -> Option<i32> {
    let is_custom = first.layout.has_custom_bounds();
    let (last, between) = (&all[all.len() - 1], &all[1..all.len() - 1]);
    if last.layout.has_custom_bounds() != is_custom {
        noticed.add(Remark::IncompatibleBounds);
        return None;
    }
    for h in between.iter().filter(|_| is_counter) {
        noticed.add_if(h.counter_reset_hint.is_gauge(), Remark::NotCounter);
        schema = schema.min(h.layout.schema);
        if h.layout.has_custom_bounds() != is_custom {
            *noticed = Seen::only(Remark::IncompatibleBounds);
            return None;
        }
    }
    Some(schema)
}

/// Conflicting hints do not matter: resets are dealt with one by one.
fn subtract(grown: &mut FloatHistogram, other: &FloatHistogram, noticed: &mut Seen) -> Option<()> {
    let Ok(combined) = grown.sub(other) else {
        *noticed = Seen::only(Remark::IncompatibleBounds);
        return None;
    };
    noticed.add_if(combined.bounds_reconciled, Remark::ReconciledBySubtracting);
    Some(())
}

fn add(grown: &mut FloatHistogram, other: &FloatHistogram, noticed: &mut Seen) -> Option<()> {
    let Ok(combined) = grown.add(other) else {
        *noticed = Seen::only(Remark::IncompatibleBounds);
        return None;
    };
    noticed.add_if(combined.bounds_reconciled, Remark::ReconciledByAdding);
    Some(())
}
