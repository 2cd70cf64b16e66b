//! Deleting from the head: intervals that are hidden from readers until upkeep drops what they hide.

use std::sync::Arc;

use super::{Head, PageCursor, Series};
use crate::model::TimestampMs;
use crate::storage::{Cancelled, Scope, Selector, TimeRange};
use crate::tsdb::block::Tombstones;

impl Head {
    /// For each series that satisfies a selector and has something in `range`, its log reference and the part of the range
    /// that it has samples in, so that what it gets later stays.
    pub(crate) fn deletions(
        &self,
        scope: &Scope,
        selectors: &[Selector],
        range: TimeRange,
    ) -> Result<Vec<(u64, TimeRange)>, Cancelled> {
        let found = self.index().matching(selectors, scope)?;
        let mut deletions = Vec::new();
        self.each(&found, |_, series| {
            let Some((first, last)) = series.first_t().zip(series.last_t()) else { return };
            let (min, max) = (range.min.0.max(first), range.max.0.min(last));
            if min <= max {
                deletions.push((series.wal_ref, TimeRange { min: TimestampMs(min), max: TimestampMs(max) }));
            }
        });
        Ok(deletions)
    }

    /// Hides the samples in these intervals from all who begin to read from now on.
    pub(crate) fn hide(&self, deletions: impl Iterator<Item = (u64, TimeRange)>) {
        let mut tombstones = self.tombstones.write();
        let mut more = Tombstones::clone(&tombstones);
        deletions.for_each(|(wal_ref, range)| more.add(wal_ref, range));
        *tombstones = Arc::new(more);
    }

    /// As [`Head::hide`], by slot.
    pub(crate) fn hide_in_slots(&self, deletions: &[(u32, TimeRange)]) {
        let pages = self.pages();
        let mut cursor = PageCursor::new(&pages);
        let mut by_ref = Vec::with_capacity(deletions.len());
        by_ref.extend(deletions.iter().filter_map(|(slot, range)| Some((cursor.series(*slot)?.wal_ref, *range))));
        drop(cursor);
        drop(pages);
        self.hide(by_ref.into_iter());
    }

    /// Forgets intervals that hide nothing any more: those before `min_t` and those of `gone` series.
    pub(super) fn forget_hidden(&self, min_t: i64, gone: &[u64]) {
        let mut tombstones = self.tombstones.write();
        if tombstones.count() == 0 {
            return;
        }
        let mut left = Tombstones::default();
        for (wal_ref, intervals) in tombstones.iter().filter(|(wal_ref, _)| !gone.contains(wal_ref)) {
            intervals.iter().filter(|i| i.max.0 >= min_t).for_each(|i| left.add(wal_ref, *i));
        }
        *tombstones = Arc::new(left);
    }
}

impl Series {
    /// Whether a chunk that overlaps the range is not wholly hidden by one of the intervals.
    pub(super) fn shows_in(&self, range: TimeRange, hidden: &[TimeRange]) -> bool {
        let is_hidden = |min: i64, max: i64| hidden.iter().any(|h| h.min.0 <= min && max <= h.max.0);
        self.spans().any(|(min, max)| range.overlaps(TimestampMs(min), TimestampMs(max)) && !is_hidden(min, max))
    }
}
