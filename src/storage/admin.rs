//! What an operator may do to a store, and how it fares.

use super::{QueryError, Selector, TimeRange};
use crate::model::TimestampMs;
use crate::storage::AppendError;

/// A name and how often it is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Count {
    /// A label's name, a metric's, or `name=value` of a pair.
    pub name: String,
    /// Series, values or bytes.
    pub count: u64,
}

/// What is in memory, and which names and values make it large. Lists are descending by count, equal ones by name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HeadStatistics {
    /// Series.
    pub series: u64,
    /// Different label pairs.
    pub label_pairs: u64,
    /// Chunks.
    pub chunks: u64,
    /// The oldest and the newest sample; `None` without samples.
    pub times: Option<(TimestampMs, TimestampMs)>,
    /// Series by metric name.
    pub series_by_metric: Vec<Count>,
    /// Different values by label name.
    pub values_by_label: Vec<Count>,
    /// Bytes of the label's names and values over all series, each series counted, by label name.
    pub bytes_by_label: Vec<Count>,
    /// Series by label pair.
    pub series_by_pair: Vec<Count>,
}

/// How far the write-ahead log has been read at start: numbers of its segments, all 0 before the reading begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReplayStatus {
    /// The first.
    pub min: u32,
    /// The last.
    pub max: u32,
    /// The one read last.
    pub current: u32,
}

/// Why an operation on a store failed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// It could not be written.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// What it needed could not be read.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// Something else, told in a sentence.
    #[error("{0}")]
    Failed(String),
}

/// A store that can be told to forget, to tidy up and to be copied; as in Prometheus's admin API.
pub trait Administrable: Send + Sync {
    /// Marks the samples in `range` of the series that satisfy any of `selectors` as deleted. They are not read any more
    /// and leave the disk with the next rewriting of their blocks.
    fn delete(&self, selectors: &[Selector], range: TimeRange) -> Result<(), AdminError>;

    /// Rewrites blocks without what was deleted from them.
    fn clean_tombstones(&self) -> Result<(), AdminError>;

    /// Copies all blocks, and with `with_head` what is in memory too, into a new directory below the store's
    /// `snapshots/`; returns its name.
    fn snapshot(&self, with_head: bool) -> Result<String, AdminError>;

    /// Why the store takes no more samples; `None` while it does.
    fn trouble(&self) -> Option<String>;

    /// What is in memory; lists of at most `limit` entries.
    fn statistics(&self, limit: usize) -> Result<HeadStatistics, AdminError>;

    /// The description of each block as a JSON object with the keys of `meta.json`, oldest first.
    fn block_descriptions(&self) -> Result<Vec<String>, AdminError>;

    /// How far the log has been read; also answered by a store that is still being opened.
    fn replay_status(&self) -> ReplayStatus;
}
