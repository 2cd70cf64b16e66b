//! The reference implementation: everything in sorted maps, nothing clever.
//!
//! Other stores are compared with it, so it follows the contract by the shortest way: every answer is computed from
//! plain lists of samples under one lock. It judges samples as Prometheus's head does:
//!
//! * In order is what is newer than the series' newest in-order sample and not older than [`MemoryStore::refuse_before`].
//! * The newest sample once more counts as kept; another value at its time is a duplicate.
//! * Anything else is out of order, and taken if there is a window and the sample is not older than the newest sample of
//!   the whole store, as it was when the batch began, less the window. Where there is a sample already, the older one
//!   stays and the new one is counted nowhere.
//! * A float staleness marker takes the kind of its series' newest sample.
//!
//! A deletion takes what is there; the newest deleted sample still judges those that follow. Samples that come later,
//! out of order, into a deleted range are kept. Every exemplar is kept as it came; metadata is not.

mod append;
mod read;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::chunk::TimedValue;
use super::{
    AdminError, Administrable, Cancelled, ExemplarQueryable, HeadStatistics, LabelRequest, QueryError, ReplayStatus,
    Scope, Selector, SeriesExemplars, SeriesRef, TimeRange,
};
use crate::model::{DurationMs, Exemplar, Labels, Matcher, TimestampMs};

/// A store in memory.
#[derive(Default)]
pub struct MemoryStore {
    window: DurationMs,
    inner: Mutex<Inner>,
}

/// Series with their samples.
type Found = Vec<(Labels, Vec<TimedValue>)>;

#[derive(Default)]
struct Inner {
    refs: BTreeMap<Labels, SeriesRef>,
    series: BTreeMap<SeriesRef, Series>,
    last_ref: u64,
    /// Time of the newest sample ever taken.
    max_t: Option<TimestampMs>,
    min_valid: Option<TimestampMs>,
    exemplars: Vec<(Labels, TimestampMs, Exemplar)>,
}

#[derive(Default)]
struct Series {
    labels: Labels,
    samples: BTreeMap<TimestampMs, TimedValue>,
    /// The newest sample that came in order, even if it is deleted.
    newest: Option<TimedValue>,
}

impl Series {
    fn within(&self, range: TimeRange) -> Vec<TimedValue> {
        self.samples.values().filter(|s| range.contains(s.t)).cloned().collect()
    }
}

impl MemoryStore {
    /// An empty store that takes samples in order only.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    /// An empty store that takes samples out of order, too, if they are not older than this before the newest.
    pub fn with_window(window: DurationMs) -> MemoryStore {
        MemoryStore { window, ..MemoryStore::default() }
    }

    /// Everything stored, by labels, each series ascending by time.
    pub fn dump(&self) -> BTreeMap<Labels, Vec<TimedValue>> {
        let inner = self.inner.lock();
        let full = inner.series.values().filter(|s| !s.samples.is_empty());
        full.map(|s| (s.labels.clone(), s.within(TimeRange::ALL))).collect()
    }

    /// The series without samples.
    pub fn empty_series(&self) -> Vec<Labels> {
        let inner = self.inner.lock();
        inner.series.values().filter(|s| s.samples.is_empty()).map(|s| s.labels.clone()).collect()
    }

    /// Every exemplar in the order in which they came, with its series and the time of its sample.
    pub fn exemplars(&self) -> Vec<(Labels, TimestampMs, Exemplar)> {
        self.inner.lock().exemplars.clone()
    }

    /// From now on samples older than `t` are no longer taken in order.
    pub fn refuse_before(&self, t: TimestampMs) {
        self.inner.lock().min_valid = Some(t);
    }

    /// Forgets the samples older than `t` and the series that had no others; their references become unknown.
    pub fn drop_before(&self, t: TimestampMs) {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        inner.series.retain(|_, series| {
            series.samples.retain(|at, _| *at >= t);
            if series.samples.is_empty() {
                inner.refs.remove(&series.labels);
            }
            !series.samples.is_empty()
        });
    }

    /// The series that satisfy any selector and have a sample in the range, with those samples, by labels.
    fn matching(&self, selectors: &[Selector], range: TimeRange, scope: &Scope) -> Result<Found, Cancelled> {
        let mut found = self.matching_whole(selectors, range, scope)?;
        found.iter_mut().for_each(|(_, samples)| samples.retain(|s| range.contains(s.t)));
        Ok(found)
    }

    /// As [`MemoryStore::matching`], with all samples of the series.
    fn matching_whole(&self, selectors: &[Selector], range: TimeRange, scope: &Scope) -> Result<Found, Cancelled> {
        let inner = self.inner.lock();
        let mut found = Vec::new();
        for series in inner.series.values() {
            scope.check()?;
            if satisfies_any(selectors, &series.labels) && series.samples.keys().any(|t| range.contains(*t)) {
                found.push((series.labels.clone(), series.within(TimeRange::ALL)));
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }

    fn matching_or_all(&self, request: &LabelRequest<'_>, scope: &Scope) -> Result<Found, Cancelled> {
        let everything = [Vec::new()];
        let selectors = if request.selectors.is_empty() { &everything } else { request.selectors };
        self.matching(selectors, request.range, scope)
    }
}

impl Administrable for MemoryStore {
    fn delete(&self, selectors: &[Selector], range: TimeRange) -> Result<(), AdminError> {
        for series in self.inner.lock().series.values_mut().filter(|s| satisfies_any(selectors, &s.labels)) {
            series.samples.retain(|t, _| !range.contains(*t));
        }
        Ok(())
    }

    /// What is deleted here is gone.
    fn clean_tombstones(&self) -> Result<(), AdminError> {
        Ok(())
    }

    fn snapshot(&self, _: bool) -> Result<String, AdminError> {
        Err(AdminError::Failed("a store in memory has no files".to_owned()))
    }

    fn trouble(&self) -> Option<String> {
        None
    }

    /// Only the number of series; nobody looks for what makes a store in memory large.
    fn statistics(&self, _: usize) -> Result<HeadStatistics, AdminError> {
        Ok(HeadStatistics { series: self.inner.lock().series.len() as u64, ..HeadStatistics::default() })
    }

    fn block_descriptions(&self) -> Result<Vec<String>, AdminError> {
        Ok(Vec::new())
    }

    fn replay_status(&self) -> ReplayStatus {
        ReplayStatus::default()
    }
}

impl ExemplarQueryable for MemoryStore {
    fn select_exemplars(&self, selectors: &[Selector], range: TimeRange) -> Result<Vec<SeriesExemplars>, QueryError> {
        let mut by_series: BTreeMap<Labels, Vec<Exemplar>> = BTreeMap::new();
        for (labels, sampled, exemplar) in self.exemplars() {
            let t = exemplar.t.unwrap_or(sampled);
            if range.contains(t) && satisfies_any(selectors, &labels) {
                by_series.entry(labels).or_default().push(Exemplar { t: Some(t), ..exemplar });
            }
        }
        by_series.values_mut().for_each(|exemplars| exemplars.sort_by_key(|e| e.t));
        Ok(by_series.into_iter().collect())
    }
}

fn satisfies_any(selectors: &[Selector], labels: &Labels) -> bool {
    selectors.iter().any(|s| Matcher::all_match(s, labels.as_bytes()))
}
