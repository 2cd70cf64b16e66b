//! Making blocks: of the head, and of other blocks.
//!
//! * [`write_block`] makes a block of any stream of series.
//! * [`plan`] chooses which blocks to make one of, by their descriptions alone: those that overlap, those that fill a
//!   longer range, those of which much is deleted. It is the reference's levelled plan.
//! * [`Compactor`] carries plans out on the [`Blocks`](super::blocks::Blocks) of a data directory.
//!
//! The laws:
//! * A compaction changes no sample that is not deleted. Chunks of blocks that do not overlap pass through byte by byte.
//! * The sources are deleted after the new block is durable and open. The new block names them as its parents, so that
//!   a crash in between leaves nothing twice: whoever opens the directory deletes parents.
//! * Memory holds a batch of series of each source, and the new block's index.
//!
//! What it does not do: it never decides when to run, and deletes nothing because of its age or size (`retention`).

mod plan;
mod rewrite;
mod run;
mod write;

pub use plan::{Plan, Reason, block_ranges, plan};
pub use rewrite::clean_tombstones;
pub use run::{Compactor, compact};
pub use write::{CompactError, write_block};

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod tests;
