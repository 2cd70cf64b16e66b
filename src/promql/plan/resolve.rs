//! Expressions without anything that depends on the query that they are part of.
//!
//! A part of a query that is sent to another server must mean there what it means here. So `@ start()` becomes an instant,
//! durations become numbers, `start()`, `end()`, `range()` and `step()` too, and every subquery tells its step.

use super::Times;
use super::build::query_time;
use super::duration::{Sign, milliseconds};
use crate::model::TimestampMs;
use crate::promql::ast::{
    Aggregate, At, Binary, Call, Expr, Extent, MatrixSelector, NumberLiteral, Paren, Subquery, Unary, VectorSelector,
};

/// The same expression, every time in it fixed. Fails where a duration cannot be computed.
pub(crate) fn resolve(expr: &Expr, times: &Times) -> Result<Expr, String> {
    Resolver { times }.expr(expr)
}

struct Resolver<'t> {
    times: &'t Times,
}

impl Resolver<'_> {
    fn expr(&self, expr: &Expr) -> Result<Expr, String> {
        Ok(match expr {
            Expr::Number(_) | Expr::String(_) | Expr::Delegated(_) => expr.clone(),
            Expr::Vector(selector) => Expr::Vector(self.selector(selector)?),
            Expr::Matrix(matrix) => Expr::Matrix(MatrixSelector {
                selector: self.selector(&matrix.selector)?,
                range: self.extent(&matrix.range, Sign::Positive)?,
                position: matrix.position,
            }),
            Expr::Subquery(subquery) => Expr::Subquery(Box::new(self.subquery(subquery)?)),
            Expr::Paren(paren) => {
                Expr::Paren(Box::new(Paren { expr: self.expr(&paren.expr)?, position: paren.position }))
            }
            Expr::Unary(unary) => Expr::Unary(Box::new(Unary { expr: self.expr(&unary.expr)?, ..(**unary).clone() })),
            Expr::Binary(binary) => Expr::Binary(Box::new(Binary {
                left: self.expr(&binary.left)?,
                right: self.expr(&binary.right)?,
                ..(**binary).clone()
            })),
            Expr::Aggregate(aggregate) => Expr::Aggregate(Box::new(Aggregate {
                expr: self.expr(&aggregate.expr)?,
                param: aggregate.param.as_ref().map(|param| self.expr(param)).transpose()?,
                ..(**aggregate).clone()
            })),
            Expr::Call(call) => match query_time(self.times, call.function.name) {
                Some(value) => Expr::Number(NumberLiteral { value, is_duration: false, position: call.position }),
                None => {
                    let args = call.args.iter().map(|arg| self.expr(arg)).collect::<Result<_, _>>()?;
                    Expr::Call(Call { args, ..call.clone() })
                }
            },
        })
    }

    fn selector(&self, selector: &VectorSelector) -> Result<VectorSelector, String> {
        let offset = selector.offset.as_ref().map(|offset| self.extent(offset, Sign::Any)).transpose()?;
        Ok(VectorSelector { offset, at: self.at(selector.at), ..selector.clone() })
    }

    fn subquery(&self, subquery: &Subquery) -> Result<Subquery, String> {
        let told = subquery.step.as_ref().map(|step| milliseconds(step, Sign::Positive, self.times)).transpose()?;
        let step = told.filter(|ms| *ms > 0).unwrap_or(self.times.default_subquery_step.max(1));
        Ok(Subquery {
            expr: self.expr(&subquery.expr)?,
            range: self.extent(&subquery.range, Sign::Positive)?,
            step: Some(Extent::Fixed(step)),
            offset: subquery.offset.as_ref().map(|offset| self.extent(offset, Sign::Any)).transpose()?,
            at: self.at(subquery.at),
            position: subquery.position,
        })
    }

    fn extent(&self, extent: &Extent, sign: Sign) -> Result<Extent, String> {
        Ok(Extent::Fixed(milliseconds(extent, sign, self.times)?))
    }

    fn at(&self, at: Option<At>) -> Option<At> {
        at.map(|at| match at {
            At::Start => At::Time(TimestampMs(self.times.start)),
            At::End => At::Time(TimestampMs(self.times.end)),
            At::Time(_) => at,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::parse::{ParserOptions, parse};

    #[test]
    fn nothing_that_depends_on_the_query_is_left() {
        let times = Times { start: 60_000, end: 180_500, interval: 15_000, default_subquery_step: 30_000 };
        let cases = [
            ("up @ start() offset 1m", "up @ 60.000 offset 1m"),
            ("rate(up[step()*2] @ end())", "rate(up[30s] @ 180.500)"),
            ("max_over_time(up[5m:])", "max_over_time(up[5m:30s])"),
            ("max_over_time((up @ end())[5m:step()] @ start())", "max_over_time((up @ 180.500)[5m:15s] @ 60.000)"),
            ("up > start() + step()", "up > 60 + 15"),
            ("sum by(a) (up) / on(a) topk(range(), -up)", "sum by (a) (up) / on (a) topk(120.5, -up)"),
        ];
        for (text, resolved) in cases {
            let expr = parse(text, &ParserOptions::ALL).unwrap();
            assert_eq!(resolve(&expr, &times).unwrap().to_string(), resolved, "{text}");
        }
        let never = parse("up[0s*1]", &ParserOptions::ALL).unwrap();
        assert!(resolve(&never, &times).is_err());
    }
}
