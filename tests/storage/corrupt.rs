//! One damaged byte, or a file cut short, anywhere in a data directory that has files of every kind.
//!
//! Whatever is damaged, the store opens and answers without a wrong sample, and says what it misses: in its report of
//! opening, or as an error of the read that names the file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use watershed::disk::{Disk as _, MemDisk};
use watershed::model::{DurationMs, Matcher, TimestampMs};
use watershed::runtime::Clock;
use watershed::storage::chunk::decode_values;
use watershed::storage::{
    Administrable as _, QueryError, Queryable as _, Scope, SelectRequest, SeriesBatch, StreamStep, TimeRange,
};
use watershed::telemetry::Registry;
use watershed::tsdb::{Deps, OpenError, OpenReport, Options, Settings, Tsdb};

use crate::samples::{Dump, MINUTE, Plain, START, append, expected, select, series};

const STEP: i64 = MINUTE / 2;
const ROUNDS: i64 = 75;
const SPAN: i64 = 8 * MINUTE;
const DATA: &str = "/data";

fn open(disk: &MemDisk) -> Result<(Tsdb, OpenReport), OpenError> {
    let options = Options {
        chunk_range: DurationMs(SPAN),
        segment_size: 1 << 16,
        settings: Settings { out_of_order_window: DurationMs(2 * SPAN), ..Settings::default() },
        ..Options::default()
    };
    let clock = Clock::manual(TimestampMs(START + ROUNDS * STEP));
    Tsdb::open(Path::new(DATA), options, Deps { disk: Arc::new(disk.clone()), clock, registry: Registry::new() })
}

/// A directory with all that there can be, and everything that was ever written into it.
fn build() -> (MemDisk, Dump) {
    let disk = MemDisk::new();
    let mut written: BTreeMap<_, BTreeMap<i64, _>> = BTreeMap::new();
    let (store, _) = open(&disk).expect("opens");
    for round in 0..ROUNDS {
        let now = START + round * STEP;
        let mut batch: Vec<_> = (0..17).map(|i| (i, now)).collect();
        if round > 10 {
            batch.extend([1, 6, 7].map(|i| (i, now - 9 * STEP - 7)));
        }
        append(&store, &batch).expect("committed");
        for (i, t) in batch {
            written.entry(series(i)).or_default().insert(t, expected(i, t));
        }
        if round % 5 == 3 {
            store.maintain().expect("upkeep");
        }
        if round == ROUNDS - 20 {
            // Partly in blocks and partly in the head.
            let range = TimeRange { min: TimestampMs(now - 3 * SPAN), max: TimestampMs(now - 2 * STEP) };
            store.delete(&[vec![Matcher::equal("path", "/p/4")]], range).expect("deleted");
        }
    }
    store.close().expect("closed");
    (disk, written.into_iter().map(|(labels, samples)| (labels, samples.into_iter().collect())).collect())
}

fn files(disk: &MemDisk, dir: &Path, out: &mut Vec<PathBuf>) {
    for name in disk.list(dir).expect("a directory") {
        let path = dir.join(name);
        match disk.read(&path) {
            Some(_) => out.push(path),
            None => files(disk, &path, out),
        }
    }
}

/// What a file is, for telling whether all kinds were there.
fn kind(path: &Path, content: &[u8]) -> &'static str {
    let text = path.to_string_lossy();
    match path.file_name().and_then(|name| name.to_str()).unwrap_or_default() {
        "meta.json" if String::from_utf8_lossy(content).contains("\"level\": 2") => "meta.json of a compacted block",
        "meta.json" => "meta.json",
        "index" => "index",
        "tombstones" => "tombstones",
        _ if text.contains("checkpoint.") => "checkpoint",
        _ if text.contains("/wal/") => "wal",
        _ if text.contains("/wbl/") => "wbl",
        _ if text.contains("/chunks_head/") => "chunks_head",
        _ if text.contains("/chunks/") => "chunks",
        _ => "other",
    }
}

/// Everything that can be read; stops at an error.
fn read(store: &Tsdb) -> (Dump, Option<QueryError>) {
    let mut found = Dump::new();
    let scope = Scope::unbounded();
    let request = SelectRequest { selectors: &[vec![]], range: TimeRange::ALL, sorted: true, limit: None };
    let mut all = || -> Result<(), QueryError> {
        let mut stream = store.select(&scope, &request)?;
        let (mut batch, mut samples) = (SeriesBatch::default(), Vec::new());
        while let StreamStep::Batch = stream.next(&mut batch)? {
            for series in &batch.series {
                samples.clear();
                for chunk in &series.chunks {
                    decode_values(chunk, &mut samples).expect("what was read is sound");
                }
                let plain = samples.iter().map(|sample| (sample.t.0, Plain::of(sample))).collect();
                found.insert(series.labels.clone(), plain);
            }
        }
        Ok(())
    };
    let error = all().err();
    (found, error)
}

/// Samples of `of` that `than` has not.
fn missing(of: &Dump, than: &Dump) -> usize {
    let lacks = |labels, sample: &_| than.get(labels).is_none_or(|samples: &Vec<_>| !samples.contains(sample));
    of.iter().map(|(labels, samples)| samples.iter().filter(|s| lacks(labels, s)).count()).sum()
}

#[derive(Debug, Default)]
struct Outcome {
    files: usize,
    cases: usize,
    /// Something was missing, and told.
    told: usize,
    /// A log ends earlier than it did, at a record's end: as after a power cut, which nobody can tell.
    shorter: usize,
}

/// The name that damage of a file is told under: that of the file, or of its block.
fn names(path: &Path) -> Vec<String> {
    let below = path.strip_prefix(DATA).expect("below the directory");
    let first = below.components().next().map(|c| c.as_os_str().to_string_lossy().into_owned());
    let file = path.file_name().map(|name| name.to_string_lossy().into_owned());
    match first {
        Some(ulid) if ulid.len() == 26 => vec![ulid],
        _ => file.into_iter().collect(),
    }
}

struct Case<'a> {
    base: &'a MemDisk,
    written: &'a Dump,
    expected: &'a Dump,
    path: &'a Path,
    content: Vec<u8>,
    what: String,
    is_cut: bool,
}

impl Case<'_> {
    fn run(self, outcome: &mut Outcome, failures: &mut Vec<String>) {
        let what = self.what;
        outcome.cases += 1;
        let disk = self.base.fork();
        disk.write(self.path, &self.content);
        let (store, report) = open(&disk).unwrap_or_else(|error| panic!("{what}: {error}"));
        let (found, error) = read(&store);
        for (labels, samples) in &found {
            for sample in samples {
                let is_written = self.written.get(labels).is_some_and(|written| written.contains(sample));
                assert!(is_written, "{what}: nobody wrote {sample:?} of {labels}");
            }
        }
        let tale = format!("{report:?} {}", error.as_ref().map(QueryError::to_string).unwrap_or_default());
        let blocks = report.broken_blocks.len() + report.unreadable_blocks.len();
        let is_told = !report.damage.is_empty() || blocks > 0 || error.is_some();
        let is_named = names(self.path).iter().any(|name| tale.contains(name));
        let (lost, back) = (missing(self.expected, &found), missing(&found, self.expected));
        // A file of chunks that ends earlier, at a record's end, looks whole; the log has what is missed.
        let is_counted = report.out_of_order > 0 && self.path.to_string_lossy().contains("/chunks_head/");
        let is_log = ["/wal/", "/wbl/"].iter().any(|dir| self.path.to_string_lossy().contains(dir));
        if lost + back > 0 && is_log && self.is_cut && !is_told {
            outcome.shorter += 1;
        } else if lost + back > 0 && !(self.is_cut && is_counted) {
            if !(is_told && is_named) {
                failures.push(format!("{what}: lost {lost}, back {back}, not told: {tale}"));
            }
            outcome.told += 1;
        }
        // What was repaired or put aside is not found again, and the rest stays.
        if error.is_none() && outcome.cases.is_multiple_of(5) {
            drop(store);
            let (store, again) = open(&disk).unwrap_or_else(|error| panic!("{what}, again: {error}"));
            assert!(again.damage.is_empty() && again.broken_blocks.is_empty(), "{what}: told twice: {again:?}");
            assert_eq!(missing(&found, &read(&store).0), 0, "{what}: opened again");
        }
    }
}

/// Some places of a file: more at its ends, where headers and tables are. The files of a kind share its places, so that all
/// of them together are damaged in most. `WATERSHED_STRIDE=1` takes every byte.
fn places(len: usize, nth: usize) -> impl Iterator<Item = usize> {
    let setting = std::env::var("WATERSHED_STRIDE").ok().and_then(|s| s.parse::<usize>().ok());
    let stride = setting.unwrap_or(len.div_ceil(45).max(3) | 1);
    (0..len).filter(move |at| *at < 9 || len - at <= 9 || at % stride == nth % stride)
}

#[test]
fn damage_anywhere_is_told_and_no_wrong_sample_is_served() {
    let (base, written) = build();
    let mut paths = Vec::new();
    files(&base, Path::new(DATA), &mut paths);
    let expected = {
        let (store, report) = open(&base.fork()).expect("opens");
        assert_eq!((report.damage, report.unknown_series), (vec![], 0));
        select(&store, &[vec![]], TimeRange::ALL)
    };
    assert!(missing(&written, &expected) > 0, "nothing was deleted");
    assert_eq!(missing(&expected, &written), 0);
    let mut failures = Vec::new();
    let mut outcomes: BTreeMap<&str, Outcome> = BTreeMap::new();
    for path in &paths {
        let content = base.read(path).expect("a file");
        let outcome = outcomes.entry(kind(path, &content)).or_default();
        outcome.files += 1;
        for at in places(content.len(), outcome.files) {
            let bit = 1 << ((at * 5 + at / 8) % 8);
            let mut flipped = content.clone();
            flipped[at] ^= bit;
            let cut = (at % 3 == 0).then(|| ("cut", content[..at].to_vec(), true));
            for (what, content, is_cut) in [("flipped", flipped, false)].into_iter().chain(cut) {
                let what = format!("{what} at {at} of {}", path.display());
                let (base, written, expected) = (&base, &written, &expected);
                Case { base, written, expected, path, content, what, is_cut }.run(outcome, &mut failures);
            }
        }
    }
    for (kind, outcome) in &outcomes {
        eprintln!("{kind}: {outcome:?}");
        assert!(outcome.shorter * 10 <= outcome.cases, "{kind}: most cuts go unnoticed");
    }
    failures.iter().take(20).for_each(|failure| eprintln!("{failure}"));
    assert!(failures.is_empty(), "{} failures", failures.len());
    let expected = [
        "checkpoint",
        "chunks",
        "chunks_head",
        "index",
        "meta.json",
        "meta.json of a compacted block",
        "tombstones",
        "wal",
        "wbl",
    ];
    assert!(expected.iter().all(|kind| outcomes.contains_key(kind)), "{:?}", outcomes.keys());
}
