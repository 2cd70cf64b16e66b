//! Selectors of instants, taken out of an expression that is otherwise evaluated here.
//!
//! A range selector asked from a query API does not show where series end, as the staleness markers are left out of its
//! answer. What looks at windows does without them, but what looks back from an instant does not: that is asked at its steps.

use super::frontend::{Found, join_same};
use crate::promql::ast::{Call, Delegated, Expr, Subquery};
use crate::promql::{DelegatedAnswer, Delegates, Failure, StepTimes};
use crate::storage::Scope;

/// The expression with each selector of instants as a part, and these.
pub(super) fn split_selectors(expr: &Expr) -> (Expr, Vec<Expr>) {
    let mut found = Vec::new();
    (taken_out(expr, &mut found), found)
}

fn taken_out(expr: &Expr, found: &mut Vec<Expr>) -> Expr {
    let mut part = |expr: &Expr| {
        found.push(expr.clone());
        Expr::Delegated(Delegated { id: found.len() - 1, position: expr.position() })
    };
    match expr {
        Expr::Vector(_) => part(expr),
        // It asks for a selector's own times.
        Expr::Call(call) if call.function.name == "timestamp" && call.args.first().is_some_and(is_selector) => {
            part(expr)
        }
        Expr::Number(_) | Expr::String(_) | Expr::Matrix(_) | Expr::Delegated(_) => expr.clone(),
        Expr::Subquery(subquery) => {
            let inner = taken_out(&subquery.expr, found);
            Expr::Subquery(Box::new(Subquery { expr: inner, ..(**subquery).clone() }))
        }
        Expr::Paren(paren) => {
            let mut paren = paren.clone();
            paren.expr = taken_out(&paren.expr, found);
            Expr::Paren(paren)
        }
        Expr::Unary(unary) => {
            let mut unary = unary.clone();
            unary.expr = taken_out(&unary.expr, found);
            Expr::Unary(unary)
        }
        Expr::Binary(binary) => {
            let mut binary = binary.clone();
            binary.left = taken_out(&binary.left, found);
            binary.right = taken_out(&binary.right, found);
            Expr::Binary(binary)
        }
        Expr::Aggregate(aggregate) => {
            let mut aggregate = aggregate.clone();
            aggregate.expr = taken_out(&aggregate.expr, found);
            aggregate.param = aggregate.param.as_ref().map(|param| taken_out(param, found));
            Expr::Aggregate(aggregate)
        }
        Expr::Call(call) => {
            let args = call.args.iter().map(|arg| taken_out(arg, found)).collect();
            Expr::Call(Call { args, ..call.clone() })
        }
    }
}

fn is_selector(expr: &Expr) -> bool {
    match expr {
        Expr::Vector(_) => true,
        Expr::Paren(paren) => is_selector(&paren.expr),
        _ => false,
    }
}

/// Asks a member for selectors.
pub(super) struct Selectors<F> {
    selectors: Vec<Expr>,
    ask: F,
}

impl<F> Selectors<F>
where
    F: Fn(&Expr, StepTimes) -> Result<Found, Failure> + Send + Sync,
{
    pub(super) fn new(selectors: Vec<Expr>, ask: F) -> Selectors<F> {
        Selectors { selectors, ask }
    }
}

impl<F> Delegates for Selectors<F>
where
    F: Fn(&Expr, StepTimes) -> Result<Found, Failure> + Send + Sync,
{
    fn evaluate(&self, id: usize, steps: StepTimes, _: &Scope) -> Result<DelegatedAnswer, Failure> {
        let unknown = || Failure::Execution(format!("nobody evaluates selector {id}"));
        // The engine charges what it makes of the series.
        let Found { mut series, annotations, charges: _charges } =
            (self.ask)(self.selectors.get(id).ok_or_else(unknown)?, steps)?;
        join_same(&mut series);
        Ok(DelegatedAnswer { series, annotations })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::{ParserOptions, parse};

    #[test]
    fn selectors_of_instants_are_taken_out_and_those_of_windows_stay() {
        let check = |text: &str, here: &str, parts: &[&str]| {
            let (shown, found) = split_selectors(&parse(text, &ParserOptions::ALL).unwrap());
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            assert_eq!((shown.to_string().as_str(), found), (here, parts.iter().map(|p| (*p).to_owned()).collect()));
        };
        check("rate(a[5m]) + b", "rate(a[5m]) + <part 0>", &["b"]);
        check("sum by (x) (timestamp(a))", "sum by (x) (<part 0>)", &["timestamp(a)"]);
        check("max_over_time((-a)[1h:1m])", "max_over_time((-<part 0>)[1h:1m])", &["a"]);
        check("topk(2, a) or vector(1)", "topk(2, <part 0>) or vector(1)", &["a"]);
    }
}
