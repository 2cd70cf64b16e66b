//! A series of floats that is being encoded.

use crate::model::TimestampMs;
use crate::storage::chunk::cut::{GrowingFloats, range_end};
use crate::storage::chunk::xor::XorState;
use crate::storage::{Chunk, Encoding};

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
            let open = GrowingFloats { count: self.state.count(), bytes: self.bytes.len(), start: self.start, newest };
            if open.is_due(t, &mut self.end) {
                self.close();
            }
        }
        if self.state.count() == 0 {
            self.start = t;
            self.end = range_end(t, range);
        }
        self.state.append(&mut self.bytes, t, v);
        Ok(())
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
