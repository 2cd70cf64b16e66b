//! Writing blocks again without what is deleted of them.

use super::run::{described, supersede, write_merged};
use super::write::CompactError;
use crate::model::TimestampMs;
use crate::storage::Scope;
use crate::tsdb::block::BlockMeta;
use crate::tsdb::blocks::Blocks;

/// Writes each block of which something is deleted again without it, and says how many there were. As in the reference
/// the new block counts as fresh from the head, with the old one as its parent. Those done before an error stay done.
pub fn clean_tombstones(blocks: &Blocks, now: impl Fn() -> TimestampMs, scope: &Scope) -> Result<usize, CompactError> {
    let mut done = 0;
    let todo: Vec<_> = blocks.snapshot().iter().filter(|b| b.tombstones().count() > 0).cloned().collect();
    for block in todo {
        let old = block.meta().clone();
        let mut meta = BlockMeta::new(blocks.new_ulid(now()), old.min_time, old.max_time);
        meta.compaction.parents = vec![described(&old)];
        meta.compaction.hints.clone_from(&old.compaction.hints);
        let made = write_merged(blocks.disk(), blocks.dir(), meta, std::slice::from_ref(&block), scope)?;
        // The old one's files can go at once if nobody else reads them.
        drop(block);
        supersede(blocks, &[old.ulid], made.as_ref())?;
        tracing::info!(old = %old.ulid, new = ?made.map(|m| m.ulid), "rewrote a block without what was deleted of it");
        done += 1;
    }
    Ok(done)
}
