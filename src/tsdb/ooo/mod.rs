//! Samples that come later than newer ones of their series.
//!
//! A series' late samples lie beside its others: at most 32 of them in a small sorted buffer, the earlier ones as
//! chunks in `chunks_head`, which may overlap each other and everything else. What was accepted is logged in `wbl/` (*write-behind log*, format in `WBL.md`), not in `wal/`: whoever reads `wal/` alone never meets a
//! sample that it would refuse. Series without late samples cost nothing: all this is kept beside the head, by slot.
//!
//! The laws:
//! * A sample is logged before it can be read, and after the record of its series, which is in `wal/`.
//! * At replay a marker empties a buffer only of what the chunk it names is seen to hold. So no order of lost files and
//!   lost log ends loses a sample; what is in two places is one sample to every reader.
//! * Of two samples of one time the one in order counts, else the one that was there first.
//! * Nothing is dropped before blocks that hold it are durable and in use; see `compact.rs`.
//!
//! It does not judge which samples are late or too late (`tsdb::append` does), and it does not look for a late sample's
//! time among the chunks already written: readers and compaction settle that.

mod compact;
mod read;
mod replay;
mod rule;
mod series;
#[cfg(test)]
mod store_tests;
mod take;
#[cfg(test)]
mod tests;
mod wbl;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};
use roaring::RoaringBitmap;

use compact::Rotated;
pub(super) use read::OooStream;
pub(super) use rule::{LateRule, Settled};
use series::OooSeries;
pub(super) use take::Late;
pub(super) use wbl::Wbl;

use super::head::{Head, PAGE_SERIES};
use super::head_chunks::HeadChunks;
use crate::model::TimestampMs;
use crate::storage::{Chunk, DecodeError, QueryError, TimeRange};

/// Samples that a series' buffer holds before it is written out: the reference's `OutOfOrderCapMax`, which its servers have
/// no setting for either.
pub(super) const DEFAULT_CAP: usize = 32;
/// Locks among which the slots are spread, page by page.
const SHARDS: usize = 32;

/// The late samples of all series.
///
/// Lock order: `changing`, then one shard or the log.
#[derive(Debug)]
pub(super) struct OutOfOrder {
    cap: usize,
    /// By slot.
    shards: [Mutex<BTreeMap<u32, OooSeries>>; SHARDS],
    /// Series in `shards`; lets everybody pass by while there are none.
    count: AtomicUsize,
    pub(super) chunks: Arc<HeadChunks>,
    /// Held by whoever changes `shards` and logs that, so that the log's order is that of the changes.
    changing: Mutex<()>,
    /// References in the log's segments from before the start that their series have given up.
    foreign: Mutex<HashSet<u64>>,
    /// A round of compaction whose samples are in blocks, but which somebody still reads here. Its lock makes rounds
    /// follow one another.
    pending: Mutex<Option<Rotated>>,
}

impl OutOfOrder {
    /// None yet; full buffers of `cap` samples go to `chunks`.
    pub(super) fn new(cap: usize, chunks: Arc<HeadChunks>) -> OutOfOrder {
        let (shards, count, changing) = (Default::default(), AtomicUsize::new(0), Mutex::default());
        let (foreign, pending) = (Mutex::default(), Mutex::default());
        OutOfOrder { cap: cap.max(1), shards, count, chunks, changing, foreign, pending }
    }

    /// Whether there are no late samples at all.
    pub(super) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    fn shard(&self, slot: u32) -> MutexGuard<'_, BTreeMap<u32, OooSeries>> {
        self.shards[slot as usize / PAGE_SERIES % SHARDS].lock()
    }

    /// Does something with the late samples of a series, which are there from then on.
    fn with<T>(&self, slot: u32, act: impl FnOnce(&mut OooSeries) -> T) -> T {
        let mut shard = self.shard(slot);
        let series = shard.entry(slot).or_insert_with(|| {
            self.count.fetch_add(1, Ordering::AcqRel);
            OooSeries::default()
        });
        act(series)
    }

    /// Whether the log may name a series by this reference, which is not its own any more.
    pub(super) fn names(&self, wal_ref: u64) -> bool {
        self.foreign.lock().contains(&wal_ref)
    }

    /// Whether a series has late samples.
    pub(super) fn has(&self, slot: u32) -> bool {
        !self.is_empty() && self.shard(slot).contains_key(&slot)
    }

    /// Whether a chunk of late samples of any series overlaps the range.
    pub(super) fn is_in(&self, range: TimeRange) -> bool {
        !self.is_empty() && self.shards.iter().any(|shard| shard.lock().values().any(|series| series.overlaps(range)))
    }

    /// The series with late samples that overlap the range.
    pub(super) fn overlapping(&self, range: TimeRange) -> RoaringBitmap {
        let mut found = RoaringBitmap::new();
        if !self.is_empty() {
            for shard in &self.shards {
                found.extend(shard.lock().iter().filter(|(_, s)| s.overlaps(range)).map(|(slot, _)| slot));
            }
        }
        found
    }

    /// The times of the oldest and the newest late sample.
    pub(super) fn time_range(&self) -> Option<(TimestampMs, TimestampMs)> {
        if self.is_empty() {
            return None;
        }
        let of_shard =
            |shard: &Mutex<BTreeMap<u32, OooSeries>>| widest(shard.lock().values().filter_map(OooSeries::time_range));
        widest(self.shards.iter().filter_map(of_shard))
    }

    /// Appends the chunks of a series that overlap the range, in order of precedence; they may overlap each other. Only of
    /// the `first` so many written out, or of everything.
    pub(super) fn chunks(
        &self,
        slot: u32,
        first: Option<usize>,
        range: TimeRange,
        out: &mut Vec<Chunk>,
    ) -> Result<(), QueryError> {
        if self.is_empty() {
            return Ok(());
        }
        // Chunks are read under the lock: none is dropped meanwhile, and so its file is there.
        let read = |place| self.chunks.read(place);
        match (self.shard(slot).get(&slot), first) {
            (Some(series), Some(count)) => series.first_chunks(count, range, &read, out),
            (Some(series), None) => series.chunks(range, &read, out),
            (None, _) => Ok(()),
        }
    }

    /// A time in the range that no late sample of the series in it is newer than; `None` if it has none there.
    pub(super) fn newest_in(&self, slot: u32, range: TimeRange) -> Option<TimestampMs> {
        self.shard(slot).get(&slot)?.newest_in(range)
    }

    /// Removes the files that neither the head needs, whose first is `in_order`, nor late samples.
    pub(super) fn drop_files(&self, head: &Head, in_order: Option<u32>) {
        // No chunk is written between looking and removing.
        let _changing = self.changing.lock();
        head.drop_files(in_order.into_iter().chain(self.first_file()).min());
    }

    /// The number of the oldest chunk file that holds late samples still needed.
    fn first_file(&self) -> Option<u32> {
        let first = |shard: &Mutex<BTreeMap<u32, OooSeries>>| {
            shard.lock().values().flat_map(|s| s.written().iter().map(|w| w.place.file())).min()
        };
        self.shards.iter().filter_map(first).min()
    }
}

fn widest(ranges: impl Iterator<Item = (TimestampMs, TimestampMs)>) -> Option<(TimestampMs, TimestampMs)> {
    ranges.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
}

/// A chunk in memory that cannot be decoded.
fn corrupt(error: DecodeError) -> QueryError {
    QueryError::Corrupt { path: "memory".to_owned(), offset: 0, reason: error.to_string() }
}
