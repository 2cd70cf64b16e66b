//! One file a mechanism. Each has `run(config, context)`, which ends when its job stops.

pub(super) mod dns;
pub(super) mod file;
pub(super) mod http;

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::model::DurationMs;

/// A refresh interval that cannot spin.
fn interval_of(config: DurationMs) -> Duration {
    Duration::from_millis(u64::try_from(config.0).unwrap_or(0).max(100))
}

/// When to refresh: at once, then at every interval. A refresh that takes longer than the interval delays the next one
/// and is not followed by two in a row.
struct Ticks {
    ticks: tokio::time::Interval,
    stop: CancellationToken,
}

impl Ticks {
    fn new(interval: Duration, stop: &CancellationToken) -> Ticks {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        Ticks { ticks, stop: stop.clone() }
    }

    /// Waits for the next refresh; false when it is time to stop.
    async fn next(&mut self) -> bool {
        self.stop.run_until_cancelled(self.ticks.tick()).await.is_some()
    }
}
