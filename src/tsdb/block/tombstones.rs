//! The `tombstones` file, drawn in `TOMBSTONES.md`: which parts of which series are deleted.

use std::collections::BTreeMap;
use std::path::Path;

use super::BlockError;
use super::bytes::{Cursor, Source, put_uvarint, put_varint};
use super::meta::replace_file;
use crate::disk::Disk;
use crate::model::TimestampMs;
use crate::storage::TimeRange;

/// The file's name in a block's directory.
pub const TOMBSTONES_FILE: &str = "tombstones";

const MAGIC: u32 = 0x0130_BA30;
const VERSION: u8 = 1;
/// Magic and version.
const HEADER: u64 = 5;

/// Deleted intervals by series, both ends deleted, ascending, never touching each other.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tombstones {
    by_series: BTreeMap<u64, Vec<TimeRange>>,
}

impl Tombstones {
    /// Deletes one more interval of a series; intervals that overlap or follow each other become one. An interval that
    /// ends before it begins deletes nothing.
    pub fn add(&mut self, series: u64, range: TimeRange) {
        if range.min > range.max {
            return;
        }
        let intervals = self.by_series.entry(series).or_default();
        let first = intervals.partition_point(|i| i.max.0 < range.min.0.saturating_sub(1));
        let last = intervals.partition_point(|i| i.min.0 <= range.max.0.saturating_add(1));
        let merged = intervals[first..last].iter().fold(range, |all, i| TimeRange {
            min: TimestampMs(all.min.0.min(i.min.0)),
            max: TimestampMs(all.max.0.max(i.max.0)),
        });
        intervals.splice(first..last, [merged]);
    }

    /// The deleted intervals of a series.
    pub fn get(&self, series: u64) -> &[TimeRange] {
        self.by_series.get(&series).map_or(&[], Vec::as_slice)
    }

    /// All series with deleted intervals, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &[TimeRange])> {
        self.by_series.iter().map(|(series, intervals)| (*series, intervals.as_slice()))
    }

    /// How many intervals there are.
    pub fn count(&self) -> u64 {
        self.by_series.values().map(|i| i.len() as u64).sum()
    }

    /// Reads a block directory's tombstones; a missing file means that there are none.
    pub fn read(disk: &dyn Disk, dir: &Path) -> Result<Tombstones, BlockError> {
        let path = dir.join(TOMBSTONES_FILE);
        if !disk.exists(&path).map_err(|e| BlockError::disk(&path, e))? {
            return Ok(Tombstones::default());
        }
        let source = Source::open(disk, &path)?;
        let head = source.read(0, HEADER, "a header")?;
        let mut cursor = Cursor::new(&head, &path, 0);
        if cursor.u32("magic")? != MAGIC {
            return Err(source.damaged(0, "the magic number 0130ba30 of tombstones"));
        }
        if cursor.u8("version")? != VERSION {
            return Err(source.damaged(4, "version 1 of the tombstones"));
        }
        let content = source.read(HEADER, source.len() - HEADER, "intervals")?;
        let content = source.check(content, HEADER, "intervals")?;
        let mut cursor = Cursor::new(&content, &path, HEADER);
        let mut tombstones = Tombstones::default();
        while !cursor.is_empty() {
            let series = cursor.uvarint("a series reference")?;
            let min = TimestampMs(cursor.varint("an interval's first time")?);
            let max = TimestampMs(cursor.varint("an interval's last time")?);
            tombstones.add(series, TimeRange { min, max });
        }
        Ok(tombstones)
    }

    /// Writes a block directory's tombstones: whole or not at all.
    pub fn write(&self, disk: &dyn Disk, dir: &Path) -> Result<(), BlockError> {
        let mut bytes = MAGIC.to_be_bytes().to_vec();
        bytes.push(VERSION);
        for (series, intervals) in self.iter() {
            for interval in intervals {
                put_uvarint(&mut bytes, series);
                put_varint(&mut bytes, interval.min.0);
                put_varint(&mut bytes, interval.max.0);
            }
        }
        let sum = crc32c::crc32c(&bytes[HEADER as usize..]);
        bytes.extend_from_slice(&sum.to_be_bytes());
        replace_file(disk, dir, TOMBSTONES_FILE, &bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemDisk;

    fn range(min: i64, max: i64) -> TimeRange {
        TimeRange { min: TimestampMs(min), max: TimestampMs(max) }
    }

    fn sample() -> Tombstones {
        let mut tombstones = Tombstones::default();
        for (series, min, max) in [(7, 10, 20), (7, 40, 50), (3, i64::MIN, -1), (7, 60, 60), (9, 5, i64::MAX)] {
            tombstones.add(series, range(min, max));
        }
        tombstones
    }

    #[test]
    fn intervals_that_touch_become_one() {
        let mut tombstones = sample();
        assert_eq!(tombstones.get(7), [range(10, 20), range(40, 50), range(60, 60)]);
        tombstones.add(7, range(21, 39));
        tombstones.add(7, range(62, 61));
        assert_eq!(tombstones.get(7), [range(10, 50), range(60, 60)]);
        tombstones.add(7, range(0, 100));
        tombstones.add(3, range(0, 0));
        tombstones.add(9, range(i64::MIN, i64::MIN));
        assert_eq!(tombstones.get(7), [range(0, 100)]);
        assert_eq!(tombstones.get(3), [range(i64::MIN, 0)]);
        assert_eq!(tombstones.get(9).len(), 2);
        assert_eq!(tombstones.get(1), []);
    }

    #[test]
    fn they_are_read_back_and_no_damage_goes_unseen() {
        let (disk, dir) = (MemDisk::new(), Path::new("/b"));
        disk.create_dir_all(dir).unwrap();
        assert_eq!(Tombstones::read(&disk, dir).unwrap(), Tombstones::default());
        sample().write(&disk, dir).unwrap();
        assert_eq!(Tombstones::read(&disk, dir).unwrap(), sample());
        let path = dir.join(TOMBSTONES_FILE);
        let bytes = disk.read(&path).unwrap();
        for at in 0..bytes.len() {
            disk.write(&path, &bytes[..at]);
            assert!(Tombstones::read(&disk, dir).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                disk.write(&path, &flipped);
                assert!(Tombstones::read(&disk, dir).is_err(), "bit {bit} of byte {at}");
            }
        }
    }
}
