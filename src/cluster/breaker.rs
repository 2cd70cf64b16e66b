//! Not asking again at once what has just failed several times.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Failures in a row that open the breaker.
const FAILURES: u32 = 3;
/// How long it stays open at first; twice as long after every probe that fails.
const OPEN: Duration = Duration::from_secs(1);
/// How long it stays open at most.
const OPEN_MAX: Duration = Duration::from_secs(30);

/// A circuit breaker: after some failures in a row nobody asks for a while; then one request probes.
#[derive(Debug, Default)]
pub struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// Until when nobody asks, and how long that was.
    open: Option<(Instant, Duration)>,
    /// Whether somebody probes.
    probing: bool,
    last_error: String,
}

impl Breaker {
    /// Whether a request may be sent now. The error is that of the last one that failed.
    pub fn admit(&self, now: Instant) -> Result<(), String> {
        let mut state = self.0.lock();
        match state.open {
            Some((until, _)) if now < until || state.probing => Err(state.last_error.clone()),
            Some(_) => {
                state.probing = true;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// A request has been answered.
    pub fn succeeded(&self) {
        *self.0.lock() = State::default();
    }

    /// A request has failed in a way that says something of the server.
    pub fn failed(&self, now: Instant, error: String) {
        let mut state = self.0.lock();
        state.failures = state.failures.saturating_add(1);
        state.last_error = error;
        if state.failures >= FAILURES {
            let length = state.open.map_or(OPEN, |(_, length)| (length * 2).min(OPEN_MAX));
            state.open = Some((now + length, length));
        }
        state.probing = false;
    }

    /// A request was given up before anything was known: somebody else may probe.
    pub fn gave_up(&self) {
        self.0.lock().probing = false;
    }

    /// The last error, while the breaker is open.
    pub fn is_open(&self) -> Option<String> {
        let state = self.0.lock();
        state.open.map(|_| state.last_error.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_failures_in_a_row_one_request_probes_at_a_time() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        let fail = |at| breaker.failed(at, "refused".to_owned());
        (0..2).for_each(|_| fail(start));
        breaker.succeeded();
        (0..2).for_each(|_| fail(start));
        assert_eq!((breaker.admit(start), breaker.is_open()), (Ok(()), None));
        fail(start);
        assert_eq!(breaker.admit(start), Err("refused".to_owned()));
        let later = start + OPEN;
        assert_eq!(breaker.admit(later), Ok(()));
        assert!(breaker.admit(later).is_err(), "one probe at a time");
        fail(later);
        assert!(breaker.admit(later + OPEN).is_err(), "twice as long");
        assert_eq!(breaker.admit(later + OPEN * 2), Ok(()));
        breaker.gave_up();
        assert_eq!(breaker.admit(later + OPEN * 2), Ok(()));
        breaker.succeeded();
        assert_eq!((breaker.admit(later), breaker.is_open()), (Ok(()), None));
    }
}
