//! The three hands one after the other, or all at once.

use std::io;
use std::sync::{Arc, mpsc};
use std::thread;

use super::batch::Batch;
use super::names::Names;
use super::read::{HandOn, Read};
use super::take::Taker;

/// Batches that wait between two threads, besides one that each of them has.
const WAITING: usize = 1;
/// Reading, which cannot be shared, keeps no more than so many busy.
const MAX_TAKERS: usize = 4;

/// Who does the work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::tsdb) enum Threads {
    /// The caller alone, one batch after the other.
    Inline,
    /// One that reads, the caller, and so many that put samples into series: one, two or four.
    Takers(usize),
}

impl Threads {
    /// What this machine, or the part of it that the process was given, is good for.
    pub(in crate::tsdb) fn available() -> Threads {
        match thread::available_parallelism().map_or(1, usize::from) {
            1 => Threads::Inline,
            2 | 3 => Threads::Takers(1),
            4..8 => Threads::Takers(2),
            _ => Threads::Takers(MAX_TAKERS),
        }
    }

    pub(super) fn takers(self) -> usize {
        match self {
            Threads::Inline => 1,
            Threads::Takers(count) => count.clamp(1, MAX_TAKERS),
        }
    }
}

/// Nobody takes batches any more.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("reading the log ended early")]
pub(super) struct Stopped;

impl From<Stopped> for io::Error {
    fn from(stopped: Stopped) -> io::Error {
        io::Error::other(stopped)
    }
}

/// A thread has panicked; the panic was logged.
fn panicked() -> io::Error {
    io::Error::other("reading the log failed unexpectedly; the log tells more")
}

/// Lets what `read` hands on pass through all hands, and returns what it returns.
pub(super) fn run(
    threads: Threads,
    read: impl FnOnce(HandOn<'_>) -> io::Result<Read> + Send,
    names: &mut Names<'_>,
    takers: &mut [Taker<'_>],
) -> io::Result<Read> {
    if threads != Threads::Inline {
        return thread::scope(|scope| run_threads(scope, read, names, takers));
    }
    read(&mut |batch| {
        names.name(batch);
        takers.iter_mut().for_each(|taker| taker.take(batch));
        batch.clear();
        Ok(())
    })
}

/// A batch that goes home empty when the last who holds it lets go, even in a panic: so whoever waits for an empty one
/// gets it.
struct OnLoan {
    batch: Batch,
    home: mpsc::Sender<Batch>,
}

impl Drop for OnLoan {
    fn drop(&mut self) {
        self.batch.clear();
        // Nobody is at home once all has been read.
        let _ = self.home.send(std::mem::take(&mut self.batch));
    }
}

/// The number of batches bounds the queues. Who has lost the next hand ends, and so do then all before and behind it.
fn run_threads<'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    read: impl FnOnce(HandOn<'_>) -> io::Result<Read> + Send + 'scope,
    names: &mut Names<'_>,
    takers: &'scope mut [Taker<'_>],
) -> io::Result<Read> {
    let (home, empty) = mpsc::channel();
    for _ in 0..takers.len() + 2 + WAITING {
        // The receiver is right here.
        let _ = home.send(Batch::default());
    }
    let (mut queues, mut ends) = (Vec::new(), Vec::new());
    for taker in takers {
        let (queue, batches) = mpsc::channel::<Arc<OnLoan>>();
        let take = move || batches.into_iter().for_each(|loan| taker.take(&loan.batch));
        ends.push(thread::Builder::new().name("replay-take".into()).spawn_scoped(scope, take)?);
        queues.push(queue);
    }
    let (filled, to_name) = mpsc::channel();
    let hand_on = move |batch: &mut Batch| {
        let next = empty.recv().map_err(|_| Stopped)?;
        let loan = OnLoan { batch: std::mem::replace(batch, next), home: home.clone() };
        filled.send(loan).map_err(|_| Stopped)
    };
    let reading = move || {
        let mut hand_on = hand_on;
        read(&mut hand_on)
    };
    let reader = thread::Builder::new().name("replay-read".into()).spawn_scoped(scope, reading)?;
    let is_taken = to_name.into_iter().all(|mut loan: OnLoan| {
        names.name(&mut loan.batch);
        let loan = Arc::new(loan);
        queues.iter().all(|queue| queue.send(loan.clone()).is_ok())
    });
    drop(queues);
    let read = reader.join();
    let all_ended = ends.into_iter().map(thread::ScopedJoinHandle::join).all(|end| end.is_ok());
    match read {
        Ok(read) if is_taken && all_ended => read,
        _ => Err(panicked()),
    }
}
