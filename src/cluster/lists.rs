//! Names, values and series of all members.

use std::collections::BTreeSet;
use std::time::Instant;

use tokio::task::JoinSet;

use super::answer::{AnswerError, ListAnswer};
use super::frontend::Frontend;
use super::member::{Credentials, Listed, Member, MemberError, Question, in_braces};
use super::strip::strip_selector;
use crate::model::{Annotations, Labels, TimestampMs};
use crate::promql::Failure;
use crate::storage::Selector;

/// A list's answer has at most so many bytes: far more than any list that people look at.
const MAX_BYTES: u64 = 64 << 20;

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

impl Frontend {
    /// The names of all labels, virtual ones among them.
    pub async fn label_names(&self, lists: &Lists, deadline: Instant) -> Gathered<String> {
        let question = |listed: &Listed<'_>| Question::label_names(listed);
        self.gather(lists, deadline, question, |member, names, out| {
            if !names.is_empty() {
                out.extend(member.labels().iter().map(|(name, _)| name.to_owned()));
            }
            out.extend(names);
        })
        .await
    }

    /// The values of a label. A virtual label has its members' values.
    pub async fn label_values(&self, name: &str, lists: &Lists, deadline: Instant) -> Gathered<String> {
        let question = |listed: &Listed<'_>| Question::label_values(name, listed);
        // Only who has to be asked whether it has any series is asked for names instead.
        let names = |listed: &Listed<'_>| Question::label_names(listed);
        let (own, virtual_): (Vec<_>, Vec<_>) = self.members().partition(|member| member.labels().get(name).is_none());
        let (mut values, mut annotations) =
            self.gather_from(own, lists, deadline, question, |_, values, out| out.extend(values)).await?;
        let (more, remarks) = self
            .gather_from(virtual_, lists, deadline, names, |member, names, out: &mut BTreeSet<String>| {
                let value = member.labels().get(name).filter(|_| !names.is_empty());
                out.extend(value.map(str::to_owned));
            })
            .await?;
        values.extend(more);
        annotations.merge(remarks);
        Ok((values, annotations))
    }

    /// The labels of all series.
    pub async fn series(&self, lists: &Lists, deadline: Instant) -> Gathered<Labels> {
        let question = |listed: &Listed<'_>| Question::series(listed);
        self.gather(lists, deadline, question, |member, series, out| {
            out.extend(series.iter().map(|labels| self.dressed(member, labels)));
        })
        .await
    }

    async fn gather<A, T>(
        &self,
        lists: &Lists,
        deadline: Instant,
        question: impl Fn(&Listed<'_>) -> Question<ListAnswer<A>>,
        take: impl Fn(&Member, Vec<A>, &mut BTreeSet<T>),
    ) -> Gathered<T>
    where
        A: Send + 'static,
        T: Ord,
    {
        self.gather_from(self.members().collect(), lists, deadline, question, take).await
    }

    /// Asks members all at once.
    async fn gather_from<A, T>(
        &self,
        members: Vec<&std::sync::Arc<Member>>,
        lists: &Lists,
        deadline: Instant,
        question: impl Fn(&Listed<'_>) -> Question<ListAnswer<A>>,
        take: impl Fn(&Member, Vec<A>, &mut BTreeSet<T>),
    ) -> Gathered<T>
    where
        A: Send + 'static,
        T: Ord,
    {
        let mut asked = JoinSet::new();
        for member in members {
            let Some(selectors) = selectors_for(member, &lists.selectors) else { continue };
            let question = question(&Listed { selectors: &selectors, start: lists.start, end: lists.end });
            let (member, credentials) = (member.clone(), lists.credentials.clone());
            asked.spawn(async move {
                let answer = member.ask(&question, &credentials, MAX_BYTES, deadline).await;
                (member, answer)
            });
        }
        let (mut out, mut annotations) = (BTreeSet::new(), Annotations::none());
        while let Some(joined) = asked.join_next().await {
            let (member, answer) = joined.map_err(|e| Failure::Execution(format!("asking a member: {e}")))?;
            match answer {
                Ok(answer) => {
                    for warning in answer.warnings {
                        annotations.add(self.warning(&member, warning));
                    }
                    take(&member, answer.items, &mut out);
                }
                Err(error) => annotations.add(self.missing(&member, &error)?),
            }
        }
        Ok((out, annotations))
    }

    /// What is remarked if an answer can do without the member; else the failure.
    pub(super) fn missing(&self, member: &Member, error: &MemberError) -> Result<crate::model::Annotation, Failure> {
        let is_refusal = matches!(error, MemberError::Answer(AnswerError::Refused { .. }));
        match self.may_miss(member) && !is_refusal {
            true => Ok(self.warning(member, format!("left out of the answer: {error}"))),
            false => Err(Failure::Execution(format!("member {}: {error}", member.config().name))),
        }
    }
}

/// The selectors as a member is asked for them; `None` if none of them can hold there.
fn selectors_for(member: &Member, selectors: &[Selector]) -> Option<Vec<String>> {
    if selectors.is_empty() {
        return Some(Vec::new());
    }
    let stripped = selectors.iter().filter_map(|selector| strip_selector(selector, member.labels()));
    let texts: Vec<String> = stripped.map(|selector| in_braces(&selector)).collect();
    (!texts.is_empty()).then_some(texts)
}
