//! Small blocks and streams for the tests of what works on blocks.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use super::block::{Block, BlockMeta, Ulid};
use super::compact::write_block;
use crate::disk::{Disk, MemDisk};
use crate::model::{Labels, TimestampMs};
use crate::storage::chunk::xor::XorState;
use crate::storage::{
    Chunk, Columns, Encoding, QueryError, Scope, SeriesBatch, SeriesChunks, SeriesStream, StreamEnd, StreamStep,
    decode_into,
};

/// Times and value bits of each series.
pub(super) type Dump = BTreeMap<Labels, Vec<(i64, u64)>>;

/// A disk with an empty directory `/data`.
pub(super) fn root() -> MemDisk {
    let disk = MemDisk::new();
    disk.create_dir_all(Path::new("/data")).unwrap();
    disk
}

/// The name with that number.
pub(super) fn ulid(n: u64) -> Ulid {
    let zero: Ulid = "01ARZ3NDEKTSV4RRFFQ69G5FA0".parse().unwrap();
    (0..n).fold(zero, |ulid, _| ulid.successor())
}

/// One chunk of floats.
pub(super) fn chunk(samples: &[(i64, f64)]) -> Chunk {
    let (mut state, mut data) = (XorState::new(), Vec::new());
    samples.iter().for_each(|(t, v)| state.append(&mut data, *t, *v));
    let time = |sample: Option<&(i64, f64)>| TimestampMs(sample.unwrap().0);
    Chunk { min: time(samples.first()), max: time(samples.last()), encoding: Encoding::Xor, data: data.into() }
}

/// The series `m{i="<i>"}`.
pub(super) fn labels(i: i64) -> Labels {
    Labels::from_pairs([("__name__", "m"), ("i", &format!("{i:03}"))])
}

/// A series with those chunks.
pub(super) fn series(i: i64, chunks: &[&[(i64, f64)]]) -> SeriesChunks {
    SeriesChunks { labels: labels(i), chunks: chunks.iter().map(|c| chunk(c)).collect() }
}

/// Series in small batches.
pub(super) struct Stream(VecDeque<SeriesChunks>);

impl Stream {
    pub(super) fn new(series: impl IntoIterator<Item = SeriesChunks>) -> Stream {
        Stream(series.into_iter().collect())
    }
}

impl SeriesStream for Stream {
    fn next(&mut self, batch: &mut SeriesBatch) -> Result<StreamStep, QueryError> {
        batch.series.clear();
        batch.series.extend(self.0.drain(..self.0.len().min(3)));
        Ok(if batch.series.is_empty() { StreamStep::End(StreamEnd::default()) } else { StreamStep::Batch })
    }
}

/// Writes a block below `/data`.
pub(super) fn write(disk: &Arc<dyn Disk>, meta: BlockMeta, all: Vec<SeriesChunks>) -> Option<BlockMeta> {
    write_block(disk, Path::new("/data"), &mut Stream::new(all), meta, &Scope::unbounded()).unwrap()
}

/// Writes the block `ulid(n)` of the series `n`, `n + 1` and `n + 2` with a sample at its first and its last instant.
pub(super) fn write_small(disk: &Arc<dyn Disk>, n: u64, min: i64, max: i64, parents: &[u64]) -> Ulid {
    let mut meta = BlockMeta::new(ulid(n), min, max);
    let parent = |p: &u64| super::block::BlockDesc { ulid: ulid(*p), min_time: min, max_time: max };
    meta.compaction.parents = parents.iter().map(parent).collect();
    let all = (0..3).map(|i| series(n as i64 + i, &[&[(min, n as f64), (max - 1, -1.0)]])).collect();
    write(disk, meta, all).unwrap().ulid
}

/// Every sample of a block, without a look at its tombstones.
pub(super) fn dump(block: &Block) -> Dump {
    let one = |reference| {
        let SeriesChunks { labels, chunks } = block.series_chunks(reference).unwrap();
        let mut columns = Columns::default();
        chunks.iter().for_each(|c| decode_into(c, &mut columns).unwrap());
        (labels, columns.iter().map(|s| (s.t.0, s.v.to_bits())).collect())
    };
    block.index().all().unwrap().into_iter().map(one).collect()
}
