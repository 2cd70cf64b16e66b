//! A series of floats that is being encoded.

use crate::model::TimestampMs;
use crate::storage::chunk::CHUNK_SAMPLES;
use crate::storage::chunk::xor::XorState;
use crate::storage::{Chunk, Encoding};

/// A chunk larger than this is closed before the next sample: 1 KiB less one sample.
const MAX_CHUNK_BYTES: usize = 1024 - 19;

/// A series' chunks, cut as the head of the reference cuts them.
#[derive(Default)]
pub(super) struct Growing {
    state: XorState,
    bytes: Vec<u8>,
    start: i64,
    /// When the open chunk is to be closed.
    end: i64,
    closed: Vec<Chunk>,
}

/// Why a sample is not taken.
#[derive(Clone, Copy, PartialEq, Debug, thiserror::Error)]
pub(super) enum Misplaced {
    #[error("the sample at {t} comes after the one at {newest}; the lines of a series must ascend by time")]
    OutOfOrder { t: i64, newest: i64 },
    #[error("another value for the time {0}")]
    Duplicate(i64),
}

impl Growing {
    /// Takes the next sample; one that is there already, to the bit, changes nothing. No chunk crosses a multiple of
    /// `range`.
    pub(super) fn push(&mut self, t: i64, v: f64, range: i64) -> Result<(), Misplaced> {
        if self.state.count() > 0 {
            let (newest, last) = self.state.last();
            if t < newest {
                return Err(Misplaced::OutOfOrder { t, newest });
            }
            if t == newest {
                return if v.to_bits() == last.to_bits() { Ok(()) } else { Err(Misplaced::Duplicate(t)) };
            }
            if self.is_due(t, newest) {
                self.close();
            }
        }
        if self.state.count() == 0 {
            self.start = t;
            self.end = (t / range).saturating_mul(range).saturating_add(range);
        }
        self.state.append(&mut self.bytes, t, v);
        Ok(())
    }

    /// Whether the open chunk must be closed before a sample at `t`.
    fn is_due(&mut self, t: i64, newest: i64) -> bool {
        let count = self.state.count();
        if count == CHUNK_SAMPLES / 4 {
            // A quarter is there: what is left of the range is spread evenly over chunks.
            let length = self.end.wrapping_sub(self.start) as f64;
            let chunks = (length / (newest.wrapping_sub(self.start).wrapping_add(1) as f64 * 4.0)).floor();
            if chunks > 1.0 {
                self.end = (self.start as f64 + length / chunks) as i64;
            }
        }
        t >= self.end || count >= 2 * CHUNK_SAMPLES || self.bytes.len() > MAX_CHUNK_BYTES
    }

    fn close(&mut self) {
        let (min, max) = (TimestampMs(self.start), TimestampMs(self.state.last().0));
        let data = std::mem::take(&mut self.bytes).into();
        self.closed.push(Chunk { min, max, encoding: Encoding::Xor, data });
        self.state = XorState::new();
    }

    /// The chunks, ascending by time.
    pub(super) fn finish(mut self) -> Vec<Chunk> {
        if self.state.count() > 0 {
            self.close();
        }
        self.closed
    }
}
