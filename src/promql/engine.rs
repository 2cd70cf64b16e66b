//! Queries from their text to their answer.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ast::{Expr, ValueType};
use super::error::ParseError;
use super::exec::{
    self, Cell, Context, DelegatedSeries, Delegates, Evaluator, Failure, StepSeries, StepTimes, Steps, Unique,
    without_name,
};
use super::functions::range::Samples;
use super::parse::{ParserOptions, parse};
use super::plan::{Node, Op, Times, build, resolve};
use crate::model::{Annotations, FloatHistogram, Labels, TimestampMs};
use crate::storage::{Queryable, Scope};

/// How queries are evaluated.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// How long a sample stands for its series, milliseconds.
    pub lookback: i64,
    /// Between the steps of a subquery that tells none, milliseconds: the global evaluation interval.
    pub default_subquery_step: i64,
    /// What the parser accepts.
    pub parser: ParserOptions,
    /// Whether names are dropped only when an answer is complete (`promql-delayed-name-removal`).
    pub delays_name_removal: bool,
    /// Whether the label `__type__` tells counters from others (`type-and-unit-labels`).
    pub has_type_labels: bool,
    /// Whether `rate` and its like use start timestamps (`use-start-timestamps`).
    pub uses_starts: bool,
    /// How many threads may work on one query.
    pub threads: usize,
}

impl Default for EngineOptions {
    fn default() -> EngineOptions {
        EngineOptions {
            lookback: 300_000,
            default_subquery_step: 60_000,
            parser: ParserOptions::default(),
            delays_name_removal: false,
            has_type_labels: false,
            uses_starts: false,
            threads: 1,
        }
    }
}

/// Makes queries.
#[derive(Clone, Debug, Default)]
pub struct Engine {
    options: EngineOptions,
}

/// Why a text is no query.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// It is no expression.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// It is one, but none that can be asked like this.
    #[error("{0}")]
    Invalid(String),
}

/// An expression with the times at which it is to be evaluated.
#[derive(Debug)]
pub struct Query {
    text: String,
    plan: Node,
    times: Times,
    is_range: bool,
    lookback: i64,
    options: EngineOptions,
}

/// When a query is evaluated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Span {
    /// Once.
    Instant(TimestampMs),
    /// At `start`, `start + step` and so on until `end`.
    Range {
        /// The first step.
        start: TimestampMs,
        /// No step is behind it.
        end: TimestampMs,
        /// Milliseconds, above 0.
        step: i64,
    },
}

impl Span {
    fn times(self, options: &EngineOptions) -> Times {
        let default_subquery_step = options.default_subquery_step;
        match self {
            Span::Instant(at) => Times { start: at.0, end: at.0, interval: 0, default_subquery_step },
            Span::Range { start, end, step } => {
                Times { start: start.0, end: end.0, interval: step.max(1), default_subquery_step }
            }
        }
    }
}

/// What a query evaluates to.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A number.
    Scalar(TimestampMs, f64),
    /// A text.
    String(TimestampMs, String),
    /// One value per series.
    Vector(TimestampMs, Vec<VectorSample>),
    /// Many values per series.
    Matrix(Vec<MatrixSeries>),
}

/// A float or a histogram.
#[derive(Clone, Debug)]
pub enum Point {
    /// A float.
    Float(f64),
    /// A histogram.
    Histogram(Arc<FloatHistogram>),
}

/// One series at one instant.
#[derive(Clone, Debug)]
pub struct VectorSample {
    /// Its labels.
    pub labels: Labels,
    /// Its value.
    pub value: Point,
}

/// One series at many instants.
#[derive(Clone, Debug)]
pub struct MatrixSeries {
    /// Its labels.
    pub labels: Labels,
    points: Points,
}

#[derive(Clone, Debug)]
enum Points {
    /// At the query's steps.
    Steps(Steps, StepSeries),
    /// As they were stored.
    Raw(Arc<Samples>),
}

impl From<&MatrixSeries> for DelegatedSeries {
    fn from(series: &MatrixSeries) -> DelegatedSeries {
        DelegatedSeries {
            labels: series.labels.clone(),
            floats: series.floats().collect(),
            histograms: series.histograms().map(|(t, h)| (t, h.clone())).collect(),
        }
    }
}

/// What a query took.
#[derive(Clone, Copy, Debug, Default)]
pub struct QueryStats {
    /// From text to plan.
    pub prepare: Duration,
    /// Running the plan.
    pub eval: Duration,
    /// Sorting the answer.
    pub sort: Duration,
    /// Samples looked at; every window counts in full.
    pub samples: u64,
    /// Most samples held at a time.
    pub peak_samples: u64,
}

/// What comes of a query, whether it succeeds or not.
#[derive(Debug)]
pub struct Outcome {
    /// The answer.
    pub answer: Result<Answer, Failure>,
    /// Remarks about it. Their texts are complete, with kind and place.
    pub annotations: Annotations,
    /// What it took.
    pub stats: QueryStats,
}

impl Engine {
    /// An engine.
    pub fn new(options: EngineOptions) -> Engine {
        Engine { options }
    }

    /// Its options.
    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// A query at one instant. `lookback` in milliseconds replaces the engine's.
    pub fn instant(&self, text: &str, at: TimestampMs, lookback: Option<i64>) -> Result<Query, PrepareError> {
        self.query(text, &self.parse(text)?, Span::Instant(at), lookback)
    }

    /// A query at `start`, `start + step` and so on until `end`; `step` in milliseconds, above 0.
    pub fn range(
        &self,
        text: &str,
        Range { start, end }: Range<TimestampMs>,
        step: i64,
        lookback: Option<i64>,
    ) -> Result<Query, PrepareError> {
        self.query(text, &self.parse(text)?, Span::Range { start, end, step }, lookback)
    }

    /// The expression that a text is.
    pub fn parse(&self, text: &str) -> Result<Expr, ParseError> {
        parse(text, &self.options.parser)
    }

    /// The same expression with every time in it fixed, so that its parts mean the same by themselves: `@ start()` is an
    /// instant, durations are numbers, subqueries tell their steps.
    pub fn resolve(&self, expr: &Expr, span: Span) -> Result<Expr, PrepareError> {
        resolve(expr, &span.times(&self.options)).map_err(PrepareError::Invalid)
    }

    /// A query from an expression whose text is `text`; places in it are told as places in the text.
    pub fn query(&self, text: &str, expr: &Expr, span: Span, lookback: Option<i64>) -> Result<Query, PrepareError> {
        let is_range = matches!(span, Span::Range { .. });
        if is_range && !matches!(expr.value_type(), ValueType::Vector | ValueType::Scalar) {
            let other = expr.value_type().documented();
            return Err(PrepareError::Invalid(format!(
                "invalid expression type \"{other}\" for range query, must be Scalar or instant Vector"
            )));
        }
        let times = span.times(&self.options);
        let plan = build(expr, &times).map_err(PrepareError::Invalid)?;
        let lookback = lookback.filter(|ms| *ms > 0).unwrap_or(self.options.lookback);
        Ok(Query { text: text.to_owned(), plan, times, is_range, lookback, options: self.options.clone() })
    }
}

impl Query {
    /// The expression as it was given.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The instants at which it is evaluated; `None` if there are none.
    pub fn steps(&self) -> Option<StepTimes> {
        let Times { start, end, interval, .. } = self.times;
        let steps = if self.is_range { Steps::between(start, end, interval) } else { Steps::single(start) };
        let times = StepTimes { start: TimestampMs(start), interval: steps.interval, count: steps.count };
        (steps.count > 0).then_some(times)
    }

    /// Evaluates it. Runs on the calling thread, and on as many more as the engine's options allow. What it holds is
    /// charged to `scope`; the answer's share stays charged.
    pub fn run(&self, storage: &dyn Queryable, scope: &Scope) -> Outcome {
        self.run_with(storage, None, scope)
    }

    /// As [`Query::run`], for an expression of which parts are evaluated by `delegates`.
    pub fn run_with(&self, storage: &dyn Queryable, delegates: Option<&dyn Delegates>, scope: &Scope) -> Outcome {
        let mut context = Context::new(storage, scope);
        context.delegates = delegates;
        context.lookback = self.lookback;
        context.delays_name_removal = self.options.delays_name_removal;
        context.has_type_labels = self.options.has_type_labels;
        context.uses_starts = self.options.uses_starts;
        context.threads = self.options.threads.max(1);
        let started = Instant::now();
        let answer = Runner { query: self, eval: Evaluator { context: &context } }.answer();
        let eval = started.elapsed();
        let started = Instant::now();
        let answer = answer.map(|answer| self.sorted(answer));
        let stats = QueryStats {
            prepare: Duration::ZERO,
            eval,
            sort: started.elapsed(),
            samples: context.samples(),
            peak_samples: scope.peak_samples(),
        };
        Outcome { answer, annotations: context.into_annotations(&self.text), stats }
    }

    /// Series of a matrix come by their labels; those of a vector as they are.
    fn sorted(&self, answer: Answer) -> Answer {
        match answer {
            Answer::Matrix(mut all) => {
                all.sort_by(|a, b| a.labels.cmp(&b.labels));
                Answer::Matrix(all)
            }
            other => other,
        }
    }
}

struct Runner<'q> {
    query: &'q Query,
    eval: Evaluator<'q>,
}

impl Runner<'_> {
    fn answer(&self) -> Result<Answer, Failure> {
        let Times { start, end, interval, .. } = self.query.times;
        let steps = if self.query.is_range { Steps::between(start, end, interval) } else { Steps::single(start) };
        let at = TimestampMs(start);
        let plan = &self.query.plan;
        match plan.value_type {
            ValueType::String => Ok(Answer::String(at, text_of(plan))),
            ValueType::Scalar if self.query.is_range => {
                let floats = self.eval.scalar(plan, steps)?;
                let series = StepSeries { floats, ..StepSeries::absent(Labels::empty(), 0) };
                Ok(Answer::Matrix(vec![MatrixSeries::of_steps(steps, series)]))
            }
            ValueType::Scalar => Ok(Answer::Scalar(at, self.eval.scalar(plan, steps)?[0])),
            ValueType::Vector if self.query.is_range => {
                let all = self.series(steps)?;
                Ok(Answer::Matrix(all.into_iter().map(|series| MatrixSeries::of_steps(steps, series)).collect()))
            }
            ValueType::Vector => {
                let all = self.series(steps)?;
                Ok(Answer::Vector(at, all.into_iter().filter_map(VectorSample::of_step).collect()))
            }
            ValueType::Matrix => self.raw(start),
        }
    }

    /// The series of a vector, their names dropped where that was delayed.
    fn series(&self, steps: Steps) -> Result<Vec<StepSeries>, Failure> {
        let all = self.eval.collect(&self.query.plan, steps)?;
        if !self.query.options.delays_name_removal {
            return Ok(all);
        }
        let mut unique = Unique::default();
        for mut series in all {
            if series.drop_name {
                series.labels = without_name(&series.labels);
            }
            unique.add(series)?;
        }
        Ok(unique.into_iter().collect())
    }

    fn raw(&self, at: i64) -> Result<Answer, Failure> {
        let mut all: Vec<MatrixSeries> = Vec::new();
        self.eval.raw(&self.query.plan, at, &mut |labels, drops_name, samples| {
            let labels = if drops_name { without_name(&labels) } else { labels };
            if samples.count() > 0 {
                all.push(MatrixSeries { labels, points: Points::Raw(Arc::new(samples)) });
            }
            Ok(())
        })?;
        Ok(Answer::Matrix(all))
    }
}

fn text_of(node: &Node) -> String {
    match &node.op {
        Op::Text(text) => text.value.clone(),
        _ => String::new(),
    }
}

impl VectorSample {
    fn of_step(series: StepSeries) -> Option<VectorSample> {
        let value = match series.cell(0) {
            Cell::Absent => return None,
            Cell::Float(v) => Point::Float(v),
            Cell::Histogram(histogram) => Point::Histogram(histogram.clone()),
        };
        Some(VectorSample { labels: series.labels, value })
    }
}

impl Answer {
    /// How many series it has; none if it has no labels.
    pub fn series(&self) -> usize {
        match self {
            Answer::Scalar(..) | Answer::String(..) => 0,
            Answer::Vector(_, all) => all.len(),
            Answer::Matrix(all) => all.len(),
        }
    }
}

impl MatrixSeries {
    fn of_steps(steps: Steps, series: StepSeries) -> MatrixSeries {
        MatrixSeries { labels: series.labels.clone(), points: Points::Steps(steps, series) }
    }

    /// Its floats, ascending by time.
    pub fn floats(&self) -> impl Iterator<Item = (TimestampMs, f64)> {
        let (steps, stepped, raw) = match &self.points {
            Points::Steps(steps, series) => (Some(*steps), &series.floats[..], None),
            Points::Raw(samples) => (None, &[][..], Some(samples)),
        };
        let stepped = steps.into_iter().flat_map(|steps| steps.iter()).zip(stepped);
        let stepped = stepped.filter(|(_, v)| !exec::is_absent(**v)).map(|(t, v)| (TimestampMs(t), *v));
        let raw = raw.into_iter().flat_map(|raw| raw.times.iter().zip(&raw.floats));
        stepped.chain(raw.map(|(t, v)| (TimestampMs(*t), *v)))
    }

    /// Its histograms, ascending by time.
    pub fn histograms(&self) -> impl Iterator<Item = (TimestampMs, &Arc<FloatHistogram>)> {
        let (steps, stepped, raw) = match &self.points {
            Points::Steps(steps, series) => (Some(*steps), series.histograms.as_deref().unwrap_or_default(), None),
            Points::Raw(samples) => (None, &[][..], Some(samples)),
        };
        let stepped = steps.into_iter().flat_map(|steps| steps.iter()).zip(stepped);
        let stepped = stepped.filter_map(|(t, h)| Some((TimestampMs(t), h.as_ref()?)));
        let raw = raw.into_iter().flat_map(|raw| raw.histogram_times.iter().zip(&raw.histograms));
        stepped.chain(raw.map(|(t, h)| (TimestampMs(*t), h)))
    }
}
