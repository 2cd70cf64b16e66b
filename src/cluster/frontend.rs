//! Evaluating an expression over all members.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::answer::QueryAnswer;
use super::config::FederationConfig;
use super::member::{Credentials, Member, MemberError, Question, TENANT};
use super::samples::Samples;
use super::split::{Part, split};
use super::strip::strip;
use super::virtual_labels::{TooManyLabels, VirtualLabels};
use crate::model::{Annotation, AnnotationKind, Annotations, Labels};
use crate::net::header::{AUTHORIZATION, HeaderMap, HeaderName};
use crate::promql::ast::Expr;
use crate::promql::service::{Ask, Evaluate};
use crate::promql::{
    Answer, DelegatedAnswer, DelegatedSeries, Delegates, Engine, Failure, Outcome, PrepareError, Span, StepTimes,
};
use crate::runtime::Tasks;
use crate::storage::{Queryable, Scope};

/// How often a thread that waits for members looks whether its query still goes on.
const LOOK: Duration = Duration::from_millis(20);
/// Of a query's time this is kept for what comes after the members' answers.
const RESERVE: Duration = Duration::from_millis(50);

/// All members as one.
pub struct Frontend {
    names: VirtualLabels,
    members: Vec<Source>,
    partial_response: bool,
    /// Headers that are sent on.
    propagated: Vec<HeaderName>,
    handle: Handle,
    tasks: Tasks,
}

/// A member, and where its samples can be read.
pub struct Source {
    /// The member.
    pub member: Arc<Member>,
    /// Its samples, under its own labels: for what it is not to evaluate itself. `None` if they cannot be read.
    pub samples: Option<Arc<dyn Queryable>>,
    /// Whether it evaluates expressions.
    pub is_pushed: bool,
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
        let partial_response = config.partial_response;
        Ok(Frontend { names, partial_response, propagated, members, handle: Handle::current(), tasks })
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
        let asked = Asked {
            frontend: self,
            engine,
            sender,
            parts: &split.parts,
            started: Mutex::default(),
            deadline: scope.deadline().map(|deadline| deadline - RESERVE),
            is_spoilt: AtomicBool::new(false),
        };
        if let Some(steps) = query.steps() {
            asked.start_all(&split.here, steps, scope);
        }
        let outcome = query.run_with(&Samples { frontend: self }, Some(&asked), scope);
        let is_spoilt = asked.is_spoilt.load(Ordering::Relaxed);
        Ok((outcome, is_spoilt))
    }

    /// The headers of a client's request that are sent on to members.
    pub fn forwarded(&self, headers: &HeaderMap) -> Credentials {
        let mut out = Credentials::new();
        for (name, value) in headers.iter().filter(|(name, _)| self.propagated.contains(name)) {
            out.append(name, value.clone());
        }
        out
    }

    /// All members.
    pub fn members(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.members.iter().map(|source| &source.member)
    }

    pub(super) fn sources(&self) -> &[Source] {
        &self.members
    }

    pub(super) fn allows_partial_answers(&self) -> bool {
        self.partial_response
    }

    /// A member's series as it is seen from outside.
    pub(super) fn dressed(&self, member: &Member, series: &Labels) -> Labels {
        self.names.dress(series, member.labels(), self.names.all())
    }

    /// A warning about a member.
    pub(super) fn warning(&self, member: &Member, message: String) -> Annotation {
        self.remark(member, AnnotationKind::Warning, message)
    }

    /// What is remarked about a member.
    fn remark(&self, member: &Member, kind: AnnotationKind, message: String) -> Annotation {
        Annotation { kind, message, position: None, member: Some(member.config().name.clone()) }
    }
}

/// The parts of one query on their way.
struct Asked<'q> {
    frontend: &'q Frontend,
    engine: &'q Engine,
    sender: &'q Sender,
    parts: &'q [Part],
    /// Requests that were sent before their answers are needed.
    started: Mutex<Vec<Started>>,
    deadline: Option<Instant>,
    is_spoilt: AtomicBool,
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
    answer: Option<oneshot::Receiver<Result<QueryAnswer, MemberError>>>,
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
            let is_pushed = source.is_pushed && !(self.parts[part].needs_new_server && source.samples.is_some());
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
    ) -> oneshot::Receiver<Result<QueryAnswer, MemberError>> {
        let (mut sender, receiver) = oneshot::channel();
        let (member, credentials) = (member.clone(), self.sender.credentials.clone());
        let question = Question::steps(&expr.to_string(), steps, self.sender.lookback);
        let deadline = self.deadline.unwrap_or_else(|| Instant::now() + member.config().timeout);
        let max_bytes = scope.bytes_left();
        let stopping = self.frontend.tasks.stopping();
        let _runtime = self.frontend.handle.enter();
        self.frontend.tasks.spawn("member-query", async move {
            let ask = member.ask(&question, &credentials, max_bytes, deadline);
            tokio::select! {
                answer = ask => drop(sender.send(answer)),
                // Nobody waits any more: the connection is closed, and the member stops too.
                () = sender.closed() => {}
                () = stopping.cancelled() => {}
            }
        });
        receiver
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

    fn wait(
        &self,
        mut receiver: oneshot::Receiver<Result<QueryAnswer, MemberError>>,
        scope: &Scope,
    ) -> Result<Result<QueryAnswer, MemberError>, Failure> {
        self.frontend.handle.block_on(async {
            loop {
                match tokio::time::timeout(LOOK, &mut receiver).await {
                    Ok(Ok(answer)) => return Ok(answer),
                    Ok(Err(_)) => return Ok(Err(MemberError::NoTime)),
                    Err(_) => scope.check()?,
                }
            }
        })
    }

    /// A member's share of a part.
    fn share(
        &self,
        part: &Part,
        share: Share,
        steps: StepTimes,
        scope: &Scope,
        annotations: &mut Annotations,
    ) -> Result<Vec<DelegatedSeries>, Failure> {
        let source = &self.frontend.members[share.member];
        let Some(receiver) = share.answer else {
            return self.over_samples(part, &share.expr, source, steps, scope, annotations);
        };
        match self.wait(receiver, scope)? {
            Ok(answer) if answer.has_histograms => {
                self.over_samples(part, &share.expr, source, steps, scope, annotations)
            }
            Ok(answer) => {
                if part.is_partial && !answer.warnings.is_empty() {
                    self.is_spoilt.store(true, Ordering::Relaxed);
                }
                let mut remark = |kind, messages: Vec<String>| {
                    for message in messages {
                        annotations.add(self.frontend.remark(&source.member, kind, message));
                    }
                };
                remark(AnnotationKind::Warning, answer.warnings);
                remark(AnnotationKind::Info, answer.infos);
                Ok(answer.series)
            }
            Err(error) => {
                let annotation = self.frontend.missing(&source.member, &error)?;
                annotations.add(annotation);
                Ok(Vec::new())
            }
        }
    }

    /// Evaluates a member's share here, over its samples.
    fn over_samples(
        &self,
        part: &Part,
        expr: &Expr,
        source: &Source,
        steps: StepTimes,
        scope: &Scope,
        annotations: &mut Annotations,
    ) -> Result<Vec<DelegatedSeries>, Failure> {
        let name = &source.member.config().name;
        let Some(samples) = &source.samples else {
            return Err(Failure::Execution(format!(
                "member {name}: this needs the member's samples, which cannot be read from it"
            )));
        };
        let span = Span::Range { start: steps.start, end: steps.end(), step: steps.interval };
        let query = self.engine.query(&expr.to_string(), expr, span, self.sender.lookback);
        let query = query.map_err(|e| Failure::Execution(e.to_string()))?;
        let outcome = query.run(&**samples, scope);
        if part.is_partial && outcome.annotations.of(AnnotationKind::Warning).next().is_some() {
            self.is_spoilt.store(true, Ordering::Relaxed);
        }
        annotations.merge(outcome.annotations);
        let Answer::Matrix(all) = outcome.answer? else {
            return Err(Failure::Execution(format!("member {name}: a part of the query is no vector")));
        };
        Ok(all.iter().map(DelegatedSeries::from).collect())
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
        for share in self.shares(id, steps, scope) {
            let member = self.frontend.members[share.member].member.clone();
            let mut series = self.share(part, share, steps, scope, &mut answer.annotations)?;
            for series in &mut series {
                series.labels = self.frontend.names.dress(&series.labels, member.labels(), part.visible);
            }
            answer.series.append(&mut series);
        }
        // Sums depend on their order, and that of a store is by labels.
        answer.series.sort_by(|a, b| a.labels.cmp(&b.labels));
        answer.series.dedup_by(|later, first| {
            let is_same = later.labels == first.labels;
            if is_same {
                fill(first, std::mem::take(later));
            }
            is_same
        });
        Ok(answer)
    }
}

/// Series can become the same when their own labels give way to virtual ones: what the first has not, the second gives.
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
