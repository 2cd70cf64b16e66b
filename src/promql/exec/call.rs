//! Calls of functions.

use super::{Evaluator, Failure, Sink, Steps};
use crate::promql::ast::Position;
use crate::promql::plan::Call;

/// Runs a function that gives a vector.
pub(super) fn vector(
    _eval: &Evaluator<'_>,
    _position: Position,
    call: &Call,
    _steps: Steps,
    _sink: Sink<'_>,
) -> Result<(), Failure> {
    Err(Failure::Execution(format!("{} comes next", call.function.name)))
}

/// Runs a function that gives a scalar.
pub(super) fn scalar(_eval: &Evaluator<'_>, call: &Call, _steps: Steps) -> Result<Vec<f64>, Failure> {
    Err(Failure::Execution(format!("{} comes next", call.function.name)))
}
