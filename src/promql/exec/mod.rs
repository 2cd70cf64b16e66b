//! Running a plan.
//!
//! A node yields its series one by one into a sink, each with its values at **all** steps of the query at once
//! ([`StepSeries`]). So an aggregation holds its groups and not its input, and a loop over steps is a loop over a slice of
//! floats. Nodes that must see all of their input before they can yield anything collect it first.
//!
//! The law: a node yields each label set at most once, and only if it has a value at some step. Where names are dropped,
//! series of one label set are merged if nothing of them falls on the same step, else the query fails ([`unique`]).
//!
//! Not here: what functions compute (`functions`), and where samples come from (`storage`).

mod aggregate;
mod binary;
mod call;
mod context;
mod delegated;
mod extended;
mod keys;
mod projection;
mod read;
mod select;
mod series;
mod step_set;
mod steps;
mod unique;
mod windows;

pub use context::Failure;
use context::Kept;
pub(crate) use context::{Context, has_type, without_name};
pub use delegated::{DelegatedAnswer, DelegatedSeries, Delegates, StepTimes};
pub(crate) use keys::Keys;
pub(crate) use projection::Projection;
pub(crate) use select::Wanted;
pub(crate) use series::{ABSENT, Cell, Histograms, StepSeries, is_absent};
pub(crate) use step_set::StepSet;
pub(crate) use steps::Steps;
pub(crate) use unique::Unique;

use std::sync::Arc;

use hashbrown::HashSet;

use super::ast::Extension;
use super::plan::{Node, Op, Shared};

/// Takes a node's series one by one.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(StepSeries) -> Result<(), Failure>;

/// What runs nodes; every kind of node calls back here for its inputs.
pub(crate) struct Evaluator<'q> {
    /// The query.
    pub context: &'q Context<'q>,
}

impl Evaluator<'_> {
    /// Runs a node that evaluates to a vector.
    pub fn vector(&self, node: &Node, steps: Steps, sink: Sink<'_>) -> Result<(), Failure> {
        self.context.scope.check()?;
        if steps.count == 0 {
            return Ok(());
        }
        match &node.op {
            Op::Invariant(inner) => {
                self.vector(inner, Steps::single(steps.start), &mut |series| sink(repeated(series, steps.count)))
            }
            Op::Shared(shared) => self.shared(shared, steps, sink),
            Op::Negate(inner) => self.negate(inner, steps, sink),
            Op::Binary(binary) => binary::vector(self, node.position, binary, steps, sink),
            Op::Aggregate(aggregate) => aggregate::vector(self, node.position, aggregate, steps, sink),
            Op::Call(call) => call::vector(self, node.position, call, steps, sink),
            Op::Select(selector) if selector.extension == Extension::Smoothed => {
                self.smoothed(node.position, selector, steps, sink)
            }
            Op::Select(selector) => self.select(selector, Wanted::Value, steps, sink),
            Op::Delegated(id) => self.delegated(*id, steps, sink),
            Op::Number(_) | Op::Text(_) | Op::Range(_) | Op::Subquery(_) => Err(not_a("vector", node)),
        }
    }

    /// Runs a node that evaluates to a scalar: one number per step.
    pub fn scalar(&self, node: &Node, steps: Steps) -> Result<Vec<f64>, Failure> {
        match &node.op {
            Op::Number(v) => Ok(vec![*v; steps.count]),
            Op::Invariant(inner) => {
                let one = self.scalar(inner, Steps::single(steps.start))?;
                Ok(one.repeat(steps.count))
            }
            Op::Negate(inner) => {
                let mut all = self.scalar(inner, steps)?;
                all.iter_mut().for_each(|v| *v = -*v);
                Ok(all)
            }
            Op::Binary(binary) => binary::scalar(self, binary, steps),
            Op::Call(call) => call::scalar(self, call, steps),
            _ => Err(not_a("scalar", node)),
        }
    }

    /// As [`Evaluator::vector`], all series in one list. Their memory is charged to the query; give it back with
    /// [`Evaluator::release`].
    pub fn collect(&self, node: &Node, steps: Steps) -> Result<Vec<StepSeries>, Failure> {
        let mut all = Vec::new();
        self.vector(node, steps, &mut |series| {
            self.context.charge(&series)?;
            all.push(series);
            Ok(())
        })?;
        Ok(all)
    }

    /// Gives back what [`Evaluator::collect`] has charged.
    pub fn release(&self, all: &[StepSeries]) {
        all.iter().for_each(|series| self.context.release(series));
    }

    /// Runs `work` with a sink for series whose names were dropped. `is_one_name` says that all of them had the same name;
    /// then no two of them can have become the same.
    pub fn merging(
        &self,
        is_one_name: bool,
        sink: Sink<'_>,
        work: impl FnOnce(Sink<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut unique = Unique::default();
        self.sifting(is_one_name, &mut *sink, work, &mut |series, _| unique.add(series))?;
        unique.into_iter().try_for_each(sink)
    }

    /// As [`Evaluator::merging`], where the reference refuses two series of one label set whatever their steps.
    pub fn merging_strictly(
        &self,
        is_one_name: bool,
        sink: Sink<'_>,
        work: impl FnOnce(Sink<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut seen = HashSet::new();
        self.sifting(is_one_name, sink, work, &mut |series, sink| match seen.insert(series.labels.clone()) {
            true => sink(series),
            false => Err(Failure::same_labels()),
        })
    }

    /// Runs `work`; what may have become the same as another series goes to `doubtful`, all else to the sink.
    fn sifting(
        &self,
        is_one_name: bool,
        sink: Sink<'_>,
        work: impl FnOnce(Sink<'_>) -> Result<(), Failure>,
        doubtful: &mut dyn FnMut(StepSeries, Sink<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if self.context.delays_name_removal {
            return work(sink);
        }
        work(&mut |series| match is_one_name && !self.context.has_dropped_types() {
            true => sink(series),
            false => doubtful(series, &mut *sink),
        })
    }

    /// Runs a part of the plan that stands in it several times, or takes what it gave in the first place.
    fn shared(&self, shared: &Shared, steps: Steps, sink: Sink<'_>) -> Result<(), Failure> {
        if shared.uses < 2 {
            return self.vector(&shared.node, steps, sink);
        }
        let all = match self.context.take_shared(shared.id, steps) {
            Some(all) => all,
            None => {
                let before = self.context.samples();
                let all = Arc::new(self.collect(&shared.node, steps)?);
                let samples = self.context.samples() - before;
                self.context.keep_shared(
                    shared.id,
                    steps,
                    Kept { uses: shared.uses - 1, series: all.clone(), samples },
                );
                all
            }
        };
        match Arc::try_unwrap(all) {
            Ok(last) => {
                self.release(&last);
                last.into_iter().try_for_each(sink)
            }
            Err(all) => all.iter().try_for_each(|series| sink(series.clone())),
        }
    }

    fn negate(&self, inner: &Node, steps: Steps, sink: Sink<'_>) -> Result<(), Failure> {
        self.merging(inner.has_one_name(), sink, |sink| {
            self.vector(inner, steps, &mut |mut series| {
                self.context.drop_name(&mut series.labels, &mut series.drop_name);
                series.floats.iter_mut().filter(|v| !is_absent(**v)).for_each(|v| *v = -*v);
                for histogram in series.histograms.iter_mut().flatten().flatten() {
                    Arc::make_mut(histogram).mul(-1.0);
                }
                sink(series)
            })
        })
    }
}

/// A series of one step at `steps` steps.
fn repeated(series: StepSeries, steps: usize) -> StepSeries {
    let histograms = series.histograms.map(|all| vec![all[0].clone(); steps].into_boxed_slice());
    StepSeries { floats: series.floats.repeat(steps), histograms, ..series }
}

/// The parser checks types; this cannot happen.
fn not_a(wanted: &str, node: &Node) -> Failure {
    Failure::Execution(format!("unexpected {} where a {wanted} is wanted", node.value_type.as_str()))
}
