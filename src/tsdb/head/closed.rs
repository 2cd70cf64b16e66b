//! Chunks that get no more samples, where they are, and how much of a series a reader may see.

use bytes::Bytes;

use crate::model::TimestampMs;
use crate::storage::{Chunk, Encoding, QueryError};
use crate::tsdb::head_chunks::{ChunkPlace, PinnedChunks};

/// A chunk that gets no more samples.
#[derive(Clone, Debug)]
pub(super) struct Closed {
    pub(super) min: i64,
    pub(super) max: i64,
    pub(super) held: Held,
}

/// Where a closed chunk is. The encoding stands in both so that the whole takes 16 bytes.
#[derive(Clone, Debug)]
pub(super) enum Held {
    /// Not yet written.
    Memory { encoding: Encoding, data: Box<Bytes> },
    /// In a file of head chunks.
    File { encoding: Encoding, place: ChunkPlace },
}

impl Held {
    pub(super) fn encoding(&self) -> Encoding {
        match self {
            Held::Memory { encoding, .. } | Held::File { encoding, .. } => *encoding,
        }
    }

    pub(super) fn place(&self) -> Option<ChunkPlace> {
        match self {
            Held::Memory { .. } => None,
            Held::File { place, .. } => Some(*place),
        }
    }
}

/// A chunk that a reader wants; what lies in a file is read once no lock is held.
#[derive(Clone, Debug)]
pub(super) struct Part {
    min: i64,
    max: i64,
    encoding: Encoding,
    data: PartData,
    seen: Seen,
}

#[derive(Clone, Debug)]
enum PartData {
    Memory(Bytes),
    File(ChunkPlace),
}

impl Part {
    pub(super) fn closed(chunk: &Closed, seen: Seen) -> Part {
        let data = match &chunk.held {
            Held::Memory { data, .. } => PartData::Memory(Bytes::clone(data)),
            Held::File { place, .. } => PartData::File(*place),
        };
        Part { min: chunk.min, max: chunk.max, encoding: chunk.held.encoding(), data, seen }
    }

    pub(super) fn open(min: i64, max: i64, encoding: Encoding, bytes: &[u8], seen: Seen) -> Part {
        Part { min, max, encoding, data: PartData::Memory(Bytes::copy_from_slice(bytes)), seen }
    }

    /// The chunk without what the reader may not see; `None` if that is all of it.
    pub(super) fn load(self, files: &PinnedChunks<'_>) -> Result<Option<Chunk>, QueryError> {
        let (encoding, data) = match self.data {
            PartData::Memory(data) => (self.encoding, data),
            PartData::File(place) => files.read(place)?,
        };
        Ok(self.seen.cut(Chunk { min: TimestampMs(self.min), max: TimestampMs(self.max), encoding, data }))
    }
}

/// How far a series had come at the moment that a reader looks at: what came later is hidden from it.
///
/// The bit stream of a chunk only grows, and where a histogram's chunk is written anew its first samples stay the first,
/// so a chunk is cut by writing a smaller number of samples into its header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    /// The newest sample's time.
    pub(super) last_t: i64,
    /// Samples of the chunk that was open.
    pub(super) open_samples: u16,
}

impl Seen {
    /// Cuts a chunk that holds later samples, too; `None` if it holds no others.
    fn cut(self, chunk: Chunk) -> Option<Chunk> {
        if chunk.max.0 <= self.last_t {
            return Some(chunk);
        }
        if chunk.min.0 > self.last_t {
            return None;
        }
        let (mut data, max) = (chunk.data.to_vec(), TimestampMs(self.last_t));
        chunk.encoding.set_sample_count(&mut data, self.open_samples);
        Some(Chunk { max, data: Bytes::from(data), ..chunk })
    }
}
