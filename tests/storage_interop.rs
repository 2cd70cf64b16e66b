//! Whole data directories go from one server to the other and back: floats, native histograms of every kind, late samples,
//! staleness, deletions, in blocks of several levels, head chunks and logs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod interop;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use interop::{copy_dir, kind_by_name, promtool_3_5, value};
use support::peers::Peers;
use support::process::{Home, Server};
use support::remote_write::{self, Histogram, histograms};
use support::{http, now_ms, wait_for};
use watershed::disk::RealDisk;
use watershed::model;
use watershed::model::number::General;
use watershed::model::{Labels, Matcher, STALE_NAN, TimestampMs, Value};
use watershed::runtime::Clock;
use watershed::storage::chunk::decode_values;
use watershed::storage::{
    Administrable, Appendable, FloatSample, HistogramRef, HistogramSample, LabelRequest, Queryable, Scope,
    SelectRequest, SeriesBatch, StreamStep, TimeRange,
};
use watershed::telemetry::Registry;
use watershed::tsdb::read_only::ReadOnly;
use watershed::tsdb::{Deps, OpenReport, Options, Settings, Starts, Tsdb};

const STEP: i64 = 15_000;
const MINUTE: i64 = 60_000;
/// Whether the store takes samples that come late.
const LATE: bool = true;
/// Whether the store forgets what it is told to.
const DELETES: bool = true;

/// Every sample by series and time.
type Samples = BTreeMap<Labels, BTreeMap<i64, Value>>;
/// The same in words that do not depend on who tells them. Staleness markers are left out: no query shows them.
type Shown = BTreeMap<Labels, BTreeMap<i64, String>>;

fn open(dir: &Path, clock: &Clock, options: Options) -> (Tsdb, OpenReport) {
    let deps = Deps { disk: Arc::new(RealDisk), clock: clock.clone(), registry: Registry::new() };
    Tsdb::open(dir, options, deps).unwrap()
}

fn range(min: i64, max: i64) -> TimeRange {
    TimeRange { min: TimestampMs(min), max: TimestampMs(max) }
}

fn selected(store: &dyn Queryable, range: TimeRange) -> Samples {
    let selectors = [vec![]];
    let request = SelectRequest { selectors: &selectors, range, sorted: true, limit: None };
    let mut stream = store.select(&Scope::unbounded(), &request).unwrap();
    let (mut batch, mut found, mut last) = (SeriesBatch::default(), Samples::new(), None);
    while let StreamStep::Batch = stream.next(&mut batch).unwrap() {
        for series in &batch.series {
            assert!(last.as_ref() < Some(&series.labels), "{:?} before {}", last, series.labels);
            last = Some(series.labels.clone());
            let mut samples = Vec::new();
            series.chunks.iter().for_each(|c| decode_values(c, &mut samples).unwrap());
            assert!(samples.is_sorted_by(|a, b| a.t < b.t), "{} is not in order", series.labels);
            let within: BTreeMap<i64, Value> =
                samples.into_iter().filter(|s| range.contains(s.t)).map(|s| (s.t.0, s.value)).collect();
            if !within.is_empty() {
                found.insert(series.labels.clone(), within);
            }
        }
    }
    found
}

/// One NaN stands for all, and minus zero for itself: what JSON and text can say.
fn number(v: f64) -> String {
    General(v).to_string()
}

/// A bucket as the API tells it: which bounds belong to it, the bounds, the count.
fn bucket(open: (bool, bool), lower: f64, upper: f64, count: f64) -> String {
    let rule = match open {
        (false, true) => 0,
        (true, false) => 1,
        (false, false) => 2,
        (true, true) => 3,
    };
    format!("{rule} {} {} {}", number(lower), number(upper), number(count))
}

fn shown(value: &Value) -> String {
    macro_rules! histogram {
        ($h:expr) => {{
            let h = $h;
            let told = |b: &watershed::model::Bucket<_>| {
                bucket((b.lower_inclusive, b.upper_inclusive), b.lower, b.upper, b.count as f64)
            };
            let mut buckets: Vec<String> =
                h.negative_buckets().filter(|b| b.count as f64 != 0.0).map(|b| told(&b)).collect();
            buckets.reverse();
            if h.zero_count as f64 != 0.0 {
                let threshold = h.layout.zero_threshold;
                buckets.push(bucket((true, true), -threshold, threshold, h.zero_count as f64));
            }
            buckets.extend(h.positive_buckets().filter(|b| b.count as f64 != 0.0).map(|b| told(&b)));
            format!("{} {} {buckets:?}", number(h.count as f64), number(h.sum))
        }};
    }
    match value {
        Value::Float(v) => number(*v),
        Value::Histogram(h) => histogram!(h),
        Value::FloatHistogram(h) => histogram!(h),
    }
}

fn shown_all(samples: &Samples) -> Shown {
    let series = |(labels, samples): (&Labels, &BTreeMap<i64, Value>)| {
        let told = samples.iter().filter(|(_, v)| !v.is_stale()).map(|(t, v)| (*t, shown(v)));
        (labels.clone(), told.collect::<BTreeMap<_, _>>())
    };
    samples.iter().map(series).filter(|(_, samples)| !samples.is_empty()).collect()
}

fn parsed(text: &serde_json::Value) -> f64 {
    text.as_str().unwrap().parse().unwrap()
}

/// What a Prometheus answers for `(at - minutes, at]`.
fn theirs(base: &str, at: i64, minutes: i64) -> Shown {
    let (query, time) = (format!("{{__name__=~\".+\"}}[{minutes}m]"), format!("{}", at as f64 / 1000.0));
    let data = http::get_api(&http::url(base, "/api/v1/query", &[("query", &query), ("time", &time)])).unwrap();
    let time = |t: &serde_json::Value| (t.as_f64().unwrap() * 1000.0).round() as i64;
    let mut all = Shown::new();
    for series in data["result"].as_array().unwrap() {
        let metric = series["metric"].as_object().unwrap();
        let labels = Labels::from_pairs(metric.iter().map(|(n, v)| (n.as_str(), v.as_str().unwrap())));
        let mut samples = BTreeMap::new();
        for pair in series["values"].as_array().into_iter().flatten() {
            samples.insert(time(&pair[0]), number(parsed(&pair[1])));
        }
        for pair in series["histograms"].as_array().into_iter().flatten() {
            let h = &pair[1];
            let told = |b: &serde_json::Value| {
                let bounds = [(false, true), (true, false), (false, false), (true, true)];
                bucket(bounds[b[0].as_u64().unwrap() as usize], parsed(&b[1]), parsed(&b[2]), parsed(&b[3]))
            };
            let buckets: Vec<String> = h["buckets"].as_array().into_iter().flatten().map(told).collect();
            let text = format!("{} {} {buckets:?}", number(parsed(&h["count"])), number(parsed(&h["sum"])));
            samples.insert(time(&pair[0]), text);
        }
        all.insert(labels, samples);
    }
    all
}

fn assert_same(found: &Shown, expected: &Shown, what: &str) {
    for (labels, samples) in expected {
        let Some(found) = found.get(labels) else { panic!("{what}: {labels} is missing") };
        for t in samples.keys().chain(found.keys()) {
            assert_eq!(found.get(t), samples.get(t), "{what}: {labels} at {t}");
        }
    }
    let extra: Vec<_> = found.keys().filter(|l| !expected.contains_key(*l)).collect();
    assert!(extra.is_empty(), "{what}: nobody knows of {extra:?}");
}

/// Names, values and series, as the API tells them and as the store does.
fn assert_same_labels(base: &str, store: &dyn Queryable, min: i64, max: i64) {
    let (start, end) = (format!("{}", min as f64 / 1000.0), format!("{}", max as f64 / 1000.0));
    let times = [("start", start.as_str()), ("end", end.as_str())];
    let strings = |data: serde_json::Value| -> Vec<String> {
        data.as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect()
    };
    let (scope, range) = (Scope::unbounded(), range(min, max));
    let all = LabelRequest { range, ..LabelRequest::ALL };
    let names = strings(http::get_api(&http::url(base, "/api/v1/labels", &times)).unwrap());
    assert_eq!(store.label_names(&scope, &all).unwrap().0, names);
    for name in &names {
        let values = strings(http::get_api(&http::url(base, &format!("/api/v1/label/{name}/values"), &times)).unwrap());
        assert_eq!(store.label_values(&scope, name, &all).unwrap().0, values, "{name}");
    }
    let selector = "{__name__=~\"c.*|h_.*\",kind!=\"1\"}";
    let query = [times[0], times[1], ("match[]", selector)];
    let data = http::get_api(&http::url(base, "/api/v1/series", &query)).unwrap();
    let pairs = |s: &serde_json::Value| {
        let pairs = s.as_object().unwrap().iter();
        Labels::from_pairs(pairs.map(|(n, v)| (n.as_str(), v.as_str().unwrap())))
    };
    let expected: BTreeSet<Labels> = data.as_array().unwrap().iter().map(pairs).collect();
    let selectors = [watershed::promql::parse_match(selector).unwrap()];
    let request = SelectRequest { selectors: &selectors, range, sorted: false, limit: None };
    let (mut stream, mut batch) = (store.select(&scope, &request).unwrap(), SeriesBatch::default());
    let mut found = BTreeSet::new();
    while let StreamStep::Batch = stream.next(&mut batch).unwrap() {
        found.extend(batch.series.iter().map(|s| s.labels.clone()));
    }
    assert!(expected.len() > 3, "only {} series", expected.len());
    assert_eq!(found, expected);
}

fn tool(exe: &Path, args: &[&str], dir: &Path) -> String {
    let out = Command::new(exe).arg("tsdb").args(args).arg(dir).output().unwrap();
    let errors = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success() && errors.is_empty(), "{args:?}: {errors}");
    String::from_utf8(out.stdout).unwrap()
}

/// `{labels} value time`, ascending.
fn dump_lines(samples: &Samples) -> Vec<String> {
    let mut lines = Vec::new();
    for (labels, samples) in samples {
        let pairs: Vec<String> = labels.iter().map(|(n, v)| format!("{n}={v:?}")).collect();
        for (t, value) in samples {
            let text = match value {
                Value::Float(v) => number(*v),
                Value::Histogram(h) => h.to_string(),
                Value::FloatHistogram(h) => h.to_string(),
            };
            lines.push(format!("{{{}}} {text} {t}", pairs.join(", ")));
        }
    }
    lines.sort_unstable();
    lines
}

fn assert_same_lines(dump: &str, expected: &[String], what: &str) {
    let mut lines: Vec<&str> = dump.lines().collect();
    lines.sort_unstable();
    for (found, expected) in lines.iter().zip(expected) {
        assert_eq!(found, expected, "{what}");
    }
    assert_eq!(lines.len(), expected.len(), "{what}");
}

/// Compares with promtool, also with a release that loses some histograms.
fn assert_same_dumps(theirs: &str, ours: &str) {
    if theirs != ours {
        let lossy: Vec<&str> = promtool_3_5(ours.lines(), kind_by_name);
        for (ours, theirs) in lossy.iter().zip(theirs.lines()) {
            assert_eq!(*ours, theirs, "the dumps");
        }
        assert_eq!(lossy.len(), theirs.lines().count(), "the dumps");
    }
}

fn labels(name: &str, kind: usize) -> Labels {
    let (kind, long) = (kind.to_string(), "ü".repeat(kind));
    Labels::from_pairs([("__name__", name), ("kind", kind.as_str()), ("long", &long), ("A", "upper case sorts first")])
}

fn float_at(kind: usize, round: i64) -> f64 {
    let special = [0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 5e-324, 1e300, 0.1];
    match kind {
        0 => special[round as usize % special.len()],
        1 => 1.0,
        _ => (round * kind as i64) as f64 * 0.1,
    }
}

/// A store that is written to, and what it must hold.
struct Writer {
    store: Tsdb,
    clock: Clock,
    truth: Samples,
}

impl Writer {
    /// Appends a batch; every sample must be taken.
    fn append(&mut self, samples: &[(Labels, i64, Value)]) {
        let mut appender = self.store.appender();
        let (mut floats, mut histograms) = (Vec::new(), Vec::new());
        for (labels, t, value) in samples {
            let (series, start, t) = (appender.series(labels).unwrap(), TimestampMs(*t - 1), TimestampMs(*t));
            let histogram = |value| HistogramSample { series, t, start, value };
            match value {
                Value::Float(v) => floats.push(FloatSample { series, t, v: *v }),
                Value::Histogram(h) => histograms.push(histogram(HistogramRef::Integer(h))),
                Value::FloatHistogram(h) => histograms.push(histogram(HistogramRef::Float(h))),
            }
        }
        let starts: Vec<_> = floats.iter().map(|sample| TimestampMs(sample.t.0 - 1)).collect();
        assert!(appender.append_with_starts(&floats, &starts).unwrap().0.is_empty());
        assert!(appender.append_histograms(&histograms).unwrap().0.is_empty());
        let report = appender.commit().unwrap();
        assert_eq!(report.appended, samples.len() as u64, "{report:?}");
        for (labels, t, value) in samples {
            self.truth.entry(labels.clone()).or_default().insert(*t, value.clone());
        }
    }

    fn delete(&mut self, labels: &Labels, min: i64, max: i64) {
        let selector = labels.iter().map(|(n, v)| Matcher::equal(n, v)).collect();
        self.store.delete(&[selector], range(min, max)).unwrap();
        self.truth.get_mut(labels).unwrap().retain(|t, _| !(min..=max).contains(t));
    }
}

/// The samples of one round.
fn round_of(round: i64, t: i64, kinds: &[Vec<Histogram>]) -> Vec<(Labels, i64, Value)> {
    let mut samples = Vec::new();
    for kind in 0..12usize {
        // Some come only every other time, some end with a marker and come back.
        let phase = round % 200;
        match kind {
            5 if phase == 150 => samples.push((labels("c", kind), t, Value::Float(STALE_NAN))),
            5 if phase > 150 => {}
            7 if round % 2 == 1 => {}
            _ => samples.push((labels("c", kind), t, Value::Float(float_at(kind, round)))),
        }
    }
    for (kind, values) in kinds.iter().enumerate() {
        let mut value = value(&values[round as usize]);
        if kind == 2 && round % 100 == 60 {
            match &mut value {
                Value::Histogram(h) => **h = model::Histogram { sum: STALE_NAN, ..Default::default() },
                Value::FloatHistogram(h) => **h = model::FloatHistogram { sum: STALE_NAN, ..Default::default() },
                Value::Float(_) => {}
            }
        }
        samples.push((labels(&format!("h_{kind}"), kind), t, value));
    }
    // A series that lives for a while only.
    samples.push((labels(&format!("churn_{}", round / 300), 3), t, Value::Float(round as f64)));
    samples
}

/// Samples that come half an hour late, some of them where there is one already.
fn late_of(round: i64, t: i64) -> Vec<(Labels, i64, Value)> {
    let at = t - 30 * MINUTE + 7;
    let mut histogram = histograms(1, 1).remove(0);
    histogram.sum = round as f64;
    vec![
        (labels("c", 2), at, Value::Float(-(round as f64))),
        (labels("c", 1), at - STEP, Value::Float(2.0)),
        (labels("h_1", 1), at, value(&histogram)),
    ]
}

#[test]
fn prometheus_and_its_tool_read_a_directory_that_watershed_wrote() {
    let Some(peers) = Peers::find(&["prometheus", "promtool"]) else { return };
    let home = Home::new();
    let options = Options {
        chunk_range: "30m".parse().unwrap(),
        segment_size: 1 << 18,
        // This server is older than the formats with start timestamps.
        settings: Settings { out_of_order_window: "1h".parse().unwrap(), starts: Starts::Drop, ..Settings::default() },
        ..Options::default()
    };
    let rounds = 1440;
    let start = (now_ms() - rounds * STEP) / MINUTE * MINUTE;
    let clock = Clock::manual(TimestampMs(start));
    let (store, _) = open(&home.data_path(), &clock, options.clone());
    let mut writer = Writer { store, clock, truth: Samples::new() };
    let kinds: Vec<Vec<Histogram>> = (0..7).map(|kind| histograms(kind, rounds as usize)).collect();
    for round in 0..rounds {
        let t = start + round * STEP;
        writer.clock.set(TimestampMs(t));
        writer.append(&round_of(round, t, &kinds));
        if LATE && round % 10 == 9 && round > 130 {
            writer.append(&late_of(round, t));
        }
        if round % 20 == 0 {
            writer.store.maintain().unwrap();
        }
        if round % 500 == 400 {
            if DELETES {
                // In a block and in the head.
                writer.delete(&labels("c", 4), t - 100 * MINUTE, t - 95 * MINUTE);
                writer.delete(&labels("h_3", 3), t - 3 * MINUTE, t - MINUTE);
            }
            let Writer { store, clock, truth } = writer;
            store.close().unwrap();
            let (store, report) = open(&home.data_path(), &clock, options.clone());
            assert_eq!((&report.damage[..], report.unknown_series), (&[][..], 0));
            writer = Writer { store, clock, truth };
        }
    }
    let last = start + (rounds - 1) * STEP;
    let Writer { store, truth, .. } = writer;
    let expected = shown_all(&truth);
    assert_same(&shown_all(&selected(&store, TimeRange::ALL)), &expected, "our own answer");
    store.close().unwrap();

    let (blocks, broken) = ReadOnly::open(Arc::new(RealDisk), &home.data_path()).unwrap().blocks().unwrap();
    assert!(broken.is_empty(), "{broken:?}");
    let levels: BTreeSet<u32> = blocks.iter().map(|b| b.meta().compaction.level).collect();
    assert!(blocks.len() >= 3 && levels.len() >= 2, "{} blocks of the levels {levels:?}", blocks.len());
    blocks.iter().for_each(|b| b.verify().unwrap());

    let promtool = peers.path("promtool");
    let list = tool(&promtool, &["list"], &home.data_path());
    assert_eq!(list.lines().count(), blocks.len() + 1, "{list}");
    assert!(tool(&promtool, &["analyze", "--extended"], &home.data_path()).contains("samples per histogram chunk"));
    let lines = dump_lines(&truth);
    let watershed = Path::new(env!("CARGO_BIN_EXE_watershed"));
    let ours = tool(watershed, &["dump"], &home.data_path());
    assert_same_lines(&ours, &lines, "our dump");
    assert_same_dumps(&tool(&promtool, &["dump"], &home.data_path()), &ours);

    let copy = Home::new();
    copy_dir(&home.data_path(), &copy.data_path());
    copy.write_config("storage: {tsdb: {out_of_order_time_window: 1h}}\n");
    let prometheus = small_blocks(&copy, &peers);
    assert_same(&theirs(&prometheus.url, last, rounds / 4 + 1), &expected, "read by Prometheus");
    let (store, _) = ReadOnly::open(Arc::new(RealDisk), &home.data_path()).unwrap().store().unwrap();
    assert_same_labels(&prometheus.url, &store, start, last);
    let log = prometheus.log();
    assert!(!log.contains("level=ERROR") && !log.contains("corrupt"), "{log}");
    prometheus.kill();

    // And what it made of it is still ours.
    let (store, _) = ReadOnly::open(Arc::new(RealDisk), &copy.data_path()).unwrap().store().unwrap();
    assert_same(&shown_all(&selected(&store, TimeRange::ALL)), &expected, "read back");
}

/// A Prometheus whose blocks are as short as those of these tests.
fn small_blocks(home: &Home, peers: &Peers) -> Server {
    let flags = [
        "--storage.tsdb.min-block-duration=30m",
        "--storage.tsdb.max-block-duration=270m",
        "--storage.tsdb.retention.time=1y",
        "--web.enable-remote-write-receiver",
        "--web.enable-admin-api",
        "--enable-feature=native-histograms",
    ];
    home.prometheus(peers, &flags)
}

fn sent(samples: &[(Labels, i64, remote_write::Value)]) -> Vec<remote_write::Series> {
    let mut series: BTreeMap<&Labels, Vec<(i64, remote_write::Value)>> = BTreeMap::new();
    for (labels, t, value) in samples {
        series.entry(labels).or_default().push((*t, value.clone()));
    }
    let pairs = |labels: &Labels| labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    series.into_iter().map(|(l, samples)| remote_write::Series { labels: pairs(l), samples }).collect()
}

#[test]
fn watershed_reads_a_directory_that_a_killed_prometheus_wrote() {
    let Some(peers) = Peers::find(&["prometheus", "promtool"]) else { return };
    let home = Home::new();
    home.write_config("storage: {tsdb: {out_of_order_time_window: 1h}}\n");
    let prometheus = small_blocks(&home, &peers);
    let rounds = 1440;
    let start = (now_ms() - rounds * STEP) / MINUTE * MINUTE;
    let kinds: Vec<Vec<Histogram>> = (0..7).map(|kind| histograms(kind, rounds as usize)).collect();
    let mut batch = Vec::new();
    for round in 0..rounds {
        let t = start + round * STEP;
        for kind in 0..8 {
            let v = if kind == 5 && round % 200 == 150 { STALE_NAN } else { float_at(kind, round) };
            batch.push((labels("c", kind), t, remote_write::Value::Float(v)));
        }
        for (kind, values) in kinds.iter().enumerate() {
            let value = remote_write::Value::Histogram(values[round as usize].clone());
            batch.push((labels(&format!("h_{kind}"), kind), t, value));
        }
        if round % 10 == 9 {
            remote_write::send(&prometheus.url, &sent(&batch)).unwrap();
            batch.clear();
        }
        if LATE && round % 10 == 9 && round > 130 {
            let at = t - 30 * MINUTE + 7;
            let late = [
                (labels("c", 2), at, remote_write::Value::Float(-(round as f64))),
                (labels("h_1", 1), at, remote_write::Value::Histogram(kinds[1][round as usize].clone())),
            ];
            remote_write::send(&prometheus.url, &sent(&late)).unwrap();
        }
    }
    let last = start + (rounds - 1) * STEP;
    let blocks = || ReadOnly::open(Arc::new(RealDisk), &home.data_path()).unwrap().block_names().unwrap().len();
    wait_for("compacted blocks", Duration::from_secs(90), || match blocks() {
        n if n >= 3 => Ok(()),
        n => Err(format!("{n} blocks")),
    });
    let deleted = "{__name__=~\"c|h_3\",kind=~\"3|4\"}".to_owned();
    let seconds = |t: i64| format!("{}", t as f64 / 1000.0);
    for (from, to) in [(last - 300 * MINUTE, last - 280 * MINUTE), (last - 5 * MINUTE, last - 3 * MINUTE)] {
        let query = [("match[]", deleted.as_str()), ("start", &seconds(from)), ("end", &seconds(to))];
        let url = http::url(&prometheus.url, "/api/v1/admin/tsdb/delete_series", &query);
        assert_eq!(http::post(&url).unwrap().status, 204);
    }
    let expected = theirs(&prometheus.url, last, rounds / 4 + 1);
    assert!(expected.values().map(BTreeMap::len).sum::<usize>() > 20_000);
    let labels_of = |store: &dyn Queryable| assert_same_labels(&prometheus.url, store, start, last);
    // While it runs, without its lock; a compaction may come between, so only what does not change is compared.
    let (store, _) = ReadOnly::open(Arc::new(RealDisk), &home.data_path()).unwrap().store().unwrap();
    labels_of(&store);
    drop(store);
    prometheus.kill();

    let window = range(last - (rounds / 4 + 1) * MINUTE + 1, last);
    let (store, _) = ReadOnly::open(Arc::new(RealDisk), &home.data_path()).unwrap().store().unwrap();
    assert_same(&shown_all(&selected(&store, window)), &expected, "read by Watershed");
    drop(store);
    let files = |name: &str| std::fs::read_dir(home.data_path().join(name)).map_or(0, Iterator::count);
    assert!(files("wal") > 0 && (!LATE || files("wbl") > 0), "every kind of file");
    let watershed = Path::new(env!("CARGO_BIN_EXE_watershed"));
    let ours = tool(watershed, &["dump"], &home.data_path());
    // promtool leaves out what the log has before the end of the newest block, be it one of late samples: what it shows is
    // a part of what there is.
    let ours: BTreeSet<&str> = ours.lines().collect();
    let theirs = tool(&peers.path("promtool"), &["dump"], &home.data_path());
    assert!(theirs.lines().count() > 100, "promtool shows {} samples", theirs.lines().count());
    for line in theirs.lines() {
        assert!(ours.contains(line), "promtool alone shows {line}");
    }

    let options = Options { chunk_range: "30m".parse().unwrap(), ..Options::default() };
    let (store, report) = open(&home.data_path(), &Clock::system(), options);
    assert_eq!((&report.damage[..], report.unknown_series), (&[][..], 0));
    assert_same(&shown_all(&selected(&store, window)), &expected, "opened by Watershed");
}
