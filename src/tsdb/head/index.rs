//! Which series there are, and how they are found.

use std::ops::Range;

use hashbrown::HashTable;
use roaring::RoaringBitmap;

use super::order::Order;
use super::pairs::{Pair, Pairs};
use super::sets::{LabelSets, MAX_PAIRS, SetRef};
use crate::model::METRIC_NAME;
use crate::model::labels::RawPairs;

/// What is known of the series in a slot. A series' samples are elsewhere; see `series.rs`.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    set: SetRef,
    /// The low half of the series' reference; 0 while the slot is free. Tells a reader who comes back that the slot
    /// has another owner.
    low_ref: u32,
    /// The place in the order of all series, as of its last refresh.
    rank: u32,
}

/// Label names that somebody asks for, as of a moment at which the index was held.
pub(super) struct Asked {
    /// By the id of the name, the bits of its places among those asked for.
    bits: Vec<u32>,
    metric_name: Option<u32>,
}

/// Series by label set, by label pair and by slot.
#[derive(Debug)]
pub(crate) struct Index {
    pairs: Pairs,
    sets: LabelSets,
    slots: Vec<Slot>,
    free: RoaringBitmap,
    live: RoaringBitmap,
    by_set: HashTable<u32>,
    order: Order,
}

impl Index {
    pub(super) fn new() -> Index {
        Index {
            pairs: Pairs::new(),
            sets: LabelSets::default(),
            slots: Vec::new(),
            free: RoaringBitmap::new(),
            live: RoaringBitmap::new(),
            by_set: HashTable::new(),
            order: Order::default(),
        }
    }

    /// All series.
    pub(crate) fn live(&self) -> &RoaringBitmap {
        &self.live
    }

    /// The low half of the reference of the series in a slot; 0 if there is none.
    pub(crate) fn low_ref(&self, slot: u32) -> u32 {
        self.slots.get(slot as usize).map_or(0, |s| s.low_ref)
    }

    /// The slot of the series with these encoded labels. `scratch` is only there to be used again.
    pub(crate) fn find(&self, encoded: &[u8], scratch: &mut Vec<u32>) -> Option<u32> {
        scratch.clear();
        for text in pair_texts(encoded) {
            scratch.push(self.pairs.find(text)?);
        }
        self.find_ids(scratch)
    }

    /// Creates a series that [`Index::find`] has not found. `None` if it has too many labels or there is no slot left.
    pub(crate) fn insert(&mut self, encoded: &[u8], low_ref: u32) -> Option<u32> {
        if !self.has_room(encoded) {
            return None;
        }
        let ids: Vec<u32> = pair_texts(encoded).map(|text| self.intern(text)).collect();
        let slot = self.insert_ids(&ids, low_ref)?;
        ids.iter().for_each(|id| self.pairs.post(*id, slot));
        Some(slot)
    }

    /// Whether there is a slot left, and the labels are not too many for one.
    pub(super) fn has_room(&self, encoded: &[u8]) -> bool {
        self.slots.len() < u32::MAX as usize && pair_texts(encoded).count() <= MAX_PAIRS
    }

    /// The slot of the series with these pairs.
    pub(super) fn find_ids(&self, ids: &[u32]) -> Option<u32> {
        self.by_set.find(hash_ids(ids), |slot| self.pair_ids(*slot) == ids).copied()
    }

    /// As [`Index::insert`], by the ids of the pairs; the caller adds the series to their postings.
    pub(super) fn insert_ids(&mut self, ids: &[u32], low_ref: u32) -> Option<u32> {
        if self.by_set.len() == self.by_set.capacity() {
            self.grow();
        }
        let slot = self.free_slot()?;
        let set = self.sets.insert(ids);
        self.slots[slot as usize] = Slot { set, low_ref, rank: 0 };
        self.live.insert(slot);
        self.order.add_series(slot);
        let (slots, sets) = (&self.slots, &self.sets);
        self.by_set.insert_unique(hash_ids(ids), slot, |s| hash_ids(sets.get(slots[*s as usize].set)));
        Some(slot)
    }

    /// Doubles the table by sets. It would do so by itself, but go over the series in the order of their hashes and wait for
    /// memory at each.
    fn grow(&mut self) {
        let mut grown = HashTable::with_capacity(2 * self.by_set.len());
        let hash = |slot: &u32| hash_ids(self.pair_ids(*slot));
        for slot in &self.live {
            grown.insert_unique(hash(&slot), slot, hash);
        }
        self.by_set = grown;
    }

    /// Adds neighbouring series to the postings of a pair that they have.
    pub(super) fn post(&mut self, id: u32, slots: Range<u32>) {
        self.pairs.post_range(id, slots);
    }

    /// Gives a series another reference.
    pub(crate) fn set_low_ref(&mut self, slot: u32, low_ref: u32) {
        self.slots[slot as usize].low_ref = low_ref;
    }

    /// Forgets series; their slots are given to others.
    pub(crate) fn remove(&mut self, gone: &[u32]) {
        if gone.is_empty() {
            return;
        }
        for slot in gone {
            let hash = hash_ids(self.pair_ids(*slot));
            if let Ok(entry) = self.by_set.find_entry(hash, |other| other == slot) {
                entry.remove();
            }
            self.live.remove(*slot);
        }
        for slot in gone {
            let set = self.slots[*slot as usize].set;
            for id in self.sets.get(set).to_vec() {
                self.pairs.withdraw(id, *slot);
            }
        }
        let (pairs, live) = (&self.pairs, &self.live);
        self.order.retain(|slot| live.contains(slot), |id| !pairs.get(id).postings.is_empty());
        for slot in gone {
            let set = std::mem::take(&mut self.slots[*slot as usize]).set;
            for id in self.sets.get(set).to_vec() {
                self.pairs.release_if_unused(id);
            }
            self.sets.remove(set);
            self.free.insert(*slot);
        }
    }

    /// Packs what does not change much any more.
    pub(crate) fn optimize(&mut self) {
        self.pairs.optimize();
    }

    /// Whether every series has its rank.
    pub(crate) fn is_ordered(&self) -> bool {
        self.order.is_fresh()
    }

    /// Gives every series its rank.
    pub(crate) fn refresh_order(&mut self) {
        let (sets, slots) = (&self.sets, &mut self.slots);
        let runs: Vec<SetRef> = slots.iter().map(|s| s.set).collect();
        let ids = |slot: u32| sets.get(runs[slot as usize]);
        self.order.refresh(&self.pairs, ids, |slot, rank| slots[slot as usize].rank = rank);
    }

    /// One more than the largest rank.
    pub(crate) fn ranks_end(&self) -> usize {
        self.order.series_len()
    }

    /// The rank of a series in the order of labels; needs [`Index::is_ordered`].
    pub(crate) fn rank(&self, slot: u32) -> u32 {
        self.slots[slot as usize].rank
    }

    /// The rank of the pair that holds a series' metric name, 0 without one. Needs [`Index::is_ordered`].
    pub(crate) fn name_rank(&self, slot: u32) -> u32 {
        self.pair_of(slot, self.name_id(METRIC_NAME)).map_or(0, |id| self.order.pair_rank(id) + 1)
    }

    /// Whether the order of labels is also the order by metric name and then labels: every series has a name, and no
    /// label sorts before it.
    pub(crate) fn name_sorts_first(&self) -> bool {
        let mut names = self.pairs.names();
        let named = names.next().filter(|(first, _)| *first == METRIC_NAME);
        named.is_some_and(|(_, ids)| {
            ids.iter().map(|id| self.pairs.get(*id).postings.len()).sum::<u64>() == self.live.len()
        })
    }

    /// Appends a series' encoded labels.
    pub(crate) fn write_labels(&self, slot: u32, out: &mut Vec<u8>) {
        for id in self.pair_ids(slot) {
            out.extend_from_slice(self.pairs.get(*id).text());
        }
    }

    /// Which of some label names is which.
    pub(super) fn asked(&self, names: &[String]) -> Asked {
        let mut bits = vec![0; self.pairs.names_end()];
        for (bit, name) in names.iter().enumerate() {
            if let Some(id) = self.name_id(name) {
                bits[id as usize] |= 1 << bit;
            }
        }
        Asked { bits, metric_name: self.name_id(METRIC_NAME) }
    }

    /// Appends a series' labels without its metric name as [`TextRow`](crate::storage::TextRow) has them, and gives the pair
    /// of the name and which labels there are. Appends nothing if one needs escaping or there is no name.
    #[inline]
    pub(super) fn write_text(&self, slot: u32, asked: &Asked, out: &mut Vec<u8>) -> Option<(u32, u32)> {
        let (start, mut name, mut has) = (out.len(), None, 0);
        for id in self.pair_ids(slot) {
            let pair = self.pairs.get(*id);
            has |= asked.bits[pair.name_id() as usize];
            if Some(pair.name_id()) == asked.metric_name {
                name = Some(*id);
            } else if !pair.push_plain(out) {
                name = None;
                break;
            }
        }
        if name.is_none() {
            out.truncate(start);
        }
        Some((name?, has))
    }

    /// The id of a label's name, by which pairs are compared faster than by text. Valid as long as the index is held.
    pub(super) fn name_id(&self, name: &str) -> Option<u32> {
        self.pairs.name_id(name)
    }

    /// The id of the pair that a series has of a name.
    pub(super) fn pair_of(&self, slot: u32, name: Option<u32>) -> Option<u32> {
        let is_it = |id: &&u32| Some(self.pairs.get(**id).name_id()) == name;
        self.pair_ids(slot).iter().find(is_it).copied()
    }

    /// The value of a pair.
    pub(super) fn pair_value(&self, id: u32) -> &str {
        self.pairs.get(id).value()
    }

    /// A hash of a series' labels without those of two names, and the pair of the second name. Valid as long as the index is
    /// held.
    pub(super) fn hash_without(&self, slot: u32, metric_name: Option<u32>, by: Option<u32>) -> (u64, Option<u32>) {
        let (mut hash, mut found) = (0, None);
        for id in self.pair_ids(slot) {
            let name = Some(self.pairs.get(*id).name_id());
            if name == by {
                found = Some(*id);
            } else if name != metric_name {
                hash = mix(hash, *id);
            }
        }
        (hash, found)
    }

    /// The names in use, ascending, with their pairs.
    pub(super) fn names(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = &Pair>)> {
        self.pairs.names().map(|(name, ids)| (name, ids.iter().map(|id| self.pairs.get(*id))))
    }

    /// The pairs of one name.
    pub(super) fn of_name(&self, name: &str) -> impl ExactSizeIterator<Item = &Pair> {
        self.pairs.of_name(name).iter().map(|id| self.pairs.get(*id))
    }

    /// One pair by its encoded text.
    pub(super) fn pair(&self, text: &[u8]) -> Option<&Pair> {
        self.pairs.find(text).map(|id| self.pairs.get(id))
    }

    /// A series' value of a label; empty without it.
    pub(super) fn value(&self, slot: u32, name: &str) -> &str {
        let strs = self.pair_ids(slot).iter().map(|id| self.pairs.get(*id).strs());
        strs.into_iter().find(|(n, _)| *n == name).map_or("", |(_, value)| value)
    }

    /// Pairs that there is memory for.
    #[cfg(test)]
    pub(crate) fn pair_slots(&self) -> usize {
        self.pairs.end()
    }

    fn pair_ids(&self, slot: u32) -> &[u32] {
        self.sets.get(self.slots[slot as usize].set)
    }

    /// The id of a pair; one that is new has to get postings.
    pub(super) fn intern(&mut self, text: &[u8]) -> u32 {
        let (id, new) = self.pairs.intern(text);
        if new {
            self.order.add_pair(id);
        }
        id
    }

    /// The smallest free slot, so that series created together lie together.
    fn free_slot(&mut self) -> Option<u32> {
        if let Some(slot) = self.free.min() {
            self.free.remove(slot);
            return Some(slot);
        }
        let slot = u32::try_from(self.slots.len()).ok()?;
        self.slots.push(Slot::default());
        Some(slot)
    }
}

/// The encoded pairs of an encoded label set.
pub(super) fn pair_texts(encoded: &[u8]) -> impl Iterator<Item = &[u8]> {
    // A length takes one byte below 255, else five; see `model::labels`.
    let len = |s: &[u8]| s.len() + if s.len() < usize::from(u8::MAX) { 1 } else { 5 };
    let mut rest = encoded;
    RawPairs::over(encoded).map(move |(name, value)| {
        let (text, tail) = rest.split_at(len(name) + len(value));
        rest = tail;
        text
    })
}

/// Ids are given out by us, so nobody outside can make them collide.
fn hash_ids(ids: &[u32]) -> u64 {
    let hash = ids.iter().fold(ids.len() as u64, |hash, id| mix(hash, *id));
    hash ^ hash >> 32
}

#[inline]
fn mix(hash: u64, id: u32) -> u64 {
    (hash.rotate_left(5) ^ u64::from(id)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
