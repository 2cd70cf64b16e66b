//! `quantile`.
//!
//! A group keeps the columns of its series as they are. At the end, values of the same step are gathered; only the two that
//! are asked for are found, nothing is sorted.

use super::fold::At;
use super::groups::Groups;
use super::param::Param;
use crate::promql::exec::{Evaluator, Failure, Sink, StepSeries, Steps, is_absent};
use crate::promql::functions::quantile::quantile;
use crate::promql::plan::Aggregate;

/// So many steps are gathered at a time: their values lie side by side in each column.
const TILE: usize = 8;

struct Group {
    columns: Vec<Vec<f64>>,
    drop_name: bool,
}

/// Runs `quantile`.
pub(super) fn vector(eval: &Evaluator<'_>, aggregate: &Aggregate, steps: Steps, sink: Sink<'_>) -> Result<(), Failure> {
    let param = Param::of(eval, aggregate, steps)?;
    let scope = eval.context.scope;
    let at = At { context: eval.context, position: aggregate.node.position };
    let mut groups = Groups::of(aggregate);
    let mut all: Vec<Group> = Vec::new();
    eval.vector(&aggregate.node, steps, &mut |series| {
        at.ignore_histograms("quantile", &series);
        let index = groups.index(&series.labels);
        if index == all.len() {
            all.push(Group { columns: Vec::new(), drop_name: false });
        }
        scope.charge(steps.count as u64, 8 * steps.count as u64)?;
        all[index].drop_name |= series.drop_name;
        all[index].columns.push(series.floats);
        Ok(())
    })?;
    param.note_quantile(eval.context);
    let mut values: [Vec<f64>; TILE] = Default::default();
    for (index, Group { columns, drop_name }) in all.into_iter().enumerate() {
        let mut out = StepSeries::absent(groups.labels(index).clone(), steps.count);
        out.drop_name = drop_name;
        for (first, out) in (0..).step_by(TILE).zip(out.floats.chunks_mut(TILE)) {
            gather(&columns, first, &mut values);
            for ((place, values), q) in out.iter_mut().zip(&mut values).zip(&param.values[first..]) {
                if !values.is_empty() {
                    *place = quantile(*q, values);
                }
            }
        }
        let held = (columns.len() * steps.count) as u64;
        scope.release(held, 8 * held);
        if !out.is_empty() {
            sink(out)?;
        }
    }
    Ok(())
}

/// Collects what columns have at the steps from `first` onward, in one list per step.
fn gather(columns: &[Vec<f64>], first: usize, values: &mut [Vec<f64>; TILE]) {
    values.iter_mut().for_each(Vec::clear);
    for column in columns {
        let present = values.iter_mut().zip(&column[first..]).filter(|(_, v)| !is_absent(**v));
        present.for_each(|(values, v)| values.push(*v));
    }
}
