//! Who reads the head now: samples that have gone into a block leave memory only after everyone who began to read
//! before that block was there.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// The reads under way.
#[derive(Debug, Default)]
pub(super) struct Readers {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// By order of entry, the first instant that each reads.
    open: BTreeMap<u64, i64>,
}

/// A read under way; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    readers: &'a Readers,
    number: u64,
}

impl Readers {
    /// Begins a read of samples at `min` and later. To be called before the reader looks at which blocks there are.
    pub(super) fn enter(&self, min: i64) -> Reading<'_> {
        let mut state = self.state.lock();
        let number = state.next;
        state.next += 1;
        state.open.insert(number, min);
        Reading { readers: self, number }
    }

    /// Waits until everyone has gone who is inside now and reads before `t`; false if that takes too long.
    pub(super) fn wait_for_those_before(&self, t: i64, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut state = self.state.lock();
        let newest = state.next;
        while state.open.range(..newest).any(|(_, min)| *min < t) {
            if self.changed.wait_until(&mut state, until).timed_out() {
                return false;
            }
        }
        true
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.readers.state.lock().open.remove(&self.number);
        self.readers.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_earlier_readers_of_older_samples_are_waited_for() {
        let readers = Readers::default();
        let newer = readers.enter(100);
        assert!(readers.wait_for_those_before(100, Duration::ZERO));
        let older = readers.enter(99);
        assert!(!readers.wait_for_those_before(100, Duration::ZERO));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| readers.wait_for_those_before(100, Duration::from_secs(600)));
            drop(older);
            assert!(waiting.join().unwrap());
        });
        drop(newer);
    }
}
