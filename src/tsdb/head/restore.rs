//! Series that the log names, one after the other, at start.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::RwLockWriteGuard;

use super::index::{Index, pair_texts};
use super::series::{Page, Series, locate};
use super::{CreateError, Head};

/// The index, locked for series to be restored.
///
/// Series that are created one after the other get neighbouring slots and share most of their labels, those of their
/// target, of their metric. So each pair is first compared with the one at its place in the series before, which is
/// faster than to look it up, and series go into its postings when the next has another pair there, all at once.
pub(crate) struct Restoring<'a> {
    head: &'a Head,
    index: RwLockWriteGuard<'a, Index>,
    last: &'a mut LastLabels,
    page: Option<(usize, Arc<Page>)>,
}

/// The labels of the series restored before. They hold as long as no series goes.
#[derive(Debug, Default)]
pub(crate) struct LastLabels {
    encoded: Vec<u8>,
    /// Of its pairs.
    ids: Vec<u32>,
    /// By pair: the series from this slot up to `end` have it and are not in its postings yet.
    since: Vec<u32>,
    end: u32,
}

impl Head {
    /// Locks the index. `last` is kept from one time to the next.
    pub(crate) fn restoring<'a>(&'a self, last: &'a mut LastLabels) -> Restoring<'a> {
        Restoring { head: self, index: self.index.write(), last, page: None }
    }
}

impl Restoring<'_> {
    /// Finds or creates a series; one that exists takes the newer reference. Returns its slot, and the reference it had
    /// before.
    pub(crate) fn series(&mut self, encoded: &[u8], wal_ref: u64) -> Result<(u32, Option<u64>), CreateError> {
        self.head.last_wal_ref.fetch_max(wal_ref, Ordering::AcqRel);
        if !self.index.has_room(encoded) {
            return Err(CreateError::NoRoom);
        }
        self.read(encoded);
        let low_ref = wal_ref as u32;
        if let Some(slot) = self.index.find_ids(&self.last.ids) {
            self.index.set_low_ref(slot, low_ref);
            let before = self.in_slot(slot, |series| std::mem::replace(&mut series.wal_ref, wal_ref));
            return Ok((slot, Some(before).filter(|before| *before != wal_ref)));
        }
        let slot = self.index.insert_ids(&self.last.ids, low_ref).ok_or(CreateError::NoRoom)?;
        if slot != self.last.end {
            self.post_all();
            self.last.since.fill(slot);
        }
        self.last.end = slot + 1;
        self.in_slot(slot, |series| *series = Series::new(wal_ref));
        Ok((slot, None))
    }

    /// Turns `last` into these labels, whose series may be new.
    fn read(&mut self, encoded: &[u8]) {
        let LastLabels { encoded: before, ids, since, end } = &mut *self.last;
        let mut texts = pair_texts(before);
        let mut len = 0;
        for text in pair_texts(encoded) {
            if texts.next() != Some(text) {
                let id = self.index.intern(text);
                match ids.get_mut(len) {
                    Some(old) => {
                        self.index.post(std::mem::replace(old, id), since[len]..*end);
                        since[len] = *end;
                    }
                    None => {
                        ids.push(id);
                        since.push(*end);
                    }
                }
            }
            len += 1;
        }
        drop(texts);
        for (id, since) in ids.drain(len..).zip(since.drain(len..)) {
            self.index.post(id, since..*end);
        }
        before.clear();
        before.extend_from_slice(encoded);
    }

    fn post_all(&mut self) {
        let LastLabels { ids, since, end, .. } = &mut *self.last;
        for (id, since) in ids.iter().zip(since) {
            self.index.post(*id, *since..*end);
            *since = *end;
        }
    }

    fn in_slot<R>(&mut self, slot: u32, change: impl FnOnce(&mut Series) -> R) -> R {
        let (number, at) = locate(slot);
        let page = match self.page.take() {
            Some((same, page)) if same == number => page,
            _ => self.head.page(number),
        };
        let changed = change(&mut page.lock()[at]);
        self.page = Some((number, page));
        changed
    }
}

/// Whoever locks the index next finds every series in its postings.
impl Drop for Restoring<'_> {
    fn drop(&mut self) {
        self.post_all();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::disk::MemDisk;
    use crate::model::Labels;
    use crate::tsdb::head_chunks::{HeadChunks, Options};

    fn labels(path: u8, zone: u8, has_zone: bool) -> Labels {
        let (path, zone) = (path.to_string(), zone.to_string());
        let pairs = [("__name__", "up"), ("path", &*path), ("zone", if has_zone { &*zone } else { "" })];
        Labels::from_pairs(pairs.into_iter().filter(|(_, value)| !value.is_empty()))
    }

    proptest! {
        /// Long runs of one zone, so that all forms of postings occur, and some series twice.
        #[test]
        fn restored_series_are_found_by_their_labels_and_in_the_postings_of_each_pair(
            runs in prop::collection::vec((0u8..4, any::<bool>(), 0u8..90, 0u8..90), 1..8),
            locks in 1usize..40,
        ) {
            let (files, ..) = HeadChunks::open(Arc::new(MemDisk::new()), Path::new("/c"), Options::default()).unwrap();
            let head = Head::new(1000, Arc::new(files));
            let sets = runs.iter().flat_map(|(zone, has_zone, first, len)| {
                (*first..first.saturating_add(*len)).map(|path| labels(path, *zone, *has_zone))
            });
            let mut last = LastLabels::default();
            let mut model: BTreeMap<Labels, (u32, u64)> = BTreeMap::new();
            for (number, sets) in sets.collect::<Vec<_>>().chunks(locks).enumerate() {
                let mut restoring = head.restoring(&mut last);
                for (i, set) in sets.iter().enumerate() {
                    let wal_ref = (1 + number * locks + i) as u64;
                    let (slot, before) = restoring.series(set.as_bytes(), wal_ref).unwrap();
                    let known = model.insert(set.clone(), (slot, wal_ref));
                    prop_assert_eq!(known, before.map(|before| (slot, before)));
                }
            }
            let index = head.index();
            prop_assert_eq!(index.live().len(), model.len() as u64);
            let mut postings: BTreeMap<Vec<u8>, BTreeSet<u32>> = BTreeMap::new();
            for (set, (slot, wal_ref)) in &model {
                prop_assert_eq!(index.find(set.as_bytes(), &mut Vec::new()), Some(*slot));
                prop_assert_eq!((index.low_ref(*slot), head.wal_ref(*slot)), (*wal_ref as u32, *wal_ref));
                for text in pair_texts(set.as_bytes()) {
                    postings.entry(text.to_vec()).or_default().insert(*slot);
                }
            }
            prop_assert_eq!(index.names().flat_map(|(_, pairs)| pairs).count(), postings.len());
            for (text, slots) in postings {
                let mut found = roaring::RoaringBitmap::new();
                index.pair(&text).unwrap().postings.add_to(&mut found);
                prop_assert!(found.iter().eq(slots));
            }
        }
    }
}
