//! Evaluating an expression over all members.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::cache::ListCache;
use super::config::{ExternalLabels, FederationConfig, Policy, Via};
use super::limits::{Charge, Errand, Fetched, weight};
use super::loops;
use super::member::{Credentials, Member, MemberError, TENANT};
use super::metrics::{Effort, FrontendMetrics};
use super::pushed::{Asking, Reply};
use super::raw::Raw;
use super::samples::Samples;
use super::selectors::{Selectors, split_selectors};
use super::split::{Part, split};
use super::strip::strip;
use super::times::looked_at;
use super::victoria;
use super::virtual_labels::{TooManyLabels, VirtualLabels};
use crate::model::{Annotation, AnnotationKind, Annotations, Labels};
use crate::net::header::{AUTHORIZATION, HeaderMap, HeaderName};
use crate::promql::ast::Expr;
use crate::promql::service::{Ask, Evaluate, STACK};
use crate::promql::{
    Answer, DelegatedAnswer, DelegatedSeries, Delegates, Engine, Failure, Outcome, PrepareError, Span, StepTimes,
};
use crate::remote::read::Endpoint;
use crate::runtime::{Clock, CpuPool, Tasks};
use crate::storage::{Cancelled, QueryError, Queryable, Scope, TimeRange};

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
    cache: Option<ListCache>,
    metrics: Option<FrontendMetrics>,
    pool: CpuPool,
    /// Headers that are sent on.
    propagated: Vec<HeaderName>,
    handle: Handle,
    tasks: Tasks,
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
    Remote(Vec<Endpoint>),
    /// From a store of this node.
    Local(Arc<dyn Queryable>),
}

impl Source {
    /// The time of which it has samples.
    pub(super) fn range(&self) -> TimeRange {
        self.member.config().bounds.range(Clock::system().now())
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
            (_, Via::Auto) => !self.member.is_victoria(0) || victoria::translated(expr, 1).is_some(),
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
            cache: None,
            metrics: None,
            pool: CpuPool::inline(),
            propagated,
            handle: Handle::current(),
            tasks,
        })
    }

    /// Keeps lists for a moment.
    pub fn caching(self, cache: ListCache) -> Frontend {
        Frontend { cache: Some(cache), ..self }
    }

    /// Counts its queries.
    pub fn measured(self, metrics: FrontendMetrics) -> Frontend {
        Frontend { metrics: Some(metrics), ..self }
    }

    /// Reads lists of this node's own data on these threads.
    pub fn computing_on(self, pool: CpuPool) -> Frontend {
        Frontend { pool, ..self }
    }

    pub(super) fn cache(&self) -> Option<&ListCache> {
        self.cache.as_ref()
    }

    pub(super) fn pool(&self) -> &CpuPool {
        &self.pool
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
        let samples = Samples { frontend: self, credentials, deadline, fetched: &fetched };
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
        read(&Samples { frontend: self, credentials, deadline: self.deadline(scope), fetched: &fetched })
    }

    /// All members.
    pub fn members(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.members.iter().map(|source| &source.member)
    }

    pub(super) fn sources(&self) -> &[Source] {
        &self.members
    }

    /// A member's series as it is seen from outside.
    pub(super) fn dressed(&self, member: &Member, series: &Labels) -> Labels {
        self.names.dress(series, member.labels(), self.names.all())
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

/// Does work on all items at the same time, each on a thread of its own.
pub(super) fn at_once<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    if let [item] = items {
        return vec![work(item)];
    }
    std::thread::scope(|threads| {
        let work = &work;
        let begun: Vec<_> = items.iter().map(|item| threads.spawn(move || work(item))).collect();
        let joined = begun.into_iter().map(std::thread::ScopedJoinHandle::join);
        joined.map(|outcome| outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

/// The parts of one query on their way.
struct Asked<'q> {
    frontend: &'q Frontend,
    engine: &'q Engine,
    sender: &'q Sender,
    parts: &'q [Part],
    /// Requests that were sent before their answers are needed.
    started: Mutex<Vec<Started>>,
    fetched: &'q Fetched,
    /// By when members have to have answered.
    deadline: Instant,
    /// Milliseconds.
    lookback: i64,
    is_spoilt: AtomicBool,
    /// Requests for parts that members evaluate.
    pushed: AtomicUsize,
    /// Members that have a share of a part.
    asked: Mutex<BTreeSet<usize>>,
}

struct Started {
    part: usize,
    steps: StepTimes,
    shares: Vec<Share>,
}

/// One member's share of a part.
struct Share {
    member: usize,
    expr: Expr,
    /// `None` if it is evaluated here, over the member's samples.
    answer: Option<oneshot::Receiver<Result<Reply, MemberError>>>,
}

/// A member's series for a part, and what was remarked.
#[derive(Default)]
pub(super) struct Found {
    pub series: Vec<DelegatedSeries>,
    pub annotations: Annotations,
    /// For the series, until the engine has charged what it makes of them.
    pub charges: Vec<Charge>,
}

impl Asked<'_> {
    /// Sends the requests of all parts that will be asked for at the query's own steps.
    fn start_all(&self, here: &Expr, steps: StepTimes, scope: &Scope) {
        let mut parts = Vec::new();
        find_parts(here, &mut parts);
        for part in parts {
            let shares = self.start(part, steps, scope);
            self.started.lock().push(Started { part, steps, shares });
        }
    }

    fn start(&self, part: usize, steps: StepTimes, scope: &Scope) -> Vec<Share> {
        let members = self.frontend.members.iter().enumerate();
        let share = |(member, source): (usize, &Source)| {
            let expr = strip(&self.parts[part].expr, source.member.labels())?;
            let looked_at = looked_at(&expr, steps, self.lookback);
            let range = source.range();
            if looked_at.is_some_and(|looked| !range.overlaps(looked.min, looked.max)) {
                return None;
            }
            self.asked.lock().insert(member);
            let is_pushed = source.evaluates(&self.parts[part], &expr, looked_at);
            let answer = is_pushed.then(|| self.send(&source.member, &expr, steps, scope));
            Some(Share { member, expr, answer })
        };
        members.filter_map(share).collect()
    }

    fn send(
        &self,
        member: &Arc<Member>,
        expr: &Expr,
        steps: StepTimes,
        scope: &Scope,
    ) -> oneshot::Receiver<Result<Reply, MemberError>> {
        let asking = Asking {
            member: member.clone(),
            text: expr.to_string(),
            steps,
            lookback: self.sender.lookback,
            errand: self.frontend.errand(&self.sender.credentials, scope),
            for_victoria: victoria::translated(expr, self.lookback),
        };
        self.pushed.fetch_add(1, Ordering::Relaxed);
        self.frontend.begin(asking.ask())
    }

    /// Takes the requests that were sent for a part in advance, or sends them now.
    fn shares(&self, part: usize, steps: StepTimes, scope: &Scope) -> Vec<Share> {
        let mut started = self.started.lock();
        match started.iter().position(|s| s.part == part && s.steps == steps) {
            Some(at) => started.swap_remove(at).shares,
            None => {
                drop(started);
                self.start(part, steps, scope)
            }
        }
    }

    /// What a member has evaluated; `None` if its share has to be evaluated here.
    fn answered(
        &self,
        member: &Member,
        reply: Result<Reply, MemberError>,
        is_partial: bool,
    ) -> Result<Option<Found>, Failure> {
        let mut found = Found::default();
        let reply = match reply {
            Ok(reply) => reply,
            Err(error) => {
                found.annotations.add(self.frontend.missing(member, &error)?);
                return Ok(Some(found));
            }
        };
        let Reply::Answer(answer) = reply else { return Ok(None) };
        if answer.has_histograms {
            return Ok(None);
        }
        self.fetched.add(answer.series.len())?;
        if is_partial && !answer.warnings.is_empty() {
            self.is_spoilt.store(true, Ordering::Relaxed);
        }
        for (kind, messages) in [(AnnotationKind::Warning, answer.warnings), (AnnotationKind::Info, answer.infos)] {
            for message in messages {
                found.annotations.add(self.frontend.remark(member, kind, message));
            }
        }
        found.series = answer.series;
        found.charges.extend(answer.charge);
        Ok(Some(found))
    }

    /// Evaluates a member's share here, over its samples.
    fn over_samples(&self, part: &Part, share: &Share, steps: StepTimes, scope: &Scope) -> Result<Found, Failure> {
        let source = &self.frontend.members[share.member];
        match self.try_over_samples(part, &share.expr, source, steps, scope) {
            Err(Failure::Storage(error)) => {
                let mut found = Found::default();
                found.annotations.add(self.frontend.excused(&source.member, error)?);
                Ok(found)
            }
            outcome => outcome,
        }
    }

    fn try_over_samples(
        &self,
        part: &Part,
        expr: &Expr,
        source: &Source,
        steps: StepTimes,
        scope: &Scope,
    ) -> Result<Found, Failure> {
        let (frontend, credentials, deadline) = (self.frontend, &self.sender.credentials, self.deadline);
        let raw = Raw { frontend, source, credentials, deadline, fetched: self.fetched };
        let (here, selectors) = match raw.hides_ends(scope)? {
            true => split_selectors(expr),
            false => (expr.clone(), Vec::new()),
        };
        let selected = Selectors::new(selectors, |expr: &Expr, steps| {
            let reply = self.frontend.wait(self.send(&source.member, expr, steps, scope), scope)?;
            match self.answered(&source.member, reply, part.is_partial)? {
                Some(found) => Ok(found),
                None => Err(Failure::Execution(format!(
                    "member {}: it has native histograms, which are read by remote read only",
                    source.member.config().name
                ))),
            }
        });
        let span = Span::Range { start: steps.start, end: steps.end(), step: steps.interval };
        let query = self.engine.query(&expr.to_string(), &here, span, self.sender.lookback);
        let query = query.map_err(|e| Failure::Execution(e.to_string()))?;
        // The engine leaves its answer charged.
        let own = scope.within_this(None);
        let outcome = query.run_with(&raw, Some(&selected), &own);
        if part.is_partial && outcome.annotations.of(AnnotationKind::Warning).next().is_some() {
            self.is_spoilt.store(true, Ordering::Relaxed);
        }
        let Answer::Matrix(all) = outcome.answer? else {
            let name = &source.member.config().name;
            return Err(Failure::Execution(format!("member {name}: a part of the query is no vector")));
        };
        let series: Vec<DelegatedSeries> = all.iter().map(DelegatedSeries::from).collect();
        let (mut charge, (samples, bytes)) = (Charge::none(scope), weight(&series));
        drop((all, own));
        charge.set(samples, bytes)?;
        Ok(Found { series, annotations: outcome.annotations, charges: vec![charge] })
    }

    /// The members' shares of a part. What is evaluated here is so at the same time, while answers still come.
    fn gather(
        &self,
        part: &Part,
        shares: Vec<Share>,
        steps: StepTimes,
        scope: &Scope,
    ) -> Result<Vec<(usize, Found)>, Failure> {
        let (mut coming, mut here, mut gathered) = (Vec::new(), Vec::new(), Vec::new());
        for mut share in shares {
            match share.answer.take() {
                Some(answer) => coming.push((answer, share)),
                None => here.push(share),
            }
        }
        if coming.is_empty()
            && let [share] = &here[..]
        {
            return Ok(vec![(share.member, self.over_samples(part, share, steps, scope)?)]);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stoppable = &scope.part(stop.clone());
        std::thread::scope(|threads| {
            // If one fails, the others end.
            let _stopped = StopOnDrop(stop);
            let begin = |share: Share| {
                let work = move || (share.member, self.over_samples(part, &share, steps, stoppable));
                let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(threads, work);
                thread.map_err(|error| Failure::Execution(format!("starting a thread: {error}")))
            };
            let mut begun = here.into_iter().map(begin).collect::<Result<Vec<_>, _>>()?;
            while !coming.is_empty() {
                let (reply, share) = self.frontend.next(&mut coming, scope)?;
                let member = &self.frontend.members[share.member].member;
                match self.answered(member, reply, part.is_partial)? {
                    Some(found) => gathered.push((share.member, found)),
                    None => begun.push(begin(share)?),
                }
            }
            for thread in begun {
                let (member, found) = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                gathered.push((member, found?));
            }
            gathered.sort_by_key(|(member, _)| *member);
            Ok(gathered)
        })
    }
}

/// Stops what looks at a flag.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Evaluates a question over all members, in the name of one client.
pub struct OverMembers {
    frontend: Arc<Frontend>,
    credentials: Credentials,
}

impl OverMembers {
    /// In the name of a client whose request has these headers.
    pub fn new(frontend: Arc<Frontend>, headers: &HeaderMap) -> OverMembers {
        OverMembers { credentials: frontend.forwarded(headers), frontend }
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
        let sender = Sender { credentials, lookback: ask.lookback.map(|lookback| lookback.0) };
        self.frontend.run(engine, &ask.text, ask.times.into(), &sender, scope)
    }
}

impl Delegates for Asked<'_> {
    fn evaluate(&self, id: usize, steps: StepTimes, scope: &Scope) -> Result<DelegatedAnswer, Failure> {
        let part = &self.parts[id];
        let mut answer = DelegatedAnswer::default();
        // Given back when the engine has the series and charges what it makes of them.
        let mut charges = Vec::new();
        for (member, found) in self.gather(part, self.shares(id, steps, scope), steps, scope)? {
            answer.annotations.merge(found.annotations);
            charges.extend(found.charges);
            let labels = self.frontend.members[member].member.labels();
            answer.series.extend(found.series.into_iter().map(|series| DelegatedSeries {
                labels: self.frontend.names.dress(&series.labels, labels, part.visible),
                ..series
            }));
        }
        join_same(&mut answer.series);
        Ok(answer)
    }
}

/// Puts series in order and makes one of those with the same labels: what the first has not, the second gives. Sums depend on
/// their order, and that of a store is by labels.
pub(super) fn join_same(series: &mut Vec<DelegatedSeries>) {
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    series.dedup_by(|later, first| {
        let is_same = later.labels == first.labels;
        if is_same {
            fill(first, std::mem::take(later));
        }
        is_same
    });
}

/// Series can become the same when their own labels give way to virtual ones.
fn fill(first: &mut DelegatedSeries, second: DelegatedSeries) {
    let has = |first: &DelegatedSeries, t| {
        first.floats.binary_search_by_key(&t, |(t, _)| *t).is_ok()
            || first.histograms.binary_search_by_key(&t, |(t, _)| *t).is_ok()
    };
    let floats: Vec<_> = second.floats.into_iter().filter(|(t, _)| !has(first, *t)).collect();
    let histograms: Vec<_> = second.histograms.into_iter().filter(|(t, _)| !has(first, *t)).collect();
    first.floats.extend(floats);
    first.floats.sort_by_key(|(t, _)| *t);
    first.histograms.extend(histograms);
    first.histograms.sort_by_key(|(t, _)| *t);
}

/// The parts that are asked for at the query's own steps: those outside of subqueries.
fn find_parts(expr: &Expr, found: &mut Vec<usize>) {
    match expr {
        Expr::Delegated(part) => {
            if !found.contains(&part.id) {
                found.push(part.id);
            }
        }
        Expr::Number(_) | Expr::String(_) | Expr::Vector(_) | Expr::Matrix(_) | Expr::Subquery(_) => {}
        Expr::Paren(paren) => find_parts(&paren.expr, found),
        Expr::Unary(unary) => find_parts(&unary.expr, found),
        Expr::Binary(binary) => {
            find_parts(&binary.left, found);
            find_parts(&binary.right, found);
        }
        Expr::Aggregate(aggregate) => {
            find_parts(&aggregate.expr, found);
            aggregate.param.iter().for_each(|param| find_parts(param, found));
        }
        Expr::Call(call) => call.args.iter().for_each(|arg| find_parts(arg, found)),
    }
}
