//! The circuit breaker of an endpoint.
//!
//! Closed, it lets every read through. After some failures in a row it opens: reads fail at once, without a request. When
//! its pause is over one read is let through; its success closes the breaker, its failure opens it for twice as long.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Failures in a row that open it. One lost packet must not, a dead server should after a dashboard's first load.
const FAILURES: u32 = 5;
/// The first pause; shorter than most intervals of dashboards.
const PAUSE_MIN: Duration = Duration::from_secs(5);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    retry_at: Option<Instant>,
    pause: Duration,
    probing: bool,
    last: String,
}

/// Why a read is not let through.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Resting {
    pub failures: u32,
    pub last: String,
}

impl Breaker {
    /// Whether a read may go out now. If so, one of the other methods must follow.
    pub(super) fn admit(&self, now: Instant) -> Result<(), Resting> {
        let mut state = self.0.lock();
        let Some(retry_at) = state.retry_at else { return Ok(()) };
        if state.probing || now < retry_at {
            return Err(Resting { failures: state.failures, last: state.last.clone() });
        }
        state.probing = true;
        Ok(())
    }

    /// The endpoint has answered.
    pub(super) fn succeeded(&self) {
        *self.0.lock() = State::default();
    }

    /// The endpoint is to blame for a failure.
    pub(super) fn failed(&self, now: Instant, reason: &str) {
        let mut state = self.0.lock();
        state.failures = state.failures.saturating_add(1);
        state.probing = false;
        reason.clone_into(&mut state.last);
        if state.failures >= FAILURES {
            state.pause = (state.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
            state.retry_at = Some(now + state.pause);
        }
    }

    /// The read was given up for other reasons: nothing is known.
    pub(super) fn given_up(&self) {
        self.0.lock().probing = false;
    }

    /// Whether reads fail without being asked.
    pub(super) fn is_open(&self) -> bool {
        self.0.lock().retry_at.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_and_closes_when_a_probe_succeeds() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        for round in 0..3 {
            for failure in 1..FAILURES {
                breaker.admit(start).unwrap();
                breaker.failed(start, "refused");
                assert!(!breaker.is_open(), "round {round}, failure {failure}");
            }
            breaker.admit(start).unwrap();
            breaker.succeeded();
        }
        for _ in 0..FAILURES {
            breaker.admit(start).unwrap();
            breaker.failed(start, "refused");
        }
        let resting = Resting { failures: FAILURES, last: "refused".to_owned() };
        assert_eq!(breaker.admit(after(4)), Err(resting.clone()));
        assert_eq!(breaker.admit(after(5)), Ok(()), "the probe");
        assert_eq!(breaker.admit(after(5)), Err(resting), "only one");
        breaker.given_up();
        assert_eq!(breaker.admit(after(5)), Ok(()), "another, since the first was given up");
        breaker.failed(after(5), "still");
        assert!(breaker.admit(after(14)).is_err(), "twice as long");
        assert_eq!(breaker.admit(after(15)), Ok(()));
        breaker.succeeded();
        assert!(!breaker.is_open());
        assert_eq!((breaker.admit(after(15)), breaker.admit(after(15))), (Ok(()), Ok(())));
    }

    #[test]
    fn pauses_grow_to_a_bound() {
        let (breaker, mut now) = (Breaker::default(), Instant::now());
        (0..FAILURES).for_each(|_| breaker.failed(now, ""));
        for _ in 0..50 {
            now += PAUSE_MAX;
            breaker.admit(now).unwrap();
            breaker.failed(now, "");
        }
    }
}
