//! What a member is to evaluate, on its way to the member's servers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::answer::QueryAnswer;
use super::config::Via;
use super::member::{Credentials, Member, MemberError, Question};
use super::probe::Flavour;
use crate::model::LabelsBuilder;
use crate::promql::StepTimes;

/// Once a replica has answered the others have as long again, and at least this long.
const PATIENCE: Duration = Duration::from_secs(1);

/// An expression that a member is asked for.
pub(super) struct Asking {
    pub member: Arc<Member>,
    pub text: String,
    pub steps: StepTimes,
    /// What the client has asked for, milliseconds.
    pub lookback: Option<i64>,
    pub credentials: Credentials,
    pub max_bytes: u64,
    pub deadline: Instant,
    /// What a VictoriaMetrics is asked instead, if that can mean the same.
    pub for_victoria: Option<String>,
}

/// What comes back.
pub(super) enum Reply {
    /// The answers of those replicas that have answered, the preferred one's first.
    Answers {
        /// The answers.
        answers: Vec<QueryAnswer>,
        /// Why others are missing, a sentence each.
        left_out: Vec<String>,
    },
    /// It evaluates this in a way of its own, so that it has not been asked.
    Differs,
}

impl Asking {
    /// Asks the member, each of its replicas.
    pub(super) async fn ask(self) -> Result<Reply, MemberError> {
        let count = self.member.config().urls.len();
        let asking = Arc::new(self);
        if count < 2 {
            let answer = asking.clone().ask_replica(0).await?;
            return Ok(match answer {
                Some(answer) => {
                    Reply::Answers { answers: vec![asking.without_replica_labels(answer)], left_out: Vec::new() }
                }
                None => Reply::Differs,
            });
        }
        asking.ask_all(count).await
    }

    async fn ask_all(self: Arc<Self>, count: usize) -> Result<Reply, MemberError> {
        let started = Instant::now();
        let mut asked = JoinSet::new();
        for replica in 0..count {
            let asking = self.clone();
            asked.spawn(async move { (replica, asking.ask_replica(replica).await) });
        }
        let mut outcomes: Vec<Option<Result<QueryAnswer, MemberError>>> = (0..count).map(|_| None).collect();
        let mut end = self.deadline;
        while let Ok(Some(joined)) = tokio::time::timeout_at(end.into(), asked.join_next()).await {
            let Ok((replica, outcome)) = joined else { continue };
            let outcome = match outcome {
                Ok(None) => return Ok(Reply::Differs),
                Ok(Some(answer)) => {
                    let patience = Instant::now().checked_add(PATIENCE.max(started.elapsed()));
                    end = patience.map_or(end, |patience| end.min(patience));
                    Ok(self.without_replica_labels(answer))
                }
                Err(error) => Err(error),
            };
            outcomes[replica] = Some(outcome);
        }
        let (mut answers, mut left_out, mut failure) = (Vec::new(), Vec::new(), MemberError::NoTime);
        for (replica, outcome) in outcomes.into_iter().enumerate() {
            let why = match outcome {
                Some(Ok(answer)) => {
                    answers.push(answer);
                    continue;
                }
                Some(Err(error)) => {
                    failure = error.clone();
                    error.to_string()
                }
                None => "it is much slower than the others".to_owned(),
            };
            left_out
                .push(format!("replica {} is left out, so that it fills no gaps of the others: {why}", replica + 1));
        }
        if answers.is_empty() { Err(failure) } else { Ok(Reply::Answers { answers, left_out }) }
    }

    /// `None` if the replica evaluates this in a way of its own.
    async fn ask_replica(self: Arc<Self>, replica: usize) -> Result<Option<QueryAnswer>, MemberError> {
        let known = self.member.capabilities(replica, &self.credentials, self.deadline).await?;
        let question = match (known.flavour, &self.for_victoria) {
            (Flavour::Prometheus, _) => Question::steps(&self.text, self.steps, self.lookback),
            (Flavour::VictoriaMetrics, Some(text)) => Question::steps(text, self.steps, None).uncached(),
            (Flavour::VictoriaMetrics, None) if self.member.config().via == Via::Pushdown => {
                Question::steps(&self.text, self.steps, self.lookback).uncached()
            }
            (Flavour::VictoriaMetrics, None) => return Ok(None),
        };
        let answer = self.member.ask_replica(replica, &question, &self.credentials, self.max_bytes, self.deadline);
        answer.await.map(Some)
    }

    /// Nobody sees the labels that tell replicas apart. Of several replicas in one answer the first by its labels is preferred.
    fn without_replica_labels(&self, mut answer: QueryAnswer) -> QueryAnswer {
        let hidden = &self.member.config().replica_labels;
        if !hidden.is_empty() {
            answer.series.sort_by(|a, b| a.labels.cmp(&b.labels));
            for series in &mut answer.series {
                let mut builder = LabelsBuilder::new();
                for (name, value) in series.labels.iter().filter(|(name, _)| hidden.iter().all(|h| h != name)) {
                    builder.push_new(name, value);
                }
                series.labels = builder.labels();
            }
        }
        answer
    }
}
