//! `topk` and `bottomk`.
//!
//! Each group holds a heap of at most `k` values per step, never its input. An instant query gets the series of each group
//! in the order of their values.

use super::fold::At;
use super::groups::Groups;
use super::heap::{Entry, Heap, Top};
use super::param::Param;
use crate::model::Labels;
use crate::promql::ast::{AggregateOp, Position};
use crate::promql::exec::{Evaluator, Failure, Sink, StepSeries, Steps, is_absent};
use crate::promql::plan::Aggregate;

/// Runs `topk` or `bottomk`.
pub(super) fn vector(
    eval: &Evaluator<'_>,
    position: Position,
    aggregate: &Aggregate,
    steps: Steps,
    sink: Sink<'_>,
) -> Result<(), Failure> {
    let param = Param::of(eval, aggregate, steps)?;
    let top = if aggregate.op == AggregateOp::Bottomk { Top::Highest } else { Top::Lowest };
    let at = At { context: eval.context, position };
    let checked = param.check_k();
    let has_results = matches!(checked, Ok(true));
    let (groups, ks) = (Groups::of(aggregate), param.ks());
    let mut ranking = Ranking { groups, heaps: Vec::new(), series: Vec::new(), ks, top, charged: 0 };
    eval.vector(&aggregate.node, steps, &mut |series| {
        if has_results {
            at.ignore_ranked_histograms(aggregate.op, &series, &ranking.ks);
            let before = ranking.charged;
            ranking.add(series);
            eval.context.scope.charge(0, ranking.charged - before)?;
        }
        Ok(())
    })?;
    if !checked? {
        return Ok(());
    }
    eval.context.scope.release(0, ranking.charged);
    if steps.is_range { ranking.by_series(steps, sink) } else { ranking.in_order(sink) }
}

impl At<'_, '_> {
    fn ignore_ranked_histograms(&self, op: AggregateOp, series: &StepSeries, ks: &[usize]) {
        let is_seen = |(step, h): (usize, &Option<_>)| h.is_some() && ks[step] > 0;
        if series.histograms.as_ref().is_some_and(|all| all.iter().enumerate().any(is_seen)) {
            self.ignore_histograms(op.as_str(), series);
        }
    }
}

struct Ranking {
    groups: Groups,
    /// By group, one heap per step.
    heaps: Vec<Vec<Heap>>,
    /// The labels of all series that ever were in a heap, and whether their names are to be dropped.
    series: Vec<(Labels, bool)>,
    /// By step.
    ks: Vec<usize>,
    top: Top,
    /// Bytes.
    charged: u64,
}

impl Ranking {
    fn add(&mut self, series: StepSeries) {
        let index = self.groups.index(&series.labels);
        if index == self.heaps.len() {
            self.heaps.push(vec![Heap::default(); series.floats.len()]);
            self.charged += (series.floats.len() * size_of::<Heap>()) as u64;
        }
        let number = u32::try_from(self.series.len()).unwrap_or(u32::MAX);
        let mut was_added = false;
        for ((heap, value), k) in self.heaps[index].iter_mut().zip(&series.floats).zip(&self.ks) {
            if !is_absent(*value) {
                let before = heap.entries().len();
                was_added |= heap.offer(Entry { value: *value, series: number }, *k, self.top);
                self.charged += ((heap.entries().len() - before) * size_of::<Entry>()) as u64;
            }
        }
        if was_added {
            self.charged += series.labels.as_bytes().len() as u64 + size_of::<(Labels, bool)>() as u64;
            self.series.push((series.labels, series.drop_name));
        }
    }

    /// The results of an instant query.
    fn in_order(self, sink: Sink<'_>) -> Result<(), Failure> {
        for heap in self.heaps.into_iter().flatten() {
            for entry in heap.into_sorted(self.top) {
                let (labels, drop_name) = self.series[entry.series as usize].clone();
                sink(StepSeries { labels, drop_name, floats: vec![entry.value], histograms: None })?;
            }
        }
        Ok(())
    }

    /// The results of a range query.
    fn by_series(self, steps: Steps, sink: Sink<'_>) -> Result<(), Failure> {
        let mut values: Vec<Vec<(usize, f64)>> = vec![Vec::new(); self.series.len()];
        for heaps in self.heaps {
            for (step, heap) in heaps.into_iter().enumerate() {
                heap.entries().iter().for_each(|e| values[e.series as usize].push((step, e.value)));
            }
        }
        for ((labels, drop_name), values) in self.series.into_iter().zip(values) {
            if !values.is_empty() {
                let mut out = StepSeries::absent(labels, steps.count);
                out.drop_name = drop_name;
                values.into_iter().for_each(|(step, value)| out.floats[step] = value);
                sink(out)?;
            }
        }
        Ok(())
    }
}
