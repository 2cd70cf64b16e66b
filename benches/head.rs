//! What do a series, an append, a read of the newest samples or of chunks, an answer of `/federate` and a replay cost?
//!
//! `cargo bench --bench head` runs everything; `-- memory append latest federate select replay` picks. `-- memory 500000` sets the
//! number of series.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark prints and stops at the first mistake"
)]

use std::sync::Arc;
use std::time::Instant;

use watershed::disk::{Disk, RealDisk};
use watershed::federate::{self, Answer, negotiate};
use watershed::model::{Labels, MatchOp, Matcher, TimestampMs};
use watershed::runtime::Clock;
use watershed::storage::merge::MergedStream;
use watershed::storage::{
    Appendable, FloatSample, LatestBatch, Queryable, Scope, SelectRequest, SeriesBatch, SeriesRef, SeriesStream,
    StreamStep, TimeRange,
};
use watershed::telemetry::Registry;
use watershed::tsdb::block::{Block, BlockMeta, Ulid};
use watershed::tsdb::compact::write_block;
use watershed::tsdb::{Deps, OpenReport, Options, Tsdb};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const START: i64 = 1_700_000_000_000;
const STEP: i64 = 15_000;
const BATCH: usize = 1000;

fn open(dir: &std::path::Path) -> (Tsdb, OpenReport) {
    let deps = Deps { disk: Arc::new(RealDisk), clock: Clock::system(), registry: Registry::new() };
    Tsdb::open(dir, Options::default(), deps).unwrap()
}

/// Nine or ten labels, as an exporter behind service discovery has them.
fn labels(i: usize) -> Labels {
    let (target, metric) = (i / 1000, i % 1000);
    let text = |prefix: &str, n: usize| format!("{prefix}-{n}");
    let le = ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5"][metric % 10];
    Labels::from_pairs([
        ("__name__", &*format!("http_request_duration_seconds_{}_bucket", metric / 50)),
        ("instance", &*format!("10.0.{}.{}:9100", target / 250, target % 250)),
        ("job", &*text("service", target / 20)),
        ("cluster", "homelab"),
        ("namespace", &*text("team", target / 50)),
        ("pod", &*format!("service-{}-7d9f8b6c5-{target:05x}", target / 20)),
        ("method", ["GET", "POST"][metric / 10 % 2]),
        ("code", ["200", "404", "500"][metric / 20 % 3]),
        ("path", &*text("/api/v1/resource", metric / 60)),
        ("le", le),
    ])
}

/// Appends one round for every series in batches like scrapes; returns the seconds spent in the store.
fn round(store: &Tsdb, refs: &[SeriesRef], round: i64) -> f64 {
    let mut seconds = 0.0;
    let mut samples = Vec::with_capacity(BATCH);
    for (b, some) in refs.chunks(BATCH).enumerate() {
        samples.clear();
        let value = |i: usize| if i.is_multiple_of(3) { 1.0 } else { (round * (i as i64 % 17)) as f64 };
        let sample = |(i, series): (usize, &SeriesRef)| FloatSample {
            series: *series,
            t: TimestampMs(START + round * STEP + b as i64 % 7),
            v: value(i),
        };
        samples.extend(some.iter().enumerate().map(sample));
        let began = Instant::now();
        let mut appender = store.appender();
        assert!(appender.append(&samples).unwrap().0.is_empty());
        assert_eq!(appender.commit().unwrap().appended, some.len() as u64);
        seconds += began.elapsed().as_secs_f64();
    }
    seconds
}

fn create(store: &Tsdb, n: usize) -> (Vec<SeriesRef>, f64) {
    let mut seconds = 0.0;
    let mut refs = Vec::with_capacity(n);
    for first in (0..n).step_by(BATCH) {
        let sets: Vec<_> = (first..n.min(first + BATCH)).map(labels).collect();
        let began = Instant::now();
        let mut appender = store.appender();
        refs.extend(sets.iter().map(|l| appender.series(l).unwrap()));
        appender.commit().unwrap();
        seconds += began.elapsed().as_secs_f64();
    }
    (refs, seconds)
}

fn resident() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<f64>().unwrap() * 4096.0
}

fn memory(n: usize) {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let before = resident();
    let (refs, seconds) = create(&store, n);
    println!("create      {:7.0} ns a series", seconds * 1e9 / n as f64);
    for r in 0..5 {
        round(&store, &refs, r);
    }
    // The caller's own list of references is not the store's.
    let list = (refs.len() * size_of::<SeriesRef>()) as f64;
    println!("memory      {:7.0} B a series with 5 samples ({n} series)", (resident() - before - list) / n as f64);
    store.maintain().unwrap();
    let began = Instant::now();
    let n_latest = read_latest(&store);
    println!("first sort  {:7.0} ns a series", began.elapsed().as_secs_f64() * 1e9 / n_latest as f64);
    println!("memory      {:7.0} B a series after a sorted read", (resident() - before - list) / n as f64);
    for r in 5..120 {
        round(&store, &refs, r);
    }
    println!("memory      {:7.0} B a series with 120 samples", (resident() - before - list) / n as f64);
}

fn append(n: usize) {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let (refs, _) = create(&store, n);
    round(&store, &refs, 0);
    let rounds = 20;
    let seconds: f64 = (1..=rounds).map(|r| round(&store, &refs, r)).sum();
    println!("append      {:7.1} ns a sample with its log ({n} series)", seconds * 1e9 / (n as i64 * rounds) as f64);
}

fn read_latest(store: &Tsdb) -> usize {
    let selectors = [vec![Matcher::equal("cluster", "homelab")]];
    let request = SelectRequest { selectors: &selectors, range: TimeRange::ALL, sorted: true, limit: None };
    let mut stream = store.select_latest(&Scope::unbounded(), &request).unwrap();
    let (mut batch, mut rows) = (LatestBatch::default(), 0);
    while let StreamStep::Batch = stream.next(&mut batch).unwrap() {
        rows += batch.rows.len();
    }
    rows
}

fn latest(n: usize) {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let (refs, _) = create(&store, n);
    round(&store, &refs, 0);
    assert_eq!(read_latest(&store), n);
    let times = 10;
    let began = Instant::now();
    (0..times).for_each(|_| assert_eq!(read_latest(&store), n));
    println!(
        "latest      {:7.0} ns a series, sorted ({n} series)",
        began.elapsed().as_secs_f64() * 1e9 / (n * times) as f64
    );
}

/// Reads and writes what `/federate` answers; returns how many series there were.
fn answer(store: &Tsdb, name: &str, value: &str) -> u64 {
    let selectors = [vec![Matcher::equal(name, value)]];
    let request = SelectRequest { selectors: &selectors, range: TimeRange::ALL, sorted: true, limit: None };
    let mut stream = store.select_latest(&Scope::unbounded(), &request).unwrap();
    let (format, external, lookup) = (negotiate(""), Labels::empty(), |_: &str| None);
    let answer = Answer { format, external: &external, lookup: &lookup, exemplars: Vec::new() };
    federate::write(&mut *stream, answer, &mut |_| Ok(())).unwrap().series
}

fn federate(n: usize) {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let (refs, _) = create(&store, n);
    round(&store, &refs, 0);
    for (name, value, series) in [("instance", "10.0.0.0:9100", n.min(1000)), ("cluster", "homelab", n)] {
        assert_eq!(answer(&store, name, value), series as u64);
        let times = (2_000_000 / series).clamp(5, 2000);
        let began = Instant::now();
        (0..times).for_each(|_| assert_eq!(answer(&store, name, value), series as u64));
        let each = began.elapsed().as_secs_f64() * 1e9 / (series * times) as f64;
        println!("federate    {each:7.0} ns a series, {series} of {n} series");
    }
}

/// Reads a stream to its end; returns how many series there were.
fn read_chunks(mut stream: Box<dyn SeriesStream + '_>) -> usize {
    let (mut batch, mut series) = (SeriesBatch::default(), 0);
    while let StreamStep::Batch = stream.next(&mut batch).unwrap() {
        series += batch.series.len();
    }
    series
}

/// The same 4 chunks of each series, read from the head, from a block, and from two blocks merged.
fn select(n: usize) {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let (refs, _) = create(&store, n);
    for r in 0..480 {
        round(&store, &refs, r);
    }
    let selectors = |name: &str, value: &str| [vec![Matcher::equal(name, value)]];
    let (all, scope) = (selectors("cluster", "homelab"), Scope::unbounded());
    let request = SelectRequest { selectors: &all, range: TimeRange::ALL, sorted: true, limit: None };
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let block = || {
        let ulid = Ulid::generate(Clock::system().now());
        let meta = BlockMeta::new(ulid, START, START + 10_000_000);
        let mut stream = store.select(&scope, &request).unwrap();
        write_block(&disk, dir.path(), &mut *stream, meta, &scope).unwrap();
        Arc::new(Block::open(&*disk, &dir.path().join(ulid.to_string())).unwrap())
    };
    let (first, second) = (block(), block());
    let of_block = |block: &Arc<Block>, selectors: &[Vec<Matcher>]| -> Box<dyn SeriesStream> {
        Box::new(block.select(&scope, selectors, TimeRange::ALL, None).unwrap())
    };
    let measure = |what: &str, expected: usize, read: &dyn Fn() -> usize| {
        assert_eq!(read(), expected);
        let times = (1_000_000 / expected).clamp(5, 2000);
        let began = Instant::now();
        (0..times).for_each(|_| assert_eq!(read(), expected));
        let each = began.elapsed().as_secs_f64() * 1e9 / (expected * times) as f64;
        println!("select      {each:7.0} ns a series of 4 chunks, {expected} series from {what}");
    };
    measure("the head", n, &|| read_chunks(store.select(&scope, &request).unwrap()));
    measure("a block", n, &|| read_chunks(of_block(&first, &all)));
    measure("two equal blocks", n, &|| {
        let sources = vec![of_block(&first, &all), of_block(&second, &all)];
        read_chunks(Box::new(MergedStream::new(sources, &scope, None)))
    });
    let metric = selectors("__name__", "http_request_duration_seconds_3_bucket");
    let few = SelectRequest { selectors: &metric, ..request.clone() };
    measure("the head, by name", n / 20, &|| read_chunks(store.select(&scope, &few).unwrap()));
    measure("a block, by name", n / 20, &|| read_chunks(of_block(&first, &metric)));
    let pod = [vec![Matcher::new(MatchOp::Regex, "pod", "service-.*-00003").unwrap()]];
    let found = n.min(1000);
    measure("a block, by expression", found, &|| read_chunks(of_block(&first, &pod)));
}

fn replay(n: usize) {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let (refs, _) = create(&store, n);
    for r in 0..40 {
        round(&store, &refs, r);
    }
    store.close().unwrap();
    let (_store, report) = open(dir.path());
    assert_eq!((report.series, report.samples), (n as u64, n as u64 * 40));
    println!(
        "replay      {:7.2} s for {n} series x 40 samples, {:.0} ns a sample",
        report.seconds,
        report.seconds * 1e9 / report.samples as f64
    );
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let n = arguments.iter().find_map(|a| a.parse().ok());
    let wanted =
        |name: &str| arguments.iter().all(|a| a.parse::<usize>().is_ok()) || arguments.iter().any(|a| a == name);
    if wanted("memory") {
        memory(n.unwrap_or(500_000));
    }
    if wanted("append") {
        append(n.unwrap_or(100_000));
    }
    if wanted("latest") {
        latest(n.unwrap_or(100_000));
    }
    if wanted("federate") {
        federate(n.unwrap_or(100_000));
    }
    if wanted("select") {
        select(n.unwrap_or(10_000));
    }
    if wanted("replay") {
        replay(n.unwrap_or(200_000));
    }
}
