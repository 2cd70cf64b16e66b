//! A circuit breaker: not asking again at once what has just failed several times.
//!
//! Closed, it lets every request through. After some failures in a row it opens: requests fail at once, without being sent.
//! When its pause is over one request is let through; its success closes the breaker, its failure opens it for twice as long.
//! Requests that were under way when it opened say nothing new by failing: many at a time make no longer pause than one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BreakerLimits {
    /// Failures in a row that open it.
    pub failures: u32,
    /// The first pause.
    pub pause_min: Duration,
    /// The longest pause.
    pub pause_max: Duration,
}

/// The circuit breaker of one server.
#[derive(Debug)]
pub struct Breaker {
    limits: BreakerLimits,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    open: Option<Open>,
    last: String,
}

#[derive(Debug)]
struct Open {
    until: Instant,
    pause: Duration,
    is_probed: bool,
}

/// Why a request is not let through.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resting {
    /// Failures in a row.
    pub failures: u32,
    /// What the last one was.
    pub last: String,
}

impl State {
    fn resting(&self) -> Resting {
        Resting { failures: self.failures, last: self.last.clone() }
    }
}

impl Breaker {
    /// A closed one.
    pub fn new(limits: BreakerLimits) -> Breaker {
        Breaker { limits, state: Arc::default() }
    }

    /// Whether a request may be sent now.
    pub fn admit(&self, now: Instant) -> Result<Admitted, Resting> {
        let mut state = self.state.lock();
        let is_probe = match &mut state.open {
            None => false,
            Some(open) if open.is_probed || now < open.until => return Err(state.resting()),
            Some(open) => {
                open.is_probed = true;
                true
            }
        };
        Ok(Admitted { limits: self.limits, state: self.state.clone(), is_probe })
    }

    /// What requests are told while the breaker is open.
    pub fn resting(&self) -> Option<Resting> {
        let state = self.state.lock();
        state.open.as_ref().map(|_| state.resting())
    }
}

/// A request that was let through. Dropping it says that it was given up, and nothing about the server: if it was to find out
/// whether that is back, the next one may.
#[derive(Debug)]
#[must_use]
pub struct Admitted {
    limits: BreakerLimits,
    state: Arc<Mutex<State>>,
    is_probe: bool,
}

impl Admitted {
    /// The server has answered.
    pub fn succeeded(self) {
        *self.state.lock() = State::default();
    }

    /// The server is to blame for a failure.
    pub fn failed(self, now: Instant, reason: String) {
        let mut state = self.state.lock();
        state.failures = state.failures.saturating_add(1);
        state.last = reason;
        let BreakerLimits { failures, pause_min, pause_max } = self.limits;
        let pause = match &state.open {
            None if state.failures >= failures => pause_min,
            Some(open) if self.is_probe => open.pause.saturating_mul(2).min(pause_max),
            _ => return,
        };
        state.open = Some(Open { until: now + pause, pause, is_probed: false });
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if self.is_probe
            && let Some(open) = &mut self.state.lock().open
        {
            open.is_probed = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: BreakerLimits =
        BreakerLimits { failures: 5, pause_min: Duration::from_secs(5), pause_max: Duration::from_secs(60) };

    fn fail(breaker: &Breaker, at: Instant, reason: &str) {
        breaker.admit(at).unwrap().failed(at, reason.to_owned());
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_closes_when_a_probe_succeeds() {
        let (breaker, start) = (Breaker::new(LIMITS), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        for round in 0..3 {
            for failure in 1..LIMITS.failures {
                fail(&breaker, start, "refused");
                assert_eq!(breaker.resting(), None, "round {round}, failure {failure}");
            }
            breaker.admit(start).unwrap().succeeded();
        }
        (0..LIMITS.failures).for_each(|_| fail(&breaker, start, "refused"));
        let resting = Resting { failures: LIMITS.failures, last: "refused".to_owned() };
        assert_eq!(breaker.resting(), Some(resting.clone()));
        assert_eq!(breaker.admit(after(4)).unwrap_err(), resting);
        let probe = breaker.admit(after(5)).expect("the probe");
        assert_eq!(breaker.admit(after(5)).unwrap_err(), resting, "only one");
        drop(probe);
        let another = breaker.admit(after(5)).expect("another, since the first was given up");
        another.failed(after(5), "still".to_owned());
        assert_eq!(breaker.admit(after(14)).unwrap_err().last, "still", "twice as long");
        breaker.admit(after(15)).unwrap().succeeded();
        assert_eq!(breaker.resting(), None);
        let _two_at_a_time = (breaker.admit(after(15)).unwrap(), breaker.admit(after(15)).unwrap());
    }

    #[test]
    fn pauses_grow_to_a_bound() {
        let (breaker, mut now) = (Breaker::new(LIMITS), Instant::now());
        (0..LIMITS.failures).for_each(|_| fail(&breaker, now, ""));
        for _ in 0..50 {
            now += LIMITS.pause_max;
            fail(&breaker, now, "");
        }
        assert!(breaker.admit(now + LIMITS.pause_max - Duration::from_secs(1)).is_err());
    }

    /// Each of them made the pause twice as long, so that one short outage under load took a server away for a minute.
    #[test]
    fn requests_that_were_under_way_make_no_longer_pause() {
        let (breaker, start) = (Breaker::new(LIMITS), Instant::now());
        let under_way: Vec<Admitted> = (0..100).map(|_| breaker.admit(start).unwrap()).collect();
        under_way.into_iter().for_each(|request| request.failed(start, "refused".to_owned()));
        assert!(breaker.admit(start + LIMITS.pause_min - Duration::from_secs(1)).is_err());
        assert!(breaker.admit(start + LIMITS.pause_min).is_ok());
    }

    #[test]
    fn only_who_probes_gives_the_probe_up() {
        let (breaker, start) = (Breaker::new(LIMITS), Instant::now());
        let older = breaker.admit(start).unwrap();
        (0..LIMITS.failures).for_each(|_| fail(&breaker, start, "refused"));
        let _probe = breaker.admit(start + LIMITS.pause_min).unwrap();
        drop(older);
        assert!(breaker.admit(start + LIMITS.pause_min).is_err(), "one probe at a time");
    }
}
