//! What is in memory, and what makes it large: the figures of `status/tsdb`.
//!
//! One pass over the label pairs of the head, with heaps of as many entries as are asked for: what is kept does not grow
//! with the store. Names are copied for those entries only.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::Ordering;

use super::{Head, Index};
use crate::model::{METRIC_NAME, TimestampMs};
use crate::storage::{Count, HeadStatistics};

impl Head {
    /// The figures as of now, with lists of at most `limit` entries.
    pub(in crate::tsdb) fn statistics(&self, limit: usize) -> HeadStatistics {
        HeadStatistics {
            chunks: u64::try_from(self.chunks.load(Ordering::Relaxed)).unwrap_or(0),
            times: self.min_t().map(|min| (TimestampMs(min), TimestampMs(self.max_t()))),
            ..of_index(&self.index(), limit)
        }
    }
}

fn of_index(index: &Index, limit: usize) -> HeadStatistics {
    let (mut metrics, mut labels) = (Top::new(limit), Top::new(limit));
    let (mut bytes, mut pairs) = (Top::new(limit), Top::new(limit));
    let mut label_pairs = 0;
    for (name, of_name) in index.names() {
        let (mut values, mut size) = (0, 0);
        for pair in of_name {
            let (series, value) = (pair.postings.len(), pair.value());
            values += 1;
            size += series * (text_bytes(name) + text_bytes(value));
            pairs.push(series, (name, value));
            if name == METRIC_NAME {
                metrics.push(series, value);
            }
        }
        label_pairs += values;
        labels.push(values, name);
        bytes.push(size, name);
    }
    HeadStatistics {
        series: index.live().len(),
        label_pairs,
        chunks: 0,
        times: None,
        series_by_metric: metrics.counts(str::to_owned),
        values_by_label: labels.counts(str::to_owned),
        bytes_by_label: bytes.counts(str::to_owned),
        series_by_pair: pairs.counts(|(name, value)| format!("{name}={value}")),
    }
}

/// Bytes that the reference's encoding of labels takes for a text: one for its length, or four for a long one.
fn text_bytes(text: &str) -> u64 {
    let len = text.len() as u64;
    len + if len < u64::from(u8::MAX) { 1 } else { 4 }
}

/// The entries with the largest counts; of equal ones those whose names come first.
struct Top<K> {
    limit: usize,
    /// The least wanted on top.
    heap: BinaryHeap<Reverse<(u64, Reverse<K>)>>,
}

impl<K: Ord> Top<K> {
    fn new(limit: usize) -> Top<K> {
        Top { limit, heap: BinaryHeap::new() }
    }

    fn push(&mut self, count: u64, name: K) {
        let entry = Reverse((count, Reverse(name)));
        if self.heap.len() < self.limit {
            self.heap.push(entry);
        } else if let Some(mut least) = self.heap.peek_mut()
            && entry < *least
        {
            *least = entry;
        }
    }

    fn counts(self, name: impl Fn(K) -> String) -> Vec<Count> {
        let sorted = self.heap.into_sorted_vec();
        sorted.into_iter().map(|Reverse((count, Reverse(key)))| Count { name: name(key), count }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_come_first_and_equal_ones_by_name() {
        let mut top = Top::new(3);
        for (count, name) in [(1, "e"), (5, "b"), (2, "d"), (5, "a"), (2, "c"), (1, "a")] {
            top.push(count, name);
        }
        let counts: Vec<_> = top.counts(str::to_owned).into_iter().map(|c| (c.count, c.name)).collect();
        assert_eq!(counts, [(5, "a".to_owned()), (5, "b".to_owned()), (2, "c".to_owned())]);
    }

    #[test]
    fn no_entry_is_kept_where_none_is_asked_for() {
        let mut top = Top::new(0);
        top.push(1, "a");
        assert_eq!(top.counts(str::to_owned), []);
    }

    #[test]
    fn every_figure_counts_what_it_says() {
        let mut index = Index::new();
        for (n, labels) in [
            vec![("__name__", "up"), ("job", "a")],
            vec![("__name__", "up"), ("job", "b")],
            vec![("__name__", "x"), ("job", "a"), ("z", "1")],
        ]
        .into_iter()
        .enumerate()
        {
            index.insert(crate::model::Labels::from_pairs(labels).as_bytes(), n as u32 + 1);
        }
        let statistics = of_index(&index, 10);
        let of = |counts: &[Count]| counts.iter().map(|c| format!("{} {}", c.name, c.count)).collect::<Vec<_>>();
        assert_eq!((statistics.series, statistics.label_pairs), (3, 5));
        assert_eq!(of(&statistics.series_by_metric), ["up 2", "x 1"]);
        assert_eq!(of(&statistics.values_by_label), ["__name__ 2", "job 2", "z 1"]);
        // Nine for the name, three or two for the value.
        assert_eq!(of(&statistics.bytes_by_label), ["__name__ 35", "job 18", "z 4"]);
        let pairs = ["__name__=up 2", "job=a 2", "__name__=x 1", "job=b 1", "z=1 1"];
        assert_eq!(of(&statistics.series_by_pair), pairs);
    }
}
