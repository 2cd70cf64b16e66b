//! What people should know about the server now, such as that its last reload failed.
//!
//! Components add a notification while something is so and remove it when it is not any more; browsers follow live. The
//! number of followers and what waits for each is limited: one that does not read loses updates, nobody waits for it.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::model::TimestampMs;
use crate::runtime::Clock;
use crate::telemetry::{Counter, Gauge, Registry};

/// Updates that wait for one follower, beside those that there were when it came.
const WAITING_MAX: usize = 10;

/// Something that people should know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notification {
    /// A sentence.
    pub text: String,
    /// Since when, or when it was last said.
    pub date: TimestampMs,
    /// Whether it is still so.
    pub active: bool,
}

/// All that is to be known now; clones share it.
#[derive(Clone)]
pub struct Notifications(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    followers_max: usize,
    clock: Clock,
    followers: Gauge,
    sent: Counter,
    dropped: Counter,
}

#[derive(Default)]
struct State {
    active: Vec<Notification>,
    followers: Vec<mpsc::Sender<Notification>>,
    closed: bool,
}

impl Notifications {
    /// Nothing to know yet; at most `followers_max` follow live.
    pub fn new(followers_max: usize, clock: Clock, registry: &Registry) -> Notifications {
        Notifications(Arc::new(Inner {
            state: Mutex::default(),
            followers_max,
            clock,
            followers: registry.gauge(
                "watershed_notification_followers",
                "Clients that follow notifications live, as of the last that came or was told something.",
                &[],
            ),
            sent: registry.counter("watershed_notification_updates_sent_total", "Updates sent to followers.", &[]),
            dropped: registry.counter(
                "watershed_notification_updates_dropped_total",
                "Updates that a follower lost because it did not read.",
                &[],
            ),
        }))
    }

    /// It is so; said once more, it gets a new date.
    pub fn add(&self, text: &str) {
        let notification = Notification { text: text.to_owned(), date: self.0.clock.now(), active: true };
        let mut state = self.0.state.lock();
        match state.active.iter_mut().find(|known| known.text == text) {
            Some(known) => *known = notification.clone(),
            None => state.active.push(notification.clone()),
        }
        self.tell(&mut state, &notification);
    }

    /// It is not so any more; nothing happens if it was not.
    pub fn remove(&self, text: &str) {
        let mut state = self.0.state.lock();
        let Some(at) = state.active.iter().position(|known| known.text == text) else { return };
        let gone = Notification { active: false, ..state.active.remove(at) };
        self.tell(&mut state, &gone);
    }

    /// What is so now.
    pub fn list(&self) -> Vec<Notification> {
        self.0.state.lock().active.clone()
    }

    /// All that is so now and what changes from now on; ends with the server. `None` if there are enough followers.
    pub fn follow(&self) -> Option<mpsc::Receiver<Notification>> {
        let mut state = self.0.state.lock();
        state.followers.retain(|follower| !follower.is_closed());
        if state.closed || state.followers.len() >= self.0.followers_max {
            return None;
        }
        let (sender, receiver) = mpsc::channel(state.active.len() + WAITING_MAX);
        for notification in &state.active {
            // There is room for all of them.
            drop(sender.try_send(notification.clone()));
        }
        state.followers.push(sender);
        self.0.followers.set(state.followers.len() as f64);
        Some(receiver)
    }

    /// Ends all following, so that the server can stop; what was told before is still sent.
    pub fn close(&self) {
        let mut state = self.0.state.lock();
        state.closed = true;
        state.followers.clear();
        self.0.followers.set(0.0);
    }

    fn tell(&self, state: &mut State, notification: &Notification) {
        state.followers.retain(|follower| {
            let outcome = follower.try_send(notification.clone());
            let gone = matches!(outcome, Err(mpsc::error::TrySendError::Closed(_)));
            match outcome {
                Ok(()) => self.0.sent.inc(),
                Err(_) if gone => {}
                Err(_) => self.0.dropped.inc(),
            }
            !gone
        });
        self.0.followers.set(state.followers.len() as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notifications(followers_max: usize) -> Notifications {
        Notifications::new(followers_max, Clock::manual(TimestampMs(7)), &Registry::new())
    }

    #[test]
    fn what_is_said_twice_is_known_once_and_what_is_over_is_gone() {
        let all = notifications(1);
        all.add("a");
        all.add("b");
        all.add("a");
        all.remove("b");
        all.remove("never said");
        assert_eq!(all.list(), [Notification { text: "a".to_owned(), date: TimestampMs(7), active: true }]);
    }

    #[test]
    fn a_follower_hears_what_is_so_and_what_changes() {
        let all = notifications(1);
        all.add("a");
        let mut follower = all.follow().expect("room");
        all.remove("a");
        all.close();
        let heard = || std::iter::from_fn(|| follower.blocking_recv()).map(|n| (n.text, n.active)).collect::<Vec<_>>();
        let mut heard = heard;
        assert_eq!(heard(), [("a".to_owned(), true), ("a".to_owned(), false)]);
        assert!(all.follow().is_none(), "nobody follows a server that has ended");
    }

    #[test]
    fn followers_are_limited_and_one_that_left_makes_room() {
        let all = notifications(1);
        let first = all.follow().expect("room");
        assert!(all.follow().is_none());
        drop(first);
        assert!(all.follow().is_some());
    }

    #[test]
    fn a_follower_that_does_not_read_loses_updates_and_holds_nobody_up() {
        let all = notifications(1);
        let follower = all.follow().expect("room");
        (0..100).for_each(|_| all.add("a"));
        assert_eq!(follower.len(), WAITING_MAX);
    }
}
