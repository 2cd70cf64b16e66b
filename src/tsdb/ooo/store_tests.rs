//! Late samples in the store as a whole, on a disk in memory.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::disk::{Disk, MemDisk};
use crate::model::{DurationMs, Histogram, Labels, STALE_NAN, Span, TimestampMs, Value};
use crate::runtime::Clock;
use crate::storage::memory::MemoryStore;
use crate::storage::{
    AppendReport, Appendable, FloatSample, HistogramRef, HistogramSample, LabelRequest, LatestBatch, LatestRow,
    NewestValue, Queryable, Scope, SelectRequest, SeriesBatch, SeriesRef, StreamStep, TimeRange, TimedValue,
    UnknownSeries, decode_values,
};
use crate::telemetry::Registry;
use crate::tsdb::{Deps, OpenReport, Options, Settings, Tsdb};

const START: i64 = 1_700_000_000_000;
const MINUTE: i64 = 60_000;
const WINDOW: DurationMs = DurationMs(60 * MINUTE);

fn options(window: DurationMs) -> Options {
    let settings = Settings { out_of_order_window: window, ..Settings::default() };
    // Small segments and ranges, so that much happens.
    Options { segment_size: 64 << 10, chunk_range: DurationMs(20 * MINUTE), settings, ..Options::default() }
}

fn open(disk: &MemDisk, clock: &Clock) -> (Tsdb, OpenReport) {
    let deps = Deps { disk: Arc::new(disk.clone()), clock: clock.clone(), registry: Registry::new() };
    Tsdb::open(Path::new("/data"), options(WINDOW), deps).unwrap()
}

fn clock() -> Clock {
    Clock::manual(TimestampMs(START + 1000 * MINUTE))
}

fn labels(i: u64) -> Labels {
    let name = if is_histogram(i) { "h" } else { "m" };
    Labels::from_pairs([("__name__", name), ("i", &i.to_string())])
}

fn is_histogram(i: u64) -> bool {
    i % 4 == 3
}

/// The value is one of series and time, so that it does not matter which of two equals is kept.
fn value(i: u64, t: i64) -> Value {
    if !is_histogram(i) {
        return Value::Float((t % 1000) as f64 + i as f64);
    }
    let count = t.cast_unsigned() % 50;
    let mut h = Histogram { count, sum: count as f64, ..Histogram::default() };
    h.layout.positive_spans = vec![Span { offset: (t % 3) as i32, length: 1 }];
    h.positive_buckets = vec![count as i64];
    Value::Histogram(Box::new(h))
}

fn append(store: &dyn Appendable, samples: &[(u64, i64)]) -> AppendReport {
    let mut appender = store.appender();
    for &(i, t) in samples {
        let series = appender.series(&labels(i)).unwrap();
        let (t, start) = (TimestampMs(t), TimestampMs(0));
        let unknown = match value(i, t.0) {
            Value::Float(v) => appender.append(&[FloatSample { series, t, v }]),
            Value::Histogram(h) => {
                appender.append_histograms(&[HistogramSample { series, t, start, value: HistogramRef::Integer(&h) }])
            }
            Value::FloatHistogram(_) => unreachable!(),
        };
        assert_eq!(unknown.unwrap(), UnknownSeries::default());
    }
    appender.commit().unwrap()
}

/// What can be read in a range; every series must come once, its chunks in order.
fn read(store: &dyn Queryable, range: TimeRange) -> BTreeMap<Labels, Vec<TimedValue>> {
    let request = SelectRequest { selectors: &[Vec::new()], range, sorted: true, limit: None };
    let mut stream = store.select(&Scope::unbounded(), &request).unwrap();
    let (mut batch, mut out) = (SeriesBatch::default(), BTreeMap::new());
    while let StreamStep::Batch = stream.next(&mut batch).unwrap() {
        for series in &batch.series {
            let mut samples = Vec::new();
            series.chunks.iter().for_each(|chunk| decode_values(chunk, &mut samples).unwrap());
            assert!(samples.is_sorted_by(|a, b| a.t < b.t), "a time comes twice or too late");
            samples.retain(|s| range.contains(s.t));
            if !samples.is_empty() {
                assert!(out.insert(series.labels.clone(), samples).is_none(), "a series comes twice");
            }
        }
    }
    out
}

/// What a row says, as a number that is the same for the same.
fn said(batch: &LatestBatch, row: &LatestRow) -> u64 {
    match batch.value(row) {
        NewestValue::Float(v) => v.to_bits(),
        NewestValue::Histogram(HistogramRef::Integer(h)) => h.sum.to_bits().wrapping_add(h.count),
        NewestValue::Histogram(HistogramRef::Float(h)) => h.sum.to_bits().wrapping_add(h.count.to_bits()),
    }
}

fn latest(store: &dyn Queryable, range: TimeRange) -> Vec<(Labels, i64, u64)> {
    let request = SelectRequest { selectors: &[Vec::new()], range, sorted: true, limit: None };
    let mut stream = store.select_latest(&Scope::unbounded(), &request).unwrap();
    let (mut batch, mut out) = (LatestBatch::default(), Vec::new());
    while let StreamStep::Batch = stream.next(&mut batch).unwrap() {
        let row = |row| (Labels::from_encoded(batch.labels(row)), row.t.0, said(&batch, row));
        out.extend(batch.rows.iter().map(row));
    }
    out
}

fn compare(store: &Tsdb, model: &MemoryStore, range: TimeRange, what: &str) {
    let (found, wanted) = (read(store, range), read(model, range));
    assert_eq!(found.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>(), "{what}");
    for (labels, wanted) in &wanted {
        let times = |samples: &[TimedValue]| samples.iter().map(|s| s.t.0).collect::<Vec<_>>();
        assert_eq!(times(&found[labels]), times(wanted), "{what}: {labels:?}");
        let same = found[labels].iter().zip(wanted).all(|(a, b)| a.value.is_same(&b.value));
        assert!(same, "{what}: {labels:?} has other values");
    }
    assert_eq!(latest(store, range), latest(model, range), "{what}: latest");
    let request = LabelRequest { range, ..LabelRequest::ALL };
    let values = |s: &dyn Queryable| s.label_values(&Scope::unbounded(), "i", &request).unwrap().0;
    // A chunk overlaps where no sample of it does, so the store may name more.
    let (found, wanted) = (values(store), values(model));
    assert!(wanted.iter().all(|v| found.contains(v)), "{what}: label values {found:?}, wanted {wanted:?}");
}

/// A small generator, so that a failing run is told by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

fn model_run(seed: u64) {
    let mut random = Random(seed);
    let (mut disk, clock, model) = (MemDisk::new(), clock(), MemoryStore::with_window(WINDOW));
    let (mut store, _) = open(&disk, &clock);
    let mut now = START;
    for step in 0..250 {
        let what = format!("seed {seed}, step {step}");
        now += random.below(40_000) as i64;
        let batch: Vec<(u64, i64)> = (0..random.below(30))
            .map(|_| {
                // Mostly a little late, sometimes hours.
                let late = match random.below(4) {
                    0 => 0,
                    1 => random.below(MINUTE as u64),
                    2 => random.below(50 * MINUTE as u64),
                    _ => random.below(70 * MINUTE as u64),
                };
                (random.below(7), now - late as i64 / 500 * 500)
            })
            .collect();
        let report = append(&store, &batch);
        let wanted = append(&model, &batch);
        assert_eq!(report.refused, wanted.refused, "{what}");
        assert!(report.appended >= wanted.appended, "{what}: {report:?}, wanted {wanted:?}");
        if random.below(20) == 0 {
            store.compact_out_of_order().unwrap();
        }
        if random.below(25) == 0 {
            // The process dies.
            drop(store);
            disk = disk.fork();
            let report;
            (store, report) = open(&disk, &clock);
            assert!(report.damage.is_empty(), "{what}: {:?}", report.damage);
            compare(&store, &model, TimeRange::ALL, &format!("{what}, reopened"));
        }
        let from = START + random.below((now - START + 2) as u64) as i64;
        let some = TimeRange { min: TimestampMs(from), max: TimestampMs(from + random.below(5_000_000) as i64) };
        compare(&store, &model, some, &what);
        if step % 10 == 0 {
            compare(&store, &model, TimeRange::ALL, &what);
        }
    }
}

#[test]
fn late_samples_restarts_and_compactions_leave_what_the_model_holds() {
    for seed in 0..6 {
        eprintln!("seed {seed}");
        model_run(seed);
    }
}

#[test]
fn without_a_window_late_samples_are_refused_and_a_window_can_be_opened_and_closed_while_running() {
    let disk = MemDisk::new();
    let (store, _) = open(&disk, &clock());
    store.apply(Settings::default());
    assert_eq!(append(&store, &[(0, START), (1, START)]).appended, 2);
    let late = [(0, START - 2 * MINUTE)];
    assert_eq!(append(&store, &late).refused.out_of_order, 1);
    store.apply(Settings { out_of_order_window: DurationMs(MINUTE), ..Settings::default() });
    assert_eq!(append(&store, &late).refused.too_old, 1);
    assert!(!disk.exists(Path::new("/data/wbl")).unwrap());
    store.apply(Settings { out_of_order_window: WINDOW, ..Settings::default() });
    assert_eq!(append(&store, &late), AppendReport { appended: 1, ..AppendReport::default() });
    store.apply(Settings::default());
    assert_eq!(append(&store, &[(0, START - MINUTE)]).refused.out_of_order, 1);
    let times = |store: &Tsdb| read(store, TimeRange::ALL)[&labels(0)].iter().map(|s| s.t.0).collect::<Vec<_>>();
    assert_eq!(times(&store), [START - 2 * MINUTE, START]);
    drop(store);
    assert_eq!(times(&open(&disk.fork(), &clock()).0), [START - 2 * MINUTE, START]);
}

#[test]
fn an_end_of_a_series_is_never_late() {
    let (store, _) = open(&MemDisk::new(), &clock());
    append(&store, &[(0, START), (1, START)]);
    let end = |t: i64| {
        let mut appender = store.appender();
        let all: Vec<SeriesRef> = [0, 1].iter().map(|i| appender.series(&labels(*i)).unwrap()).collect();
        assert_eq!(appender.append_stale(&all, TimestampMs(t)).unwrap(), UnknownSeries::default());
        appender.commit().unwrap()
    };
    assert_eq!(end(START - MINUTE), AppendReport::default());
    assert_eq!(read(&store, TimeRange::ALL)[&labels(0)].len(), 1);
    assert_eq!(end(START + 1).appended, 2);
    let all = read(&store, TimeRange::ALL);
    assert!(matches!(all[&labels(1)][1].value, Value::Float(v) if v.to_bits() == STALE_NAN.to_bits()));
}

#[test]
fn samples_of_one_batch_that_descend_are_all_kept_and_survive_a_restart() {
    let (disk, model) = (MemDisk::new(), MemoryStore::with_window(WINDOW));
    let (store, _) = open(&disk, &clock());
    let batch: Vec<(u64, i64)> = (0..100).map(|n| (0, START - n * 1000)).collect();
    for store in [&store as &dyn Appendable, &model] {
        append(store, &[(1, START + 1)]);
        assert_eq!(append(store, &batch).appended, 100);
    }
    compare(&store, &model, TimeRange::ALL, "at once");
    drop(store);
    compare(&open(&disk.fork(), &clock()).0, &model, TimeRange::ALL, "after a restart");
}

#[test]
fn compaction_makes_a_block_of_each_range_and_leaves_neither_chunks_nor_log_behind() {
    let (disk, model) = (MemDisk::new(), MemoryStore::with_window(WINDOW));
    let (store, _) = open(&disk, &clock());
    let batch: Vec<(u64, i64)> = (0..55).map(|n| (n % 5, START - n as i64 * MINUTE)).collect();
    for store in [&store as &dyn Appendable, &model] {
        append(store, &(0..5).map(|i| (i, START + MINUTE)).collect::<Vec<_>>());
        append(store, &batch);
    }
    let ulids = store.compact_out_of_order().unwrap();
    let blocks = store.blocks();
    let range = 20 * MINUTE;
    let mut starts: Vec<i64> = batch.iter().map(|(_, t)| t.div_euclid(range) * range).collect();
    starts.sort_unstable();
    starts.dedup();
    assert_eq!(blocks.iter().map(|b| b.meta().min_time).collect::<Vec<_>>(), starts);
    assert_eq!(ulids.len(), starts.len());
    for block in blocks.iter() {
        let meta = block.meta();
        assert_eq!((meta.max_time - meta.min_time, meta.compaction.level), (range, 1));
        assert_eq!(meta.compaction.hints, ["from-out-of-order"]);
        block.verify().unwrap();
    }
    assert!(store.late.is_empty());
    let log = disk.list(Path::new("/data/wbl")).unwrap();
    assert_eq!(log, ["00000001"], "the segment with the samples is gone");
    compare(&store, &model, TimeRange::ALL, "from blocks");
    assert!(store.compact_out_of_order().unwrap().is_empty());
    drop(store);
    compare(&open(&disk.fork(), &clock()).0, &model, TimeRange::ALL, "after a restart");
}

/// Whoever began to read before the blocks were there looks for late samples in the head.
#[test]
fn what_somebody_still_reads_is_forgotten_in_the_next_round() {
    let (disk, model) = (MemDisk::new(), MemoryStore::with_window(WINDOW));
    let (store, _) = open(&disk, &clock());
    for store in [&store as &dyn Appendable, &model] {
        append(store, &[(0, START), (0, START - MINUTE)]);
    }
    let request = SelectRequest { selectors: &[Vec::new()], range: TimeRange::ALL, sorted: true, limit: None };
    let mut stream = store.select(&Scope::unbounded(), &request).unwrap();
    assert_eq!(store.compact_out_of_order().unwrap().len(), 1);
    let mut batch = SeriesBatch::default();
    assert!(matches!(stream.next(&mut batch).unwrap(), StreamStep::Batch));
    assert_eq!(batch.series[0].chunks.iter().map(|c| u64::from(c.sample_count())).sum::<u64>(), 2);
    drop(stream);
    assert!(!store.late.is_empty());
    compare(&store, &model, TimeRange::ALL, "in head and block");
    assert!(store.compact_out_of_order().unwrap().is_empty());
    assert!(store.late.is_empty());
    compare(&store, &model, TimeRange::ALL, "in the block");
}
