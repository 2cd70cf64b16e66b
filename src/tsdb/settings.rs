//! What can be changed while the store runs.

use crate::model::DurationMs;

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
