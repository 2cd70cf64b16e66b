//! Which answers were short, and are computed where they are asked for the next time.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hash};
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// An answer that is computed within this time and sent as a whole is short. A thread of the async runtime may be kept for so
/// long; handing the question to another thread and the answer back costs as much as reading some hundreds of series.
pub(super) const SHORT: Duration = Duration::from_micros(500);
/// Questions that are remembered. Scrapers ask few, and the same ones again and again.
const QUESTIONS: usize = 64;

/// The fingerprint of a question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::web) struct Question(NonZeroU64);

/// The questions whose last answers were short. One that is taken for another is only answered in the wrong place once.
pub(super) struct Short {
    /// How long a short answer may take.
    limit: Duration,
    /// Questions come from outside; a fixed seed would let them be chosen to drive out others.
    seed: RandomState,
    /// Each at its own place; 0: none.
    slots: [AtomicU64; QUESTIONS],
}

impl Short {
    pub(super) fn new(limit: Duration) -> Short {
        Short { limit, seed: RandomState::new(), slots: [const { AtomicU64::new(0) }; QUESTIONS] }
    }

    pub(super) fn question(&self, parts: impl Hash) -> Question {
        Question(NonZeroU64::new(self.seed.hash_one(parts)).unwrap_or(NonZeroU64::MIN))
    }

    fn slot(&self, question: Question) -> &AtomicU64 {
        &self.slots[question.0.get() as usize % QUESTIONS]
    }

    pub(super) fn has(&self, question: Question) -> bool {
        self.slot(question).load(Ordering::Relaxed) == question.0.get()
    }

    /// Remembers how long an answer took that was sent as a whole.
    pub(super) fn took(&self, question: Question, time: Duration) {
        match time <= self.limit {
            true => self.slot(question).store(question.0.get(), Ordering::Relaxed),
            false => self.forget(question),
        }
    }

    /// The question was answered in another way.
    pub(super) fn forget(&self, question: Question) {
        if self.has(question) {
            self.slot(question).store(0, Ordering::Relaxed);
        }
    }
}

/// Why an answer that is computed where it was asked for is given up: it is too long, or something would have to be waited for.
#[derive(Debug, thiserror::Error)]
#[error("the answer cannot be computed here")]
pub(super) struct Elsewhere;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_remembered_while_its_answers_are_short() {
        let short = Short::new(SHORT);
        let (one, other) = (short.question(("a", 1)), short.question(("a", 2)));
        assert_ne!(one, other);
        assert!(!short.has(one));
        short.took(one, SHORT);
        assert!(short.has(one) && !short.has(other));
        short.forget(other);
        assert!(short.has(one));
        short.took(one, SHORT + Duration::from_nanos(1));
        assert!(!short.has(one));
    }
}
