//! What a member is to evaluate, on its way to the member's servers.

use std::sync::Arc;

use super::answer::{AnswerError, QueryAnswer};
use super::cache;
use super::config::Via;
use super::explain::Meter;
use super::limits::Errand;
use super::member::{Member, MemberError};
use super::probe::Flavour;
use super::question::Question;
use crate::model::TimestampMs;
use crate::promql::StepTimes;

/// Steps of one series that take about a kilobyte.
const SMALL: usize = 32;
/// Servers refuse to answer for more steps at a time. A subquery has as many as its range and its step make.
const STEPS_MAX: usize = 11_000;

/// An expression that a member is asked for.
#[derive(Clone)]
pub(super) struct Asking {
    pub member: Arc<Member>,
    pub text: String,
    pub steps: StepTimes,
    /// Whether the answer has one series at the most.
    pub is_one_series: bool,
    /// How far the query looks back, milliseconds. Each member is told: one that is set up otherwise would look as far as
    /// is usual there.
    pub lookback: i64,
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
        let as_it_is = || Question::steps(&self.text, self.steps, Some(self.lookback));
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

    /// Asks the member, for no more steps at a time than servers answer.
    pub(super) async fn ask(self) -> Result<Reply, MemberError> {
        if self.steps.count <= STEPS_MAX {
            return self.ask_at_once().await;
        }
        let mut answers = Vec::new();
        for steps in pieces(self.steps) {
            match self.clone().at(steps).ask_at_once().await? {
                Reply::Answer(answer) if !answer.has_histograms => answers.push((steps, answer)),
                instead => return Ok(instead),
            }
        }
        Ok(Reply::Answer(cache::joined(answers, self.steps)))
    }

    async fn ask_at_once(self) -> Result<Reply, MemberError> {
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

/// Steps in pieces of at most [`STEPS_MAX`], in their order.
fn pieces(steps: StepTimes) -> impl Iterator<Item = StepTimes> {
    (0..steps.count).step_by(STEPS_MAX).map(move |first| {
        // The last step's time is one, so that none of these saturates.
        let start = TimestampMs(steps.start.0.saturating_add(steps.interval.saturating_mul(first as i64)));
        StepTimes { start, interval: steps.interval, count: STEPS_MAX.min(steps.count - first) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::config::MemberConfig;
    use crate::cluster::metrics::MemberMetrics;
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
            is_selector,
            errand: Errand { credentials, scope, max_bytes: 1, deadline: Instant::now() },
            for_victoria: None,
            meter: None,
        }
    }

    #[tokio::test]
    async fn what_has_windows_of_its_own_is_asked_for_samples_only_or_if_told_to() {
        let form = |via, is_selector, flavour| asking(via, is_selector).question(flavour).map(|question| question.form);
        let plain = "query=up&time=1.000&lookback_delta=300.000";
        assert_eq!(form(Via::Auto, false, Flavour::Prometheus).as_deref(), Some(plain));
        assert_eq!(form(Via::Auto, false, Flavour::Prometheus2), None);
        assert_eq!(form(Via::Pushdown, false, Flavour::Prometheus2).as_deref(), Some(plain));
        let shorter = "query=up&time=1.000&lookback_delta=299.999";
        assert_eq!(form(Via::Query, true, Flavour::Prometheus2).as_deref(), Some(shorter));
        assert_eq!(form(Via::Auto, false, Flavour::VictoriaMetrics), None);
    }

    #[test]
    fn pieces_are_all_steps_once_and_none_has_more_than_servers_answer() {
        for count in [1, STEPS_MAX, STEPS_MAX + 1, 3 * STEPS_MAX, 3 * STEPS_MAX + 7] {
            let steps = StepTimes { start: TimestampMs(500), interval: 10, count };
            let pieces: Vec<StepTimes> = pieces(steps).collect();
            assert!(pieces.iter().all(|piece| (1..=STEPS_MAX).contains(&piece.count)), "{pieces:?}");
            assert!(pieces.windows(2).all(|two| two[0].end().0 + 10 == two[1].start.0), "{pieces:?}");
            assert_eq!((pieces[0].start, pieces[pieces.len() - 1].end()), (steps.start, steps.end()));
        }
    }
}
