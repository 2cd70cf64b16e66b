//! Taking samples out of chunks.

use super::{Buildable, decode_mixed, holds_floats, push_range};
use crate::model::TimestampMs;
use crate::storage::{Chunk, ChunkBuilder, Columns, DecodeError, TimeRange, decode_into};

/// What remains of a chunk without the samples in the given intervals: nothing, the chunk as it is, or what is left,
/// encoded anew as one chunk. Two come out only where the remaining histograms cannot share one. A counter's remaining
/// histograms open their chunk without a word on resets: the sample that it was judged by may be gone.
pub fn without(chunk: Chunk, removed: &[TimeRange]) -> Result<Vec<Chunk>, DecodeError> {
    let covers = |r: &TimeRange| r.min <= chunk.min && chunk.max <= r.max;
    if removed.iter().any(covers) {
        return Ok(Vec::new());
    }
    let touching: Vec<TimeRange> = removed.iter().copied().filter(|r| r.overlaps(chunk.min, chunk.max)).collect();
    if touching.is_empty() {
        return Ok(vec![chunk]);
    }
    let left = match holds_floats(&chunk) {
        true => left_of(&chunk, &touching, decode_into)?,
        false => left_of(&chunk, &touching, decode_mixed)?,
    };
    Ok(left.unwrap_or_else(|| vec![chunk]))
}

/// The part of a chunk that lies in the range.
pub fn clip(chunk: Chunk, range: TimeRange) -> Result<Vec<Chunk>, DecodeError> {
    let before = range.min.0.checked_sub(1).map(|max| TimeRange { min: TimestampMs::MIN, max: TimestampMs(max) });
    let after = range.max.0.checked_add(1).map(|min| TimeRange { min: TimestampMs(min), max: TimestampMs::MAX });
    let outside: Vec<TimeRange> = before.into_iter().chain(after).collect();
    without(chunk, &outside)
}

/// `None` if none of the samples goes.
fn left_of<V: Buildable>(
    chunk: &Chunk,
    removed: &[TimeRange],
    decode: impl Fn(&Chunk, &mut Columns<V>) -> Result<(), DecodeError>,
) -> Result<Option<Vec<Chunk>>, DecodeError> {
    let mut columns = Columns::default();
    decode(chunk, &mut columns)?;
    let stays = |t: i64| !removed.iter().any(|r| r.contains(TimestampMs(t)));
    if columns.times.iter().all(|t| stays(*t)) {
        return Ok(None);
    }
    let mut builder = ChunkBuilder::uncut().in_place_of([chunk]);
    for i in (0..columns.times.len()).filter(|i| stays(columns.times[*i])) {
        push_range(&mut builder, &columns, i..i + 1)?;
    }
    Ok(Some(builder.finish()))
}
