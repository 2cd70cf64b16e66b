//! The gateway as a process, between clients and backends of our own, and between real servers.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests fail by panicking")]

mod backends;
mod balance;
mod bounds;
mod client;
mod connections;
mod door;
mod hostile;
mod names;
mod people;
mod raw;
mod real;
mod routes;
#[path = "../support/mod.rs"]
mod support;
mod websocket;

use std::sync::LazyLock;

use tokio::runtime::Runtime;

/// Backends and clients of all tests.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("threads"));
