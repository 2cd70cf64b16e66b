//! Making a plan.

use super::buckets::{Buckets, drop_unneeded};
use super::duration::{Sign, milliseconds};
use super::share::share;
use super::{Aggregate, Binary, Call, Node, Op, RangeSelect, Select, Subquery, Text, Times};
use crate::promql::ast::{self, At, Expr, MatrixSelector, ValueType, VectorSelector};

/// Functions whose result depends on the step although their arguments do not.
const DEPEND_ON_STEP: [&str; 11] = [
    "days_in_month",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "hour",
    "minute",
    "month",
    "year",
    "predict_linear",
    "time",
    "timestamp",
];

/// A node, and what is known of it while its parent is made.
struct Built {
    node: Node,
    /// Whether it gives the same at every step.
    is_invariant: bool,
    /// Whether it gains by being run once. Windows and texts are not run by themselves.
    is_worth_wrapping: bool,
}

impl Built {
    fn wrapped(self) -> Node {
        if self.is_invariant && self.is_worth_wrapping { invariant(self.node) } else { self.node }
    }
}

fn invariant(node: Node) -> Node {
    let (position, value_type) = (node.position, node.value_type);
    match node.op {
        // A number is as cheap.
        Op::Number(_) => node,
        _ => Node { position, value_type, op: Op::Invariant(Box::new(node)) },
    }
}

/// The plan of an expression.
pub(crate) fn build(expr: &Expr, times: &Times) -> Result<Node, String> {
    let mut plan = Builder { times }.expr(expr)?.wrapped();
    drop_unneeded(&mut plan);
    Ok(share(plan))
}

struct Builder<'t> {
    times: &'t Times,
}

impl Builder<'_> {
    fn expr(&self, expr: &Expr) -> Result<Built, String> {
        match expr {
            Expr::Number(number) => Ok(self.built(expr, Op::Number(number.value), true, false)),
            Expr::String(text) => {
                let text = Text { value: text.value.clone(), bytes: text.bytes.clone() };
                Ok(self.built(expr, Op::Text(text), true, false))
            }
            Expr::Vector(selector) => {
                let select = self.select(selector)?;
                let is_fixed = select.at.is_some();
                Ok(self.built(expr, Op::Select(select), is_fixed, true))
            }
            Expr::Matrix(matrix) => self.matrix(expr, matrix),
            Expr::Subquery(subquery) => self.subquery(expr, subquery),
            Expr::Paren(paren) => self.expr(&paren.expr),
            Expr::Unary(unary) => {
                let inner = self.expr(&unary.expr)?;
                if !unary.is_minus {
                    return Ok(inner);
                }
                let Built { node, is_invariant, .. } = inner;
                Ok(self.built(expr, Op::Negate(Box::new(node)), is_invariant, true))
            }
            Expr::Binary(binary) => self.binary(expr, binary),
            Expr::Aggregate(aggregate) => self.aggregate(expr, aggregate),
            Expr::Call(call) => self.call(expr, call),
            Expr::Delegated(part) => Ok(self.built(expr, Op::Delegated(part.id), false, false)),
        }
    }

    fn built(&self, expr: &Expr, op: Op, is_invariant: bool, is_worth_wrapping: bool) -> Built {
        let node = Node { position: expr.position(), value_type: expr.value_type(), op };
        Built { node, is_invariant, is_worth_wrapping }
    }

    fn at(&self, at: Option<At>) -> Option<i64> {
        at.map(|at| match at {
            At::Time(t) => t.0,
            At::Start => self.times.start,
            At::End => self.times.end,
        })
    }

    fn offset(&self, offset: &Option<ast::Extent>) -> Result<i64, String> {
        offset.as_ref().map_or(Ok(0), |offset| milliseconds(offset, Sign::Any, self.times))
    }

    fn select(&self, selector: &VectorSelector) -> Result<Select, String> {
        Ok(Select {
            selector: selector.matchers.clone(),
            offset: self.offset(&selector.offset)?,
            at: self.at(selector.at),
            extension: selector.extension,
            buckets: Buckets::Kept,
        })
    }

    fn matrix(&self, expr: &Expr, matrix: &MatrixSelector) -> Result<Built, String> {
        let select = self.select(&matrix.selector)?;
        let range = milliseconds(&matrix.range, Sign::Positive, self.times)?;
        let is_fixed = select.at.is_some();
        Ok(self.built(expr, Op::Range(RangeSelect { select, range }), is_fixed, false))
    }

    fn subquery(&self, expr: &Expr, subquery: &ast::Subquery) -> Result<Built, String> {
        let inner = self.expr(&subquery.expr)?;
        let range = milliseconds(&subquery.range, Sign::Positive, self.times)?;
        let step = match &subquery.step {
            Some(step) => milliseconds(step, Sign::Positive, self.times)?,
            None => 0,
        };
        let at = self.at(subquery.at);
        let op = Op::Subquery(Box::new(Subquery {
            node: inner.wrapped(),
            range,
            step: if step > 0 { step } else { self.times.default_subquery_step.max(1) },
            offset: self.offset(&subquery.offset)?,
            at,
        }));
        Ok(self.built(expr, op, at.is_some(), false))
    }

    fn binary(&self, expr: &Expr, binary: &ast::Binary) -> Result<Built, String> {
        let (left, right) = (self.expr(&binary.left)?, self.expr(&binary.right)?);
        let is_invariant = left.is_invariant && right.is_invariant;
        let as_operand = |built: Built| if is_invariant { built.node } else { built.wrapped() };
        let op = Op::Binary(Box::new(Binary {
            op: binary.op,
            left: as_operand(left),
            right: as_operand(right),
            returns_bool: binary.returns_bool,
            matching: binary.matching.clone(),
        }));
        Ok(self.built(expr, op, is_invariant, true))
    }

    fn aggregate(&self, expr: &Expr, aggregate: &ast::Aggregate) -> Result<Built, String> {
        let inner = self.expr(&aggregate.expr)?;
        let param = aggregate.param.as_ref().map(|param| self.expr(param)).transpose()?;
        let mut grouping = aggregate.grouping.clone();
        grouping.sort_unstable();
        grouping.dedup();
        // As in the reference, the parameter has no say.
        let is_invariant = inner.is_invariant;
        let op = Op::Aggregate(Box::new(Aggregate {
            op: aggregate.op,
            node: inner.node,
            param: param.map(|built| if is_invariant { built.node } else { built.wrapped() }),
            grouping,
            is_without: aggregate.is_without,
        }));
        Ok(self.built(expr, op, is_invariant, true))
    }

    fn call(&self, expr: &Expr, call: &ast::Call) -> Result<Built, String> {
        if let Some(number) = query_time(self.times, call.function.name) {
            return Ok(self.built(expr, Op::Number(number), true, false));
        }
        let args = call.args.iter().map(|arg| self.expr(arg)).collect::<Result<Vec<_>, _>>()?;
        let is_timestamp_of_fixed =
            call.function.name == "timestamp" && matches!(&args[0].node.op, Op::Select(s) if s.at.is_some());
        let is_invariant = is_timestamp_of_fixed
            || !DEPEND_ON_STEP.contains(&call.function.name) && args.iter().all(|arg| arg.is_invariant);
        let args = args.into_iter().map(|arg| if is_invariant { arg.node } else { arg.wrapped() }).collect();
        Ok(self.built(expr, Op::Call(Call { function: call.function, args }), is_invariant, true))
    }
}

/// What functions give that depend on nothing but the query's times.
pub(super) fn query_time(times: &Times, function: &str) -> Option<f64> {
    let Times { start, end, interval, .. } = *times;
    let milliseconds = match function {
        "start" => start,
        "end" => end,
        "range" => end - start,
        "step" if start == end => 0,
        "step" => interval,
        _ => return None,
    };
    Some(milliseconds as f64 / 1000.0)
}

/// The matchers that `absent` makes labels of.
pub(crate) fn absent_matchers(node: &Node) -> &[crate::model::Matcher] {
    match (&node.op, node.value_type) {
        (Op::Select(select), ValueType::Vector) => &select.selector,
        (Op::Range(range), _) => &range.select.selector,
        (Op::Invariant(inner), _) => absent_matchers(inner),
        _ => &[],
    }
}
