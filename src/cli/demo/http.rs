//! The one small HTTP request that command-line tools need.

use std::io;

use crate::net::{Client, HttpClientConfig};

/// More than any answer that a tool asks for.
const BODY_MAX: u64 = 64 << 20;

/// A runtime for one tool: one thread, no more.
pub(in crate::cli) fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
