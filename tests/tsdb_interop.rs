//! The data directory is Prometheus's: a real one opens what we wrote, and we open what a real one wrote.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use support::peers::Peers;
use support::process::Home;
use support::{http, now_ms, wait_for};
use watershed::disk::RealDisk;
use watershed::model::{Exemplar, Labels, MetricType, STALE_NAN, TimestampMs, is_stale};
use watershed::runtime::Clock;
use watershed::storage::{
    Appendable, Columns, Encoding, FloatSample, Queryable, Scope, SelectRequest, SeriesBatch, StreamStep, TimeRange,
    decode_into,
};
use watershed::telemetry::Registry;
use watershed::tsdb::{Deps, OpenReport, Options, Settings, Tsdb};

/// Samples by series: time in milliseconds and value bits, staleness markers left out because no query shows them.
type Dump = BTreeMap<Labels, Vec<(i64, u64)>>;

fn open(dir: &Path, clock: &Clock, options: Options) -> (Tsdb, OpenReport) {
    let deps = Deps { disk: Arc::new(RealDisk), clock: clock.clone(), registry: Registry::new() };
    Tsdb::open(dir, options, deps).unwrap()
}

fn append(store: &Tsdb, samples: &[(Labels, i64, f64)]) {
    let mut appender = store.appender();
    let batch: Vec<_> = samples
        .iter()
        .map(|(labels, t, v)| FloatSample { series: appender.series(labels).unwrap(), t: TimestampMs(*t), v: *v })
        .collect();
    assert!(appender.append(&batch).unwrap().0.is_empty());
    assert_eq!(appender.commit().unwrap().appended, batch.len() as u64);
}

/// One NaN stands for all: JSON has no more than one.
fn bits(v: f64) -> u64 {
    if v.is_nan() { f64::NAN.to_bits() } else { v.to_bits() }
}

fn ours(store: &Tsdb, range: TimeRange) -> Dump {
    let selectors = [vec![]];
    let request = SelectRequest { selectors: &selectors, range, sorted: true, limit: None };
    let mut stream = store.select(&Scope::unbounded(), &request).unwrap();
    let (mut batch, mut dump) = (SeriesBatch::default(), Dump::new());
    while let StreamStep::Batch = stream.next(&mut batch).unwrap() {
        for series in &batch.series {
            let mut columns = Columns::default();
            // Native histograms are compared elsewhere.
            let floats = series.chunks.iter().filter(|c| matches!(c.encoding, Encoding::Xor | Encoding::Xor2));
            floats.for_each(|c| decode_into(c, &mut columns).unwrap());
            let kept = columns.iter().filter(|s| range.contains(s.t) && !is_stale(s.v));
            let samples: Vec<_> = kept.map(|s| (s.t.0, bits(s.v))).collect();
            if !samples.is_empty() {
                dump.insert(series.labels.clone(), samples);
            }
        }
    }
    dump
}

/// What a Prometheus holds in `(at - minutes, at]`.
fn theirs(base: &str, at: i64, minutes: i64) -> Dump {
    let (query, time) = (format!("{{__name__=~\".+\"}}[{minutes}m]"), format!("{}", at as f64 / 1000.0));
    let data = http::get_api(&http::url(base, "/api/v1/query", &[("query", &query), ("time", &time)])).unwrap();
    let mut dump = Dump::new();
    for series in data["result"].as_array().unwrap() {
        let metric = series["metric"].as_object().unwrap();
        let labels = Labels::from_pairs(metric.iter().map(|(n, v)| (n.as_str(), v.as_str().unwrap())));
        let Some(values) = series["values"].as_array() else { continue };
        let sample = |pair: &serde_json::Value| {
            let t = (pair[0].as_f64().unwrap() * 1000.0).round() as i64;
            (t, bits(pair[1].as_str().unwrap().parse::<f64>().unwrap()))
        };
        dump.insert(labels, values.iter().map(sample).collect());
    }
    dump
}

fn assert_same(found: &Dump, expected: &Dump, what: &str) {
    let keys = |d: &Dump| d.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(found), keys(expected), "{what}: the series differ");
    for (labels, samples) in expected {
        assert_eq!(&found[labels], samples, "{what}: {labels}");
    }
}

fn range(min: i64, max: i64) -> TimeRange {
    TimeRange { min: TimestampMs(min), max: TimestampMs(max) }
}

/// Adds the beginning of a record whose rest never came.
fn tear_last_segment(wal: &Path) {
    let names = std::fs::read_dir(wal).unwrap().map(|e| e.unwrap().path());
    let last = names.filter(|p| p.is_file()).max().unwrap();
    let mut bytes = std::fs::read(&last).unwrap();
    bytes.extend_from_slice(&[1, 0x10, 0x00, 1, 2, 3, 4, 5, 6, 7]);
    std::fs::write(&last, bytes).unwrap();
}

#[test]
fn prometheus_opens_what_we_wrote_with_checkpoint_restarts_and_a_torn_end() {
    let Some(peers) = Peers::find(&["prometheus"]) else { return };
    let home = Home::new();
    let options = Options { chunk_range: "40m".parse().unwrap(), segment_size: 1 << 18, ..Options::default() };
    let (now, step) = (now_ms(), 15_000);
    let rounds = 360;
    let start = now - rounds * step;
    let clock = Clock::manual(TimestampMs(start));
    let special = [f64::NAN, f64::INFINITY, -0.0, STALE_NAN, 5e-324, 1e300];
    let mut checkpoint = None;
    let (mut store, _) = open(&home.data_path(), &clock, options.clone());
    for round in 0..rounds {
        let t = start + round * step;
        clock.set(TimestampMs(t));
        let samples: Vec<_> = (0..200i64)
            .map(|i| {
                // A fifth of the series lives for a while only, so that references run out and are dropped.
                let number = if i % 5 == 0 { format!("{}-{}", i, round / 90) } else { i.to_string() };
                let labels = Labels::from_pairs([
                    ("__name__", "requests_total"),
                    ("instance", &number),
                    ("long", &"ü".repeat(i as usize)),
                ]);
                let v = if i == 3 { special[round as usize % special.len()] } else { (round * i) as f64 * 0.1 };
                (labels, t, v)
            })
            .collect();
        append(&store, &samples);
        if round % 4 == 0 {
            checkpoint = store.maintain().unwrap().checkpoint.or(checkpoint);
        }
        if round % 100 == 50 {
            drop(store);
            let (reopened, report) = open(&home.data_path(), &clock, options.clone());
            assert_eq!((report.damage, report.unknown_series), (vec![], 0));
            store = reopened;
        }
    }
    assert!(checkpoint.is_some(), "the run never wrote a checkpoint");
    let last = start + (rounds - 1) * step;
    let expected = ours(&store, range(last - 30 * 60_000 + 1, last));
    store.close().unwrap();
    tear_last_segment(&home.data_path().join("wal"));
    let (store, report) = open(&home.data_path(), &clock, options.clone());
    assert_eq!((report.damage.len(), report.repairs.len()), (1, 1), "the torn end must be told");
    store.close().unwrap();

    home.write_config("global: {}\n");
    let prometheus = home.prometheus(&peers, &[]);
    assert_same(&theirs(&prometheus.url, last, 30), &expected, "read by Prometheus");
    let log = prometheus.log();
    assert!(!log.contains("level=ERROR") && !log.contains("corrupt"), "{log}");
    prometheus.kill();

    // Now the other way on the same directory: what Prometheus made of it is still ours.
    let (store, report) = open(&home.data_path(), &clock, options);
    assert_eq!((report.damage, report.unknown_series), (vec![], 0));
    assert_same(&ours(&store, range(last - 30 * 60_000 + 1, last)), &expected, "read back");
}

#[test]
fn we_open_what_a_killed_prometheus_wrote_and_it_opens_what_we_added() {
    let Some(peers) = Peers::find(&["prometheus"]) else { return };
    let features = "--enable-feature=native-histograms,exemplar-storage,metadata-wal-records";
    let variants: [(&str, &[&str]); 3] = [
        ("snappy", &[]),
        ("none", &["--no-storage.tsdb.wal-compression"]),
        ("zstd with every record kind", &["--storage.tsdb.wal-compression-type=zstd", features]),
    ];
    for (what, flags) in variants {
        let home = Home::new();
        let target = home.address();
        home.write_config(&format!(
            "scrape_configs: [{{job_name: self, scrape_interval: 1s, static_configs: [{{targets: ['{target}']}}]}}]\n"
        ));
        let prometheus = home.prometheus(&peers, flags);
        let at = wait_for("five scrapes", Duration::from_secs(60), || {
            let (now, query) = (now_ms(), "count_over_time(up[1m])");
            let data = http::get_api(&http::url(&prometheus.url, "/api/v1/query", &[("query", query)]))
                .map_err(|e| e.to_string())?;
            let n: f64 = data["result"][0]["value"][1].as_str().unwrap_or("0").parse().unwrap();
            if n >= 5.0 { Ok(now) } else { Err(format!("{n} scrapes")) }
        });
        let before = theirs(&prometheus.url, at, 5);
        prometheus.kill();

        let clock = Clock::system();
        let (store, report) = open(&home.data_path(), &clock, Options::default());
        eprintln!("{what}: {report:?}");
        assert_eq!((&report.damage[..], report.unknown_series), (&[][..], 0), "{what}");
        assert!(before.len() > 100, "{what}: only {} series", before.len());
        assert_same(&ours(&store, range(at - 5 * 60_000 + 1, at)), &before, what);
        if flags.contains(&features) {
            assert!(report.skipped_records.is_empty(), "{what}: {:?}", report.skipped_records);
            let up = before.keys().find(|l| l.metric_name() == Some("prometheus_build_info")).unwrap();
            let series = store.appender().series(up).unwrap();
            assert_eq!(store.metadata_of(series).unwrap().metric_type, MetricType::Gauge, "{what}");
        }

        let added = Labels::from_pairs([("__name__", "added_by_us"), ("job", "x")]);
        let continued = before.keys().find(|l| l.metric_name() == Some("up")).unwrap().clone();
        let (_, newest) = store.time_range().unwrap();
        append(&store, &[(added.clone(), newest.0 + 1, 7.0), (continued.clone(), newest.0 + 1, 0.5)]);
        if flags.contains(&features) {
            store.apply(Settings { max_exemplars: 10, ..Settings::default() });
            let mut appender = store.appender();
            let series = appender.series(&added).unwrap();
            let labels = Labels::from_pairs([("trace_id", "abc")]);
            let exemplar = Exemplar { labels, value: 1.5, t: None };
            assert!(appender.append_exemplars(series, TimestampMs(newest.0 + 1), &[exemplar]).unwrap());
            appender.commit().unwrap();
        }
        let expected = ours(&store, range(newest.0 - 5 * 60_000, newest.0 + 1));
        store.close().unwrap();
        home.write_config("global: {}\n");
        let prometheus = home.prometheus(&peers, flags);
        if flags.contains(&features) {
            let parameters = [("query", "added_by_us"), ("start", "0"), ("end", "9999999999")];
            let data = http::get_api(&http::url(&prometheus.url, "/api/v1/query_exemplars", &parameters)).unwrap();
            let found = &data[0]["exemplars"][0];
            assert_eq!((&found["labels"]["trace_id"], &found["value"]), (&"abc".into(), &"1.5".into()), "{data}");
        }
        let found = theirs(&prometheus.url, newest.0 + 1, 5);
        for labels in [&added, &continued] {
            assert_eq!(found[labels], expected[labels], "{what}: {labels}");
        }
        assert_same(&found, &expected, what);
    }
}
