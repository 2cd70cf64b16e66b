//! The `watershed` binary.

use std::process::ExitCode;

/// The system's allocator fragments under churn of series; see the `mimalloc` feature.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    without_huge_pages();
    watershed::cli::main()
}

/// A huge page is resident as a whole once one byte of it is used; small objects spread over many of them would cost
/// several times their size. `no_thp` only keeps the allocator from asking for them; some systems give them unasked.
fn without_huge_pages() {
    #[cfg(target_os = "linux")]
    // A kernel that does not know the call gives more memory, and that is all.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}
