//! The store's references for series that were written before, by a hash of how requests name them.
//!
//! As for scraped lines, a hash is taken for the text: with 64 seeded bits two of a million names collide once in tens of
//! millions of servers, and never on purpose. Entries are cheap to lose: whoever is not found is resolved by labels.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use parking_lot::Mutex;
use rapidhash::v3::{RapidSecrets, rapidhash_v3_seeded};

use crate::storage::SeriesRef;

/// Locks; a request holds one for as long as a lookup takes.
const SHARDS: usize = 16;
/// Entries over all shards: some 50 MiB at the most.
const ENTRIES_MAX: usize = 1 << 21;
/// Entries that were not used for so long go before the table grows.
const KEPT_MINUTES: u32 = 60;
/// No smaller table is looked through for what may go.
const SMALL: usize = 1024;

/// A hash of everything that names a series.
pub(super) type Key = u64;

/// What is known of a series.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Known {
    pub(super) series: SeriesRef,
    /// A hash of the metadata that was stored last; 0 for none.
    pub(super) metadata: u32,
}

struct Entry {
    key: Key,
    series: SeriesRef,
    metadata: u32,
    /// The minute of its last use.
    used: u32,
}

/// A bounded map from keys to references.
pub(super) struct SeriesCache {
    shards: [Mutex<HashTable<Entry>>; SHARDS],
    secrets: RapidSecrets,
    max: usize,
}

impl SeriesCache {
    pub(super) fn new() -> SeriesCache {
        SeriesCache::with_room(ENTRIES_MAX)
    }

    fn with_room(entries: usize) -> SeriesCache {
        // The standard library's hasher is the seed that an attacker cannot know.
        let seed = std::collections::hash_map::RandomState::new().hash_one(0u8);
        SeriesCache { shards: Default::default(), secrets: RapidSecrets::seed(seed), max: entries / SHARDS }
    }

    /// The hash of a text, from which keys are made.
    #[inline]
    pub(super) fn hash(&self, text: &[u8]) -> u64 {
        rapidhash_v3_seeded(text, &self.secrets)
    }

    #[inline]
    pub(super) fn get(&self, key: Key, minute: u32) -> Option<Known> {
        let mut shard = self.shard(key).lock();
        let entry = shard.find_mut(key, |entry| entry.key == key)?;
        entry.used = minute;
        Some(Known { series: entry.series, metadata: entry.metadata })
    }

    pub(super) fn put(&self, key: Key, known: Known, minute: u32) {
        let mut shard = self.shard(key).lock();
        if let Some(entry) = shard.find_mut(key, |entry| entry.key == key) {
            (entry.series, entry.metadata, entry.used) = (known.series, known.metadata, minute);
            return;
        }
        if shard.len() == shard.capacity() || shard.len() >= self.max {
            make_room(&mut shard, self.max, minute);
        }
        let entry = Entry { key, series: known.series, metadata: known.metadata, used: minute };
        shard.insert_unique(key, entry, |entry| entry.key);
    }

    /// Notes which metadata was stored of a series that is still the same.
    pub(super) fn note_metadata(&self, key: Key, known: Known) {
        let mut shard = self.shard(key).lock();
        if let Some(entry) = shard.find_mut(key, |entry| entry.key == key && entry.series == known.series) {
            entry.metadata = known.metadata;
        }
    }

    /// Entries.
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    #[inline]
    fn shard(&self, key: Key) -> &Mutex<HashTable<Entry>> {
        // The table takes the lowest and the highest bits.
        &self.shards[(key >> 32) as usize % SHARDS]
    }
}

/// A full table loses what was not used for long. It grows only if that was little, and starts anew if it must not grow.
fn make_room(table: &mut HashTable<Entry>, max: usize, minute: u32) {
    let before = table.len();
    if before >= SMALL.min(max) {
        table.retain(|entry| minute.saturating_sub(entry.used) < KEPT_MINUTES);
    }
    if table.len() > max / 4 * 3 {
        table.clear();
    } else if table.len() > before / 4 * 3 {
        table.reserve(before.max(4), |entry| entry.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(n: u64) -> Known {
        Known { series: SeriesRef(n), metadata: 0 }
    }

    fn key(cache: &SeriesCache, n: u64) -> Key {
        cache.hash(&n.to_le_bytes())
    }

    #[test]
    fn what_was_put_is_found_and_can_be_replaced() {
        let cache = SeriesCache::new();
        (0..10_000).for_each(|n| cache.put(key(&cache, n), known(n), 1));
        assert!((0..10_000).all(|n| cache.get(key(&cache, n), 1) == Some(known(n))));
        assert_eq!(cache.get(key(&cache, 10_000), 1), None);
        cache.put(key(&cache, 7), known(70), 1);
        cache.note_metadata(key(&cache, 7), Known { series: SeriesRef(7), metadata: 1 });
        assert_eq!(cache.get(key(&cache, 7), 1), Some(known(70)), "that was of another series");
        cache.note_metadata(key(&cache, 7), Known { series: SeriesRef(70), metadata: 2 });
        assert_eq!(cache.get(key(&cache, 7), 1), Some(Known { series: SeriesRef(70), metadata: 2 }));
        assert_eq!(cache.len(), 10_000);
    }

    #[test]
    fn series_that_are_gone_make_room_for_new_ones() {
        let cache = SeriesCache::new();
        (0..100_000).for_each(|n| cache.put(key(&cache, n), known(n), 0));
        let room = cache.shards.iter().map(|s| s.lock().capacity()).sum::<usize>();
        for hour in 1..20 {
            let first = u64::from(hour) * 100_000;
            (first..first + 100_000).for_each(|n| cache.put(key(&cache, n), known(n), hour * 60));
        }
        let room_now = cache.shards.iter().map(|s| s.lock().capacity()).sum::<usize>();
        assert!(room_now <= 2 * room, "{room_now} entries after {room}");
    }

    #[test]
    fn there_are_never_more_entries_than_there_is_room_for() {
        let cache = SeriesCache::with_room(16_000);
        for n in 0..200_000 {
            cache.put(key(&cache, n), known(n), 1);
            assert_eq!(cache.get(key(&cache, n), 1), Some(known(n)));
        }
        let room = cache.shards.iter().map(|s| s.lock().capacity()).sum::<usize>();
        assert!(room <= 4 * 16_000, "{room}");
    }
}
