//! Which blocks may be compacted.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::tsdb::block::Ulid;

/// Tells the compaction planner which blocks it may use up. Cloning gives another handle to the same gate.
///
/// Without a shipper it is open. A shipper closes it, and lets those blocks through that need not be shipped any more,
/// or will never be.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Grows with each shipper: one that is ending must not change what its successor says.
    keeper: u64,
    /// What is let through; `None` lets everything.
    free: Option<BTreeSet<Ulid>>,
}

impl Gate {
    /// A gate that lets everything through until a shipper closes it.
    pub fn open() -> Gate {
        Gate::default()
    }

    /// Whether the block may become part of another. One that is not yet known to the shipper may not.
    pub fn may_compact(&self, ulid: Ulid) -> bool {
        self.0.lock().free.as_ref().is_none_or(|free| free.contains(&ulid))
    }

    /// Closes it but for these; whoever kept it before has no say any more.
    pub(super) fn keep(&self, free: BTreeSet<Ulid>) -> Keeper {
        let mut state = self.0.lock();
        state.keeper += 1;
        state.free = Some(free);
        Keeper { gate: self.clone(), number: state.keeper }
    }
}

/// Says what the gate lets through; dropping it opens the gate.
#[derive(Debug)]
pub(super) struct Keeper {
    gate: Gate,
    number: u64,
}

impl Keeper {
    /// Lets only these through.
    pub(super) fn close_but_for(&self, free: BTreeSet<Ulid>) {
        self.change(|now| *now = Some(free));
    }

    pub(super) fn let_through(&self, ulid: Ulid) {
        self.change(|now| {
            if let Some(free) = now {
                free.insert(ulid);
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut Option<BTreeSet<Ulid>>)) {
        let mut state = self.gate.0.lock();
        if state.keeper == self.number {
            change(&mut state.free);
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.change(|now| *now = None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tsdb::fixtures::ulid;

    #[test]
    fn the_newest_keeper_decides_and_the_gate_is_open_without_one() {
        let gate = Gate::open();
        assert!(gate.may_compact(ulid(1)));
        let first = gate.keep(BTreeSet::new());
        assert!(!gate.may_compact(ulid(1)));
        first.let_through(ulid(1));
        assert!(gate.may_compact(ulid(1)) && !gate.may_compact(ulid(2)));
        let second = gate.keep(BTreeSet::from([ulid(2)]));
        first.close_but_for(BTreeSet::from([ulid(1)]));
        drop(first);
        assert!(!gate.may_compact(ulid(1)) && gate.may_compact(ulid(2)));
        drop(second);
        assert!(gate.may_compact(ulid(1)));
    }
}
