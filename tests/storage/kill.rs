//! A process that writes is killed again and again; what it had acknowledged is there each time.
//!
//! The writer is this very test executable, started with [`DIR`] set. It writes batches as fast as it can, in order and
//! late, while upkeep cuts blocks, compacts them and shortens the logs without pause, and says on its standard output
//! which batch has been committed. The test reads that, kills it in the middle of whatever it is doing, opens the
//! directory itself and looks.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use watershed::disk::RealDisk;
use watershed::model::{DurationMs, Labels, TimestampMs};
use watershed::runtime::Clock;
use watershed::storage::{
    Appendable as _, Columns, FloatSample, Queryable as _, Scope, SelectRequest, SeriesBatch, StreamStep, TimeRange,
    decode_into,
};
use watershed::telemetry::Registry;
use watershed::tsdb::{Deps, OpenReport, Options, Settings, Tsdb};

const ROUNDS: usize = 50;
const DIR: &str = "WATERSHED_KILL_DIR";
const START: i64 = 1_700_000_000_000;
const STEP: i64 = 15_000;
const SERIES: usize = 40;
/// Series that also get a sample of the past with each batch.
const LATE_SERIES: usize = 8;
/// How many batches ago that past is.
const LATE_BY: i64 = 7;

fn open(dir: &Path, clock: &Clock) -> (Tsdb, OpenReport) {
    let options = Options {
        chunk_range: DurationMs(20 * STEP),
        segment_size: 1 << 17,
        settings: Settings { out_of_order_window: DurationMs(60 * STEP), ..Settings::default() },
        ..Options::default()
    };
    let deps = Deps { disk: Arc::new(RealDisk), clock: clock.clone(), registry: Registry::new() };
    Tsdb::open(dir, options, deps).expect("the store opens, whatever happened to it")
}

fn time(batch: i64) -> i64 {
    START + batch * STEP
}

fn value(series: usize, t: i64) -> f64 {
    ((t / 1000) * 31 + series as i64 * 7) as f64
}

fn labels(series: usize) -> Labels {
    Labels::from_pairs([("__name__", "killed"), ("series", &format!("{series:03}"))])
}

/// The samples of a batch: one for each series, and for some one that should have come earlier.
fn samples(batch: i64) -> impl Iterator<Item = (usize, i64)> {
    let late = (batch >= LATE_BY).then(|| time(batch - LATE_BY) + STEP / 2);
    let now = (0..SERIES).map(move |series| (series, time(batch)));
    now.chain(late.into_iter().flat_map(|t| (0..LATE_SERIES).map(move |series| (series, t))))
}

/// Not a test: what the test runs as a process of its own.
#[test]
#[ignore = "started by the test that kills it"]
fn the_writer() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let clock = Clock::manual(TimestampMs(START));
    let (store, _) = open(Path::new(&dir), &clock);
    // The newest batch once more: of one that was not acknowledged, the late samples may be missing.
    let mut batch = store.time_range().map_or(0, |(_, max)| (max.0 - START) / STEP);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                store.maintain().expect("upkeep");
            }
        });
        // Nobody lets it come to its end, but a test that hangs is worse than one that fails.
        let until = Instant::now() + Duration::from_secs(60);
        while Instant::now() < until {
            clock.set(TimestampMs(time(batch)));
            let mut appender = store.appender();
            for (series, t) in samples(batch) {
                let reference = appender.series(&labels(series)).expect("a series");
                let sample = FloatSample { series: reference, t: TimestampMs(t), v: value(series, t) };
                assert!(appender.append(&[sample]).expect("taken").0.is_empty());
            }
            let report = appender.commit().expect("committed");
            assert_eq!(report.refused.total(), 0, "{report:?}");
            println!("committed {batch}");
            std::io::stdout().flush().expect("the test listens");
            batch += 1;
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// Lets the writer work for a while and kills it; returns the newest batch that it acknowledged.
fn write_and_kill(dir: &Path, work: Duration) -> Option<i64> {
    let mut writer = Command::new(std::env::current_exe().expect("this executable"))
        .args(["--exact", "kill::the_writer", "--ignored", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("the writer starts");
    let lines = BufReader::new(writer.stdout.take().expect("a pipe")).lines();
    let reader = std::thread::spawn(move || {
        let mut newest = None;
        for line in lines.map_while(Result::ok) {
            if let Some(batch) = line.split("committed ").nth(1).and_then(|b| b.trim().parse().ok()) {
                newest = Some(batch);
            }
        }
        newest
    });
    std::thread::sleep(work);
    assert_eq!(writer.try_wait().expect("a state"), None, "the writer ended by itself");
    writer.kill().expect("killed");
    writer.wait().expect("ended");
    reader.join().expect("read to the end")
}

fn everything(store: &Tsdb) -> BTreeMap<Labels, Vec<(i64, f64)>> {
    let selectors = [vec![]];
    let request = SelectRequest { selectors: &selectors, range: TimeRange::ALL, sorted: true, limit: None };
    let mut stream = store.select(&Scope::unbounded(), &request).expect("a stream");
    let (mut batch, mut columns, mut found) = (SeriesBatch::default(), Columns::default(), BTreeMap::new());
    while let StreamStep::Batch = stream.next(&mut batch).expect("a batch") {
        for series in &batch.series {
            columns.clear();
            series.chunks.iter().for_each(|chunk| decode_into(chunk, &mut columns).expect("a sound chunk"));
            let samples = columns.iter().map(|sample| (sample.t.0, sample.v)).collect();
            found.insert(series.labels.clone(), samples);
        }
    }
    found
}

#[test]
fn fifty_kills_lose_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let (mut blocks, mut acknowledged, mut torn) = (0, None, 0);
    for round in 0..ROUNDS {
        // Sometimes in the middle of opening, mostly in the middle of work.
        let work = Duration::from_millis(20 + (round as u64 * 7919) % 230);
        acknowledged = write_and_kill(&data, work).or(acknowledged);
        let clock = Clock::manual(TimestampMs(START));
        let (store, report) = open(&data, &clock);
        assert_eq!(report.unknown_series, 0, "round {round}");
        torn += report.damage.len();
        let found = everything(&store);
        let newest = store.time_range().map_or(-1, |(_, max)| (max.0 - START) / STEP);
        assert!(newest >= acknowledged.unwrap_or(-1), "round {round}: {newest}, not {acknowledged:?}");
        let mut expected: BTreeMap<usize, Vec<(i64, f64)>> = BTreeMap::new();
        for (series, t) in (0..=newest).flat_map(samples) {
            expected.entry(series).or_default().push((t, value(series, t)));
        }
        for (series, mut samples) in expected {
            samples.sort_by_key(|(t, _)| *t);
            let found = found.get(&labels(series)).map_or(&[][..], |found| found);
            let missing: Vec<_> =
                samples.iter().filter(|s| found.binary_search_by_key(&s.0, |f| f.0).is_err()).collect();
            // A batch that nobody was told of is there whole or not at all; only its late samples are in another log.
            let unacknowledged = |t: i64| newest > acknowledged.unwrap_or(-1) && t == time(newest - LATE_BY) + STEP / 2;
            assert!(missing.iter().all(|(t, _)| unacknowledged(*t)), "round {round}: series {series} lost {missing:?}");
            let written =
                |f: &(i64, f64)| samples.binary_search_by_key(&f.0, |s| s.0).is_ok_and(|at| samples[at] == *f);
            assert!(found.iter().all(written), "round {round}: series {series} has what nobody wrote");
        }
        blocks = store.blocks().len();
    }
    let batches = acknowledged.expect("batches were written");
    eprintln!("{ROUNDS} rounds, {batches} batches, {blocks} blocks, {torn} torn ends of logs");
    assert!(batches > 200 && blocks > 1, "the writer has not come far: {batches} batches, {blocks} blocks");
}
