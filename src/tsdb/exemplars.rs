//! Exemplars: a ring of a fixed number over all series, in memory, restored from the log at start.
//!
//! The newest arrival drives out the oldest. Within a series exemplars lie by time. The rules are the reference's: one
//! that repeats its series' newest is no news; one before the newest is late, unless the out-of-order window takes it; of
//! one instant only ascending values are taken, so that the buckets of a native histogram may each bring one without any
//! search for repetitions. Where values are equal, too, labels must ascend (the reference compares hashes of them).
//!
//! An exemplar that was exposed without a time has that of its sample, and repeats its series' newest whatever the time
//! is: an endpoint shows it until it has a newer one. A log does not tell such times from others, so after a restart all
//! count as not exposed.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;

use super::Tsdb;
use super::metrics::ExemplarMetrics;
use crate::model::{DurationMs, Exemplar, Labels, Matcher, TimestampMs};
use crate::storage::{ExemplarQueryable, QueryError, Selector, SeriesExemplars, TimeRange};

/// Names and values of an exemplar's labels may have so many characters together; OpenMetrics 1.0.
const LABELS_CHARS_MAX: usize = 128;

impl ExemplarQueryable for Tsdb {
    fn select_exemplars(&self, selectors: &[Selector], range: TimeRange) -> Result<Vec<SeriesExemplars>, QueryError> {
        Ok(self.exemplars.select(selectors, range))
    }
}

/// Why an exemplar is not kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unwanted {
    /// There is no room for any.
    Off,
    /// The series' newest once more, or one of an instant that has one.
    Known,
    OutOfOrder,
    TooLong,
}

/// An exemplar with a time.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Timed {
    pub(super) t: i64,
    /// Whether it was exposed with that time.
    pub(super) is_own_time: bool,
    pub(super) value: f64,
    pub(super) labels: Labels,
}

impl Timed {
    /// `t` is the time of one that has none.
    pub(super) fn new(exemplar: &Exemplar, t: TimestampMs) -> Timed {
        let Exemplar { labels, value, t: own } = exemplar;
        Timed { t: own.unwrap_or(t).0, is_own_time: own.is_some(), value: *value, labels: labels.clone() }
    }

    fn repeats(&self, newest: &Timed) -> bool {
        let is_same_time = self.t == newest.t || !self.is_own_time && !newest.is_own_time;
        is_same_time && self.value == newest.value && self.labels == newest.labels
    }

    fn is_before(&self, newest: &Timed, window: i64) -> bool {
        let is_late = self.t < newest.t && self.t <= newest.t.saturating_sub(window);
        let is_lower = self.value < newest.value || self.value == newest.value && self.labels < newest.labels;
        is_late || self.t == newest.t && is_lower
    }
}

/// The ring of one store.
#[derive(Debug)]
pub(super) struct Exemplars {
    ring: Mutex<Ring>,
    metrics: ExemplarMetrics,
}

#[derive(Debug, Default)]
struct Ring {
    max: usize,
    window: i64,
    series: HashMap<Labels, VecDeque<Kept>>,
    /// The series of each exemplar, by arrival.
    arrivals: VecDeque<Labels>,
    /// The number of the first arrival that is still there.
    first: u64,
}

#[derive(Debug)]
struct Kept {
    arrival: u64,
    exemplar: Timed,
}

impl Exemplars {
    pub(super) fn new(metrics: ExemplarMetrics) -> Exemplars {
        Exemplars { ring: Mutex::default(), metrics }
    }

    /// Makes room for `max` exemplars, driving out the oldest if that is less than before, and takes late ones within
    /// `window` from now on.
    pub(super) fn configure(&self, max: usize, window: DurationMs) {
        let mut ring = self.ring.lock();
        (ring.max, ring.window) = (max, window.0.max(0));
        while ring.arrivals.len() > max {
            ring.drop_oldest();
        }
        if max == 0 {
            *ring = Ring { window: ring.window, ..Ring::default() };
        }
        self.metrics.max.set(max as f64);
        self.publish(&ring);
    }

    /// Whether there is room for any.
    pub(super) fn is_on(&self) -> bool {
        self.ring.lock().max > 0
    }

    /// Whether an exemplar of the series would be kept.
    pub(super) fn check(&self, series: &Labels, exemplar: &Timed) -> Result<(), Unwanted> {
        let checked = self.ring.lock().check(series, exemplar);
        self.count(checked)
    }

    /// Keeps an exemplar of the series.
    pub(super) fn add(&self, series: &Labels, exemplar: Timed) -> Result<(), Unwanted> {
        let mut ring = self.ring.lock();
        let added = ring.add(series, exemplar);
        if added.is_ok() {
            self.metrics.appended.inc();
            self.publish(&ring);
        }
        self.count(added)
    }

    /// As [`ExemplarQueryable::select_exemplars`](crate::storage::ExemplarQueryable::select_exemplars).
    pub(super) fn select(&self, selectors: &[Selector], range: TimeRange) -> Vec<SeriesExemplars> {
        let ring = self.ring.lock();
        let wanted = |labels: &Labels| selectors.iter().any(|s| Matcher::all_match(s, labels.as_bytes()));
        let mut found: Vec<SeriesExemplars> = ring
            .series
            .iter()
            .filter(|(_, kept)| kept.iter().any(|k| range.contains(TimestampMs(k.exemplar.t))))
            .filter(|(labels, _)| wanted(labels))
            .map(|(labels, kept)| (labels.clone(), within(kept, range)))
            .collect();
        drop(ring);
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found
    }

    fn count(&self, result: Result<(), Unwanted>) -> Result<(), Unwanted> {
        match result {
            Err(Unwanted::OutOfOrder) => self.metrics.out_of_order.inc(),
            Err(Unwanted::TooLong) => self.metrics.too_long.inc(),
            _ => {}
        }
        result
    }

    fn publish(&self, ring: &Ring) {
        self.metrics.stored.set(ring.arrivals.len() as f64);
        self.metrics.series.set(ring.series.len() as f64);
    }
}

fn within(kept: &VecDeque<Kept>, range: TimeRange) -> Vec<Exemplar> {
    let exemplars = kept.iter().map(|k| &k.exemplar).filter(|e| range.contains(TimestampMs(e.t)));
    exemplars.map(|e| Exemplar { labels: e.labels.clone(), value: e.value, t: Some(TimestampMs(e.t)) }).collect()
}

impl Ring {
    fn check(&self, series: &Labels, exemplar: &Timed) -> Result<(), Unwanted> {
        if self.max == 0 {
            return Err(Unwanted::Off);
        }
        let chars = |(name, value): (&str, &str)| name.chars().count() + value.chars().count();
        if exemplar.labels.iter().map(chars).sum::<usize>() > LABELS_CHARS_MAX {
            return Err(Unwanted::TooLong);
        }
        match self.series.get(series).and_then(VecDeque::back) {
            Some(newest) if exemplar.repeats(&newest.exemplar) => Err(Unwanted::Known),
            Some(newest) if exemplar.is_before(&newest.exemplar, self.window) => Err(Unwanted::OutOfOrder),
            _ => Ok(()),
        }
    }

    fn add(&mut self, series: &Labels, exemplar: Timed) -> Result<(), Unwanted> {
        self.check(series, &exemplar)?;
        if self.series.get(series).is_some_and(|kept| fills_known_instant(kept, exemplar.t)) {
            return Err(Unwanted::Known);
        }
        if self.arrivals.len() >= self.max {
            self.drop_oldest();
        }
        // All that are kept of a series have its labels only once.
        let series = self.series.get_key_value(series).map_or(series, |(known, _)| known).clone();
        let kept = self.series.entry(series.clone()).or_default();
        // Late ones are late by little.
        let at = kept.iter().rposition(|k| k.exemplar.t <= exemplar.t).map_or(0, |before| before + 1);
        kept.insert(at, Kept { arrival: self.first + self.arrivals.len() as u64, exemplar });
        self.arrivals.push_back(series);
        Ok(())
    }

    fn drop_oldest(&mut self) {
        let Some(series) = self.arrivals.pop_front() else { return };
        let oldest = self.first;
        self.first += 1;
        let Some(kept) = self.series.get_mut(&series) else { return };
        if let Some(at) = kept.iter().position(|k| k.arrival == oldest) {
            kept.remove(at);
        }
        if kept.is_empty() {
            self.series.remove(&series);
        }
    }
}

/// Whether a late exemplar's instant has one already.
fn fills_known_instant(kept: &VecDeque<Kept>, t: i64) -> bool {
    let is_late = kept.back().is_some_and(|newest| t < newest.exemplar.t);
    is_late && kept.iter().rev().any(|k| k.exemplar.t == t)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Registry;

    fn ring(max: usize, window: i64) -> Exemplars {
        let exemplars = Exemplars::new(ExemplarMetrics::new(&Registry::new()));
        exemplars.configure(max, DurationMs(window));
        exemplars
    }

    fn series(name: &str) -> Labels {
        Labels::from_pairs([("__name__", name)])
    }

    fn exemplar(t: i64, value: f64, trace: &str) -> Timed {
        Timed { t, is_own_time: true, value, labels: Labels::from_pairs([("trace_id", trace)]) }
    }

    fn add(exemplars: &Exemplars, name: &str, t: i64, value: f64) -> Result<(), Unwanted> {
        exemplars.add(&series(name), exemplar(t, value, "x"))
    }

    /// Names, times and values.
    fn all(exemplars: &Exemplars) -> Vec<(String, Vec<(i64, f64)>)> {
        let found = exemplars.select(&[Vec::new()], TimeRange::ALL);
        let plain = |e: &Exemplar| (e.t.unwrap().0, e.value);
        found.iter().map(|(labels, found)| (labels.to_string(), found.iter().map(plain).collect())).collect()
    }

    #[test]
    fn the_newest_arrival_drives_out_the_oldest() {
        let exemplars = ring(3, 0);
        for (name, t) in [("b", 1), ("a", 2), ("b", 3), ("a", 4)] {
            assert_eq!(add(&exemplars, name, t, 1.0), Ok(()));
        }
        assert_eq!(all(&exemplars), [("a".into(), vec![(2, 1.0), (4, 1.0)]), ("b".into(), vec![(3, 1.0)])]);
        for t in 5..8 {
            assert_eq!(add(&exemplars, "b", t, 1.0), Ok(()));
        }
        assert_eq!(all(&exemplars), [("b".into(), vec![(5, 1.0), (6, 1.0), (7, 1.0)])]);
    }

    #[test]
    fn all_exemplars_of_a_series_share_its_labels() {
        let exemplars = ring(3, 0);
        for t in [1, 2, 3, 4] {
            assert_eq!(add(&exemplars, "a", t, 1.0), Ok(()));
        }
        let ring = exemplars.ring.lock();
        let known = ring.series.keys().next().unwrap().as_bytes().as_ptr();
        assert_eq!(ring.arrivals.iter().map(|labels| labels.as_bytes().as_ptr()).collect::<Vec<_>>(), [known; 3]);
    }

    #[test]
    fn a_change_of_size_keeps_the_newest_arrivals() {
        let exemplars = ring(5, 100);
        for t in [10, 40, 20, 30, 50, 60] {
            assert_eq!(add(&exemplars, "a", t, 1.0), Ok(()));
        }
        exemplars.configure(3, DurationMs(100));
        assert_eq!(all(&exemplars), [("a".into(), vec![(30, 1.0), (50, 1.0), (60, 1.0)])]);
        exemplars.configure(4, DurationMs(100));
        assert_eq!(add(&exemplars, "b", 1, 1.0), Ok(()));
        assert_eq!(add(&exemplars, "b", 2, 1.0), Ok(()));
        assert_eq!(all(&exemplars), [("a".into(), vec![(50, 1.0), (60, 1.0)]), ("b".into(), vec![(1, 1.0), (2, 1.0)])]);
        exemplars.configure(0, DurationMs(100));
        assert_eq!((all(&exemplars), exemplars.is_on()), (vec![], false));
        assert_eq!(add(&exemplars, "a", 1, 1.0), Err(Unwanted::Off));
    }

    #[test]
    fn of_one_instant_values_ascend_and_late_ones_are_refused() {
        let exemplars = ring(10, 0);
        for (t, value, expected) in [
            (10, 1.0, Ok(())),
            (10, 1.0, Err(Unwanted::Known)),
            (10, 2.0, Ok(())),
            (10, 1.5, Err(Unwanted::OutOfOrder)),
            (9, 3.0, Err(Unwanted::OutOfOrder)),
            (11, 2.0, Ok(())),
        ] {
            assert_eq!(add(&exemplars, "a", t, value), expected, "{t} {value}");
        }
        assert_eq!(exemplars.add(&series("a"), exemplar(11, 2.0, "a")), Err(Unwanted::OutOfOrder), "by its labels");
        assert_eq!(exemplars.add(&series("a"), exemplar(11, 2.0, "y")), Ok(()));
        assert_eq!(all(&exemplars)[0].1, [(10, 1.0), (10, 2.0), (11, 2.0), (11, 2.0)]);
    }

    #[test]
    fn a_window_takes_late_ones_of_new_instants_in_their_place() {
        let exemplars = ring(10, 50);
        for (t, expected) in [
            (100, Ok(())),
            (60, Ok(())),
            (51, Ok(())),
            (50, Err(Unwanted::OutOfOrder)),
            (60, Err(Unwanted::Known)),
            (80, Ok(())),
        ] {
            assert_eq!(add(&exemplars, "a", t, t as f64), expected, "{t}");
        }
        assert_eq!(all(&exemplars)[0].1.iter().map(|e| e.0).collect::<Vec<_>>(), [51, 60, 80, 100]);
    }

    #[test]
    fn without_a_time_of_its_own_the_newest_is_repeated_at_any_time() {
        let exemplars = ring(10, 0);
        let none = Exemplar { labels: Labels::empty(), value: 1.0, t: None };
        for (t, expected) in [(10, Ok(())), (20, Err(Unwanted::Known))] {
            assert_eq!(exemplars.add(&series("a"), Timed::new(&none, TimestampMs(t))), expected);
        }
        let own = Exemplar { t: Some(TimestampMs(30)), ..none };
        assert_eq!(exemplars.add(&series("a"), Timed::new(&own, TimestampMs(20))), Ok(()));
        assert_eq!(all(&exemplars)[0].1, [(10, 1.0), (30, 1.0)]);
    }

    #[test]
    fn labels_of_129_characters_are_too_long() {
        let exemplars = ring(10, 0);
        // Characters, not bytes.
        assert_eq!(exemplars.check(&series("a"), &exemplar(1, 1.0, &"ü".repeat(120))), Ok(()));
        assert_eq!(exemplars.check(&series("a"), &exemplar(1, 1.0, &"ü".repeat(121))), Err(Unwanted::TooLong));
    }

    #[test]
    fn selectors_and_ranges_choose() {
        let exemplars = ring(10, 0);
        for (name, t) in [("a", 1), ("a", 2), ("b", 2), ("c", 2)] {
            add(&exemplars, name, t, 1.0).unwrap();
        }
        let selectors = [vec![Matcher::equal("__name__", "c")], vec![Matcher::equal("__name__", "a")]];
        let found = exemplars.select(&selectors, TimeRange { min: TimestampMs(2), max: TimestampMs(9) });
        let plain: Vec<_> = found.iter().map(|(labels, e)| (labels.to_string(), e.len())).collect();
        assert_eq!(plain, [("a".to_owned(), 1), ("c".to_owned(), 1)]);
        assert!(exemplars.select(&selectors, TimeRange { min: TimestampMs(3), max: TimestampMs(9) }).is_empty());
    }
}
