//! A disk that is full, at any byte of a run that does everything a store does, and has room again later.
//!
//! While nothing can be written the store keeps serving what it has acknowledged and says why it takes nothing; once there is
//! room upkeep mends it, and neither what came before nor what comes after is lost.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use watershed::disk::{CrashDisk, CrashPolicy, Operation};
use watershed::model::{DurationMs, Labels, Matcher, TimestampMs};
use watershed::runtime::Clock;
use watershed::storage::{
    Administrable as _, AppendError, Appendable as _, FloatSample, Selector, TimeRange, UnknownSeries,
};
use watershed::telemetry::Registry;
use watershed::tsdb::{Deps, LowWrite, Options, Settings, Tsdb};

use crate::samples::{Dump, MINUTE, Plain, START, append, expected, select, series};

const STEP: i64 = MINUTE / 2;
const ROUNDS: i64 = 64;
const SPAN: i64 = 8 * MINUTE;

struct Run {
    what: String,
    disk: CrashDisk,
    clock: Clock,
    low_write: Option<LowWrite>,
    store: Tsdb,
    now: i64,
    /// Everything handed over, acknowledged or not.
    offered: BTreeMap<Labels, BTreeMap<i64, Plain>>,
    acknowledged: Vec<(u64, i64)>,
    /// What the series whose value is another at each try was acknowledged to be.
    tries: BTreeMap<i64, f64>,
    attempt: f64,
    refusals: usize,
    recoveries: usize,
}

fn open(disk: &CrashDisk, clock: &Clock, low_write: Option<LowWrite>, what: &str) -> Tsdb {
    let options = Options {
        chunk_range: DurationMs(SPAN),
        segment_size: 1 << 16,
        low_write,
        settings: Settings { out_of_order_window: DurationMs(2 * SPAN), ..Settings::default() },
        ..Options::default()
    };
    let deps = Deps { disk: Arc::new(disk.clone()), clock: clock.clone(), registry: Registry::new() };
    let (store, report) =
        Tsdb::open(Path::new("/data"), options, deps).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(report.broken_blocks.is_empty(), "{what}: {report:?}");
    assert_eq!(report.unknown_series, 0, "{what}: {report:?}");
    store
}

/// No selector of the helpers is about this series.
fn tried() -> Labels {
    Labels::from_pairs([("__name__", "tried"), ("job", "tries")])
}

/// Whether an error says what cannot be written, and why.
fn is_clear(error: &AppendError) -> bool {
    match error {
        AppendError::Disk { path, source } => path.starts_with("/data/") && source.kind() == io::ErrorKind::StorageFull,
        AppendError::Latched(reason) => reason.contains("/data/"),
        _ => false,
    }
}

impl Run {
    fn new(what: String, low_write: Option<LowWrite>) -> Run {
        let (disk, clock) = (CrashDisk::new(), Clock::manual(TimestampMs(START)));
        let store = open(&disk, &clock, low_write, &what);
        let (offered, acknowledged, tries) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
        let (now, attempt, refusals, recoveries) = (START, 0.0, 0, 0);
        Run { what, disk, clock, low_write, store, now, offered, acknowledged, tries, attempt, refusals, recoveries }
    }

    /// Appends what belongs to a round; says whether that was acknowledged.
    fn append(&mut self, round: i64) -> bool {
        let mut batch: Vec<_> = (0..9).map(|i| (i, self.now)).collect();
        if round > 10 && round % 2 == 0 {
            batch.extend([1, 6].map(|i| (i, self.now - 9 * STEP - 7)));
        }
        // Series that come and go, so that a failed commit may be the one that names them.
        batch.push((100 + (round / 3).cast_unsigned(), self.now));
        for &(i, t) in &batch {
            self.offered.entry(series(i)).or_default().insert(t, expected(i, t));
        }
        let main = append(&self.store, &batch);
        if main.is_ok() {
            self.acknowledged.extend(batch);
        }
        self.attempt += 1.0;
        let tried = self.append_try(self.attempt);
        if tried.is_ok() {
            self.tries.entry(self.now).or_insert(self.attempt);
        }
        for error in [main.as_ref().err(), tried.as_ref().err()].into_iter().flatten() {
            assert!(is_clear(error), "{}: {error}", self.what);
            let trouble = self.store.trouble();
            assert!(trouble.is_some_and(|why| why.contains("/data/")), "{}: {error}", self.what);
            self.refusals += 1;
        }
        main.is_ok() && tried.is_ok()
    }

    fn append_try(&self, v: f64) -> Result<(), AppendError> {
        let mut appender = self.store.appender();
        let reference = appender.series(&tried())?;
        let sample = FloatSample { series: reference, t: TimestampMs(self.now), v };
        assert_eq!(appender.append(&[sample])?, UnknownSeries::default());
        appender.commit().map(drop)
    }

    /// Everything acknowledged is there, and nothing that nobody wrote.
    fn check(&self, store: &Tsdb, what: &str) -> Dump {
        let what = format!("{}, {what}", self.what);
        let mut found = select(store, &[vec![]], TimeRange::ALL);
        let tries = found.remove(&tried()).unwrap_or_default();
        for (t, v) in &self.tries {
            let at = tries.binary_search_by_key(t, |(t, _)| *t);
            let at = at.unwrap_or_else(|_| panic!("{what}: the try at {t} is lost"));
            assert_eq!(tries[at].1, Plain::float(*v), "{what}: the try at {t}");
        }
        for (labels, samples) in &found {
            for (t, v) in samples {
                let offered = self.offered.get(labels).and_then(|samples| samples.get(t));
                assert_eq!(offered, Some(v), "{what}: {labels} at {t}");
            }
        }
        for &(i, t) in &self.acknowledged {
            let there = found.get(&series(i)).is_some_and(|s| s.binary_search_by_key(&t, |(t, _)| *t).is_ok());
            assert!(there, "{what}: series {i} lost its sample at {t}");
        }
        found
    }

    /// Time goes on, whatever fails.
    fn round(&mut self, round: i64) {
        self.now = START + round * STEP;
        self.clock.set(TimestampMs(self.now));
        if !self.append(round) {
            self.check(&self.store, "while nothing can be written");
        }
        if round % 4 == 3 {
            let was_refusing = self.store.trouble().is_some();
            let maintained = self.store.maintain();
            if let Err(error) = maintained {
                assert!(error.to_string().contains("/data/"), "{}: {error}", self.what);
                self.check(&self.store, "after upkeep that failed");
            }
            self.recoveries += usize::from(was_refusing && self.store.trouble().is_none());
        }
        if round == 40 {
            // What nobody has, so that it is no matter whether it is acknowledged.
            let nobody: Selector = vec![Matcher::equal("job", "nobody")];
            let _ = self.store.delete(&[nobody], TimeRange::ALL);
            let _ = self.store.clean_tombstones();
        }
    }

    /// There is room again.
    fn finish(mut self) -> (usize, usize) {
        let end = ROUNDS + 8;
        for round in ROUNDS..end {
            if round % 4 == 0 {
                let recovered = self.store.maintain();
                recovered.unwrap_or_else(|error| panic!("{}: does not recover: {error}", self.what));
                assert_eq!(self.store.trouble(), None, "{}", self.what);
            }
            self.now = START + round * STEP;
            self.clock.set(TimestampMs(self.now));
            assert!(self.append(round), "{}: takes nothing", self.what);
        }
        self.store.sync().unwrap_or_else(|error| panic!("{}: {error}", self.what));
        let before = self.check(&self.store, "at the end");
        for (how, disk) in [("killed", self.disk.killed()), ("crashed", self.disk.crash(CrashPolicy::LoseAll))] {
            let again = open(&disk, &self.clock, self.low_write, &self.what);
            let after = self.check(&again, how);
            assert!(before == after, "{}, {how}: another content after opening again", self.what);
        }
        (self.refusals, self.recoveries)
    }
}

const LOW_WRITE: LowWrite = LowWrite { flush_interval: DurationMs(3 * MINUTE), buffer_bytes: 3000 };

/// The disk is full once `room` more bytes are written, and stays so for ten minutes.
fn fill(room: u64, low_write: Option<LowWrite>) -> (usize, usize) {
    let mut run = Run::new(format!("full after {room} bytes, {low_write:?}"), low_write);
    run.disk.set_room(Some(room));
    let mut full_since = None;
    for round in 0..ROUNDS {
        run.round(round);
        if run.refusals > 0 && full_since.is_none() {
            full_since = Some(round);
        }
        if full_since.is_some_and(|since| round == since + 10) {
            run.disk.set_room(None);
        }
    }
    run.disk.set_room(None);
    run.finish()
}

#[test]
fn a_disk_that_fills_up_at_any_byte_loses_nothing_and_is_written_to_again_when_there_is_room() {
    for low_write in [None, Some(LOW_WRITE)] {
        let (mut room, mut fills) = (0, 0);
        loop {
            let (refusals, _) = fill(room, low_write);
            if refusals == 0 {
                break;
            }
            fills += 1;
            // Coprime to the sizes of pages and buffers.
            room += 1999;
        }
        eprintln!("{fills} fills of up to {room} bytes, {low_write:?}");
        assert!(fills > 50, "the run writes too little");
    }
}

#[test]
fn a_single_write_that_fails_is_mended_by_the_next_upkeep() {
    for operation in [Operation::Append, Operation::Create] {
        let mut skip = 0;
        let mut recoveries = 0;
        loop {
            let mut run = Run::new(format!("{operation:?} {skip} fails"), None);
            run.disk.inject(operation, skip, io::ErrorKind::StorageFull);
            (0..ROUNDS).for_each(|round| run.round(round));
            let is_over = run.disk.forget_faults() > 0;
            recoveries += run.finish().1;
            if is_over {
                break;
            }
            skip += 1;
        }
        eprintln!("{skip} failures of {operation:?}, {recoveries} recoveries");
        assert!(recoveries > 5, "{operation:?}: hardly any failure was met");
    }
}

/// The system may have dropped what it could not write, so nobody may go on as if it were there.
#[test]
fn after_a_failed_sync_nothing_is_taken_until_the_store_is_opened_again() {
    let mut run = Run::new("a sync fails".to_owned(), None);
    for round in 0..6 {
        run.round(round);
    }
    run.disk.inject(Operation::Sync, 0, io::ErrorKind::StorageFull);
    run.store.sync().expect_err("the sync fails");
    for _ in 0..3 {
        run.store.maintain().expect_err("refuses");
        assert!(run.store.trouble().is_some());
        assert!(!run.append(6));
    }
    run.check(&run.store, "after the sync");
    let killed = open(&run.disk.killed(), &run.clock, None, &run.what);
    run.check(&killed, "opened again");
    assert_eq!(killed.trouble(), None);
}

#[test]
fn a_store_that_is_opened_on_a_full_disk_serves_and_takes_samples_once_there_is_room() {
    let mut run = Run::new("opened on a full disk".to_owned(), None);
    (0..20).for_each(|round| run.round(round));
    let disk = run.disk.killed();
    disk.set_room(Some(0));
    run.store = open(&disk, &run.clock, None, &run.what);
    run.disk = disk;
    assert!(run.store.trouble().is_some());
    assert!(!run.append(20));
    run.check(&run.store, "on the full disk");
    run.disk.set_room(None);
    (20..ROUNDS).for_each(|round| run.round(round));
    run.finish();
}
