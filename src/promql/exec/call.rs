//! Calls of functions.

use super::windows::OverWindows;
use super::{Evaluator, Failure, Sink, StepSeries, Steps, is_absent};
use crate::model::{Labels, LabelsBuilder, METRIC_NAME, MatchOp, Matcher};
use crate::promql::ast::{Extension, Position, ValueType};
use crate::promql::functions::{instant, range};
use crate::promql::plan::{Call, Node, Op, absent_matchers};

/// Runs a function that gives a vector.
pub(super) fn vector(
    eval: &Evaluator<'_>,
    position: Position,
    call: &Call,
    steps: Steps,
    sink: Sink<'_>,
) -> Result<(), Failure> {
    let name = call.function.name;
    match (range::range_function(name), call.args.iter().position(|arg| arg.value_type == ValueType::Matrix)) {
        (Some(function), Some(windows)) => {
            let node = through_invariant(&call.args[windows]);
            check_extension(name, node)?;
            let numbers = call.args.iter().enumerate().filter(|(index, _)| *index != windows);
            let over = OverWindows {
                function,
                keeps_name: range::keeps_name(name),
                args: numbers.map(|(_, arg)| eval.scalar(arg, steps)).collect::<Result<_, _>>()?,
                position: first_position(call),
                node,
                steps,
            };
            match name {
                "absent_over_time" => {
                    let run = |sink: Sink<'_>| eval.over_windows(&over, sink);
                    absent(eval, absent_matchers(node), steps, run, sink)
                }
                _ => eval.merging_strictly(over.keeps_name || node.has_one_name(), sink, |sink| {
                    eval.over_windows(&over, sink)
                }),
            }
        }
        _ if name == "absent" => {
            let node = &call.args[0];
            absent(eval, absent_matchers(node), steps, |sink| eval.vector(node, steps, sink), sink)
        }
        _ => instant::vector(eval, position, call, steps, sink),
    }
}

/// Runs a function that gives a scalar.
pub(super) fn scalar(eval: &Evaluator<'_>, call: &Call, steps: Steps) -> Result<Vec<f64>, Failure> {
    match call.function.name {
        "time" => Ok(steps.iter().map(|t| t as f64 / 1000.0).collect()),
        "pi" => Ok(vec![std::f64::consts::PI; steps.count]),
        "scalar" => only_series(eval, &call.args[0], steps),
        name => match instant::of_scalars(name) {
            Some(function) => {
                let (a, b) = (eval.scalar(&call.args[0], steps)?, eval.scalar(&call.args[1], steps)?);
                Ok(a.into_iter().zip(b).map(|(a, b)| function(a, b)).collect())
            }
            None => Err(Failure::Execution(format!("{name} is not a function that gives a scalar"))),
        },
    }
}

/// A window that is the same at every step is still a window.
fn through_invariant(node: &Node) -> &Node {
    match &node.op {
        Op::Invariant(inner) => through_invariant(inner),
        _ => node,
    }
}

/// Where remarks about a function over windows point to. The reference has no place for what it makes of a subquery.
fn first_position(call: &Call) -> Position {
    let first = through_invariant(&call.args[0]);
    if matches!(first.op, Op::Subquery(_)) { Position::default() } else { first.position }
}

/// The value at each step if exactly one series has a float there, else not a number.
fn only_series(eval: &Evaluator<'_>, node: &Node, steps: Steps) -> Result<Vec<f64>, Failure> {
    let mut values = vec![f64::NAN; steps.count];
    let mut found = vec![0u32; steps.count];
    eval.vector(node, steps, &mut |series| {
        for (step, v) in series.floats.iter().enumerate().filter(|(_, v)| !is_absent(**v)) {
            found[step] = found[step].saturating_add(1);
            values[step] = if found[step] == 1 { *v } else { f64::NAN };
        }
        Ok(())
    })?;
    Ok(values)
}

/// One series, with value 1 wherever nothing comes from `run`.
fn absent(
    eval: &Evaluator<'_>,
    matchers: &[Matcher],
    steps: Steps,
    run: impl FnOnce(Sink<'_>) -> Result<(), Failure>,
    sink: Sink<'_>,
) -> Result<(), Failure> {
    let mut found = vec![false; steps.count];
    run(&mut |series| {
        found.iter_mut().enumerate().for_each(|(step, found)| *found |= series.has(step));
        Ok(())
    })?;
    let mut series = StepSeries::absent(absent_labels(matchers), steps.count);
    for (place, _) in series.floats.iter_mut().zip(&found).filter(|(_, found)| !**found) {
        *place = 1.0;
    }
    eval.context.drop_name(&mut series.labels, &mut series.drop_name);
    if found.iter().all(|found| *found) { Ok(()) } else { sink(series) }
}

/// The labels that a series must have to be selected, as far as the matchers tell; a name that stands twice tells nothing.
fn absent_labels(matchers: &[Matcher]) -> Labels {
    let mut labels = LabelsBuilder::new();
    let mut seen: Vec<&str> = Vec::new();
    for matcher in matchers.iter().filter(|m| &*m.name != METRIC_NAME) {
        if matcher.op == MatchOp::Equal && !seen.contains(&&*matcher.name) {
            labels.set(&matcher.name, &matcher.value);
            seen.push(&matcher.name);
        } else {
            labels.del(&matcher.name);
        }
    }
    labels.labels()
}

/// Only some functions know what to do with samples beside their windows.
fn check_extension(function: &str, node: &Node) -> Result<(), Failure> {
    let Op::Range(range) = &node.op else { return Ok(()) };
    let (word, allowed) = match range.select.extension {
        Extension::None => return Ok(()),
        Extension::Anchored => ("anchored", range::ANCHORED_FUNCTIONS),
        Extension::Smoothed => ("smoothed", range::SMOOTHED_FUNCTIONS),
    };
    if allowed.contains(&function) {
        return Ok(());
    }
    let allowed = allowed.join(", ");
    Err(Failure::Execution(format!("{word} modifier can only be used with: {allowed} - not with {function}")))
}
