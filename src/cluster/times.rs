//! Of which time an expression looks at samples.

use crate::model::TimestampMs;
use crate::promql::StepTimes;
use crate::promql::ast::{At, Expr, Extent, VectorSelector};
use crate::storage::TimeRange;

/// The time that the selectors of an expression look at, evaluated at `steps`; `None` if there are none. No time in the
/// expression depends on the whole (see [`Engine::resolve`](crate::promql::Engine::resolve)).
pub(super) fn looked_at(expr: &Expr, steps: StepTimes, lookback: i64) -> Option<TimeRange> {
    let mut found = None;
    visit(expr, steps.start.0, steps.end().0, lookback, &mut found);
    found.map(|(min, max)| TimeRange { min: TimestampMs(min), max: TimestampMs(max) })
}

/// `start` and `end`: between which instants the expression is evaluated.
fn visit(expr: &Expr, start: i64, end: i64, lookback: i64, found: &mut Option<(i64, i64)>) {
    let mut look = |selector: &VectorSelector, before: i64| {
        let (start, end) = moved(start, end, selector.at.as_ref(), selector.offset.as_ref());
        let (min, max) = found.unwrap_or((i64::MAX, i64::MIN));
        // Borders may be interpolated from a sample behind them.
        let behind = if selector.extension == crate::promql::ast::Extension::None { 0 } else { lookback };
        *found = Some((min.min(start.saturating_sub(before)), max.max(end.saturating_add(behind))));
    };
    match expr {
        Expr::Number(_) | Expr::String(_) | Expr::Delegated(_) => {}
        Expr::Vector(selector) => look(selector, lookback),
        Expr::Matrix(matrix) => look(&matrix.selector, fixed(&matrix.range).saturating_add(lookback)),
        Expr::Subquery(subquery) => {
            let (start, end) = moved(start, end, subquery.at.as_ref(), subquery.offset.as_ref());
            visit(&subquery.expr, start.saturating_sub(fixed(&subquery.range)), end, lookback, found);
        }
        Expr::Paren(paren) => visit(&paren.expr, start, end, lookback, found),
        Expr::Unary(unary) => visit(&unary.expr, start, end, lookback, found),
        Expr::Binary(binary) => {
            visit(&binary.left, start, end, lookback, found);
            visit(&binary.right, start, end, lookback, found);
        }
        Expr::Aggregate(aggregate) => {
            visit(&aggregate.expr, start, end, lookback, found);
            aggregate.param.iter().for_each(|param| visit(param, start, end, lookback, found));
        }
        Expr::Call(call) => call.args.iter().for_each(|arg| visit(arg, start, end, lookback, found)),
    }
}

fn moved(start: i64, end: i64, at: Option<&At>, offset: Option<&Extent>) -> (i64, i64) {
    let (start, end) = match at {
        Some(At::Time(t)) => (t.0, t.0),
        // Both are instants once an expression is resolved; until then they lie between.
        Some(At::Start | At::End) | None => (start, end),
    };
    let offset = offset.map_or(0, fixed);
    (start.saturating_sub(offset), end.saturating_sub(offset))
}

fn fixed(extent: &Extent) -> i64 {
    match extent {
        Extent::Fixed(ms) => *ms,
        // There are none once an expression is resolved.
        Extent::Computed(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::{ParserOptions, parse};

    #[test]
    fn windows_offsets_and_fixed_instants_count() {
        let looked = |text: &str| {
            let steps = StepTimes { start: TimestampMs(1_000_000), interval: 10_000, count: 11 };
            let expr = parse(text, &ParserOptions::ALL).unwrap();
            looked_at(&expr, steps, 300_000).map(|range| (range.min.0 / 1000, range.max.0 / 1000))
        };
        assert_eq!(looked("1 + 2"), None);
        assert_eq!(looked("up"), Some((700, 1100)));
        assert_eq!(looked("sum(up offset 1m)"), Some((640, 1040)));
        assert_eq!(looked("abs(up offset -1m)"), Some((760, 1160)));
        assert_eq!(looked("up @ 500"), Some((200, 500)));
        assert_eq!(looked("up + b offset 10m"), Some((100, 1100)));
        assert_eq!(looked("rate(up[5m])"), Some((400, 1100)));
        assert_eq!(looked("max_over_time(up[10m:1m] offset 1m)"), Some((40, 1040)));
    }
}
