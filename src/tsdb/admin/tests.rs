//! A store over blocks and a head, on a disk in memory.

use std::sync::Arc;

use super::*;
use crate::disk::{Disk, MemDisk};
use crate::model::{DurationMs, MatchOp, Matcher};
use crate::runtime::Clock;
use crate::storage::{Appendable, FloatSample};
use crate::telemetry::Registry;
use crate::tsdb::block::BlockMeta;
use crate::tsdb::fixtures::{Dump, dump, labels, root, series, ulid, write};
use crate::tsdb::{Deps, Options, Retention, Settings};

const DATA: &str = "/data";
const NOW: i64 = 1_700_000_000_000;

fn open_with(disk: &MemDisk, options: Options) -> Tsdb {
    let clock = Clock::manual(TimestampMs(NOW));
    let deps = Deps { disk: Arc::new(disk.clone()), clock, registry: Registry::new() };
    Tsdb::open(Path::new(DATA), options, deps).unwrap().0
}

fn options() -> Options {
    Options { chunk_range: DurationMs(1000), max_block: Some(DurationMs(9000)), ..Options::default() }
}

fn open(disk: &MemDisk) -> Tsdb {
    open_with(disk, options())
}

/// The block `n` from `n` seconds on: series 0, 1 and 2 with a sample every 100 ms, in two chunks.
fn block(disk: &MemDisk, n: u64) {
    let start = n as i64 * 1000;
    let run = |from: i64| (0..5).map(|s| (start + (from + s) * 100, n as f64)).collect::<Vec<_>>();
    let all = (0..3).map(|i| series(i, &[&run(0), &run(5)])).collect();
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    write(&disk, BlockMeta::new(ulid(n), start, start + 1000), all).unwrap();
}

fn range(min: i64, max: i64) -> TimeRange {
    TimeRange { min: TimestampMs(min), max: TimestampMs(max) }
}

fn only(i: i64) -> Vec<Selector> {
    vec![vec![Matcher::new(MatchOp::Equal, "i", labels(i).get("i").unwrap()).unwrap()]]
}

/// Times of each series that blocks hold and that are not deleted.
fn left(store: &Tsdb, i: i64) -> Vec<i64> {
    let mut times = Vec::new();
    for block in store.blocks().iter() {
        for (reference, (found, samples)) in block.index().all().unwrap().iter().zip(dump(block)) {
            let deleted = block.tombstones().get(u64::from(reference));
            let stays = |t: &i64| !deleted.iter().any(|d| d.contains(TimestampMs(*t)));
            if found == labels(i) {
                times.extend(samples.iter().map(|(t, _)| *t).filter(stays));
            }
        }
    }
    times
}

#[test]
fn a_deletion_is_seen_at_once_and_after_a_restart_and_touches_nothing_else() {
    let disk = root();
    (0..3).for_each(|n| block(&disk, n));
    let store = open(&disk);
    let untouched = left(&store, 0);
    store.delete(&only(1), range(1250, 2099)).unwrap();
    for store in [&store, &open(&disk.fork())] {
        let times = left(store, 1);
        assert_eq!(times.len(), 10 + 3 + 9);
        assert!(!times.iter().any(|t| (1250..=2099).contains(t)));
        assert_eq!(left(store, 0), untouched);
        let counts: Vec<u64> = store.blocks().iter().map(|b| b.meta().stats.num_tombstones).collect();
        assert_eq!(counts, [0, 1, 1]);
    }
    // Deleted intervals end where the series does.
    let list = store.blocks();
    let intervals: Vec<_> = list[1].tombstones().iter().map(|(_, ranges)| ranges.to_vec()).collect();
    assert_eq!(intervals, [[range(1250, 1900)]]);
    drop(list);
    let before = disk.fork();
    store.delete(&only(77), TimeRange::ALL).unwrap();
    store.delete(&only(1), range(901, 999)).unwrap();
    for n in 0..3 {
        let meta = format!("{DATA}/{}/meta.json", ulid(n));
        assert_eq!(disk.read(Path::new(&meta)), before.read(Path::new(&meta)));
    }
}

#[test]
fn a_deletion_reaches_the_head_and_what_becomes_a_block_of_it() {
    let disk = root();
    let store = open(&disk);
    (0..5).for_each(|s| append(&store, 2000 + s * 300));
    store.delete(&only(7), range(2300, 2600)).unwrap();
    let name = store.snapshot(true).unwrap();
    let copy = open(&as_data(&disk, &name));
    assert_eq!(left(&copy, 7), [2000, 2900, 3200]);
}

#[test]
fn cleaning_rewrites_what_has_deletions_and_nothing_else() {
    let disk = root();
    (0..4).for_each(|n| block(&disk, n));
    let store = open(&disk);
    store.delete(&only(1), range(0, 1250)).unwrap();
    // Of the last two nothing is left. The very last one stays: it tells a restart how far the head has become blocks.
    (0..3).for_each(|i| store.delete(&only(i), range(2000, 3999)).unwrap());
    let boundary = store.blocks()[3].meta().ulid;
    let expected: Vec<Vec<i64>> = (0..3).map(|i| left(&store, i)).collect();
    store.clean_tombstones().unwrap();
    for store in [&store, &open(&disk.fork())] {
        let list = store.blocks();
        assert_eq!((0..3).map(|i| left(store, i)).collect::<Vec<_>>(), expected);
        assert_eq!((list.len(), list[2].meta().ulid), (3, boundary));
        for (n, block) in list[..2].iter().enumerate() {
            block.verify().unwrap();
            let compaction = &block.meta().compaction;
            assert_eq!((block.tombstones().count(), block.meta().stats.num_tombstones), (0, 0));
            assert_eq!((compaction.level, compaction.parents[0].ulid), (1, ulid(n as u64)));
            assert_eq!((block.meta().min_time, compaction.sources[0]), (n as i64 * 1000, block.meta().ulid));
        }
    }
    let names: Vec<_> = store.blocks().iter().map(|b| b.meta().ulid).collect();
    store.clean_tombstones().unwrap();
    assert_eq!(store.blocks().iter().map(|b| b.meta().ulid).collect::<Vec<_>>(), names);
    assert_eq!(disk.list(Path::new(DATA)).unwrap().iter().filter(|n| n.len() >= 26).count(), 3);
}

fn append(store: &Tsdb, t: i64) {
    let mut appender = store.appender();
    let series = appender.series(&labels(7)).unwrap();
    appender.append(&[FloatSample { series, t: TimestampMs(t), v: 7.0 }]).unwrap();
    appender.commit().unwrap();
}

fn all_samples(store: &Tsdb) -> Dump {
    let mut all = Dump::new();
    for block in store.blocks().iter() {
        block.verify().unwrap();
        dump(block).into_iter().for_each(|(labels, samples)| all.entry(labels).or_default().extend(samples));
    }
    all
}

/// The snapshot as the data directory of a disk of its own.
fn as_data(disk: &MemDisk, name: &str) -> MemDisk {
    let copy = disk.fork();
    copy.rename(Path::new(DATA), Path::new("/old")).unwrap();
    copy.rename(&Path::new("/old/snapshots").join(name), Path::new(DATA)).unwrap();
    copy
}

#[test]
fn a_snapshot_is_a_data_directory_that_stays_as_it_was() {
    let disk = root();
    (0..2).for_each(|n| block(&disk, n));
    let store = open(&disk);
    (0..5).for_each(|s| append(&store, 2000 + s * 300));
    let without_head = store.snapshot(false).unwrap();
    let with_head = store.snapshot(true).unwrap();
    assert!(with_head.starts_with("20231114T221320Z-") && with_head.len() == 33, "{with_head}");
    let expected = all_samples(&store);
    store.delete(&only(1), TimeRange::ALL).unwrap();
    store.clean_tombstones().unwrap();
    assert_ne!(all_samples(&store), expected);

    assert_eq!(all_samples(&open(&as_data(&disk, &without_head))), expected);
    let copy = as_data(&disk, &with_head);
    let found = open(&copy);
    let mut all = all_samples(&found);
    let times: Vec<i64> = all.remove(&labels(7)).unwrap().iter().map(|(t, _)| *t).collect();
    assert_eq!(times, [2000, 2300, 2600, 2900, 3200]);
    assert_eq!(all, expected);
    let head = found.blocks().last().unwrap().meta().clone();
    assert_eq!((head.min_time, head.max_time, head.compaction.level), (2000, 3201, 1));
    // The store itself goes on as if nothing had been.
    assert_eq!(store.time_range(), Some((TimestampMs(2000), TimestampMs(3200))));
}

#[test]
fn a_snapshot_that_fails_leaves_nothing() {
    let disk = root();
    block(&disk, 0);
    let store = open(&disk);
    append(&store, 2000);
    disk.set_room(Some(50));
    let error = store.snapshot(true).unwrap_err().to_string();
    assert!(error.starts_with("/data/snapshots/"), "{error}");
    assert_eq!(disk.list(Path::new("/data/snapshots")).unwrap(), [""; 0]);
    disk.set_room(None);
    store.snapshot(true).unwrap();
}

fn starts(store: &Tsdb) -> Vec<i64> {
    store.blocks().iter().map(|b| b.meta().min_time / 1000).collect()
}

fn keep(store: &Tsdb, retention: Retention) {
    store.apply(Settings { retention, ..Settings::default() });
    store.maintain_blocks().unwrap();
}

#[test]
fn blocks_beyond_retention_go_with_the_next_upkeep_whatever_limit_it_is() {
    let disk = root();
    (0..6).for_each(|n| block(&disk, n * 10));
    let store = open(&disk);
    store.maintain_blocks().unwrap();
    assert_eq!(starts(&store), [0, 10, 20, 30, 40, 50]);
    keep(&store, Retention { time: Some(DurationMs(50_000)), ..Retention::default() });
    assert_eq!(starts(&store), [10, 20, 30, 40, 50]);

    let log = disk.read(Path::new("/data/wal/00000000")).map_or(0, |f| f.len() as u64);
    let size = store.blocks.size() + log;
    keep(&store, Retention { bytes: Some(size), ..Retention::default() });
    assert_eq!(starts(&store), [10, 20, 30, 40, 50]);
    keep(&store, Retention { bytes: Some(size - 1), ..Retention::default() });
    assert_eq!(starts(&store), [20, 30, 40, 50]);

    let half = Retention { percentage: Some(50.0), ..Retention::default() };
    let size = store.blocks.size() + log;
    keep(&store, half);
    assert_eq!(starts(&store), [20, 30, 40, 50], "nobody knows the size of the disk");
    disk.set_total_space(Some(2 * size));
    keep(&store, half);
    assert_eq!(starts(&store), [20, 30, 40, 50]);
    disk.set_total_space(Some(2 * size - 2));
    keep(&store, half);
    assert_eq!(starts(&store), [30, 40, 50]);
    assert_eq!(disk.list(Path::new(DATA)).unwrap().iter().filter(|n| n.len() >= 26).count(), 3);
}

#[test]
fn upkeep_opens_blocks_that_somebody_brought_and_compacts_them() {
    let disk = root();
    let store = open(&disk);
    (0..4).for_each(|n| block(&disk, n));
    let report = store.maintain().unwrap();
    assert_eq!(report.blocks.compactions, 1);
    assert_eq!(starts(&store), [0, 3]);
    assert_eq!(left(&store, 1).len(), 40);
}
