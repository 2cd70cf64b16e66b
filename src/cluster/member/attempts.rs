//! Asking a member several times: again, or another of its replicas, if one fails or is slow.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Member, MemberError};
use crate::cluster::limits::{Charged, Errand};
use crate::cluster::question::Question;

/// Pause before the second attempt; twice as long before every further one.
const BACKOFF: Duration = Duration::from_millis(50);
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

    /// Asks as often as is allowed: `only` this replica, or all in turn, the preferred one first.
    async fn try_often<T: Charged + Send + 'static>(
        &self,
        only: Option<usize>,
        question: &Question<T>,
        errand: &Errand,
    ) -> Result<T, MemberError> {
        let errand = &self.bounded(errand);
        let _place = self.place(errand.deadline).await?;
        let mut error = MemberError::NoTime;
        let count = self.servers.len();
        // With one replica every attempt is a round of its own.
        let (attempts, turns) = match only {
            Some(_) => (self.max_attempts as usize, count),
            None => ((self.max_attempts as usize).max(count), 1),
        };
        for attempt in 0..attempts {
            if attempt > 0 && !self.pause(attempt.saturating_mul(turns), errand.deadline).await {
                break;
            }
            let (replica, outcome) = match only {
                Some(replica) => (replica, self.try_once(replica, question, errand).await),
                None => {
                    let turn = self.preferred.load(Ordering::Relaxed).wrapping_add(attempt);
                    self.hedged(turn.checked_rem(count).unwrap_or(0), question, errand).await
                }
            };
            match outcome {
                Err(failed) if failed.may_retry() => error = failed,
                outcome => {
                    if outcome.is_ok() && only.is_none() {
                        self.preferred.store(replica, Ordering::Relaxed);
                    }
                    return outcome;
                }
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
        question: &Question<T>,
        errand: &Errand,
    ) -> (usize, Result<T, MemberError>) {
        let first = self.try_once(replica, question, errand);
        tokio::pin!(first);
        if self.servers.len() < 2 {
            return (replica, first.await);
        }
        if let Ok(outcome) = tokio::time::timeout(HEDGE, &mut first).await {
            return (replica, outcome);
        }
        let next = (replica + 1) % self.servers.len();
        let second = self.try_once(next, question, errand);
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

    /// Waits before a further attempt; false if there is no time for one. Another replica is asked at once.
    async fn pause(&self, attempt: usize, deadline: Instant) -> bool {
        let count = self.servers.len().max(1);
        let round = (attempt / count).min(10) as u32;
        let pause = if attempt.is_multiple_of(count) { BACKOFF * 2_u32.pow(round) } else { Duration::ZERO };
        if deadline.saturating_duration_since(Instant::now()) <= pause {
            return false;
        }
        tokio::time::sleep(pause).await;
        true
    }

    async fn try_once<T: Charged + Send + 'static>(
        &self,
        replica: usize,
        question: &Question<T>,
        errand: &Errand,
    ) -> Result<T, MemberError> {
        let started = Instant::now();
        let server = self.servers.get(replica).ok_or(MemberError::NoTime)?;
        let admitted = server.breaker.admit(started).map_err(|resting| MemberError::Resting(resting.last))?;
        let outcome = self.exchange(server, question, errand).await;
        self.metrics.asked(question.kind, started.elapsed(), &outcome);
        server.conclude(admitted, started, outcome.as_ref().err());
        outcome
    }
}
