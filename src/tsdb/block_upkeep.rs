//! Upkeep of the blocks: what is too old or too much goes, and small blocks become larger ones.
//!
//! It has a lock of its own, so that the head's upkeep, which forces the log to disk, need not wait for a compaction.
//! Who deletes or copies blocks holds it, too: a deletion from a block that is being compacted would be lost.

use std::io;
use std::path::Path;

use super::block::BlockError;
use super::retention::{Beyond, Kept};
use super::upkeep::UpkeepError;
use super::{Tsdb, block::Ulid};
use crate::disk::Disk;

/// Directories whose bytes count for retention beside the blocks'.
const OTHERS: [&str; 3] = ["wal", "wbl", "chunks_head"];

/// What one round of upkeep of the blocks did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BlocksMaintained {
    /// Compactions.
    pub compactions: usize,
    /// Blocks deleted because of their age or of the size of all.
    pub expired: Vec<Ulid>,
}

impl Tsdb {
    /// Upkeep of the blocks, to be called every minute or so, by any thread that may take its time: opens blocks that
    /// somebody put into the directory, deletes those beyond retention, and compacts until nothing is left to do or the
    /// head is due.
    ///
    /// An error means that something is left to do; the next round tries again.
    pub fn maintain_blocks(&self) -> Result<BlocksMaintained, UpkeepError> {
        let _alone = self.block_upkeep.lock();
        let reloaded = self.blocks.reload().map_err(|e| disk_error(&self.dir, e));
        let expired = self.expire();
        let head_can_wait = || self.due().is_none();
        let compacted = self.compactor.run_all(&self.blocks, || self.clock.now(), &self.stop, head_can_wait);
        self.blocks.sweep();
        reloaded?;
        Ok(BlocksMaintained { expired: expired?, compactions: compacted? })
    }

    /// Deletes the blocks beyond retention.
    fn expire(&self) -> Result<Vec<Ulid>, BlockError> {
        let retention = self.settings.load().retention;
        let blocks: Vec<Kept> = self.blocks.snapshot().iter().map(|b| Kept::from(&**b)).collect();
        let total = match retention.percentage {
            Some(_) => self.disk.total_space(&self.dir).inspect_err(|error| {
                tracing::warn!(%error, "the size of the file system is unknown; retention by percentage is not possible");
            }),
            None => Ok(0),
        };
        let total = total.ok().filter(|total| *total > 0);
        let others = match retention.max_bytes(total) {
            Some(_) => self.bytes_beside_blocks().map_err(|e| disk_error(&self.dir, e))?,
            None => 0,
        };
        let beyond = retention.beyond(&blocks, others, total);
        for (ulid, why) in &beyond {
            match why {
                Beyond::Time => self.metrics.expired_by_time.inc(),
                Beyond::Size => self.metrics.expired_by_size.inc(),
            }
            tracing::info!(%ulid, reason = ?why, "a block is beyond retention");
        }
        let expired: Vec<Ulid> = beyond.into_iter().map(|(ulid, _)| ulid).collect();
        if !expired.is_empty() {
            self.blocks.replace(&[], &expired)?;
        }
        Ok(expired)
    }

    fn bytes_beside_blocks(&self) -> io::Result<u64> {
        OTHERS.iter().map(|name| bytes_below(&*self.disk, &self.dir.join(name))).sum()
    }
}

/// Bytes of all files below a directory, of the file if it is one, 0 if it is neither (any more).
fn bytes_below(disk: &dyn Disk, path: &Path) -> io::Result<u64> {
    match disk.list(path) {
        Ok(names) => names.iter().map(|name| bytes_below(disk, &path.join(name))).sum(),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotADirectory | io::ErrorKind::NotFound) => {
            match disk.open(path).and_then(|file| file.len()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
                len => len,
            }
        }
        Err(error) => Err(error),
    }
}

fn disk_error(path: &Path, source: io::Error) -> BlockError {
    BlockError::Disk { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{MemDisk, RealDisk};

    #[test]
    fn bytes_are_counted_through_all_levels() {
        let home = tempfile::tempdir().unwrap();
        let mem = MemDisk::new();
        for (disk, root) in [(&RealDisk as &dyn Disk, home.path()), (&mem, Path::new("/data"))] {
            disk.create_dir_all(&root.join("wal/checkpoint.000001")).unwrap();
            for (name, len) in [("wal/00000002", 7), ("wal/checkpoint.000001/00000000", 5)] {
                disk.create(&root.join(name)).unwrap().append(&vec![0; len]).unwrap();
            }
            assert_eq!(bytes_below(disk, &root.join("wal")).unwrap(), 12);
            assert_eq!(bytes_below(disk, &root.join("wbl")).unwrap(), 0);
        }
    }
}
