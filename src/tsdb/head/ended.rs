//! Series that have ended: which they are, and their way out of memory before their time.

use std::time::Duration;

use roaring::RoaringBitmap;

use super::series::PageCursor;
use super::{Collected, Head, PAGE_SERIES};
use crate::storage::AppendError;

/// A series whose newest sample, at `last_t`, says that it has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ended {
    slot: u32,
    wal_ref: u64,
    last_t: i64,
}

/// The series that have ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct EndedSeries {
    /// All but those that are held for what lies elsewhere.
    pub(crate) series: Vec<Ended>,
    /// How many there are, those that are held included.
    pub(crate) count: u64,
}

impl EndedSeries {
    /// Where they lie.
    pub(crate) fn slots(&self) -> RoaringBitmap {
        self.series.iter().map(|ended| ended.slot).collect()
    }

    /// The newest of all samples.
    pub(crate) fn last_t(&self) -> Option<i64> {
        self.series.iter().map(|ended| ended.last_t).max()
    }
}

impl Head {
    /// The series that have ended as of now. `is_held`: what a slot's series must not go for.
    pub(crate) fn ended(&self, is_held: &dyn Fn(u32) -> bool) -> EndedSeries {
        let pages = self.pages.read().clone();
        let mut found = EndedSeries::default();
        for (number, page) in pages.iter().enumerate() {
            for (at, series) in page.lock().iter().enumerate() {
                let Some(last_t) = series.last_t().filter(|_| series.has_ended()) else { continue };
                // Slots are 32 bits wide by construction.
                let slot = (number * PAGE_SERIES + at) as u32;
                found.series.push(Ended { slot, wal_ref: series.wal_ref, last_t });
            }
        }
        found.count = found.series.len() as u64;
        found.series.retain(|ended| !is_held(ended.slot));
        found
    }

    /// Removes series that have ended, unless they have got a sample since. `log` notes their references first, and if it
    /// fails they stay. `None` if appenders were busy for too long.
    pub(crate) fn evict(
        &self,
        ended: &[Ended],
        patience: Duration,
        is_held: &dyn Fn(u32) -> bool,
        log: impl FnOnce(&[u64]) -> Result<(), AppendError>,
    ) -> Result<Option<Collected>, AppendError> {
        let Some(_closed) = self.gate.close(patience) else { return Ok(None) };
        let pages = self.pages.read().clone();
        let mut cursor = PageCursor::new(&pages);
        let mut is_as_before = |ended: &Ended| {
            let series = cursor.series(ended.slot);
            series.is_some_and(|s| s.wal_ref == ended.wal_ref && s.last_t() == Some(ended.last_t))
        };
        let unchanged = ended.iter().filter(|ended| is_as_before(ended) && !is_held(ended.slot));
        let (slots, refs): (Vec<u32>, Vec<u64>) = unchanged.map(|ended| (ended.slot, ended.wal_ref)).unzip();
        drop(cursor);
        log(&refs)?;
        let mut collected = Collected::default();
        self.remove(&pages, slots, |_| true, &mut collected);
        self.forget_hidden(i64::MIN, &collected.series);
        self.chunks
            .fetch_sub(i64::try_from(collected.chunks).unwrap_or(i64::MAX), std::sync::atomic::Ordering::Relaxed);
        Ok(Some(collected))
    }
}
