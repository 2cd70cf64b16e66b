//! The head as its store uses it: histograms, whole commits, chunks in files, deletions.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::disk::MemDisk;
use crate::model::{
    BucketLayout, DurationMs, FloatHistogram, Histogram, Labels, MatchOp, Matcher, STALE_NAN, Span, TimestampMs, Value,
};
use crate::runtime::Clock;
use crate::storage::chunk::{TimedValue, decode_values};
use crate::storage::memory::MemoryStore;
use crate::storage::{
    Administrable, AppendReport, Appendable, Encoding, FamilyPart, FloatSample, HistogramRef, HistogramSample,
    LabelRequest, LatestBatch, LatestRow, LatestStream, NewestValue, Queryable, Scope, SelectRequest, Selector,
    SeriesBatch, SeriesStream, StreamStep, TextRow, TimeRange, UnknownSeries,
};
use crate::telemetry::Registry;
use crate::tsdb::head_chunks::{self, HEAD_CHUNKS_DIR, HeadChunks};
use crate::tsdb::{Compression, Deps, OpenReport, Options, Tsdb};

const START: i64 = 1_700_000_000_000;
const HOUR: i64 = 3_600_000;
/// Long enough that no block is cut: these tests are about the head.
const RANGE: i64 = 1000 * HOUR;

fn options() -> Options {
    Options { chunk_range: DurationMs(RANGE), segment_size: 1 << 17, ..Options::default() }
}

fn open(disk: &MemDisk) -> (Tsdb, OpenReport) {
    let clock = Clock::manual(TimestampMs(START + 24 * HOUR));
    let deps = Deps { disk: Arc::new(disk.clone()), clock, registry: Registry::new() };
    Tsdb::open(Path::new("/data"), options(), deps).unwrap()
}

fn labels(i: usize) -> Labels {
    Labels::from_pairs([
        ("__name__", "m"),
        ("group", if i.is_multiple_of(2) { "even" } else { "odd" }),
        ("n", &i.to_string()),
    ])
}

fn integer(buckets: &[i64]) -> Histogram {
    let mut before = 0;
    let deltas = buckets.iter().map(|count| count - std::mem::replace(&mut before, *count)).collect();
    let positive_spans = vec![Span { offset: 1, length: buckets.len() as u32 }];
    Histogram {
        layout: BucketLayout { schema: 2, zero_threshold: 0.5, positive_spans, ..BucketLayout::default() },
        count: buckets.iter().sum::<i64>().cast_unsigned(),
        sum: buckets.len() as f64,
        positive_buckets: deltas,
        ..Histogram::default()
    }
}

fn float(buckets: &[i64]) -> FloatHistogram {
    let h = integer(buckets);
    FloatHistogram {
        layout: h.layout,
        count: h.count as f64,
        sum: h.sum,
        positive_buckets: buckets.iter().map(|c| *c as f64).collect(),
        ..FloatHistogram::default()
    }
}

/// Appends in batches of one kind, in order.
fn append(store: &dyn Appendable, samples: &[(Labels, i64, Value)]) -> AppendReport {
    let mut appender = store.appender();
    for (labels, t, value) in samples {
        let (series, t) = (appender.series(labels).unwrap(), TimestampMs(*t));
        let histogram = |value| [HistogramSample { series, t, start: TimestampMs(0), value }];
        let unknown = match value {
            Value::Float(v) => appender.append(&[FloatSample { series, t, v: *v }]),
            Value::Histogram(h) => appender.append_histograms(&histogram(HistogramRef::Integer(h))),
            Value::FloatHistogram(h) => appender.append_histograms(&histogram(HistogramRef::Float(h))),
        };
        assert_eq!(unknown.unwrap(), UnknownSeries::default());
    }
    appender.commit().unwrap()
}

fn drain(mut stream: Box<dyn SeriesStream + '_>, range: TimeRange) -> BTreeMap<Labels, Vec<TimedValue>> {
    let (mut batch, mut out) = (SeriesBatch::default(), BTreeMap::new());
    while let StreamStep::Batch = stream.next(&mut batch).unwrap() {
        for series in &batch.series {
            let mut values = Vec::new();
            series.chunks.iter().for_each(|chunk| decode_values(chunk, &mut values).unwrap());
            values.retain(|sample| range.contains(sample.t));
            if !values.is_empty() {
                out.insert(series.labels.clone(), values);
            }
        }
    }
    out
}

fn select(store: &dyn Queryable, range: TimeRange) -> BTreeMap<Labels, Vec<TimedValue>> {
    let request = SelectRequest { selectors: &[vec![]], range, sorted: true, limit: None };
    drain(store.select(&Scope::unbounded(), &request).unwrap(), range)
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
    let request = SelectRequest { selectors: &[vec![]], range, sorted: true, limit: None };
    let mut stream = store.select_latest(&Scope::unbounded(), &request).unwrap();
    let (mut batch, mut out) = (LatestBatch::default(), Vec::new());
    while let StreamStep::Batch = stream.next(&mut batch).unwrap() {
        out.extend(batch.rows.iter().map(|r| (Labels::from_encoded(batch.labels(r)), r.t.0, said(&batch, r))));
    }
    out
}

fn range(min: i64, max: i64) -> TimeRange {
    TimeRange { min: TimestampMs(min), max: TimestampMs(max) }
}

fn assert_same(a: &BTreeMap<Labels, Vec<TimedValue>>, b: &BTreeMap<Labels, Vec<TimedValue>>, what: &str) {
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>(), "{what}");
    for ((labels, a), b) in a.iter().zip(b.values()) {
        assert_eq!(
            a.iter().map(|s| s.t).collect::<Vec<_>>(),
            b.iter().map(|s| s.t).collect::<Vec<_>>(),
            "{what} {labels}"
        );
        for (a, b) in a.iter().zip(b) {
            assert!(a.value.is_same(&b.value), "{what} {labels} at {:?}: {:?} for {:?}", a.t, a.value, b.value);
        }
    }
}

/// A small generator, so that a failing run is told by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    /// Grows for long stretches, is reset now and then, and has more or fewer buckets each time.
    fn buckets(&mut self, step: usize) -> Vec<i64> {
        (0..1 + self.below(12)).map(|i| (step as u64 % 97 + self.below(2) + i % 3).cast_signed()).collect()
    }

    fn value(&mut self, series: usize, step: usize) -> Value {
        let kind = match series % 4 {
            0 => 0,
            1 => 1,
            2 => 2,
            _ => self.below(3),
        };
        match (self.below(25), kind) {
            (0, _) => Value::Float(STALE_NAN),
            (_, 0) => Value::Float(self.below(4) as f64),
            (_, 1) => Value::Histogram(Box::new(integer(&self.buckets(step)))),
            _ => Value::FloatHistogram(Box::new(float(&self.buckets(step)))),
        }
    }
}

fn compare(store: &Tsdb, model: &MemoryStore, now: i64, what: &str) {
    for range in [TimeRange::ALL, range(now - HOUR, now - HOUR / 2), range(now - 60_000, now)] {
        assert_same(&select(store, range), &select(model, range), what);
        assert_eq!(latest(store, range), latest(model, range), "{what}");
    }
}

#[test]
fn random_samples_of_all_kinds_deletions_upkeep_and_restarts_leave_what_the_model_holds() {
    let seed = std::env::var("WATERSHED_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(0x4ead_0001u64);
    for seed in seed..seed + 3 {
        eprintln!("seed {seed}; repeat with WATERSHED_SEED={seed}");
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let (disk, model) = (MemDisk::new(), MemoryStore::new());
        let (mut store, mut now, mut chunks) = (open(&disk).0, START, 0);
        for step in 0..1500 {
            let what = format!("seed {seed} step {step}");
            match random.below(60) {
                0 => {
                    drop(store);
                    let report;
                    (store, report) = open(&disk);
                    assert_eq!((report.damage, report.unknown_series, report.skipped_records.len()), (vec![], 0, 0));
                    chunks = chunks.max(report.chunks);
                }
                1 | 2 => drop(store.maintain().unwrap()),
                3 => {
                    let (from, len) = (random.below(2 * HOUR as u64) as i64, random.below(HOUR as u64) as i64);
                    let range = range(now - from, now - from + len);
                    let n = random.below(8).to_string();
                    let selector = vec![vec![Matcher::new(MatchOp::Equal, "n", &n).unwrap()]];
                    store.delete_in_head(&selector, range).unwrap();
                    model.delete(&selector, range).unwrap();
                }
                4 | 5 => compare(&store, &model, now, &what),
                _ => {
                    now += random.below(15_000) as i64;
                    let n = random.below(12);
                    let batch: Vec<_> = (0..n)
                        .map(|_| {
                            let series = random.below(8) as usize;
                            let late = if random.below(12) == 0 { random.below(20_000) as i64 } else { 0 };
                            (labels(series), now - late, random.value(series, step))
                        })
                        .collect();
                    assert_eq!(append(&store, &batch), append(&model, &batch), "{what}");
                }
            }
        }
        compare(&store, &model, now, "at the end");
        assert!(chunks > 20, "only {chunks} chunks came back from files");
    }
}

#[test]
fn histograms_that_contradict_themselves_are_refused_and_told() {
    let (store, _) = open(&MemDisk::new());
    let mut appender = store.appender();
    let series = appender.series(&labels(0)).unwrap();
    let (good, mut bad) = (integer(&[1, 2]), integer(&[1, 2]));
    bad.count += 1;
    let mut bad_float = float(&[1, 2]);
    bad_float.positive_buckets[1] = -1.0;
    let sample = |t, value| HistogramSample { series, t: TimestampMs(START + t), start: TimestampMs(0), value };
    let unknown = appender.append_histograms(&[
        sample(0, HistogramRef::Integer(&bad)),
        sample(1, HistogramRef::Integer(&good)),
        sample(2, HistogramRef::Float(&bad_float)),
    ]);
    assert_eq!((unknown.unwrap(), appender.refused()), (UnknownSeries::default(), &[0, 2][..]));
    let report = appender.commit().unwrap();
    assert_eq!((report.appended, report.refused.malformed, report.refused.total()), (1, 2, 2));
    let mut appender = store.appender();
    let _ = appender
        .append_histograms(&[sample(1, HistogramRef::Integer(&good)), sample(1, HistogramRef::Integer(&integer(&[2])))])
        .unwrap();
    assert_eq!(appender.refused(), [1], "one is there already, the other contradicts it");
}

#[test]
fn records_packed_in_any_way_come_back() {
    for compression in [Compression::None, Compression::Snappy, Compression::Zstd] {
        let disk = MemDisk::new();
        let open = || {
            let clock = Clock::manual(TimestampMs(START + 24 * HOUR));
            let deps = Deps { disk: Arc::new(disk.clone()), clock, registry: Registry::new() };
            Tsdb::open(Path::new("/data"), Options { compression, ..options() }, deps).unwrap()
        };
        let (store, _) = open();
        for i in 0..200 {
            let batch: Vec<_> = (0..20).map(|s| (labels(s), START + i * 1000, Value::Float(i as f64))).collect();
            append(&store, &batch);
        }
        let expected = select(&store, TimeRange::ALL);
        drop(store);
        let (store, report) = open();
        assert_eq!((report.samples, report.damage), (4000, vec![]));
        assert_same(&select(&store, TimeRange::ALL), &expected, &format!("{compression:?}"));
    }
}

#[test]
fn no_reader_ever_sees_half_a_commit() {
    const SERIES: usize = 700;
    let disk = MemDisk::new();
    let (store, _) = open(&disk);
    let value = |series: usize, i: i64| match series % 3 {
        0 => Value::Histogram(Box::new(integer(&[i + 1, 1, i % 7]))),
        _ => Value::Float(i as f64),
    };
    let commit = |i: i64| {
        let batch: Vec<_> = (0..SERIES).map(|s| (labels(s), START + i * 1000, value(s, i))).collect();
        assert_eq!(append(&store, &batch).appended, SERIES as u64);
    };
    commit(0);
    let done = AtomicBool::new(false);
    let (store, done) = (&store, &done);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            (1..150).for_each(commit);
            done.store(true, Ordering::Release);
        });
        let selects = scope.spawn(move || {
            let mut reads = 0;
            while !done.load(Ordering::Acquire) {
                let range = range(START, i64::MAX);
                let request = SelectRequest { selectors: &[vec![]], range, sorted: reads % 2 == 0, limit: None };
                let stream = store.select(&Scope::unbounded(), &request).unwrap();
                // Let the writer go on between opening and reading.
                std::thread::yield_now();
                let found = drain(stream, range);
                let first = found[&labels(0)].iter().map(|s| s.t).collect::<Vec<_>>();
                assert_eq!(found.len(), SERIES);
                for samples in found.values() {
                    assert_eq!(samples.iter().map(|s| s.t).collect::<Vec<_>>(), first);
                }
                reads += 1;
            }
            reads
        });
        let mut reads = 0;
        while !done.load(Ordering::Acquire) {
            let rows = latest(store, TimeRange::ALL);
            assert_eq!(rows.len(), SERIES);
            assert!(rows.iter().all(|row| row.1 == rows[0].1), "two commits in one answer");
            reads += 1;
        }
        assert!(reads > 0 && selects.join().unwrap() > 0);
    });
}

/// Fills some series with several chunks each, of floats and of histograms.
fn fill(store: &Tsdb) -> BTreeMap<Labels, Vec<TimedValue>> {
    for i in 0..600 {
        let at = START + i * 15_000;
        let value = |s: usize| match s % 2 {
            0 => Value::Float(i as f64),
            _ => Value::Histogram(Box::new(integer(&[i + 1, i / 2]))),
        };
        append(store, &(0..6).map(|s| (labels(s), at, value(s))).collect::<Vec<_>>());
    }
    select(store, TimeRange::ALL)
}

fn chunk_file(number: u32) -> std::path::PathBuf {
    Path::new("/data").join(HEAD_CHUNKS_DIR).join(format!("{number:06}"))
}

#[test]
fn full_chunks_leave_memory_with_upkeep_and_come_back_at_start() {
    let disk = MemDisk::new();
    let (store, _) = open(&disk);
    let expected = fill(&store);
    let held = || {
        let mut held = (0, 0);
        store.head.each(store.head.index().live(), |_, series| {
            let in_file = series.closed().iter().filter(|c| c.held.place().is_some()).count();
            held = (held.0 + in_file, held.1 + series.closed().len());
        });
        held
    };
    let (_, closed) = held();
    assert!(closed >= 6 * 3, "{closed}");
    assert_eq!(held(), (0, closed));
    store.maintain().unwrap();
    assert_eq!(held(), (closed, closed));
    assert_eq!(store.head.write_closed_chunks().unwrap(), 0, "nothing is written twice");
    assert_same(&select(&store, TimeRange::ALL), &expected, "from files");
    let early = range(START, START + 70_000);
    assert_eq!(latest(&store, early).len(), 6, "the newest sample of an old range lies in a file");
    drop(store);

    let (store, report) = open(&disk);
    assert_eq!((report.chunks, report.out_of_order, report.damage.len()), (closed as u64, 0, 0));
    assert!(report.samples < 600 * 6 / 2, "samples in files are not taken from the log: {}", report.samples);
    assert_same(&select(&store, TimeRange::ALL), &expected, "after a restart");
    append(&store, &[(labels(0), START + 600 * 15_000, Value::Float(-1.0))]);
    assert_eq!(select(&store, TimeRange::ALL)[&labels(0)].len(), 601);
}

#[test]
fn whatever_happens_to_files_of_chunks_the_log_has_their_samples() {
    let disk = MemDisk::new();
    let (store, _) = open(&disk);
    let expected = fill(&store);
    store.maintain().unwrap();
    drop(store);
    let file = disk.read(&chunk_file(1)).unwrap();
    for at in (0..file.len()).step_by(file.len() / 40) {
        let mut damaged = file.clone();
        damaged[at] ^= 0x10;
        for bytes in [&damaged[..], &file[..at]] {
            let disk = disk.fork();
            disk.write(&chunk_file(1), bytes);
            let (store, _) = open(&disk);
            assert_same(&select(&store, TimeRange::ALL), &expected, &format!("byte {at} of {}", bytes.len()));
        }
    }
}

#[test]
fn chunks_that_go_backwards_or_belong_to_nobody_are_left_aside() {
    let disk = MemDisk::new();
    let (store, _) = open(&disk);
    let expected = fill(&store);
    store.maintain().unwrap();
    drop(store);
    let (files, found, _) = HeadChunks::open(
        Arc::new(disk.clone()),
        &Path::new("/data").join(HEAD_CHUNKS_DIR),
        head_chunks::Options::default(),
    )
    .unwrap();
    let (encoding, data) = files.read(found[0].place).unwrap();
    // The first chunk once more, one of a series that the log does not name, and one that ends before it begins.
    let first = found[0];
    files.append(first.series, first.min, first.max, encoding, false, &data).unwrap();
    files.append(1 << 30, first.min, first.max, encoding, false, &data).unwrap();
    files.append(first.series, i64::MAX, first.min, Encoding::Xor, false, &data).unwrap();
    files.sync().unwrap();
    drop(files);
    let (store, report) = open(&disk);
    assert_eq!(report.chunks, found.len() as u64);
    assert_same(&select(&store, TimeRange::ALL), &expected, "with foreign chunks");
    let mut appender = store.appender();
    appender.series(&labels(50)).unwrap();
    appender.commit().unwrap();
    assert!(store.head.wal_refs().iter().max() > Some(&(1 << 30)), "a reference in a file is not given away again");
}

#[test]
fn a_full_disk_keeps_chunks_in_memory() {
    let disk = MemDisk::new();
    let (store, _) = open(&disk);
    let expected = fill(&store);
    store.sync().unwrap();
    disk.set_room(Some(0));
    assert!(store.head.write_closed_chunks().is_err());
    assert_same(&select(&store, TimeRange::ALL), &expected, "while the disk is full");
    disk.set_room(None);
    assert!(store.head.write_closed_chunks().unwrap() > 0);
    assert_same(&select(&store, TimeRange::ALL), &expected, "once it is not");
}

#[test]
fn what_is_deleted_is_hidden_at_once_and_after_a_restart_and_what_comes_later_is_not() {
    let disk = MemDisk::new();
    let (store, _) = open(&disk);
    fill(&store);
    let even: Vec<Selector> = vec![vec![Matcher::new(MatchOp::Equal, "group", "even").unwrap()]];
    let end = START + 599 * 15_000;
    assert_eq!(store.delete_in_head(&even, range(START + 15_000, START + 10 * 15_000)).unwrap(), 3);
    assert_eq!(store.delete_in_head(&even, range(end, i64::MAX)).unwrap(), 3);
    assert_eq!(store.delete_in_head(&even, range(end + 1, i64::MAX)).unwrap(), 0, "there is nothing");
    let odd_one = vec![vec![Matcher::new(MatchOp::Equal, "n", "1").unwrap()]];
    assert_eq!(store.delete_in_head(&odd_one, TimeRange::ALL).unwrap(), 1);
    append(&store, &[(labels(0), end + 15_000, Value::Float(7.0))]);
    let check = |store: &Tsdb, what: &str| {
        let found = select(store, TimeRange::ALL);
        let counts: Vec<_> = (0..6).map(|s| found.get(&labels(s)).map_or(0, Vec::len)).collect();
        assert_eq!(counts, [600 - 10, 0, 600 - 11, 600, 600 - 11, 600], "{what}");
        let rows = latest(store, TimeRange::ALL);
        let times: Vec<_> = rows.iter().map(|row| (row.1 - START) / 15_000).collect();
        assert_eq!(times, [600, 598, 598, 599, 599], "{what}");
        let values = store.label_values(&Scope::unbounded(), "n", &LabelRequest::ALL).unwrap().0;
        assert_eq!(values, ["0", "2", "3", "4", "5"], "{what}");
    };
    check(&store, "at once");
    store.maintain().unwrap();
    check(&store, "after upkeep");
    drop(store);
    let (store, report) = open(&disk);
    assert_eq!(report.skipped_records.len(), 0);
    check(&store, "after a restart");
}

#[test]
fn an_open_stream_keeps_what_is_deleted_under_it() {
    let (store, _) = open(&MemDisk::new());
    let expected = fill(&store);
    let request = SelectRequest { selectors: &[vec![]], range: TimeRange::ALL, sorted: true, limit: None };
    let stream = store.select(&Scope::unbounded(), &request).unwrap();
    store.delete_in_head(&[vec![]], TimeRange::ALL).unwrap();
    assert_same(&drain(stream, TimeRange::ALL), &expected, "of its beginning");
    assert!(select(&store, TimeRange::ALL).is_empty());
}

fn of_name(name: &str, more: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(more.iter().copied().chain([("__name__", name)]))
}

/// What a stream brings, batch by batch.
fn batches(mut stream: Box<dyn LatestStream + '_>) -> Vec<Vec<(Labels, i64, u64)>> {
    let (mut batch, mut all) = (LatestBatch::default(), Vec::new());
    while let StreamStep::Batch = stream.next(&mut batch).unwrap() {
        let row = |r: &LatestRow| (Labels::from_encoded(batch.labels(r)), r.t.0, said(&batch, r));
        all.push(batch.rows.iter().map(row).collect());
    }
    all
}

#[test]
fn newest_histograms_are_those_of_the_opening_and_come_a_batch_at_a_time() {
    const SERIES: usize = 2500;
    let (store, _) = open(&MemDisk::new());
    let commit = |t: i64| {
        let histogram = |i: usize| match i.is_multiple_of(2) {
            true => Value::Histogram(Box::new(integer(&[1, t - START]))),
            false => Value::FloatHistogram(Box::new(float(&[1, t - START]))),
        };
        append(&store, &(0..SERIES).map(|i| (labels(i), t, histogram(i))).collect::<Vec<_>>());
    };
    (1..4).for_each(|i| commit(START + i));
    let expected = latest(&store, TimeRange::ALL);
    let request = SelectRequest { selectors: &[vec![]], range: TimeRange::ALL, sorted: true, limit: None };
    let stream = store.select_latest(&Scope::unbounded(), &request).unwrap();
    // More buckets write the open chunk anew, a later range closes it.
    commit(START + 1000);
    append(&store, &[(labels(0), START + 2000, Value::Histogram(Box::new(integer(&[1, 5000, 5000, 5000]))))]);
    append(&store, &[(labels(1), START + 2000, Value::Float(STALE_NAN))]);
    append(&store, &[(labels(2), START + RANGE, Value::Float(7.0))]);
    let found = batches(stream);
    assert!(found.len() > 2 && found.iter().all(|batch| batch.len() <= 1000));
    let found = found.concat();
    assert_eq!(found.len(), SERIES);
    assert_eq!(found, expected);
    let newer = latest(&store, TimeRange::ALL);
    assert_eq!(newer.len(), SERIES - 1, "one has ended");
}

#[test]
fn newest_samples_tell_since_when_they_are_counted() {
    let (store, _) = open(&MemDisk::new());
    let mut appender = store.appender();
    let (f, h) = (appender.series(&of_name("f", &[])).unwrap(), appender.series(&of_name("h", &[])).unwrap());
    let (t, start) = (TimestampMs(START), TimestampMs(START - 5000));
    let sample = FloatSample { series: f, t, v: 3.0 };
    assert_eq!(appender.append_with_starts(&[sample], &[start]).unwrap(), UnknownSeries::default());
    let histogram = integer(&[1, 2]);
    let sample = HistogramSample { series: h, t, start, value: HistogramRef::Integer(&histogram) };
    assert_eq!(appender.append_histograms(&[sample]).unwrap(), UnknownSeries::default());
    assert_eq!(appender.commit().unwrap().appended, 2);
    let request = SelectRequest { selectors: &[vec![]], range: TimeRange::ALL, sorted: true, limit: None };
    let mut stream = store.select_latest(&Scope::unbounded(), &request).unwrap();
    let mut batch = LatestBatch::default();
    assert!(matches!(stream.next(&mut batch).unwrap(), StreamStep::Batch));
    let said: Vec<_> = batch.rows.iter().map(|row| (row.t, batch.counted_since(row))).collect();
    assert_eq!(said, [(t, start), (t, start)]);
    assert!(matches!(batch.value(&batch.rows[0]), NewestValue::Float(3.0)));
    assert!(matches!(batch.value(&batch.rows[1]), NewestValue::Histogram(HistogramRef::Integer(h)) if h.count == 3));
}

#[test]
fn the_series_of_a_family_come_metric_by_metric_and_only_plain_labels_are_in_text() {
    let (store, _) = open(&MemDisk::new());
    let names = [("h_bucket", "le", "10"), ("h_bucket", "le", "2"), ("h_count", "", ""), ("h_bytes", "", "")];
    for (n, instance) in ["a", "b\"c"].into_iter().enumerate() {
        for (name, label, value) in names {
            let own: &[(&str, &str)] = if label.is_empty() { &[] } else { &[(label, value)] };
            let pairs = [own, &[("instance", instance)]].concat();
            append(&store, &[(of_name(name, &pairs), START + n as i64, Value::Float(1.0))]);
        }
    }
    let request = SelectRequest { selectors: &[vec![]], range: TimeRange::ALL, sorted: true, limit: None };
    let mut stream = store.select_latest(&Scope::unbounded(), &request).unwrap();
    let mut asked = Vec::new();
    assert!(stream.by_family(&mut |name, _| {
        // Whoever answers may need the store.
        assert!(store.head.index.try_write().is_some(), "the index is held");
        asked.push(name.to_owned());
        let (rank, by) = match name {
            "h_bucket" => (0, Some("le")),
            "h_count" => (1, None),
            _ => return None,
        };
        Some(FamilyPart { family: 0, rank, by })
    }));
    assert_eq!(asked, ["h_bucket", "h_bytes", "h_count"]);
    let mut batch = LatestBatch::in_text(vec!["le".to_owned(), "absent".to_owned(), "instance".to_owned()]);
    assert!(matches!(stream.next(&mut batch).unwrap(), StreamStep::Batch));
    let row = |r: &LatestRow| match batch.text(r) {
        Some(TextRow { name, labels, has }) => [name, b" ", labels, format!(" {has:b}").as_bytes()].concat(),
        None => Labels::from_encoded(batch.labels(r)).to_string().into_bytes(),
    };
    let found: Vec<_> = batch.rows.iter().map(|r| String::from_utf8(row(r)).unwrap()).collect();
    let expected = [
        r#"h_bucket instance="a",le="2", 101"#,
        r#"h_bucket instance="a",le="10", 101"#,
        r#"h_count instance="a", 100"#,
        r#"h_bucket{instance="b\"c", le="2"}"#,
        r#"h_bucket{instance="b\"c", le="10"}"#,
        r#"h_count{instance="b\"c"}"#,
        r#"h_bytes instance="a", 100"#,
        r#"h_bytes{instance="b\"c"}"#,
    ];
    assert_eq!(found, expected);
}

#[test]
fn newest_samples_are_there_at_once_while_nobody_changes_the_head_and_its_series_are_in_order() {
    let disk = MemDisk::new();
    let (store, _) = open(&disk);
    let append = |i| append(&store, &[(labels(i), START, Value::Float(1.0))]);
    append(1);
    assert!(!store.is_prompt(), "a series without its rank");
    assert_eq!(latest(&store, TimeRange::ALL).len(), 1);
    assert!(store.is_prompt());
    append(1);
    assert!(store.is_prompt(), "no new series");
    {
        let _commit = store.head.applying.lock();
        assert!(!store.is_prompt());
    }
    {
        let _reader = store.head.index.read();
        assert!(store.is_prompt(), "readers do not keep each other waiting");
    }
    {
        let _change = store.head.index.write();
        assert!(!store.is_prompt());
    }
    append(2);
    assert!(!store.is_prompt());
}
