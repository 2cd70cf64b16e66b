//! What functions compute.
//!
//! [`range`] works on windows of samples, [`instant`] on values at one step, `histogram_calls` on histograms of either kind;
//! [`quantile`] and [`histogram`] are the arithmetic under it. How series get here, and where they go, is `exec`'s business.

pub(crate) mod histogram;
mod histogram_calls;
pub(crate) mod instant;
pub(crate) mod quantile;
pub(crate) mod range;
pub(crate) mod signatures;
