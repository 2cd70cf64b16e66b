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
    let mut values = Vec::new();
    for (index, Group { columns, drop_name }) in all.into_iter().enumerate() {
        let mut out = StepSeries::absent(groups.labels(index).clone(), steps.count);
        out.drop_name = drop_name;
        for (step, (place, q)) in out.floats.iter_mut().zip(&param.values).enumerate() {
            values.clear();
            values.extend(columns.iter().map(|column| column[step]).filter(|v| !is_absent(*v)));
            if !values.is_empty() {
                *place = quantile(*q, &mut values);
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
