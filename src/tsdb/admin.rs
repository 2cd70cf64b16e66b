//! What an operator may do: delete, tidy up, copy.
//!
//! Deleting writes down which samples are gone (tombstones); they leave the disk when their block is next written. All
//! three wait for a compaction under way: a deletion from a block that is being compacted would be lost, and a copy must
//! not find half of the blocks in one state and half in another.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::Path;

use super::Tsdb;
use super::block::{Block, BlockError, BlockMeta, Tombstones};
use super::compact::{clean_tombstones, write_block};
use super::snapshot::link_block;
use crate::model::TimestampMs;
use crate::storage::{
    AdminError, Administrable, HeadStatistics, ReplayStatus, Scope, SelectRequest, Selector, TimeRange,
};

/// Where copies go, below the data directory.
const SNAPSHOTS_DIR: &str = "snapshots";

impl Administrable for Tsdb {
    fn delete(&self, selectors: &[Selector], range: TimeRange) -> Result<(), AdminError> {
        let _alone = self.block_upkeep.lock();
        // Nothing may move from the head into a block behind our back.
        let _upkeep = self.upkeep.lock();
        if self.late.time_range().is_some_and(|(min, max)| range.overlaps(min, max)) {
            // The head forgets what it has marked once its own samples of that time are in a block. Late ones may stay
            // longer, so they become blocks first and are marked there.
            self.compact_out_of_order().map_err(failed)?;
        }
        self.delete_in_head(selectors, range)?;
        for block in self.blocks.snapshot().iter().filter(|b| b.overlaps(range)) {
            if let Some(tombstones) = marked(block, selectors, range).map_err(failed)? {
                self.blocks.set_tombstones(block.meta().ulid, &tombstones).map_err(failed)?;
            }
        }
        Ok(())
    }

    fn clean_tombstones(&self) -> Result<(), AdminError> {
        let _alone = self.block_upkeep.lock();
        clean_tombstones(&self.blocks, || self.clock.now(), &self.stop).map(drop).map_err(failed)
    }

    fn snapshot(&self, with_head: bool) -> Result<String, AdminError> {
        let _alone = self.block_upkeep.lock();
        let now = self.clock.now();
        let name = snapshot_name(now, RandomState::new().hash_one(now.0));
        let snapshots = self.dir.join(SNAPSHOTS_DIR);
        // Built under another name, so that nobody takes a part for the whole.
        let work = snapshots.join(format!("{name}.tmp"));
        let made = self.copy_into(&work, with_head).and_then(|()| self.publish(&work, &snapshots, &name));
        if made.is_err()
            && let Err(error) = self.disk.remove_dir_all(&work)
        {
            tracing::warn!(path = %work.display(), %error, "an unfinished snapshot could not be removed");
        }
        made.map(|()| name)
    }

    fn trouble(&self) -> Option<String> {
        self.log.check().err().map(|error| error.to_string())
    }

    fn statistics(&self, limit: usize) -> Result<HeadStatistics, AdminError> {
        Ok(self.head.statistics(limit))
    }

    fn block_descriptions(&self) -> Result<Vec<String>, AdminError> {
        let blocks = self.blocks.snapshot();
        let mut metas: Vec<&BlockMeta> = blocks.iter().map(|block| block.meta()).collect();
        metas.sort_by_key(|meta| (meta.min_time, meta.ulid));
        // What others keep in the file is theirs.
        let plain = |meta: &BlockMeta| BlockMeta { extra: serde_json::Map::new(), ..meta.clone() };
        metas.into_iter().map(|meta| serde_json::to_string(&plain(meta)).map_err(failed)).collect()
    }

    fn replay_status(&self) -> ReplayStatus {
        self.replay.get()
    }
}

impl Tsdb {
    fn copy_into(&self, work: &Path, with_head: bool) -> Result<(), AdminError> {
        // Nothing may move from the head into a block between the two halves.
        let _upkeep = self.upkeep.lock();
        self.disk.create_dir_all(work).map_err(|e| disk_failed(work, &e))?;
        for block in self.blocks.snapshot().iter() {
            link_block(&*self.disk, block, work).map_err(failed)?;
        }
        let Some((min, max)) = self.time_range().filter(|_| with_head) else { return Ok(()) };
        let request =
            SelectRequest { selectors: &[Vec::new()], range: TimeRange { min, max }, sorted: true, limit: None };
        let meta = BlockMeta::new(self.blocks.new_ulid(self.clock.now()), min.0, max.0.saturating_add(1));
        let scope = Scope::unbounded();
        let mut stream = self.select_head(&scope, &request)?;
        write_block(&self.disk, work, &mut *stream, meta, &scope).map(drop).map_err(failed)
    }

    fn publish(&self, work: &Path, snapshots: &Path, name: &str) -> Result<(), AdminError> {
        let place = snapshots.join(name);
        self.disk.sync_dir(work).map_err(|e| disk_failed(work, &e))?;
        self.disk.rename(work, &place).map_err(|e| disk_failed(&place, &e))?;
        for dir in [snapshots, &self.dir] {
            self.disk.sync_dir(dir).map_err(|e| disk_failed(dir, &e))?;
        }
        Ok(())
    }
}

/// The block's tombstones with those for what it has of the selected series in the range; `None` if it has nothing.
fn marked(block: &Block, selectors: &[Selector], range: TimeRange) -> Result<Option<Tombstones>, BlockError> {
    let mut tombstones = block.tombstones().clone();
    let mut touched = false;
    for reference in block.matching(selectors, &Scope::unbounded())? {
        let chunks = block.index().series(reference)?.chunks;
        let (Some(first), Some(last)) = (chunks.first(), chunks.last()) else { continue };
        if chunks.iter().any(|c| range.overlaps(c.min, c.max)) {
            // Not beyond the samples that there are: what a merge with another block brings later is not meant.
            let part = TimeRange { min: range.min.max(first.min), max: range.max.min(last.max) };
            tombstones.add(u64::from(reference), part);
            touched = true;
        }
    }
    Ok(touched.then_some(tombstones))
}

/// The reference's: the time, and what tells copies of one second apart.
fn snapshot_name(now: TimestampMs, random: u64) -> String {
    let time = jiff::Timestamp::from_millisecond(now.0).unwrap_or_default().strftime("%Y%m%dT%H%M%SZ");
    format!("{time}-{:016x}", random >> 1)
}

fn failed(error: impl std::fmt::Display) -> AdminError {
    AdminError::Failed(error.to_string())
}

fn disk_failed(path: &Path, error: &io::Error) -> AdminError {
    AdminError::Failed(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
