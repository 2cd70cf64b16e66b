//! What functions compute.

pub(crate) mod histogram;
pub(crate) mod quantile;
pub(crate) mod range;
