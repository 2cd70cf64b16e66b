//! Writing a block.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::chunks::{CHUNKS_DIR, ChunkMeta, ChunkWriter, SEGMENT_SIZE};
use super::index::{INDEX_FILE, IndexBuilder};
use super::meta::{BlockMeta, BlockStats};
use super::tombstones::Tombstones;
use super::{BlockError, sample_count};
use crate::disk::Disk;
use crate::model::Labels;
use crate::storage::{Encoding, SeriesChunks};

/// What the names of unfinished blocks end with.
pub const TEMPORARY_SUFFIX: &str = ".tmp-for-creation";

/// A block in the making. Chunks go to disk as they come; the index is held in memory until the end, a few bytes per
/// label and chunk. Dropping it unfinished leaves nothing behind, unless the disk fails.
#[derive(Debug)]
pub struct BlockWriter {
    disk: Arc<dyn Disk>,
    parent: PathBuf,
    temporary: PathBuf,
    meta: BlockMeta,
    chunks: Option<ChunkWriter>,
    index: IndexBuilder,
    last: Option<Labels>,
    finished: bool,
}

impl BlockWriter {
    /// Begins the block `meta.ulid` below `parent`, which exists. The statistics of `meta` are counted anew; every
    /// sample must lie within its times. Leftovers of an earlier attempt at the same block are removed.
    pub fn create(disk: Arc<dyn Disk>, parent: &Path, meta: BlockMeta) -> Result<BlockWriter, BlockError> {
        BlockWriter::with_segment_size(disk, parent, meta, SEGMENT_SIZE)
    }

    /// [`BlockWriter::create`] with chunk segments of at most so many bytes.
    pub fn with_segment_size(
        disk: Arc<dyn Disk>,
        parent: &Path,
        mut meta: BlockMeta,
        segment_size: u64,
    ) -> Result<BlockWriter, BlockError> {
        meta.stats = BlockStats::default();
        let finished = parent.join(meta.ulid.to_string());
        if disk.exists(&finished).map_err(|e| BlockError::disk(&finished, e))? {
            return Err(BlockError::Refused(format!("{} is there already", finished.display())));
        }
        let temporary = parent.join(format!("{}{TEMPORARY_SUFFIX}", meta.ulid));
        if disk.exists(&temporary).map_err(|e| BlockError::disk(&temporary, e))? {
            disk.remove_dir_all(&temporary).map_err(|e| BlockError::disk(&temporary, e))?;
        }
        let chunk_dir = temporary.join(CHUNKS_DIR);
        disk.create_dir_all(&chunk_dir).map_err(|e| BlockError::disk(&chunk_dir, e))?;
        let chunks = Some(ChunkWriter::new(disk.clone(), &chunk_dir, segment_size));
        let parent = parent.to_owned();
        let index = IndexBuilder::new();
        Ok(BlockWriter { disk, parent, temporary, meta, chunks, index, last: None, finished: false })
    }

    /// Adds a series, greater than the one before. A series without chunks is left out. After
    /// [`BlockError::Refused`] nothing of it is written and the next may come; after any other error, or if a chunk is
    /// longer than a segment, the block cannot be finished.
    pub fn push(&mut self, series: &SeriesChunks) -> Result<(), BlockError> {
        self.check(series)?;
        if series.chunks.is_empty() {
            return Ok(());
        }
        // Put back only when all went well: half a series must not become part of a block.
        let mut writer = self.chunks.take().ok_or_else(broken)?;
        let mut metas = Vec::with_capacity(series.chunks.len());
        for chunk in &series.chunks {
            let place = writer.push(chunk.encoding, &chunk.data)?;
            metas.push(ChunkMeta { min: chunk.min, max: chunk.max, chunk: place });
        }
        self.chunks = Some(writer);
        self.count(series);
        self.index.push(&series.labels, &metas);
        self.last = Some(series.labels.clone());
        Ok(())
    }

    fn check(&self, series: &SeriesChunks) -> Result<(), BlockError> {
        let labels = &series.labels;
        let refuse = |reason: &str| Err(BlockError::Refused(format!("{labels}: {reason}")));
        if labels.is_empty() || labels.iter().any(|(name, _)| name.is_empty()) {
            return refuse("a series without labels or with a label without name");
        }
        if self.last.as_ref().is_some_and(|last| last >= labels) {
            return refuse("not greater than the series before");
        }
        let mut end = None;
        for chunk in &series.chunks {
            if chunk.min > chunk.max || end.is_some_and(|end| chunk.min <= end) {
                return refuse("chunks that are not ascending");
            }
            if chunk.min.0 < self.meta.min_time || chunk.max.0 >= self.meta.max_time {
                return refuse("a chunk outside of the block's times");
            }
            if sample_count(chunk).is_none_or(|n| n == 0) {
                return refuse("a chunk without samples");
            }
            end = Some(chunk.max);
        }
        Ok(())
    }

    fn count(&mut self, series: &SeriesChunks) {
        let stats = &mut self.meta.stats;
        stats.num_series += 1;
        stats.num_chunks += series.chunks.len() as u64;
        for chunk in &series.chunks {
            let samples = u64::from(sample_count(chunk).unwrap_or_default());
            stats.num_samples += samples;
            match chunk.encoding {
                Encoding::Xor | Encoding::Xor2 => stats.num_float_samples += samples,
                Encoding::Histogram
                | Encoding::FloatHistogram
                | Encoding::HistogramStarts
                | Encoding::FloatHistogramStarts => stats.num_histogram_samples += samples,
            }
        }
    }

    /// Completes the block and puts it in place, durably. `None` if no series came: then there is no block.
    pub fn finish(mut self) -> Result<Option<BlockMeta>, BlockError> {
        let chunks = self.chunks.take().ok_or_else(broken)?;
        if self.meta.stats.num_series == 0 {
            return Ok(None);
        }
        chunks.finish()?;
        let index = std::mem::replace(&mut self.index, IndexBuilder::new());
        index.write(&*self.disk, &self.temporary.join(INDEX_FILE))?;
        self.meta.write(&*self.disk, &self.temporary)?;
        // An empty one, as the reference writes it; this syncs the directory's names, too.
        Tombstones::default().write(&*self.disk, &self.temporary)?;
        let place = self.parent.join(self.meta.ulid.to_string());
        self.disk.rename(&self.temporary, &place).map_err(|e| BlockError::disk(&place, e))?;
        self.finished = true;
        self.disk.sync_dir(&self.parent).map_err(|e| BlockError::disk(&self.parent, e))?;
        Ok(Some(self.meta.clone()))
    }
}

fn broken() -> BlockError {
    BlockError::Refused("an earlier write to this block failed".to_owned())
}

impl Drop for BlockWriter {
    fn drop(&mut self) {
        if !self.finished
            && let Err(error) = self.disk.remove_dir_all(&self.temporary)
        {
            tracing::warn!(path = %self.temporary.display(), %error, "an unfinished block could not be removed");
        }
    }
}
