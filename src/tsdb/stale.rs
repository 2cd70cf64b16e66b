//! Series that have ended leave memory before the head becomes a block, once they are so many that it pays.
//!
//! Where targets come and go, the head can consist of series that will never get another sample. When their share
//! passes the threshold of the settings they go through the same places as others do: blocks of these series alone are
//! written and come into use, and once nobody reads the head of before they leave memory. The blocks have a mark,
//! because their ends say nothing of what the head still needs.
//!
//! A series that gets a sample meanwhile stays; what it has in two places is one sample to readers. The log notes which
//! have gone, so that a restart does not bring them back; one that comes back later is a new series.

use super::Tsdb;
use super::block::{BlockMeta, Ulid};
use super::blocks::FROM_STALE_SERIES;
use super::compact::{CompactError, write_block};
use super::head::EndedSeries;
use super::log::Records;
use super::upkeep::{MaintainReport, PATIENCE, Upkeep, UpkeepError};
use super::wal::record::push_tombstone;
use crate::model::TimestampMs;
use crate::storage::{AppendError, TimeRange};

/// The part of a block's span before the next one is cut in which it does not pay any more: ten minutes of two hours, as in
/// the reference.
const SOON: i64 = 12;

impl Tsdb {
    /// Makes blocks of the series that have ended if they are as many as the settings say, and forgets them here. If
    /// somebody still reads them, the next call forgets them.
    pub(super) fn compact_stale_if_due(
        &self,
        upkeep: &mut Upkeep,
        report: &mut MaintainReport,
    ) -> Result<(), UpkeepError> {
        if let Some(written) = upkeep.stale.take() {
            self.evict(written, upkeep, report)?;
        }
        let ended = self.head.ended(&|slot| self.late.has(slot));
        self.metrics.head_stale_series.set(ended.count as f64);
        if upkeep.stale.is_some() || ended.series.is_empty() || !self.pays(&ended, upkeep) {
            return Ok(());
        }
        let ulids = self.cut_stale_blocks(&ended).inspect_err(|_| self.metrics.stale_compaction_failures.inc())?;
        self.metrics.stale_compactions.inc();
        tracing::info!(series = ended.series.len(), blocks = ulids.len(), "cut blocks from series that have ended");
        report.blocks_created.extend(ulids);
        self.evict(ended, upkeep, report)
    }

    /// Whether so many have ended that they should go now.
    fn pays(&self, ended: &EndedSeries, upkeep: &Upkeep) -> bool {
        let threshold = self.settings.load().stale_series_threshold;
        let span = self.options.chunk_range.0;
        let is_soon = |cut_at: i64| self.clock.now().0.saturating_add(span / SOON) > cut_at.saturating_add(span);
        threshold > 0.0
            && ended.count as f64 >= threshold * self.series_count() as f64
            && !upkeep.cut_at.is_some_and(is_soon)
    }

    /// One block for each aligned range that these series have samples in. All come into use at once; after an error none
    /// is left.
    fn cut_stale_blocks(&self, ended: &EndedSeries) -> Result<Vec<Ulid>, UpkeepError> {
        let Some((min, max)) = self.head.min_t().zip(ended.last_t()) else { return Ok(Vec::new()) };
        let span = self.options.chunk_range.0;
        let mut ulids = Vec::new();
        let made = (min.div_euclid(span)..=max.div_euclid(span)).try_for_each(|n| {
            let start = n.saturating_mul(span);
            // It ends with its samples, so that queries of what comes then need not look into it.
            let end = start.saturating_add(span).min(max.saturating_add(1));
            ulids.extend(self.cut_stale_block(ended, start, end)?);
            Ok(())
        });
        if let Err(error) = made {
            self.remove_unused(&ulids);
            return Err(error);
        }
        self.blocks.replace(&ulids, &[])?;
        Ok(ulids)
    }

    /// `None` if the range has no samples of these series.
    fn cut_stale_block(&self, ended: &EndedSeries, start: i64, end: i64) -> Result<Option<Ulid>, UpkeepError> {
        let ulid = self.blocks.new_ulid(self.clock.now());
        let mut meta = BlockMeta::new(ulid, start, end);
        meta.compaction.hints.push(FROM_STALE_SERIES.to_owned());
        let range = TimeRange { min: TimestampMs(start), max: TimestampMs(end - 1) };
        let mut stream = self.head.select_slots(&self.stop, &ended.slots(), range).map_err(CompactError::Cancelled)?;
        Ok(write_block(&self.disk, &self.dir, &mut stream, meta, &self.stop)?.map(|meta| meta.ulid))
    }

    /// Forgets series whose samples are in blocks.
    fn evict(&self, written: EndedSeries, upkeep: &mut Upkeep, report: &mut MaintainReport) -> Result<(), UpkeepError> {
        let end = written.last_t().map_or(i64::MIN, |last| last.saturating_add(1));
        if !self.readers.wait_for_those_before(end, PATIENCE) {
            upkeep.stale = Some(written);
            return Ok(());
        }
        let is_held = |slot| self.late.has(slot);
        let evicted = self.head.evict(&written.series, PATIENCE, &is_held, |refs| self.log_dropped(refs));
        match evicted? {
            Some(collected) => self.forget_series(&collected, upkeep, report),
            None => {
                self.metrics.collections_postponed.inc();
                upkeep.stale = Some(written);
            }
        }
        Ok(())
    }

    /// Logs that series are gone with all that they had.
    fn log_dropped(&self, wal_refs: &[u64]) -> Result<(), AppendError> {
        let (mut record, mut records) = (Vec::new(), Records::default());
        wal_refs.iter().for_each(|wal_ref| push_tombstone(&mut record, *wal_ref, i64::MIN, i64::MAX));
        if record.is_empty() {
            return Ok(());
        }
        records.push_record(record);
        self.log.commit(&records, self.clock.now().0, &self.head.applying).map(drop)
    }
}
