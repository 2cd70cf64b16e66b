//! What components run on: the clock, supervised tasks, the CPU pool.
//!
//! The law: async at the edges, straight synchronous loops in the middle. Work that computes for longer than some
//! hundred microseconds goes to the [`CpuPool`], never onto an async thread. Every spawned task has an owner
//! ([`Tasks`]) that notices its end. Wall-clock time comes from [`Clock`] so that tests can set it; intervals and
//! timeouts use `tokio::time`, which tests can pause.

mod clock;
mod pool;
mod tasks;

pub use clock::Clock;
pub use pool::{CpuPool, PoolError};
pub use tasks::Tasks;
