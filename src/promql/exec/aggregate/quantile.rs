//! `quantile`.
//!
//! A group keeps the columns of its series as they are. At the end, values of the same step are gathered; only the two that
//! are asked for are found, nothing is sorted.

use super::fold::At;
use super::groups::Groups;
use super::param::Param;
use crate::promql::exec::{ABSENT, Evaluator, Failure, Sink, StepSeries, Steps, is_absent};
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
            *place = quantile(*q, &mut values);
        }
        let held = (columns.len() * steps.count) as u64;
        scope.release(held, 8 * held);
        if !out.is_empty() {
            sink(out)?;
        }
    }
    Ok(())
}

/// The `q`-quantile of values, between two of them if need be; [`ABSENT`] of none. Values change their order.
pub(super) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() {
        return ABSENT;
    }
    if q.is_nan() {
        return f64::NAN;
    }
    if !(0.0..=1.0).contains(&q) {
        return if q < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    let last = values.len() - 1;
    let rank = q * last as f64;
    let lower = rank.floor();
    let weight = rank - lower;
    // NaN counts as the lowest of all.
    let order = |a: &f64, b: &f64| b.is_nan().cmp(&a.is_nan()).then(a.total_cmp(b));
    let (_, low, above) = values.select_nth_unstable_by((lower as usize).min(last), order);
    let high = above.iter().copied().min_by(order).unwrap_or(*low);
    *low * (1.0 - weight) + high * weight
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_lies_between_values() {
        let values = [3.0, 1.0, f64::NAN, 2.0];
        let of = |q| quantile(q, &mut values.clone());
        assert!(of(0.0).is_nan());
        assert!(of(0.1).is_nan());
        assert_eq!(of(0.5), 1.5);
        assert_eq!(of(1.0), 3.0);
        assert_eq!((of(-0.1), of(1.1)), (f64::NEG_INFINITY, f64::INFINITY));
        assert!(of(f64::NAN).is_nan());
        assert!(is_absent(quantile(f64::NAN, &mut [])));
    }

    #[test]
    fn a_quantile_of_one_value_is_that_value() {
        assert_eq!(quantile(0.3, &mut [7.0]), 7.0);
    }
}
