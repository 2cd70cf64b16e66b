//! Threads for work that computes.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

/// What the standard library gives a thread.
const STACK: usize = 2 << 20;

type Job = Box<dyn FnOnce() + Send>;

/// A fixed set of named threads; cloning gives another handle to the same ones. [`CpuPool::inline`] is the
/// single-threaded twin, for tests and for jobs that are too short for a thread: it runs each job where it is submitted.
///
/// A job that was handed over always runs, even if the future that waits for it is dropped. A job goes to the thread that
/// fell idle last, whose stack, allocator and caches are warm, and wakes no other.
#[derive(Clone)]
pub struct CpuPool(Option<Arc<Handle>>);

/// What all clones of a pool share; the threads end when it is dropped and no job is left.
struct Handle(Arc<Desk>);

impl Drop for Handle {
    fn drop(&mut self) {
        let mut queue = self.0.0.lock();
        queue.is_closed = true;
        for thread in queue.idle.drain(..) {
            thread.notify_one();
        }
    }
}

/// Where jobs wait for threads, and threads for jobs.
#[derive(Default)]
struct Desk(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// What wakes each idle thread; the one that has been idle longest is the first.
    idle: Vec<Arc<Condvar>>,
    is_closed: bool,
}

impl Desk {
    fn put(&self, job: Job) {
        let mut queue = self.0.lock();
        queue.jobs.push_back(job);
        let idle = queue.idle.pop();
        // Whom it wakes wants the lock.
        drop(queue);
        if let Some(thread) = idle {
            thread.notify_one();
        }
    }

    /// The next job; `None` once there will be none any more.
    fn take(&self, wake: &Arc<Condvar>) -> Option<Job> {
        let mut queue = self.0.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            if queue.is_closed {
                return None;
            }
            queue.idle.push(wake.clone());
            wake.wait(&mut queue);
        }
    }
}

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
        let desk: Arc<Desk> = Arc::default();
        // Made first, so that the threads that could be started end if one cannot.
        let pool = CpuPool(Some(Arc::new(Handle(desk.clone()))));
        for i in 0..threads.max(1) {
            let (desk, wake) = (desk.clone(), Arc::default());
            thread::Builder::new().name(format!("{name}-{i}")).stack_size(stack).spawn(move || {
                while let Some(job) = desk.take(&wake) {
                    job();
                }
            })?;
        }
        Ok(pool)
    }

    /// A pool without threads.
    pub fn inline() -> CpuPool {
        CpuPool(None)
    }

    /// Runs `work` on the pool and waits for nothing: who wants a result has `work` send it. A panic is logged.
    pub fn start(&self, work: impl FnOnce() + Send + 'static) {
        self.put(move || {
            if catch_unwind(AssertUnwindSafe(work)).is_err() {
                tracing::error!("{}", PoolError::Panicked);
            }
        });
    }

    /// Runs `work` on the pool. Dropping the future does not stop the work.
    pub async fn run<R: Send + 'static>(&self, work: impl FnOnce() -> R + Send + 'static) -> Result<R, PoolError> {
        let (done, result) = oneshot::channel();
        self.put(move || {
            let outcome = catch_unwind(AssertUnwindSafe(work)).map_err(|_| PoolError::Panicked);
            // The receiver may be gone; then nobody wants the result.
            drop(done.send(outcome));
        });
        result.await.unwrap_or(Err(PoolError::Stopped))
    }

    fn put(&self, job: impl FnOnce() + Send + 'static) {
        match &self.0 {
            None => job(),
            Some(handle) => handle.0.put(Box::new(job)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Barrier, mpsc};

    use super::*;

    #[tokio::test]
    async fn a_panicking_job_is_an_error_and_the_thread_goes_on() {
        let pool = CpuPool::new("test", 1).expect("threads can be started");
        assert_eq!(pool.run(|| panic!("on purpose")).await, Err::<(), _>(PoolError::Panicked));
        assert_eq!(pool.run(|| 7).await, Ok(7));
        assert_eq!(CpuPool::inline().run(|| 8).await, Ok(8));
    }

    #[test]
    fn jobs_handed_over_before_the_last_handle_goes_all_run_on_as_many_threads_as_there_are() {
        let pool = CpuPool::new("test", 2).expect("threads can be started");
        let (done, results) = mpsc::channel();
        // Two that wait for each other need two threads; the rest waits meanwhile.
        let meeting = Arc::new(Barrier::new(2));
        for job in 0..10 {
            let (done, meeting) = (done.clone(), meeting.clone());
            pool.start(move || {
                meeting.wait();
                let _ = done.send(job);
            });
        }
        drop((pool, done));
        let mut ran: Vec<i32> = results.iter().collect();
        ran.sort_unstable();
        assert_eq!(ran, Vec::from_iter(0..10));
    }

    #[tokio::test]
    async fn a_job_goes_to_the_thread_that_fell_idle_last() {
        let pool = CpuPool::new("test", 4).expect("threads can be started");
        let Some(Handle(desk)) = pool.0.as_deref() else { unreachable!("it has threads") };
        let mut last = None;
        for _ in 0..20 {
            // A job tells its result a moment before its thread is idle.
            while desk.0.lock().idle.len() < 4 {
                thread::yield_now();
            }
            let id = pool.run(|| thread::current().id()).await.ok();
            assert!(last.is_none() || last == id);
            last = id;
        }
    }
}
