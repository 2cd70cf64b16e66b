//! The engine as tests ask it.

use watershed::model::{AnnotationKind, TimestampMs};
use watershed::promql::{self, EngineOptions, ParserOptions, PrepareError};
use watershed::storage::{Queryable, Scope};

use super::answer::{Answer, Sample, Value};

/// The engine with options.
pub struct Engine {
    inner: promql::Engine,
}

impl Engine {
    /// As the reference's own runner of scripts sets its engine up.
    pub fn of_scripts() -> Engine {
        Engine::with(EngineOptions {
            parser: ParserOptions::ALL,
            delays_name_removal: true,
            uses_starts: true,
            ..EngineOptions::default()
        })
    }

    /// As a server is set up that has the language's younger parts on.
    pub fn of_the_peer(delays_name_removal: bool) -> Engine {
        Engine::with(EngineOptions { parser: ParserOptions::ALL, delays_name_removal, ..EngineOptions::default() })
    }

    /// With any options.
    pub fn with(options: EngineOptions) -> Engine {
        Engine { inner: promql::Engine::new(options) }
    }

    /// Evaluates at one instant, in milliseconds. An error is what a client would be told.
    pub fn instant(&self, store: &dyn Queryable, expr: &str, at: i64) -> Result<Answer, String> {
        run(self.inner.instant(expr, TimestampMs(at), None), store)
    }

    /// Evaluates at `start`, `start + step` and so on until `end`, in milliseconds.
    pub fn range(&self, store: &dyn Queryable, expr: &str, start: i64, end: i64, step: i64) -> Result<Answer, String> {
        run(self.inner.range(expr, TimestampMs(start)..TimestampMs(end), step, None), store)
    }
}

fn run(query: Result<promql::Query, PrepareError>, store: &dyn Queryable) -> Result<Answer, String> {
    let outcome = query.map_err(|e| e.to_string())?.run(store, &Scope::unbounded());
    let value = match outcome.answer.map_err(|e| e.to_string())? {
        promql::Answer::Scalar(_, v) => Value::Scalar(v),
        promql::Answer::String(_, text) => Value::Text(text),
        promql::Answer::Vector(_, all) => {
            Value::Vector(all.into_iter().map(|series| (series.labels, sample(&series.value))).collect())
        }
        promql::Answer::Matrix(all) => Value::Matrix(all.iter().map(|s| (s.labels.clone(), samples(s))).collect()),
    };
    let messages = |kind| outcome.annotations.of(kind).map(|a| a.message.clone()).collect();
    Ok(Answer { value, warnings: messages(AnnotationKind::Warning), infos: messages(AnnotationKind::Info) })
}

fn sample(point: &promql::Point) -> Sample {
    match point {
        promql::Point::Float(v) => Sample::Float(*v),
        promql::Point::Histogram(h) => Sample::Histogram(Box::new((**h).clone())),
    }
}

fn samples(series: &promql::MatrixSeries) -> Vec<(i64, Sample)> {
    let floats = series.floats().map(|(t, v)| (t.0, Sample::Float(v)));
    let histograms = series.histograms().map(|(t, h)| (t.0, Sample::Histogram(Box::new((**h).clone()))));
    let mut all: Vec<_> = floats.chain(histograms).collect();
    all.sort_by_key(|(t, _)| *t);
    all
}
