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
pub struct Gate(Arc<Mutex<Option<BTreeSet<Ulid>>>>);

impl Gate {
    /// A gate that lets everything through until a shipper closes it.
    pub fn open() -> Gate {
        Gate::default()
    }

    /// Whether the block may become part of another. One that is not yet known to the shipper may not.
    pub fn may_compact(&self, ulid: Ulid) -> bool {
        self.0.lock().as_ref().is_none_or(|free| free.contains(&ulid))
    }

    /// Lets only these through.
    pub(super) fn close_but_for(&self, free: BTreeSet<Ulid>) {
        *self.0.lock() = Some(free);
    }

    pub(super) fn let_through(&self, ulid: Ulid) {
        if let Some(free) = &mut *self.0.lock() {
            free.insert(ulid);
        }
    }

    /// Lets everything through again: shipping has ended.
    pub(super) fn reopen(&self) {
        *self.0.lock() = None;
    }
}
