//! The desk at which queries are asked: it admits them, bounds them, runs them, and keeps account of them.
//!
//! * **Admission.** So many queries run at a time; others wait in the order in which they came, and the time allowed for a
//!   query counts while it waits.
//! * **Bounds.** Every query has a [`Scope`] of its own: its time, its samples, its bytes. Dropping the future of
//!   [`Service::run`] cancels it, wherever it is; its place is free again as soon as the engine notices.
//! * **Threads.** Queries run on threads of their own with stacks for trees of the greatest depth that the parser lets
//!   through: no async thread waits for one, and a long query keeps no scrape from the threads for short computations.
//! * **Account.** What runs stands in a file that outlives a crash (`active`), what ran in the query log (`log`), what ran
//!   for long in the process's own log, and everything in metrics.
//!
//! It does not know what an expression means, where samples come from, or how an answer is written.

mod active;
mod log;
mod metrics;
mod statistics;

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::active::ActiveQueries;
use self::log::QueryLog;
use self::metrics::{Metrics, Waiting};
use super::{Answer, Engine, Failure, Outcome, PrepareError, Query, QueryStats, Span};
use crate::disk::Disk;
use crate::model::{Annotations, DurationMs, TimestampMs};
use crate::runtime::{Clock, CpuPool};
use crate::storage::{ByteBudget, Cancelled, QueryError, Queryable, Scope};
use crate::telemetry::Registry;
pub use statistics::Statistics;

/// Enough for a tree of the greatest depth in a build without optimisations; only what is used costs memory.
pub(crate) const STACK: usize = if cfg!(target_pointer_width = "64") { 16 << 20 } else { 8 << 20 };
/// The phases that the reference names in its errors.
const QUEUE: &str = "query queue";
const PREPARATION: &str = "query execution";
const EVALUATION: &str = "expression evaluation";

/// What bounds queries.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Time allowed for one, waiting included.
    pub timeout: Duration,
    /// How many run at a time.
    pub max_concurrency: usize,
    /// Samples that one may hold.
    pub max_samples: u64,
    /// Bytes that one may hold.
    pub max_bytes: u64,
    /// Bytes that all may hold together.
    pub max_bytes_of_all: u64,
    /// From which duration on one is told in the log; `None` for never.
    pub slow: Option<Duration>,
}

impl Default for Limits {
    /// The reference's, and no limit of bytes.
    fn default() -> Limits {
        Limits {
            timeout: Duration::from_secs(120),
            max_concurrency: 20,
            max_samples: 50_000_000,
            max_bytes: u64::MAX,
            max_bytes_of_all: u64::MAX,
            slow: None,
        }
    }
}

/// Evaluates questions in another way than over the desk's storage.
pub trait Evaluate: Send + Sync + std::fmt::Debug {
    /// The outcome of a question, within its scope. Runs on a thread that may wait.
    fn evaluate(&self, engine: &Engine, ask: &Ask, scope: &Scope) -> Result<Outcome, PrepareError>;

    /// What was done for a question that asked for that, as JSON.
    fn explanation(&self) -> Option<String> {
        None
    }
}

/// What the desk needs of others.
#[derive(Clone)]
pub struct Deps {
    /// What is asked.
    pub storage: Arc<dyn Queryable>,
    /// For the notes about queries.
    pub clock: Clock,
    /// For the metrics about queries.
    pub registry: Registry,
}

/// A question.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The expression.
    pub text: String,
    /// When it is to be evaluated.
    pub times: Times,
    /// Replaces the engine's lookback.
    pub lookback: Option<DurationMs>,
    /// Time allowed, if less than that of all queries.
    pub timeout: Option<Duration>,
    /// Added to the remarks about the answer.
    pub warnings: Vec<String>,
    /// Who asks; for the query log.
    pub origin: Option<Origin>,
    /// Who evaluates it, if not the engine over the desk's storage.
    pub evaluator: Option<Arc<dyn Evaluate>>,
    /// Whether the evaluator is to tell what it does.
    pub explain: bool,
}

impl Ask {
    /// A question with nothing special about it.
    pub fn new(text: impl Into<String>, times: Times) -> Ask {
        let (lookback, timeout, warnings, origin, evaluator, explain) = Default::default();
        Ask { text: text.into(), times, lookback, timeout, warnings, origin, evaluator, explain }
    }
}

/// When an expression is evaluated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Times {
    /// Once.
    Instant(TimestampMs),
    /// At `start`, `start + step` and so on until `end`.
    Range {
        /// The first instant.
        start: TimestampMs,
        /// The last instant, if a step falls on it.
        end: TimestampMs,
        /// Above 0.
        step: DurationMs,
    },
}

impl From<Times> for Span {
    fn from(times: Times) -> Span {
        match times {
            Times::Instant(at) => Span::Instant(at),
            Times::Range { start, end, step } => Span::Range { start, end, step: step.0 },
        }
    }
}

impl Times {
    fn bounds(self) -> (TimestampMs, TimestampMs, DurationMs) {
        match self {
            Times::Instant(t) => (t, t, DurationMs(0)),
            Times::Range { start, end, step } => (start, end, step),
        }
    }
}

/// The HTTP request that a question came with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Origin {
    /// Address of the client.
    #[serde(rename = "clientIP")]
    pub client_ip: String,
    /// The method.
    pub method: String,
    /// The path, as asked for.
    pub path: String,
}

/// An answer.
#[derive(Debug)]
pub struct Answered {
    /// What the expression evaluates to.
    pub answer: Answer,
    /// Remarks about it.
    pub annotations: Annotations,
    /// What it took.
    pub statistics: Statistics,
    /// What the evaluator did, as JSON, if it was to tell that.
    pub explanation: Option<String>,
    /// What the answer holds is charged here until this is dropped.
    pub scope: Scope,
}

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum QueryFailure {
    /// The question is wrong.
    #[error("{0}")]
    Bad(String),
    /// The time allowed is over.
    #[error("query timed out in {0}")]
    Timeout(&'static str),
    /// Nobody waits for the answer any more, or the process ends.
    #[error("query was canceled in {0}")]
    Canceled(&'static str),
    /// It cannot be evaluated, or not within its bounds.
    #[error("{0}")]
    Execution(String),
    /// The storage failed.
    #[error("{0}")]
    Storage(String),
    /// A mistake of this program.
    #[error("{0}")]
    Lost(String),
}

/// The desk; cloning gives another handle to the same one.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    common: Arc<Common>,
    deps: Deps,
    limits: Limits,
    pool: CpuPool,
    gate: Arc<Semaphore>,
    metrics: Metrics,
}

/// What desks of one program have in common.
struct Common {
    engine: ArcSwap<Engine>,
    bytes: Arc<ByteBudget>,
    active: OnceLock<Arc<ActiveQueries>>,
    log: QueryLog,
}

impl Service {
    /// Starts the threads.
    pub fn new(engine: Engine, limits: Limits, deps: Deps) -> io::Result<Service> {
        let common = Common {
            engine: ArcSwap::from_pointee(engine),
            bytes: Arc::new(ByteBudget::new(limits.max_bytes_of_all)),
            active: OnceLock::new(),
            log: QueryLog::default(),
        };
        Service::with("query", &[], Arc::new(common), limits, deps)
    }

    /// Another desk with places and threads of its own, so that neither waits for the other's queries. Engine, logs and the
    /// bytes of all queries are the same. The metrics' label `view` tells it apart.
    pub fn beside(&self, view: &'static str, max_concurrency: usize) -> io::Result<Service> {
        let limits = Limits { max_concurrency, ..self.0.limits.clone() };
        Service::with(view, &[("view", view)], self.0.common.clone(), limits, self.0.deps.clone())
    }

    fn with(
        name: &str,
        labels: &[(&str, &str)],
        common: Arc<Common>,
        limits: Limits,
        deps: Deps,
    ) -> io::Result<Service> {
        let places = limits.max_concurrency.clamp(1, Semaphore::MAX_PERMITS);
        // One more than can be busy with queries, so that whoever only wants something parsed does not wait for them.
        let pool = CpuPool::with_stack(name, places.saturating_add(1), STACK)?;
        let metrics = Metrics::new(&deps.registry, places, labels);
        let gate = Arc::new(Semaphore::new(places));
        Ok(Service(Arc::new(Inner { common, deps, limits, pool, gate, metrics })))
    }

    /// How queries are evaluated.
    pub fn engine(&self) -> Arc<Engine> {
        self.0.common.engine.load_full()
    }

    /// Evaluates the queries that come from now on in another way.
    pub fn set_engine(&self, engine: Engine) {
        self.0.common.engine.store(Arc::new(engine));
    }

    /// What is asked.
    pub fn storage(&self) -> &Arc<dyn Queryable> {
        &self.0.deps.storage
    }

    /// Bytes that queries and their answers hold now.
    pub fn held_bytes(&self) -> u64 {
        self.0.common.bytes.held()
    }

    /// Bounds for what else is read: what it holds counts among the bytes of all queries until its last handle is dropped.
    pub fn scope(&self, deadline: Instant, max_bytes: u64) -> Scope {
        let max_bytes = max_bytes.min(self.0.limits.max_bytes);
        Scope::within(Some(self.0.common.bytes.clone()), Some(deadline), u64::MAX, max_bytes)
    }

    /// Runs short work on the threads for queries: their stacks bear the deepest trees.
    pub async fn compute<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, QueryFailure> {
        self.0.pool.run(work).await.map_err(|lost| QueryFailure::Lost(lost.to_string()))
    }

    /// Keeps the file of running queries in the data directory from now on, and tells which had not finished when the
    /// process ended before. Only for who has the directory's lock.
    pub fn keep_active_log(&self, disk: &dyn Disk, dir: &Path) {
        match ActiveQueries::open(disk, dir, self.0.limits.max_concurrency.max(1)) {
            Ok((active, unfinished)) => {
                if let Some(queries) = unfinished {
                    tracing::warn!(%queries, "these queries had not finished when the process ended before");
                }
                drop(self.0.common.active.set(Arc::new(active)));
            }
            // A note about queries is no reason to answer none.
            Err(error) => tracing::warn!(%error, "running queries are not written down"),
        }
    }

    /// Logs queries to another file from now on, or to none. An error leaves everything as it was.
    pub fn set_log(&self, path: Option<&Path>) -> io::Result<()> {
        self.0.common.log.set(path)?;
        self.0.metrics.log_enabled.set(if self.0.common.log.is_on() { 1.0 } else { 0.0 });
        Ok(())
    }

    /// Runs a query and hands its outcome to `finish`, on the same thread, when the next query may run already. Dropping the
    /// future cancels the query.
    pub async fn run<R: Send + 'static>(
        &self,
        ask: Ask,
        finish: impl FnOnce(Result<Answered, QueryFailure>) -> R + Send + 'static,
    ) -> Result<R, QueryFailure> {
        let inner = self.0.clone();
        let arrived = Instant::now();
        let allowed = ask.timeout.map_or(inner.limits.timeout, |t| t.min(inner.limits.timeout));
        let deadline = arrived + allowed;
        let Limits { max_samples, max_bytes, .. } = inner.limits;
        let scope = Scope::within(Some(inner.common.bytes.clone()), Some(deadline), max_samples, max_bytes);
        let _cancel = CancelOnDrop(scope.clone());
        let waiting = inner.metrics.begin();
        let place = tokio::time::timeout_at(deadline.into(), inner.gate.clone().acquire_owned()).await;
        let Ok(Ok(place)) = place else { return self.compute(move || finish(Err(QueryFailure::Timeout(QUEUE)))).await };
        let admitted = Admitted { place, waiting, queue: arrived.elapsed() };
        self.compute(move || finish(inner.answer(&ask, scope, admitted))).await
    }
}

/// A query that may run.
struct Admitted {
    place: OwnedSemaphorePermit,
    waiting: Waiting,
    queue: Duration,
}

impl Inner {
    fn answer(&self, ask: &Ask, scope: Scope, admitted: Admitted) -> Result<Answered, QueryFailure> {
        let Admitted { place, waiting, queue } = admitted;
        let noted = self.common.active.get().and_then(|active| active.note(&ask.text, self.deps.clock.now()));
        let started = Instant::now();
        let (outcome, prepare) = match &ask.evaluator {
            Some(evaluator) => {
                let engine = self.common.engine.load();
                scope.check().map_err(|cancelled| stopped(cancelled, PREPARATION))?;
                (evaluator.evaluate(&engine, ask, &scope)?, Duration::ZERO)
            }
            None => {
                let prepared = self.prepare(ask, &scope)?;
                let prepare = started.elapsed();
                (prepared.run(&*self.deps.storage, &scope), prepare)
            }
        };
        let statistics = Statistics::new(&outcome.stats, queue, prepare, started.elapsed());
        drop((noted, waiting, place));
        let answer = outcome.answer.map_err(QueryFailure::from);
        self.account(ask, answer.as_ref().err(), &outcome.stats, &statistics);
        let mut annotations = outcome.annotations;
        ask.warnings.iter().for_each(|warning| annotations.warn(warning));
        let explanation = ask.evaluator.as_ref().and_then(|evaluator| evaluator.explanation());
        Ok(Answered { answer: answer?, annotations, statistics, explanation, scope })
    }

    fn prepare(&self, ask: &Ask, scope: &Scope) -> Result<Query, QueryFailure> {
        scope.check().map_err(|cancelled| stopped(cancelled, PREPARATION))?;
        let lookback = ask.lookback.map(|lookback| lookback.0);
        let engine = self.common.engine.load();
        let prepared = match ask.times {
            Times::Instant(at) => engine.instant(&ask.text, at, lookback),
            Times::Range { start, end, step } => engine.range(&ask.text, start..end, step.0, lookback),
        };
        prepared.map_err(QueryFailure::from)
    }

    fn account(&self, ask: &Ask, failure: Option<&QueryFailure>, stats: &QueryStats, statistics: &Statistics) {
        self.metrics.end(stats, statistics);
        let error = failure.map(ToString::to_string);
        if let Err(e) = self.common.log.write(self.deps.clock.now(), ask, error.as_deref(), statistics) {
            self.metrics.log_failures.inc();
            tracing::warn!(error = %e, "the query log cannot be written");
        }
        let took = statistics.exec_total();
        if self.limits.slow.is_some_and(|slow| took >= slow) {
            self.metrics.slow.inc();
            let (start, end, step) = ask.times.bounds();
            tracing::warn!(
                query = %ask.text,
                start = start.as_seconds(),
                end = end.as_seconds(),
                step_seconds = step.0 as f64 / 1000.0,
                duration_seconds = took.as_secs_f64(),
                samples = stats.samples,
                peak_samples = stats.peak_samples,
                error = error.unwrap_or_default(),
                "a slow query"
            );
        }
    }
}

impl From<PrepareError> for QueryFailure {
    fn from(error: PrepareError) -> QueryFailure {
        QueryFailure::Bad(error.to_string())
    }
}

impl From<Failure> for QueryFailure {
    fn from(failure: Failure) -> QueryFailure {
        match failure {
            Failure::Execution(why) => QueryFailure::Execution(why),
            Failure::Cancelled(cancelled) => stopped(cancelled, EVALUATION),
            // Nothing is wrong with our own store.
            Failure::Storage(error @ QueryError::Peer { .. }) => QueryFailure::Execution(error.to_string()),
            failure @ Failure::Storage(_) => QueryFailure::Storage(failure.to_string()),
        }
    }
}

/// Why a query was stopped, in the reference's words where it has some.
fn stopped(cancelled: Cancelled, phase: &'static str) -> QueryFailure {
    match cancelled {
        Cancelled::Client => QueryFailure::Canceled(phase),
        Cancelled::Deadline => QueryFailure::Timeout(phase),
        Cancelled::Series(max) => QueryFailure::Execution(format!(
            "the query would fetch more than {max} series from the members of the cluster; ask for less, or raise \
             federation.max_fetched_series"
        )),
        Cancelled::Samples(_) => QueryFailure::Execution(
            "query processing would load too many samples into memory in query execution".to_owned(),
        ),
        Cancelled::Bytes(max) => QueryFailure::Execution(format!(
            "query processing would need more than {max} bytes of memory in query execution; ask for less, or raise \
             --query.max-bytes"
        )),
        Cancelled::AllBytes(max) => QueryFailure::Execution(format!(
            "query processing would need more memory than is left of the {max} bytes for all queries; ask for less, or \
             later"
        )),
    }
}

/// Cancels a query when nobody waits for it any more; one that has ended does not mind.
struct CancelOnDrop(Scope);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
