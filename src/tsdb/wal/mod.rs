//! The write-ahead log, byte for byte in Prometheus's format (drawn in `WAL.md`).
//!
//! A log is a directory of numbered segments of 128 MiB; a segment is pages of 32 KiB; a record is cut into
//! fragments so that none crosses a page, and never crosses a segment. `checkpoint.N` is a directory of the same
//! shape that stands for the segments 0 to N.
//!
//! Laws: we never write into a segment that an earlier process wrote, so a torn end stays where it is and the bytes
//! behind it are known to be ours; one commit is one write, and what a failed one leaves is cut off before another comes
//! behind it; a segment is synced before a checkpoint that replaces
//! older ones. Reading never fails as a whole: what cannot be read is reported as [`Damage`] and reading goes on at
//! the next page, because every page that holds whole records can be understood alone.
//!
//! It knows records' bytes, not what they mean to the store.

pub(super) mod checkpoint;
mod reader;
pub(super) mod record;
pub(super) mod repair;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, DiskFile};

pub use reader::Damage;
pub(super) use reader::read_segment;
pub(super) use writer::{WriteError, Writer};

/// Fragments never cross a page.
pub(super) const PAGE: usize = 32 * 1024;
/// Type, length, checksum.
pub(super) const HEADER: usize = 7;
/// A record longer than this is taken for damage. Commits and checkpoints of ours stay below 100 MiB.
pub(super) const MAX_RECORD: usize = 512 << 20;

const FULL: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;
const KIND_MASK: u8 = 0b111;
const SNAPPY: u8 = 1 << 3;
const ZSTD: u8 = 1 << 4;

/// How records are compressed before they are cut into fragments.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Compression {
    /// Not at all.
    None,
    /// Snappy's block format, where it makes the record smaller.
    #[default]
    Snappy,
    /// Zstandard frames, where they make the record smaller: fewer bytes written for more work.
    Zstd,
}

pub(super) fn segment_path(dir: &Path, index: u32) -> PathBuf {
    dir.join(format!("{index:08}"))
}

pub(super) fn checkpoint_path(dir: &Path, index: u32) -> PathBuf {
    dir.join(format!("checkpoint.{index:08}"))
}

/// The numbers of a log's segments, ascending. Names that are not numbers are none of ours.
pub(super) fn segments(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<u32>> {
    let mut found: Vec<u32> = disk
        .list(dir)?
        .iter()
        .filter(|name| name.len() >= 6 && name.bytes().all(|b| b.is_ascii_digit()))
        .filter_map(|name| name.parse().ok())
        .collect();
    found.sort_unstable();
    Ok(found)
}

/// The segments of a log, for the first sync: what a process wrote that was killed may not have been synced. What cannot be
/// opened has been told by whoever read it.
pub(super) fn unsynced(disk: &dyn Disk, dir: &Path) -> Vec<Arc<dyn DiskFile>> {
    let found = segments(disk, dir).unwrap_or_default();
    found.into_iter().filter_map(|index| disk.open(&segment_path(dir, index)).ok()).collect()
}

/// The checkpoints of a log, ascending by number, by their directories' names.
pub(super) fn checkpoints(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<(u32, String)>> {
    let mut found: Vec<(u32, String)> = disk
        .list(dir)?
        .into_iter()
        .filter_map(|name| Some((name.strip_prefix("checkpoint.")?.parse().ok()?, name)))
        .collect();
    found.sort_unstable();
    Ok(found)
}
