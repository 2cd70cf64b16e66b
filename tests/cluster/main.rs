//! The cluster frontend through its public face.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests fail by panicking")]

#[path = "../promql/closeness.rs"]
mod closeness;
mod split;

/// The same data and expressions as in the tests of the language.
#[path = "../promql/fuzz"]
mod fuzz {
    pub mod data;
    pub mod expressions;
    pub mod random;
}
