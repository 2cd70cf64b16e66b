//! Reading a block by matchers.

use std::collections::BTreeSet;
use std::sync::Arc;

use roaring::RoaringBitmap;
use roaring::bitmap::IntoIter;

use super::chunks::{CHUNKS_DIR, ChunkMeta};
use super::index::{IndexReader, SeriesScratch};
use super::{Block, BlockError};
use crate::model::{Annotations, Labels};
use crate::storage::merge::without;
use crate::storage::{
    Chunk, Limit, QueryError, Scope, Selector, SeriesBatch, SeriesChunks, SeriesStream, StreamEnd, StreamStats,
    StreamStep, TimeRange,
};
use crate::tsdb::matching::{Pace, PostingsIndex, Test, Visit, matching};

/// Series in a batch.
const BATCH_SERIES: usize = 256;
/// No series is added to a batch that has so many bytes of chunks: those of long blocks have a hundred thousand each.
const BATCH_BYTES: usize = 1 << 20;
/// Series that are visited between two looks at the scope, if none of them has anything in the range.
const VISITS: usize = 4096;

impl Block {
    /// The series that satisfy any of the selectors.
    pub fn matching(&self, selectors: &[Selector], scope: &Scope) -> Result<RoaringBitmap, BlockError> {
        matching(&self.index, selectors, scope)
    }

    /// A stream of the series that satisfy any of the selectors and have a chunk in the range, ascending by labels, with
    /// those chunks, from which what is deleted has been taken out. The stream keeps the block.
    pub fn select(
        self: &Arc<Block>,
        scope: &Scope,
        selectors: &[Selector],
        range: TimeRange,
        limit: Limit,
    ) -> Result<BlockStream, QueryError> {
        scope.check()?;
        Ok(BlockStream {
            series: self.matching(selectors, scope)?.into_iter(),
            block: self.clone(),
            scope: scope.clone(),
            range,
            left: limit.unwrap_or(usize::MAX),
            scratch: SeriesScratch::default(),
            stats: StreamStats::default(),
        })
    }

    /// The names of labels of the series that satisfy any selector, or of all series if there is none, ascending. As in
    /// the reference, what is deleted counts, and so does all of the block's time.
    pub fn label_names(&self, selectors: &[Selector], scope: &Scope) -> Result<Vec<String>, BlockError> {
        if selectors.is_empty() {
            return Ok(self.index.label_names().map(str::to_owned).collect());
        }
        let (mut names, mut pace) = (BTreeSet::new(), Pace::new(scope));
        for series in self.matching(selectors, scope)? {
            pace.step()?;
            self.index.each_label(series, |name, _| {
                names.insert(name);
            })?;
        }
        Ok(names.into_iter().map(str::to_owned).collect())
    }

    /// The values of a label among those series, ascending.
    pub fn label_values(&self, name: &str, selectors: &[Selector], scope: &Scope) -> Result<Vec<String>, BlockError> {
        if selectors.is_empty() {
            return Ok(self.index.label_values(name)?.into_iter().map(str::to_owned).collect());
        }
        let series = self.matching(selectors, scope)?;
        if series.len().saturating_mul(IndexReader::VALUES_PER_SERIES) < self.index.value_count(name) as u64 {
            return self.values_by_series(name, series, scope);
        }
        let (mut values, mut pace) = (Vec::new(), Pace::new(scope));
        self.index.each_value(name, "", &mut |value, place| {
            pace.step()?;
            if !self.index.list(place)?.is_disjoint(&series) {
                values.push(value.to_owned());
            }
            Ok::<_, BlockError>(())
        })?;
        Ok(values)
    }

    fn values_by_series(&self, name: &str, series: RoaringBitmap, scope: &Scope) -> Result<Vec<String>, BlockError> {
        let (mut values, mut pace) = (BTreeSet::new(), Pace::new(scope));
        for series in series {
            pace.step()?;
            self.index.each_label(series, |n, value| {
                if n == name {
                    values.insert(value);
                }
            })?;
        }
        Ok(values.into_iter().map(str::to_owned).collect())
    }
}

/// Postings are named by their places in the file, and read where they are needed.
impl PostingsIndex for IndexReader {
    type Error = BlockError;
    type Postings<'a> = u64;

    const VALUES_PER_SERIES: u64 = 16;

    fn all(&self) -> Result<RoaringBitmap, BlockError> {
        IndexReader::all(self)
    }

    fn find(&self, name: &str, value: &str) -> Result<Option<u64>, BlockError> {
        IndexReader::find(self, name, value)
    }

    fn value_count(&self, name: &str) -> u64 {
        IndexReader::value_count(self, name) as u64
    }

    fn each_value(&self, name: &str, prefix: &str, visit: &mut Visit<'_, u64, BlockError>) -> Result<(), BlockError> {
        IndexReader::each_value(self, name, prefix, &mut |value, place| visit(value, place))
    }

    fn retain(&self, set: RoaringBitmap, test: &mut Test<'_>) -> Result<RoaringBitmap, BlockError> {
        let mut kept = RoaringBitmap::new();
        for series in set {
            let mut found = "";
            self.each_label(series, |name, value| {
                if name == test.name() {
                    found = value;
                }
            })?;
            if test.matches(found)? {
                kept.insert(series);
            }
        }
        Ok(kept)
    }

    fn add(&self, place: u64, set: &mut RoaringBitmap) -> Result<(), BlockError> {
        *set |= self.list(place)?;
        Ok(())
    }

    fn subtract(&self, place: u64, set: &mut RoaringBitmap) -> Result<(), BlockError> {
        *set -= self.list(place)?;
        Ok(())
    }

    fn intersect(&self, place: u64, set: &mut RoaringBitmap) -> Result<(), BlockError> {
        *set &= self.list(place)?;
        Ok(())
    }
}

/// Series of a block with their chunks, read batch by batch.
pub struct BlockStream {
    block: Arc<Block>,
    scope: Scope,
    range: TimeRange,
    series: IntoIter,
    left: usize,
    scratch: SeriesScratch,
    stats: StreamStats,
}

impl BlockStream {
    fn fill(&mut self, batch: &mut SeriesBatch) -> Result<(), QueryError> {
        let wanted = BATCH_SERIES.min(self.left);
        let (mut visits, mut bytes) = (0, 0);
        while batch.series.len() < wanted
            && bytes < BATCH_BYTES
            && let Some(series) = self.series.next()
        {
            visits += 1;
            if visits % VISITS == 0 {
                self.scope.check()?;
            }
            let chunks = self.chunks(series)?;
            if !chunks.is_empty() {
                bytes += chunks.iter().map(|c| c.data.len()).sum::<usize>();
                batch.series.push(SeriesChunks { labels: Labels::from_encoded(&self.scratch.labels), chunks });
            }
        }
        self.left -= batch.series.len();
        Ok(())
    }

    /// What is left of a series in the range; its labels remain in the scratch.
    fn chunks(&mut self, series: u32) -> Result<Vec<Chunk>, QueryError> {
        self.block.index.read_series(series, &mut self.scratch)?;
        let metas = &self.scratch.chunks;
        let first = metas.partition_point(|c| c.max < self.range.min);
        let end = metas.partition_point(|c| c.min <= self.range.max);
        let Some(metas) = metas.get(first..end) else { return Ok(Vec::new()) };
        let deleted = self.block.tombstones.get(u64::from(series));
        if deleted.is_empty() {
            return Ok(metas.iter().map(|meta| self.block.chunk(meta)).collect::<Result<_, _>>()?);
        }
        let mut chunks = Vec::with_capacity(metas.len());
        for meta in metas {
            let is_gone = deleted.iter().any(|d| d.min <= meta.min && meta.max <= d.max);
            if !is_gone {
                let left = without(self.block.chunk(meta)?, deleted);
                chunks.append(&mut left.map_err(|error| self.undecodable(meta, &error.to_string()))?);
            }
        }
        Ok(chunks)
    }

    fn undecodable(&self, meta: &ChunkMeta, reason: &str) -> QueryError {
        let path = self.block.dir.join(CHUNKS_DIR).join(format!("{:06}", meta.chunk.segment() + 1));
        let (path, reason) = (path.display().to_string(), reason.to_owned());
        QueryError::Corrupt { path, offset: u64::from(meta.chunk.offset()), reason }
    }
}

impl SeriesStream for BlockStream {
    fn next(&mut self, batch: &mut SeriesBatch) -> Result<StreamStep, QueryError> {
        self.scope.check()?;
        batch.series.clear();
        self.fill(batch)?;
        if batch.series.is_empty() {
            return Ok(StreamStep::End(StreamEnd { annotations: Annotations::none(), stats: self.stats }));
        }
        let loaded = batch.size();
        self.stats.add(&loaded);
        self.scope.charge(loaded.samples, loaded.bytes)?;
        Ok(StreamStep::Batch)
    }
}

#[cfg(test)]
mod tests;
