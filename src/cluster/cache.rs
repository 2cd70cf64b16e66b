//! Lists of names and values, kept for a moment.
//!
//! Dashboards ask for the same lists on every load and for every user. Kept is only what is complete: no warning, nobody
//! missing. Whose credentials an answer was given to is a part of its key, so that nobody sees what was told to another.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use ring::digest::{Context, SHA256};

use super::loops::PASSED;
use super::member::Credentials;
use crate::telemetry::{Counter, Gauge, Registry};

/// How long an answer is repeated.
pub(super) const TTL: Duration = Duration::from_secs(30);
/// Answers that are kept.
const ENTRIES: usize = 1000;
/// Bytes of all of them.
const BYTES: u64 = 32 << 20;

/// What an answer is known by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Key([u8; 32]);

impl Key {
    /// Of a question and whoever asks it. What is hashed cannot be found out by others, nor can another be found for it.
    pub(super) fn new(question: &[&str], credentials: &Credentials) -> Key {
        let mut context = Context::new(&SHA256);
        let mut add = |part: &[u8]| {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        };
        question.iter().for_each(|part| add(part.as_bytes()));
        // Through whom a question came does not change its answer.
        let mut headers: Vec<_> = credentials.iter().filter(|(name, _)| **name != PASSED).collect();
        headers.sort_by_key(|(name, _)| name.as_str());
        for (name, value) in headers {
            add(name.as_str().as_bytes());
            add(value.as_bytes());
        }
        let mut key = [0; 32];
        key.copy_from_slice(context.finish().as_ref());
        Key(key)
    }
}

/// The answers; cloning gives another handle to the same ones.
#[derive(Clone)]
pub struct ListCache(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    hits: Counter,
    misses: Counter,
    held: Gauge,
}

#[derive(Default)]
struct State {
    entries: HashMap<Key, Entry>,
    /// By age. Of an answer that was replaced the earlier place stays until it is its turn.
    order: VecDeque<(Key, Instant)>,
    bytes: u64,
}

struct Entry {
    answer: Arc<dyn Any + Send + Sync>,
    bytes: u64,
    until: Instant,
}

impl ListCache {
    /// Nothing kept yet.
    pub fn new(registry: &Registry) -> ListCache {
        let counter = |name, help| registry.counter(name, help, &[]);
        ListCache(Arc::new(Inner {
            state: Mutex::default(),
            hits: counter("watershed_federation_list_cache_hits_total", "Lists that were answered from the cache."),
            misses: counter("watershed_federation_list_cache_misses_total", "Lists that members were asked for."),
            held: registry.gauge("watershed_federation_list_cache_bytes", "Bytes of the lists that are kept.", &[]),
        }))
    }

    /// The answer that is kept under a key, if it is young enough.
    pub(super) fn get<T: Send + Sync + 'static>(&self, key: &Key, now: Instant) -> Option<Arc<T>> {
        let found = {
            let state = self.0.state.lock();
            state.entries.get(key).filter(|entry| now < entry.until).map(|entry| entry.answer.clone())
        };
        let found = found.and_then(|answer| answer.downcast::<T>().ok());
        if found.is_some() {
            self.0.hits.inc()
        } else {
            self.0.misses.inc()
        }
        found
    }

    /// Keeps an answer of so many bytes.
    pub(super) fn put<T: Send + Sync + 'static>(&self, key: Key, answer: T, bytes: u64, now: Instant) {
        let bytes = bytes.saturating_add(size_of::<(Key, Entry)>() as u64);
        // One answer must not drive out all others.
        let Some(until) = now.checked_add(TTL).filter(|_| bytes <= BYTES / 4) else { return };
        let mut state = self.0.state.lock();
        state.bytes = state.bytes.saturating_add(bytes);
        state.order.push_back((key, until));
        if let Some(before) = state.entries.insert(key, Entry { answer: Arc::new(answer), bytes, until }) {
            state.bytes = state.bytes.saturating_sub(before.bytes);
        }
        while let Some((oldest, of)) = state.order.front().copied() {
            if now < of && state.bytes <= BYTES && state.order.len() <= ENTRIES {
                break;
            }
            state.order.pop_front();
            // A younger answer under the same key stays.
            if state.entries.get(&oldest).is_some_and(|entry| entry.until == of)
                && let Some(gone) = state.entries.remove(&oldest)
            {
                state.bytes = state.bytes.saturating_sub(gone.bytes);
            }
        }
        self.0.held.set(state.bytes as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::header::{AUTHORIZATION, HeaderValue};

    fn key(question: &str) -> Key {
        Key::new(&[question], &Credentials::new())
    }

    #[test]
    fn an_answer_is_repeated_for_a_moment_to_whom_it_was_given() {
        let (cache, now) = (ListCache::new(&Registry::new()), Instant::now());
        let mut credentials = Credentials::new();
        credentials.insert(AUTHORIZATION, HeaderValue::from_static("Bearer a"));
        let of_one = Key::new(&["labels", "up"], &credentials);
        cache.put(of_one, 7_u64, 8, now);
        assert_eq!(cache.get::<u64>(&of_one, now).as_deref(), Some(&7));
        credentials.insert(PASSED, HeaderValue::from_static("another"));
        assert_eq!(Key::new(&["labels", "up"], &credentials), of_one);
        credentials.insert(AUTHORIZATION, HeaderValue::from_static("Bearer b"));
        for other in [Key::new(&["labels", "up"], &credentials), Key::new(&["labelsup"], &credentials), key("labels")] {
            assert_eq!(cache.get::<u64>(&other, now), None);
        }
        assert_eq!(cache.get::<u64>(&of_one, now + TTL), None);
        assert_eq!((cache.0.hits.get(), cache.0.misses.get()), (1, 4));
    }

    #[test]
    fn what_is_kept_is_bounded_in_number_in_bytes_and_in_time() {
        let (cache, now) = (ListCache::new(&Registry::new()), Instant::now());
        let kept = || cache.0.state.lock().entries.len();
        (0..ENTRIES + 50).for_each(|n| cache.put(key(&n.to_string()), n, 8, now));
        assert_eq!(kept(), ENTRIES);
        assert!(cache.get::<usize>(&key("0"), now).is_none() && cache.get::<usize>(&key("1049"), now).is_some());
        cache.put(key("huge"), 0, BYTES, now);
        assert!(cache.get::<i32>(&key("huge"), now).is_none());
        (0..5).for_each(|n| cache.put(key(&format!("large {n}")), n, BYTES / 4 - 1000, now));
        assert_eq!((kept(), cache.0.state.lock().bytes <= BYTES), (4, true));
        cache.put(key("later"), 0, 8, now + TTL);
        assert_eq!(kept(), 1);
    }

    #[test]
    fn an_answer_that_was_replaced_takes_nothing_with_it() {
        let (cache, now) = (ListCache::new(&Registry::new()), Instant::now());
        let later = now + TTL / 2;
        cache.put(key("a"), 1, 8, now);
        cache.put(key("a"), 2, 8, later);
        cache.put(key("b"), 3, 8, now + TTL);
        assert_eq!(cache.get::<i32>(&key("a"), later).as_deref(), Some(&2));
        let state = cache.0.state.lock();
        assert_eq!(state.bytes, state.entries.values().map(|entry| entry.bytes).sum::<u64>());
    }
}
