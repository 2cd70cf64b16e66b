//! Names, values and series of all members.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;

use super::answer::{AnswerError, ListAnswer};
use super::frontend::{Frontend, LEFT_OUT, Reads, Source};
use super::hidden::Hidden;
use super::limits::{Charge, Charged, Errand};
use super::list_cache::{Key, TTL};
use super::member::{Credentials, Member, MemberError};
use super::question::{Listed, Question, in_braces};
use super::replica_answers::{Answers, ask_replicas};
use super::strip::strip_selector;
use crate::model::{Annotation, AnnotationKind, Annotations, Labels, TimestampMs};
use crate::promql::Failure;
use crate::storage::{
    LabelRequest, QueryError, Queryable, Scope, SelectRequest, Selector, SeriesBatch, StreamStep, TimeRange,
};

/// One member's list has at most so many bytes: far more than any list that people look at.
const MAX_BYTES: u64 = 64 << 20;
/// What is asked for in one request is to take at most so many, of all members together: unpacked and as what is made of them.
pub const LISTS_MAX_BYTES: u64 = 4 * MAX_BYTES;
/// Times of ranges this many times as long as lists are kept are rounded: people who look at the last hour again and again ask
/// for other milliseconds each time, and the same names.
const LONG: i64 = 20;

/// What a list is asked for.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    /// Any of these holds; none for all series.
    pub selectors: Vec<Selector>,
    /// Of series with samples since then.
    pub start: Option<TimestampMs>,
    /// Of series with samples until then.
    pub end: Option<TimestampMs>,
    /// What the client's request brings for members.
    pub credentials: Credentials,
}

/// A list, and what was remarked while it was made.
type Gathered<T> = Result<(BTreeSet<T>, Annotations), Failure>;

/// What a store of this node answers.
type OfStore<A> = Result<(Vec<A>, Annotations), QueryError>;

impl Frontend {
    /// The names of all labels, virtual ones among them.
    pub async fn label_names(&self, lists: &Lists, scope: &Scope) -> Gathered<String> {
        let lists = &self.rounded(lists);
        let question = |listed: &Listed<'_>| Question::label_names(listed);
        let fresh = self.gather(self.sources().iter(), lists, scope, question, names_of, |member, names, out| {
            if !names.is_empty() {
                out.extend(member.labels().iter().map(|(name, _)| name.to_owned()));
            }
            let hidden = Hidden::of_replicas(&member.config().replica_labels);
            out.extend(names.into_iter().filter(|name| !hidden.has_name(name)));
        });
        self.remembered(lists.key("labels", ""), scope, fresh, text_bytes).await
    }

    /// The values of a label. A virtual label has its members' values.
    pub async fn label_values(&self, name: &str, lists: &Lists, scope: &Scope) -> Gathered<String> {
        let lists = &self.rounded(lists);
        let fresh = self.fresh_label_values(name, lists, scope);
        self.remembered(lists.key("values", name), scope, fresh, text_bytes).await
    }

    async fn fresh_label_values(&self, name: &str, lists: &Lists, scope: &Scope) -> Gathered<String> {
        let question = |listed: &Listed<'_>| Question::label_values(name, listed);
        let is_seen = |member: &Member| !Hidden::of_replicas(&member.config().replica_labels).has_name(name);
        let own = self.sources().iter().filter(|source| source.member.labels().get(name).is_none());
        let own = own.filter(|source| is_seen(&source.member));
        let wanted = name.to_owned();
        let local = move |store: &dyn Queryable, scope: &Scope, selectors: &[Selector], range: TimeRange| {
            store.label_values(scope, &wanted, &LabelRequest { selectors, range, limit: None })
        };
        let (mut values, mut annotations) =
            self.gather(own, lists, scope, question, local, |_, values, out| out.extend(values)).await?;
        // Only who has to be asked whether it has any series is asked for names instead.
        let names = |listed: &Listed<'_>| Question::label_names(listed);
        let virtual_ = self.sources().iter().filter(|source| source.member.labels().get(name).is_some());
        let take = |member: &Member, names: Vec<String>, out: &mut BTreeSet<String>| {
            let value = member.labels().get(name).filter(|_| !names.is_empty());
            out.extend(value.map(str::to_owned));
        };
        let (more, remarks) = self.gather(virtual_, lists, scope, names, names_of, take).await?;
        values.extend(more);
        annotations.merge(remarks);
        Ok((values, annotations))
    }

    /// The labels of all series.
    pub async fn series(&self, lists: &Lists, scope: &Scope) -> Gathered<Labels> {
        let lists = &self.rounded(lists);
        let question = |listed: &Listed<'_>| Question::series(listed);
        let fresh = self.gather(self.sources().iter(), lists, scope, question, series_of, |member, series, out| {
            out.extend(series.iter().map(|labels| self.seen(member, labels)));
        });
        let bytes = |all: &BTreeSet<Labels>| all.iter().map(|l| (l.as_bytes().len() + 48) as u64).sum();
        self.remembered(lists.key("series", ""), scope, fresh, bytes).await
    }

    /// An answer that is kept, or a fresh one. Only complete ones are kept.
    pub(super) async fn remembered<T: Clone + Send + Sync + 'static>(
        &self,
        key: Key,
        scope: &Scope,
        fresh: impl Future<Output = Result<(T, Annotations), Failure>>,
        bytes: impl Fn(&T) -> u64,
    ) -> Result<(T, Annotations), Failure> {
        let Some(cache) = self.lists() else { return fresh.await };
        if let Some(kept) = cache.get::<T>(&key, Instant::now()) {
            scope.charge(0, bytes(&kept))?;
            return Ok(((*kept).clone(), Annotations::none()));
        }
        let (answer, annotations) = fresh.await?;
        if annotations.is_empty() {
            cache.put(key, answer.clone(), bytes(&answer), Instant::now());
        }
        Ok((answer, annotations))
    }

    /// As it is asked for where answers are kept.
    fn rounded(&self, lists: &Lists) -> Lists {
        let mut lists = lists.clone();
        let step = i64::try_from(TTL.as_millis()).unwrap_or(i64::MAX);
        if let (Some(_), Some(start), Some(end)) = (self.lists(), &mut lists.start, &mut lists.end)
            && end.0.saturating_sub(start.0) >= step.saturating_mul(LONG)
        {
            start.0 = start.0.saturating_sub(start.0.rem_euclid(step));
            end.0 = end.0.saturating_add((step - end.0.rem_euclid(step)) % step);
        }
        lists
    }

    /// Asks members all at once, and stores of this node.
    async fn gather<'s, A, T>(
        &self,
        sources: impl Iterator<Item = &'s Source>,
        lists: &Lists,
        scope: &Scope,
        question: impl Fn(&Listed<'_>) -> Question<ListAnswer<A>>,
        local: impl Fn(&dyn Queryable, &Scope, &[Selector], TimeRange) -> OfStore<A> + Clone + Send + 'static,
        take: impl Fn(&Member, Vec<A>, &mut BTreeSet<T>),
    ) -> Gathered<T>
    where
        A: Send + 'static,
        ListAnswer<A>: Charged,
        T: Ord,
    {
        let errand = Errand { max_bytes: MAX_BYTES, ..self.errand(&lists.credentials, scope) };
        let mut asked = JoinSet::new();
        for source in sources {
            let Some(selectors) = selectors_for(&source.member, &lists.selectors) else { continue };
            let Some((start, end)) = source.within(lists.start, lists.end) else { continue };
            let (member, errand) = (source.member.clone(), errand.clone());
            if let Reads::Local(store) = &source.reads {
                let (store, pool, local) = (store.clone(), self.pool().clone(), local.clone());
                let range = TimeRange { min: start.unwrap_or(TimestampMs::MIN), max: end.unwrap_or(TimestampMs::MAX) };
                asked.spawn(async move {
                    let scope = errand.scope.clone();
                    let read = pool.run(move || local(&*store, &errand.scope, &selectors, range)).await;
                    let answer = of_store(read.map_err(|lost| lost.to_string()), &scope);
                    (member, answer.map(Answers::one))
                });
                continue;
            }
            let texts: Vec<String> = selectors.iter().map(in_braces).collect();
            let question = question(&Listed { selectors: &texts, start, end });
            asked.spawn(async move {
                let answers = ask_replicas(&member, question, &errand).await;
                (member, answers)
            });
        }
        let (mut out, mut annotations) = (BTreeSet::new(), Annotations::none());
        while let Some(joined) = asked.join_next().await {
            let (member, answers): (Arc<Member>, Result<Answers<ListAnswer<A>>, MemberError>) =
                joined.map_err(|e| Failure::Execution(format!("asking a member: {e}")))?;
            let Some(answers) = self.excusing(&member, answers, &mut annotations)? else { continue };
            for ListAnswer { items, warnings, charge } in answers {
                warnings.into_iter().for_each(|warning| annotations.add(self.warning(&member, warning)));
                take(&member, items, &mut out);
                // What is made of it takes as much for as long as the request goes on.
                charge.into_iter().for_each(Charge::keep);
            }
        }
        Ok((out, annotations))
    }

    /// What replicas of a member have answered, and what is remarked about the others; `None` if there is no answer and there
    /// need not be one.
    pub(super) fn excusing<T>(
        &self,
        member: &Member,
        answers: Result<Answers<T>, MemberError>,
        annotations: &mut Annotations,
    ) -> Result<Option<Vec<T>>, Failure> {
        match answers {
            Ok(Answers { answers, left_out }) => {
                left_out.into_iter().for_each(|why| annotations.add(self.info(member, why)));
                Ok(Some(answers))
            }
            Err(error) => {
                annotations.add(self.missing(member, &error)?);
                Ok(None)
            }
        }
    }

    /// What is remarked if an answer can do without the member; else the failure.
    pub(super) fn missing(&self, member: &Member, error: &MemberError) -> Result<Annotation, Failure> {
        if let MemberError::Ended(why) = error {
            return Err(Failure::Cancelled(*why));
        }
        let is_refusal = matches!(error, MemberError::Answer(AnswerError::Refused { .. }));
        match self.may_miss(member) && !is_refusal {
            true => Ok(self.warning(member, format!("{LEFT_OUT}{error}"))),
            false => Err(Failure::Execution(format!("member {}: {error}", member.config().name))),
        }
    }
}

impl Lists {
    /// What an answer is known by.
    fn key(&self, kind: &str, name: &str) -> Key {
        let time = |t: Option<TimestampMs>| t.map_or(String::new(), |t| t.0.to_string());
        let mut parts = vec![kind.to_owned(), name.to_owned(), time(self.start), time(self.end)];
        parts.extend(self.selectors.iter().map(in_braces));
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        Key::new(&parts, &self.credentials)
    }
}

/// The selectors as a member is asked for them; `None` if none of them can hold there.
fn selectors_for(member: &Member, selectors: &[Selector]) -> Option<Vec<Selector>> {
    let stripped: Vec<Selector> = selectors.iter().filter_map(|selector| selector_for(member, selector)).collect();
    (selectors.is_empty() || !stripped.is_empty()).then_some(stripped)
}

/// A selector as a member is asked for it; `None` if it cannot hold there.
pub(super) fn selector_for(member: &Member, selector: &Selector) -> Option<Selector> {
    let stripped = strip_selector(selector, member.labels())?;
    Hidden::of_replicas(&member.config().replica_labels).withheld(&stripped)
}

fn names_of(store: &dyn Queryable, scope: &Scope, selectors: &[Selector], range: TimeRange) -> OfStore<String> {
    store.label_names(scope, &LabelRequest { selectors, range, limit: None })
}

fn series_of(store: &dyn Queryable, scope: &Scope, selectors: &[Selector], range: TimeRange) -> OfStore<Labels> {
    let request = SelectRequest { selectors, range, sorted: false, limit: None };
    let mut stream = store.select(scope, &request)?;
    let (mut batch, mut all) = (SeriesBatch::default(), Vec::new());
    loop {
        if let StreamStep::End(end) = stream.next(&mut batch)? {
            return Ok((all, end.annotations));
        }
        let size = batch.size();
        all.extend(batch.series.drain(..).map(|series| series.labels));
        scope.release(size.samples, size.bytes);
    }
}

/// What a store has answered, as members answer.
fn of_store<A>(read: Result<OfStore<A>, String>, scope: &Scope) -> Result<ListAnswer<A>, MemberError>
where
    ListAnswer<A>: Charged,
{
    let failed = |message: String| AnswerError::Refused { kind: "execution".to_owned(), message };
    match read {
        Ok(Ok((items, annotations))) => {
            let warnings = annotations.of(AnnotationKind::Warning).map(ToString::to_string).collect();
            let (mut answer, mut charge) = (ListAnswer { items, warnings, charge: None }, Charge::none(scope));
            let (samples, bytes) = answer.weight();
            charge.set(samples, bytes)?;
            answer.take(charge);
            Ok(answer)
        }
        Ok(Err(QueryError::Cancelled(cancelled))) => Err(cancelled.into()),
        Ok(Err(error)) => Err(failed(error.to_string()).into()),
        Err(lost) => Err(failed(lost).into()),
    }
}

fn text_bytes(texts: &BTreeSet<String>) -> u64 {
    texts.iter().map(|text| (text.len() + 48) as u64).sum()
}
