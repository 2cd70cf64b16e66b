//! The head: every series of the retained window, in memory.
//!
//! A series has a *slot*, a small number that is given to another series after it is gone, and a *reference*, which
//! never is. Slots index everything here: pages of samples, postings, ranks. References go out to appenders and
//! into the log. Series lie in pages of 256 with one lock each, so neighbours, which are created and appended to
//! together, cost one lock for a run of them.
//!
//! Lock order: gate, then `index`, then `applying`, then `pages`, then one page at a time. A commit holds `applying` and
//! `pages` and a page and nothing else, so those who only look up series never wait for it.
//!
//! Nobody sees half of a commit: a commit is applied under `applying`, and a reader takes it for the moment in which it
//! notes how far each of its series has come ([`Seen`]); what is appended later is hidden from it.
//!
//! The head writes no files: whoever creates a series must log it (see `tsdb::append`).

mod chunks;
mod closed;
mod delete;
mod ended;
mod gate;
mod histogram_chunk;
mod index;
mod latest;
mod matching;
mod open;
mod order;
mod pairs;
mod postings;
mod read;
mod restore;
mod series;
mod sets;
mod statistics;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use roaring::RoaringBitmap;

pub(super) use chunks::FoundChunks;
pub(super) use ended::EndedSeries;
pub(super) use gate::{Gate, Pass};
pub(super) use index::Index;
pub(super) use open::ChunkRule;
pub(super) use restore::LastLabels;
pub(super) use series::{PAGE_SERIES, Page, PageCursor, Series, Verdict, locate};

use super::block::Tombstones;
use super::head_chunks::HeadChunks;
use crate::model::Labels;
use crate::storage::{SeriesRef, TimeRange};

/// References above this do not fit where Prometheus packs them together with a chunk's number.
const MAX_WAL_REF: u64 = (1 << 40) - 1;

/// All series of one store.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) gate: Gate,
    index: RwLock<Index>,
    pages: RwLock<Vec<Arc<Page>>>,
    last_wal_ref: AtomicU64,
    /// Newest sample, in milliseconds; `i64::MIN` before the first.
    max_t: AtomicI64,
    /// Older samples are not taken, because they may be in a block.
    min_valid: AtomicI64,
    chunk_range: i64,
    /// The rest of the rule by which chunks are opened.
    xor2: AtomicBool,
    histogram_starts: AtomicBool,
    /// Held while the samples of a commit are put into their series.
    pub(super) applying: Mutex<()>,
    pub(super) chunks: AtomicI64,
    /// Where closed chunks go.
    files: Arc<HeadChunks>,
    /// Deleted intervals by log reference. Replaced as a whole, so that a reader keeps those of its beginning.
    tombstones: RwLock<Arc<Tombstones>>,
}

/// Why a series cannot be created.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum CreateError {
    #[error("a series cannot have more than 65535 labels, and there cannot be more than 2^32 series")]
    NoRoom,
    #[error("all 2^40 references have been given away")]
    NoReference,
}

/// What collecting has removed.
#[derive(Clone, Debug, Default)]
pub(super) struct Collected {
    pub(super) chunks: usize,
    /// The log references of the series removed.
    pub(super) series: Vec<u64>,
    /// The first file of head chunks with a chunk that is still needed.
    pub(super) first_file: Option<u32>,
    /// Appenders were busy for too long; series without samples are left for the next time.
    pub(super) postponed: bool,
}

/// A series' reference: its slot, and enough of its log reference to tell it from the slot's other owners.
pub(super) fn series_ref(slot: u32, wal_ref: u64) -> SeriesRef {
    SeriesRef(u64::from(slot) << 32 | u64::from(wal_ref as u32))
}

/// The slot and the low half of the log reference.
#[inline]
pub(super) fn split_ref(series: SeriesRef) -> (u32, u32) {
    ((series.0 >> 32) as u32, series.0 as u32)
}

impl Head {
    pub(super) fn new(chunk_range: i64, files: Arc<HeadChunks>) -> Head {
        Head {
            gate: Gate::default(),
            index: RwLock::new(Index::new()),
            pages: RwLock::default(),
            last_wal_ref: AtomicU64::new(0),
            max_t: AtomicI64::new(i64::MIN),
            min_valid: AtomicI64::new(i64::MIN),
            chunk_range: chunk_range.max(1),
            xor2: AtomicBool::new(false),
            histogram_starts: AtomicBool::new(false),
            applying: Mutex::default(),
            chunks: AtomicI64::new(0),
            files,
            tombstones: RwLock::default(),
        }
    }

    /// How chunks are opened now.
    pub(super) fn chunk_rule(&self) -> ChunkRule {
        ChunkRule {
            range: self.chunk_range,
            xor2: self.xor2.load(Ordering::Relaxed),
            histogram_starts: self.histogram_starts.load(Ordering::Relaxed),
        }
    }

    /// Says how chunks are opened from now on; those that are open go on as they are.
    pub(super) fn open_chunks_with(&self, xor2: bool, histogram_starts: bool) {
        self.xor2.store(xor2, Ordering::Relaxed);
        self.histogram_starts.store(histogram_starts, Ordering::Relaxed);
    }

    pub(super) fn max_t(&self) -> i64 {
        self.max_t.load(Ordering::Acquire)
    }

    pub(super) fn min_valid(&self) -> i64 {
        self.min_valid.load(Ordering::Acquire)
    }

    /// The files that full chunks go to.
    pub(super) fn files(&self) -> &HeadChunks {
        &self.files
    }

    /// From now on takes no older samples. Commits that are being applied have ended when this returns.
    pub(super) fn raise_min_valid(&self, t: i64) {
        let _applying = self.applying.lock();
        self.min_valid.fetch_max(t, Ordering::AcqRel);
    }

    pub(super) fn note_max_t(&self, t: i64) {
        self.max_t.fetch_max(t, Ordering::AcqRel);
    }

    pub(super) fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read()
    }

    /// The labels of a series that is there.
    pub(super) fn labels(&self, slot: u32) -> Labels {
        let mut encoded = Vec::new();
        self.index().write_labels(slot, &mut encoded);
        Labels::from_encoded(&encoded)
    }

    /// The index with every series ranked.
    pub(super) fn ordered_index(&self) -> RwLockReadGuard<'_, Index> {
        let index = self.index.read();
        if index.is_ordered() {
            return index;
        }
        drop(index);
        let mut index = self.index.write();
        index.refresh_order();
        RwLockWriteGuard::downgrade(index)
    }

    /// Whether nobody changes the head now, and every series has its rank.
    pub(super) fn is_prompt(&self) -> bool {
        self.index.try_read().is_some_and(|index| index.is_ordered()) && self.applying.try_lock().is_some()
    }

    pub(super) fn pages(&self) -> RwLockReadGuard<'_, Vec<Arc<Page>>> {
        self.pages.read()
    }

    /// The series with these encoded labels.
    pub(super) fn find(&self, encoded: &[u8], scratch: &mut Vec<u32>) -> Option<SeriesRef> {
        let index = self.index.read();
        let slot = index.find(encoded, scratch)?;
        Some(SeriesRef(u64::from(slot) << 32 | u64::from(index.low_ref(slot))))
    }

    /// Finds or creates a series; `created` is called with its log reference before anyone else can see a new one.
    pub(super) fn find_or_create(
        &self,
        encoded: &[u8],
        scratch: &mut Vec<u32>,
        created: impl FnOnce(u64),
    ) -> Result<SeriesRef, CreateError> {
        if let Some(series) = self.find(encoded, scratch) {
            return Ok(series);
        }
        let mut index = self.index.write();
        if let Some(slot) = index.find(encoded, scratch) {
            return Ok(SeriesRef(u64::from(slot) << 32 | u64::from(index.low_ref(slot))));
        }
        let wal_ref = self.next_wal_ref().ok_or(CreateError::NoReference)?;
        let slot = self.insert(&mut index, encoded, wal_ref)?;
        created(wal_ref);
        Ok(series_ref(slot, wal_ref))
    }

    /// A reference that the log mentions is never given away again.
    pub(super) fn reserve_wal_ref(&self, wal_ref: u64) {
        if wal_ref <= MAX_WAL_REF {
            self.last_wal_ref.fetch_max(wal_ref, Ordering::AcqRel);
        }
    }

    fn insert(&self, index: &mut Index, encoded: &[u8], wal_ref: u64) -> Result<u32, CreateError> {
        let slot = index.insert(encoded, wal_ref as u32).ok_or(CreateError::NoRoom)?;
        let (page, at) = locate(slot);
        self.page(page).lock()[at] = Series::new(wal_ref);
        Ok(slot)
    }

    /// The page with that number, which is created if needed.
    fn page(&self, number: usize) -> Arc<Page> {
        if let Some(page) = self.pages.read().get(number) {
            return page.clone();
        }
        let mut pages = self.pages.write();
        while pages.len() <= number {
            pages.push(Arc::new(Page::new()));
        }
        pages[number].clone()
    }

    /// References whose low half is 0 are left out: they could look like no series.
    fn next_wal_ref(&self) -> Option<u64> {
        let next = |last: u64| Some(last + 1 + u64::from((last + 1) as u32 == 0)).filter(|n| *n <= MAX_WAL_REF);
        self.last_wal_ref.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).ok().and_then(next)
    }

    /// Drops chunks older than `min_t` and the slots of series that have nothing newer and that are not `is_held` for what
    /// lies elsewhere. The caller must log nothing for those series any more; `gate` is closed for the removal, and if that fails series stay for the next time.
    pub(super) fn collect(
        &self,
        min_t: i64,
        patience: std::time::Duration,
        is_held: &dyn Fn(u32) -> bool,
    ) -> Collected {
        let mut collected = Collected::default();
        let dead = |series: &Series| series.wal_ref != 0 && series.last_t().is_none_or(|t| t < min_t);
        let mut candidates = Vec::new();
        let pages = self.pages.read().clone();
        for (number, page) in pages.iter().enumerate() {
            for (at, series) in page.lock().iter_mut().enumerate() {
                collected.chunks += series.drop_before(min_t);
                let first_file = series.first_file();
                collected.first_file = collected.first_file.into_iter().chain(first_file).min();
                // Slots are 32 bits wide by construction.
                let slot = (number * PAGE_SERIES + at) as u32;
                if dead(series) {
                    // Also of a series that stays: what is hidden in its last chunk must not come back.
                    collected.chunks += series.clear();
                    if !is_held(slot) {
                        candidates.push(slot);
                    }
                }
            }
        }
        if !candidates.is_empty() {
            match self.gate.close(patience) {
                Some(_closed) => {
                    // An appender may have given a candidate something before the gate closed.
                    candidates.retain(|slot| !is_held(*slot));
                    self.remove(&pages, candidates, dead, &mut collected);
                }
                None => collected.postponed = true,
            }
        }
        self.forget_hidden(min_t, &collected.series);
        self.chunks.fetch_sub(i64::try_from(collected.chunks).unwrap_or(i64::MAX), Ordering::Relaxed);
        collected
    }

    fn remove(
        &self,
        pages: &[Arc<Page>],
        mut candidates: Vec<u32>,
        dead: impl Fn(&Series) -> bool,
        collected: &mut Collected,
    ) {
        let mut index = self.index.write();
        // An appender may have written to a candidate before the gate closed.
        candidates.retain(|slot| {
            let (page, at) = locate(*slot);
            let series = &mut pages[page].lock()[at];
            let gone = dead(series);
            if gone {
                collected.chunks += series.chunk_count();
                collected.series.push(std::mem::take(series).wal_ref);
            }
            gone
        });
        index.remove(&candidates);
    }

    /// The log reference of the series in a slot; 0 if there is none.
    pub(super) fn wal_ref(&self, slot: u32) -> u64 {
        let pages = self.pages.read();
        PageCursor::new(&pages).series(slot).map_or(0, |series| series.wal_ref)
    }

    /// The intervals deleted as of now, by log reference.
    pub(super) fn tombstones(&self) -> Arc<Tombstones> {
        self.tombstones.read().clone()
    }

    /// The log references of all series.
    pub(super) fn wal_refs(&self) -> HashSet<u64> {
        let pages = self.pages.read().clone();
        let mut refs = HashSet::new();
        for page in &pages {
            refs.extend(page.lock().iter().map(|series| series.wal_ref).filter(|wal_ref| *wal_ref != 0));
        }
        refs
    }

    /// Packs the index; cheap where nothing has changed.
    pub(super) fn optimize(&self) {
        self.index.write().optimize();
    }

    /// Calls `visit` with each series of a set of slots, page by page.
    pub(super) fn each(&self, slots: &RoaringBitmap, mut visit: impl FnMut(u32, &Series)) {
        let pages = self.pages.read();
        let mut slots = slots.iter().peekable();
        while let Some(first) = slots.peek().copied() {
            let (number, _) = locate(first);
            let Some(page) = pages.get(number) else { return };
            let page = page.lock();
            while let Some(slot) = slots.next_if(|slot| locate(*slot).0 == number) {
                visit(slot, &page[locate(slot).1]);
            }
        }
    }

    /// The slots of a set whose series have a chunk in the range that is not deleted as a whole.
    pub(super) fn with_samples(&self, slots: &RoaringBitmap, range: TimeRange) -> RoaringBitmap {
        let (mut found, hidden) = (Vec::new(), self.tombstones.read().clone());
        self.each(slots, |slot, series| {
            if series.shows_in(range, hidden.get(series.wal_ref)) {
                found.push(slot);
            }
        });
        // Bitmaps iterate in ascending order.
        RoaringBitmap::from_sorted_iter(found).unwrap_or_default()
    }

    /// The oldest sample's time.
    pub(super) fn min_t(&self) -> Option<i64> {
        let pages = self.pages.read().clone();
        pages.iter().filter_map(|page| page.lock().iter().filter_map(Series::first_t).min()).min()
    }
}

#[cfg(test)]
mod tests;
