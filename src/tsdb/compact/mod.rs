//! Making blocks: of the head, and of other blocks.

mod plan;
mod write;

pub use plan::{Plan, Reason, block_ranges, max_block_duration, plan};
pub use write::{CompactError, write_block};
