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
    /// More samples than allowed.
    #[error("the query would load more than {0} samples into memory")]
    Samples(u64),
    /// More bytes than allowed.
    #[error("the query would need more than {0} bytes of memory")]
    Bytes(u64),
}

/// The bounds of one read, shared by everything that works on it.
#[derive(Clone, Debug)]
pub struct Scope {
    inner: Arc<Inner>,
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
}

impl Scope {
    /// A scope without bounds, for tests and internal work.
    pub fn unbounded() -> Scope {
        Scope::new(None, u64::MAX, u64::MAX)
    }

    /// A scope that ends at `deadline` and may load `max_samples` samples and hold `max_bytes` bytes.
    pub fn new(deadline: Option<Instant>, max_samples: u64, max_bytes: u64) -> Scope {
        let inner = Inner {
            deadline,
            cancelled: AtomicBool::new(false),
            max_samples,
            max_bytes,
            samples: AtomicU64::new(0),
            peak_samples: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        };
        Scope { inner: Arc::new(inner) }
    }

    /// Tells everyone who works on the read to stop.
    pub fn cancel(&self) {
        self.inner.cancelled.store(true, Ordering::Relaxed);
    }

    /// Fails once the read has been cancelled or its deadline is over. Ask once per batch.
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.inner.cancelled.load(Ordering::Relaxed) {
            return Err(Cancelled::Client);
        }
        match self.inner.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(Cancelled::Deadline),
            _ => Ok(()),
        }
    }

    /// Charges what a batch has loaded.
    pub fn charge(&self, samples: u64, bytes: u64) -> Result<(), Cancelled> {
        let inner = &self.inner;
        let held = inner.samples.fetch_add(samples, Ordering::Relaxed).saturating_add(samples);
        inner.peak_samples.fetch_max(held, Ordering::Relaxed);
        if held > inner.max_samples {
            return Err(Cancelled::Samples(inner.max_samples));
        }
        if inner.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > inner.max_bytes {
            return Err(Cancelled::Bytes(inner.max_bytes));
        }
        Ok(())
    }

    /// Gives back what is no longer held.
    pub fn release(&self, samples: u64, bytes: u64) {
        self.inner.samples.fetch_sub(samples, Ordering::Relaxed);
        self.inner.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Most samples that were held at a time.
    pub fn peak_samples(&self) -> u64 {
        self.inner.peak_samples.load(Ordering::Relaxed)
    }
}
