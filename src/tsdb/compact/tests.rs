//! Compactions on a disk in memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::disk::{Disk, MemDisk};
use crate::model::{DurationMs, TimestampMs};
use crate::storage::{Cancelled, Scope, SeriesChunks, TimeRange};
use crate::telemetry::Registry;
use crate::tsdb::block::{Block, BlockError, BlockMeta, Tombstones, Ulid};
use crate::tsdb::blocks::Blocks;
use crate::tsdb::fixtures::{Dump, dump, labels, root, series, ulid, write};

const DATA: &str = "/data";
pub(super) const NOW: TimestampMs = TimestampMs(1_700_000_000_000);

/// Blocks of 100 ms, series `i` with the value `i` every 10 ms in chunks of five samples.
fn regular(disk: &MemDisk, n: u64, min: i64, names: std::ops::Range<i64>) -> BlockMeta {
    regular_on(&(Arc::new(disk.clone()) as Arc<dyn Disk>), n, min, names)
}

pub(super) fn regular_on(disk: &Arc<dyn Disk>, n: u64, min: i64, names: std::ops::Range<i64>) -> BlockMeta {
    let run = |i: i64, from: i64| (0..5).map(|s| (from + s * 10, i as f64)).collect::<Vec<_>>();
    let all = names.map(|i| series(i, &[&run(i, min), &run(i, min + 50)])).collect();
    write(disk, BlockMeta::new(ulid(n), min, min + 100), all).unwrap()
}

fn open(disk: &MemDisk) -> Blocks {
    Blocks::open(Arc::new(disk.clone()), Path::new(DATA), &Registry::new()).unwrap().0
}

pub(super) fn compactor() -> Compactor {
    Compactor::new(block_ranges(DurationMs(100), DurationMs(900)), &Registry::new())
}

fn run_all(blocks: &Blocks) -> Result<usize, CompactError> {
    compactor().run_all(blocks, || NOW, &Scope::unbounded(), || true)
}

fn names(blocks: &Blocks) -> Vec<Ulid> {
    blocks.snapshot().iter().map(|b| b.meta().ulid).collect()
}

fn dir(ulid: Ulid) -> PathBuf {
    Path::new(DATA).join(ulid.to_string())
}

/// All samples of all blocks that are not deleted.
pub(super) fn everything(blocks: &Blocks) -> Dump {
    let mut all = Dump::new();
    for block in blocks.snapshot().iter() {
        for (reference, (labels, samples)) in block.index().all().unwrap().iter().zip(dump(block)) {
            let deleted = block.tombstones().get(u64::from(reference));
            let left = samples.into_iter().filter(|(t, _)| !deleted.iter().any(|d| d.contains(TimestampMs(*t))));
            all.entry(labels).or_default().extend(left);
        }
    }
    all.retain(|_, samples| {
        samples.sort_unstable();
        samples.dedup();
        !samples.is_empty()
    });
    all
}

fn delete(blocks: &Blocks, name: Ulid, range: TimeRange, which: impl Fn(i64) -> bool) {
    let block = blocks.snapshot().iter().find(|b| b.meta().ulid == name).unwrap().clone();
    let mut tombstones = block.tombstones().clone();
    for reference in &block.index().all().unwrap() {
        let found = block.index().series(reference).unwrap().labels;
        if (0..20).any(|i| which(i) && labels(i) == found) {
            tombstones.add(u64::from(reference), range);
        }
    }
    blocks.set_tombstones(name, &tombstones).unwrap();
}

pub(super) fn range(min: i64, max: i64) -> TimeRange {
    TimeRange { min: TimestampMs(min), max: TimestampMs(max) }
}

#[test]
fn adjacent_blocks_become_one_whose_chunks_are_the_same_bytes() {
    let disk = root();
    let old: Vec<_> = (0..4).map(|n| regular(&disk, n, n as i64 * 100, n as i64..n as i64 + 4)).collect();
    let blocks = open(&disk);
    let before = everything(&blocks);
    let chunks_of = |list: &[Arc<Block>], i: i64| -> Vec<_> {
        let found = |b: &Arc<Block>| -> Vec<SeriesChunks> {
            b.index()
                .all()
                .unwrap()
                .iter()
                .map(|r| b.series_chunks(r).unwrap())
                .filter(|s| s.labels == labels(i))
                .collect()
        };
        list.iter().flat_map(found).flat_map(|s| s.chunks).map(|c| (c.min, c.max, c.data)).collect()
    };
    let expected = chunks_of(&blocks.snapshot(), 3);
    assert_eq!(run_all(&blocks).unwrap(), 1);

    let list = blocks.snapshot();
    let [made, newest] = &list[..] else { panic!("{list:?}") };
    made.verify().unwrap();
    assert_eq!(newest.meta(), &old[3]);
    assert_eq!(everything(&blocks), before);
    assert_eq!(chunks_of(&list, 3), expected);
    let meta = made.meta();
    assert_eq!((meta.min_time, meta.max_time, meta.compaction.level), (0, 300, 2));
    assert_eq!(meta.compaction.sources, [ulid(0), ulid(1), ulid(2)]);
    assert_eq!(
        meta.compaction.parents.iter().map(|p| (p.ulid, p.min_time)).collect::<Vec<_>>(),
        [(ulid(0), 0), (ulid(1), 100), (ulid(2), 200)]
    );
    assert_eq!(meta.compaction.hints, [""; 0]);
    assert_eq!(meta.ulid.time(), NOW);
    assert_eq!(disk.list(Path::new(DATA)).unwrap().len(), 2);
}

#[test]
fn levels_grow_and_sources_are_kept_through_them() {
    let disk = root();
    for n in 0..10 {
        regular(&disk, n, n as i64 * 100, 0..2);
    }
    let blocks = open(&disk);
    let before = everything(&blocks);
    assert_eq!(run_all(&blocks).unwrap(), 4);
    let meta = blocks.snapshot()[0].meta().clone();
    assert_eq!((meta.min_time, meta.max_time, meta.compaction.level), (0, 900, 3));
    assert_eq!(meta.compaction.sources, (0..9).map(ulid).collect::<Vec<_>>());
    assert_eq!(meta.compaction.parents.len(), 3);
    assert_eq!(everything(&blocks), before);
}

#[test]
fn go_on_is_asked_before_each_compaction() {
    let disk = root();
    (0..10).for_each(|n| drop(regular(&disk, n, n as i64 * 100, 0..2)));
    let blocks = open(&disk);
    let asked = std::cell::Cell::new(0);
    let go_on = || asked.replace(asked.get() + 1) < 2;
    assert_eq!(compactor().run_all(&blocks, || NOW, &Scope::unbounded(), go_on).unwrap(), 2);
    assert_eq!(blocks.snapshot().len(), 6);
}

#[test]
fn overlapping_blocks_become_one_without_duplicates_and_the_earlier_block_wins() {
    let disk = root();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let first = series(1, &[&[(0, 1.0), (50, 2.0), (90, 3.0)]]);
    let late = vec![series(0, &[&[(60, 9.0)]]), series(1, &[&[(20, 8.0), (50, 7.0)], &[(110, 6.0)]])];
    write(&shared, BlockMeta::new(ulid(1), 0, 100), vec![first]).unwrap();
    let mut meta = BlockMeta::new(ulid(2), 20, 120);
    meta.compaction.hints.push("from-out-of-order".to_owned());
    write(&shared, meta, late).unwrap();
    // As long as the head may have samples of the same time, the block of late samples stays by itself.
    assert_eq!(run_all(&open(&disk)).unwrap(), 0);
    write(&shared, BlockMeta::new(ulid(3), 120, 200), vec![series(1, &[&[(150, 1.0)]])]).unwrap();
    let blocks = open(&disk);
    assert_eq!(run_all(&blocks).unwrap(), 1);
    let list = blocks.snapshot();
    list[0].verify().unwrap();
    let samples: Vec<_> = dump(&list[0])[&labels(1)].iter().map(|(t, v)| (*t, f64::from_bits(*v))).collect();
    assert_eq!(samples, [(0, 1.0), (20, 8.0), (50, 2.0), (90, 3.0), (110, 6.0)]);
    assert_eq!(dump(&list[0])[&labels(0)].len(), 1);
    let meta = list[0].meta();
    assert_eq!((meta.min_time, meta.max_time, meta.compaction.hints.len()), (0, 120, 0));
}

#[test]
fn hints_last_where_they_stay_true() {
    let hints = |given: &[&[&str]]| {
        let disk = root();
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        for (n, hints) in (0..).zip(given) {
            let mut meta = BlockMeta::new(ulid(n), 0, 100);
            meta.compaction.hints = hints.iter().map(|h| (*h).to_owned()).collect();
            write(&shared, meta, vec![series(n as i64, &[&[(5, 1.0)]])]).unwrap();
        }
        let blocks = open(&disk);
        let meta = compact(blocks.disk(), blocks.dir(), ulid(50), &blocks.snapshot(), &Scope::unbounded()).unwrap();
        meta.unwrap().compaction.hints
    };
    let (late, stale, chosen) = ("from-out-of-order", "from-stale-series", "from-selected-series");
    assert_eq!(hints(&[&[late], &[late]]), [late]);
    assert_eq!(hints(&[&[late], &[]]), [""; 0]);
    assert_eq!(hints(&[&[stale], &[]]), [stale]);
    assert_eq!(hints(&[&[stale, late], &[late, chosen]]), [late, chosen, stale]);
}

#[test]
fn what_is_deleted_does_not_come_into_the_new_block() {
    let disk = root();
    (0..4).for_each(|n| drop(regular(&disk, n, n as i64 * 100, 0..6)));
    let blocks = open(&disk);
    delete(&blocks, ulid(0), range(0, 1000), |i| i == 2);
    delete(&blocks, ulid(1), range(115, 155), |i| i % 2 == 0);
    delete(&blocks, ulid(2), range(0, 1000), |i| i == 2);
    let before = everything(&blocks);
    assert_eq!(run_all(&blocks).unwrap(), 1);
    let list = blocks.snapshot();
    list[0].verify().unwrap();
    assert_eq!(list[0].tombstones(), &Tombstones::default());
    assert_eq!(everything(&blocks), before);
    assert_eq!(dump(&list[0])[&labels(2)].iter().map(|(t, _)| *t).collect::<Vec<_>>(), [100, 110, 160, 170, 180, 190]);
}

#[test]
fn blocks_of_which_nothing_is_left_are_deleted() {
    let disk = root();
    (0..4).for_each(|n| drop(regular(&disk, n, n as i64 * 100, 0..6)));
    let blocks = open(&disk);
    (0..3).for_each(|n| delete(&blocks, ulid(n), range(i64::MIN, i64::MAX), |_| true));
    let reader = blocks.snapshot();
    assert_eq!(run_all(&blocks).unwrap(), 1);
    assert_eq!(names(&blocks), [ulid(3)]);
    // Somebody still reads them, and then the process dies.
    assert_eq!(names(&open(&disk.fork())), [ulid(3)]);
    drop(reader);
    assert_eq!(blocks.sweep(), 0);
    assert_eq!(disk.list(Path::new(DATA)).unwrap(), [ulid(3).to_string()]);
}

#[test]
fn a_block_that_cannot_be_read_is_marked_and_the_others_go_on() {
    let disk = root();
    (0..7).for_each(|n| drop(regular(&disk, n, n as i64 * 100, 0..6)));
    let path = dir(ulid(1)).join("chunks/000001");
    let mut bytes = disk.read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    disk.write(&path, &bytes);
    let blocks = open(&disk);
    let error = run_all(&blocks).unwrap_err();
    assert!(error.to_string().contains("000001: damaged at byte"), "{error}");
    let failed: Vec<bool> = blocks.snapshot().iter().map(|b| b.meta().compaction.failed).collect();
    assert_eq!(failed, [false, true, false, false, false, false, false]);
    assert!(open(&disk.fork()).snapshot()[1].meta().compaction.failed);
    assert_eq!(run_all(&blocks).unwrap(), 1);
    let starts: Vec<i64> = blocks.snapshot().iter().map(|b| b.meta().min_time).collect();
    assert_eq!(starts, [0, 100, 200, 300, 600]);
}

#[test]
fn a_compaction_that_is_stopped_or_has_no_room_leaves_all_as_it_was() {
    let disk = root();
    (0..4).for_each(|n| drop(regular(&disk, n, n as i64 * 100, 0..6)));
    let blocks = open(&disk);
    let before: Vec<_> = blocks.snapshot().iter().map(|b| b.meta().clone()).collect();
    let unchanged = |blocks: &Blocks| {
        assert_eq!(blocks.snapshot().iter().map(|b| b.meta().clone()).collect::<Vec<_>>(), before);
        assert_eq!(disk.list(Path::new(DATA)).unwrap().len(), 4);
    };
    let scope = Scope::unbounded();
    scope.cancel();
    let stopped = compactor().run_all(&blocks, || NOW, &scope, || true).unwrap_err();
    assert!(matches!(stopped, CompactError::Cancelled(Cancelled::Client)), "{stopped}");
    unchanged(&blocks);
    disk.set_room(Some(1000));
    let full = run_all(&blocks).unwrap_err();
    assert!(matches!(full, CompactError::Write(BlockError::Disk { .. })), "{full}");
    unchanged(&blocks);
    disk.set_room(None);
    assert_eq!(run_all(&blocks).unwrap(), 1);
}
