//! Parts of a query that are evaluated elsewhere.

use std::sync::Arc;

use super::series::StepSeries;
use super::steps::Steps;
use super::{Evaluator, Failure, Sink};
use crate::model::{Annotations, FloatHistogram, Labels, TimestampMs};
use crate::storage::Scope;

/// The instants at which a part is to be evaluated: `count` of them, `interval` milliseconds apart. There is at least one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StepTimes {
    /// The first.
    pub start: TimestampMs,
    /// Milliseconds, above 0.
    pub interval: i64,
    /// How many.
    pub count: usize,
}

impl StepTimes {
    /// The last instant.
    pub fn end(&self) -> TimestampMs {
        TimestampMs(self.start.0 + self.interval * (self.count as i64 - 1))
    }

    /// Which step an instant is; `None` if it is none.
    pub fn index_of(&self, t: TimestampMs) -> Option<usize> {
        let since = t.0.checked_sub(self.start.0)?;
        let index = usize::try_from(since / self.interval).ok()?;
        (since % self.interval == 0 && index < self.count).then_some(index)
    }
}

/// A series of a part that was evaluated elsewhere. Every sample stands at a step, a float or a histogram.
#[derive(Clone, Debug, Default)]
pub struct DelegatedSeries {
    /// Its labels.
    pub labels: Labels,
    /// Its floats.
    pub floats: Vec<(TimestampMs, f64)>,
    /// Its histograms.
    pub histograms: Vec<(TimestampMs, Arc<FloatHistogram>)>,
}

/// What a part evaluates to.
#[derive(Clone, Debug, Default)]
pub struct DelegatedAnswer {
    /// Each label set once.
    pub series: Vec<DelegatedSeries>,
    /// What was remarked; complete sentences.
    pub annotations: Annotations,
}

/// Evaluates those parts of a query that stand in it as [`Delegated`](crate::promql::ast::Delegated).
pub trait Delegates: Send + Sync {
    /// The part of this number at these instants. It is asked once for every place where the part stands, and again for
    /// other instants where it stands in a subquery. What it returns is charged to the scope by the engine.
    fn evaluate(&self, id: usize, steps: StepTimes, scope: &Scope) -> Result<DelegatedAnswer, Failure>;
}

impl Evaluator<'_> {
    /// Has a part evaluated.
    pub(super) fn delegated(&self, id: usize, steps: Steps, sink: Sink<'_>) -> Result<(), Failure> {
        let missing = || Failure::Execution(format!("nobody evaluates part {id} of the query"));
        let delegates = self.context.delegates.ok_or_else(missing)?;
        let times = StepTimes { start: TimestampMs(steps.start), interval: steps.interval, count: steps.count };
        let answer = delegates.evaluate(id, times, self.context.scope)?;
        self.context.merge_annotations(answer.annotations);
        for series in answer.series {
            self.context.count_samples((series.floats.len() + series.histograms.len()) as u64);
            sink(on_steps(series, times)?)?;
        }
        Ok(())
    }
}

fn on_steps(series: DelegatedSeries, times: StepTimes) -> Result<StepSeries, Failure> {
    let step = |t: TimestampMs| {
        let stray =
            || Failure::Execution(format!("a part of the query was answered at {}, which is no step of it", t.0));
        times.index_of(t).ok_or_else(stray)
    };
    let mut out = StepSeries::absent(series.labels, times.count);
    for (t, v) in series.floats {
        out.floats[step(t)?] = v;
    }
    for (t, histogram) in series.histograms {
        out.set_histogram(step(t)?, histogram);
    }
    Ok(out)
}
