//! The listener with its web config file as a whole process: real clients, the reference's own check of such files, and peers
//! that mean no good.

#![allow(clippy::print_stdout, clippy::expect_used, clippy::panic, reason = "helpers of tests fail by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod certificates;
mod clients;
mod files;
mod hostile;
