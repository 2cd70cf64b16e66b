//! The keys of samples in records of the second version: series, times and start timestamps.
//!
//! The first key stands there as three varints. The others say the reference as a distance from the sample before, the
//! time as one from the first sample, and the start by a marker.

use super::{Cursor, RecordError, push_varint};

/// The sample has no start.
const NONE: u8 = 0;
/// Its start is that of the sample before.
const SAME: u8 = 1;
/// Its start follows as a distance from that of the first sample.
const OTHER: u8 = 2;

/// Writes the keys of one record.
#[derive(Clone, Copy, Debug)]
pub(super) struct StartsEncoder {
    first_t: i64,
    first_start: i64,
    series: u64,
    start: i64,
}

impl StartsEncoder {
    /// Writes the first key.
    pub(super) fn open(out: &mut Vec<u8>, series: u64, t: i64, start: i64) -> StartsEncoder {
        [series.cast_signed(), t, start].into_iter().for_each(|v| push_varint(out, v));
        StartsEncoder { first_t: t, first_start: start, series, start }
    }

    /// Writes another.
    pub(super) fn push_key(&mut self, out: &mut Vec<u8>, series: u64, t: i64, start: i64) {
        push_varint(out, series.wrapping_sub(self.series).cast_signed());
        push_varint(out, t.wrapping_sub(self.first_t));
        match start {
            0 => out.push(NONE),
            start if start == self.start => out.push(SAME),
            start => {
                out.push(OTHER);
                push_varint(out, start.wrapping_sub(self.first_start));
            }
        }
        (self.series, self.start) = (series, start);
    }
}

/// Reads the keys of one record.
#[derive(Clone, Copy, Debug)]
pub(super) struct StartsDecoder {
    /// The first key has not been asked for.
    at_first: bool,
    first_t: i64,
    first_start: i64,
    series: u64,
    start: i64,
}

impl StartsDecoder {
    /// Reads the first key, which [`next`](Self::next) answers first.
    pub(super) fn open(cursor: &mut Cursor<'_>) -> Result<StartsDecoder, RecordError> {
        let series = cursor.varint("the first reference")?.cast_unsigned();
        let first_t = cursor.varint("the first time")?;
        let start = cursor.varint("the first start time")?;
        Ok(StartsDecoder { at_first: true, first_t, first_start: start, series, start })
    }

    /// Series, time and start of the next sample; 0 for no start.
    pub(super) fn next(&mut self, cursor: &mut Cursor<'_>) -> Result<(u64, i64, i64), RecordError> {
        if std::mem::take(&mut self.at_first) {
            return Ok((self.series, self.first_t, self.start));
        }
        self.series = self.series.wrapping_add_signed(cursor.varint("a reference")?);
        let t = self.first_t.wrapping_add(cursor.varint("a time")?);
        self.start = match cursor.u8("a start time marker")? {
            NONE => 0,
            SAME => self.start,
            _ => self.first_start.wrapping_add(cursor.varint("a start time")?),
        };
        Ok((self.series, t, self.start))
    }
}
