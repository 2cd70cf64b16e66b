//! What a member is to evaluate, on its way to the member's servers.

use std::sync::Arc;

use super::answer::{AnswerError, QueryAnswer};
use super::config::Via;
use super::limits::Errand;
use super::member::{Member, MemberError, Question};
use super::probe::Flavour;
use crate::promql::StepTimes;

/// An expression that a member is asked for.
pub(super) struct Asking {
    pub member: Arc<Member>,
    pub text: String,
    pub steps: StepTimes,
    /// What the client has asked for, milliseconds.
    pub lookback: Option<i64>,
    pub errand: Errand,
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
        let Errand { credentials, deadline, .. } = &self.errand;
        let flavour = self.member.any_capabilities(credentials, *deadline).await?.flavour;
        let question = match (flavour, &self.for_victoria) {
            (Flavour::Prometheus, _) => Question::steps(&self.text, self.steps, self.lookback),
            (Flavour::VictoriaMetrics, Some(text)) => Question::steps(text, self.steps, None).uncached(),
            (Flavour::VictoriaMetrics, None) if self.member.config().via == Via::Pushdown => {
                Question::steps(&self.text, self.steps, self.lookback).uncached()
            }
            (Flavour::VictoriaMetrics, None) => return Ok(Reply::Differs),
        };
        let answer = self.member.ask(&question, &self.errand).await?;
        match answer.stray(self.steps) {
            Some(t) => Err(AnswerError::Garbled(format!("there is a sample at {t}, which was not asked for")).into()),
            None => Ok(Reply::Answer(answer)),
        }
    }
}
