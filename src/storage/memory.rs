//! The reference implementation in memory.
