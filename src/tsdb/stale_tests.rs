//! Series that end leave memory early, and nobody who asks can tell.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::{Deps, Options, Settings, Tsdb};
use crate::disk::MemDisk;
use crate::model::{DurationMs, Histogram, Labels, Matcher, STALE_NAN, TimestampMs, Value};
use crate::runtime::Clock;
use crate::storage::memory::MemoryStore;
use crate::storage::{
    Administrable, Appendable, FloatSample, HistogramRef, HistogramSample, Queryable, Scope, SelectRequest,
    SeriesBatch, StreamStep, TimeRange, decode_values,
};
use crate::telemetry::Registry;

const START: i64 = 1_700_000_000_000;
const MINUTE: i64 = 60_000;
const SPAN: i64 = 60 * MINUTE;

struct World {
    disk: MemDisk,
    clock: Clock,
    registry: Registry,
}

impl World {
    fn new() -> World {
        World { disk: MemDisk::new(), clock: Clock::manual(TimestampMs(START)), registry: Registry::new() }
    }

    fn open(&self, threshold: f64) -> Tsdb {
        let window = DurationMs(SPAN / 2);
        let settings =
            Settings { stale_series_threshold: threshold, out_of_order_window: window, ..Settings::default() };
        let options = Options { chunk_range: DurationMs(SPAN), segment_size: 1 << 15, settings, ..Options::default() };
        let registry = self.registry.clone();
        let deps = Deps { disk: Arc::new(self.disk.clone()), clock: self.clock.clone(), registry };
        let (store, report) = Tsdb::open(Path::new("/data"), options, deps).unwrap();
        assert_eq!((report.damage.len(), report.unknown_series), (0, 0));
        store
    }
}

fn labels(i: u64) -> Labels {
    Labels::from_pairs([("__name__", "m"), ("pod", &format!("p{i:04}"))])
}

/// One sample of each of these series in one commit: of a third histograms, of a third floats with a start.
fn append(store: &dyn Appendable, series: &[u64], t: i64, marker: bool) {
    let mut appender = store.appender();
    for &i in series {
        let reference = appender.series(&labels(i)).unwrap();
        let v = if marker { STALE_NAN } else { (i + t.cast_unsigned() % 7) as f64 };
        let t = TimestampMs(t);
        let unknown = match i % 3 {
            _ if marker => appender.append_stale(&[reference], t),
            0 => {
                let h = Histogram { count: 3, zero_count: 3, sum: v, ..Histogram::default() };
                let (start, value) = (TimestampMs(0), HistogramRef::Integer(&h));
                appender.append_histograms(&[HistogramSample { series: reference, t, start, value }])
            }
            1 => appender.append_with_starts(&[FloatSample { series: reference, t, v }], &[TimestampMs(t.0 - 5)]),
            _ => appender.append(&[FloatSample { series: reference, t, v }]),
        };
        assert!(unknown.unwrap().0.is_empty());
    }
    let report = appender.commit().unwrap();
    assert_eq!(report.appended, series.len() as u64, "{report:?}");
}

type Dump = BTreeMap<Labels, Vec<(i64, i64, bool, u64)>>;

fn dump(store: &dyn Queryable, range: TimeRange) -> Dump {
    let request = SelectRequest { selectors: &[vec![]], range, sorted: true, limit: None };
    let mut stream = store.select(&Scope::unbounded(), &request).unwrap();
    let (mut batch, mut found) = (SeriesBatch::default(), Dump::new());
    while let StreamStep::Batch = stream.next(&mut batch).unwrap() {
        for series in &batch.series {
            let mut samples = Vec::new();
            series.chunks.iter().for_each(|c| decode_values(c, &mut samples).unwrap());
            let plain = samples.iter().filter(|s| range.contains(s.t)).map(|s| match &s.value {
                // The log has markers as floats, and what they end may be in a block when it is read again.
                value if value.is_stale() => (s.t.0, s.start.0, false, STALE_NAN.to_bits()),
                Value::Float(v) => (s.t.0, s.start.0, true, v.to_bits()),
                Value::Histogram(h) => (s.t.0, s.start.0, false, h.sum.to_bits()),
                Value::FloatHistogram(_) => unreachable!(),
            });
            let plain: Vec<_> = plain.collect();
            if !plain.is_empty() {
                found.insert(series.labels.clone(), plain);
            }
        }
    }
    found
}

fn assert_same(ours: &Dump, theirs: &Dump) {
    let none = Vec::new();
    for labels in ours.keys().chain(theirs.keys()) {
        let [ours, theirs] = [ours, theirs].map(|dump| dump.get(labels).unwrap_or(&none));
        let differs = (0..ours.len().max(theirs.len())).find(|i| ours.get(*i) != theirs.get(*i));
        if let Some(i) = differs {
            panic!("{labels}: sample {i} of {}: {:?}, not {:?}", theirs.len(), ours.get(i), theirs.get(i));
        }
    }
}

fn count(world: &World, name: &str) -> u64 {
    let mut text = String::new();
    world.registry.write_text(&mut text);
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split(' ').next_back().unwrap().parse::<f64>().unwrap() as u64
}

#[test]
fn series_that_ended_leave_memory_once_they_are_many_and_a_restart_does_not_bring_them_back() {
    let world = World::new();
    let store = world.open(0.5);
    let all: Vec<u64> = (0..30).collect();
    for minute in 0..20 {
        world.clock.set(TimestampMs(START + minute * MINUTE));
        append(&store, &all, START + minute * MINUTE, false);
    }
    append(&store, &all[..14], START + 19 * MINUTE + 1, true);
    assert_eq!(store.maintain_head().unwrap().series_removed, 0, "less than half");
    assert_eq!(count(&world, "watershed_tsdb_head_stale_series"), 14);
    append(&store, &all[14..16], START + 19 * MINUTE + 1, true);
    // One of them goes on while its end is being noticed; one has a sample that came late.
    append(&store, &all[..1], START + 19 * MINUTE + 2, false);
    append(&store, &all[5..6], START + 19 * MINUTE - 1, false);
    append(&store, &[77], START + 19 * MINUTE + 1, true);
    let before = dump(&store, TimeRange::ALL);
    let report = store.maintain_head().unwrap();
    assert_eq!((report.series_removed, store.series_count()), (15, 16));
    let blocks = store.blocks();
    assert!(!blocks.is_empty() && blocks.iter().all(|b| b.meta().compaction.hints == ["from-stale-series"]));
    assert_eq!(store.blocks.in_order_max_time(), None, "the head has more to add");
    drop(blocks);
    assert_eq!(dump(&store, TimeRange::ALL), before);
    assert_eq!(store.maintain_head().unwrap().series_removed, 0);

    drop(store);
    let store = world.open(0.5);
    assert_eq!(dump(&store, TimeRange::ALL), before);
    assert_eq!(store.head.ended(&|_| false).count, 1, "but for the one with a late sample");
    // What comes back is a new series, also after the next restart.
    append(&store, &all[1..3], START + 25 * MINUTE, false);
    drop(store);
    let store = world.open(0.5);
    let after = dump(&store, TimeRange::ALL);
    assert_eq!(after.values().map(Vec::len).sum::<usize>(), before.values().map(Vec::len).sum::<usize>() + 2);
    assert_eq!(after[&labels(1)].len(), 22);
}

#[test]
fn whoever_reads_holds_ended_series_in_memory_until_the_next_time() {
    let world = World::new();
    let store = world.open(0.1);
    append(&store, &[1, 2, 3], START, false);
    append(&store, &[1, 2], START + 1, true);
    let request = SelectRequest { selectors: &[vec![]], range: TimeRange::ALL, sorted: true, limit: None };
    let mut reader = store.select(&Scope::unbounded(), &request).unwrap();
    assert_eq!(store.maintain_head().unwrap().series_removed, 0);
    let mut batch = SeriesBatch::default();
    assert!(matches!(reader.next(&mut batch).unwrap(), StreamStep::Batch) && batch.series.len() == 3);
    drop(reader);
    let report = store.maintain_head().unwrap();
    assert_eq!((report.series_removed, report.blocks_created.len()), (2, 0), "the block is there already");
}

#[test]
fn nothing_leaves_early_shortly_before_the_head_becomes_a_block_or_without_a_threshold() {
    let world = World::new();
    let store = world.open(0.0);
    let end = |series: u64, t: i64| {
        append(&store, &[series], t, false);
        append(&store, &[series], t + 1, true);
    };
    end(1, START);
    assert_eq!(store.maintain_head().unwrap().series_removed, 0);
    let set = |threshold: f64| {
        let settings = (**store.settings.load()).clone();
        store.apply(Settings { stale_series_threshold: threshold, ..settings });
    };
    set(0.1);
    assert_eq!(store.maintain_head().unwrap().series_removed, 1);
    set(0.0);
    append(&store, &[2], START + 2, false);
    let later = START + 3 * SPAN;
    world.clock.set(TimestampMs(later));
    append(&store, &[2], later, false);
    assert!(!store.maintain_head().unwrap().blocks_created.is_empty());
    set(0.1);
    for (minutes, leaves) in [(56, false), (54, true)] {
        world.clock.set(TimestampMs(later + minutes * MINUTE));
        end(10 + minutes.cast_unsigned(), later + 54 * MINUTE);
        let removed = store.maintain_head().unwrap().series_removed;
        assert_eq!(removed > 0, leaves, "{minutes} minutes after the last block");
    }
}

/// A small generator, so that a failing run is told by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

#[test]
fn whatever_comes_goes_and_comes_back_is_all_there() {
    for seed in 0..4 {
        eprintln!("seed {seed}");
        churn(&mut Random(seed));
    }
}

fn churn(random: &mut Random) {
    let world = World::new();
    let model = MemoryStore::with_window(DurationMs(SPAN / 2));
    let (mut store, mut alive, mut evicted) = (world.open(0.2), vec![false; 60], 0);
    let mut now = START;
    for _ in 0..700 {
        now += 1 + random.below(2 * MINUTE.cast_unsigned()).cast_signed();
        world.clock.set(TimestampMs(now));
        let mut ending = Vec::new();
        for (i, alive) in (0..).zip(&mut alive) {
            match random.below(30) {
                0 if *alive => {
                    *alive = false;
                    ending.push(i);
                }
                1 if !*alive => *alive = true,
                _ => {}
            }
        }
        let living: Vec<u64> = (0..60).filter(|i| alive[*i as usize]).collect();
        for to in [&store as &dyn Appendable, &model] {
            append(to, &ending, now, true);
            append(to, &living, now, false);
        }
        match random.below(40) {
            0..8 => evicted += store.maintain().unwrap().series_removed,
            8 => {
                drop(store);
                store = world.open(0.2);
            }
            9 => {
                let selector = vec![Matcher::equal("pod", &format!("p{:04}", random.below(60)))];
                let max = now - random.below(2 * SPAN.cast_unsigned()).cast_signed();
                let range = TimeRange { min: TimestampMs(max - SPAN), max: TimestampMs(max) };
                store.delete(std::slice::from_ref(&selector), range).unwrap();
                model.delete(&[selector], range).unwrap();
            }
            10..12 => {
                let max = now - random.below(3 * SPAN.cast_unsigned()).cast_signed();
                let range = TimeRange { min: TimestampMs(max - SPAN), max: TimestampMs(max) };
                assert_same(&dump(&store, range), &dump(&model, range));
            }
            _ => {}
        }
    }
    assert_same(&dump(&store, TimeRange::ALL), &dump(&model, TimeRange::ALL));
    assert!(count(&world, "watershed_tsdb_stale_series_compactions_total") > 10 && evicted > 100, "{evicted}");
    assert_eq!(count(&world, "watershed_tsdb_stale_series_compactions_failed_total"), 0);
}
