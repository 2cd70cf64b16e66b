//! What a query may take of members, and keeping account of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::answer::{ListAnswer, QueryAnswer, Told};
use super::member::Credentials;
use crate::model::Labels;
use crate::promql::DelegatedSeries;
use crate::storage::{Cancelled, Scope};

/// Bytes of a tree for each byte of its JSON, roughly.
const TREE: u64 = 4;

/// Samples and bytes that a scope is charged with until this is dropped.
#[derive(Debug)]
pub struct Charge {
    scope: Scope,
    samples: u64,
    bytes: u64,
}

impl Charge {
    /// Nothing yet.
    pub(super) fn none(scope: &Scope) -> Charge {
        Charge { scope: scope.clone(), samples: 0, bytes: 0 }
    }

    /// Changes what is charged. It stands as asked for even if that is too much.
    pub(super) fn set(&mut self, samples: u64, bytes: u64) -> Result<(), Cancelled> {
        let (before, now) = ((self.samples, self.bytes), (samples, bytes));
        (self.samples, self.bytes) = now;
        self.scope.release(before.0.saturating_sub(now.0), before.1.saturating_sub(now.1));
        self.scope.charge(now.0.saturating_sub(before.0), now.1.saturating_sub(before.1))
    }
}

impl Charge {
    /// Leaves what is charged to the scope, which holds it until its last handle is dropped.
    pub(super) fn keep(mut self) {
        (self.samples, self.bytes) = (0, 0);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.scope.release(self.samples, self.bytes);
    }
}

/// On whose behalf a member is asked, and within which bounds.
#[derive(Clone, Debug)]
pub struct Errand {
    /// What the client's request brings for members.
    pub credentials: Credentials,
    /// Charged with what is held of the answer, and with the answer.
    pub scope: Scope,
    /// Bytes of the answer, unpacked.
    pub max_bytes: u64,
    /// When the answer has to be there.
    pub deadline: Instant,
}

/// An answer that is charged for.
pub trait Charged {
    /// Samples, and bytes on the heap.
    fn weight(&self) -> (u64, u64);

    /// Takes the charge, which is given back when the answer is dropped.
    fn take(&mut self, charge: Charge);
}

impl Charged for QueryAnswer {
    fn weight(&self) -> (u64, u64) {
        weight(&self.series)
    }

    fn take(&mut self, charge: Charge) {
        self.charge = Some(charge);
    }
}

/// Samples and bytes of series.
pub(super) fn weight(series: &[DelegatedSeries]) -> (u64, u64) {
    series.iter().fold((0, 0), |(samples, bytes), series| {
        let own = size_of::<DelegatedSeries>() + series.labels.as_bytes().len();
        // Of a histogram, the buckets that most have.
        let (floats, histograms) = (series.floats.len() as u64, series.histograms.len() as u64);
        (samples + floats + histograms, bytes + own as u64 + 16 * floats + 400 * histograms)
    })
}

impl Charged for ListAnswer<String> {
    fn weight(&self) -> (u64, u64) {
        (0, self.items.iter().map(|text| (size_of::<String>() + text.len()) as u64).sum())
    }

    fn take(&mut self, charge: Charge) {
        self.charge = Some(charge);
    }
}

impl Charged for ListAnswer<Labels> {
    fn weight(&self) -> (u64, u64) {
        (0, self.items.iter().map(|labels| (size_of::<Labels>() + labels.as_bytes().len()) as u64).sum())
    }

    fn take(&mut self, charge: Charge) {
        self.charge = Some(charge);
    }
}

impl<T> Charged for Told<T> {
    fn weight(&self) -> (u64, u64) {
        (0, TREE * self.size as u64)
    }

    fn take(&mut self, charge: Charge) {
        self.charge = Some(charge);
    }
}

/// Series that one query has fetched from all members.
#[derive(Debug)]
pub(super) struct Fetched {
    series: AtomicU64,
    max: u64,
}

impl Fetched {
    /// None yet, of at most so many.
    pub(super) fn new(max: u64) -> Fetched {
        Fetched { series: AtomicU64::new(0), max }
    }

    /// So many more have come.
    pub(super) fn add(&self, series: usize) -> Result<(), Cancelled> {
        let series = series as u64;
        let all = self.series.fetch_add(series, Ordering::Relaxed).saturating_add(series);
        if all > self.max { Err(Cancelled::Series(self.max)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TimestampMs;

    #[test]
    fn a_charge_follows_what_is_held_and_leaves_nothing() {
        let scope = Scope::new(None, 10, 1000);
        let mut charge = Charge::none(&scope);
        charge.set(0, 600).unwrap();
        charge.set(5, 300).unwrap();
        assert_eq!(scope.bytes_left(), 700);
        assert_eq!(charge.set(11, 300), Err(Cancelled::Samples(10)));
        assert_eq!(charge.set(0, 2000), Err(Cancelled::Bytes(1000)));
        drop(charge);
        assert_eq!((scope.bytes_left(), scope.charge(10, 1000)), (1000, Ok(())));
    }

    #[test]
    fn answers_weigh_their_samples_and_labels() {
        let labels = Labels::from_pairs([("a", "b")]);
        let series =
            DelegatedSeries { labels: labels.clone(), floats: vec![(TimestampMs(1), 1.0); 3], histograms: vec![] };
        let answer = QueryAnswer { series: vec![series; 2], ..QueryAnswer::default() };
        let own = size_of::<DelegatedSeries>() + labels.as_bytes().len() + 48;
        assert_eq!(answer.weight(), (6, 2 * own as u64));
    }

    #[test]
    fn series_are_counted_over_all_answers() {
        let fetched = Fetched::new(5);
        assert_eq!((fetched.add(3), fetched.add(2)), (Ok(()), Ok(())));
        assert_eq!(fetched.add(1), Err(Cancelled::Series(5)));
    }
}
