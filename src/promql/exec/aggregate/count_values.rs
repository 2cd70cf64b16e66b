//! `count_values`: one series per group and value.
//!
//! Values may all differ, so counts are held by step and not as columns; the columns are made one by one at the end.

use hashbrown::HashMap;

use super::groups::Groups;
use super::param;
use crate::model::{FloatHistogram, Labels, LabelsBuilder};
use crate::promql::exec::{Cell, Evaluator, Failure, Projection, Sink, StepSeries, Steps};
use crate::promql::plan::Aggregate;

/// Bytes of an entry of the table of counts, with what the table needs beside it.
const ENTRY_BYTES: u64 = 32;

/// Runs `count_values`.
pub(super) fn vector(eval: &Evaluator<'_>, aggregate: &Aggregate, steps: Steps, sink: Sink<'_>) -> Result<(), Failure> {
    let mut counts = Counts::new(aggregate, param::label(aggregate)?);
    let scope = eval.context.scope;
    eval.vector(&aggregate.node, steps, &mut |series| {
        let before = counts.by_step.len();
        counts.add(&series);
        let added = (counts.by_step.len() - before) as u64;
        Ok(scope.charge(added, ENTRY_BYTES * added)?)
    })?;
    let held = counts.by_step.len() as u64;
    counts.finish(steps, sink)?;
    scope.release(held, ENTRY_BYTES * held);
    Ok(())
}

struct Counts<'a> {
    label: &'a str,
    /// Groups without the label, which every value has its own of.
    bases: Groups,
    /// Whether the label of values is itself one of those to be left out.
    forgets_values: bool,
    results: HashMap<(usize, Counted), u32>,
    labels: Vec<Labels>,
    /// By result and step.
    by_step: HashMap<(u32, u32), u64>,
}

/// What is counted as the same.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Counted {
    Anything,
    Float(u64),
    Histogram(String),
}

impl Counted {
    fn float(v: f64) -> Counted {
        Counted::Float(if v.is_nan() { f64::NAN } else { v }.to_bits())
    }

    fn histogram(h: &FloatHistogram) -> Counted {
        Counted::Histogram(h.to_string())
    }

    fn text(&self) -> String {
        match self {
            Counted::Anything => String::new(),
            Counted::Histogram(text) => text.clone(),
            Counted::Float(bits) => match f64::from_bits(*bits) {
                f64::INFINITY => "+Inf".to_owned(),
                f64::NEG_INFINITY => "-Inf".to_owned(),
                v => v.to_string(),
            },
        }
    }
}

impl<'a> Counts<'a> {
    fn new(aggregate: &Aggregate, label: &'a str) -> Counts<'a> {
        let names: Vec<String> = match aggregate.is_without {
            true => aggregate.grouping.iter().cloned().chain([label.to_owned()]).collect(),
            false => aggregate.grouping.iter().filter(|name| *name != label).cloned().collect(),
        };
        // The metric's name is left out with the others, also if it is the label.
        let is_left_out = aggregate.grouping.iter().any(|name| name == label) || label == crate::model::METRIC_NAME;
        Counts {
            label,
            bases: Groups::by(Projection::matching(!aggregate.is_without, &names)),
            forgets_values: aggregate.is_without && is_left_out,
            results: HashMap::new(),
            labels: Vec::new(),
            by_step: HashMap::new(),
        }
    }

    fn add(&mut self, series: &StepSeries) {
        let base = self.bases.index(&series.labels);
        // Values often stay the same for a while.
        let mut latest: Option<(f64, u32)> = None;
        for step in 0..series.floats.len() {
            let result = match (series.cell(step), latest) {
                (Cell::Absent, _) => continue,
                (Cell::Float(v), Some((before, result))) if v.to_bits() == before.to_bits() => result,
                (Cell::Float(v), _) => {
                    let result = self.result(base, Counted::float(v));
                    latest = Some((v, result));
                    result
                }
                (Cell::Histogram(h), _) => self.result(base, Counted::histogram(h)),
            };
            let step = u32::try_from(step).unwrap_or(u32::MAX);
            *self.by_step.entry((result, step)).or_default() += 1;
        }
    }

    fn result(&mut self, base: usize, counted: Counted) -> u32 {
        let key = (base, if self.forgets_values { Counted::Anything } else { counted });
        if let Some(result) = self.results.get(&key) {
            return *result;
        }
        let mut builder = LabelsBuilder::new();
        builder.reset(self.bases.labels(base));
        builder.set(self.label, &key.1.text());
        let result = u32::try_from(self.labels.len()).unwrap_or(u32::MAX);
        self.labels.push(builder.labels());
        self.results.insert(key, result);
        result
    }

    fn finish(self, steps: Steps, sink: Sink<'_>) -> Result<(), Failure> {
        let mut counts: Vec<((u32, u32), u64)> = self.by_step.into_iter().collect();
        counts.sort_unstable();
        for of_result in counts.chunk_by(|a, b| a.0.0 == b.0.0) {
            let mut out = StepSeries::absent(self.labels[of_result[0].0.0 as usize].clone(), steps.count);
            of_result.iter().for_each(|((_, step), count)| out.floats[*step as usize] = *count as f64);
            sink(out)?;
        }
        Ok(())
    }
}
