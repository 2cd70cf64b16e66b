//! What goes into a compaction: a block's series, one after the other, without what is deleted.

use std::sync::Arc;

use crate::storage::merge::without;
use crate::storage::{QueryError, Scope, SeriesBatch, SeriesChunks, SeriesStream, StreamEnd, StreamStats, StreamStep};
use crate::tsdb::block::Block;

/// A batch ends with the series that brings it to so many bytes of chunks: long blocks have series of many.
const BATCH_BYTES: usize = 1 << 20;
/// Series in a batch at most.
const BATCH_SERIES: usize = 256;

/// All series of a block, ascending by labels. A series of which nothing is left is passed over.
pub(super) struct AllSeries {
    block: Arc<Block>,
    scope: Scope,
    references: roaring::bitmap::IntoIter,
    stats: StreamStats,
}

impl AllSeries {
    pub(super) fn new(block: Arc<Block>, scope: &Scope) -> Result<AllSeries, QueryError> {
        let references = block.index().all()?.into_iter();
        Ok(AllSeries { block, scope: scope.clone(), references, stats: StreamStats::default() })
    }

    fn series(&self, reference: u32) -> Result<SeriesChunks, QueryError> {
        let mut series = self.block.series_chunks(reference)?;
        let deleted = self.block.tombstones().get(u64::from(reference));
        if deleted.is_empty() {
            return Ok(series);
        }
        let left: Result<Vec<_>, _> = series.chunks.into_iter().map(|chunk| without(chunk, deleted)).collect();
        let corrupt = |e: crate::storage::DecodeError| QueryError::Corrupt {
            path: self.block.dir().display().to_string(),
            offset: 0,
            reason: format!("a chunk of {}: {e}", series.labels),
        };
        series.chunks = left.map_err(corrupt)?.concat();
        Ok(series)
    }
}

impl SeriesStream for AllSeries {
    fn next(&mut self, batch: &mut SeriesBatch) -> Result<StreamStep, QueryError> {
        self.scope.check()?;
        batch.series.clear();
        let mut bytes = 0;
        while batch.series.len() < BATCH_SERIES && bytes < BATCH_BYTES {
            let Some(reference) = self.references.next() else { break };
            let series = self.series(reference)?;
            if !series.chunks.is_empty() {
                let size: usize = series.chunks.iter().map(|c| c.data.len()).sum();
                bytes += size;
                self.stats.series += 1;
                self.stats.chunks += series.chunks.len() as u64;
                self.stats.bytes += size as u64;
                batch.series.push(series);
            }
        }
        match batch.series.is_empty() {
            true => Ok(StreamStep::End(StreamEnd { stats: self.stats, ..StreamEnd::default() })),
            false => Ok(StreamStep::Batch),
        }
    }
}
