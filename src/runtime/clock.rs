//! The wall clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::model::TimestampMs;

/// Tells what time it is; a manual one stands still until a test moves it.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<AtomicI64>>);

impl Clock {
    /// The machine's clock.
    pub fn system() -> Clock {
        Clock(None)
    }

    /// A clock that stands at `t`; its clones move with it.
    pub fn manual(t: TimestampMs) -> Clock {
        Clock(Some(Arc::new(AtomicI64::new(t.0))))
    }

    /// The current time.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the system")]
    pub fn now(&self) -> TimestampMs {
        match &self.0 {
            Some(t) => TimestampMs(t.load(Ordering::Acquire)),
            None => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                TimestampMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
            }
        }
    }

    /// Moves a manual clock; a system clock ignores it.
    pub fn set(&self, t: TimestampMs) {
        if let Some(manual) = &self.0 {
            manual.store(t.0, Ordering::Release);
        }
    }
}
