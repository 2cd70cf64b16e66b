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
