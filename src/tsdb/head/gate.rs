//! Keeps series alive between an appender's look-up and its commit.
//!
//! A read-write lock whose read side can move between threads and whose write side gives up: appenders are many and
//! short, collecting series can wait for a better moment.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Appenders pass, upkeep closes.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    passed: usize,
    closed: bool,
}

/// Leave to hold on to series; given back when dropped.
#[derive(Debug)]
pub(crate) struct Pass<'a>(&'a Gate);

/// Nobody passes while this lives.
#[derive(Debug)]
pub(crate) struct Closed<'a>(&'a Gate);

impl Gate {
    /// Waits while the gate is closed.
    pub(crate) fn pass(&self) -> Pass<'_> {
        let mut state = self.state.lock();
        while state.closed {
            self.changed.wait(&mut state);
        }
        state.passed += 1;
        Pass(self)
    }

    /// Lets nobody in and waits for those inside to leave; opens again and returns `None` if that takes too long.
    pub(crate) fn close(&self, patience: Duration) -> Option<Closed<'_>> {
        let until = Instant::now() + patience;
        let mut state = self.state.lock();
        while state.closed {
            self.changed.wait(&mut state);
        }
        state.closed = true;
        let closed = Closed(self);
        while state.passed > 0 {
            if self.changed.wait_until(&mut state, until).timed_out() {
                // `closed` opens the gate again as it is dropped, for which it needs the lock.
                drop(state);
                return None;
            }
        }
        drop(state);
        Some(closed)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.0.state.lock().passed -= 1;
        self.0.changed.notify_all();
    }
}

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        self.0.state.lock().closed = false;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_gives_up_while_someone_is_inside_and_succeeds_afterwards() {
        let gate = Gate::default();
        let inside = gate.pass();
        assert!(gate.close(Duration::ZERO).is_none());
        drop(gate.pass());
        drop(inside);
        let closed = gate.close(Duration::ZERO);
        assert!(closed.is_some());
        drop(closed);
        drop(gate.pass());
    }
}
