//! Threads for work that computes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// What the standard library gives a thread.
const STACK: usize = 2 << 20;

type Job = Box<dyn FnOnce() + Send>;

/// A fixed set of named threads; cloning gives another handle to the same ones. [`CpuPool::inline`] is the
/// single-threaded twin for tests: it runs each job where it is submitted.
///
/// A job that was handed over always runs, even if the future that waits for it is dropped.
#[derive(Clone)]
pub struct CpuPool(Option<mpsc::Sender<Job>>);

/// Why a job gave no result.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PoolError {
    /// The job panicked; the panic was logged and the thread goes on.
    #[error("a computation failed unexpectedly; the log tells more")]
    Panicked,
    /// The pool's threads are gone.
    #[error("the computation threads have stopped")]
    Stopped,
}

impl CpuPool {
    /// Starts `threads` threads named `name-0`, `name-1`, ...; they end when the last handle is dropped.
    pub fn new(name: &str, threads: usize) -> std::io::Result<CpuPool> {
        CpuPool::with_stack(name, threads, STACK)
    }

    /// As [`CpuPool::new`], for work that recurses deeply: each thread has a stack of `stack` bytes. They are only reserved;
    /// what is never reached costs no memory.
    pub fn with_stack(name: &str, threads: usize, stack: usize) -> std::io::Result<CpuPool> {
        let (sender, receiver) = mpsc::channel::<Job>();
        let receiver = Arc::new(Mutex::new(receiver));
        for i in 0..threads.max(1) {
            let receiver = receiver.clone();
            thread::Builder::new().name(format!("{name}-{i}")).stack_size(stack).spawn(move || {
                loop {
                    // The lock is held while waiting: exactly one idle thread takes the next job.
                    let job = receiver.lock().recv();
                    match job {
                        Ok(job) => job(),
                        Err(mpsc::RecvError) => return,
                    }
                }
            })?;
        }
        Ok(CpuPool(Some(sender)))
    }

    /// A pool without threads.
    pub fn inline() -> CpuPool {
        CpuPool(None)
    }

    /// Runs `work` on the pool and waits for nothing: who wants a result has `work` send it. A panic is logged.
    pub fn start(&self, work: impl FnOnce() + Send + 'static) -> Result<(), PoolError> {
        let job = move || {
            if catch_unwind(AssertUnwindSafe(work)).is_err() {
                tracing::error!("{}", PoolError::Panicked);
            }
        };
        match &self.0 {
            None => job(),
            Some(sender) => sender.send(Box::new(job)).map_err(|_| PoolError::Stopped)?,
        }
        Ok(())
    }

    /// Runs `work` on the pool. Dropping the future does not stop the work.
    pub async fn run<R: Send + 'static>(&self, work: impl FnOnce() -> R + Send + 'static) -> Result<R, PoolError> {
        let (done, result) = oneshot::channel();
        let job = move || {
            let outcome = catch_unwind(AssertUnwindSafe(work)).map_err(|_| PoolError::Panicked);
            // The receiver may be gone; then nobody wants the result.
            drop(done.send(outcome));
        };
        match &self.0 {
            None => job(),
            Some(sender) => sender.send(Box::new(job)).map_err(|_| PoolError::Stopped)?,
        }
        result.await.unwrap_or(Err(PoolError::Stopped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panicking_job_is_an_error_and_the_thread_goes_on() {
        let pool = CpuPool::new("test", 1).expect("threads can be started");
        assert_eq!(pool.run(|| panic!("on purpose")).await, Err::<(), _>(PoolError::Panicked));
        assert_eq!(pool.run(|| 7).await, Ok(7));
        assert_eq!(CpuPool::inline().run(|| 8).await, Ok(8));
    }
}
