//! One operator between two values.

use crate::model::angle::atan2;
use crate::model::power::pow;
use std::sync::Arc;

use crate::model::{CounterResetHint, FloatHistogram};
use crate::promql::ast::{BinaryOp, Position};
use crate::promql::exec::{Cell, Context};
use crate::promql::notes::{HistogramOperation, Note};

/// What came out.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// A float.
    Float(f64),
    /// A histogram.
    Histogram(Arc<FloatHistogram>),
}

/// What an operator makes of two values.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    /// The result; of a comparison it is the left value.
    pub value: Value,
    /// Whether the comparison holds; true for other operators.
    pub holds: bool,
    /// Whether custom bounds differed and only the common ones are left.
    pub bounds_reconciled: bool,
}

/// Something to tell about two values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Remark {
    /// The operator has no meaning between values of these types.
    Incompatible(&'static str, &'static str),
    /// The histograms contradict each other about a reset of the counter; the reference has no result then.
    ResetsConflict,
    /// Exponential and custom bounds have nothing in common.
    IncompatibleBounds,
    /// Custom bounds differed.
    BoundsReconciled,
}

impl Remark {
    /// Keeps it for the answer.
    pub fn note(self, context: &Context<'_>, op: BinaryOp, position: Position) {
        let operation = match op {
            BinaryOp::Sub => HistogramOperation::Subtraction,
            _ => HistogramOperation::Addition,
        };
        let note = match self {
            Remark::Incompatible(left, right) => Note::IncompatibleTypes { left, op, right },
            Remark::ResetsConflict => Note::CounterResetCollision(operation),
            Remark::IncompatibleBounds => Note::IncompatibleBucketLayout { op },
            Remark::BoundsReconciled => Note::MismatchedCustomBuckets(operation),
        };
        context.note(note, position);
    }
}

/// An arithmetic operator between floats; a comparison gives 1 or 0. Other operators have no float result.
pub(super) fn float(op: BinaryOp, left: f64, right: f64) -> Option<f64> {
    Some(match op {
        BinaryOp::Add => left + right,
        BinaryOp::Sub => left - right,
        BinaryOp::Mul => left * right,
        BinaryOp::Div => left / right,
        BinaryOp::Mod => left % right,
        BinaryOp::Pow => pow(left, right),
        BinaryOp::Atan2 => atan2(left, right),
        _ => f64::from(u8::from(holds(op, left, right)?)),
    })
}

/// Whether a comparison holds.
fn holds(op: BinaryOp, left: f64, right: f64) -> Option<bool> {
    Some(match op {
        BinaryOp::Equal => left == right,
        BinaryOp::NotEqual => left != right,
        BinaryOp::Greater => left > right,
        BinaryOp::Less => left < right,
        BinaryOp::GreaterEqual => left >= right,
        BinaryOp::LessEqual => left <= right,
        _ => return None,
    })
}

/// Applies an operator to two values that are there.
pub(super) fn apply(op: BinaryOp, left: Cell<'_>, right: Cell<'_>) -> Result<Outcome, Remark> {
    match (left, right) {
        (Cell::Float(l), Cell::Float(r)) => floats(op, l, r).ok_or(Remark::Incompatible("float", "float")),
        (Cell::Histogram(l), Cell::Histogram(r)) => histograms(op, l, r),
        (Cell::Histogram(h), Cell::Float(v)) => {
            scaled(op, h, v).map(histogram).ok_or(Remark::Incompatible("histogram", "float"))
        }
        (Cell::Float(v), Cell::Histogram(h)) if op == BinaryOp::Mul => {
            scaled(op, h, v).map(histogram).ok_or(Remark::Incompatible("float", "histogram"))
        }
        _ => Err(Remark::Incompatible("float", "histogram")),
    }
}

fn floats(op: BinaryOp, left: f64, right: f64) -> Option<Outcome> {
    let (value, holds) = match holds(op, left, right) {
        Some(holds) => (left, holds),
        None => (float(op, left, right)?, true),
    };
    Some(Outcome { value: Value::Float(value), holds, bounds_reconciled: false })
}

fn histogram(histogram: FloatHistogram) -> Outcome {
    Outcome { value: Value::Histogram(Arc::new(histogram)), holds: true, bounds_reconciled: false }
}

/// A histogram to change. Custom bounds have no zero bucket; what arithmetic has made of its count is forgotten.
fn copy(h: &FloatHistogram) -> FloatHistogram {
    let mut out = h.clone();
    if out.layout.has_custom_bounds() {
        out.zero_count = 0.0;
    }
    out
}

fn scaled(op: BinaryOp, h: &FloatHistogram, v: f64) -> Option<FloatHistogram> {
    let mut out = copy(h);
    match op {
        BinaryOp::Mul => out.mul(v),
        BinaryOp::Div => out.div(v),
        BinaryOp::TrimUpper => {
            out.trim_upper(v);
            return Some(out);
        }
        BinaryOp::TrimLower => {
            out.trim_lower(v);
            return Some(out);
        }
        _ => return None,
    }
    out.compact(0);
    Some(out)
}

fn histograms(op: BinaryOp, l: &Arc<FloatHistogram>, r: &FloatHistogram) -> Result<Outcome, Remark> {
    let compared = |holds| Ok(Outcome { value: Value::Histogram(Arc::clone(l)), holds, bounds_reconciled: false });
    match op {
        BinaryOp::Equal => compared(l.equals(r)),
        BinaryOp::NotEqual => compared(!l.equals(r)),
        BinaryOp::Add | BinaryOp::Sub => combined(op, l, r),
        _ => Err(Remark::Incompatible("histogram", "histogram")),
    }
}

fn combined(op: BinaryOp, l: &FloatHistogram, r: &FloatHistogram) -> Result<Outcome, Remark> {
    let mut out = copy(l);
    let combined = if op == BinaryOp::Sub { out.sub(r) } else { out.add(r) };
    let combined = combined.map_err(|_| Remark::IncompatibleBounds)?;
    if combined.resets_conflict {
        return Err(Remark::ResetsConflict);
    }
    if op == BinaryOp::Sub {
        out.counter_reset_hint = CounterResetHint::Gauge;
    }
    out.compact(0);
    Ok(Outcome { bounds_reconciled: combined.bounds_reconciled, ..histogram(out) })
}
