//! Expressions whose selectors are held at an instant by `@`: they give the same whenever they are evaluated.

use watershed::model::TimestampMs;
use watershed::promql::ast::{At, Expr};
use watershed::promql::{ParserOptions, parse};

/// Functions that look at the time of evaluation, or at the times of the samples that they are given.
const DEPEND_ON_TIME: &[&str] = &[
    "days_in_month",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "end",
    "hour",
    "minute",
    "month",
    "year",
    "predict_linear",
    "range",
    "start",
    "step",
    "time",
    "timestamp",
];

/// The expression with every selector held at `at`, and other times at which it must give the same. None if it depends on
/// the time in another way.
pub fn at_variants(text: &str, at: i64) -> Result<Vec<(String, i64)>, String> {
    let mut expr = parse(text, &ParserOptions::ALL).map_err(|e| e.to_string())?;
    if !hold(&mut expr, At::Time(TimestampMs(at))) {
        return Ok(Vec::new());
    }
    let text = expr.to_string();
    let times = if at == 0 { vec![-1000, 0, 1000] } else { vec![-10 * at, 0, at / 5, at, 10 * at] };
    Ok(times.into_iter().map(|at| (text.clone(), at)).collect())
}

/// Adds `@` wherever it is missing, but not within subqueries, which are held as a whole. False if that does not hold the
/// expression.
fn hold(expr: &mut Expr, at: At) -> bool {
    match expr {
        Expr::Number(_) | Expr::String(_) | Expr::Delegated(_) => true,
        Expr::Vector(selector) => hold_one(&mut selector.at, at),
        Expr::Matrix(matrix) => hold_one(&mut matrix.selector.at, at),
        Expr::Subquery(subquery) => hold_one(&mut subquery.at, at),
        Expr::Paren(paren) => hold(&mut paren.expr, at),
        Expr::Unary(unary) => hold(&mut unary.expr, at),
        Expr::Binary(binary) => hold(&mut binary.left, at) & hold(&mut binary.right, at),
        Expr::Aggregate(aggregate) => {
            hold(&mut aggregate.expr, at) & aggregate.param.as_mut().is_none_or(|param| hold(param, at))
        }
        Expr::Call(call) => {
            let args = call.args.iter_mut().fold(true, |held, arg| hold(arg, at) & held);
            args && !DEPEND_ON_TIME.contains(&call.function.name)
        }
    }
}

fn hold_one(place: &mut Option<At>, at: At) -> bool {
    place.get_or_insert(at);
    true
}
