//! The `watershed` binary.

use std::process::ExitCode;

/// The system's allocator fragments under churn of series; see the `mimalloc` feature.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    watershed::cli::main()
}
