//! Late samples as a stream of series, to be merged with those of the head and of blocks.

use std::collections::BTreeMap;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::OutOfOrder;
use crate::model::{Annotations, Labels};
use crate::storage::merge::{merge_chunks, without};
use crate::storage::{
    Cancelled, Chunk, DecodeError, QueryError, Scope, SelectRequest, SeriesBatch, SeriesChunks, SeriesStream,
    StreamEnd, StreamStats, StreamStep, TimeRange,
};
use crate::tsdb::Tsdb;
use crate::tsdb::block::Tombstones;
use crate::tsdb::head::Head;

/// Series in a batch.
const BATCH_SERIES: usize = 256;

impl Tsdb {
    /// The late samples of the series that satisfy a selector; `None` if there are none in the range. A stream sees what
    /// comes while it is read.
    pub(in crate::tsdb) fn select_late<'a>(
        &'a self,
        scope: &Scope,
        request: &SelectRequest<'_>,
    ) -> Result<Option<OooStream<'a>>, Cancelled> {
        let late = self.late.overlapping(request.range);
        if late.is_empty() {
            return Ok(None);
        }
        let index = if request.sorted { self.head.ordered_index() } else { self.head.index() };
        let found = index.matching(request.selectors, scope)? & late;
        let wanted = |slot| Wanted { slot, low_ref: index.low_ref(slot), first: None };
        let mut series: Vec<Wanted> = found.iter().map(wanted).collect();
        if request.sorted {
            series.sort_unstable_by_key(|wanted| index.rank(wanted.slot));
        }
        series.truncate(request.limit.unwrap_or(usize::MAX));
        drop(index);
        let stream = |series| OooStream::new(&self.late, &self.head, series, request.range, scope.clone());
        Ok((!series.is_empty()).then(|| stream(series)))
    }
}

impl Tsdb {
    /// Of these series, those that have samples of either kind in the range.
    pub(in crate::tsdb) fn in_memory(&self, series: &RoaringBitmap, range: TimeRange) -> RoaringBitmap {
        let late = self.late.overlapping(range);
        self.head.with_samples(series, range) | (series & late)
    }

    /// Whether a late sample may be the newest in the range of its series. Mostly it is not: the series' newest lies in
    /// the range, or all of it before.
    pub(in crate::tsdb) fn may_be_latest(&self, range: TimeRange) -> bool {
        let mut found = false;
        self.head.each(&self.late.overlapping(range), |slot, series| {
            let newest = self.late.newest_in(slot, range);
            let is_covered = |last| last <= range.max.0 && newest.is_none_or(|t| t.0 <= last);
            found |= !series.last_t().is_some_and(is_covered);
        });
        found
    }
}

/// A series to be visited.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    slot: u32,
    /// The low half of its reference; the slot may get another owner.
    low_ref: u32,
    /// How many of its chunks are meant; `None` for all that is there.
    first: Option<usize>,
}

/// Late samples in a range, series by series.
pub(crate) struct OooStream<'a> {
    ooo: &'a OutOfOrder,
    head: &'a Head,
    series: std::vec::IntoIter<Wanted>,
    range: TimeRange,
    tombstones: Arc<Tombstones>,
    scope: Scope,
    encoded: Vec<u8>,
    stats: StreamStats,
}

impl<'a> OooStream<'a> {
    fn new(ooo: &'a OutOfOrder, head: &'a Head, series: Vec<Wanted>, range: TimeRange, scope: Scope) -> OooStream<'a> {
        let (series, tombstones) = (series.into_iter(), head.tombstones());
        OooStream { ooo, head, series, range, tombstones, scope, encoded: Vec::new(), stats: StreamStats::default() }
    }

    /// The samples of one round of compaction: of each slot the first so many chunks. Ascending by labels.
    pub(crate) fn of_round(
        ooo: &'a OutOfOrder,
        head: &'a Head,
        chunks: &BTreeMap<u32, usize>,
        range: TimeRange,
    ) -> OooStream<'a> {
        let index = head.ordered_index();
        let wanted =
            |(&slot, &count): (&u32, &usize)| Wanted { slot, low_ref: index.low_ref(slot), first: Some(count) };
        let mut series: Vec<Wanted> = chunks.iter().map(wanted).collect();
        series.sort_unstable_by_key(|wanted| index.rank(wanted.slot));
        drop(index);
        OooStream::new(ooo, head, series, range, Scope::unbounded())
    }

    /// The chunks of a series without overlaps and without what was deleted.
    fn chunks(&self, wanted: Wanted) -> Result<Vec<Chunk>, QueryError> {
        let mut chunks = Vec::new();
        self.ooo.chunks(wanted.slot, wanted.first, self.range, &mut chunks)?;
        let removed = self.tombstones.get(self.head.wal_ref(wanted.slot));
        let left = match removed {
            [] => merge_chunks(chunks),
            _ => merge_chunks(chunks).and_then(|merged| all_without(merged, removed)),
        };
        left.map_err(super::corrupt)
    }

    fn fill(&mut self, batch: &mut SeriesBatch) -> Result<(), QueryError> {
        while batch.series.len() < BATCH_SERIES
            && let Some(wanted) = self.series.next()
        {
            let chunks = self.chunks(wanted)?;
            let index = self.head.index();
            if chunks.is_empty() || index.low_ref(wanted.slot) != wanted.low_ref {
                continue;
            }
            self.encoded.clear();
            index.write_labels(wanted.slot, &mut self.encoded);
            batch.series.push(SeriesChunks { labels: Labels::from_encoded(&self.encoded), chunks });
        }
        Ok(())
    }
}

fn all_without(chunks: Vec<Chunk>, removed: &[TimeRange]) -> Result<Vec<Chunk>, DecodeError> {
    let mut left = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        left.extend(without(chunk, removed)?);
    }
    Ok(left)
}

impl SeriesStream for OooStream<'_> {
    fn next(&mut self, batch: &mut SeriesBatch) -> Result<StreamStep, QueryError> {
        self.scope.check()?;
        batch.series.clear();
        self.fill(batch)?;
        if batch.series.is_empty() {
            return Ok(StreamStep::End(StreamEnd { annotations: Annotations::none(), stats: self.stats }));
        }
        let chunks = || batch.series.iter().flat_map(|series| &series.chunks);
        let bytes = chunks().map(|chunk| chunk.data.len() as u64).sum();
        let samples = chunks().map(|chunk| u64::from(chunk.sample_count())).sum();
        self.stats.series += batch.series.len() as u64;
        self.stats.chunks += chunks().count() as u64;
        self.stats.bytes += bytes;
        self.scope.charge(samples, bytes)?;
        Ok(StreamStep::Batch)
    }
}
