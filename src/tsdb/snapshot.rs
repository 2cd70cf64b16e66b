//! Copies of blocks that cost no space: second names for their files.

use std::path::{Path, PathBuf};

use super::block::{Block, BlockError, CHUNKS_DIR, INDEX_FILE, META_FILE, TOMBSTONES_FILE};
use crate::disk::Disk;

/// Gives the block a second directory below `parent`, which exists, and makes it durable. Files of a block are never
/// changed, only replaced, so the copy stays as it is. Gives its directory.
pub(super) fn link_block(disk: &dyn Disk, block: &Block, parent: &Path) -> Result<PathBuf, BlockError> {
    let copy = parent.join(block.meta().ulid.to_string());
    let chunks = copy.join(CHUNKS_DIR);
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| BlockError::Disk { path, source }
    };
    disk.create_dir_all(&chunks).map_err(at(&chunks))?;
    for name in [META_FILE, INDEX_FILE, TOMBSTONES_FILE] {
        let from = block.dir().join(name);
        // Blocks of old writers have no tombstones.
        if disk.exists(&from).map_err(at(&from))? {
            disk.hard_link(&from, &copy.join(name)).map_err(at(&from))?;
        }
    }
    let segments = block.dir().join(CHUNKS_DIR);
    for name in disk.list(&segments).map_err(at(&segments))? {
        disk.hard_link(&segments.join(&name), &chunks.join(&name)).map_err(at(&chunks.join(&name)))?;
    }
    for dir in [&chunks, &copy, parent] {
        disk.sync_dir(dir).map_err(at(dir))?;
    }
    Ok(copy)
}
