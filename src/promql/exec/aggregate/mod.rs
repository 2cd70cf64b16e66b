//! Aggregations over series.

use super::{Evaluator, Failure, Sink, Steps};
use crate::promql::ast::Position;
use crate::promql::plan::Aggregate;

/// Runs an aggregation.
pub(super) fn vector(
    _eval: &Evaluator<'_>,
    _position: Position,
    _aggregate: &Aggregate,
    _steps: Steps,
    _sink: Sink<'_>,
) -> Result<(), Failure> {
    Err(Failure::Execution("aggregations come next".to_owned()))
}
