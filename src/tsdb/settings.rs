//! What can be changed while the store runs.

use crate::model::{DurationMs, TimestampMs};

/// Part of a store's configuration that takes effect without opening it anew.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Settings {
    /// How long blocks are kept.
    pub retention: Retention,
    /// How far behind the head's newest sample a sample may come and still be taken. Zero takes only what is newer than
    /// its series' newest.
    pub out_of_order_window: DurationMs,
    /// Exemplars kept in memory over all series; 0 keeps none.
    pub max_exemplars: usize,
    /// The share of the head's series, 0 to 1, that must have ended before they leave memory early; 0 leaves them.
    pub stale_series_threshold: f64,
    /// What becomes of start timestamps.
    pub starts: Starts,
    /// New chunks of floats are encoded as XOR2, also where no sample has a start timestamp. It takes less space;
    /// Prometheus 3.14 reads it, 3.5 does not.
    pub xor2: bool,
    /// New chunks of histograms have room for start timestamps, also where no sample has one.
    pub histogram_starts: bool,
}

/// What becomes of the start timestamps that samples come with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Starts {
    /// They are kept, in chunks and log records that Prometheus 3.14 reads and 3.5 does not; samples without any
    /// stay as they are.
    #[default]
    Keep,
    /// They are dropped when samples are appended. Those that files already hold stay.
    Drop,
}

impl Starts {
    /// What is kept of one; 0 for none.
    #[inline]
    pub(super) fn of(self, start: TimestampMs) -> i64 {
        match self {
            Starts::Keep => start.0,
            Starts::Drop => 0,
        }
    }
}

/// How long blocks are kept: until any of the limits is passed. Whole blocks go, oldest first.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Retention {
    /// A block goes once its newest sample is so much older than the newest block's end.
    pub time: Option<DurationMs>,
    /// Bytes of blocks, log and head chunks.
    pub bytes: Option<u64>,
    /// The same as a share of the file system, above 0 up to 100; wins over `bytes`.
    pub percentage: Option<f64>,
}
