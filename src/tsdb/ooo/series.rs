//! The out-of-order samples of one series.

use bytes::Bytes;

use crate::model::TimestampMs;
use crate::storage::chunk::{ChunkBuilder, TimedValue};
use crate::storage::{Chunk, Encoding, QueryError, TimeRange};
use crate::tsdb::head_chunks::ChunkPlace;

/// What became of a sample.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Inserted {
    /// It is there now.
    New,
    /// A sample of that time was there; that one stays.
    Duplicate,
}

/// A chunk that was written out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Written {
    pub(crate) place: ChunkPlace,
    pub(crate) min: TimestampMs,
    pub(crate) max: TimestampMs,
}

/// A small sorted buffer, and chunks written out before, in the order of writing. Chunks may overlap each other and the
/// buffer; of two samples of one time, the one that was there first counts.
#[derive(Debug, Default)]
pub(crate) struct OooSeries {
    buffer: Vec<TimedValue>,
    written: Vec<Written>,
}

/// How a chunk that was written out is read back.
pub(crate) type ReadChunk<'a> = &'a dyn Fn(ChunkPlace) -> Result<(Encoding, Bytes), QueryError>;

impl OooSeries {
    /// Whether there is nothing in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.is_empty() && self.written.is_empty()
    }

    /// Samples in the buffer.
    pub(crate) fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Chunks written out, in the order of writing.
    pub(crate) fn written(&self) -> &[Written] {
        &self.written
    }

    /// Whether the buffer has a sample of that time.
    pub(crate) fn has_buffered(&self, t: TimestampMs) -> bool {
        self.find(t).is_ok()
    }

    /// Puts a sample into the buffer.
    pub(crate) fn insert(&mut self, sample: TimedValue) -> Inserted {
        match self.find(sample.t) {
            Ok(_) => Inserted::Duplicate,
            Err(at) => {
                self.buffer.insert(at, sample);
                Inserted::New
            }
        }
    }

    /// Late samples mostly ascend among themselves, so the end is looked at first.
    fn find(&self, t: TimestampMs) -> Result<usize, usize> {
        match self.buffer.last() {
            Some(last) if t <= last.t => self.buffer.binary_search_by_key(&t, |s| s.t),
            _ => Err(self.buffer.len()),
        }
    }

    /// The buffer as chunks that do not overlap, one for each change of kind or layout. Samples that no chunk can hold are
    /// left out; nobody lets such samples in.
    pub(crate) fn encode(&self) -> Vec<Chunk> {
        let mut builder = ChunkBuilder::new();
        for sample in &self.buffer {
            if let Err(error) = builder.push(sample.t, sample.start, &sample.value) {
                tracing::warn!(t = sample.t.0, %error, "an out-of-order sample that cannot be encoded is dropped");
            }
        }
        builder.finish()
    }

    /// Empties the buffer whose chunks are written now.
    pub(crate) fn replace_buffer(&mut self, written: &[Written]) {
        self.buffer = Vec::new();
        self.written.extend_from_slice(written);
    }

    /// Adds a chunk that was found on disk.
    pub(crate) fn found(&mut self, chunk: Written) {
        self.written.push(chunk);
    }

    /// Drops from the buffer what a chunk written out holds.
    pub(crate) fn drop_buffered(&mut self, held: &[TimedValue]) {
        // Both ascend; a chunk holds at most as much as a buffer.
        self.buffer.retain(|s| held.binary_search_by_key(&s.t, |h| h.t).is_err());
    }

    /// Forgets the first `count` chunks.
    pub(crate) fn drop_written(&mut self, count: usize) {
        self.written.drain(..count.min(self.written.len()));
        self.written.shrink_to_fit();
    }

    /// The times of the oldest and the newest sample.
    pub(crate) fn time_range(&self) -> Option<(TimestampMs, TimestampMs)> {
        let buffer = self.buffer_range();
        let all = self.written.iter().map(|w| (w.min, w.max)).chain(buffer);
        all.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    fn buffer_range(&self) -> Option<(TimestampMs, TimestampMs)> {
        Some((self.buffer.first()?.t, self.buffer.last()?.t))
    }

    /// Whether a chunk or the buffer overlaps the range.
    pub(crate) fn overlaps(&self, range: TimeRange) -> bool {
        let written = self.written.iter().map(|w| (w.min, w.max));
        written.chain(self.buffer_range()).any(|(min, max)| range.overlaps(min, max))
    }

    /// The end of what overlaps the range, at most its own.
    pub(crate) fn newest_in(&self, range: TimeRange) -> Option<TimestampMs> {
        let all = self.written.iter().map(|w| (w.min, w.max)).chain(self.buffer_range());
        all.filter(|(min, max)| range.overlaps(*min, *max)).map(|(_, max)| max.min(range.max)).max()
    }

    /// Appends what overlaps the range, what was there first in front.
    pub(crate) fn chunks(&self, range: TimeRange, read: ReadChunk<'_>, out: &mut Vec<Chunk>) -> Result<(), QueryError> {
        self.first_chunks(self.written.len(), range, read, out)?;
        if self.buffer_range().is_some_and(|(min, max)| range.overlaps(min, max)) {
            out.extend(self.encode().into_iter().filter(|c| range.overlaps(c.min, c.max)));
        }
        Ok(())
    }

    /// As [`OooSeries::chunks`], of the first `count` chunks only and without the buffer.
    pub(crate) fn first_chunks(
        &self,
        count: usize,
        range: TimeRange,
        read: ReadChunk<'_>,
        out: &mut Vec<Chunk>,
    ) -> Result<(), QueryError> {
        for &Written { place, min, max } in self.written.iter().take(count).filter(|w| range.overlaps(w.min, w.max)) {
            let (encoding, data) = read(place)?;
            out.push(Chunk { min, max, encoding, data });
        }
        Ok(())
    }
}
