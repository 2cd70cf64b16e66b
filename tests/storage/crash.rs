//! A crash at every write, sync and rename of a run that does everything a store does.
//!
//! The run is the same each time: batches in order and late, floats and histograms, blocks cut and compacted, a
//! deletion, checkpoints, restarts, series that have ended and leave memory early. It is repeated once for every operation on the disk, which is where the disk stops
//! working; then the machine comes back in several ways, and the store must open and hold what it owes.
//! `WATERSHED_CRASH_AT` repeats one of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use watershed::disk::{CrashDisk, CrashPolicy};
use watershed::model::{DurationMs, Labels, Matcher, TimestampMs};
use watershed::runtime::Clock;
use watershed::storage::{Administrable as _, TimeRange};
use watershed::telemetry::Registry;
use watershed::tsdb::{Deps, Options, Settings, Tsdb};

use crate::samples::{Dump, MINUTE, Plain, START, append, expected, select, series};

const STEP: i64 = MINUTE / 2;
const ROUNDS: i64 = 80;
const SPAN: i64 = 8 * MINUTE;

fn open(disk: &CrashDisk, clock: &Clock) -> Result<Tsdb, String> {
    let options = Options {
        chunk_range: DurationMs(SPAN),
        segment_size: 1 << 16,
        // A tenth of the floats are markers, so that some series leave memory early each time.
        settings: Settings {
            out_of_order_window: DurationMs(2 * SPAN),
            stale_series_threshold: 0.2,
            ..Settings::default()
        },
        ..Options::default()
    };
    let deps = Deps { disk: Arc::new(disk.clone()), clock: clock.clone(), registry: Registry::new() };
    let (store, _) = Tsdb::open(Path::new("/data"), options, deps).map_err(|e| e.to_string())?;
    Ok(store)
}

/// What a store owes, as far as a run has come.
#[derive(Clone, Default)]
struct Debts {
    /// Samples that were handed over, acknowledged or not.
    offered: Vec<(u64, i64)>,
    /// How many of them were acknowledged.
    committed: usize,
    /// How many of them were acknowledged before the last sync.
    synced: usize,
    /// What was asked to be deleted: by then at most this is gone.
    deleted: Option<i64>,
    /// The deletion was acknowledged before the last sync.
    deletion_synced: bool,
    deletion_acknowledged: bool,
}

const DELETED_JOB: &str = "job1";

/// The whole run, until something fails.
fn run(disk: &CrashDisk, debts: &mut Debts) -> Result<(), String> {
    let clock = Clock::manual(TimestampMs(START));
    let mut store = open(disk, &clock)?;
    for round in 0..ROUNDS {
        let now = START + round * STEP;
        clock.set(TimestampMs(now));
        let mut batch: Vec<_> = (0..9).map(|i| (i, now)).collect();
        if round > 20 && round % 2 == 0 {
            // More than the buffer of a series holds, so that late chunks are written, too.
            batch.extend([1, 6].map(|i| (i, now - 9 * STEP - 7)));
        }
        debts.offered.extend(&batch);
        append(&store, &batch).map_err(|e| e.to_string())?;
        debts.committed = debts.offered.len();
        match round % 8 {
            3 => {
                store.sync().map_err(|e| e.to_string())?;
                debts.settle();
            }
            7 => {
                store.maintain().map_err(|e| e.to_string())?;
                debts.settle();
            }
            _ => {}
        }
        if round == 45 {
            // Partly in blocks and partly in the head.
            // Late samples that come afterwards are younger.
            let max = now - 12 * STEP;
            debts.deleted = Some(max);
            let range = TimeRange { min: TimestampMs(START), max: TimestampMs(max) };
            store.delete(&[vec![Matcher::equal("job", DELETED_JOB)]], range).map_err(|e| e.to_string())?;
            debts.deletion_acknowledged = true;
        }
        if round == 52 {
            store.clean_tombstones().map_err(|e| e.to_string())?;
        }
        if round == 60 {
            drop(store);
            store = open(disk, &clock)?;
        }
    }
    store.close().map_err(|e| e.to_string())?;
    debts.settle();
    Ok(())
}

impl Debts {
    fn settle(&mut self) {
        self.synced = self.committed;
        self.deletion_synced = self.deletion_acknowledged;
    }

    fn may_be_gone(&self, (i, t): (u64, i64)) -> bool {
        i % 3 == 1 && self.deleted.is_some_and(|max| t <= max)
    }

    /// Looks whether a store holds the first `owed` samples, and nothing that nobody wrote.
    fn check(&self, found: &Dump, owed: usize, deletion_owed: bool, what: &str) {
        let mut offered: BTreeMap<Labels, BTreeMap<i64, Plain>> = BTreeMap::new();
        for &(i, t) in &self.offered {
            offered.entry(series(i)).or_default().insert(t, expected(i, t));
        }
        for (labels, samples) in found {
            for (t, v) in samples {
                assert_eq!(offered.get(labels).and_then(|o| o.get(t)), Some(v), "{what}: {labels} at {t}");
            }
        }
        for &(i, t) in &self.offered[..owed] {
            let there = found.get(&series(i)).is_some_and(|s| s.binary_search_by_key(&t, |(t, _)| *t).is_ok());
            if self.may_be_gone((i, t)) {
                assert!(!(there && deletion_owed), "{what}: series {i} at {t} is back");
            } else {
                assert!(there, "{what}: series {i} lost its sample at {t}");
            }
        }
    }
}

fn everything(store: &Tsdb) -> Dump {
    select(store, &[vec![]], TimeRange::ALL)
}

/// Opens what is left, looks, and goes on working with it.
fn reopen(disk: &CrashDisk, debts: &Debts, owed: usize, deletion_owed: bool, what: &str) {
    let clock = Clock::manual(TimestampMs(START + ROUNDS * STEP));
    let store = open(disk, &clock).unwrap_or_else(|error| panic!("{what}: does not open: {error}"));
    debts.check(&everything(&store), owed, deletion_owed, what);
    let now = START + ROUNDS * STEP;
    let batch: Vec<_> = (0..9).map(|i| (i, now)).collect();
    append(&store, &batch).unwrap_or_else(|error| panic!("{what}: takes nothing: {error}"));
    store.maintain().unwrap_or_else(|error| panic!("{what}: upkeep: {error}"));
    let after = everything(&store);
    drop(store);
    let store = open(&disk.killed(), &clock).unwrap_or_else(|error| panic!("{what}: does not open again: {error}"));
    assert_eq!(everything(&store), after, "{what}: the second opening differs from the first");
}

#[test]
fn a_crash_at_any_operation_loses_nothing_that_was_synced() {
    let disk = CrashDisk::new();
    let mut debts = Debts::default();
    run(&disk, &mut debts).expect("nothing fails on a good disk");
    let operations = disk.operations();
    reopen(&disk.crash(CrashPolicy::LoseAll), &debts, debts.offered.len(), true, "at the end");
    eprintln!("{operations} operations, {} samples", debts.offered.len());
    assert!(operations > 300, "the run does too little");

    let only: Option<u64> = std::env::var("WATERSHED_CRASH_AT").ok().and_then(|n| n.parse().ok());
    for number in only.map_or(0..operations, |n| n..n + 1) {
        for done in [false, true] {
            let disk = CrashDisk::new();
            if done {
                disk.fail_within(number);
            } else {
                disk.fail_after(number);
            }
            let mut debts = Debts::default();
            // The very last operations may be tidying up that nobody waits for.
            let _ = run(&disk, &mut debts);
            let what = |how: &str| format!("operation {number} of {operations}, done: {done}, {how}");
            reopen(&disk.killed(), &debts, debts.committed, debts.deletion_acknowledged, &what("killed"));
            for policy in [CrashPolicy::LoseAll, CrashPolicy::KeepAll, CrashPolicy::Random(number)] {
                let crashed = disk.crash(policy);
                reopen(&crashed, &debts, debts.synced, debts.deletion_synced, &what(&format!("{policy:?}")));
            }
        }
    }
}
