//! The store as a whole, through its public face: against a model, against crashes at every step, against kills.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests fail by panicking")]

mod corrupt;
mod crash;
mod full;
mod kill;
mod model;
mod power;
mod samples;
