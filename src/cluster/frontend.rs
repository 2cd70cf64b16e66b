//! Evaluating an expression over all members.

mod asked;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::cache::ResultCache;
use super::config::{ExternalLabels, FederationConfig, Policy, Via};
use super::explain::{Explanation, Notes};
use super::hidden::Hidden;
use super::limits::{Errand, Fetched};
use super::list_cache::ListCache;
use super::loops;
use super::member::{Credentials, Member, MemberError, TENANT};
use super::metrics::{Effort, FrontendMetrics};
use super::probe::Flavour;
use super::samples::Samples;
use super::split::{Part, split};
use super::victoria;
use super::virtual_labels::{TooManyLabels, VirtualLabels};
use crate::model::{Annotation, AnnotationKind, Annotations, Labels, TimestampMs};
use crate::net::header::{AUTHORIZATION, HeaderMap, HeaderName};
use crate::promql::ast::Expr;
use crate::promql::service::{Ask, Evaluate};
use crate::promql::{Engine, Outcome, PrepareError, Span};
use crate::runtime::{Clock, CpuPool, Tasks};
use crate::storage::{Cancelled, QueryError, Queryable, Scope, TimeRange};
use asked::Asked;
pub(super) use asked::{Found, join_same};

/// How often a thread that waits for members looks whether its query still goes on.
const LOOK: Duration = Duration::from_millis(20);
/// Of a query's time this is kept for what comes after the members' answers.
const RESERVE: Duration = Duration::from_millis(50);

/// Begins the warning about a member that is missing.
pub(super) const LEFT_OUT: &str = "left out of the answer: ";

/// All members as one.
pub struct Frontend {
    names: VirtualLabels,
    members: Vec<Source>,
    partial_response: bool,
    max_response_bytes: u64,
    max_fetched_series: u64,
    lists: Option<ListCache>,
    metrics: Option<FrontendMetrics>,
    pool: CpuPool,
    /// Headers that are sent on.
    propagated: Vec<HeaderName>,
    handle: Handle,
    tasks: Tasks,
    config: FederationConfig,
    cache: Option<ResultCache>,
}

/// A member, and where its samples can be read.
pub struct Source {
    /// The member.
    pub member: Arc<Member>,
    /// Where its samples come from: for what it is not to evaluate itself.
    pub reads: Reads,
}

/// Where a member's samples come from.
pub enum Reads {
    /// From its replicas, each by remote read. Those that do not answer it are asked by range selectors.
    Remote(Vec<Box<dyn RemoteSamples>>),
    /// From a store of this node.
    Local(Arc<dyn Queryable>),
}

/// A server whose samples are read remotely. Who carries that out stands beside this module, so that it comes from above.
pub trait RemoteSamples: Send + Sync {
    /// Its samples, asked for with these headers besides its own; the bytes that come are counted by `meter`.
    fn asked(&self, headers: Arc<HeaderMap>, meter: Option<Arc<AtomicU64>>) -> Box<dyn Queryable>;
}

/// A beginning and an end, either of which may be open.
pub(super) type Times = (Option<TimestampMs>, Option<TimestampMs>);

impl Source {
    /// The time of which it has samples.
    pub(super) fn range(&self) -> TimeRange {
        self.member.config().bounds.range(Clock::system().now())
    }

    /// What of a time it has samples of; `None` if it has none of it. An end that nobody has set is open.
    pub(super) fn within(&self, start: Option<TimestampMs>, end: Option<TimestampMs>) -> Option<Times> {
        let TimeRange { min, max } = self.range();
        let start = start.into_iter().chain((min > TimestampMs::MIN).then_some(min)).max();
        let end = end.into_iter().chain((max < TimestampMs::MAX).then_some(max)).min();
        let is_empty = start.zip(end).is_some_and(|(start, end)| start > end);
        (!is_empty).then_some((start, end))
    }

    /// Whether it evaluates a part of a query itself, as far as is known before it is asked.
    fn evaluates(&self, part: &Part, expr: &Expr, looked_at: Option<TimeRange>) -> bool {
        let config = self.member.config();
        let has_all = looked_at.is_none_or(|looked| {
            let range = self.range();
            range.contains(looked.min) && range.contains(looked.max)
        });
        let is_asked = match (&self.reads, config.via) {
            (Reads::Local(_), _) | (_, Via::RemoteRead | Via::Query) => false,
            (_, Via::Pushdown) => true,
            // No answer of one replica is the whole: a value that it still looks back to may be older than what another has.
            (_, Via::Auto) if config.has_replicas() => false,
            (_, Via::Auto) => match self.member.flavour() {
                Flavour::Prometheus => true,
                Flavour::Prometheus2 => false,
                Flavour::VictoriaMetrics => victoria::translated(expr, 1).is_some(),
            },
        };
        is_asked && has_all && !part.needs_new_server && config.external_labels == ExternalLabels::Drop
    }
}

/// One query's way to the members.
#[derive(Clone, Debug, Default)]
pub struct Sender {
    /// What the client's request brings for them.
    pub credentials: Credentials,
    /// Replaces the engine's lookback, milliseconds.
    pub lookback: Option<i64>,
    /// Where it is written down what is done, if anywhere.
    pub explanation: Option<Arc<Explanation>>,
}

impl Frontend {
    /// A frontend on the current async runtime, whose tasks send the requests.
    pub fn new(config: &FederationConfig, members: Vec<Source>, tasks: Tasks) -> Result<Frontend, TooManyLabels> {
        let others = members.iter().flat_map(|source| source.member.labels().iter().map(|(name, _)| name));
        let names = VirtualLabels::new(others)?;
        let further = config.propagated_headers.iter().filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok());
        let propagated = [AUTHORIZATION, HeaderName::from_static(TENANT)].into_iter().chain(further).collect();
        Ok(Frontend {
            names,
            members,
            partial_response: config.partial_response,
            max_response_bytes: config.max_response_bytes,
            max_fetched_series: config.max_fetched_series,
            lists: None,
            cache: None,
            metrics: None,
            pool: CpuPool::inline(),
            propagated,
            handle: Handle::current(),
            tasks,
            config: config.clone(),
        })
    }

    /// Keeps lists for a moment.
    pub fn keeping_lists(self, lists: ListCache) -> Frontend {
        Frontend { lists: Some(lists), ..self }
    }

    /// Counts its queries.
    pub fn measured(self, metrics: FrontendMetrics) -> Frontend {
        Frontend { metrics: Some(metrics), ..self }
    }

    /// Reads lists of this node's own data on these threads.
    pub fn computing_on(self, pool: CpuPool) -> Frontend {
        Frontend { pool, ..self }
    }

    pub(super) fn lists(&self) -> Option<&ListCache> {
        self.lists.as_ref()
    }

    pub(super) fn pool(&self) -> &CpuPool {
        &self.pool
    }

    /// What members evaluate is kept there from now on.
    pub fn caching(self, cache: ResultCache) -> Frontend {
        Frontend { cache: Some(cache), ..self }
    }

    /// What it was told.
    pub fn config(&self) -> &FederationConfig {
        &self.config
    }

    /// Evaluates an expression. Runs on the calling thread, which must be none of the async runtime.
    pub fn run(
        &self,
        engine: &Engine,
        text: &str,
        span: Span,
        sender: &Sender,
        scope: &Scope,
    ) -> Result<Outcome, PrepareError> {
        let expr = engine.parse(text)?;
        let expr = engine.resolve(&expr, span)?;
        let first = self.attempt(engine, text, &expr, span, sender, scope, true)?;
        match first {
            (outcome, false) => Ok(outcome),
            // Partial aggregations have lost something: once more without them.
            (_, true) => Ok(self.attempt(engine, text, &expr, span, sender, scope, false)?.0),
        }
    }

    /// The outcome, and whether it is spoilt because an aggregation was finished here.
    #[expect(clippy::too_many_arguments, reason = "they are those of `run`")]
    fn attempt(
        &self,
        engine: &Engine,
        text: &str,
        expr: &Expr,
        span: Span,
        sender: &Sender,
        scope: &Scope,
        finishes_aggregations: bool,
    ) -> Result<(Outcome, bool), PrepareError> {
        let split = split(expr, &self.names, finishes_aggregations);
        let query = engine.query(text, &split.here, span, sender.lookback)?;
        // What an attempt holds is given back if nothing comes of it.
        let scope = &scope.within_this(None);
        let fetched = Fetched::new(self.max_fetched_series);
        let asked = Asked {
            frontend: self,
            engine,
            sender,
            parts: &split.parts,
            notes: Notes::begin(sender.explanation.as_ref(), &split),
            started: Mutex::default(),
            fetched: &fetched,
            deadline: self.deadline(scope),
            lookback: sender.lookback.unwrap_or(engine.options().lookback),
            is_spoilt: AtomicBool::new(false),
            pushed: AtomicUsize::new(0),
            asked: Mutex::default(),
        };
        if let Some(steps) = query.steps() {
            asked.start_all(&split.here, steps, scope);
        }
        let (credentials, deadline) = (&sender.credentials, asked.deadline);
        let samples = Samples { frontend: self, credentials, deadline, fetched: &fetched, notes: &asked.notes };
        let outcome = query.run_with(&samples, Some(&asked), scope);
        let is_spoilt = asked.is_spoilt.load(Ordering::Relaxed);
        if outcome.answer.is_ok() && !is_spoilt {
            scope.keep();
            self.count(&asked, &outcome.annotations);
        }
        Ok((outcome, is_spoilt))
    }

    fn count(&self, asked: &Asked<'_>, annotations: &Annotations) {
        let Some(metrics) = &self.metrics else { return };
        let left_out = annotations.of(AnnotationKind::Warning).filter(|remark| remark.message.starts_with(LEFT_OUT));
        let missing: BTreeSet<&str> = left_out.filter_map(|remark| remark.member.as_deref()).collect();
        let missing = missing.len();
        // What needs the samples of all members is read from all of them.
        let asked_for_parts = asked.asked.lock().len();
        let members = if asked_for_parts == 0 { self.members.len() } else { asked_for_parts };
        let pushed = asked.pushed.load(Ordering::Relaxed);
        metrics.answered(Effort { asked: members.max(missing), missing, pushed });
    }

    /// The headers of a client's request that are sent on to members.
    pub fn forwarded(&self, headers: &HeaderMap) -> Credentials {
        let mut out = Credentials::new();
        for (name, value) in headers.iter().filter(|(name, _)| self.propagated.contains(name)) {
            out.append(name, value.clone());
        }
        out.insert(loops::PASSED, loops::passed_on(headers));
        out
    }

    /// Hands all members' samples to `read`, as one store, in the name of one client.
    pub fn read<R>(&self, credentials: &Credentials, scope: &Scope, read: impl FnOnce(&dyn Queryable) -> R) -> R {
        let fetched = Fetched::new(self.max_fetched_series);
        let (deadline, notes) = (self.deadline(scope), Notes::default());
        read(&Samples { frontend: self, credentials, deadline, fetched: &fetched, notes: &notes })
    }

    /// All members.
    pub fn members(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.members.iter().map(|source| &source.member)
    }

    pub(super) fn sources(&self) -> &[Source] {
        &self.members
    }

    /// A member's series, which nothing is to be taken off, as it is seen from outside.
    pub(super) fn dressed(&self, member: &Member, series: &Labels) -> Labels {
        self.names.dress(series, member.labels(), self.names.all())
    }

    /// A series of a member as it has told it, as it is seen from outside.
    pub fn seen(&self, member: &Member, series: &Labels) -> Labels {
        let hidden = Hidden::of_replicas(&member.config().replica_labels);
        match hidden.is_any() {
            true => self.dressed(member, &hidden.off(series)),
            false => self.dressed(member, series),
        }
    }

    /// A warning about a member.
    pub(super) fn warning(&self, member: &Member, message: String) -> Annotation {
        self.remark(member, AnnotationKind::Warning, message)
    }

    /// A remark about a member that takes nothing from the answer.
    pub(super) fn info(&self, member: &Member, message: String) -> Annotation {
        self.remark(member, AnnotationKind::Info, message)
    }

    /// What is remarked about a member.
    fn remark(&self, member: &Member, kind: AnnotationKind, message: String) -> Annotation {
        Annotation { kind, message, position: None, member: Some(member.config().name.clone()) }
    }

    /// What is remarked if an answer can do without a member whose samples could not be read; else the failure.
    pub(super) fn excused(&self, member: &Member, error: QueryError) -> Result<Annotation, QueryError> {
        match error {
            QueryError::Peer { reason, .. } if self.may_miss(member) => {
                Ok(self.warning(member, format!("{LEFT_OUT}{reason}")))
            }
            QueryError::Peer { reason, .. } => {
                Err(QueryError::Peer { peer: format!("member {}", member.config().name), reason })
            }
            other => Err(other),
        }
    }

    /// Whether there can be an answer without a member.
    pub(super) fn may_miss(&self, member: &Member) -> bool {
        self.partial_response && member.config().policy == Policy::Optional
    }

    /// By when members have to have answered.
    fn deadline(&self, scope: &Scope) -> Instant {
        let now = Instant::now();
        let longest = self.members().map(|member| member.config().timeout).max().unwrap_or_default();
        let end = scope.deadline().or_else(|| now.checked_add(longest)).unwrap_or(now);
        end.checked_sub(RESERVE).unwrap_or(now)
    }

    /// A request to a member on behalf of a client.
    pub(super) fn errand(&self, credentials: &Credentials, scope: &Scope) -> Errand {
        Errand {
            credentials: credentials.clone(),
            scope: scope.clone(),
            // One member must not take what the others need.
            max_bytes: self.max_response_bytes.min(scope.bytes_left() / 2),
            deadline: self.deadline(scope),
        }
    }

    /// Begins work for a query. It ends when nobody waits for it any more: its connections are closed, and members stop, too.
    pub(super) fn begin<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (mut sender, receiver) = oneshot::channel();
        let stopping = self.tasks.stopping();
        let _runtime = self.handle.enter();
        self.tasks.spawn("member-query", async move {
            tokio::select! {
                outcome = work => drop(sender.send(outcome)),
                () = sender.closed() => {}
                () = stopping.cancelled() => {}
            }
        });
        receiver
    }

    /// Waits for what has begun, as long as the query goes on.
    pub(super) fn wait<T>(
        &self,
        mut receiver: oneshot::Receiver<Result<T, MemberError>>,
        scope: &Scope,
    ) -> Result<Result<T, MemberError>, Cancelled> {
        self.handle.block_on(async {
            loop {
                match tokio::time::timeout(LOOK, &mut receiver).await {
                    Ok(Ok(outcome)) => return Ok(outcome),
                    Ok(Err(_)) => return Ok(Err(MemberError::NoTime)),
                    Err(_) => scope.check()?,
                }
            }
        })
    }
}

impl Frontend {
    /// Waits for the first of several answers, of which there is at least one.
    fn next<T, W>(
        &self,
        coming: &mut Vec<(oneshot::Receiver<Result<T, MemberError>>, W)>,
        scope: &Scope,
    ) -> Result<(Result<T, MemberError>, W), Cancelled> {
        let mut first = std::pin::pin!(std::future::poll_fn(|context| {
            let answer = coming.iter_mut().enumerate().find_map(|(at, (answer, _))| {
                match std::pin::Pin::new(answer).poll(context) {
                    Poll::Ready(answer) => Some((at, answer.unwrap_or(Err(MemberError::NoTime)))),
                    Poll::Pending => None,
                }
            });
            match answer {
                Some((at, answer)) => Poll::Ready((answer, coming.swap_remove(at).1)),
                None => Poll::Pending,
            }
        }));
        self.handle.block_on(async {
            loop {
                match tokio::time::timeout(LOOK, &mut first).await {
                    Ok(answer) => return Ok(answer),
                    Err(_) => scope.check()?,
                }
            }
        })
    }
}

/// Does work on all items at the same time, each on a thread of its own, or one after another if there are no more threads.
pub(super) fn at_once<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    if let [item] = items {
        return vec![work(item)];
    }
    std::thread::scope(|threads| {
        let work = &work;
        let begin =
            |item| std::thread::Builder::new().spawn_scoped(threads, move || work(item)).map_err(|_| work(item));
        let begun: Vec<_> = items.iter().map(begin).collect();
        let end = |begun: Result<std::thread::ScopedJoinHandle<'_, R>, R>| match begun {
            Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(done) => done,
        };
        begun.into_iter().map(end).collect()
    })
}

/// Evaluates a question over all members, in the name of one client.
pub struct OverMembers {
    frontend: Arc<Frontend>,
    credentials: Credentials,
    explanation: OnceLock<Arc<Explanation>>,
}

impl OverMembers {
    /// In the name of a client whose request has these headers.
    pub fn new(frontend: Arc<Frontend>, headers: &HeaderMap) -> OverMembers {
        OverMembers { credentials: frontend.forwarded(headers), frontend, explanation: OnceLock::new() }
    }
}

impl std::fmt::Debug for OverMembers {
    /// Without the credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OverMembers")
    }
}

impl Evaluate for OverMembers {
    fn evaluate(&self, engine: &Engine, ask: &Ask, scope: &Scope) -> Result<Outcome, PrepareError> {
        let credentials = self.credentials.clone();
        let explanation = ask.explain.then(|| self.explanation.get_or_init(Arc::default).clone());
        let sender = Sender { credentials, lookback: ask.lookback.map(|lookback| lookback.0), explanation };
        self.frontend.run(engine, &ask.text, ask.times.into(), &sender, scope)
    }

    fn explanation(&self) -> Option<String> {
        self.explanation.get().map(|explanation| explanation.json())
    }
}
