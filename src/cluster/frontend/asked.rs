//! One query's parts, on their way to the members and back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{Frontend, Sender, Source};
use crate::cluster::cache::{Asker, Kept, Key};
use crate::cluster::explain::{self, Notes, Way};
use crate::cluster::limits::{Charge, Fetched, weight};
use crate::cluster::member::{Member, MemberError};
use crate::cluster::pushed::{Asking, Reply};
use crate::cluster::raw::Raw;
use crate::cluster::selectors::{Selectors, split_selectors};
use crate::cluster::split::{Part, is_one_series};
use crate::cluster::strip::strip;
use crate::cluster::times::looked_at;
use crate::cluster::victoria;
use crate::model::{AnnotationKind, Annotations};
use crate::promql::ast::Expr;
use crate::promql::service::STACK;
use crate::promql::{Answer, DelegatedAnswer, DelegatedSeries, Delegates, Engine, Failure, Span, StepTimes};
use crate::storage::Scope;

/// The parts of one query on their way.
pub(super) struct Asked<'q> {
    pub(super) frontend: &'q Frontend,
    pub(super) engine: &'q Engine,
    pub(super) sender: &'q Sender,
    pub(super) parts: &'q [Part],
    pub(super) notes: Notes,
    /// Requests that were sent before their answers are needed.
    pub(super) started: Mutex<Vec<Started>>,
    pub(super) fetched: &'q Fetched,
    /// By when members have to have answered.
    pub(super) deadline: Instant,
    /// Milliseconds.
    pub(super) lookback: i64,
    pub(super) is_spoilt: AtomicBool,
    /// Requests for parts that members evaluate.
    pub(super) pushed: AtomicUsize,
    /// Members that have a share of a part.
    pub(super) asked: Mutex<BTreeSet<usize>>,
}

pub(super) struct Started {
    part: usize,
    steps: StepTimes,
    shares: Vec<Share>,
}

/// One member's share of a part.
pub(super) struct Share {
    part: usize,
    member: usize,
    expr: Expr,
    /// `None` if it is evaluated here, over the member's samples.
    answer: Option<oneshot::Receiver<Result<Reply, MemberError>>>,
}

/// A member's series for a part, and what was remarked.
#[derive(Default)]
pub(in crate::cluster) struct Found {
    pub series: Vec<DelegatedSeries>,
    pub annotations: Annotations,
    /// For the series, until the engine has charged what it makes of them.
    pub charges: Vec<Charge>,
}

impl Asked<'_> {
    /// Sends the requests of all parts that will be asked for at the query's own steps.
    pub(super) fn start_all(&self, here: &Expr, steps: StepTimes, scope: &Scope) {
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
            let answer = is_pushed.then(|| self.send((part, Way::Pushdown), &source.member, &expr, steps, scope));
            Some(Share { part, member, expr, answer })
        };
        members.filter_map(share).collect()
    }

    fn send(
        &self,
        (part, way): (usize, Way),
        member: &Arc<Member>,
        expr: &Expr,
        steps: StepTimes,
        scope: &Scope,
    ) -> oneshot::Receiver<Result<Reply, MemberError>> {
        let text = expr.to_string();
        let noted = self.notes.of_part(part).ask(&member.config().name, None, way, || text.clone());
        let asking = Asking {
            member: member.clone(),
            text: text.clone(),
            steps,
            meter: noted.meter(),
            is_one_series: is_one_series(expr),
            lookback: self.lookback,
            is_selector: way == Way::Query,
            errand: self.frontend.errand(&self.sender.credentials, scope),
            for_victoria: victoria::translated(expr, self.lookback),
        };
        self.pushed.fetch_add(1, Ordering::Relaxed);
        let kept_as = self.frontend.cache.as_ref().and_then(|cache| {
            let asker = Asker::of(&member.headers(&self.sender.credentials));
            let key = Key::new(member.config().name.clone(), text, steps, self.lookback, asker);
            // Nothing is kept of what is asked for once only.
            let settled = cache.settled(expr, self.lookback).filter(|_| steps.count > 1 && asking.is_of_steps())?;
            Some((cache.clone(), key, settled))
        });
        let scope = scope.clone();
        self.frontend.begin(async move {
            let Kept { reply, steps: kept } = match kept_as {
                Some((cache, key, settled)) => {
                    let kept = cache.ask(key, steps, settled, |steps| asking.clone().at(steps).ask()).await;
                    Kept { reply: kept.reply.and_then(|reply| charged(reply, &scope)), ..kept }
                }
                None => Kept { reply: asking.ask().await.and_then(|reply| charged(reply, &scope)), steps: 0 },
            };
            noted.end(|| told(&reply, (steps.count, kept)));
            reply
        })
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
        match self.try_over_samples(part, share, source, steps, scope) {
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
        share: &Share,
        source: &Source,
        steps: StepTimes,
        scope: &Scope,
    ) -> Result<Found, Failure> {
        let (frontend, credentials, deadline) = (self.frontend, &self.sender.credentials, self.deadline);
        let (expr, notes) = (&share.expr, &self.notes.of_part(share.part));
        let raw = Raw { frontend, source, credentials, deadline, fetched: self.fetched, notes };
        let (here, selectors) = match raw.hides_ends(scope)? {
            true => split_selectors(expr),
            false => (expr.clone(), Vec::new()),
        };
        let selected = Selectors::new(selectors, |expr: &Expr, steps| {
            let reply =
                self.frontend.wait(self.send((share.part, Way::Query), &source.member, expr, steps, scope), scope)?;
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

/// What came of an exchange, for who wants to know; `steps` are those of the question, and those that were kept.
fn told(reply: &Result<Reply, MemberError>, steps: (usize, usize)) -> explain::Outcome {
    let steps = (steps.0 > 1).then_some(steps);
    match reply {
        Ok(Reply::Answer(answer)) => {
            let samples = answer.series.iter().map(|series| series.floats.len() as u64).sum();
            explain::Outcome { size: Some((answer.series.len() as u64, samples)), steps, error: None }
        }
        Ok(Reply::Differs) => explain::Outcome::failed("not asked, as it evaluates this in a way of its own"),
        Err(error) => explain::Outcome { steps, ..explain::Outcome::failed(error) },
    }
}

impl Delegates for Asked<'_> {
    fn evaluate(&self, id: usize, steps: StepTimes, scope: &Scope) -> Result<DelegatedAnswer, Failure> {
        let part = &self.parts[id];
        let mut answer = DelegatedAnswer::default();
        // Given back when the engine has the series and charges what it makes of them.
        let mut charges = Vec::new();
        // Of numbers no larger than this no sum over all members is too large.
        let largest = f64::MAX / self.frontend.members.len().max(1) as f64;
        for (member, found) in self.gather(part, self.shares(id, steps, scope), steps, scope)? {
            answer.annotations.merge(found.annotations);
            charges.extend(found.charges);
            let is_too_large = |(_, v): &(_, f64)| v.abs() > largest;
            if part.is_of_mean && found.series.iter().flat_map(|series| &series.floats).any(is_too_large) {
                self.is_spoilt.store(true, Ordering::Relaxed);
            }
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
pub(in crate::cluster) fn join_same(series: &mut Vec<DelegatedSeries>) {
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    series.dedup_by(|later, first| {
        let is_same = later.labels == first.labels;
        if is_same {
            fill(first, std::mem::take(later));
        }
        is_same
    });
}

/// What was put together from pieces is charged as what has come whole.
fn charged(reply: Reply, scope: &Scope) -> Result<Reply, MemberError> {
    Ok(match reply {
        Reply::Answer(mut answer) if answer.charge.is_none() => {
            let (mut charge, (samples, bytes)) = (Charge::none(scope), weight(&answer.series));
            charge.set(samples, bytes)?;
            answer.charge = Some(charge);
            Reply::Answer(answer)
        }
        reply => reply,
    })
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
