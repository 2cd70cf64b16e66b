//! Supervised tasks.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// The tasks of one component: they are told to stop together, waited for together, and their panics are logged.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// No tasks yet.
    pub fn new() -> Tasks {
        Tasks::default()
    }

    /// A group that stops when this one does, and can be stopped alone.
    pub fn child(&self) -> Tasks {
        Tasks { tracker: TaskTracker::new(), stop: self.stop.child_token() }
    }

    /// Completes when the group is told to stop.
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Starts a task. It must end soon after [`stopping`](Tasks::stopping) completes.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that starts tasks")]
    pub fn spawn(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        // A second task that waits for the first would cost every connection another start and two wakes.
        let watched = async move {
            let mut work = pin!(work);
            let poll = |cx: &mut Context<'_>| {
                let step = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx)));
                step.unwrap_or_else(|_| {
                    tracing::error!(task = name, "a task ended by a panic; this is a bug in Watershed");
                    Poll::Ready(())
                })
            };
            poll_fn(poll).await;
        };
        drop(tokio::spawn(self.tracker.track_future(watched)));
    }

    /// Counts as a task until it is dropped, for work on threads of its own that [`shutdown`](Tasks::shutdown) waits for.
    pub fn token(&self) -> TaskTrackerToken {
        self.tracker.token()
    }

    /// Tells all tasks to stop without waiting.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Tells all tasks to stop and waits for them, at most `grace`. False if some had not ended by then.
    pub async fn shutdown(&self, grace: Duration) -> bool {
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(grace, self.tracker.wait()).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_has_ended_and_the_others_go_on() {
        let (tasks, ended) = (Tasks::new(), Arc::new(AtomicU32::new(0)));
        let started = Arc::new(tokio::sync::Barrier::new(2));
        let meeting = started.clone();
        tasks.spawn("panics", async move {
            meeting.wait().await;
            panic!("on purpose");
        });
        let (stop, counted) = (tasks.stopping(), ended.clone());
        tasks.spawn("goes on", async move {
            started.wait().await;
            stop.cancelled().await;
            counted.fetch_add(1, Ordering::Relaxed);
        });
        assert!(tasks.shutdown(Duration::from_secs(60)).await, "none is waited for in vain");
        assert_eq!(ended.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_does_not_stop_is_not_waited_for_longer_than_the_grace() {
        let tasks = Tasks::new();
        tasks.spawn("stays", std::future::pending());
        assert!(!tasks.shutdown(Duration::from_secs(60)).await);
    }
}
