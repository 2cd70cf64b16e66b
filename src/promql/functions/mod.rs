//! What functions compute.

pub(crate) mod range;
