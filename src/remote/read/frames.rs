//! Streamed answers: chunks as they are stored, in frames.
//!
//! A frame is a length as a varint, the CRC-32C of the message as four bytes big endian, and the message: some chunks of one
//! series with its labels. Readers of the reference look at one series of a frame only. A chunk that reaches out of the
//! range that is asked for is cut, and one with start timestamps is written as the older encodings have it, since readers
//! up to Prometheus 3.5 know no others; every other chunk goes out as its bytes are.

use prost::encoding::encode_varint;

use super::external::merged;
use super::wire;
use crate::model::{Labels, TimestampMs};
use crate::net::protobuf::Writer;
use crate::storage::merge::clip;
use crate::storage::{Chunk, ChunkBuilder, DecodeError, Encoding, SeriesChunks, TimeRange, decode_values};

/// Frames are handed on once there are so many bytes of them.
const FLUSH_BYTES: usize = 128 << 10;
/// What a frame has besides labels and chunks: two keys with a length and a number.
const FRAME_EXTRA: usize = 24;

/// Makes frames of series.
pub(super) struct FrameWriter {
    max: usize,
    /// Finished frames.
    out: Vec<u8>,
    labels: Vec<u8>,
    chunks: Vec<u8>,
}

impl FrameWriter {
    pub(super) fn new(max: usize) -> FrameWriter {
        FrameWriter { max, out: Vec::new(), labels: Vec::new(), chunks: Vec::new() }
    }

    /// Writes a series, if it has a sample in the range, and says how many it has.
    pub(super) fn series(
        &mut self,
        query: u64,
        external: &Labels,
        series: SeriesChunks,
        range: TimeRange,
        labels_only: bool,
    ) -> Result<Option<u64>, DecodeError> {
        self.labels.clear();
        wire::write_labels(&mut Writer::new(&mut self.labels), merged(&series.labels, external));
        if labels_only {
            self.chunk(query, &empty(range));
            self.end_frame(query);
            return Ok(Some(0));
        }
        let mut samples = 0;
        for chunk in series.chunks {
            if is_plain(&chunk, range) {
                samples += u64::from(chunk.sample_count());
                self.chunk(query, &chunk);
                continue;
            }
            for chunk in readable(chunk, range)? {
                samples += u64::from(chunk.sample_count());
                self.chunk(query, &chunk);
            }
        }
        self.end_frame(query);
        Ok((samples > 0).then_some(samples))
    }

    fn chunk(&mut self, query: u64, chunk: &Chunk) {
        let before = self.chunks.len();
        wire::write_chunk(&mut Writer::new(&mut self.chunks), chunk);
        if before > 0 && FRAME_EXTRA + self.labels.len() + self.chunks.len() > self.max {
            let last = self.chunks.split_off(before);
            self.end_frame(query);
            self.chunks = last;
        }
    }

    /// Closes the frame in hand, if there is one.
    fn end_frame(&mut self, query: u64) {
        if self.chunks.is_empty() {
            return;
        }
        let mut head = vec![wire::FIRST_MESSAGE];
        encode_varint((self.labels.len() + self.chunks.len()) as u64, &mut head);
        let mut tail = Vec::with_capacity(FRAME_EXTRA);
        if query > 0 {
            Writer::new(&mut tail).varint(2, query);
        }
        let parts = [&head[..], &self.labels, &self.chunks, &tail];
        encode_varint(parts.iter().map(|part| part.len() as u64).sum(), &mut self.out);
        let crc = parts.iter().fold(0, |crc, part| crc32c::crc32c_append(crc, part));
        self.out.extend_from_slice(&crc.to_be_bytes());
        parts.iter().for_each(|part| self.out.extend_from_slice(part));
        self.chunks.clear();
    }

    /// Whether the finished frames are worth being handed on.
    pub(super) fn is_full(&self) -> bool {
        self.out.len() >= FLUSH_BYTES
    }

    /// The finished frames.
    pub(super) fn written(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }
}

/// Whether a chunk goes out as it is.
fn is_plain(chunk: &Chunk, range: TimeRange) -> bool {
    range.min <= chunk.min && chunk.max <= range.max && !chunk.encoding.has_starts()
}

/// The part of a chunk in the range, in encodings that every reader knows.
fn readable(chunk: Chunk, range: TimeRange) -> Result<Vec<Chunk>, DecodeError> {
    if !chunk.encoding.has_starts() {
        return clip(chunk, range);
    }
    let mut samples = Vec::new();
    decode_values(&chunk, &mut samples)?;
    let mut builder = ChunkBuilder::new();
    for sample in samples.iter().filter(|sample| range.contains(sample.t)) {
        builder.push(sample.t, TimestampMs(0), &sample.value)?;
    }
    Ok(builder.finish())
}

/// A chunk without samples: what the reference sends of a series to those who want labels only.
fn empty(range: TimeRange) -> Chunk {
    Chunk { min: range.min, max: range.max, encoding: Encoding::Xor, data: bytes::Bytes::from_static(&[0, 0]) }
}
