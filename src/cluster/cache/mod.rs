//! What members have evaluated, kept: a dashboard that is looked at again asks them only for what is new.
//!
//! An *extent* is what one member has said of one expression at consecutive steps. A question for a range takes what extents
//! have of it; the member is asked for the steps that are missing, and all of it together becomes one extent.
//!
//! The law: an answer is the same with and without what is kept, as long as the members' past is.
//!
//! * Only what is whole is kept: no answer with warnings or remarks, and none with native histograms, which its text does
//!   not show as they are. What failed is not kept.
//! * Only what is settled is kept: nothing that looks at samples of the last minutes (`max_freshness`), as they may still come.
//! * Who asks counts: an extent is shown only to who sends the member the same credentials, tenant and further headers.
//! * The past does change where samples come late or are deleted, so that extents are asked for again after [`TTL`].
//! * Bytes are bounded. The expression whose extents were not asked for the longest time gives way.
//! * It belongs to one frontend. A configuration with other members begins with an empty one.
//!
//! It does not keep answers for single instants, samples, or lists of names, and nothing of a member of which it is not known
//! yet how it evaluates.

mod extent;
mod shelf;

use std::sync::Arc;

use ring::digest::{Context, SHA256};
use tokio::task::JoinSet;

use self::extent::{Extent, Piece, gaps};
use self::shelf::Shelf;
use super::answer::QueryAnswer;
use super::config::CacheConfig;
use super::frontend::join_same;
use super::loops::PASSED;
use super::member::MemberError;
use super::pushed::Reply;
use super::times::looked_at;
use crate::model::{DurationMs, TimestampMs};
use crate::net::header::HeaderMap;
use crate::promql::StepTimes;
use crate::promql::ast::Expr;
use crate::runtime::Clock;
use crate::telemetry::{Counter, Registry};

/// How old what is kept may become.
const TTL: DurationMs = DurationMs::from_secs(3600);
/// More requests than this for one answer would take longer than one for the whole.
const MAX_GAPS: usize = 3;

/// What members have evaluated. Cloning gives another handle to the same.
#[derive(Clone)]
pub struct ResultCache(Arc<Inner>);

struct Inner {
    shelf: Shelf,
    max_freshness: DurationMs,
    clock: Clock,
    whole: Counter,
    in_part: Counter,
    missed: Counter,
}

/// What an extent is found by, besides its steps.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Key {
    pub member: String,
    /// The expression as the member is asked for it.
    pub text: String,
    /// How far the query looks back, milliseconds.
    pub lookback: i64,
    pub asker: Asker,
    interval: i64,
    /// Where between two multiples of the interval the steps are.
    phase: i64,
}

impl Key {
    pub(super) fn new(member: String, text: String, steps: StepTimes, lookback: i64, asker: Asker) -> Key {
        let interval = steps.interval;
        Key { member, text, lookback, asker, interval, phase: steps.start.0.checked_rem_euclid(interval).unwrap_or(0) }
    }

    /// Bytes on the heap and in place.
    fn size(&self) -> usize {
        size_of::<Key>() + self.member.len() + self.text.len()
    }
}

/// In whose name a member is asked: nobody has found two sets of headers with the same one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Asker([u8; 32]);

impl Asker {
    /// Who sends these headers. Through whom a question came does not change its answer.
    pub(super) fn of(headers: &HeaderMap) -> Asker {
        let counted = headers.iter().filter(|(name, _)| **name != PASSED);
        let mut pairs: Vec<(&[u8], &[u8])> =
            counted.map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes())).collect();
        pairs.sort_unstable();
        let mut context = Context::new(&SHA256);
        for text in pairs.into_iter().flat_map(|(name, value)| [name, value]) {
            context.update(&(text.len() as u64).to_le_bytes());
            context.update(text);
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        Asker(hash)
    }
}

/// An answer, and how it came.
pub(super) struct Kept {
    pub reply: Result<Reply, MemberError>,
    /// Steps that the member was not asked for.
    pub steps: usize,
}

impl ResultCache {
    /// An empty one.
    pub fn new(config: &CacheConfig, clock: Clock, registry: &Registry) -> ResultCache {
        let asked = |result| {
            registry.counter(
                "watershed_federation_cache_requests_total",
                "Questions for what members evaluate, by how much of the answer was kept.",
                &[("result", result)],
            )
        };
        ResultCache(Arc::new(Inner {
            shelf: Shelf::new(config.max_bytes, registry),
            max_freshness: config.max_freshness,
            clock,
            whole: asked("hit"),
            in_part: asked("partial_hit"),
            missed: asked("miss"),
        }))
    }

    /// The last instant at which an expression looks at nothing that may still change, as far as it is at most now; `None` if
    /// there is none.
    pub(super) fn settled(&self, expr: &Expr, lookback: i64) -> Option<TimestampMs> {
        let until = self.0.clock.now().0.saturating_sub(self.0.max_freshness.0.max(0));
        let looks_until = |t: i64| {
            let at_once = StepTimes { start: TimestampMs(t), interval: 1, count: 1 };
            looked_at(expr, at_once, lookback).map_or(t, |range| range.max.0)
        };
        let ahead = looks_until(until).saturating_sub(until).max(0);
        let last = until.saturating_sub(ahead);
        // What looks at a fixed time does so wherever it is evaluated.
        (looks_until(last) <= until).then_some(TimestampMs(last))
    }

    /// The answer at `steps`. The member is `ask`ed for what is missing. What is later than `settled` is not kept.
    pub(super) async fn ask<A>(
        &self,
        key: Key,
        steps: StepTimes,
        settled: TimestampMs,
        ask: impl Fn(StepTimes) -> A,
    ) -> Kept
    where
        A: Future<Output = Result<Reply, MemberError>> + Send + 'static,
    {
        let now = self.0.clock.now();
        let mut held = self.0.shelf.find(&key, steps, settled, now);
        let gaps = narrowed(gaps(steps, &held), &mut held);
        self.count(held.is_empty(), gaps.is_empty());
        let missing: usize = gaps.iter().map(|gap| gap.count).sum();
        let kept = steps.count.saturating_sub(missing);
        let mut fresh = match ask_all(&gaps, ask).await {
            Ok(fresh) => fresh,
            Err(instead) => return Kept { reply: instead, steps: kept },
        };
        let of_fresh = gaps.iter().zip(&fresh).map(|(gap, answer)| Piece::Fresh(*gap, &answer.series));
        let mut pieces: Vec<Piece<'_>> = held.iter().map(|extent| Piece::Kept(extent)).chain(of_fresh).collect();
        pieces.sort_by_key(Piece::start);
        if fresh.iter().all(|answer| answer.warnings.is_empty() && answer.infos.is_empty()) && !gaps.is_empty() {
            self.keep(key, &pieces, steps, settled, now);
        }
        let answer = match (&held[..], &fresh[..]) {
            ([], [_]) => fresh.pop().unwrap_or_default(),
            _ => QueryAnswer {
                series: extent::joined(&pieces, steps.start, steps.end()),
                warnings: all_of(&fresh, |answer| &answer.warnings),
                infos: all_of(&fresh, |answer| &answer.infos),
                ..QueryAnswer::default()
            },
        };
        Kept { reply: Ok(Reply::Answer(answer)), steps: kept }
    }

    /// Puts pieces that follow each other away as one extent; if that is too large, then only what was asked for of it.
    fn keep(&self, key: Key, pieces: &[Piece<'_>], steps: StepTimes, settled: TimestampMs, now: TimestampMs) {
        let max_bytes = self.0.shelf.largest();
        let whole = Extent::of(pieces, (TimestampMs::MIN, settled), max_bytes, now);
        let asked_for = || Extent::of(pieces, (steps.start, settled.min(steps.end())), max_bytes, now);
        let extent = whole.or_else(asked_for);
        if let Some(extent) = extent {
            self.0.shelf.put(key, extent, now);
        }
    }

    fn count(&self, holds_nothing: bool, misses_nothing: bool) {
        match (holds_nothing, misses_nothing) {
            (true, _) => self.0.missed.inc(),
            (false, true) => self.0.whole.inc(),
            (false, false) => self.0.in_part.inc(),
        }
    }
}

/// Answers at steps that follow each other, as one at all of them.
pub(super) fn joined(mut answers: Vec<(StepTimes, QueryAnswer)>, steps: StepTimes) -> QueryAnswer {
    answers.iter_mut().for_each(|(_, answer)| in_order(answer));
    let pieces: Vec<_> = answers.iter().map(|(steps, answer)| Piece::Fresh(*steps, &answer.series)).collect();
    let series = extent::joined(&pieces, steps.start, steps.end());
    let answers: Vec<QueryAnswer> = answers.into_iter().map(|(_, answer)| answer).collect();
    QueryAnswer {
        series,
        warnings: all_of(&answers, |answer| &answer.warnings),
        infos: all_of(&answers, |answer| &answer.infos),
        ..QueryAnswer::default()
    }
}

/// Few gaps as they are; of many the whole from the first to the last, for which nothing is taken from what is held.
fn narrowed(gaps: Vec<StepTimes>, held: &mut Vec<Arc<Extent>>) -> Vec<StepTimes> {
    match (gaps.first(), gaps.last()) {
        (Some(first), Some(last)) if gaps.len() > MAX_GAPS => {
            let (start, end) = (first.start, last.end());
            held.retain(|extent| extent.steps.end() < start || extent.steps.start > end);
            extent::between(first.interval, start, end).into_iter().collect()
        }
        _ => gaps,
    }
}

/// The answers for all gaps, in their order, or what came in place of one.
async fn ask_all<A>(
    gaps: &[StepTimes],
    ask: impl Fn(StepTimes) -> A,
) -> Result<Vec<QueryAnswer>, Result<Reply, MemberError>>
where
    A: Future<Output = Result<Reply, MemberError>> + Send + 'static,
{
    if let [gap] = gaps {
        return Ok(vec![usable(ask(*gap).await)?]);
    }
    let mut asked = JoinSet::new();
    for (at, gap) in gaps.iter().enumerate() {
        let answer = ask(*gap);
        asked.spawn(async move { (at, answer.await) });
    }
    let mut answers = Vec::new();
    while let Some(joined) = asked.join_next().await {
        let (at, reply) = joined.map_err(|_| Err(MemberError::NoTime))?;
        answers.push((at, usable(reply)?));
    }
    answers.sort_by_key(|(at, _)| *at);
    Ok(answers.into_iter().map(|(_, answer)| answer).collect())
}

/// An answer that can be put together with others, or what came in place of one.
fn usable(reply: Result<Reply, MemberError>) -> Result<QueryAnswer, Result<Reply, MemberError>> {
    let mut answer = match reply {
        Ok(Reply::Answer(answer)) if !answer.has_histograms => answer,
        instead => return Err(instead),
    };
    in_order(&mut answer);
    Ok(answer)
}

/// Labels are there once from now on, and floats ascend by time.
fn in_order(answer: &mut QueryAnswer) {
    for series in &mut answer.series {
        if !series.floats.is_sorted_by_key(|(t, _)| *t) {
            series.floats.sort_by_key(|(t, _)| *t);
        }
    }
    join_same(&mut answer.series);
}

/// What is remarked in any answer, once.
fn all_of(answers: &[QueryAnswer], remarks: impl Fn(&QueryAnswer) -> &Vec<String>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for remark in answers.iter().flat_map(remarks) {
        if !all.contains(remark) {
            all.push(remark.clone());
        }
    }
    all
}

#[cfg(test)]
mod tests;
