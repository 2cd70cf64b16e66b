//! A data directory as it is, without writing to it and without its lock.
//!
//! For tools that look at a directory, perhaps one that a server is working on. Everything that opening a store would
//! change (a torn log is repaired, leftovers are removed) changes in memory only, see [`OverlayDisk`]. What a running
//! server does meanwhile may be seen or not; a block that it deletes in this moment cannot be read, and that is told.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::block::{Block, BlockError, Ulid};
use super::blocks::BrokenBlock;
use super::{Deps, OpenError, OpenReport, Options, Tsdb};
use crate::disk::{Disk, OverlayDisk};
use crate::runtime::Clock;
use crate::telemetry::Registry;

/// A data directory that is only read.
#[derive(Clone, Debug)]
pub struct ReadOnly {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
}

impl ReadOnly {
    /// Looks whether there is a directory.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<ReadOnly, OpenError> {
        let read_only = ReadOnly { disk: Arc::new(OverlayDisk::new(disk)), dir: dir.to_owned() };
        read_only.names()?;
        Ok(read_only)
    }

    fn names(&self) -> Result<Vec<String>, OpenError> {
        self.disk.list(&self.dir).map_err(|source| OpenError::Disk { path: self.dir.clone(), source })
    }

    /// The names of the blocks, whole or not, ascending.
    pub fn block_names(&self) -> Result<Vec<Ulid>, OpenError> {
        let names = self.names()?;
        let ulids = names.iter().filter_map(|name| name.parse::<Ulid>().ok().filter(|ulid| ulid.to_string() == *name));
        Ok(ulids.collect())
    }

    /// One block.
    pub fn block(&self, ulid: Ulid) -> Result<Block, BlockError> {
        Block::open(&*self.disk, &self.dir.join(ulid.to_string()))
    }

    /// Every block that can be opened, ascending by its first time, and those that cannot. Of the latter those do not
    /// count whose samples are in one of the former.
    pub fn blocks(&self) -> Result<(Vec<Block>, Vec<BrokenBlock>), OpenError> {
        let (mut whole, mut broken) = (Vec::new(), Vec::new());
        for ulid in self.block_names()? {
            match self.block(ulid) {
                Ok(block) => whole.push(block),
                Err(error) => broken.push(BrokenBlock { ulid, path: self.dir.join(ulid.to_string()), error }),
            }
        }
        broken.retain(|b| !whole.iter().any(|w| w.meta().compaction.parents.iter().any(|p| p.ulid == b.ulid)));
        whole.sort_by_key(|b| b.meta().min_time);
        Ok((whole, broken))
    }

    /// A store with everything that the directory holds. What is appended to it or changed by its upkeep stays in memory.
    pub fn store(&self) -> Result<(Tsdb, OpenReport), OpenError> {
        let deps = Deps { disk: self.disk.clone(), clock: Clock::system(), registry: Registry::new() };
        Tsdb::open(&self.dir, Options::default(), deps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemDisk;
    use crate::model::{Labels, TimestampMs};
    use crate::storage::{Appendable, FloatSample};

    const DIR: &str = "/data";

    fn written() -> (MemDisk, Tsdb) {
        let disk = MemDisk::new();
        let clock = Clock::manual(TimestampMs(1_000_000));
        let deps = Deps { disk: Arc::new(disk.clone()), clock, registry: Registry::new() };
        let (store, _) = Tsdb::open(Path::new(DIR), Options::default(), deps).unwrap();
        let mut appender = store.appender();
        let series = appender.series(&Labels::from_pairs([("__name__", "up")])).unwrap();
        assert!(appender.append(&[FloatSample { series, t: TimestampMs(1_000_000), v: 1.0 }]).unwrap().0.is_empty());
        appender.commit().unwrap();
        (disk, store)
    }

    #[test]
    fn a_directory_in_use_is_read_and_a_torn_log_stays_torn() {
        let (disk, store) = written();
        let segment = Path::new("/data/wal/00000000");
        let mut torn = disk.read(segment).unwrap();
        torn.extend([1, 0x10, 0, 1, 2, 3]);
        disk.write(segment, &torn);

        let (read, report) = ReadOnly::open(Arc::new(disk.clone()), Path::new(DIR)).unwrap().store().unwrap();
        assert_eq!((read.series_count(), report.samples, report.damage.len()), (1, 1, 1));
        read.close().unwrap();
        assert_eq!(disk.read(segment).unwrap(), torn);
        assert_eq!(disk.list(Path::new("/data/wal")).unwrap(), ["00000000"]);
        drop(store);
    }

    #[test]
    fn what_is_no_directory_is_told_and_nothing_is_created() {
        let disk = MemDisk::new();
        let error = ReadOnly::open(Arc::new(disk.clone()), Path::new("/nowhere")).unwrap_err();
        assert!(error.to_string().contains("/nowhere"), "{error}");
        assert!(!disk.exists(Path::new("/nowhere")).unwrap());
    }

    #[test]
    fn names_that_only_look_like_blocks_are_none() {
        let disk = MemDisk::new();
        for name in
            ["01ARZ3NDEKTSV4RRFFQ69G5FAV", "01arz3ndektsv4rrffq69g5fav", "wal", "01ARZ3NDEKTSV4RRFFQ69G5FAV.tmp"]
        {
            disk.create_dir_all(&Path::new(DIR).join(name)).unwrap();
        }
        let read_only = ReadOnly::open(Arc::new(disk), Path::new(DIR)).unwrap();
        assert_eq!(read_only.block_names().unwrap().len(), 1);
        let (whole, broken) = read_only.blocks().unwrap();
        assert_eq!((whole.len(), broken.len()), (0, 1));
        assert!(broken[0].error.to_string().contains("meta.json"), "{}", broken[0].error);
    }
}
