//! The open chunk of a series where it is none of plain floats, and how chunks are opened.

use super::histogram_chunk::OpenHistogram;
use crate::storage::Encoding;
use crate::storage::chunk::cut;
use crate::storage::chunk::xor2::Xor2State;

/// How chunks are opened. A sample with a start timestamp opens one that has room for it whatever this says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ChunkRule {
    /// No chunk crosses a multiple of it, in milliseconds.
    pub(crate) range: i64,
    /// All floats are encoded as XOR2.
    pub(crate) xor2: bool,
    /// All chunks of histograms have room for start timestamps.
    pub(crate) histogram_starts: bool,
}

impl ChunkRule {
    /// Where the range that `t` lies in ends.
    pub(super) fn range_end(self, t: i64) -> i64 {
        cut::range_end(t, self.range)
    }
}

/// Encoder of an open chunk. Its bytes lie in the series.
#[derive(Debug)]
pub(super) enum Open {
    /// Of floats with room for start timestamps.
    Floats(Xor2State),
    /// Boxed once more because it is several times as large.
    Histogram(Box<OpenHistogram>),
}

impl Open {
    pub(super) fn last_t(&self) -> i64 {
        match self {
            Open::Floats(state) => state.last().0,
            Open::Histogram(open) => open.last_t(),
        }
    }

    pub(super) fn count(&self) -> u16 {
        match self {
            Open::Floats(state) => state.count(),
            Open::Histogram(open) => open.count(),
        }
    }

    pub(super) fn encoding(&self) -> Encoding {
        match self {
            Open::Floats(_) => Encoding::Xor2,
            Open::Histogram(open) => open.encoding(),
        }
    }
}
