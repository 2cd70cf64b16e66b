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
    /// How far a selector looks back, milliseconds, and whether that is what the client has asked for.
    pub lookback: i64,
    pub is_lookback_asked: bool,
    /// Whether it is a selector of instants only, by which samples are read.
    pub is_selector: bool,
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

    /// The question as who evaluates so has to be asked; `None` if there is none that means the same there.
    fn question(&self, flavour: Flavour) -> Option<Question<QueryAnswer>> {
        let is_told_to = self.member.config().via == Via::Pushdown;
        let as_it_is = || Question::steps(&self.text, self.steps, self.is_lookback_asked.then_some(self.lookback));
        match (flavour, &self.for_victoria) {
            (Flavour::Prometheus, _) => Some(as_it_is()),
            // There the sample that is so old is still seen.
            (Flavour::Prometheus2, _) if self.is_selector => {
                Some(Question::steps(&self.text, self.steps, Some(self.lookback.saturating_sub(1).max(1))))
            }
            (Flavour::Prometheus2, _) => is_told_to.then(as_it_is),
            (Flavour::VictoriaMetrics, Some(text)) => Some(Question::steps(text, self.steps, None).uncached()),
            (Flavour::VictoriaMetrics, None) => is_told_to.then(|| as_it_is().uncached()),
        }
    }

    /// Asks the member.
    pub(super) async fn ask(self) -> Result<Reply, MemberError> {
        let Errand { credentials, deadline, .. } = &self.errand;
        let flavour = self.member.any_capabilities(credentials, *deadline).await?.flavour;
        let Some(question) = self.question(flavour) else { return Ok(Reply::Differs) };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::config::MemberConfig;
    use crate::cluster::metrics::MemberMetrics;
    use crate::model::TimestampMs;
    use crate::net::header::HeaderMap;
    use crate::storage::Scope;
    use crate::telemetry::Registry;
    use std::time::Instant;
    use url::Url;

    fn asking(via: Via, is_selector: bool) -> Asking {
        let config = MemberConfig { via, ..MemberConfig::new("home", Url::parse("http://127.0.0.1:1").unwrap()) };
        let (credentials, scope) = (HeaderMap::new(), Scope::unbounded());
        Asking {
            member: Arc::new(Member::new(config, 1, 1, MemberMetrics::new(&Registry::new(), "home")).unwrap()),
            text: "up".to_owned(),
            steps: StepTimes { start: TimestampMs(1000), interval: 1, count: 1 },
            is_one_series: false,
            lookback: 300_000,
            is_lookback_asked: false,
            is_selector,
            errand: Errand { credentials, scope, max_bytes: 1, deadline: Instant::now() },
            for_victoria: None,
            meter: None,
        }
    }

    #[tokio::test]
    async fn what_has_windows_of_its_own_is_asked_for_samples_only_or_if_told_to() {
        let form = |via, is_selector, flavour| asking(via, is_selector).question(flavour).map(|question| question.form);
        let plain = "query=up&time=1.000";
        assert_eq!(form(Via::Auto, false, Flavour::Prometheus).as_deref(), Some(plain));
        assert_eq!(form(Via::Auto, false, Flavour::Prometheus2), None);
        assert_eq!(form(Via::Pushdown, false, Flavour::Prometheus2).as_deref(), Some(plain));
        let shorter = format!("{plain}&lookback_delta=299.999");
        assert_eq!(form(Via::Query, true, Flavour::Prometheus2), Some(shorter));
        assert_eq!(form(Via::Auto, false, Flavour::VictoriaMetrics), None);
    }
}
