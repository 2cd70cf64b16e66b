//! What VictoriaMetrics evaluates as Prometheus does, and how it is asked for that.
//!
//! Its rates and their kin take a sample before the window into account, its comparisons and set operations keep other
//! names, how far a selector looks back depends on how often its series has samples, and values that are `NaN` are left out.
//! What remains is what most dashboards' heaviest queries are made of: aggregations over selectors. How far those look back
//! is told by a window. One difference remains there: where infinities of both signs are added, the sum is left out in
//! place of being `NaN`.

use std::fmt::Write as _;

use crate::model::Matcher;
use crate::model::labels::is_legacy_label_name;
use crate::promql::ast::{Aggregate, AggregateOp, Expr, Extension, Extent, VectorSelector};

/// An expression for VictoriaMetrics that means there what it means here; `None` if there is none. `lookback` in
/// milliseconds.
pub(super) fn translated(expr: &Expr, lookback: i64) -> Option<String> {
    match expr {
        Expr::Vector(selector) => of_selector(selector, lookback),
        Expr::Paren(paren) => Some(format!("({})", translated(&paren.expr, lookback)?)),
        Expr::Aggregate(aggregate) => of_aggregate(aggregate, lookback),
        _ => None,
    }
}

fn of_selector(selector: &VectorSelector, lookback: i64) -> Option<String> {
    let is_plain = |matcher: &Matcher| is_legacy_label_name(&matcher.name);
    if selector.at.is_some() || selector.extension != Extension::None || !selector.matchers.iter().all(is_plain) {
        return None;
    }
    let offset = match selector.offset {
        None => String::new(),
        Some(Extent::Fixed(ms)) => format!(" offset {ms}ms"),
        Some(Extent::Computed(_)) => return None,
    };
    let matchers: Vec<String> = selector.matchers.iter().map(ToString::to_string).collect();
    Some(format!("default_rollup({{{}}}[{lookback}ms]{offset})", matchers.join(",")))
}

fn of_aggregate(aggregate: &Aggregate, lookback: i64) -> Option<String> {
    use AggregateOp::{Count, Group, Max, Min, Sum};
    let is_same = matches!(aggregate.op, Sum | Count | Min | Max | Group);
    if !is_same || !aggregate.grouping.iter().all(|name| is_legacy_label_name(name)) {
        return None;
    }
    let mut out = aggregate.op.as_str().to_owned();
    let by = if aggregate.is_without { "without" } else { "by" };
    let inner = translated(&aggregate.expr, lookback)?;
    // Writing to a string cannot fail.
    let _ = write!(out, " {by} ({}) ({inner})", aggregate.grouping.join(","));
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::{ParserOptions, parse};

    #[test]
    fn aggregations_over_selectors_are_told_how_far_to_look_back() {
        let told = |text: &str| translated(&parse(text, &ParserOptions::ALL).unwrap(), 300_000);
        let is_told = |text: &str, wanted: &str| assert_eq!(told(text).as_deref(), Some(wanted), "{text}");
        is_told("up", "default_rollup({__name__=\"up\"}[300000ms])");
        is_told(
            "sum by (job, x) (up{a!=\"b\"} offset -5m)",
            "sum by (job,x) (default_rollup({a!=\"b\",__name__=\"up\"}[300000ms] offset -300000ms))",
        );
        is_told("max(up)", "max by () (default_rollup({__name__=\"up\"}[300000ms]))");
        is_told("min without () ((up))", "min without () ((default_rollup({__name__=\"up\"}[300000ms])))");
    }

    #[test]
    fn what_means_something_else_there_is_not_told() {
        for other in [
            "rate(a[5m])",
            "sum(rate(a[5m]))",
            "a > 1",
            "a + b",
            "topk(1, a)",
            "up @ 5",
            "-a",
            "avg(a)",
            "{\"a.b\",\"c.d\"=\"e\"}",
        ] {
            assert_eq!(translated(&parse(other, &ParserOptions::ALL).unwrap(), 300_000), None, "{other}");
        }
    }
}
