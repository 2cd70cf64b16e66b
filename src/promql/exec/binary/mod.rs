//! Operators between two nodes.
//!
//! Between a vector and a scalar, series are changed in place as they come. Between two vectors the right side is held, in
//! a table by the labels that have to match; then the left side comes past it series by series (`group_right` turns the
//! sides around). Set operators hold no values of the right side, only at which steps there are some.
//!
//! The law is that of each single step: the reference evaluates step by step, so which series match, and whether two match
//! that must not, is decided per step. A whole column is computed at once; where matches have to be unique, sets of steps
//! tell at which step they are not, and the earliest of these makes the error.
//!
//! | file | content |
//! |---|---|
//! | `element`, `column` | one operator between two values; between two columns of floats |
//! | `scalar` | operators of which a side is a scalar |
//! | `join`, `table`, `result` | operators between vectors; the side that is held; labels of results |
//! | `set` | `and`, `or`, `unless` |
//! | `output`, `remarks` | where results go, and what is told of them |
//!
//! Not here: arithmetic of histograms (`model`).

mod column;
mod element;
mod join;
mod output;
mod remarks;
mod result;
mod scalar;
mod set;
mod table;

use super::{Evaluator, Failure, Sink, Steps};
use crate::promql::ast::{Position, ValueType};
use crate::promql::notes::Notes;
use crate::promql::plan::{Binary, Node};

pub(super) use scalar::scalar;

/// Runs an operator of which at least one side is a vector.
pub(super) fn vector(
    eval: &Evaluator<'_>,
    position: Position,
    binary: &Binary,
    steps: Steps,
    sink: Sink<'_>,
) -> Result<(), Failure> {
    match (&binary.matching, binary.left.value_type) {
        (Some(matching), ValueType::Vector) if binary.op.is_set() => set::vector(eval, binary, matching, steps, sink),
        (Some(matching), ValueType::Vector) => join::vector(eval, position, binary, matching, steps, sink),
        (_, left) => scalar::with_vector(eval, position, binary, left == ValueType::Scalar, steps, sink),
    }
}

/// Runs the right side before the left one. So that nobody can tell, its remarks come back, to be kept behind those of the
/// left side; and if both sides fail, it is the left one's failure that counts.
fn right_first(
    eval: &Evaluator<'_>,
    right: &Node,
    left: &Node,
    steps: Steps,
    sink: Sink<'_>,
) -> Result<Notes, Failure> {
    let (outcome, notes) = eval.context.apart(|| eval.vector(right, steps, sink));
    match outcome {
        Ok(()) => Ok(notes),
        Err(Failure::Execution(text)) => {
            eval.vector(left, steps, &mut |_| Ok(()))?;
            Err(Failure::Execution(text))
        }
        Err(failure) => Err(failure),
    }
}
