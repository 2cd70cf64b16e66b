//! What the integration tests share: real servers as child processes, scripted targets, an HTTP client and a reader of
//! the exposition format.
//!
//! Nothing in here uses the crate under test: a mistake of ours must not be able to judge itself.

#![allow(dead_code, reason = "every test file compiles its own copy and uses a part of it")]
#![allow(clippy::print_stdout, clippy::expect_used, clippy::panic, reason = "helpers of tests fail by panicking")]

pub mod exposition;
pub mod http;
pub mod peers;
pub mod process;
pub mod proxy;
pub mod remote_write;
pub mod target;

use std::time::{Duration, Instant};

/// Polls until `check` says `Ok`, and gives its value.
///
/// # Panics
///
/// After `limit`, with what `check` said last: the deadline is only there so that a broken server ends the test.
pub fn wait_for<T, E: std::fmt::Display>(what: &str, limit: Duration, mut check: impl FnMut() -> Result<T, E>) -> T {
    let start = Instant::now();
    loop {
        match check() {
            Ok(value) => return value,
            Err(reason) if start.elapsed() > limit => panic!("waited {limit:?} for {what}: {reason}"),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// Wall-clock time in milliseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "tests of whole processes live in real time")]
pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock after 1970");
    i64::try_from(since.as_millis()).expect("a time that fits")
}
