//! Blocks: immutable pieces of history, byte for byte in Prometheus's format.
//!
//! A block is a directory named by a [`Ulid`]: `meta.json` (`META.md`) says what it is, `index` (`INDEX.md`) which series it has
//! and where their chunks stand, `chunks/000001` and on (`CHUNKS.md`) hold the samples, `tombstones` (`TOMBSTONES.md`)
//! says what of it is deleted. Prometheus opens what [`BlockWriter`] wrote and [`Block`] opens what Prometheus wrote.
//!
//! The laws:
//! * A block is there whole or not at all: it is written under `<ulid>.tmp-for-creation`, synced file by file, and then
//!   renamed. What has that suffix was never finished and may be removed.
//! * No byte is believed before its checksum. A length is compared with what the file has before memory is taken for
//!   it. Damage is an error that names file, place and what was expected there; it never is a panic or a wrong sample.
//! * `meta.json` has no checksum; what it says of times and counts is compared with the rest by [`Block::verify`].
//!
//! What it does not do: it chooses no blocks to compact or delete and merges nothing. [`Block::chunk`] hands out what is
//! stored; only [`Block::select`] leaves out what is deleted. It keeps no bytes of its own: files are read through a
//! [`Source`](crate::disk::Source), which maps them where it can. The bytes of a chunk then are those of the file, so a
//! reader that waits costs no memory; checksums are verified at each read all the same, because a page that the system
//! has dropped is read again from the disk.

mod bytes;
mod chunks;
mod index;
mod meta;
mod query;
mod tombstones;
mod ulid;
mod write;

use std::io;
use std::path::{Path, PathBuf};

pub use chunks::{CHUNKS_DIR, ChunkMeta, ChunkReader, ChunkRef, SEGMENT_SIZE};
pub use index::{INDEX_FILE, IndexReader, SeriesEntry};
pub use meta::{BlockDesc, BlockMeta, BlockStats, Compaction, META_FILE};
pub(in crate::tsdb) use meta::{replace_file, tabbed_json};
pub use query::BlockStream;
pub use tombstones::{TOMBSTONES_FILE, Tombstones};
pub use ulid::{Ulid, UlidError};
pub use write::{BlockWriter, TEMPORARY_SUFFIX};

use crate::disk::Disk;
use crate::storage::{Cancelled, Chunk, Columns, Encoding, QueryError, SeriesChunks, TimeRange, decode_into};

/// Why a block could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// The disk failed.
    #[error("{path}: {source}")]
    Disk {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not what its format demands.
    #[error("{path}: damaged at byte {offset}: expected {expected}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What should have been there.
        expected: String,
    },
    /// The file is whole, but of a kind that this version does not know.
    #[error("{path}: byte {offset}: {what} is not supported")]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// The kind.
        what: String,
    },
    /// The block has no segment with that number.
    #[error("there is no chunk segment {} for the chunk at byte {}", .0.segment() + 1, .0.offset())]
    NoSuchChunk(ChunkRef),
    /// The caller gave something that a block cannot hold.
    #[error("not written: {0}")]
    Refused(String),
    /// The read's scope ended it.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl BlockError {
    fn disk(path: &Path, source: io::Error) -> BlockError {
        BlockError::Disk { path: path.to_owned(), source }
    }

    fn damaged(path: &Path, offset: u64, expected: impl Into<String>) -> BlockError {
        BlockError::Damaged { path: path.to_owned(), offset, expected: expected.into() }
    }
}

impl From<BlockError> for QueryError {
    fn from(error: BlockError) -> QueryError {
        match error {
            BlockError::Cancelled(cancelled) => cancelled.into(),
            BlockError::Disk { path, source } => QueryError::Disk { path: path.display().to_string(), source },
            BlockError::Damaged { path, offset, expected } => {
                let reason = format!("expected {expected}");
                QueryError::Corrupt { path: path.display().to_string(), offset, reason }
            }
            BlockError::Unsupported { path, offset, what } => {
                let reason = format!("{what} is not supported");
                QueryError::Corrupt { path: path.display().to_string(), offset, reason }
            }
            BlockError::NoSuchChunk(chunk) => {
                let (path, reason) = (CHUNKS_DIR.to_owned(), error.to_string());
                QueryError::Corrupt { path, offset: u64::from(chunk.offset()), reason }
            }
            // Reading refuses nothing; should it ever, the block is what it complains about.
            BlockError::Refused(reason) => QueryError::Corrupt { path: "block".to_owned(), offset: 0, reason },
        }
    }
}

/// An open block.
#[derive(Debug)]
pub struct Block {
    dir: PathBuf,
    meta: BlockMeta,
    index: IndexReader,
    chunks: ChunkReader,
    tombstones: Tombstones,
    /// Bytes of `meta.json` and the tombstones.
    small_files: u64,
}

impl Block {
    /// Opens the block in `dir`: reads `meta.json` and the tombstones, verifies the index's tables and the headers of
    /// the segments. Series, postings and chunks are verified when they are read.
    pub fn open(disk: &dyn Disk, dir: &Path) -> Result<Block, BlockError> {
        let meta = BlockMeta::read(disk, dir)?;
        let named: Option<Ulid> = dir.file_name().and_then(|name| name.to_str()?.parse().ok());
        if let Some(name) = named.filter(|name| *name != meta.ulid) {
            let expected = format!("the ulid {name} of the directory, not {}", meta.ulid);
            return Err(BlockError::damaged(&dir.join(META_FILE), 0, expected));
        }
        let index = IndexReader::open(disk, &dir.join(INDEX_FILE))?;
        let chunks = ChunkReader::open(disk, &dir.join(CHUNKS_DIR))?;
        let tombstones = Tombstones::read(disk, dir)?;
        let small_files = [META_FILE, TOMBSTONES_FILE].map(|name| file_size(disk, &dir.join(name)));
        let small_files = small_files.into_iter().sum::<Result<_, _>>()?;
        Ok(Block { dir: dir.to_owned(), meta, index, chunks, tombstones, small_files })
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What `meta.json` says.
    pub fn meta(&self) -> &BlockMeta {
        &self.meta
    }

    /// Whether the block's times and the range share an instant.
    pub fn overlaps(&self, range: TimeRange) -> bool {
        self.meta.min_time <= range.max.0 && range.min.0 < self.meta.max_time
    }

    /// Its series.
    pub fn index(&self) -> &IndexReader {
        &self.index
    }

    /// What of it is deleted, by the references of [`IndexReader::postings`].
    pub fn tombstones(&self) -> &Tombstones {
        &self.tombstones
    }

    /// Bytes of all its files.
    pub fn size(&self) -> u64 {
        self.index.size() + self.chunks.size() + self.small_files
    }

    /// A chunk of a series of [`IndexReader::series`].
    pub fn chunk(&self, meta: &ChunkMeta) -> Result<Chunk, BlockError> {
        self.chunks.read(meta)
    }

    /// A series with all its chunks.
    pub fn series_chunks(&self, reference: u32) -> Result<SeriesChunks, BlockError> {
        let SeriesEntry { labels, chunks } = self.index.series(reference)?;
        let chunks = chunks.iter().map(|c| self.chunk(c)).collect::<Result<_, _>>()?;
        Ok(SeriesChunks { labels, chunks })
    }

    /// Reads everything: each list, series and chunk must be whole, chunks of floats must begin and end when the index
    /// says, series must ascend, and times and counts must be those of `meta.json`.
    pub fn verify(&self) -> Result<(), BlockError> {
        let index_path = self.dir.join(INDEX_FILE);
        for name in self.index.label_names() {
            for value in self.index.label_values(name)? {
                self.index.postings(name, value)?;
            }
        }
        let (mut columns, mut found) = (Columns::default(), BlockStats::default());
        let mut previous = None;
        for reference in &self.index.all()? {
            let series = self.index.series(reference)?;
            let wrong = |expected: &str| BlockError::damaged(&index_path, u64::from(reference) * 16, expected);
            if previous.is_some_and(|p| p >= series.labels) {
                return Err(wrong("a series greater than the one before"));
            }
            found.num_series += 1;
            for chunk in &series.chunks {
                if chunk.min.0 < self.meta.min_time || chunk.max.0 >= self.meta.max_time {
                    return Err(wrong("chunks within the times of meta.json"));
                }
                let data = self.chunk(chunk)?;
                found.num_chunks += 1;
                found.num_samples += u64::from(sample_count(&data).ok_or_else(|| wrong("chunks with samples"))?);
                if matches!(data.encoding, Encoding::Xor | Encoding::Xor2) {
                    columns.clear();
                    let decoded = decode_into(&data, &mut columns).is_ok();
                    let ends = columns.times.first().zip(columns.times.last());
                    if !decoded || ends != Some((&chunk.min.0, &chunk.max.0)) {
                        return Err(wrong("chunks whose samples begin and end at the noted times"));
                    }
                }
            }
            previous = Some(series.labels);
        }
        let counts = |stats: &BlockStats| (stats.num_series, stats.num_chunks, stats.num_samples);
        if counts(&found) != counts(&self.meta.stats) {
            let expected = format!("{:?} as numbers of series, chunks and samples", counts(&found));
            return Err(BlockError::damaged(&self.dir.join(META_FILE), 0, expected));
        }
        Ok(())
    }
}

/// Bytes of a file, 0 if it is not there.
fn file_size(disk: &dyn Disk, path: &Path) -> Result<u64, BlockError> {
    match disk.open(path).and_then(|file| file.len()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        len => len.map_err(|e| BlockError::disk(path, e)),
    }
}

/// The number of samples that every encoding has at its head.
fn sample_count(chunk: &Chunk) -> Option<u16> {
    (chunk.data.len() >= 2).then(|| chunk.sample_count())
}

#[cfg(test)]
mod tests;
