//! Aggregations over series.
//!
//! Series are taken in as they come from the input and put into groups by their labels. What a group holds are columns over
//! all steps, so that taking a series in is a loop over two slices; the series itself is let go. Only where values must be
//! compared with each other is more held: `quantile` keeps columns, `topk` and `bottomk` keep heaps per step.
//!
//! The law: to the bit what the reference computes step by step. Within a step, values are taken in the order in which their
//! series come.
//!
//! | file | content |
//! |---|---|
//! | `groups`, `param` | which group a series belongs to; the number that is given |
//! | `fold` | the loop of those that look at each series once: `sum`, `deviation`, `extremes` |
//! | `histograms` | what `sum` and `avg` make of histograms |
//! | `rank`, `heap` | `topk`, `bottomk` |
//! | `limit`, `quantile`, `count_values` | the others |

mod count_values;
mod deviation;
mod extremes;
mod fold;
mod groups;
mod heap;
mod histograms;
mod limit;
mod param;
mod quantile;
mod rank;
mod sum;

use super::{Evaluator, Failure, Sink, Steps};
use crate::promql::ast::{AggregateOp, Position};
use crate::promql::plan::Aggregate;
use fold::fold;

/// Runs an aggregation.
pub(super) fn vector(
    eval: &Evaluator<'_>,
    position: Position,
    aggregate: &Aggregate,
    steps: Steps,
    sink: Sink<'_>,
) -> Result<(), Failure> {
    match aggregate.op {
        AggregateOp::Sum => fold::<sum::Sum>(eval, aggregate, steps, sink),
        AggregateOp::Avg => fold::<sum::Mean>(eval, aggregate, steps, sink),
        AggregateOp::Count => fold::<extremes::Count>(eval, aggregate, steps, sink),
        AggregateOp::Min => fold::<extremes::Min>(eval, aggregate, steps, sink),
        AggregateOp::Max => fold::<extremes::Max>(eval, aggregate, steps, sink),
        AggregateOp::Group => fold::<extremes::Present>(eval, aggregate, steps, sink),
        AggregateOp::Stddev => fold::<deviation::Deviation>(eval, aggregate, steps, sink),
        AggregateOp::Stdvar => fold::<deviation::Variance>(eval, aggregate, steps, sink),
        AggregateOp::Topk | AggregateOp::Bottomk => rank::vector(eval, position, aggregate, steps, sink),
        AggregateOp::Limitk | AggregateOp::LimitRatio => limit::vector(eval, aggregate, steps, sink),
        AggregateOp::Quantile => quantile::vector(eval, aggregate, steps, sink),
        AggregateOp::CountValues => count_values::vector(eval, aggregate, steps, sink),
    }
}
