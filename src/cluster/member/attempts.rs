//! Asking a member several times: again, or another of its replicas, if one fails or is slow.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Member, MemberError};
use crate::cluster::limits::{Charged, Errand};
use crate::cluster::question::Question;
use crate::net::Admitted;

/// Pause before a replica is asked for the second time; twice as long before every further time.
const BACKOFF: Duration = Duration::from_millis(100);
/// A replica that has not answered for so long is not waited for alone: the next is asked, too.
const HEDGE: Duration = Duration::from_millis(500);

impl Member {
    /// Asks the member's API, any replica. The answer comes before the errand's deadline or not at all.
    pub async fn ask<T: Charged + Send + 'static>(
        &self,
        question: &Question<T>,
        errand: &Errand,
    ) -> Result<T, MemberError> {
        self.try_often(None, question, errand).await
    }

    /// Asks one replica and no other.
    pub async fn ask_replica<T: Charged + Send + 'static>(
        &self,
        replica: usize,
        question: &Question<T>,
        errand: &Errand,
    ) -> Result<T, MemberError> {
        self.try_often(Some(replica), question, errand).await
    }

    /// Asks as often as is allowed: `only` this replica, or all in turn, the preferred one first. Who rests is passed over; if all
    /// do, that is an end at once.
    async fn try_often<T: Charged + Send + 'static>(
        &self,
        only: Option<usize>,
        question: &Question<T>,
        errand: &Errand,
    ) -> Result<T, MemberError> {
        let errand = &self.bounded(errand);
        let _place = self.place(errand.deadline).await?;
        let most = self.max_attempts as usize;
        let attempts = if only.is_some() { most } else { most.max(self.servers.len()) };
        let mut failure = None;
        // Those that were asked since the last pause, and the pauses.
        let (mut asked, mut pauses) = (Vec::new(), 0);
        for attempt in 0..attempts {
            let admitted = match only {
                Some(replica) => self.admit(replica),
                None => {
                    self.admit_next(self.preferred.load(Ordering::Relaxed).wrapping_add(attempt), self.servers.len())
                }
            };
            let (replica, admitted) = match admitted {
                Ok(admitted) => admitted,
                Err(resting) => return Err(failure.unwrap_or(resting)),
            };
            if asked.contains(&replica) {
                if !pause(pauses, errand.deadline).await {
                    break;
                }
                asked.clear();
                pauses += 1;
            }
            asked.push(replica);
            let (replica, outcome) = match only {
                Some(_) => (replica, self.try_once(replica, admitted, question, errand).await),
                None => self.hedged(replica, admitted, question, errand).await,
            };
            match outcome {
                Err(failed) if failed.may_retry() => failure = Some(failed),
                outcome => {
                    if outcome.is_ok() && only.is_none() {
                        self.preferred.store(replica, Ordering::Relaxed);
                    }
                    return outcome;
                }
            }
        }
        Err(failure.unwrap_or(MemberError::NoTime))
    }

    /// A replica, if it does not rest.
    fn admit(&self, replica: usize) -> Result<(usize, Admitted), MemberError> {
        let server = self.servers.get(replica).ok_or(MemberError::NoTime)?;
        Ok((replica, server.admit()?))
    }

    /// The next in turn that does not rest, of so many from `first` on.
    fn admit_next(&self, first: usize, among: usize) -> Result<(usize, Admitted), MemberError> {
        let mut error = MemberError::NoTime;
        for turn in 0..among {
            let replica = first.wrapping_add(turn).checked_rem(self.servers.len()).unwrap_or(0);
            match self.admit(replica) {
                Err(resting) => error = resting,
                admitted => return admitted,
            }
        }
        Err(error)
    }

    /// The same errand within the time that the member has for all attempts together: one that hangs is not waited for as
    /// often as it may be asked.
    fn bounded(&self, errand: &Errand) -> Errand {
        let end = Instant::now().checked_add(self.config.timeout);
        Errand { deadline: end.map_or(errand.deadline, |end| end.min(errand.deadline)), ..errand.clone() }
    }

    /// A place among the requests that the member may have at the same time.
    async fn place(&self, deadline: Instant) -> Result<tokio::sync::SemaphorePermit<'_>, MemberError> {
        match tokio::time::timeout_at(deadline.into(), self.places.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(MemberError::NoTime),
        }
    }

    /// Asks a replica, and the next one as well if the first is slow. Tells who has answered.
    async fn hedged<T: Charged + Send + 'static>(
        &self,
        replica: usize,
        admitted: Admitted,
        question: &Question<T>,
        errand: &Errand,
    ) -> (usize, Result<T, MemberError>) {
        let first = self.try_once(replica, admitted, question, errand);
        tokio::pin!(first);
        if self.servers.len() < 2 {
            return (replica, first.await);
        }
        if let Ok(outcome) = tokio::time::timeout(HEDGE, &mut first).await {
            return (replica, outcome);
        }
        let others = self.servers.len() - 1;
        let Ok((next, admitted)) = self.admit_next(replica + 1, others) else { return (replica, first.await) };
        let second = self.try_once(next, admitted, question, errand);
        tokio::pin!(second);
        tokio::select! {
            outcome = &mut first => match outcome {
                Err(error) if error.may_retry() => (next, second.await),
                outcome => (replica, outcome),
            },
            outcome = &mut second => match outcome {
                Err(error) if error.may_retry() => (replica, first.await),
                outcome => (next, outcome),
            },
        }
    }

    async fn try_once<T: Charged + Send + 'static>(
        &self,
        replica: usize,
        admitted: Admitted,
        question: &Question<T>,
        errand: &Errand,
    ) -> Result<T, MemberError> {
        let started = Instant::now();
        let server = self.servers.get(replica).ok_or(MemberError::NoTime)?;
        let outcome = self.exchange(server, question, errand).await;
        self.metrics.asked(question.kind, started.elapsed(), &outcome);
        server.conclude(admitted, started, outcome.as_ref().err());
        outcome
    }
}

/// Waits before a replica is asked again; false if there is no time for that.
async fn pause(pauses: u32, deadline: Instant) -> bool {
    let pause = BACKOFF * 2_u32.pow(pauses.min(10));
    if deadline.saturating_duration_since(Instant::now()) <= pause {
        return false;
    }
    tokio::time::sleep(pause).await;
    true
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;
    use crate::cluster::config::MemberConfig;
    use crate::cluster::metrics::MemberMetrics;
    use crate::cluster::question::Listed;
    use crate::net::header::HeaderMap;
    use crate::storage::Scope;
    use crate::telemetry::Registry;

    /// A member of so many replicas.
    fn member(replicas: usize) -> Member {
        let url = Url::parse("http://127.0.0.1:1").unwrap();
        let config = MemberConfig { urls: vec![url.clone(); replicas], ..MemberConfig::new("home", url) };
        Member::new(config, 3, 16, MemberMetrics::new(&Registry::new(), "home")).unwrap()
    }

    /// Lets a replica rest for an hour.
    fn rest(member: &Member, replica: usize) {
        let in_an_hour = Instant::now() + Duration::from_secs(3600);
        for _ in 0..crate::cluster::member::BREAKER.failures {
            member.admit(replica).unwrap().1.failed(in_an_hour, format!("{replica} is down"));
        }
    }

    /// It was tried as often as any, with pauses between them, which cost every query a third of a second.
    #[tokio::test(start_paused = true)]
    async fn who_rests_is_not_waited_for() {
        let member = member(1);
        rest(&member, 0);
        let (credentials, scope) = (HeaderMap::new(), Scope::unbounded());
        let deadline = Instant::now() + Duration::from_secs(60);
        let errand = Errand { credentials, scope, max_bytes: 1 << 20, deadline };
        let started = tokio::time::Instant::now();
        let error = member.ask(&Question::label_names(&Listed::default()), &errand).await.unwrap_err();
        assert_eq!(error, MemberError::Resting("0 is down".to_owned()));
        assert_eq!(started.elapsed(), Duration::ZERO);
    }

    #[tokio::test]
    async fn replicas_that_rest_are_passed_over() {
        let member = member(3);
        let next = |first, among| member.admit_next(first, among).map(|(replica, _)| replica);
        assert_eq!([0, 1, 2, 3].map(|first| next(first, 3).unwrap()), [0, 1, 2, 0]);
        rest(&member, 0);
        rest(&member, 2);
        assert_eq!([0, 1, 2, 3].map(|first| next(first, 3).unwrap()), [1, 1, 1, 1]);
        assert_eq!(next(2, 2), Err(MemberError::Resting("0 is down".to_owned())));
        rest(&member, 1);
        assert_eq!(next(0, 3), Err(MemberError::Resting("2 is down".to_owned())));
    }
}
