//! Making a damaged segment readable again for everyone, Prometheus included.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::reader::{SegmentRead, read_segment};
use super::{Compression, Writer, record, segment_path, segments};
use crate::disk::Disk;

/// What was done about a segment's damage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Repair {
    /// A torn end was cut off at this offset.
    Truncated {
        /// Bytes that remain.
        len: u64,
    },
    /// The segment was written anew from its good records; the damaged original was kept.
    Rewritten {
        /// Where the original is.
        quarantine: PathBuf,
    },
    /// Nothing could be done; the segment stays as it is and its good records were read.
    Failed(String),
}

/// Repairs one segment after reading has found damage. `is_last`: nothing comes behind the segment, so a damaged end
/// is only a write that was cut short, and worth nothing to anyone.
pub(crate) fn repair_segment(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    index: u32,
    read: &SegmentRead,
    is_last: bool,
) -> Repair {
    let path = segment_path(dir, index);
    let done = if is_last && read.is_torn_tail() {
        truncate(&**disk, &path, read.good_end).map(|()| Repair::Truncated { len: read.good_end })
    } else {
        rewrite(disk, dir, index).map(|quarantine| Repair::Rewritten { quarantine })
    };
    done.unwrap_or_else(|error| Repair::Failed(error.to_string()))
}

fn truncate(disk: &dyn Disk, path: &Path, len: u64) -> io::Result<()> {
    let file = disk.open(path)?;
    file.truncate(len)?;
    file.sync()
}

/// The copy is built in a directory of its own and then takes the segment's name; a crash in between is mended by
/// [`finish_interrupted`].
fn rewrite(disk: &Arc<dyn Disk>, dir: &Path, index: u32) -> io::Result<PathBuf> {
    let path = segment_path(dir, index);
    let work = dir.join(format!("repair.{index:08}.tmp"));
    if disk.exists(&work)? {
        disk.remove_dir_all(&work)?;
    }
    disk.create_dir_all(&work)?;
    // The copy has at most the original's records, so it never runs over into a second segment.
    let copy = Writer::create(disk.clone(), &work, index, u64::MAX / 2, Compression::Snappy);
    let mut copy = copy.map_err(|e| e.source)?;
    let mut failed = None;
    let mut copy_record = |record: &[u8]| {
        record::check(record)?;
        let step = copy.push(record).and_then(|()| copy.flush());
        failed = failed.take().or(step.err());
        Ok(())
    };
    read_segment(&*disk.open(&path)?, &path, &mut copy_record);
    if let Some(error) = failed {
        return Err(error.source);
    }
    copy.sync().map_err(|e| e.source)?;
    let quarantine = free_name(&**disk, dir, index)?;
    disk.rename(&path, &quarantine)?;
    disk.rename(&segment_path(&work, index), &path)?;
    disk.remove_dir_all(&work)?;
    disk.sync_dir(dir)?;
    Ok(quarantine)
}

/// Prometheus passes over names that are not numbers, so a quarantined segment may stay in its directory.
fn free_name(disk: &dyn Disk, dir: &Path, index: u32) -> io::Result<PathBuf> {
    let mut path = dir.join(format!("quarantine-{index:08}"));
    let mut n = 1;
    while disk.exists(&path)? {
        path = dir.join(format!("quarantine-{index:08}-{n}"));
        n += 1;
    }
    Ok(path)
}

/// Finishes or undoes what a crash has interrupted: half-written checkpoints and rewritten segments.
pub(crate) fn finish_interrupted(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let present = segments(disk, dir)?;
    for name in disk.list(dir)? {
        let Some(stem) = name.strip_suffix(".tmp") else { continue };
        let work = dir.join(&name);
        if let Some(index) = stem.strip_prefix("repair.").and_then(|n| n.parse().ok())
            && !present.contains(&index)
            && disk.exists(&segment_path(&work, index))?
        {
            // The original had already moved away, so the copy was complete.
            disk.rename(&segment_path(&work, index), &segment_path(dir, index))?;
        }
        disk.remove_dir_all(&work)?;
    }
    disk.sync_dir(dir)
}
