//! The limit of requests over all clients: a bucket that holds `burst` tokens and gets one more every `interval`.

use parking_lot::Mutex;
use tokio::time::Instant;

use super::config::RateLimit;

pub(super) struct Bucket {
    pub(super) limit: RateLimit,
    state: Mutex<(f64, Instant)>,
}

impl Bucket {
    pub(super) fn new(limit: RateLimit, now: Instant) -> Bucket {
        Bucket { limit, state: Mutex::new((f64::from(limit.burst), now)) }
    }

    /// Takes a token; false if there is none.
    pub(super) fn take(&self, now: Instant) -> bool {
        let mut state = self.state.lock();
        let (tokens, at) = *state;
        let grown = now.saturating_duration_since(at).as_secs_f64() / self.limit.interval.as_secs_f64();
        let tokens = (tokens + grown).min(f64::from(self.limit.burst));
        let taken = tokens >= 1.0;
        *state = (if taken { tokens - 1.0 } else { tokens }, now);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_burst_passes_and_then_one_an_interval() {
        let interval = Duration::from_secs(2);
        let now = Instant::now();
        let bucket = Bucket::new(RateLimit { interval, burst: 3 }, now);
        assert_eq!([(); 4].map(|()| bucket.take(now)), [true, true, true, false]);
        assert!(!bucket.take(now + interval / 2));
        assert_eq!([(); 2].map(|()| bucket.take(now + interval)), [true, false]);
        let later = now + interval * 100;
        assert_eq!(
            [(); 4].map(|()| bucket.take(later)),
            [true, true, true, false],
            "it never holds more than the burst"
        );
    }
}
