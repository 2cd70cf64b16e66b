//! The machine dies at each operation of compactions, deletions and rewritings.

use std::cell::Cell;

use super::clean_tombstones;
use super::tests::{NOW, compactor, everything, range, regular_on};
use crate::disk::{CrashDisk, CrashPolicy, Disk};
use crate::storage::Scope;
use crate::telemetry::Registry;
use crate::tsdb::blocks::Blocks;
use crate::tsdb::fixtures::{Dump, labels, ulid};
use std::path::Path;
use std::sync::Arc;

const DATA: &str = "/data";

fn open(disk: &CrashDisk) -> Blocks {
    Blocks::open(Arc::new(disk.clone()), Path::new(DATA), &Registry::new()).unwrap().0
}

/// A durable directory of four blocks, of which three fill a range.
fn prepared() -> CrashDisk {
    let disk = CrashDisk::new();
    disk.create_dir_all(Path::new(DATA)).unwrap();
    (0..4).for_each(|n| drop(regular_on(&(Arc::new(disk.clone()) as Arc<dyn Disk>), n, n as i64 * 100, 0..4)));
    disk.sync_all();
    disk
}

/// Deletes from the newest block, compacts the older ones, rewrites the newest. Notes when the deletion is acknowledged.
fn work(disk: &CrashDisk, deleted: &Cell<bool>) -> Result<(), String> {
    let text = |e: &dyn std::fmt::Display| e.to_string();
    let blocks = Blocks::open(Arc::new(disk.clone()), Path::new(DATA), &Registry::new()).map_err(|e| text(&e))?.0;
    let block = blocks.snapshot().iter().find(|b| b.meta().ulid == ulid(3)).cloned();
    if let Some(block) = block {
        let mut tombstones = block.tombstones().clone();
        let second = block.index().all().map_err(|e| text(&e))?.into_iter().nth(1);
        tombstones.add(u64::from(second.unwrap()), range(0, 345));
        blocks.set_tombstones(ulid(3), &tombstones).map_err(|e| text(&e))?;
        deleted.set(true);
    }
    let scope = Scope::unbounded();
    compactor().run_all(&blocks, || NOW, &scope, || true).map_err(|e| text(&e))?;
    clean_tombstones(&blocks, || NOW, &scope).map_err(|e| text(&e))?;
    blocks.replace(&[], &[]).map_err(|e| text(&e))?;
    match blocks.sweep() {
        0 => Ok(()),
        left => Err(format!("{left} blocks were not deleted")),
    }
}

fn without_deleted(all: &Dump) -> Dump {
    let mut left = all.clone();
    left.get_mut(&labels(1)).unwrap().retain(|(t, _)| !(300..=345).contains(t));
    left
}

#[test]
fn every_reopening_after_a_crash_has_all_samples_once() {
    let whole = everything(&open(&prepared()));
    let rest = without_deleted(&whole);
    assert_ne!(whole, rest);
    let mut deaths = 0;
    for at in 0.. {
        let disk = prepared();
        let deleted = Cell::new(false);
        disk.fail_after(disk.operations() + at);
        let done = work(&disk, &deleted).is_ok();
        let policies = [CrashPolicy::LoseAll, CrashPolicy::KeepAll].into_iter().chain((0..4).map(CrashPolicy::Random));
        for policy in policies {
            let crashed = disk.crash(policy);
            let blocks = open(&crashed);
            let found = everything(&blocks);
            assert!(found == rest || found == whole && !deleted.get(), "operation {at}, {policy:?}");
            let list = blocks.snapshot();
            list.iter().for_each(|b| b.verify().unwrap());
            let is_parent = |b: &Arc<crate::tsdb::block::Block>| {
                list.iter().any(|c| c.meta().compaction.parents.iter().any(|p| p.ulid == b.meta().ulid))
            };
            assert!(!list.iter().any(is_parent), "operation {at}, {policy:?}");
            assert!(!crashed.exists(&Path::new(DATA).join("quarantine")).unwrap(), "operation {at}, {policy:?}");
            drop((list, blocks));
            // And the work can be finished from there.
            work(&crashed, &Cell::new(false)).unwrap();
            assert_eq!(everything(&open(&crashed)), rest, "operation {at}, {policy:?}");
            let left = crashed.list(Path::new(DATA)).unwrap();
            assert_eq!(left.len(), 2, "operation {at}, {policy:?}: {left:?}");
        }
        if done {
            break;
        }
        deaths += 1;
    }
    assert!(deaths > 50, "{deaths}");
}
