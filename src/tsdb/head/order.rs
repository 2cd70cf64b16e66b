//! The global order of series, kept as ranks so that sorting a selection is sorting integers.
//!
//! Pairs are ranked by text once; a series' sort key is then its pairs' ranks, and comparing two series compares
//! integers instead of strings. New pairs and series are merged in when an ordered read asks, so writers pay nothing.

use super::pairs::Pairs;

/// Sorted ids and those that are still to be sorted in.
#[derive(Debug, Default)]
pub(super) struct Order {
    series: Vec<u32>,
    fresh_series: Vec<u32>,
    pairs: Vec<u32>,
    fresh_pairs: Vec<u32>,
    /// By pair id.
    pair_ranks: Vec<u32>,
}

impl Order {
    pub(super) fn add_series(&mut self, slot: u32) {
        self.fresh_series.push(slot);
    }

    pub(super) fn add_pair(&mut self, id: u32) {
        self.fresh_pairs.push(id);
    }

    /// The number of series that have a rank.
    pub(super) fn series_len(&self) -> usize {
        self.series.len()
    }

    pub(super) fn is_fresh(&self) -> bool {
        self.fresh_series.is_empty()
    }

    /// A pair's rank; valid while the order is fresh.
    pub(super) fn pair_rank(&self, id: u32) -> u32 {
        self.pair_ranks[id as usize]
    }

    /// Drops what is no longer alive, before its ids are given to others.
    pub(super) fn retain(&mut self, series: impl Fn(u32) -> bool, pair: impl Fn(u32) -> bool) {
        for list in [&mut self.series, &mut self.fresh_series] {
            list.retain(|slot| series(*slot));
        }
        for list in [&mut self.pairs, &mut self.fresh_pairs] {
            list.retain(|id| pair(*id));
        }
    }

    /// Sorts in what is new. `ids` gives a series' pairs; `ranked` is told every series' rank.
    pub(super) fn refresh<'a>(
        &mut self,
        pairs: &Pairs,
        ids: impl Fn(u32) -> &'a [u32],
        mut ranked: impl FnMut(u32, u32),
    ) {
        if !self.fresh_pairs.is_empty() {
            self.rank_pairs(pairs);
        }
        let ranks = &self.pair_ranks;
        // As many pairs as fit into a number usually decide, and comparing numbers needs no further memory.
        let bits = usize::BITS - self.pairs.len().leading_zeros();
        let places = (u64::BITS / bits.max(1)) as usize;
        let rank_at = |ids: &[u32], i: usize| ids.get(i).map_or(0, |id| u64::from(ranks[*id as usize]) + 1);
        let head = |ids: &[u32]| (0..places).fold(0, |key, i| key << bits | rank_at(ids, i));
        let whole = |a: u32, b: u32| {
            let key = |slot: u32| ids(slot).iter().map(|id| ranks[*id as usize]);
            key(a).cmp(key(b))
        };
        let mut fresh: Vec<(u64, u32)> = self.fresh_series.drain(..).map(|slot| (head(ids(slot)), slot)).collect();
        fresh.sort_unstable();
        for equal in fresh.chunk_by_mut(|a, b| a.0 == b.0).filter(|equal| equal.len() > 1) {
            equal.sort_unstable_by(|a, b| whole(a.1, b.1));
        }
        let fresh: Vec<u32> = fresh.into_iter().map(|(_, slot)| slot).collect();
        merge(&mut self.series, &fresh, |a, b| whole(a, b).is_lt());
        for (rank, slot) in (0..).zip(&self.series) {
            ranked(*slot, rank);
        }
    }

    fn rank_pairs(&mut self, pairs: &Pairs) {
        let text = |id: u32| pairs.get(id).strs();
        let mut fresh = std::mem::take(&mut self.fresh_pairs);
        fresh.sort_unstable_by(|a, b| text(*a).cmp(&text(*b)));
        merge(&mut self.pairs, &fresh, |a, b| text(a) < text(b));
        self.pair_ranks.resize(pairs.end(), 0);
        for (rank, id) in (0..).zip(&self.pairs) {
            self.pair_ranks[*id as usize] = rank;
        }
    }
}

/// Merges sorted `fresh` into sorted `all`; few into many by binary search, so that the many are copied, not compared.
fn merge(all: &mut Vec<u32>, fresh: &[u32], less: impl Fn(u32, u32) -> bool) {
    let mut merged = Vec::with_capacity(all.len() + fresh.len());
    let mut rest = &all[..];
    for new in fresh {
        let (before, after) = rest.split_at(gallop(rest, |old| less(old, *new)));
        merged.extend_from_slice(before);
        merged.push(*new);
        rest = after;
    }
    merged.extend_from_slice(rest);
    *all = merged;
}

/// The number of leading ids that satisfy `before`, found by doubling steps and then halving.
fn gallop(ids: &[u32], before: impl Fn(u32) -> bool) -> usize {
    let mut step = 1;
    while step < ids.len() && before(ids[step - 1]) {
        step *= 2;
    }
    let (low, high) = (step / 2, step.min(ids.len()));
    low + ids[low..high].partition_point(|id| before(*id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_keeps_the_order() {
        for (old, new) in [(0, 5), (5, 0), (100, 3), (3, 100), (64, 64)] {
            let mut all: Vec<u32> = (0..old).map(|i| i * 7 % 1009).collect();
            all.sort_unstable();
            let mut fresh: Vec<u32> = (0..new).map(|i| i * 13 % 997).collect();
            fresh.sort_unstable();
            let mut expected = [all.clone(), fresh.clone()].concat();
            expected.sort_unstable();
            merge(&mut all, &fresh, |a, b| a < b);
            assert_eq!(all, expected);
        }
    }
}
