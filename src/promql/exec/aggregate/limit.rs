//! `limitk` and `limit_ratio`: some series of each group, whatever their values.
//!
//! Over a range both decide for each series as it comes and hold none. An instant query gets its series in the order in
//! which the reference's heaps leave them, so these few are held.

use super::groups::Groups;
use super::heap::{Entry, Heap, Top};
use super::param::Param;
use crate::model::Labels;
use crate::promql::ast::AggregateOp;
use crate::promql::exec::{Evaluator, Failure, Sink, StepSeries, StepSet, Steps};
use crate::promql::plan::Aggregate;

/// Runs `limitk` or `limit_ratio`.
pub(super) fn vector(eval: &Evaluator<'_>, aggregate: &Aggregate, steps: Steps, sink: Sink<'_>) -> Result<(), Failure> {
    let param = Param::of(eval, aggregate, steps)?;
    let ks = param.ks();
    let is_ratio = aggregate.op == AggregateOp::LimitRatio;
    let wants = match is_ratio {
        true => param.values.iter().any(|v| *v != 0.0),
        false => matches!(param.check_k(), Ok(true)),
    };
    let mut groups = Groups::of(aggregate);
    let mut taken: Vec<Vec<u32>> = Vec::new();
    let mut ordered = Ordered::default();
    eval.vector(&aggregate.node, steps, &mut |mut series| {
        if !wants {
            return Ok(());
        }
        let group = groups.index(&series.labels);
        if is_ratio {
            pick_by_ratio(&mut series, &param);
        } else {
            if group == taken.len() {
                eval.context.scope.charge(0, 4 * steps.count as u64)?;
                taken.push(vec![0; steps.count]);
            }
            pick_first(&mut series, &mut taken[group], &ks);
        }
        match (series.is_empty(), steps.count) {
            (true, _) => Ok(()),
            (false, 1) => {
                eval.context.charge(&series)?;
                ordered.add(series, group);
                Ok(())
            }
            (false, _) => sink(series),
        }
    })?;
    // What is wrong with the number is told after what is wrong with the series.
    if is_ratio {
        param.check_ratio(eval.context)?
    } else {
        param.check_k()?
    };
    eval.context.scope.release(0, 4 * (taken.len() * steps.count) as u64);
    ordered.finish(eval, sink)
}

/// Leaves of a series what is among the first `k` of its group.
fn pick_first(series: &mut StepSeries, taken: &mut [u32], ks: &[usize]) {
    let mut kept = StepSet::of(series);
    let mut full = StepSet::none(taken.len());
    for step in kept.iter() {
        if (taken[step] as usize) < ks[step] {
            taken[step] += 1;
        } else {
            full.insert(step);
        }
    }
    kept.remove(&full);
    kept.restrict(series);
}

/// Leaves of a series the steps at which its place among all label sets is within the ratio.
fn pick_by_ratio(series: &mut StepSeries, param: &Param) {
    let place = place(&series.labels);
    let mut kept = StepSet::none(param.values.len());
    for (step, ratio) in param.values.iter().enumerate() {
        let ratio = ratio.clamp(-1.0, 1.0);
        if ratio >= 0.0 && place < ratio || ratio < 0.0 && place >= 1.0 + ratio {
            kept.insert(step);
        }
    }
    kept.restrict(series);
}

/// The longest text whose length the reference writes in one byte, as our labels do.
const SHORT_MAX: usize = 254;

/// Between 0 and 1, the same in every process: the reference's hash of a label set.
fn place(labels: &Labels) -> f64 {
    let is_short = |text: &str| text.len() <= SHORT_MAX;
    let hash = if labels.iter().all(|(name, value)| is_short(name) && is_short(value)) {
        labels.stable_hash()
    } else {
        xxhash_rust::xxh64::xxh64(&reference_encoding(labels), 0)
    };
    hash as f64 / u64::MAX as f64
}

/// Our encoding of labels, except that longer lengths are written in three bytes.
fn reference_encoding(labels: &Labels) -> Vec<u8> {
    let mut out = Vec::with_capacity(labels.as_bytes().len());
    for text in labels.iter().flat_map(|(name, value)| [name, value]) {
        match u8::try_from(text.len()) {
            Ok(len) if text.len() <= SHORT_MAX => out.push(len),
            _ => {
                out.push(u8::MAX);
                out.extend_from_slice(&text.len().to_le_bytes()[..3]);
            }
        }
        out.extend_from_slice(text.as_bytes());
    }
    out
}

/// The series of an instant query, one heap per group.
#[derive(Default)]
struct Ordered {
    series: Vec<StepSeries>,
    heaps: Vec<Heap>,
}

impl Ordered {
    fn add(&mut self, series: StepSeries, group: usize) {
        if self.heaps.len() <= group {
            self.heaps.resize_with(group + 1, Heap::default);
        }
        let number = u32::try_from(self.series.len()).unwrap_or(u32::MAX);
        // Histograms stand among floats as zeros do.
        let value = if series.histogram(0).is_some() { 0.0 } else { series.floats[0] };
        self.heaps[group].push(Entry { value, series: number }, Top::Lowest);
        self.series.push(series);
    }

    fn finish(self, eval: &Evaluator<'_>, sink: Sink<'_>) -> Result<(), Failure> {
        let mut series: Vec<Option<StepSeries>> = self.series.into_iter().map(Some).collect();
        for entry in self.heaps.iter().flat_map(Heap::entries) {
            if let Some(series) = series[entry.series as usize].take() {
                eval.context.release(&series);
                sink(series)?;
            }
        }
        Ok(())
    }
}
