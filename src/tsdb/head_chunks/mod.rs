//! Full chunks of the head on disk: `chunks_head/`, byte for byte in Prometheus's format (drawn in `HEAD_CHUNKS.md`).
//!
//! What it is for: a chunk that takes no more samples leaves the head's memory and is named by its [`ChunkPlace`] from
//! then on. The samples stay in the write-ahead log as well, for as long as the head needs them, so nothing here is ever
//! the only copy: that makes every repair simple and lets the store sync these files less often than the log.
//!
//! The laws:
//! * A record is verified when the directory is opened and again at each read. No byte is believed before its checksum.
//! * We never append to a file that an earlier process wrote: the first chunk after opening begins a new one.
//! * Behind a record that cannot be read none is used: what they held comes from the log. The last file is cut off
//!   there, an earlier one is set aside with all behind it, and either is told as [`Damage`].
//! * Files are removed from the front, one by one and durably, so that their numbers stay without gaps. Who reads through a
//!   [`PinnedChunks`] goes on reading files that are removed meanwhile.
//! * After a failed write nothing is lost: the buffer stays, reads see it, and the next flush first cuts off what the
//!   failed one may have left behind. After a failed sync nothing more is written until the directory is opened again.
//! * A file is durable before the next one is begun, so that only the last one can be torn.
//!
//! Files are mapped where the machine can, the one that is written to in steps; what a chunk's bytes are then is the file's
//! memory, and a query that holds them holds no other.
//!
//! What it does not do: it knows no series and no times beyond what a record says, decides about no truncation, and
//! holds no chunk back from the log. Series numbers of found chunks may be above all that the log knows, if the
//! machine died before the log was synced: whoever hands out numbers must stay above them.

mod files;
mod record;
mod scan;
mod writer;

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::wal::{Damage, WriteError};
use crate::disk::Disk;
use crate::storage::{Encoding, QueryError};
use files::{ChunkFiles, Files};
use writer::Writer;

/// The directory's name in a data directory.
pub(crate) const HEAD_CHUNKS_DIR: &str = "chunks_head";
/// A file is closed before it would become longer, as in the reference.
const FILE_SIZE: u64 = 128 << 20;

const MAGIC: u32 = 0x0130_BC91;
const VERSION: u8 = 1;
/// Magic, version and three zeros.
const HEADER: usize = 8;

/// How the files are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Bytes after which a file is closed.
    pub(crate) file_size: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options { file_size: FILE_SIZE }
    }
}

/// Where a chunk stands: the number of the file above 32 bits of offset in it. Ascends in the order of writing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct ChunkPlace(pub(crate) u64);

impl ChunkPlace {
    fn new(file: u32, offset: u64) -> ChunkPlace {
        ChunkPlace(u64::from(file) << 32 | offset)
    }

    /// The number of the file.
    pub(crate) fn file(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The byte in the file at which the record begins.
    pub(crate) fn offset(self) -> u64 {
        self.0 & u64::from(u32::MAX)
    }
}

/// A chunk that was there when the directory was opened. Its checksum is right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FoundChunk {
    /// The number that the write-ahead log knows the series by.
    pub(crate) series: u64,
    /// Where it stands.
    pub(crate) place: ChunkPlace,
    /// Time of the first sample in milliseconds.
    pub(crate) min: i64,
    /// Time of the last sample.
    pub(crate) max: i64,
    /// How many samples it says it has.
    pub(crate) samples: u16,
    /// How they are encoded.
    pub(crate) encoding: Encoding,
    /// Whether they came out of order.
    pub(crate) out_of_order: bool,
}

/// The open directory.
#[derive(Debug)]
pub(crate) struct HeadChunks {
    files: Arc<ChunkFiles>,
    writer: Writer,
}

impl HeadChunks {
    /// Opens the directory `dir` of a data directory, creating it if needed, and verifies every record. Chunks come in
    /// the order in which they were written. Fails only where the directory itself cannot be worked with.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: Options,
    ) -> io::Result<(HeadChunks, Vec<FoundChunk>, Vec<Damage>)> {
        disk.create_dir_all(dir)?;
        // Files in a directory whose name is lost are lost; also if an earlier process died before it could do this.
        dir.parent().map_or(Ok(()), |parent| disk.sync_dir(parent))?;
        let found = files::find(&*disk, dir)?;
        let files = Arc::new(ChunkFiles::new(disk, dir, found.files));
        let writer = Writer::new(files.clone(), found.next, options.file_size);
        Ok((HeadChunks { files, writer }, found.chunks, found.damage))
    }

    /// Adds a chunk, which can be read from then on. It is in the system's hands after [`HeadChunks::flush`] and durable
    /// after [`HeadChunks::sync`]. An error means that the chunk was not taken.
    pub(crate) fn append(
        &self,
        series: u64,
        min: i64,
        max: i64,
        encoding: Encoding,
        out_of_order: bool,
        data: &[u8],
    ) -> Result<ChunkPlace, WriteError> {
        // The writer finds the place; the number of samples is in the data.
        let chunk = FoundChunk { series, place: ChunkPlace(0), min, max, samples: 0, encoding, out_of_order };
        self.writer.append(&chunk, data)
    }

    /// Hands everything appended to the system.
    pub(crate) fn flush(&self) -> Result<(), WriteError> {
        self.writer.flush()
    }

    /// Makes everything appended durable, what an earlier process wrote included. Appending goes on meanwhile.
    pub(crate) fn sync(&self) -> Result<(), WriteError> {
        self.writer.sync()
    }

    /// Lets the next chunk begin a new file, so that those before can be truncated.
    pub(crate) fn cut_file(&self) {
        self.writer.cut_file();
    }

    /// The encoding and the data of a chunk. Wrong bytes are an error, never wrong samples.
    pub(crate) fn read(&self, place: ChunkPlace) -> Result<(Encoding, Bytes), QueryError> {
        self.pin().read(place)
    }

    /// A view that keeps the files of now for as long as it lives, whatever is truncated; it sees later chunks as well.
    pub(crate) fn pin(&self) -> PinnedChunks<'_> {
        PinnedChunks { chunks: self, files: self.files.snapshot() }
    }

    /// Removes the files before `first_needed`; the one that is written to always stays.
    pub(crate) fn truncate(&self, first_needed: u32) -> Result<(), WriteError> {
        let until = self.writer.open_file().map_or(first_needed, |open| first_needed.min(open));
        self.files.remove_before(until)
    }

    /// Bytes of all files.
    pub(crate) fn size(&self) -> u64 {
        self.files.snapshot().values().map(|file| file.len()).sum::<u64>() + self.writer.buffered()
    }
}

/// Chunks that stay readable; see [`HeadChunks::pin`].
#[derive(Debug)]
pub(crate) struct PinnedChunks<'a> {
    chunks: &'a HeadChunks,
    files: Arc<Files>,
}

impl PinnedChunks<'_> {
    /// As [`HeadChunks::read`].
    pub(crate) fn read(&self, place: ChunkPlace) -> Result<(Encoding, Bytes), QueryError> {
        let number = place.file();
        let file = self.files.get(&number).cloned();
        let file = file.or_else(|| self.chunks.files.snapshot().get(&number).cloned());
        let file = file.ok_or_else(|| self.chunks.files.no_such_file(place))?;
        if place.offset() >= file.len()
            && let Some(buffered) = self.chunks.writer.read_buffered(place)
        {
            return buffered;
        }
        file.read(place)
    }
}

#[cfg(test)]
mod tests;
