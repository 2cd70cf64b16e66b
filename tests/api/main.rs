//! The whole HTTP API beside a real Prometheus: both servers are processes on copies of one data directory and scrape the
//! same targets; every request of the table must get the same status, the same kind of error and the same JSON.
//!
//! [`table`] has the requests, [`differences`] what differs on purpose or by the peer's age, each with its reason: a line
//! there that no longer applies fails the test. [`compare`] masks what cannot be the same, as narrowly as it can.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests fail by panicking and tell what they did"
)]

mod compare;
mod differences;
mod federation;
mod secrets;
#[path = "../support/mod.rs"]
mod support;
mod table;
mod tools;
mod world;
