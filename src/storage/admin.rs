//! What an operator may do to a store, and how it fares.

use super::{QueryError, Selector, TimeRange};
use crate::storage::AppendError;

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
}
