//! The HTTP API, by version.

pub(super) mod v1;
