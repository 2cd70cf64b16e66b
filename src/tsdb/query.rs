//! Reading: head and blocks as one. How each is read stands in `head/read.rs` and `block/query.rs`.
//!
//! A block takes part if its time overlaps the range that is asked for. The head always does: it may still hold what a
//! block has taken over, and then both answer and are merged, the head winning where they differ. Samples out of order are
//! a source of their own, which comes last. If no block overlaps and there are none of those, the head answers alone; that
//! is the way of nearly every query for the present.
//!
//! A reader enters [`Readers`](super::readers::Readers) before it looks at the list of blocks and stays until its stream
//! is dropped, so that a sample which changes from the head to a block meanwhile is found in one of them at least.

use std::collections::BTreeSet;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::Tsdb;
use super::block::{Block, BlockError};
use super::head::Index;
use super::readers::Reading;
use crate::model::{Annotations, Labels, Sample, TimestampMs, is_stale};
use crate::storage::merge::MergedStream;
use crate::storage::{
    Cancelled, Chunk, Columns, Encoding, LatestBatch, LatestStream, Limit, QueryError, Queryable, Scope, SelectRequest,
    Selector, SeriesBatch, SeriesStream, StreamEnd, StreamStats, StreamStep, TimeRange, decode_into,
};

/// Rows in a batch of newest samples.
const BATCH_ROWS: usize = 1000;

impl Queryable for Tsdb {
    fn select<'a>(
        &'a self,
        scope: &Scope,
        request: &SelectRequest<'_>,
    ) -> Result<Box<dyn SeriesStream + 'a>, QueryError> {
        let reading = self.readers.enter(request.range.min.0);
        let blocks = self.blocks_in(request.range);
        let stream = match blocks.is_empty() && !self.late.is_in(request.range) {
            true => self.select_head(scope, request)?,
            false => Box::new(self.select_merged(scope, request, &blocks)?),
        };
        Ok(Box::new(Held { stream, _reading: reading }))
    }

    fn select_latest<'a>(
        &'a self,
        scope: &Scope,
        request: &SelectRequest<'_>,
    ) -> Result<Box<dyn LatestStream + 'a>, QueryError> {
        scope.check()?;
        let reading = self.readers.enter(request.range.min.0);
        let blocks = self.blocks_in(request.range);
        if blocks.is_empty() && !self.may_be_latest(request.range) {
            let stream: Box<dyn LatestStream + 'a> = Box::new(self.head.select_latest(scope, request)?);
            return Ok(Box::new(Held { stream, _reading: reading }));
        }
        // The limit is one on rows, and not every series has one.
        let unlimited = SelectRequest { limit: None, ..request.clone() };
        let mut rows = newest_samples(&mut self.select_merged(scope, &unlimited, &blocks)?, scope, request.range)?;
        rows.sort_by(|(a, _), (b, _)| (a.metric_name(), a).cmp(&(b.metric_name(), b)));
        rows.truncate(request.limit.unwrap_or(usize::MAX));
        Ok(Box::new(Rows { scope: scope.clone(), rows: rows.into_iter(), stats: StreamStats::default() }))
    }

    fn label_names(
        &self,
        scope: &Scope,
        selectors: &[Selector],
        range: TimeRange,
        limit: Limit,
    ) -> Result<(Vec<String>, Annotations), QueryError> {
        scope.check()?;
        let names = |index: &Index, series: &RoaringBitmap, limit| index.names_of(series, limit);
        let names = self.texts(scope, selectors, range, limit, names, |block| block.label_names(selectors, scope))?;
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
        let values = |index: &Index, series: &RoaringBitmap, limit| index.values_of(name, series, limit);
        let values =
            self.texts(scope, selectors, range, limit, values, |block| block.label_values(name, selectors, scope))?;
        Ok((values, Annotations::none()))
    }
}

impl Tsdb {
    /// Opens a stream over what the head holds.
    pub(super) fn select_head<'a>(
        &'a self,
        scope: &Scope,
        request: &SelectRequest<'_>,
    ) -> Result<Box<dyn SeriesStream + 'a>, QueryError> {
        scope.check()?;
        Ok(Box::new(self.head.select(scope, request)?))
    }

    /// Opens a stream over head and blocks, sorted whatever is asked for.
    fn select_merged<'a>(
        &'a self,
        scope: &Scope,
        request: &SelectRequest<'_>,
        blocks: &[Arc<Block>],
    ) -> Result<MergedStream<'a>, QueryError> {
        let sorted = SelectRequest { sorted: true, ..request.clone() };
        let mut sources = vec![self.select_head(scope, &sorted)?];
        for block in blocks {
            sources.push(Box::new(block.select(scope, request.selectors, request.range, request.limit)?));
        }
        if let Some(late) = self.select_late(scope, &sorted)? {
            sources.push(Box::new(late));
        }
        Ok(MergedStream::new(sources, scope, request.limit))
    }

    /// The blocks that may have samples in a range. To be called by someone who has entered.
    fn blocks_in(&self, range: TimeRange) -> Vec<Arc<Block>> {
        // The last instant of a block does not belong to it.
        let overlaps = |b: &&Arc<Block>| b.meta().min_time <= range.max.0 && range.min.0 < b.meta().max_time;
        self.blocks.snapshot().iter().filter(overlaps).cloned().collect()
    }

    /// Label names or values of the selected series of head and blocks, ascending.
    fn texts(
        &self,
        scope: &Scope,
        selectors: &[Selector],
        range: TimeRange,
        limit: Limit,
        of_head: impl FnOnce(&Index, &RoaringBitmap, usize) -> Vec<String>,
        of_block: impl Fn(&Block) -> Result<Vec<String>, BlockError>,
    ) -> Result<Vec<String>, QueryError> {
        let limit = limit.unwrap_or(usize::MAX);
        let _reading = self.readers.enter(range.min.0);
        let blocks = self.blocks_in(range);
        let texts = {
            let index = self.head.index();
            let series = self.in_memory(&matching_or_all(&index, selectors, scope)?, range);
            of_head(&index, &series, limit)
        };
        if blocks.is_empty() {
            return Ok(texts);
        }
        let mut union = BTreeSet::from_iter(texts);
        for block in &blocks {
            union.extend(of_block(block)?);
        }
        Ok(union.into_iter().take(limit).collect())
    }
}

fn matching_or_all(index: &Index, selectors: &[Selector], scope: &Scope) -> Result<RoaringBitmap, Cancelled> {
    if selectors.is_empty() { Ok(index.live().clone()) } else { index.matching(selectors, scope) }
}

/// A stream of someone who has entered.
struct Held<'a, S: ?Sized> {
    stream: Box<S>,
    _reading: Reading<'a>,
}

impl SeriesStream for Held<'_, dyn SeriesStream + '_> {
    fn next(&mut self, batch: &mut SeriesBatch) -> Result<StreamStep, QueryError> {
        self.stream.next(batch)
    }
}

impl LatestStream for Held<'_, dyn LatestStream + '_> {
    fn next(&mut self, batch: &mut LatestBatch) -> Result<StreamStep, QueryError> {
        self.stream.next(batch)
    }
}

/// Reads a stream of series to its end and keeps the newest sample of each that has one to tell.
fn newest_samples(
    stream: &mut MergedStream<'_>,
    scope: &Scope,
    range: TimeRange,
) -> Result<Vec<(Labels, Sample)>, QueryError> {
    let (mut batch, mut rows, mut columns) = (SeriesBatch::default(), Vec::new(), Columns::default());
    while let StreamStep::Batch = stream.next(&mut batch)? {
        // The chunks are not held any longer than until the next batch.
        scope.release(0, batch.size().bytes);
        for series in batch.series.drain(..) {
            if let Some(sample) = newest(&series.chunks, range, &mut columns)? {
                rows.push((series.labels, sample));
            }
        }
    }
    Ok(rows)
}

/// The newest sample of a series in a range, unless it is a histogram or says that the series has ended.
fn newest(chunks: &[Chunk], range: TimeRange, columns: &mut Columns) -> Result<Option<Sample>, QueryError> {
    let Some(chunk) = chunks.iter().rfind(|c| c.min <= range.max) else { return Ok(None) };
    if !matches!(chunk.encoding, Encoding::Xor | Encoding::Xor2) {
        return Ok(None);
    }
    columns.clear();
    decode_into(chunk, columns).map_err(|error| QueryError::Corrupt {
        path: "a chunk of a block".to_owned(),
        offset: 0,
        reason: error.to_string(),
    })?;
    let at = columns.times.partition_point(|t| *t <= range.max.0).checked_sub(1);
    let sample = at.map(|at| Sample { t: TimestampMs(columns.times[at]), v: columns.values[at] });
    Ok(sample.filter(|s| range.contains(s.t) && !is_stale(s.v)))
}

/// Newest samples that have all been read, in the order that is asked for.
struct Rows {
    scope: Scope,
    rows: std::vec::IntoIter<(Labels, Sample)>,
    stats: StreamStats,
}

impl LatestStream for Rows {
    fn next(&mut self, batch: &mut LatestBatch) -> Result<StreamStep, QueryError> {
        self.scope.check()?;
        batch.clear();
        for (labels, sample) in self.rows.by_ref().take(BATCH_ROWS) {
            let start = batch.arena.len();
            batch.arena.extend_from_slice(labels.as_bytes());
            batch.push_row(start, sample.t, sample.v);
        }
        if batch.rows.is_empty() {
            return Ok(StreamStep::End(StreamEnd { annotations: Annotations::none(), stats: self.stats }));
        }
        self.stats.series += batch.rows.len() as u64;
        self.stats.bytes += batch.arena.len() as u64;
        Ok(StreamStep::Batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CounterResetHint, Histogram, STALE_NAN, Value};
    use crate::storage::ChunkBuilder;

    fn chunks(samples: &[(i64, Value)]) -> Vec<Chunk> {
        let mut builder = ChunkBuilder::new();
        samples.iter().for_each(|(t, v)| builder.push(TimestampMs(*t), TimestampMs(0), v).unwrap());
        builder.finish()
    }

    fn histogram() -> Value {
        let counter_reset_hint = CounterResetHint::Gauge;
        Value::Histogram(Box::new(Histogram { counter_reset_hint, ..Histogram::default() }))
    }

    #[test]
    fn the_newest_sample_is_that_at_the_range_s_end_if_it_is_a_float_that_lives() {
        let floats: Vec<_> = (0..300).map(|i| (i * 10, Value::Float(i as f64))).collect();
        let mut mixed = floats.clone();
        mixed.extend([(3000, histogram()), (3010, Value::Float(1.0)), (3020, Value::Float(STALE_NAN))]);
        let mixed = chunks(&mixed);
        let find = |min, max| {
            let range = TimeRange { min: TimestampMs(min), max: TimestampMs(max) };
            newest(&mixed, range, &mut Columns::default()).unwrap().map(|s| (s.t.0, s.v))
        };
        for i in 0..300 {
            assert_eq!(find(0, i * 10 + 9), Some((i * 10, i as f64)));
            assert_eq!(find(i * 10 + 1, i * 10 + 9), None);
        }
        assert_eq!(find(0, -1), None);
        assert_eq!(find(0, 3009), None, "a histogram");
        assert_eq!(find(0, 3019), Some((3010, 1.0)));
        assert_eq!(find(0, 5000), None, "an ended series");
        assert_eq!(newest(&[], TimeRange::ALL, &mut Columns::default()).unwrap(), None);
    }
}
