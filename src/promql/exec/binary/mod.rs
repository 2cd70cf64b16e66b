//! Operators between two nodes.

use super::{Evaluator, Failure, Sink, Steps};
use crate::promql::ast::Position;
use crate::promql::plan::Binary;

/// Runs an operator of which at least one side is a vector.
pub(super) fn vector(
    _eval: &Evaluator<'_>,
    _position: Position,
    _binary: &Binary,
    _steps: Steps,
    _sink: Sink<'_>,
) -> Result<(), Failure> {
    Err(Failure::Execution("operators come next".to_owned()))
}

/// Runs an operator between scalars.
pub(super) fn scalar(_eval: &Evaluator<'_>, _binary: &Binary, _steps: Steps) -> Result<Vec<f64>, Failure> {
    Err(Failure::Execution("operators come next".to_owned()))
}
