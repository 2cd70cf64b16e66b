//! Choosing which blocks have been kept long enough. Nothing here touches a disk.
//!
//! Blocks are looked at from the one that ends last: the first that a limit forbids goes, and all that end before it, be
//! there room for them or not, so that history has no gaps.

use super::block::{Block, Ulid};
use super::settings::Retention;
use crate::model::DurationMs;

/// What retention wants to know of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kept {
    /// Its name.
    pub ulid: Ulid,
    /// Its end.
    pub max_time: i64,
    /// Its bytes.
    pub size: u64,
}

impl From<&Block> for Kept {
    fn from(block: &Block) -> Kept {
        Kept { ulid: block.meta().ulid, max_time: block.meta().max_time, size: block.size() }
    }
}

/// Why a block goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Beyond {
    /// It is too old.
    Time,
    /// There is no room for it.
    Size,
}

impl Retention {
    /// The bytes allowed on a file system of `total` bytes (if that is known); `None` is no limit.
    pub fn max_bytes(&self, total: Option<u64>) -> Option<u64> {
        let part = self.percentage.filter(|p| *p > 0.0).zip(total.filter(|t| *t > 0));
        match part {
            Some((percentage, total)) => Some((total as f64 * percentage / 100.0) as u64),
            None => self.bytes.filter(|bytes| *bytes > 0),
        }
    }

    /// The blocks to delete, newest first, each with the reason that came first. `others` are the bytes of logs and head
    /// chunks, `total` those of the file system. The newest block never goes for its age; for its size it may.
    pub fn beyond(&self, blocks: &[Kept], others: u64, total: Option<u64>) -> Vec<(Ulid, Beyond)> {
        let mut blocks = blocks.to_vec();
        blocks.sort_by_key(|b| std::cmp::Reverse((b.max_time, b.ulid)));
        let old = self.time.filter(|t| t.0 > 0).and_then(|t| first_too_old(&blocks, t));
        let large = self.max_bytes(total).and_then(|max| first_too_large(&blocks, others, max));
        // All behind the first one go, too.
        let first = old.unwrap_or(blocks.len()).min(large.unwrap_or(blocks.len()));
        let reason = |i: usize| if old.is_some_and(|old| i >= old) { Beyond::Time } else { Beyond::Size };
        blocks.iter().enumerate().skip(first).map(|(i, b)| (b.ulid, reason(i))).collect()
    }
}

fn first_too_old(newest_first: &[Kept], time: DurationMs) -> Option<usize> {
    let newest = newest_first.first()?.max_time;
    let is_old = |b: &Kept| newest.saturating_sub(b.max_time) >= time.0;
    newest_first.iter().skip(1).position(is_old).map(|i| i + 1)
}

fn first_too_large(newest_first: &[Kept], others: u64, max: u64) -> Option<usize> {
    let mut sum = others;
    newest_first.iter().position(|b| {
        sum = sum.saturating_add(b.size);
        sum > max
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tsdb::fixtures::ulid;

    /// Blocks that end at these times, with these sizes, named 1 and on.
    fn kept(given: &[(i64, u64)]) -> Vec<Kept> {
        (1..).zip(given).map(|(n, (max_time, size))| Kept { ulid: ulid(n), max_time: *max_time, size: *size }).collect()
    }

    fn gone(retention: Retention, blocks: &[Kept], others: u64, total: Option<u64>) -> Vec<Ulid> {
        retention.beyond(blocks, others, total).into_iter().map(|(ulid, _)| ulid).collect()
    }

    fn by_time(ms: i64) -> Retention {
        Retention { time: Some(DurationMs(ms)), ..Retention::default() }
    }

    fn by_size(bytes: u64) -> Retention {
        Retention { bytes: Some(bytes), ..Retention::default() }
    }

    #[test]
    fn blocks_go_that_end_a_retention_before_the_newest_ends() {
        let blocks = kept(&[(900, 1), (1500, 1), (2000, 1)]);
        assert_eq!(gone(by_time(1000), &blocks, 0, None), [ulid(1)]);
        assert_eq!(gone(by_time(500), &blocks, 0, None), [ulid(2), ulid(1)]);
        assert_eq!(gone(by_time(501), &blocks, 0, None), [ulid(1)]);
        assert_eq!(gone(by_time(1), &blocks, 0, None), [ulid(2), ulid(1)]);
        assert_eq!(gone(by_time(0), &blocks, 0, None), []);
        assert_eq!(gone(by_time(5), &kept(&[(i64::MIN, 1), (i64::MAX, 1)]), 0, None), [ulid(1)]);
        assert_eq!(gone(by_time(5), &[], 0, None), []);
    }

    #[test]
    fn the_oldest_go_when_all_is_larger_than_allowed_the_logs_included() {
        let blocks = kept(&[(500, 10), (100, 10), (400, 10), (300, 10), (200, 10)]);
        assert_eq!(gone(by_size(50), &blocks, 0, None), []);
        assert_eq!(gone(by_size(50), &blocks, 1, None), [ulid(2)]);
        assert_eq!(gone(by_size(29), &blocks, 0, None), [ulid(4), ulid(5), ulid(2)]);
        assert_eq!(gone(by_size(50), &blocks, 60, None).len(), 5);
        assert_eq!(gone(by_size(0), &blocks, 60, None), []);
        // A small old block does not stay where a large newer one had no room.
        assert_eq!(gone(by_size(15), &kept(&[(1, 1), (2, 100), (3, 10)]), 0, None), [ulid(2), ulid(1)]);
    }

    #[test]
    fn a_percentage_counts_before_a_size_if_the_file_system_tells_its_own() {
        let blocks = kept(&(1..=11).map(|i| (i, 1024)).collect::<Vec<_>>());
        let tenth = Retention { percentage: Some(10.0), bytes: Some(5 * 1024), ..Retention::default() };
        assert_eq!(gone(tenth, &blocks, 0, Some(100 * 1024)), [ulid(1)]);
        assert_eq!(gone(tenth, &blocks[1..], 0, Some(100 * 1024)), []);
        assert_eq!(gone(tenth, &blocks, 0, None).len(), 6);
        assert_eq!(gone(tenth, &blocks, 0, Some(0)).len(), 6);
        assert_eq!(gone(Retention { bytes: None, ..tenth }, &blocks, 0, None), []);
    }

    #[test]
    fn each_block_goes_once_whatever_the_reasons() {
        let blocks = kept(&[(100, 10), (200, 10), (300, 10)]);
        let both = Retention { time: Some(DurationMs(200)), bytes: Some(15), ..Retention::default() };
        assert_eq!(both.beyond(&blocks, 0, None), [(ulid(2), Beyond::Size), (ulid(1), Beyond::Time)]);
    }
}
