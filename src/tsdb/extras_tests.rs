//! Exemplars and metadata through the whole store: appended, logged, read back, kept by checkpoints.

use std::path::Path;
use std::sync::Arc;

use super::{Deps, Options, Settings, Tsdb};
use crate::disk::MemDisk;
use crate::model::{DurationMs, Exemplar, Labels, Metadata, MetricType, TimestampMs};
use crate::runtime::Clock;
use crate::storage::{Appendable, ExemplarQueryable, FloatSample, SeriesRef, TimeRange};
use crate::telemetry::Registry;

const START: i64 = 1_700_000_000_000;
const MINUTE: i64 = 60_000;

struct World {
    disk: MemDisk,
    clock: Clock,
    max_exemplars: usize,
}

impl World {
    fn new(max_exemplars: usize) -> World {
        World { disk: MemDisk::new(), clock: Clock::manual(TimestampMs(START)), max_exemplars }
    }

    fn open(&self) -> Tsdb {
        let settings = Settings { max_exemplars: self.max_exemplars, ..Settings::default() };
        let options =
            Options { chunk_range: DurationMs(10 * MINUTE), segment_size: 1 << 15, settings, ..Options::default() };
        let deps = Deps { disk: Arc::new(self.disk.clone()), clock: self.clock.clone(), registry: Registry::new() };
        let (store, report) = Tsdb::open(Path::new("/data"), options, deps).unwrap();
        assert_eq!((report.damage.len(), report.unknown_series), (0, 0));
        assert!(report.skipped_records.is_empty());
        store
    }
}

fn labels(name: &str) -> Labels {
    Labels::from_pairs([("__name__", name)])
}

fn exemplar(trace: &str, value: f64, t: Option<i64>) -> Exemplar {
    Exemplar { labels: Labels::from_pairs([("trace_id", trace)]), value, t: t.map(TimestampMs) }
}

/// Appends a sample at `t` with exemplars.
fn append(store: &Tsdb, name: &str, t: i64, exemplars: &[Exemplar]) -> SeriesRef {
    let mut appender = store.appender();
    let series = appender.series(&labels(name)).unwrap();
    assert!(appender.append(&[FloatSample { series, t: TimestampMs(t), v: 1.0 }]).unwrap().0.is_empty());
    assert!(appender.append_exemplars(series, TimestampMs(t), exemplars).unwrap());
    appender.commit().unwrap();
    series
}

fn set_metadata(store: &Tsdb, name: &str, metadata: &Metadata) {
    let mut appender = store.appender();
    let series = appender.series(&labels(name)).unwrap();
    assert!(appender.set_metadata(series, metadata).unwrap());
    appender.commit().unwrap();
}

fn metadata_of(store: &Tsdb, name: &str) -> Option<Metadata> {
    let series = store.appender().series(&labels(name)).unwrap();
    store.metadata_of(series).map(|found| (*found).clone())
}

/// Series, trace, time in milliseconds since the start.
fn all(store: &Tsdb) -> Vec<(String, String, i64)> {
    let mut rows = Vec::new();
    for (series, exemplars) in store.select_exemplars(&[Vec::new()], TimeRange::ALL).unwrap() {
        for e in exemplars {
            rows.push((series.to_string(), e.labels.get("trace_id").unwrap().to_owned(), e.t.unwrap().0 - START));
        }
    }
    rows
}

fn row(series: &str, trace: &str, t: i64) -> (String, String, i64) {
    (series.to_owned(), trace.to_owned(), t)
}

#[test]
fn exemplars_come_back_after_a_restart_and_repeat_their_newest_only_once() {
    let world = World::new(10);
    let store = world.open();
    append(&store, "b", START + 10, &[exemplar("one", 1.0, None)]);
    append(&store, "a", START + 10, &[exemplar("two", 1.0, Some(START + 5)), exemplar("three", 1.0, Some(START + 7))]);
    append(&store, "b", START + 20, &[exemplar("one", 1.0, None)]);
    let expected = [row("a", "two", 5), row("a", "three", 7), row("b", "one", 10)];
    assert_eq!(all(&store), expected);
    drop(store);
    let store = world.open();
    assert_eq!(all(&store), expected);
    append(&store, "b", START + 30, &[exemplar("one", 1.0, None)]);
    assert_eq!(all(&store), expected);
}

#[test]
fn exemplars_of_a_batch_that_is_dropped_or_of_no_series_are_not_kept() {
    let world = World::new(10);
    let store = world.open();
    let series = append(&store, "a", START, &[]);
    let mut appender = store.appender();
    assert!(appender.append_exemplars(series, TimestampMs(START), &[exemplar("x", 1.0, None)]).unwrap());
    assert!(!appender.append_exemplars(SeriesRef(99), TimestampMs(START), &[exemplar("x", 1.0, None)]).unwrap());
    assert!(!appender.set_metadata(SeriesRef(99), &Metadata::default()).unwrap());
    drop(appender);
    assert_eq!(all(&store), []);
    drop(store);
    assert_eq!(all(&world.open()), []);
}

#[test]
fn the_ring_is_off_until_the_settings_give_it_room() {
    let world = World::new(0);
    let store = world.open();
    append(&store, "a", START, &[exemplar("x", 1.0, None)]);
    assert_eq!(all(&store), []);
    store.apply(Settings { max_exemplars: 1, ..Settings::default() });
    append(&store, "a", START + 1, &[exemplar("x", 1.0, None)]);
    append(&store, "a", START + 2, &[exemplar("y", 1.0, None)]);
    assert_eq!(all(&store), [row("a", "y", 2)]);
}

#[test]
fn only_news_are_logged_of_metadata_and_the_newest_comes_back() {
    let world = World::new(0);
    let store = world.open();
    let text = |help: &str| Metadata { metric_type: MetricType::Counter, unit: "s".into(), help: help.into() };
    append(&store, "a", START, &[]);
    assert_eq!(metadata_of(&store, "a"), None);
    set_metadata(&store, "a", &text("first"));
    set_metadata(&store, "a", &text("second"));
    let log = || world.disk.read(Path::new("/data/wal/00000000")).map(|bytes| bytes.len());
    let logged = log();
    set_metadata(&store, "a", &text("second"));
    assert_eq!(log(), logged);
    assert_eq!(metadata_of(&store, "a"), Some(text("second")));
    drop(store);
    let store = world.open();
    assert_eq!((metadata_of(&store, "a"), metadata_of(&store, "b")), (Some(text("second")), None));
}

#[test]
fn checkpoints_keep_metadata_of_living_series_and_young_exemplars() {
    let world = World::new(10_000);
    let mut store = world.open();
    let text = Metadata { help: "help".into(), ..Metadata::default() };
    append(&store, "gone", START, &[exemplar("old", 1.0, None)]);
    append(&store, "a", START, &[]);
    set_metadata(&store, "gone", &text);
    set_metadata(&store, "a", &text);
    let (mut checkpoints, mut end) = (0, 0);
    for minute in 1..120 {
        world.clock.set(TimestampMs(START + minute * MINUTE));
        for second in 0..30 {
            let t = minute * MINUTE + second * 2000;
            append(&store, "a", START + t, &[exemplar(&format!("{t} {}", "x".repeat(60)), 1.0, None)]);
            end = t;
        }
        checkpoints += u32::from(store.maintain().unwrap().checkpoint.is_some());
    }
    assert!(checkpoints > 2, "{checkpoints}");
    assert_eq!(metadata_of(&store, "a"), Some(text.clone()));
    drop(store);
    store = world.open();
    assert_eq!(metadata_of(&store, "a"), Some(text));
    assert_eq!(metadata_of(&store, "gone"), None);
    let found = all(&store);
    assert!(found.len() > 100 && found.len() < 3000, "{}", found.len());
    assert_eq!(found.last().map(|row| row.2), Some(end));
    assert!(found.iter().all(|(series, ..)| series == "a"));
}
