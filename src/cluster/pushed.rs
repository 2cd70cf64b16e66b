//! What a member is to evaluate, on its way to the member's servers.

use std::sync::Arc;

use super::answer::{AnswerError, QueryAnswer};
use super::config::Via;
use super::explain::Meter;
use super::limits::Errand;
use super::member::{Member, MemberError};
use super::probe::Flavour;
use super::question::Question;
use crate::promql::StepTimes;

/// Steps of one series that take about a kilobyte.
const SMALL: usize = 32;

/// An expression that a member is asked for.
#[derive(Clone)]
pub(super) struct Asking {
    pub member: Arc<Member>,
    pub text: String,
    pub steps: StepTimes,
    /// Whether the answer has one series at the most.
    pub is_one_series: bool,
    /// What the client has asked for, milliseconds.
    pub lookback: Option<i64>,
    pub errand: Errand,
    /// What a VictoriaMetrics is asked instead, if that can mean the same.
    pub for_victoria: Option<String>,
    /// Counts the bytes that come.
    pub meter: Option<Meter>,
}

/// What comes back.
pub(super) enum Reply {
    /// What the member has evaluated.
    Answer(QueryAnswer),
    /// It evaluates this in a way of its own, so that it has not been asked.
    Differs,
}

impl Asking {
    /// The same at other steps.
    pub(super) fn at(self, steps: StepTimes) -> Asking {
        Asking { steps, ..self }
    }

    /// Whether it is known that the value at a step is the same whatever other steps are asked for.
    pub(super) fn is_of_steps(&self) -> bool {
        let known: Vec<_> = (0..self.member.config().urls.len()).filter_map(|at| self.member.known(at)).collect();
        let is_told = !known.is_empty() && known.iter().all(|known| known.flavour == Flavour::Prometheus);
        self.for_victoria.is_some() || is_told
    }

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
        let is_small = self.is_one_series && self.steps.count <= SMALL;
        let question = if is_small { question.uncompressed() } else { question };
        let question = question.metered(self.meter);
        let answer = self.member.ask(&question, &self.errand).await?;
        match answer.stray(self.steps) {
            Some(t) => Err(AnswerError::Garbled(format!("there is a sample at {t}, which was not asked for")).into()),
            None => Ok(Reply::Answer(answer)),
        }
    }
}
