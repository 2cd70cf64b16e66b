//! Reading.
//!
//! A stream decides at its opening which series it will visit and holds no lock between batches. A slot may have got
//! another owner by then, so each is visited with the reference that it had; a series that is gone meanwhile had only
//! samples older than the retained window.

use roaring::RoaringBitmap;

use super::Tsdb;
use super::head::{Head, Index};
use crate::model::{Annotations, Labels, Sample, is_stale};
use crate::storage::{
    Chunk, Columns, LatestBatch, LatestStream, Limit, QueryError, Queryable, Scope, SelectRequest, Selector,
    SeriesBatch, SeriesChunks, SeriesStream, StreamEnd, StreamStats, StreamStep, TimeRange,
};

/// Series in a batch of chunks.
const BATCH_SERIES: usize = 256;
/// Rows in a batch of newest samples.
const BATCH_ROWS: usize = 1000;

impl Tsdb {
    /// Opens a stream over what the head holds.
    pub(super) fn select_head<'a>(
        &'a self,
        scope: &Scope,
        request: &SelectRequest<'_>,
    ) -> Result<Box<dyn SeriesStream + 'a>, QueryError> {
        scope.check()?;
        let index = if request.sorted { self.head.ordered_index() } else { self.head.index() };
        let found = index.matching(request.selectors);
        let mut series: Vec<(u32, u32)> = Vec::with_capacity(usize::try_from(found.len()).unwrap_or(0));
        if request.sorted {
            series.extend(found.iter().map(|slot| (index.rank(slot), slot)));
            series.sort_unstable();
            series.iter_mut().for_each(|(rank, slot)| (*rank, *slot) = (*slot, index.low_ref(*slot)));
        } else {
            series.extend(found.iter().map(|slot| (slot, index.low_ref(slot))));
        }
        drop(index);
        let left = request.limit.unwrap_or(usize::MAX);
        Ok(Box::new(ChunkStream {
            head: &self.head,
            scope: scope.clone(),
            range: request.range,
            series: series.into_iter(),
            left,
            encoded: Vec::new(),
            stats: StreamStats::default(),
        }))
    }
}

impl Queryable for Tsdb {
    fn select<'a>(
        &'a self,
        scope: &Scope,
        request: &SelectRequest<'_>,
    ) -> Result<Box<dyn SeriesStream + 'a>, QueryError> {
        self.select_all(scope, request)
    }

    fn select_latest<'a>(
        &'a self,
        scope: &Scope,
        request: &SelectRequest<'_>,
    ) -> Result<Box<dyn LatestStream + 'a>, QueryError> {
        scope.check()?;
        self.latest_of_all(scope, request, || {
            let index = self.head.ordered_index();
            let found = index.matching(request.selectors);
            let mut rows = latest_rows(&self.head, &index, &found, request.range);
            drop(index);
            rows.truncate(request.limit.unwrap_or(usize::MAX));
            Ok(Box::new(RowStream {
                head: &self.head,
                scope: scope.clone(),
                rows: rows.into_iter(),
                stats: StreamStats::default(),
            }))
        })
    }

    fn label_names(
        &self,
        scope: &Scope,
        selectors: &[Selector],
        range: TimeRange,
        limit: Limit,
    ) -> Result<(Vec<String>, Annotations), QueryError> {
        scope.check()?;
        let head = || {
            let index = self.head.index();
            let series = self.head.with_samples(&matching_or_all(&index, selectors), range);
            index.names_of(&series, limit.unwrap_or(usize::MAX))
        };
        let names = self.with_texts_of_blocks(range, limit, head, |block| block.label_names(selectors))?;
        Ok((names, Annotations::none()))
    }

    fn label_values(
        &self,
        scope: &Scope,
        name: &str,
        selectors: &[Selector],
        range: TimeRange,
        limit: Limit,
    ) -> Result<(Vec<String>, Annotations), QueryError> {
        scope.check()?;
        let head = || {
            let index = self.head.index();
            let series = self.head.with_samples(&matching_or_all(&index, selectors), range);
            index.values_of(name, &series, limit.unwrap_or(usize::MAX))
        };
        let values = self.with_texts_of_blocks(range, limit, head, |block| block.label_values(name, selectors))?;
        Ok((values, Annotations::none()))
    }
}

fn matching_or_all(index: &Index, selectors: &[Selector]) -> RoaringBitmap {
    if selectors.is_empty() { index.live().clone() } else { index.matching(selectors) }
}

struct ChunkStream<'a> {
    head: &'a Head,
    scope: Scope,
    range: TimeRange,
    /// Slots with the low halves of the references of the series meant.
    series: std::vec::IntoIter<(u32, u32)>,
    left: usize,
    encoded: Vec<u8>,
    stats: StreamStats,
}

impl ChunkStream<'_> {
    fn fill(&mut self, batch: &mut SeriesBatch) {
        let index = self.head.index();
        let pages = self.head.pages();
        let wanted = BATCH_SERIES.min(self.left);
        while batch.series.len() < wanted
            && let Some((slot, low_ref)) = self.series.next()
        {
            let (number, at) = super::head::locate(slot);
            if index.low_ref(slot) != low_ref {
                continue;
            }
            let mut chunks = Vec::new();
            pages[number].lock()[at].chunks(self.range, &mut chunks);
            if chunks.is_empty() {
                continue;
            }
            self.encoded.clear();
            index.write_labels(slot, &mut self.encoded);
            batch.series.push(SeriesChunks { labels: Labels::from_encoded(&self.encoded), chunks });
        }
        self.left -= batch.series.len();
    }
}

impl SeriesStream for ChunkStream<'_> {
    fn next(&mut self, batch: &mut SeriesBatch) -> Result<StreamStep, QueryError> {
        self.scope.check()?;
        batch.series.clear();
        self.fill(batch);
        if batch.series.is_empty() {
            return Ok(StreamStep::End(StreamEnd { annotations: Annotations::none(), stats: self.stats }));
        }
        let (mut samples, mut bytes, mut chunks) = (0, 0, 0);
        for chunk in batch.series.iter().flat_map(|s| &s.chunks) {
            samples += sample_count(chunk);
            bytes += chunk.data.len() as u64;
            chunks += 1;
        }
        self.stats.series += batch.series.len() as u64;
        self.stats.chunks += chunks;
        self.stats.bytes += bytes;
        self.scope.charge(samples, bytes)?;
        Ok(StreamStep::Batch)
    }
}

/// The first two bytes of every chunk.
fn sample_count(chunk: &Chunk) -> u64 {
    chunk.data.first_chunk::<2>().map_or(0, |count| u64::from(u16::from_be_bytes(*count)))
}

/// A series' newest sample, and where the series stands in the order asked for.
struct Row {
    key: u64,
    slot: u32,
    low_ref: u32,
    sample: Sample,
}

/// Reads all newest samples at once, page by page, so that the answer is of one moment; their labels follow batch by
/// batch. Ordered by metric name, then by labels.
fn latest_rows(head: &Head, index: &Index, found: &RoaringBitmap, range: TimeRange) -> Vec<Row> {
    let mut rows = Vec::with_capacity(usize::try_from(found.len()).unwrap_or(0));
    let mut columns = Columns::default();
    let name_first = index.name_sorts_first();
    head.each(found, |slot, series| {
        let Some(sample) = series.latest(range, &mut columns).filter(|s| !is_stale(s.v)) else { return };
        let name = if name_first { 0 } else { u64::from(index.name_rank(slot)) };
        let key = name << 32 | u64::from(index.rank(slot));
        rows.push(Row { key, slot, low_ref: index.low_ref(slot), sample });
    });
    rows.sort_unstable_by_key(|row| row.key);
    rows
}

struct RowStream<'a> {
    head: &'a Head,
    scope: Scope,
    rows: std::vec::IntoIter<Row>,
    stats: StreamStats,
}

impl LatestStream for RowStream<'_> {
    fn next(&mut self, batch: &mut LatestBatch) -> Result<StreamStep, QueryError> {
        self.scope.check()?;
        batch.clear();
        {
            let index = self.head.index();
            let alive = self.rows.by_ref().filter(|row| index.low_ref(row.slot) == row.low_ref);
            for row in alive.take(BATCH_ROWS) {
                let start = batch.arena.len();
                index.write_labels(row.slot, &mut batch.arena);
                batch.push_row(start, row.sample.t, row.sample.v);
            }
        }
        if batch.rows.is_empty() {
            return Ok(StreamStep::End(StreamEnd { annotations: Annotations::none(), stats: self.stats }));
        }
        self.stats.series += batch.rows.len() as u64;
        self.stats.bytes += batch.arena.len() as u64;
        self.scope.charge(batch.rows.len() as u64, batch.arena.len() as u64)?;
        // The caller reuses the arena for the next batch, so these bytes are held only until then.
        self.scope.release_bytes(batch.arena.len() as u64);
        Ok(StreamStep::Batch)
    }
}
