//! Operators of which a side is a scalar.

use super::column::{self, Compared};
use super::element::{self, Remark, Value};
use super::remarks::Remarks;
use crate::promql::ast::{BinaryOp, Position};
use crate::promql::exec::{Cell, Evaluator, Failure, Histograms, Sink, StepSeries, Steps, is_absent};
use crate::promql::notes::Notes;
use crate::promql::plan::{Binary, Node};

/// Runs an operator between two scalars.
pub(crate) fn scalar(eval: &Evaluator<'_>, binary: &Binary, steps: Steps) -> Result<Vec<f64>, Failure> {
    let op = binary.op;
    if op.is_set() || matches!(op, BinaryOp::TrimLower | BinaryOp::TrimUpper) {
        return Err(Failure::Execution(format!("operator \"{}\" not allowed for Scalar operations", op.as_str())));
    }
    let mut left = eval.scalar(&binary.left, steps)?;
    let right = eval.scalar(&binary.right, steps)?;
    column::apply(op, &mut left, &right, false, Compared::Bool);
    Ok(left)
}

/// Runs an operator between a vector and a scalar; if `is_swapped`, the scalar stands on the left.
pub(super) fn with_vector(
    eval: &Evaluator<'_>,
    position: Position,
    binary: &Binary,
    is_swapped: bool,
    steps: Steps,
    sink: Sink<'_>,
) -> Result<(), Failure> {
    let Binary { op, left, right, returns_bool, .. } = binary;
    let (vector, number): (&Node, &Node) = if is_swapped { (right, left) } else { (left, right) };
    let (numbers, notes) = eval.context.apart(|| eval.scalar(number, steps));
    let numbers = numbers?;
    let later = if is_swapped {
        eval.context.merge_notes(notes);
        Notes::default()
    } else {
        notes
    };
    let drops_name = op.changes_meaning() || *returns_bool;
    let compared = if *returns_bool { Compared::Bool } else { Compared::Own };
    let mut remarks = Remarks::default();
    eval.merging(!drops_name || vector.has_one_name(), sink, |sink| {
        eval.vector(vector, steps, &mut |mut series| {
            if matches!(op, BinaryOp::TrimLower | BinaryOp::TrimUpper) {
                remark_floats(&series, &mut remarks);
            }
            column::apply(*op, &mut series.floats, &numbers, is_swapped, compared);
            if let Some(histograms) = &mut series.histograms {
                scale(*op, histograms, &numbers, is_swapped, &mut remarks);
            }
            if series.is_empty() {
                return Ok(());
            }
            if drops_name {
                eval.context.drop_name(&mut series.labels, &mut series.drop_name);
            }
            sink(series)
        })
    })?;
    eval.context.merge_notes(later);
    remarks.note(eval.context, *op, position);
    Ok(())
}

/// Floats cannot be trimmed.
fn remark_floats(series: &StepSeries, remarks: &mut Remarks) {
    for (step, v) in series.floats.iter().enumerate() {
        if !is_absent(*v) {
            remarks.set(step, Remark::Incompatible("float", "float"));
        }
    }
}

fn scale(op: BinaryOp, histograms: &mut Histograms, numbers: &[f64], is_swapped: bool, remarks: &mut Remarks) {
    for (step, (place, number)) in histograms.iter_mut().zip(numbers).enumerate() {
        let Some(histogram) = place.take() else { continue };
        let (own, other) = (Cell::Histogram(&histogram), Cell::Float(*number));
        let (left, right) = if is_swapped { (other, own) } else { (own, other) };
        match element::apply(op, left, right) {
            Ok(outcome) => {
                // A histogram and a float never make a float.
                *place = match outcome.value {
                    Value::Histogram(h) => Some(h),
                    Value::Float(_) => None,
                }
            }
            Err(remark) => remarks.set(step, remark),
        }
    }
}
