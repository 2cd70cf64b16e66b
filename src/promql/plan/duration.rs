//! Durations that depend on the query.

use super::Times;
use crate::model::power::pow;
use crate::promql::ast::{BinaryOp, DurationExpr, Extent, Position};

/// Whether a duration may be 0 or below.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    /// It must be above 0.
    Positive,
    /// It may be anything.
    Any,
}

/// Most seconds that a duration may have in the reference, which counts nanoseconds in 64 bits.
const MAX_SECONDS: f64 = 9_223_372_036.854_776;

/// An extent in milliseconds.
pub(super) fn milliseconds(extent: &Extent, sign: Sign, times: &Times) -> Result<i64, String> {
    let expr = match extent {
        Extent::Fixed(ms) => return Ok(*ms),
        Extent::Computed(expr) => expr,
    };
    let seconds = seconds(expr, times)?;
    let fail = |what: &str| fail(position(expr), what);
    if !seconds.is_finite() {
        return fail("duration is NaN or infinite");
    }
    if seconds <= 0.0 && sign == Sign::Positive {
        return fail("duration must be greater than 0");
    }
    if seconds.abs() > MAX_SECONDS {
        return fail("duration is out of range");
    }
    Ok((seconds * 1000.0) as i64)
}

fn fail<T>(position: Position, what: &str) -> Result<T, String> {
    Err(format!("{}:{}: {what}", position.start, position.end))
}

fn position(expr: &DurationExpr) -> Position {
    match expr {
        DurationExpr::Number(number) => number.position,
        DurationExpr::Step(position)
        | DurationExpr::Range(position)
        | DurationExpr::Unary { position, .. }
        | DurationExpr::Binary { position, .. }
        | DurationExpr::MinOf(_, _, position)
        | DurationExpr::MaxOf(_, _, position)
        | DurationExpr::Paren(_, position) => *position,
    }
}

fn seconds(expr: &DurationExpr, times: &Times) -> Result<f64, String> {
    Ok(match expr {
        DurationExpr::Number(number) => number.value,
        DurationExpr::Step(_) => times.interval as f64 / 1000.0,
        DurationExpr::Range(_) => (times.end - times.start) as f64 / 1000.0,
        DurationExpr::Paren(inner, _) => seconds(inner, times)?,
        DurationExpr::Unary { op, operand, .. } => match op {
            BinaryOp::Sub => -seconds(operand, times)?,
            _ => seconds(operand, times)?,
        },
        DurationExpr::MinOf(a, b, _) => lesser(seconds(a, times)?, seconds(b, times)?),
        DurationExpr::MaxOf(a, b, _) => -lesser(-seconds(a, times)?, -seconds(b, times)?),
        DurationExpr::Binary { op, left, right, position } => {
            let (left, right) = (seconds(left, times)?, seconds(right, times)?);
            match op {
                BinaryOp::Add => left + right,
                BinaryOp::Sub => left - right,
                BinaryOp::Mul => left * right,
                BinaryOp::Div if right == 0.0 => return fail(*position, "division by zero"),
                BinaryOp::Div => left / right,
                BinaryOp::Mod if right == 0.0 => return fail(*position, "modulo by zero"),
                BinaryOp::Mod => left % right,
                BinaryOp::Pow => pow(left, right),
                op => return Err(format!("unexpected duration expression operator \"{}\"", op.as_str())),
            }
        }
    })
}

/// The lesser number; not a number if either is none.
fn lesser(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) }
}
