//! What a member is to evaluate, on its way to the member's servers.

use std::sync::Arc;
use std::time::Instant;

use super::answer::QueryAnswer;
use super::config::Via;
use super::member::{Credentials, Member, MemberError, Question};
use super::probe::Flavour;
use crate::promql::StepTimes;

/// Steps of one series that take about a kilobyte.
const SMALL: usize = 32;

/// An expression that a member is asked for.
pub(super) struct Asking {
    pub member: Arc<Member>,
    pub text: String,
    pub steps: StepTimes,
    /// Whether the answer has one series at the most.
    pub is_one_series: bool,
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
    /// What the member has evaluated.
    Answer(QueryAnswer),
    /// It evaluates this in a way of its own, so that it has not been asked.
    Differs,
}

impl Asking {
    /// Asks the member.
    pub(super) async fn ask(self) -> Result<Reply, MemberError> {
        let flavour = self.member.any_capabilities(&self.credentials, self.deadline).await?.flavour;
        let question = match (flavour, &self.for_victoria) {
            (Flavour::Prometheus, _) => Question::steps(&self.text, self.steps, self.lookback),
            (Flavour::VictoriaMetrics, Some(text)) => Question::steps(text, self.steps, None).uncached(),
            (Flavour::VictoriaMetrics, None) if self.member.config().via == Via::Pushdown => {
                Question::steps(&self.text, self.steps, self.lookback).uncached()
            }
            (Flavour::VictoriaMetrics, None) => return Ok(Reply::Differs),
        };
        let is_small = self.is_one_series && self.steps.count <= SMALL;
        let question = if is_small { question.uncompressed() } else { question };
        let answer = self.member.ask(&question, &self.credentials, self.max_bytes, self.deadline);
        answer.await.map(Reply::Answer)
    }
}
