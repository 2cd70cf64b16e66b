//! Several sources of the same series made one: chunks, and streams of series with chunks.
//!
//! The laws:
//! * Each timestamp once. Where sources disagree about one, the earlier source wins; the order of sources is the
//!   caller's statement of whom to trust.
//! * Chunks come out ascending and without overlaps. A chunk that overlaps no other passes through as the bytes that it
//!   came as; of chunks that are equal byte by byte one remains. Only what overlaps is decoded and encoded anew, and cut
//!   as [`ChunkBuilder`] cuts.
//! * The same holds for taking away: a chunk is decoded only if a part of it goes and a part stays.
//!
//! What it does not do: deduplicate replicas, whose timestamps differ. It reads no files and keeps nothing between
//! batches but the sources' next series.

mod chunks;
mod stream;
mod without;

pub use chunks::merge_chunks;
pub use stream::MergedStream;
pub use without::{clip, without};

use super::chunk::{ChunkBuilder, EncodeError};
use super::{Chunk, Columns, DecodeError, Encoding, decode_values};
use crate::model::{TimestampMs, Value};

fn holds_floats(chunk: &Chunk) -> bool {
    matches!(chunk.encoding, Encoding::Xor | Encoding::Xor2)
}

fn decode_mixed(chunk: &Chunk, columns: &mut Columns<Value>) -> Result<(), DecodeError> {
    let mut samples = Vec::new();
    decode_values(chunk, &mut samples)?;
    for sample in samples {
        columns.push(sample.t.0, sample.value, Some(sample.start.0));
    }
    Ok(())
}

/// A value that a builder takes.
trait Buildable {
    fn push_to(&self, builder: &mut ChunkBuilder, t: TimestampMs, start: TimestampMs) -> Result<(), EncodeError>;
}

impl Buildable for f64 {
    fn push_to(&self, builder: &mut ChunkBuilder, t: TimestampMs, start: TimestampMs) -> Result<(), EncodeError> {
        builder.push_float(t, start, *self);
        Ok(())
    }
}

impl Buildable for Value {
    fn push_to(&self, builder: &mut ChunkBuilder, t: TimestampMs, start: TimestampMs) -> Result<(), EncodeError> {
        builder.push(t, start, self)
    }
}

/// Encodes a stretch of samples anew.
fn push_range<V: Buildable>(
    builder: &mut ChunkBuilder,
    columns: &Columns<V>,
    range: std::ops::Range<usize>,
) -> Result<(), DecodeError> {
    for i in range {
        let start = columns.starts.get(i).copied().unwrap_or(0);
        columns.values[i].push_to(builder, TimestampMs(columns.times[i]), TimestampMs(start))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
