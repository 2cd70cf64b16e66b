//! PromQL as a whole, through its public face: scripts of the reference and of our own, a real Prometheus on the same data,
//! laws that hold for every expression, and queries that mean harm.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests fail by panicking")]

mod answer;
mod at;
mod closeness;
mod engine;
mod fuzz;
mod golden;
mod histograms;
mod hostile;
mod laws;
mod notation;
mod run;
mod script;
mod stores;
#[path = "../support/mod.rs"]
mod support;
mod text;
