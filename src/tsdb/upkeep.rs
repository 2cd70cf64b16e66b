//! Upkeep: the head becomes blocks, blocks become larger blocks, and what is too old goes.
//!
//! The order in which samples change their place is such that a crash between any two steps loses nothing, and that a
//! reader who began before a step finds all samples where he looks for them:
//! 1. the head takes no samples any more that belong into the block to come;
//! 2. the block is written and put in place, durably;
//! 3. new readers see the block, and the head's copy of the same samples, which they merge;
//! 4. once all earlier readers have gone, the head drops its copy, and then the log its records.

use std::collections::HashMap;
use std::time::Duration;

use super::Tsdb;
use super::block::{BlockError, BlockMeta, Ulid};
use super::block_upkeep::BlocksMaintained;
use super::compact::{CompactError, write_block};
use super::head::{Collected, EndedSeries};
use super::wal::checkpoint;
use crate::model::TimestampMs;
use crate::storage::{AppendError, QueryError, SelectRequest, TimeRange};

/// How long upkeep waits for open appenders and readers before it leaves what they hold for the next time.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// What one round of upkeep did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MaintainReport {
    /// Chunks dropped from memory because a block has them.
    pub chunks_removed: usize,
    /// Series dropped from memory because they had no samples left there.
    pub series_removed: usize,
    /// Blocks cut from the head.
    pub blocks_created: Vec<Ulid>,
    /// The checkpoint written, if one was due.
    pub checkpoint: Option<u32>,
    /// What became of the blocks.
    pub blocks: BlocksMaintained,
}

/// Why a round of upkeep left something undone. The next round tries again.
#[derive(Debug, thiserror::Error)]
pub enum UpkeepError {
    /// The log.
    #[error(transparent)]
    Log(#[from] AppendError),
    /// What should have become a block could not be read.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// A block could not be made.
    #[error("compaction: {0}")]
    Compact(#[from] CompactError),
    /// A block could not be put in place or removed.
    #[error(transparent)]
    Block(#[from] BlockError),
}

/// What only upkeep knows; its lock makes rounds follow one another.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    /// References of series that are gone, each with the last segment that may use it. Their series records are kept
    /// as long, so that a reader of the log knows every reference it meets.
    expired: HashMap<u64, u32>,
    /// The end of the newest block cut from the head.
    cut_until: i64,
    /// When a block was cut from the head last.
    pub(super) cut_at: Option<i64>,
    /// Series that have ended, whose samples are in blocks, but which somebody still reads here.
    pub(super) stale: Option<EndedSeries>,
    /// Series when the index was packed last.
    packed_at: u64,
}

impl Upkeep {
    pub(super) fn new(expired: HashMap<u64, u32>, packed_at: u64) -> Upkeep {
        Upkeep { expired, cut_until: i64::MIN, cut_at: None, stale: None, packed_at }
    }
}

impl Tsdb {
    /// Upkeep, to be called every minute or so: forces the log to disk, makes blocks of what is old enough, and replaces
    /// log segments that are not needed any more by a checkpoint. Must not be called by a thread that holds an appender.
    ///
    /// An error means that something is left to do; the store goes on unless it says that it is latched.
    pub fn maintain(&self) -> Result<MaintainReport, UpkeepError> {
        let head = self.maintain_head();
        // Tried even if the head could not become a block: a full disk must not keep old blocks from going.
        let blocks = self.maintain_blocks()?;
        Ok(MaintainReport { blocks, ..head? })
    }

    /// The part of [`Tsdb::maintain`] that is about the head and the log.
    pub fn maintain_head(&self) -> Result<MaintainReport, UpkeepError> {
        let mut upkeep = self.upkeep.lock();
        let mut report = MaintainReport::default();
        let recovered = self.log.try_recover(|| self.wbl.recover());
        let synced = recovered
            .and_then(|()| self.sync_if_due())
            .and_then(|()| self.log.rotate(self.newest(), self.options.chunk_range.0 / 4));
        if let Err(error) = self.head.write_closed_chunks() {
            // They stay in memory, and the log has them as well.
            tracing::warn!(%error, "full chunks of the head could not be written to files");
        }
        let mut late = if self.late.has_pending() { self.compact_out_of_order().map(drop) } else { Ok(()) };
        let mut compacted = Ok(());
        // What is deleted of late samples that somebody still reads is marked in the head, which must not forget it yet.
        if !self.late.has_pending() {
            compacted = self.compact_head(&mut upkeep, &mut report);
            late = late.and_then(|()| self.compact_late_if_due(&mut report));
        }
        let stale = match &compacted {
            Ok(()) => self.compact_stale_if_due(&mut upkeep, &mut report),
            Err(_) => Ok(()),
        };
        self.blocks.sweep();
        self.publish_gauges();
        synced?;
        compacted?;
        late?;
        stale?;
        Ok(report)
    }

    /// Cuts blocks from the head while it holds more than one and a half of them.
    fn compact_head(&self, upkeep: &mut Upkeep, report: &mut MaintainReport) -> Result<(), UpkeepError> {
        let mut done = i64::MIN;
        while let Some((min, end)) = self.due().filter(|(_, end)| *end > done) {
            done = end;
            self.head.raise_min_valid(end);
            // The head may still hold what the round before has made a block of.
            if upkeep.cut_until < end {
                report.blocks_created.extend(self.cut_block(min, end)?);
                (upkeep.cut_until, upkeep.cut_at) = (end, Some(self.clock.now().0));
            }
            if !self.readers.wait_for_those_before(end, PATIENCE) {
                // Somebody still reads what the block has taken over; the head forgets it the next time.
                return Ok(());
            }
            self.collect(end, upkeep, report);
            self.truncate_log(end, upkeep, report)?;
        }
        Ok(())
    }

    /// Samples out of order become blocks whenever others do.
    fn compact_late_if_due(&self, report: &mut MaintainReport) -> Result<(), UpkeepError> {
        if !report.blocks_created.is_empty() {
            report.blocks_created.extend(self.compact_out_of_order()?);
        }
        Ok(())
    }

    /// The range of the head that should become a block, its end exclusive.
    pub(super) fn due(&self) -> Option<(i64, i64)> {
        let min = self.head.min_t()?;
        let span = self.options.chunk_range.0;
        (self.newest().saturating_sub(min) > span + span / 2).then(|| (min, range_end(min, span)))
    }

    /// Writes what the head has in a range as a block. `None` if that is nothing.
    fn cut_block(&self, min: i64, end: i64) -> Result<Option<Ulid>, UpkeepError> {
        let ulid = self.blocks.new_ulid(self.clock.now());
        let range = TimeRange { min: TimestampMs(min), max: TimestampMs(end - 1) };
        let request = SelectRequest { selectors: &[Vec::new()], range, sorted: true, limit: None };
        let mut stream = self.select_head(&self.stop, &request)?;
        let meta = BlockMeta::new(ulid, min, end);
        let Some(meta) = write_block(&self.disk, &self.dir, &mut *stream, meta, &self.stop)? else { return Ok(None) };
        self.blocks.replace(&[ulid], &[])?;
        let (series, samples) = (meta.stats.num_series, meta.stats.num_samples);
        tracing::info!(%ulid, min, end, series, samples, "cut a block from the head");
        Ok(Some(ulid))
    }

    /// Drops from memory what is older than `end`.
    fn collect(&self, end: i64, upkeep: &mut Upkeep, report: &mut MaintainReport) {
        let collected = self.head.collect(end, PATIENCE, &|slot| self.late.has(slot));
        if collected.postponed {
            self.metrics.collections_postponed.inc();
        }
        self.late.drop_files(&self.head, collected.first_file);
        self.forget_series(&collected, upkeep, report);
    }

    /// Notes what has left memory.
    pub(super) fn forget_series(&self, collected: &Collected, upkeep: &mut Upkeep, report: &mut MaintainReport) {
        let segment = self.log.current();
        upkeep.expired.extend(collected.series.iter().map(|wal_ref| (*wal_ref, segment)));
        self.metadata.forget(collected.series.iter().copied());
        self.metrics.series_removed.add(collected.series.len() as u64);
        self.metrics.chunks_removed.add(collected.chunks as u64);
        report.series_removed += collected.series.len();
        report.chunks_removed += collected.chunks;
        let series = self.series_count();
        if series.abs_diff(upkeep.packed_at) > series / 8 {
            self.head.optimize();
            upkeep.packed_at = series;
        }
    }

    /// Replaces the segments by a checkpoint whose samples are all older than `end`.
    fn truncate_log(&self, end: i64, upkeep: &mut Upkeep, report: &mut MaintainReport) -> Result<(), AppendError> {
        let Some(last) = self.log.obsolete(end) else { return Ok(()) };
        let live = self.head.wal_refs();
        let expired = &upkeep.expired;
        let is_expiring = |wal_ref| expired.get(&wal_ref).is_some_and(|until| *until > last);
        let keep = |wal_ref| live.contains(&wal_ref) || is_expiring(wal_ref) || self.late.names(wal_ref);
        let tombstones_min_t = self.blocks.in_order_max_time().map_or(i64::MIN, |blocks_end| blocks_end.min(end));
        let keep = checkpoint::Keep { series: &keep, min_t: end, tombstones_min_t };
        match checkpoint::write(&self.disk, &self.wal_dir, last, &keep) {
            Ok(done) => {
                self.metrics.checkpoints.inc();
                self.metrics.wal_corruptions.add(done.damage.len() as u64);
                let (series, samples) = (done.series, done.samples);
                tracing::info!(last, series, samples, damaged = done.damage.len(), "wrote a checkpoint of the log");
            }
            Err(error) => {
                // The old segments are all still there, so nothing is lost and the next round tries again.
                self.metrics.checkpoint_failures.inc();
                tracing::warn!(%error, "a checkpoint of the log could not be written");
                return Err(AppendError::Disk { path: error.path.display().to_string(), source: error.source });
            }
        }
        self.log.forget(last);
        upkeep.expired.retain(|_, until| *until > last);
        report.checkpoint = Some(last);
        Ok(())
    }
}

/// Where the range of `width` that `t` lies in ends; also before 1970.
fn range_end(t: i64, width: i64) -> i64 {
    t.div_euclid(width).saturating_mul(width).saturating_add(width)
}
