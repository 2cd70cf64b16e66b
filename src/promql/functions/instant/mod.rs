//! Functions over instant vectors.
//!
//! Most work on each value by itself and change the columns of a series in place as it passes; they drop the name, and
//! histograms they cannot read. Functions of labels, of order and of classic histograms see all series together.

mod dates;
mod info;
mod labels;
mod math;
mod sort;

use crate::promql::ast::Position;
use crate::promql::exec::{ABSENT, Evaluator, Failure, Sink, StepSeries, Steps, Wanted, is_absent};
use crate::promql::plan::{Call, Node, Op};

/// Runs a function that gives a vector of a vector, of scalars or of nothing.
pub(crate) fn vector(
    eval: &Evaluator<'_>,
    position: Position,
    call: &Call,
    steps: Steps,
    sink: Sink<'_>,
) -> Result<(), Failure> {
    let name = call.function.name;
    if let Some(function) = math::function(name) {
        return in_place(eval, &call.args[0], steps, sink, |_, v| function(v));
    }
    if let Some(function) = dates::function(name) {
        return match call.args.first() {
            Some(arg) => in_place(eval, arg, steps, sink, |_, v| function(dates::seconds(v))),
            None => sink(StepSeries {
                floats: steps.iter().map(|t| function(t.div_euclid(1000))).collect(),
                ..StepSeries::absent(crate::model::Labels::empty(), 0)
            }),
        };
    }
    match name {
        "clamp" => {
            let bounds = [eval.scalar(&call.args[1], steps)?, eval.scalar(&call.args[2], steps)?];
            in_place(eval, &call.args[0], steps, sink, |step, v| math::clamp(v, bounds[0][step], bounds[1][step]))
        }
        "clamp_min" => {
            let bound = eval.scalar(&call.args[1], steps)?;
            in_place(eval, &call.args[0], steps, sink, |step, v| math::max(bound[step], v))
        }
        "clamp_max" => {
            let bound = eval.scalar(&call.args[1], steps)?;
            in_place(eval, &call.args[0], steps, sink, |step, v| math::min(bound[step], v))
        }
        "round" => {
            let nearest = call.args.get(1).map(|arg| eval.scalar(arg, steps)).transpose()?;
            let nearest = nearest.unwrap_or_else(|| vec![1.0; steps.count]);
            in_place(eval, &call.args[0], steps, sink, |step, v| math::round(v, nearest[step]))
        }
        "vector" => {
            let floats = eval.scalar(&call.args[0], steps)?;
            sink(StepSeries { floats, ..StepSeries::absent(crate::model::Labels::empty(), 0) })
        }
        "timestamp" => timestamp(eval, &call.args[0], steps, sink),
        "start_timestamp" => start_timestamp(eval, &call.args[0], steps, sink),
        "label_replace" => labels::replace(eval, call, steps, sink),
        "label_join" => labels::join(eval, call, steps, sink),
        "sort" | "sort_desc" => sort::by_value(eval, position, call, steps, sink),
        "sort_by_label" | "sort_by_label_desc" => sort::by_label(eval, position, call, steps, sink),
        "info" => info::vector(eval, call, steps, sink),
        _ => super::histogram_calls::vector(eval, call, steps, sink),
    }
}

/// Two numbers to one.
pub(crate) fn of_scalars(name: &str) -> Option<fn(f64, f64) -> f64> {
    match name {
        "max_of" => Some(math::max),
        "min_of" => Some(math::min),
        _ => None,
    }
}

/// Replaces every float by what `function` makes of step and value. Names and histograms go.
pub(super) fn in_place(
    eval: &Evaluator<'_>,
    node: &Node,
    steps: Steps,
    sink: Sink<'_>,
    function: impl Fn(usize, f64) -> f64,
) -> Result<(), Failure> {
    eval.merging(node.has_one_name(), sink, |sink| {
        eval.vector(node, steps, &mut |mut series| {
            series.histograms = None;
            for (step, v) in series.floats.iter_mut().enumerate() {
                if !is_absent(*v) {
                    *v = function(step, *v);
                }
            }
            // Functions such as `clamp` may have nothing to say at a step.
            if series.is_empty() {
                return Ok(());
            }
            eval.context.drop_name(&mut series.labels, &mut series.drop_name);
            sink(series)
        })
    })
}

/// The time of each sample; of what is not a selector the step.
fn timestamp(eval: &Evaluator<'_>, node: &Node, steps: Steps, sink: Sink<'_>) -> Result<(), Failure> {
    eval.merging(node.has_one_name(), sink, |sink| {
        let mut finish = |mut series: StepSeries| {
            eval.context.drop_name(&mut series.labels, &mut series.drop_name);
            sink(series)
        };
        match &node.op {
            Op::Select(select) => eval.select(select, Wanted::Time, steps, &mut finish),
            _ => eval.vector(node, steps, &mut |mut series| {
                for (step, t) in steps.iter().enumerate() {
                    series.floats[step] = if series.has(step) { t as f64 / 1000.0 } else { ABSENT };
                }
                series.drop_histograms();
                finish(series)
            }),
        }
    })
}

/// Since when each sample's counter counts. Only of selectors, and only if start timestamps are used.
fn start_timestamp(eval: &Evaluator<'_>, node: &Node, steps: Steps, sink: Sink<'_>) -> Result<(), Failure> {
    match &node.op {
        Op::Select(select) if eval.context.uses_starts => eval.merging(node.has_one_name(), sink, |sink| {
            eval.select(select, Wanted::Start, steps, &mut |mut series| {
                eval.context.drop_name(&mut series.labels, &mut series.drop_name);
                sink(series)
            })
        }),
        _ => Ok(()),
    }
}

/// Whether an argument is a text that a label may be named by.
fn is_label_name(node: &Node) -> bool {
    matches!(&node.op, Op::Text(text) if text.is_label_name())
}

/// The text of an argument; the parser has seen to it that it is one.
fn text_of(node: &Node) -> &str {
    match &node.op {
        Op::Text(text) => &text.value,
        _ => "",
    }
}
