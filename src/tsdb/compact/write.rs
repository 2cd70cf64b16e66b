//! Writing a stream of series as a block.

use std::path::Path;
use std::sync::Arc;

use crate::disk::Disk;
use crate::model::TimestampMs;
use crate::storage::merge::{clip, merge_chunks};
use crate::storage::{
    Cancelled, DecodeError, QueryError, Scope, SeriesBatch, SeriesChunks, SeriesStream, StreamStep, TimeRange,
};
use crate::tsdb::block::{BlockError, BlockMeta, BlockWriter, Ulid};

/// Why no block was made.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    /// Somebody told it to stop.
    #[error("stopped: {0}")]
    Cancelled(Cancelled),
    /// What should go into the block could not be read.
    #[error("reading what should go into block {ulid}: {source}")]
    Read {
        /// The block that was to be written.
        ulid: Ulid,
        /// What is wrong with the source.
        source: QueryError,
    },
    /// The block could not be written.
    #[error(transparent)]
    Write(#[from] BlockError),
}

impl CompactError {
    pub(super) fn reading(ulid: Ulid, source: QueryError) -> CompactError {
        match source {
            QueryError::Cancelled(why) => CompactError::Cancelled(why),
            source => CompactError::Read { ulid, source },
        }
    }
}

/// Writes the series of `stream`, ascending by labels, as the block `meta.ulid` below `dir`. Samples outside of
/// `[meta.min_time, meta.max_time)` are left out; chunks across an edge are encoded anew. Statistics are counted, the
/// rest of `meta` is written as it is. `None` if no sample was left: then there is no block.
///
/// `scope` is asked once per batch. After an error nothing is left of the block, unless the disk fails, too.
pub fn write_block(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    stream: &mut dyn SeriesStream,
    meta: BlockMeta,
    scope: &Scope,
) -> Result<Option<BlockMeta>, CompactError> {
    let ulid = meta.ulid;
    let read = |source| CompactError::reading(ulid, source);
    // An empty range has no last instant; a block of it has no samples.
    let Some(last) = meta.max_time.checked_sub(1).filter(|last| *last >= meta.min_time) else { return Ok(None) };
    let range = TimeRange { min: TimestampMs(meta.min_time), max: TimestampMs(last) };
    let mut writer = BlockWriter::create(disk.clone(), dir, meta)?;
    let mut batch = SeriesBatch::default();
    loop {
        scope.check().map_err(CompactError::Cancelled)?;
        match stream.next(&mut batch).map_err(read)? {
            StreamStep::End(_) => break,
            StreamStep::Batch => {}
        }
        for series in &mut batch.series {
            tidy(series, range).map_err(read)?;
            writer.push(series)?;
        }
    }
    Ok(writer.finish()?)
}

/// Takes samples outside of the range away, and puts chunks in order that are not.
fn tidy(series: &mut SeriesChunks, range: TimeRange) -> Result<(), QueryError> {
    let corrupt = |e: DecodeError| {
        let (path, reason) = (series.labels.to_string(), e.to_string());
        QueryError::Corrupt { path, offset: 0, reason }
    };
    let mut chunks = std::mem::take(&mut series.chunks);
    if !chunks.iter().all(|c| range.contains(c.min) && range.contains(c.max)) {
        let clipped: Result<Vec<_>, _> = chunks.into_iter().map(|c| clip(c, range)).collect();
        chunks = clipped.map_err(corrupt)?.concat();
    }
    // Costs a glance at the times if they are in order, as they are unless the writer of a block had its own idea of one.
    series.chunks = merge_chunks(chunks).map_err(corrupt)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tsdb::block::Block;
    use crate::tsdb::fixtures::{Stream, dump, labels, root, series, ulid, write};

    fn bits(samples: &[(i64, f64)]) -> Vec<(i64, u64)> {
        samples.iter().map(|(t, v)| (*t, v.to_bits())).collect()
    }

    #[test]
    fn samples_outside_of_the_blocks_times_are_left_out_and_whole_chunks_pass_untouched() {
        let disk: Arc<dyn Disk> = Arc::new(root());
        let all = vec![
            series(1, &[&[(80, 1.0), (99, 2.0)], &[(100, 3.0), (110, 4.0)], &[(150, 5.0), (200, 6.0)]]),
            series(2, &[&[(90, 7.0), (99, 8.0)]]),
            series(3, &[&[(0, 1.0), (100, 2.0), (199, 3.0), (200, 4.0)]]),
        ];
        let untouched = all[0].chunks[1].data.clone();
        let meta = write(&disk, BlockMeta::new(ulid(1), 100, 200), all).unwrap();
        assert_eq!((meta.stats.num_series, meta.stats.num_chunks, meta.stats.num_samples), (2, 3, 5));
        let block = Block::open(&*disk, &Path::new("/data").join(ulid(1).to_string())).unwrap();
        block.verify().unwrap();
        let found = dump(&block);
        assert_eq!(found[&labels(1)], bits(&[(100, 3.0), (110, 4.0), (150, 5.0)]));
        assert_eq!(found[&labels(3)], bits(&[(100, 2.0), (199, 3.0)]));
        let first = block.index().all().unwrap().min().unwrap();
        assert_eq!(block.series_chunks(first).unwrap().chunks[0].data, untouched);
    }

    #[test]
    fn nothing_left_is_no_block() {
        let disk: Arc<dyn Disk> = Arc::new(root());
        for (min, max) in [(200, 300), (5, 5)] {
            assert_eq!(write(&disk, BlockMeta::new(ulid(1), min, max), vec![series(1, &[&[(5, 1.0)]])]), None);
        }
        assert_eq!(disk.list(Path::new("/data")).unwrap(), [""; 0]);
    }

    #[test]
    fn a_block_that_is_stopped_or_whose_source_fails_leaves_nothing() {
        struct Failing(Vec<SeriesChunks>, Scope);
        impl SeriesStream for Failing {
            fn next(&mut self, batch: &mut SeriesBatch) -> Result<StreamStep, QueryError> {
                self.1.cancel();
                let Some(series) = self.0.pop() else { return Err(QueryError::NotReady("gone".to_owned())) };
                batch.series = vec![series];
                Ok(StreamStep::Batch)
            }
        }
        let disk: Arc<dyn Disk> = Arc::new(root());
        let meta = BlockMeta::new(ulid(1), 0, 100);
        let attempt = |stream: &mut dyn SeriesStream, scope: &Scope| {
            let error = write_block(&disk, Path::new("/data"), stream, meta.clone(), scope).unwrap_err();
            assert_eq!(disk.list(Path::new("/data")).unwrap(), [""; 0]);
            error
        };
        let one = || vec![series(1, &[&[(5, 1.0)]])];
        let scope = Scope::unbounded();
        let stopped = attempt(&mut Failing(one(), scope.clone()), &scope);
        assert!(matches!(stopped, CompactError::Cancelled(Cancelled::Client)), "{stopped}");
        let failed = attempt(&mut Failing(one(), Scope::unbounded()), &Scope::unbounded());
        assert_eq!(
            failed.to_string(),
            format!("reading what should go into block {}: the store is not ready: gone", ulid(1))
        );
        let unsorted =
            attempt(&mut Stream::new([series(2, &[&[(5, 1.0)]]), series(1, &[&[(5, 1.0)]])]), &Scope::unbounded());
        assert!(matches!(unsorted, CompactError::Write(BlockError::Refused(_))), "{unsorted}");
    }
}
