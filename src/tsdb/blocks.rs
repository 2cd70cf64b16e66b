//! The blocks of a data directory: which there are, who reads them, and when their files may go.
//!
//! [`Blocks::snapshot`] gives readers a list that stays as it is for as long as they hold it. Changes swap the list;
//! what is no longer in it is *retired*: its directory is deleted once nobody holds the block any more, by the change
//! itself or by a later [`Blocks::sweep`].
//!
//! The laws:
//! * A directory goes in three steps, the renaming to `<ulid>.tmp-for-deletion`, a sync of its parent, and the removal,
//!   so that a crash leaves a whole block, or a leftover that the next opening removes.
//! * A block is deleted only for one of three reasons: another block that has been opened names it among its parents,
//!   its `meta.json` says that it may be deleted, or the caller demands it. Before that the names in the directory are
//!   made durable, so that the block which replaces another is there for good.
//! * Opening never fails because of what a block holds. A damaged one is moved to `quarantine/`; one that this version
//!   or the system cannot read now stays in its place, unread, and is tried again by [`Blocks::reload`].

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::block::{Block, BlockError, BlockMeta, TEMPORARY_SUFFIX, Tombstones, Ulid};
use super::quarantine::set_aside;
use super::ship::Gate;
use crate::disk::Disk;
use crate::model::TimestampMs;
use crate::telemetry::{Counter, Gauge, Registry};

/// What the names of blocks end with that are being deleted.
pub const DELETION_SUFFIX: &str = ".tmp-for-deletion";
/// What both suffixes once were.
const LEGACY_SUFFIX: &str = ".tmp";
/// The hint of blocks that hold nothing but samples which came out of order.
pub const FROM_OUT_OF_ORDER: &str = "from-out-of-order";
/// The hint of blocks that the reference cut from the head before their time, of series that had ended.
pub(super) const FROM_STALE_SERIES: &str = "from-stale-series";
/// The hint of blocks that the reference cut from the head before their time, of series that somebody named.
pub(super) const FROM_SELECTED_SERIES: &str = "from-selected-series";

/// The open blocks at one moment, ascending by their first time.
pub type BlockList = Arc<[Arc<Block>]>;

/// A block that could not be opened.
#[derive(Debug)]
pub struct BrokenBlock {
    /// Its name.
    pub ulid: Ulid,
    /// Where it is now.
    pub path: PathBuf,
    /// Why it could not be opened.
    pub error: BlockError,
}

/// What reading the directory has shown and done.
#[derive(Debug, Default)]
pub struct BlocksReport {
    /// Blocks opened now.
    pub opened: usize,
    /// Unfinished creations and deletions that were removed.
    pub leftovers: usize,
    /// Blocks retired because another was made of them, or because nothing of them was left.
    pub replaced: Vec<Ulid>,
    /// Damaged blocks that were moved away.
    pub quarantined: Vec<BrokenBlock>,
    /// Blocks that cannot be read now and were left where they are.
    pub unreadable: Vec<BrokenBlock>,
}

/// The open blocks of a data directory.
#[derive(Debug)]
pub struct Blocks {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    metrics: Metrics,
    list: RwLock<BlockList>,
    gate: Gate,
    /// Held by each change from its beginning to its end, so that changes follow one another. Readers need only `list`.
    changes: Mutex<Changes>,
}

#[derive(Debug, Default)]
struct Changes {
    /// Blocks out of the list whose directories are still to be deleted.
    retired: Vec<Arc<Block>>,
    /// Earlier states of blocks whose directories stay, or are deleted with a retired block of the same name.
    superseded: Vec<Arc<Block>>,
    last_ulid: Option<Ulid>,
}

#[derive(Clone, Debug)]
struct Metrics {
    loaded: Gauge,
    bytes: Gauge,
    min_time_seconds: Gauge,
    max_time_seconds: Gauge,
    unreadable: Gauge,
    retired: Gauge,
    quarantined: Counter,
    deleted: Counter,
}

impl Metrics {
    fn new(registry: &Registry) -> Metrics {
        let counter = |name, help| registry.counter(name, help, &[]);
        let gauge = |name, help| registry.gauge(name, help, &[]);
        Metrics {
            loaded: gauge("watershed_tsdb_blocks_loaded", "Open blocks."),
            bytes: gauge("watershed_tsdb_blocks_bytes", "Bytes of the open blocks."),
            min_time_seconds: gauge("watershed_tsdb_blocks_min_time_seconds", "Begin of the oldest block."),
            max_time_seconds: gauge("watershed_tsdb_blocks_max_time_seconds", "End of the newest block."),
            unreadable: gauge("watershed_tsdb_blocks_unreadable", "Blocks that cannot be read now."),
            retired: gauge(
                "watershed_tsdb_blocks_retired",
                "Blocks whose files are deleted as soon as nobody reads them any more.",
            ),
            quarantined: counter("watershed_tsdb_blocks_quarantined_total", "Damaged blocks moved to quarantine."),
            deleted: counter("watershed_tsdb_blocks_deleted_total", "Blocks whose files were deleted."),
        }
    }
}

impl Blocks {
    /// Opens every block in `dir`, which exists; removes what creations and deletions have left behind, moves damaged
    /// blocks away, and deletes those that others have replaced. Fails only if the directory itself cannot be read.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, registry: &Registry) -> io::Result<(Blocks, BlocksReport)> {
        let metrics = Metrics::new(registry);
        let (list, changes) = (RwLock::new(Arc::from([])), Mutex::default());
        let blocks = Blocks { disk, dir: dir.to_owned(), metrics, list, gate: Gate::open(), changes };
        let leftovers = blocks.remove_leftovers()?;
        let mut report = blocks.scan(&mut blocks.changes.lock(), Some(Quarantine))?;
        report.leftovers = leftovers;
        Ok((blocks, report))
    }

    /// Where files are.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// The data directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The blocks as they are now.
    pub fn snapshot(&self) -> BlockList {
        self.list.read().clone()
    }

    /// By which shipping keeps blocks back from compaction until they are in the bucket.
    pub fn gate(&self) -> Gate {
        self.gate.clone()
    }

    /// Bytes of all blocks in the list.
    pub fn size(&self) -> u64 {
        self.snapshot().iter().map(|b| b.size()).sum()
    }

    /// The end (exclusive, in milliseconds) of what blocks hold of the samples that came in order; `None` without such
    /// a block. What is older is not expected from the head any more.
    pub fn in_order_max_time(&self) -> Option<i64> {
        self.snapshot().iter().filter(|b| !is_partial_view(b.meta())).map(|b| b.meta().max_time).max()
    }

    /// The block that ends at [`Blocks::in_order_max_time`].
    pub fn boundary(&self) -> Option<Ulid> {
        let list = self.snapshot();
        let in_order = list.iter().map(|b| b.meta()).filter(|meta| !is_partial_view(meta));
        in_order.max_by_key(|meta| (meta.max_time, meta.ulid)).map(|meta| meta.ulid)
    }

    /// Whether a block of late samples reaches into time that the head still holds samples of. It must not become part of
    /// an ordinary block, whose end would say that the head has nothing to add.
    pub fn is_ahead(&self, meta: &BlockMeta) -> bool {
        is_partial_view(meta) && self.in_order_max_time().is_none_or(|end| meta.max_time > end)
    }

    /// A name for a new block, greater than every other that was given out in the same millisecond.
    pub fn new_ulid(&self, now: TimestampMs) -> Ulid {
        let mut changes = self.changes.lock();
        let fresh = Ulid::generate(now);
        let ulid = match changes.last_ulid {
            Some(last) if last >= fresh && last.time() == fresh.time() => last.successor(),
            _ => fresh,
        };
        changes.last_ulid = Some(ulid);
        ulid
    }

    /// Looks at the directory again: opens blocks that others have put there, forgets those that are gone, and deletes
    /// those that have been replaced. What cannot be opened may still be in the making; it stays and is tried again.
    pub fn reload(&self) -> io::Result<BlocksReport> {
        self.scan(&mut self.changes.lock(), None)
    }

    /// Puts new blocks in the place of old ones: opens those `added`, swaps the list in one step and retires those
    /// `removed`. If one of the new cannot be opened, the new are deleted and everything stays as it was.
    pub fn replace(&self, added: &[Ulid], removed: &[Ulid]) -> Result<(), BlockError> {
        let mut changes = self.changes.lock();
        // A reload in between may have found them already.
        let unknown = added.iter().filter(|ulid| self.find(**ulid).is_none());
        let opened: Result<Vec<_>, _> = unknown.map(|ulid| self.open_block(*ulid)).collect();
        let opened = opened.inspect_err(|_| {
            for ulid in added {
                if let Err(error) = self.delete(*ulid) {
                    tracing::warn!(%ulid, %error, "a new block that cannot be opened could not be deleted");
                }
            }
        })?;
        let (gone, mut kept): (Vec<_>, Vec<_>) =
            self.snapshot().iter().cloned().partition(|b| removed.contains(&b.meta().ulid));
        kept.extend(opened);
        self.swap(kept);
        changes.retired.extend(gone);
        self.sweep_locked(&mut changes);
        Ok(())
    }

    /// Changes what `meta.json` says of a block, durably; readers who open the list from now on see it.
    pub fn amend(&self, ulid: Ulid, change: impl FnOnce(&mut BlockMeta)) -> Result<(), BlockError> {
        let mut changes = self.changes.lock();
        let Some(block) = self.find(ulid) else { return Ok(()) };
        let mut meta = block.meta().clone();
        change(&mut meta);
        meta.write(&*self.disk, block.dir())?;
        self.reopen(&mut changes, block)
    }

    /// Replaces what of a block is deleted, durably; readers who open the list from now on see it.
    pub fn set_tombstones(&self, ulid: Ulid, tombstones: &Tombstones) -> Result<(), BlockError> {
        let mut changes = self.changes.lock();
        let Some(block) = self.find(ulid) else { return Ok(()) };
        tombstones.write(&*self.disk, block.dir())?;
        let mut meta = block.meta().clone();
        meta.stats.num_tombstones = tombstones.count();
        meta.write(&*self.disk, block.dir())?;
        self.reopen(&mut changes, block)
    }

    /// Deletes the directories of retired blocks that nobody reads any more; says how many are left. Call it now and then.
    pub fn sweep(&self) -> usize {
        self.sweep_locked(&mut self.changes.lock())
    }

    fn find(&self, ulid: Ulid) -> Option<Arc<Block>> {
        self.list.read().iter().find(|b| b.meta().ulid == ulid).cloned()
    }

    fn open_block(&self, ulid: Ulid) -> Result<Arc<Block>, BlockError> {
        Block::open(&*self.disk, &self.dir.join(ulid.to_string())).map(Arc::new)
    }

    fn reopen(&self, changes: &mut Changes, old: Arc<Block>) -> Result<(), BlockError> {
        let new = self.open_block(old.meta().ulid)?;
        let others = self.snapshot();
        let kept = others.iter().filter(|b| b.meta().ulid != old.meta().ulid).cloned();
        self.swap(kept.chain([new]).collect());
        changes.superseded.push(old);
        Ok(())
    }

    /// Makes this the list of blocks.
    fn swap(&self, mut blocks: Vec<Arc<Block>>) {
        blocks.sort_by_key(|b| (b.meta().min_time, b.meta().max_time, b.meta().ulid));
        let list: BlockList = blocks.into();
        *self.list.write() = list.clone();
        self.metrics.loaded.set(list.len() as f64);
        self.metrics.bytes.set(list.iter().map(|b| b.size()).sum::<u64>() as f64);
        if let Some(first) = list.first() {
            self.metrics.min_time_seconds.set(TimestampMs(first.meta().min_time).as_seconds());
        }
        if let Some(last) = list.iter().map(|b| b.meta().max_time).max() {
            self.metrics.max_time_seconds.set(TimestampMs(last).as_seconds());
        }
    }

    fn remove_leftovers(&self) -> io::Result<usize> {
        let mut removed = 0;
        for name in self.disk.list(&self.dir)?.iter().filter(|name| is_leftover(name)) {
            let path = self.dir.join(name);
            match self.disk.remove_dir_all(&path) {
                Ok(()) => {
                    removed += 1;
                    tracing::info!(path = %path.display(), "removed an unfinished block");
                }
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "an unfinished block could not be removed")
                }
            }
        }
        Ok(removed)
    }

    fn scan(&self, changes: &mut Changes, quarantine: Option<Quarantine>) -> io::Result<BlocksReport> {
        let mut report = BlocksReport::default();
        let known: BTreeMap<Ulid, Arc<Block>> = self.snapshot().iter().map(|b| (b.meta().ulid, b.clone())).collect();
        let (mut found, mut broken) = (Vec::new(), Vec::new());
        for ulid in self.disk.list(&self.dir)?.iter().filter_map(|name| block_name(name)) {
            if changes.retired.iter().any(|b| b.meta().ulid == ulid) {
                continue;
            }
            match known.get(&ulid) {
                Some(block) => found.push(block.clone()),
                None => match self.open_block(ulid) {
                    Ok(block) => {
                        report.opened += 1;
                        found.push(block);
                    }
                    Err(error) => broken.push((ulid, error)),
                },
            }
        }
        // A parent may be deleted even if it is damaged: everything in it is in its child.
        let parents: BTreeSet<Ulid> =
            found.iter().flat_map(|b| b.meta().compaction.parents.iter().map(|p| p.ulid)).collect();
        for (ulid, error) in broken {
            self.put_aside(ulid, error, &parents, quarantine, &mut report)?;
        }
        let replaced = |b: &Arc<Block>| b.meta().compaction.deletable || parents.contains(&b.meta().ulid);
        let (gone, kept): (Vec<_>, Vec<_>) = found.into_iter().partition(replaced);
        report.replaced.extend(gone.iter().map(|b| b.meta().ulid));
        changes.retired.extend(gone);
        drop(known);
        self.swap(kept);
        self.metrics.unreadable.set(report.unreadable.len() as f64);
        self.sweep_locked(changes);
        Ok(report)
    }

    /// Decides about a block that cannot be opened.
    fn put_aside(
        &self,
        ulid: Ulid,
        error: BlockError,
        parents: &BTreeSet<Ulid>,
        quarantine: Option<Quarantine>,
        report: &mut BlocksReport,
    ) -> io::Result<()> {
        let path = self.dir.join(ulid.to_string());
        if parents.contains(&ulid) {
            tracing::warn!(%ulid, %error, "a block that cannot be opened is deleted: another one holds what it held");
            match self.make_names_durable().and_then(|()| self.delete(ulid)) {
                Ok(()) => report.replaced.push(ulid),
                Err(error) => tracing::warn!(%ulid, %error, "a replaced block could not be deleted"),
            }
            return Ok(());
        }
        if quarantine.is_some() && is_damage(&error) {
            let moved = set_aside(&*self.disk, &self.dir, &path)?;
            self.metrics.quarantined.inc();
            tracing::error!(%ulid, %error, path = %moved.display(), "a damaged block was put into quarantine");
            report.quarantined.push(BrokenBlock { ulid, path: moved, error });
        } else {
            tracing::warn!(%ulid, %error, "a block cannot be read now");
            report.unreadable.push(BrokenBlock { ulid, path, error });
        }
        Ok(())
    }

    fn sweep_locked(&self, changes: &mut Changes) -> usize {
        // The list and its copies hold blocks of their own; a count of one is this one alone.
        changes.superseded.retain(|b| Arc::strong_count(b) > 1);
        let is_read = |block: &Arc<Block>| {
            Arc::strong_count(block) > 1 || changes.superseded.iter().any(|b| b.meta().ulid == block.meta().ulid)
        };
        let (waiting, free): (Vec<_>, Vec<_>) = std::mem::take(&mut changes.retired).into_iter().partition(is_read);
        changes.retired = waiting;
        let mut durable = None;
        for block in free {
            let ulid = block.meta().ulid;
            let synced = durable.get_or_insert_with(|| self.make_names_durable().is_ok());
            if !*synced {
                changes.retired.push(block);
            } else if let Err(error) = self.delete(ulid) {
                tracing::warn!(%ulid, %error, "a block could not be deleted");
                changes.retired.push(block);
            } else {
                self.metrics.deleted.inc();
                tracing::info!(%ulid, "deleted a block");
            }
        }
        self.metrics.retired.set(changes.retired.len() as f64);
        changes.retired.len()
    }

    fn make_names_durable(&self) -> Result<(), BlockError> {
        self.disk.sync_dir(&self.dir).map_err(|e| disk_error(&self.dir, e))
    }

    /// Deletes a block's directory if it is there.
    fn delete(&self, ulid: Ulid) -> Result<(), BlockError> {
        let place = self.dir.join(ulid.to_string());
        let doomed = self.dir.join(format!("{ulid}{DELETION_SUFFIX}"));
        if self.disk.exists(&doomed).map_err(|e| disk_error(&doomed, e))? {
            self.disk.remove_dir_all(&doomed).map_err(|e| disk_error(&doomed, e))?;
        }
        if !self.disk.exists(&place).map_err(|e| disk_error(&place, e))? {
            return Ok(());
        }
        self.disk.rename(&place, &doomed).map_err(|e| disk_error(&place, e))?;
        self.make_names_durable()?;
        self.disk.remove_dir_all(&doomed).map_err(|e| disk_error(&doomed, e))
    }
}

/// Permission to move damaged blocks away: given at start only, when nobody else is writing blocks.
#[derive(Clone, Copy, Debug)]
struct Quarantine;

fn disk_error(path: &Path, source: io::Error) -> BlockError {
    BlockError::Disk { path: path.to_owned(), source }
}

/// Whether a block was made from a part of the head only, so that its end says nothing of what the head still needs.
fn is_partial_view(meta: &BlockMeta) -> bool {
    let partial = [FROM_OUT_OF_ORDER, FROM_STALE_SERIES, FROM_SELECTED_SERIES];
    meta.compaction.hints.iter().any(|hint| partial.contains(&hint.as_str()))
}

/// The block that a directory of that name is.
fn block_name(name: &str) -> Option<Ulid> {
    name.parse().ok().filter(|ulid: &Ulid| ulid.to_string() == name)
}

fn is_leftover(name: &str) -> bool {
    [TEMPORARY_SUFFIX, DELETION_SUFFIX, LEGACY_SUFFIX]
        .iter()
        .any(|suffix| name.strip_suffix(suffix).is_some_and(|stem| block_name(stem).is_some()))
}

/// Whether trying again cannot help. A block of a newer kind, or one that the system has no file handle for, is whole.
fn is_damage(error: &BlockError) -> bool {
    match error {
        BlockError::Damaged { .. } | BlockError::NoSuchChunk(_) | BlockError::Refused(_) => true,
        BlockError::Unsupported { .. } | BlockError::Cancelled(_) => false,
        BlockError::Disk { source, .. } => matches!(
            source.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemDisk;
    use crate::storage::TimeRange;
    use crate::tsdb::block::META_FILE;
    use crate::tsdb::fixtures::{dump, root, ulid, write_small};
    use crate::tsdb::quarantine::QUARANTINE_DIR;

    const DATA: &str = "/data";

    fn opened(disk: &MemDisk) -> (Blocks, BlocksReport) {
        Blocks::open(Arc::new(disk.clone()), Path::new(DATA), &Registry::new()).unwrap()
    }

    fn shared(disk: &MemDisk) -> Arc<dyn Disk> {
        Arc::new(disk.clone())
    }

    fn names(blocks: &Blocks) -> Vec<Ulid> {
        blocks.snapshot().iter().map(|b| b.meta().ulid).collect()
    }

    fn on_disk(disk: &MemDisk) -> Vec<String> {
        disk.list(Path::new(DATA)).unwrap()
    }

    fn dir(n: u64) -> PathBuf {
        Path::new(DATA).join(ulid(n).to_string())
    }

    #[test]
    fn blocks_are_listed_by_their_time_and_other_directories_are_left_alone() {
        let disk = root();
        for (n, min) in [(3, 0), (1, 200), (2, 100)] {
            write_small(&shared(&disk), n, min, min + 100, &[]);
        }
        for other in ["wal", "chunks_head", "lost+found", "thing.tmp", "quarantine"] {
            disk.create_dir_all(&Path::new(DATA).join(other)).unwrap();
        }
        let (blocks, report) = opened(&disk);
        assert_eq!(names(&blocks), [ulid(3), ulid(2), ulid(1)]);
        assert_eq!((report.opened, report.leftovers), (3, 0));
        assert_eq!(on_disk(&disk).len(), 8);
        assert_eq!(blocks.in_order_max_time(), Some(300));
        assert_eq!(blocks.size(), blocks.snapshot().iter().map(|b| b.size()).sum::<u64>());
    }

    #[test]
    fn what_creations_and_deletions_left_behind_is_removed_at_opening() {
        let disk = root();
        for suffix in [".tmp-for-creation", ".tmp-for-deletion", ".tmp"] {
            disk.create_dir_all(&Path::new(DATA).join(format!("{}{suffix}", ulid(7))).join("chunks")).unwrap();
        }
        assert_eq!(opened(&disk).1.leftovers, 3);
        assert_eq!(on_disk(&disk), [""; 0]);
    }

    #[test]
    fn a_block_is_deleted_after_its_last_reader() {
        let disk = root();
        for n in 1..=2 {
            write_small(&shared(&disk), n, 0, 100, &[]);
        }
        let (blocks, _) = opened(&disk);
        let reader = blocks.snapshot();
        let single = reader[1].clone();
        let all: Vec<_> = reader.iter().map(|b| dump(b)).collect();
        write_small(&shared(&disk), 3, 0, 100, &[1, 2]);
        blocks.replace(&[ulid(3)], &[ulid(1), ulid(2)]).unwrap();
        blocks.replace(&[ulid(3)], &[]).unwrap();
        assert_eq!(names(&blocks), [ulid(3)], "once, however often it is put in place");
        assert_eq!(blocks.sweep(), 2);
        assert_eq!(reader.iter().map(|b| dump(b)).collect::<Vec<_>>(), all);
        assert_eq!(blocks.reload().unwrap().opened, 0, "retired blocks do not come back");
        drop(reader);
        assert_eq!(blocks.sweep(), 1);
        assert_eq!(on_disk(&disk), [ulid(2).to_string(), ulid(3).to_string()]);
        drop(single);
        assert_eq!(blocks.sweep(), 0);
        assert_eq!(on_disk(&disk), [ulid(3).to_string()]);
    }

    #[test]
    fn an_earlier_state_of_a_block_keeps_its_files_too() {
        let disk = root();
        write_small(&shared(&disk), 1, 0, 100, &[]);
        let (blocks, _) = opened(&disk);
        let reader = blocks.snapshot();
        let mut tombstones = Tombstones::default();
        tombstones.add(2, TimeRange { min: TimestampMs(0), max: TimestampMs(5) });
        blocks.set_tombstones(ulid(1), &tombstones).unwrap();
        assert_eq!(blocks.snapshot()[0].tombstones(), &tombstones);
        assert_eq!(blocks.snapshot()[0].meta().stats.num_tombstones, 1);
        assert_eq!(reader[0].tombstones().count(), 0);
        blocks.replace(&[], &[ulid(1)]).unwrap();
        assert_eq!((names(&blocks).len(), blocks.sweep()), (0, 1));
        drop(reader);
        assert_eq!(blocks.sweep(), 0);
        assert_eq!(on_disk(&disk), [""; 0]);
    }

    #[test]
    fn a_new_block_that_cannot_be_opened_changes_nothing() {
        let disk = root();
        write_small(&shared(&disk), 1, 0, 100, &[]);
        let (blocks, _) = opened(&disk);
        for n in 2..=3 {
            write_small(&shared(&disk), n, 0, 100, &[1]);
        }
        disk.write(&dir(3).join("index"), b"no index");
        blocks.replace(&[ulid(2), ulid(3)], &[ulid(1)]).unwrap_err();
        assert_eq!(names(&blocks), [ulid(1)]);
        assert_eq!(on_disk(&disk), [ulid(1).to_string()]);
    }

    #[test]
    fn opening_deletes_what_was_replaced_even_if_it_is_damaged() {
        let disk = root();
        for (n, parents) in [(1, &[][..]), (2, &[1]), (3, &[2, 9]), (4, &[]), (5, &[])] {
            write_small(&shared(&disk), n, 0, 100, parents);
        }
        disk.remove_file(&dir(1).join(META_FILE)).unwrap();
        let mut meta = BlockMeta::read(&disk, &dir(4)).unwrap();
        meta.compaction.deletable = true;
        meta.write(&disk, &dir(4)).unwrap();
        let (blocks, report) = opened(&disk);
        assert_eq!(names(&blocks), [ulid(3), ulid(5)]);
        assert_eq!(report.replaced, [ulid(1), ulid(2), ulid(4)]);
        assert_eq!(on_disk(&disk), [ulid(3).to_string(), ulid(5).to_string()]);
    }

    #[test]
    fn a_damaged_child_leaves_its_parents_alone_and_goes_to_quarantine() {
        let disk = root();
        write_small(&shared(&disk), 1, 0, 100, &[]);
        for round in 1..=2 {
            write_small(&shared(&disk), 2, 0, 100, &[1]);
            disk.write(&dir(2).join("index"), b"");
            let (blocks, report) = opened(&disk);
            assert_eq!(names(&blocks), [ulid(1)]);
            let [broken] = &report.quarantined[..] else { panic!("{report:?}") };
            assert!(broken.error.to_string().starts_with(&format!("{}/index: damaged", dir(2).display())));
            assert_eq!(disk.list(&Path::new(DATA).join(QUARANTINE_DIR)).unwrap().len(), round);
            assert!(disk.exists(&broken.path.join(META_FILE)).unwrap());
        }
        assert_eq!(on_disk(&disk), [ulid(1).to_string(), QUARANTINE_DIR.to_owned()]);
    }

    #[test]
    fn a_block_of_a_newer_kind_or_half_copied_stays_where_it_is() {
        let disk = root();
        write_small(&shared(&disk), 1, 0, 100, &[]);
        let index = dir(1).join("index");
        let bytes = disk.read(&index).unwrap();
        let mut newer = bytes.clone();
        newer[4] = 3;
        disk.write(&index, &newer);
        let (blocks, report) = opened(&disk);
        assert_eq!((report.unreadable.len(), names(&blocks).len()), (1, 0));
        disk.write(&index, &bytes[..bytes.len() / 2]);
        assert_eq!(blocks.reload().unwrap().unreadable.len(), 1);
        disk.write(&index, &bytes);
        assert_eq!(blocks.reload().unwrap().opened, 1);
        assert_eq!(names(&blocks), [ulid(1)]);
        disk.remove_dir_all(&dir(1)).unwrap();
        blocks.reload().unwrap();
        assert_eq!(names(&blocks), []);
    }

    #[test]
    fn a_change_of_the_description_is_seen_and_lasts() {
        let disk = root();
        write_small(&shared(&disk), 1, 0, 100, &[]);
        let (blocks, _) = opened(&disk);
        blocks.amend(ulid(1), |meta| meta.compaction.hints.push(FROM_OUT_OF_ORDER.to_owned())).unwrap();
        assert_eq!(blocks.in_order_max_time(), None);
        drop(blocks);
        assert_eq!(opened(&disk).0.in_order_max_time(), None);
    }

    #[test]
    fn names_of_one_millisecond_ascend() {
        let (blocks, _) = opened(&root());
        let names: Vec<Ulid> = (0..50).map(|_| blocks.new_ulid(TimestampMs(1000))).collect();
        assert!(names.is_sorted_by(|a, b| a < b));
        assert_eq!(blocks.new_ulid(TimestampMs(10)).time(), TimestampMs(10));
    }
}
