//! `and`, `or`, `unless`.

use super::output::Output;
use super::right_first;
use crate::model::Labels;
use crate::promql::ast::{BinaryOp, Matching};
use crate::promql::exec::{Evaluator, Failure, Keys, Projection, Sink, StepSet, Steps};
use crate::promql::plan::Binary;

/// Runs a set operator.
pub(super) fn vector(
    eval: &Evaluator<'_>,
    binary: &Binary,
    matching: &Matching,
    steps: Steps,
    sink: Sink<'_>,
) -> Result<(), Failure> {
    let mut present = Present::new(matching, steps.count);
    if binary.op == BinaryOp::Or {
        return or(eval, binary, present, steps, sink);
    }
    let later = right_first(eval, &binary.right, &binary.left, steps, &mut |series| {
        present.add(&series.labels, &StepSet::of(&series));
        Ok(())
    })?;
    eval.vector(&binary.left, steps, &mut |mut series| {
        let mut kept = StepSet::of(&series);
        match (present.find(&series.labels), binary.op) {
            (Some(matched), BinaryOp::And) => kept.intersect(matched),
            (None, BinaryOp::And) => return Ok(()),
            (Some(matched), _) => kept.remove(matched),
            (None, _) => {}
        }
        if kept.is_empty() {
            return Ok(());
        }
        kept.restrict(&mut series);
        sink(series)
    })?;
    eval.context.merge_notes(later);
    Ok(())
}

/// Everything of the left side, and of the right side what has no match there. The left side has to be held, because a
/// series of the right side may go on where one of the same labels ends.
fn or(
    eval: &Evaluator<'_>,
    binary: &Binary,
    mut present: Present,
    steps: Steps,
    sink: Sink<'_>,
) -> Result<(), Failure> {
    let mut output = Output::new(eval.context, steps.count, false);
    eval.vector(&binary.left, steps, &mut |series| {
        present.add(&series.labels, &StepSet::of(&series));
        output.add(series, sink)
    })?;
    eval.vector(&binary.right, steps, &mut |mut series| {
        if let Some(matched) = present.find(&series.labels) {
            let mut kept = StepSet::of(&series);
            kept.remove(matched);
            kept.restrict(&mut series);
        }
        output.add(series, sink)
    })?;
    output.finish(sink)
}

/// At which steps one side has series, by the labels that have to match.
struct Present {
    signature: Projection,
    keys: Keys,
    steps: Vec<StepSet>,
    count: usize,
    scratch: Vec<u8>,
}

impl Present {
    fn new(matching: &Matching, count: usize) -> Present {
        let signature = Projection::matching(matching.is_on, &matching.labels);
        Present { signature, keys: Keys::default(), steps: Vec::new(), count, scratch: Vec::new() }
    }

    fn add(&mut self, labels: &Labels, steps: &StepSet) {
        self.signature.write(labels, &mut self.scratch);
        let index = self.keys.insert(&self.scratch);
        if index == self.steps.len() {
            self.steps.push(StepSet::none(self.count));
        }
        self.steps[index].add(steps);
    }

    fn find(&mut self, labels: &Labels) -> Option<&StepSet> {
        self.signature.write(labels, &mut self.scratch);
        self.keys.find(&self.scratch).map(|index| &self.steps[index])
    }
}
