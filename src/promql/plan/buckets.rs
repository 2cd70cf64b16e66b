//! Selectors whose histograms are asked for nothing but counts and sums, such as that of `histogram_count(rate(a[5m]))`,
//! need not carry their buckets along.

use super::{Node, Op};
use crate::promql::ast::BinaryOp;

/// What becomes of the buckets of native histograms.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Buckets {
    /// They are read.
    #[default]
    Kept,
    /// They are only looked at to find counter resets.
    Dropped,
}

/// What stands above a part of a plan.
#[derive(Clone, Copy, Default)]
struct Above {
    /// A function that asks for counts or sums.
    asks_for_totals: bool,
    /// Something that asks for buckets. Results of a subquery do too: resets between them can only be seen there.
    needs_buckets: bool,
}

/// Marks the selectors of a plan.
pub(super) fn drop_unneeded(plan: &mut Node) {
    mark(plan, Above::default());
}

fn mark(node: &mut Node, mut above: Above) {
    let buckets = if above.asks_for_totals && !above.needs_buckets { Buckets::Dropped } else { Buckets::Kept };
    match &mut node.op {
        Op::Select(select) => select.buckets = buckets,
        Op::Range(range) => range.select.buckets = buckets,
        Op::Subquery(_) => above.needs_buckets = true,
        Op::Binary(binary) => above.needs_buckets |= matches!(binary.op, BinaryOp::TrimUpper | BinaryOp::TrimLower),
        Op::Call(call) => match call.function.name {
            "histogram_count" | "histogram_sum" | "histogram_avg" => above.asks_for_totals = true,
            "histogram_quantile" | "histogram_quantiles" | "histogram_fraction" => above.needs_buckets = true,
            _ => {}
        },
        _ => {}
    }
    node.children_mut().into_iter().for_each(|child| mark(child, above));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::parse::{ParserOptions, parse};
    use crate::promql::plan::{Times, build};

    /// Of each selector, from left to right, whether its buckets are dropped.
    fn dropped(text: &str) -> Vec<bool> {
        fn visit(node: &Node, found: &mut Vec<bool>) {
            match &node.op {
                Op::Select(select) => found.push(select.buckets == Buckets::Dropped),
                Op::Range(range) => found.push(range.select.buckets == Buckets::Dropped),
                _ => node.children().into_iter().for_each(|child| visit(child, found)),
            }
        }
        let times = Times { start: 0, end: 1000, interval: 10, default_subquery_step: 60_000 };
        let mut found = Vec::new();
        visit(&build(&parse(text, &ParserOptions::ALL).unwrap(), &times).unwrap(), &mut found);
        found
    }

    #[test]
    fn buckets_are_dropped_below_functions_that_ask_for_totals() {
        assert_eq!(dropped("histogram_count(a)"), [true]);
        assert_eq!(dropped("histogram_avg(sum by (x) (rate(a[5m]))) + b"), [true, false]);
        assert_eq!(dropped("sum(histogram_sum(-a))"), [true]);
        assert_eq!(dropped("a + rate(b[5m])"), [false, false]);
    }

    #[test]
    fn buckets_are_kept_where_something_needs_them() {
        assert_eq!(dropped("histogram_quantile(0.9, a)"), [false]);
        assert_eq!(dropped("histogram_count(a </ 5)"), [false]);
        assert_eq!(dropped("histogram_count(rate(a[5m:1m]))"), [false]);
        assert_eq!(dropped("max_over_time(histogram_count(a)[5m:1m])"), [false]);
        assert_eq!(dropped("histogram_fraction(0, scalar(histogram_sum(a)), b)"), [false, false]);
    }
}
