//! Where extents are kept.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;

use super::extent::Extent;
use super::{Key, TTL};
use crate::model::TimestampMs;
use crate::promql::StepTimes;
use crate::telemetry::{Counter, Gauge, Registry};

/// One answer takes at most this part of the room: a single large one must not drive out all others.
const LARGEST: u64 = 4;
/// Extents of one expression that do not touch each other.
const EXTENTS_MAX: usize = 16;
/// Bytes of an entry in the two maps, besides its key and its extents.
const ENTRY: usize = 160;

/// Extents by their keys, in the order of their use.
pub(super) struct Shelf {
    max_bytes: u64,
    held: Mutex<Held>,
    stored: Counter,
    evicted: Counter,
    bytes: Gauge,
    entries: Gauge,
}

#[derive(Default)]
struct Held {
    entries: HashMap<Arc<Key>, Entry>,
    /// By when they were used last.
    by_use: BTreeMap<u64, Arc<Key>>,
    /// Counts uses.
    uses: u64,
    bytes: u64,
}

struct Entry {
    /// Ascending; none overlaps another.
    extents: Vec<Arc<Extent>>,
    used: u64,
}

impl Shelf {
    pub(super) fn new(max_bytes: u64, registry: &Registry) -> Shelf {
        let counter = |name, help| registry.counter(name, help, &[]);
        let gauge = |name, help| registry.gauge(name, help, &[]);
        Shelf {
            max_bytes,
            held: Mutex::default(),
            stored: counter(
                "watershed_federation_cache_stored_bytes_total",
                "Bytes of members' results that were put into the cache.",
            ),
            evicted: counter(
                "watershed_federation_cache_evicted_bytes_total",
                "Bytes of members' results that gave way to others.",
            ),
            bytes: gauge("watershed_federation_cache_bytes", "Bytes of members' results in the cache."),
            entries: gauge("watershed_federation_cache_entries", "Expressions of which the cache has results."),
        }
    }

    /// Bytes of the largest extent that is kept.
    pub(super) fn largest(&self) -> u64 {
        self.max_bytes / LARGEST
    }

    /// What is there of these steps, ascending. What is too old goes.
    pub(super) fn find(&self, key: &Key, steps: StepTimes, settled: TimestampMs, now: TimestampMs) -> Vec<Arc<Extent>> {
        self.change(|held| {
            held.use_entry(key, now);
            let found = held.entries.get(key).map_or(&[][..], |entry| &entry.extents);
            // The clock may have been set back.
            let is_found = |extent: &&Arc<Extent>| extent.overlaps(steps) && extent.steps.end() <= settled;
            found.iter().filter(is_found).cloned().collect()
        })
    }

    /// Puts an extent in the place of those that it overlaps.
    pub(super) fn put(&self, key: Key, extent: Extent, now: TimestampMs) {
        self.stored.add(extent.bytes);
        let evicted = self.change(|held| {
            held.put(key, extent, now);
            let added = held.bytes;
            while held.bytes > self.max_bytes && held.drop_unused() {}
            added.saturating_sub(held.bytes)
        });
        self.evicted.add(evicted);
    }

    /// Does something with what is held, and tells the gauges.
    fn change<R>(&self, change: impl FnOnce(&mut Held) -> R) -> R {
        let mut held = self.held.lock();
        let before = (held.bytes, held.entries.len());
        let out = change(&mut held);
        self.bytes.add(held.bytes as f64 - before.0 as f64);
        self.entries.add(held.entries.len() as f64 - before.1 as f64);
        out
    }
}

#[cfg(test)]
impl Shelf {
    /// Whether what is counted is what is there, and no more than there may be.
    pub(super) fn is_right(&self) -> bool {
        let held = self.held.lock();
        let own = |(key, entry): (&Arc<Key>, &Entry)| size(&entry.extents) + (key.size() + ENTRY) as u64;
        let apart = |entry: &Entry| entry.extents.windows(2).all(|two| two[0].steps.end() < two[1].steps.start);
        held.bytes <= self.max_bytes
            && held.bytes == held.entries.iter().map(own).sum::<u64>()
            && held.entries.values().all(|entry| apart(entry) && !entry.extents.is_empty())
            && held.by_use.len() == held.entries.len()
            && held.by_use.iter().all(|(used, key)| held.entries.get(key).is_some_and(|entry| entry.used == *used))
    }

    /// Bytes and entries now, and bytes that were stored and evicted.
    pub(super) fn figures(&self) -> [f64; 4] {
        [self.bytes.get(), self.entries.get(), self.stored.get() as f64, self.evicted.get() as f64]
    }
}

impl Drop for Shelf {
    /// The gauges outlive it.
    fn drop(&mut self) {
        let held = self.held.get_mut();
        self.bytes.add(-(held.bytes as f64));
        self.entries.add(-(held.entries.len() as f64));
    }
}

impl Held {
    /// A key is asked for: what is too old of it goes.
    fn use_entry(&mut self, key: &Key, now: TimestampMs) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        // What comes from a future that the clock has left again is as old as what is too old.
        let is_young = |extent: &Arc<Extent>| (0..=TTL.0).contains(&now.0.saturating_sub(extent.since.0));
        let before = size(&entry.extents);
        entry.extents.retain(is_young);
        self.bytes = self.bytes.saturating_sub(before - size(&entry.extents));
        if entry.extents.is_empty() {
            self.remove(key);
            return;
        }
        self.uses += 1;
        if let Some(key) = self.by_use.remove(&entry.used) {
            self.by_use.insert(self.uses, key);
        }
        entry.used = self.uses;
    }

    fn put(&mut self, key: Key, extent: Extent, now: TimestampMs) {
        self.use_entry(&key, now);
        if !self.entries.contains_key(&key) {
            self.uses += 1;
            let key = Arc::new(key.clone());
            self.bytes += (key.size() + ENTRY) as u64;
            self.by_use.insert(self.uses, key.clone());
            self.entries.insert(key, Entry { extents: Vec::new(), used: self.uses });
        }
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let before = size(&entry.extents);
        entry.extents.retain(|other| !other.overlaps(extent.steps));
        if entry.extents.len() >= EXTENTS_MAX {
            entry.extents.remove(0);
        }
        entry.extents.push(Arc::new(extent));
        entry.extents.sort_by_key(|extent| extent.steps.start);
        self.bytes = self.bytes.saturating_sub(before) + size(&entry.extents);
    }

    /// Drops what was not used for the longest time; false if there is nothing.
    fn drop_unused(&mut self) -> bool {
        let Some((_, key)) = self.by_use.first_key_value() else { return false };
        let key = key.clone();
        self.remove(&key);
        true
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.by_use.remove(&entry.used);
            self.bytes = self.bytes.saturating_sub(size(&entry.extents) + (key.size() + ENTRY) as u64);
        }
    }
}

fn size(extents: &[Arc<Extent>]) -> u64 {
    extents.iter().map(|extent| extent.bytes).sum()
}
