//! Where the series of a reference is.

use std::collections::HashMap;

/// Slots by log reference: a plain list while references are dense, which those of one process are.
#[derive(Debug, Default)]
pub(in crate::tsdb) struct RefMap {
    dense: Vec<u32>,
    sparse: HashMap<u64, u32>,
    len: usize,
}

const NO_SLOT: u32 = u32::MAX;

impl RefMap {
    pub(super) fn insert(&mut self, wal_ref: u64, slot: u32) {
        self.len += 1;
        let room = 8 * self.len as u64 + 4096;
        if wal_ref >= room && wal_ref >= self.dense.len() as u64 {
            self.sparse.insert(wal_ref, slot);
            return;
        }
        // Below `room`, which is a number of things in memory.
        let at = wal_ref as usize;
        if self.dense.len() <= at {
            self.dense.resize(at + 1, NO_SLOT);
        }
        self.dense[at] = slot;
    }

    #[inline]
    pub(in crate::tsdb) fn get(&self, wal_ref: u64) -> Option<u32> {
        let dense = usize::try_from(wal_ref).ok().and_then(|at| self.dense.get(at));
        match dense {
            Some(slot) if *slot != NO_SLOT => Some(*slot),
            // A reference can have gone to the sparse side before the dense one grew past it.
            _ => self.sparse.get(&wal_ref).copied(),
        }
    }
}
