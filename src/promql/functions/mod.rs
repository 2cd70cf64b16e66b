//! What functions compute.

pub(crate) mod range;
pub mod signatures;
