//! A heap that is kept as the reference's runtime keeps one.
//!
//! Which of equal values stay, and the order in which the values are given back, follow from the moves within the heap; so
//! these are the same here. NaN stands before everything, also before another NaN.

/// What stands at the top of a heap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Top {
    /// The lowest value.
    Lowest,
    /// The highest value.
    Highest,
}

/// A value and the number of the series that it belongs to.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Entry {
    pub value: f64,
    pub series: u32,
}

/// A heap of entries.
#[derive(Clone, Debug, Default)]
pub(super) struct Heap(Vec<Entry>);

/// Up to here values are sorted by insertion.
const INSERTION_MAX: usize = 12;

impl Top {
    fn is_before(self, a: f64, b: f64) -> bool {
        a.is_nan()
            || match self {
                Top::Lowest => a < b,
                Top::Highest => a > b,
            }
    }
}

impl Heap {
    /// Adds an entry.
    pub fn push(&mut self, entry: Entry, top: Top) {
        let entries = &mut self.0;
        entries.push(entry);
        let mut at = entries.len() - 1;
        while at > 0 {
            let parent = (at - 1) / 2;
            if !top.is_before(entries[at].value, entries[parent].value) {
                break;
            }
            entries.swap(at, parent);
            at = parent;
        }
    }

    /// Adds an entry if there are fewer than `k`, or if it beats the top, whose place it takes then. True if it was added.
    pub fn offer(&mut self, entry: Entry, k: usize, top: Top) -> bool {
        if self.0.len() < k {
            self.push(entry, top);
            return true;
        }
        let Some(first) = self.0.first_mut() else { return false };
        let beats = match top {
            Top::Lowest => first.value < entry.value,
            Top::Highest => first.value > entry.value,
        };
        let replaces = beats || first.value.is_nan() && !entry.value.is_nan();
        if replaces {
            *first = entry;
            self.sink_first(top);
        }
        replaces
    }

    fn sink_first(&mut self, top: Top) {
        let entries = &mut self.0;
        let mut at = 0;
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            if left >= entries.len() {
                return;
            }
            let right_is_before = right < entries.len() && top.is_before(entries[right].value, entries[left].value);
            let child = if right_is_before { right } else { left };
            if !top.is_before(entries[child].value, entries[at].value) {
                return;
            }
            entries.swap(at, child);
            at = child;
        }
    }

    /// The entries as they stand.
    pub fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// The entries, what stood at the top last.
    pub fn into_sorted(mut self, top: Top) -> Vec<Entry> {
        let is_before = |a: &Entry, b: &Entry| top.is_before(b.value, a.value);
        if self.0.len() <= INSERTION_MAX {
            for end in 1..self.0.len() {
                let mut at = end;
                while at > 0 && is_before(&self.0[at], &self.0[at - 1]) {
                    self.0.swap(at, at - 1);
                    at -= 1;
                }
            }
        } else {
            let key = |e: &Entry| if e.value.is_nan() { None } else { Some(e.value) };
            self.0.sort_by(|a, b| match (key(a), key(b)) {
                (Some(a), Some(b)) if top == Top::Lowest => b.total_cmp(&a),
                (Some(a), Some(b)) => a.total_cmp(&b),
                (a, b) => a.is_none().cmp(&b.is_none()),
            });
        }
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best(values: &[f64], k: usize, top: Top) -> Vec<(f64, u32)> {
        let mut heap = Heap::default();
        for (series, value) in (0..).zip(values) {
            heap.offer(Entry { value: *value, series }, k, top);
        }
        heap.into_sorted(top).into_iter().map(|e| (e.value, e.series)).collect()
    }

    #[test]
    fn the_best_come_out_in_order() {
        let values = [5.0, 1.0, 9.0, 3.0, 7.0];
        assert_eq!(best(&values, 3, Top::Lowest), [(9.0, 2), (7.0, 4), (5.0, 0)]);
        assert_eq!(best(&values, 2, Top::Highest), [(1.0, 1), (3.0, 3)]);
        assert_eq!(best(&values, 0, Top::Lowest), []);
    }

    #[test]
    fn nan_is_the_first_to_go_and_the_last_in_order() {
        let values = [f64::NAN, 1.0, f64::NAN, 2.0];
        assert_eq!(best(&values, 2, Top::Lowest), [(2.0, 3), (1.0, 1)]);
        let kept = best(&values, 3, Top::Highest);
        assert_eq!(kept[..2], [(1.0, 1), (2.0, 3)]);
        assert!(kept[2].0.is_nan());
    }

    #[test]
    fn many_come_out_in_order_too() {
        let values: Vec<f64> = (0..40).map(|i| f64::from(i * 7 % 40)).collect();
        let sorted = best(&values, 30, Top::Lowest);
        assert!(sorted.is_sorted_by(|a, b| a.0 > b.0) && sorted.len() == 30);
    }
}
