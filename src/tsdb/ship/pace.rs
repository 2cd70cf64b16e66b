//! How fast bytes may go, and when to stop.

use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::bucket::BucketError;

/// Waiting is cut into pieces of this length, so that a stop is noticed soon.
const GLANCE: Duration = Duration::from_millis(100);

/// Keeps what is sent below so many bytes a second, on average since its making.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_second: Option<u64>,
    stop: CancellationToken,
    spent: Mutex<(Instant, u64)>,
}

impl Pace {
    /// Begins now; `None` does not limit.
    pub(super) fn new(bytes_per_second: Option<u64>, stop: CancellationToken) -> Pace {
        Pace { bytes_per_second, stop, spent: Mutex::new((Instant::now(), 0)) }
    }

    pub(super) fn check(&self) -> Result<(), BucketError> {
        if self.stop.is_cancelled() { Err(BucketError::Stopped) } else { Ok(()) }
    }

    /// Waits until `bytes` more may go.
    pub(super) fn spend(&self, bytes: u64) -> Result<(), BucketError> {
        self.check()?;
        let Some(rate) = self.bytes_per_second else { return Ok(()) };
        let due = {
            let mut spent = self.spent.lock();
            spent.1 += bytes;
            spent.0 + time_for(spent.1, rate)
        };
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(GLANCE));
            self.check()?;
        }
    }
}

/// How long so many bytes take.
fn time_for(bytes: u64, rate: u64) -> Duration {
    Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_their_time_and_a_stop_ends_the_waiting() {
        assert_eq!(time_for(3_000_000, 2_000_000), Duration::from_millis(1500));
        let stop = CancellationToken::new();
        let pace = Pace::new(Some(1), stop.clone());
        stop.cancel();
        assert!(matches!(pace.spend(1 << 40), Err(BucketError::Stopped)));
        let free = Pace::new(None, CancellationToken::new());
        free.spend(u64::MAX).unwrap();
        free.spend(u64::MAX).unwrap();
    }
}
