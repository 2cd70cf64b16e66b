//! What bounds a read: deadline, budget, cancellation.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// Why a read must stop before its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Cancelled {
    /// Nobody waits for the answer any more.
    #[error("the client went away")]
    Client,
    /// The time allowed is over.
    #[error("the query's time is up")]
    Deadline,
    /// More series than allowed.
    #[error("the query would fetch more than {0} series")]
    Series(u64),
    /// More samples than allowed.
    #[error("the query would load more than {0} samples into memory")]
    Samples(u64),
    /// More bytes than allowed.
    #[error("the query would need more than {0} bytes of memory")]
    Bytes(u64),
    /// More bytes than are left of those for all queries.
    #[error("this query and those that run beside it would need more than {0} bytes of memory")]
    AllBytes(u64),
}

/// Bytes that all reads together may hold.
#[derive(Debug)]
pub struct ByteBudget {
    max: u64,
    held: AtomicU64,
}

impl ByteBudget {
    /// A budget of which nothing is used.
    pub fn new(max: u64) -> ByteBudget {
        ByteBudget { max, held: AtomicU64::new(0) }
    }

    /// Bytes that are held now.
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }
}

/// The bounds of one read, shared by everything that works on it.
#[derive(Clone, Debug)]
pub struct Scope {
    inner: Arc<Inner>,
    /// Stops this handle and its clones, and no others.
    stop: Option<Arc<AtomicBool>>,
}

#[derive(Debug)]
struct Inner {
    deadline: Option<Instant>,
    cancelled: AtomicBool,
    max_samples: u64,
    max_bytes: u64,
    samples: AtomicU64,
    peak_samples: AtomicU64,
    bytes: AtomicU64,
    shared: Option<Arc<ByteBudget>>,
    /// What it is a part of.
    whole: Option<Scope>,
    /// Whether the whole goes on holding what this held.
    is_kept: AtomicBool,
}

impl Drop for Inner {
    /// What a read that was given up had not released.
    fn drop(&mut self) {
        if let Some(whole) = self.whole.as_ref().filter(|_| !self.is_kept.load(Ordering::Relaxed)) {
            whole.release(self.samples.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        }
        if let Some(shared) = &self.shared {
            take(&shared.held, self.bytes.load(Ordering::Relaxed));
        }
    }
}

impl Scope {
    /// A scope without bounds, for tests and internal work.
    pub fn unbounded() -> Scope {
        Scope::new(None, u64::MAX, u64::MAX)
    }

    /// A scope that ends at `deadline` and may load `max_samples` samples and hold `max_bytes` bytes.
    pub fn new(deadline: Option<Instant>, max_samples: u64, max_bytes: u64) -> Scope {
        Scope::within(None, deadline, max_samples, max_bytes)
    }

    /// As [`Scope::new`]; what it holds also counts against a budget that it shares with others. That is given back when
    /// the last handle to the scope is dropped.
    pub fn within(
        shared: Option<Arc<ByteBudget>>,
        deadline: Option<Instant>,
        max_samples: u64,
        max_bytes: u64,
    ) -> Scope {
        let inner = Inner {
            deadline,
            cancelled: AtomicBool::new(false),
            max_samples,
            max_bytes,
            samples: AtomicU64::new(0),
            peak_samples: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            shared,
            whole: None,
            is_kept: AtomicBool::new(false),
        };
        Scope { inner: Arc::new(inner), stop: None }
    }

    /// A scope within this one, which may end earlier and has no other bounds of its own. What it holds is held by this one,
    /// too, until the last handle to it is dropped, however its work ended, unless that is [kept](Scope::keep).
    pub fn within_this(&self, deadline: Option<Instant>) -> Scope {
        let inner = Inner {
            deadline,
            cancelled: AtomicBool::new(false),
            max_samples: u64::MAX,
            max_bytes: u64::MAX,
            samples: AtomicU64::new(0),
            peak_samples: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            shared: None,
            whole: Some(self.clone()),
            is_kept: AtomicBool::new(false),
        };
        Scope { inner: Arc::new(inner), stop: None }
    }

    /// Leaves what is held to the scope that this one is within, where it stays charged.
    pub fn keep(&self) {
        self.inner.is_kept.store(true, Ordering::Relaxed);
    }

    /// Tells everyone who works on the read to stop.
    pub fn cancel(&self) {
        self.inner.cancelled.store(true, Ordering::Relaxed);
    }

    /// The same scope for a part of the work that is also stopped by setting `stop`, while the rest goes on.
    pub fn part(&self, stop: Arc<AtomicBool>) -> Scope {
        Scope { inner: self.inner.clone(), stop: Some(stop) }
    }

    /// Fails once the read has been cancelled or its deadline is over. Ask once per batch.
    pub fn check(&self) -> Result<(), Cancelled> {
        let is_stopped = self.stop.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed));
        if is_stopped || self.inner.cancelled.load(Ordering::Relaxed) {
            return Err(Cancelled::Client);
        }
        if let Some(whole) = &self.inner.whole {
            whole.check()?;
        }
        match self.inner.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(Cancelled::Deadline),
            _ => Ok(()),
        }
    }

    /// When it ends.
    pub fn deadline(&self) -> Option<Instant> {
        let of_whole = self.inner.whole.as_ref().and_then(Scope::deadline);
        self.inner.deadline.into_iter().chain(of_whole).min()
    }

    /// Bytes that it may still hold.
    pub fn bytes_left(&self) -> u64 {
        let left = self.inner.max_bytes.saturating_sub(self.inner.bytes.load(Ordering::Relaxed));
        self.inner.whole.as_ref().map_or(left, |whole| whole.bytes_left().min(left))
    }

    /// Charges what a batch has loaded. It counts as held even if that is too much, until it is released.
    pub fn charge(&self, samples: u64, bytes: u64) -> Result<(), Cancelled> {
        let inner = &self.inner;
        let add = |held: &AtomicU64, more: u64| held.fetch_add(more, Ordering::Relaxed).saturating_add(more);
        let held_samples = add(&inner.samples, samples);
        let held_bytes = add(&inner.bytes, bytes);
        inner.peak_samples.fetch_max(held_samples, Ordering::Relaxed);
        if let Some(whole) = &inner.whole {
            return whole.charge(samples, bytes);
        }
        let all_bytes = inner.shared.as_ref().map(|shared| (add(&shared.held, bytes), shared.max));
        if held_samples > inner.max_samples {
            return Err(Cancelled::Samples(inner.max_samples));
        }
        if held_bytes > inner.max_bytes {
            return Err(Cancelled::Bytes(inner.max_bytes));
        }
        match all_bytes {
            Some((held, max)) if held > max => Err(Cancelled::AllBytes(max)),
            _ => Ok(()),
        }
    }

    /// Gives back what is no longer held.
    pub fn release(&self, samples: u64, bytes: u64) {
        let samples = take(&self.inner.samples, samples);
        let bytes = take(&self.inner.bytes, bytes);
        if let Some(shared) = &self.inner.shared {
            take(&shared.held, bytes);
        }
        if let Some(whole) = &self.inner.whole {
            whole.release(samples, bytes);
        }
    }

    /// Charges bytes for as long as what is returned is kept.
    pub fn hold(&self, bytes: u64) -> Result<Held, Cancelled> {
        let held = Held { scope: self.clone(), bytes };
        self.charge(0, bytes).map(|()| held)
    }

    /// Most samples that were held at a time.
    pub fn peak_samples(&self) -> u64 {
        self.inner.peak_samples.load(Ordering::Relaxed)
    }
}

/// Bytes that are charged to a scope until this is dropped.
#[derive(Debug)]
#[must_use]
pub struct Held {
    scope: Scope,
    bytes: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.scope.release(0, self.bytes);
    }
}

/// Takes off at most what is there, and says how much that was: giving back too much must not open a limit for others.
fn take(held: &AtomicU64, amount: u64) -> u64 {
    let less = |held: u64| Some(held.saturating_sub(amount));
    // The closure always returns a value, so the update cannot fail.
    let before = held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).unwrap_or_default();
    before.min(amount)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_is_stopped_at_its_own_limits_and_at_those_of_all() {
        let all = Arc::new(ByteBudget::new(100));
        let scope = |samples, bytes| Scope::within(Some(all.clone()), None, samples, bytes);
        assert_eq!(scope(5, 80).charge(6, 10), Err(Cancelled::Samples(5)));
        assert_eq!(scope(5, 80).charge(1, 81), Err(Cancelled::Bytes(80)));
        let (first, second) = (scope(5, 80), scope(5, 80));
        assert_eq!((first.charge(1, 60), second.charge(1, 40)), (Ok(()), Ok(())));
        assert_eq!(second.charge(1, 1), Err(Cancelled::AllBytes(100)));
        drop(first);
        assert_eq!((all.held(), second.charge(0, 39)), (41, Ok(())));
    }

    #[test]
    fn a_part_of_the_work_is_stopped_alone_and_with_the_whole() {
        let (whole, stop) = (Scope::unbounded(), Arc::new(AtomicBool::new(false)));
        let (first, second) = (whole.part(stop.clone()), whole.part(Arc::default()));
        first.charge(1, 10).unwrap();
        assert_eq!((first.check(), whole.peak_samples()), (Ok(()), 1));
        stop.store(true, Ordering::Relaxed);
        assert_eq!((first.check(), second.check(), whole.check()), (Err(Cancelled::Client), Ok(()), Ok(())));
        whole.cancel();
        assert_eq!(second.check(), Err(Cancelled::Client));
    }

    #[test]
    fn a_scope_within_another_has_its_bounds_and_gives_back_what_it_held() {
        let all = Arc::new(ByteBudget::new(100));
        let whole = Scope::within(Some(all.clone()), None, 10, 80);
        whole.charge(1, 10).unwrap();
        let part = whole.within_this(None).within_this(None);
        assert_eq!((part.charge(3, 30), part.bytes_left(), all.held()), (Ok(()), 40, 40));
        assert_eq!(part.charge(7, 0), Err(Cancelled::Samples(10)));
        part.release(8, 50);
        assert_eq!((whole.bytes_left(), all.held()), (70, 10), "no more than it held");
        part.charge(2, 20).unwrap();
        drop(part);
        assert_eq!((whole.bytes_left(), all.held()), (70, 10));
        let kept = whole.within_this(None);
        kept.charge(2, 20).unwrap();
        kept.keep();
        drop(kept);
        assert_eq!(whole.bytes_left(), 50);
        let short = whole.within_this(Some(Instant::now()));
        assert_eq!((short.check(), whole.check()), (Err(Cancelled::Deadline), Ok(())));
        let part = whole.within_this(None);
        whole.cancel();
        assert_eq!(part.check(), Err(Cancelled::Client));
    }

    #[test]
    fn what_a_read_holds_is_given_back_once_and_not_more() {
        let all = Arc::new(ByteBudget::new(100));
        let scope = || Scope::within(Some(all.clone()), None, 10, 100);
        let (first, second) = (scope(), scope());
        first.charge(1, 30).unwrap();
        second.charge(1, 20).unwrap();
        first.release(5, 50);
        assert_eq!(all.held(), 20);
        let other_handle = second.clone();
        drop(second);
        assert_eq!(all.held(), 20);
        drop((first, other_handle));
        assert_eq!(all.held(), 0);
    }
}
