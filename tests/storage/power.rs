//! What one process leaves unsynced and the next one syncs; and what a machine that loses a part in the middle leaves.

use std::path::Path;
use std::sync::Arc;

use watershed::disk::{CrashDisk, CrashPolicy};
use watershed::model::{DurationMs, TimestampMs};
use watershed::runtime::Clock;
use watershed::storage::TimeRange;
use watershed::telemetry::Registry;
use watershed::tsdb::{Compression, Deps, OpenReport, Options, Settings, Tsdb};

use crate::samples::{Dump, MINUTE, START, append, expected, select, series};

const WINDOW: i64 = 60 * MINUTE;

fn open(disk: &CrashDisk) -> (Tsdb, OpenReport) {
    let options = Options {
        segment_size: 1 << 16,
        compression: Compression::None,
        settings: Settings { out_of_order_window: DurationMs(WINDOW), ..Settings::default() },
        ..Options::default()
    };
    let clock = Clock::manual(TimestampMs(START + WINDOW));
    let deps = Deps { disk: Arc::new(disk.clone()), clock, registry: Registry::new() };
    Tsdb::open(Path::new("/data"), options, deps).expect("opens")
}

fn everything(store: &Tsdb) -> Dump {
    select(store, &[vec![]], TimeRange::ALL)
}

/// A batch in order, and one that comes late.
fn fill(store: &Tsdb, rounds: std::ops::Range<i64>) {
    for round in rounds {
        let batch: Vec<_> = (0..40).map(|i| (i, START + round * MINUTE)).collect();
        append(store, &batch).expect("committed");
        let late: Vec<_> = (0..5).map(|i| (i, START + round * MINUTE - 7)).collect();
        append(store, &late).expect("committed");
    }
}

/// Both logs, in more than one segment.
#[test]
fn what_a_killed_process_left_unsynced_is_durable_after_the_sync_of_the_next() {
    let disk = CrashDisk::new();
    let (store, _) = open(&disk);
    fill(&store, 1..130);
    let before = everything(&store);
    let disk = disk.killed();
    let lost = everything(&open(&disk.crash(CrashPolicy::LoseAll)).0);
    assert!(lost.is_empty(), "the first process has synced, so this shows nothing");

    let (store, report) = open(&disk);
    assert!(report.late_samples > 0 && report.segments > 1, "{report:?}");
    store.sync().expect("synced");
    for policy in [CrashPolicy::LoseAll, CrashPolicy::Random(7)] {
        assert!(everything(&open(&disk.crash(policy)).0) == before, "{policy:?}");
    }
    // As upkeep does.
    let disk = disk.killed();
    let (store, _) = open(&disk);
    store.maintain().expect("upkeep");
    assert!(everything(&open(&disk.crash(CrashPolicy::LoseAll)).0) == before);
}

/// A segment is begun before the one before it is durable, so that a machine may lose the end of that one and keep this one.
#[test]
fn a_hole_in_the_middle_of_the_logs_costs_only_what_was_not_synced() {
    let mut holes = 0;
    for seed in 0..150 {
        let disk = CrashDisk::new();
        let (store, _) = open(&disk);
        fill(&store, 1..8);
        store.sync().expect("synced");
        let synced = everything(&store);
        fill(&store, 8..40);
        let all = everything(&store);
        let crashed = disk.crash(CrashPolicy::Random(seed));
        let (store, report) = open(&crashed);
        let found = everything(&store);
        for (labels, samples) in &synced {
            let kept = found.get(labels);
            assert!(samples.iter().all(|s| kept.is_some_and(|kept| kept.contains(s))), "seed {seed}: {labels}");
        }
        for (labels, samples) in &found {
            assert!(samples.iter().all(|s| all[labels].contains(s)), "seed {seed}: {labels}");
        }
        holes += usize::from(report.repairs.iter().any(|(_, repair)| format!("{repair:?}").starts_with("Rewritten")));
        // What is written from now on lies behind the hole and is there at the next start, as all the rest.
        let newer: Vec<_> = (0..50).map(|i| (i, START + 50 * MINUTE)).collect();
        append(&store, &newer).expect("committed");
        let after = everything(&store);
        let (store, report) = open(&crashed.killed());
        assert_eq!(report.damage, vec![], "seed {seed}");
        assert!(everything(&store) == after, "seed {seed}: the second opening differs from the first");
        for (i, t) in newer {
            assert!(after[&series(i)].contains(&(t, expected(i, t))), "seed {seed}: series {i}");
        }
    }
    eprintln!("{holes} holes");
    assert!(holes > 10, "hardly any segment in the middle was damaged");
}
