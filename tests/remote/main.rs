//! Remote write, remote read and federation over HTTP, against real peers and hostile ones.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests fail by panicking")]

mod federate;
mod otlp;
#[path = "../support/mod.rs"]
mod support;

mod read;
mod write;
