//! Aggregations that look at each series once and hold only their groups.

use super::groups::Groups;
use crate::promql::ast::Position;
use crate::promql::exec::{Context, Evaluator, Failure, Sink, StepSeries, Steps};
use crate::promql::plan::Aggregate;

/// One of two numbers, without a branch, so that a loop of it works on several numbers at a time.
#[inline]
pub(super) fn select(condition: bool, yes: f64, no: f64) -> f64 {
    let mask = u64::from(condition).wrapping_neg();
    f64::from_bits(yes.to_bits() & mask | no.to_bits() & !mask)
}

/// What a group holds over all steps, one column for each number.
pub(super) trait Fold {
    /// Bytes that one step needs.
    const STEP_BYTES: usize;

    /// Of a group without series.
    fn new(steps: usize) -> Self;

    /// Takes a series in. `at` says where remarks belong.
    fn add(&mut self, series: &StepSeries, at: &At<'_, '_>);

    /// Writes the results into a series without values.
    fn finish(self, out: &mut StepSeries, at: &At<'_, '_>);
}

/// Where an aggregation works.
pub(super) struct At<'a, 'q> {
    pub context: &'a Context<'q>,
    /// Place of what is aggregated.
    pub position: Position,
}

struct Group<F> {
    state: F,
    drop_name: bool,
}

/// Runs such an aggregation.
pub(super) fn fold<F: Fold>(
    eval: &Evaluator<'_>,
    aggregate: &Aggregate,
    steps: Steps,
    sink: Sink<'_>,
) -> Result<(), Failure> {
    let scope = eval.context.scope;
    let bytes = (F::STEP_BYTES * steps.count) as u64;
    let at = At { context: eval.context, position: aggregate.node.position };
    let mut groups = Groups::of(aggregate);
    let mut states: Vec<Group<F>> = Vec::new();
    eval.vector(&aggregate.node, steps, &mut |series| {
        let index = groups.index(&series.labels);
        if index == states.len() {
            scope.charge(steps.count as u64, bytes)?;
            states.push(Group { state: F::new(steps.count), drop_name: false });
        }
        let group = &mut states[index];
        group.drop_name |= series.drop_name;
        group.state.add(&series, &at);
        Ok(())
    })?;
    for (index, group) in states.into_iter().enumerate() {
        let mut out = StepSeries::absent(groups.labels(index).clone(), steps.count);
        out.drop_name = group.drop_name;
        group.state.finish(&mut out, &at);
        scope.release(steps.count as u64, bytes);
        if !out.is_empty() {
            sink(out)?;
        }
    }
    Ok(())
}
