//! Places for connections: their number is limited, and who only waits gives way when all are taken.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::connection::{Activity, Waiting};
use super::telemetry::WebMetrics;
use crate::telemetry::{Counter, Gauge};

/// A connection that has waited for less than this is not asked to give way: over a slow link its request may be coming.
const GRACE: Duration = Duration::from_secs(1);
/// The same of a request whose body is coming and of an answer that is not read: cutting those costs work that was done.
const GRACE_MIDWAY: Duration = Duration::from_secs(10);
/// How often a connection without a place looks whether one has become free by itself or may be freed.
const LOOK: Duration = Duration::from_millis(100);

/// The places of all listeners.
pub(super) struct Places {
    free: Arc<Semaphore>,
    taken: Mutex<Taken>,
    open: Gauge,
    full: Counter,
}

#[derive(Default)]
struct Taken {
    next: u64,
    seats: HashMap<u64, (Activity, CancellationToken)>,
}

/// A place that is taken until this is dropped.
pub(super) struct Place {
    id: u64,
    places: Arc<Places>,
    _permit: OwnedSemaphorePermit,
    /// What the connection does; whoever serves it keeps this up to date.
    pub(super) activity: Activity,
    /// Cancelled when the place is wanted for another.
    pub(super) leave: CancellationToken,
}

impl Places {
    /// So many places, at least one.
    pub(super) fn new(places: usize, metrics: &WebMetrics) -> Arc<Places> {
        Arc::new(Places {
            free: Arc::new(Semaphore::new(places.clamp(1, Semaphore::MAX_PERMITS))),
            taken: Mutex::default(),
            open: metrics.connections.clone(),
            full: metrics.full.clone(),
        })
    }

    /// Takes a place. If there is none, the connection that has waited longest for its client gives way: first those that never
    /// had a request, then those without one, then those that are midway. While all are at work, this waits.
    pub(super) async fn take(self: &Arc<Self>) -> Place {
        if let Ok(permit) = self.free.clone().try_acquire_owned() {
            return self.seat(permit);
        }
        self.full.inc();
        loop {
            self.make_room();
            let permit = tokio::time::timeout(LOOK, self.free.clone().acquire_owned()).await;
            // The semaphore is never closed.
            if let Ok(Ok(permit)) = permit {
                return self.seat(permit);
            }
        }
    }

    fn seat(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Place {
        let (activity, leave) = (Activity::new(), CancellationToken::new());
        let mut taken = self.taken.lock();
        let id = taken.next;
        taken.next += 1;
        taken.seats.insert(id, (activity.clone(), leave.clone()));
        drop(taken);
        self.open.add(1.0);
        Place { id, places: self.clone(), _permit: permit, activity, leave }
    }

    fn make_room(&self) {
        let now = Instant::now();
        let taken = self.taken.lock();
        // Who was asked before is on the way out, and one is enough.
        if taken.seats.values().any(|(_, leave)| leave.is_cancelled()) {
            return;
        }
        let waiting = taken.seats.values().filter_map(|(activity, leave)| Some((activity.waiting()?, leave)));
        let long_enough = waiting.filter(|((what, since), _)| {
            let grace = if *what == Waiting::Progress { GRACE_MIDWAY } else { GRACE };
            now.saturating_duration_since(*since) >= grace
        });
        if let Some((_, leave)) = long_enough.min_by_key(|(waiting, _)| *waiting) {
            leave.cancel();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken.lock().seats.remove(&self.id);
        self.places.open.add(-1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Registry;

    #[tokio::test(start_paused = true)]
    async fn who_never_asked_gives_way_first_then_who_is_idle_for_longest_and_never_who_is_at_work() {
        let places = Places::new(3, &WebMetrics::new(&Registry::new()));
        let (idle, working, silent) = (places.take().await, places.take().await, places.take().await);
        drop(idle.activity.begin(false));
        let _request = working.activity.begin(false);
        assert_eq!(places.open.get(), 3.0);

        let started = Instant::now();
        let (newcomer, ()) = tokio::join!(places.take(), async {
            silent.leave.cancelled().await;
            drop(silent);
        });
        assert!(started.elapsed() >= GRACE, "nobody gives way before it has waited for a while");
        assert!(!idle.leave.is_cancelled() && !working.leave.is_cancelled());

        let _other_request = newcomer.activity.begin(false);
        let (last, ()) = tokio::join!(places.take(), async {
            idle.leave.cancelled().await;
            drop(idle);
        });
        let _last_request = last.activity.begin(false);
        let nobody = tokio::time::timeout(Duration::from_secs(3600), places.take()).await;
        assert!(nobody.is_err(), "all are at work");
        assert!(!working.leave.is_cancelled());
        assert_eq!((places.open.get(), places.full.get()), (3.0, 3));
    }
}
