//! Making blocks: of the head, and of other blocks.

mod write;

pub use write::{CompactError, write_block};
