//! What a member answers where its replicas do not all have the same: each is asked, and who asks makes one of their answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;

use super::config::Via;
use super::limits::{Charged, Errand};
use super::member::{Member, MemberError};
use super::question::Question;
use super::raw::PATIENCE;

/// The answers of a member's replicas.
pub(super) struct Answers<T> {
    /// At least one, in the replicas' order.
    pub answers: Vec<T>,
    /// Why there is none of a replica.
    pub left_out: Vec<String>,
}

impl<T> Answers<T> {
    /// That of whoever was asked.
    pub(super) fn one(answer: T) -> Answers<T> {
        Answers { answers: vec![answer], left_out: Vec::new() }
    }
}

/// Asks all replicas of a member at once, or any if all have the same. Who fails, or is much slower than another, is left out
/// if another has answered.
pub(super) async fn ask_replicas<T: Charged + Send + 'static>(
    member: &Arc<Member>,
    question: Question<T>,
    errand: &Errand,
) -> Result<Answers<T>, MemberError> {
    let count = member.config().urls.len();
    if count < 2 || member.config().via == Via::Pushdown {
        return member.ask(&question, errand).await.map(Answers::one);
    }
    let (question, started) = (Arc::new(question), Instant::now());
    let mut asked = JoinSet::new();
    for replica in 0..count {
        let (member, question, errand) = (member.clone(), question.clone(), errand.clone());
        asked.spawn(async move { (replica, member.ask_replica(replica, &question, &errand).await) });
    }
    let mut outcomes = BTreeMap::new();
    let mut patience: Option<Instant> = None;
    loop {
        let joined = match patience {
            None => asked.join_next().await,
            Some(end) => tokio::time::timeout_at(end.into(), asked.join_next()).await.ok().flatten(),
        };
        let Some(joined) = joined else { break };
        let Ok((replica, outcome)) = joined else { continue };
        if outcome.is_ok() && patience.is_none() {
            patience = Instant::now().checked_add(PATIENCE.max(started.elapsed()));
        }
        outcomes.insert(replica, outcome);
    }
    together(count, outcomes)
}

/// What has come of `count` replicas; who has not answered was too slow.
fn together<T>(count: usize, mut outcomes: BTreeMap<usize, Result<T, MemberError>>) -> Result<Answers<T>, MemberError> {
    let (mut out, mut failure) = (Answers { answers: Vec::new(), left_out: Vec::new() }, None);
    for replica in 0..count {
        let why = match outcomes.remove(&replica) {
            Some(Ok(answer)) => {
                out.answers.push(answer);
                continue;
            }
            // Nobody has an answer then.
            Some(Err(error @ MemberError::Ended(_))) => return Err(error),
            Some(Err(error)) => {
                let why = error.to_string();
                failure = failure.or(Some(error));
                why
            }
            None => "it is much slower than the others".to_owned(),
        };
        out.left_out
            .push(format!("replica {} is left out, and with it what the others do not have: {why}", replica + 1));
    }
    match out.answers.is_empty() {
        true => Err(failure.unwrap_or(MemberError::NoTime)),
        false => Ok(out),
    }
}
