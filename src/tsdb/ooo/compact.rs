//! Late samples into blocks.
//!
//! One round: begin a new log segment, write all buffers out, write one block for each aligned range that has late
//! samples, put the blocks into use, and only then forget the chunks and remove the log's older segments. A crash
//! anywhere leaves late samples in the log, in chunks, in blocks or in several of them; each is one sample to readers,
//! and what comes to lie in two blocks is merged by the next compaction of blocks.
//!
//! Samples that come during a round go to buffers and chunks that the round does not touch, and to log segments that it
//! keeps.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{OooStream, OutOfOrder, Wbl, widest};
use crate::model::TimestampMs;
use crate::storage::TimeRange;
use crate::tsdb::Tsdb;
use crate::tsdb::block::{BlockMeta, Ulid};
use crate::tsdb::blocks::FROM_OUT_OF_ORDER;
use crate::tsdb::compact::write_block;
use crate::tsdb::upkeep::UpkeepError;
use crate::tsdb::wal::WriteError;

/// How long a round waits for readers before it leaves what they may read for the next one.
const PATIENCE: Duration = Duration::from_secs(2);

/// The late samples that one round is about.
#[derive(Debug)]
pub(crate) struct Rotated {
    /// The first log segment that holds something else.
    pub(super) segment: u32,
    /// How many chunks of each series belong to it; they are its first.
    chunks: BTreeMap<u32, usize>,
    /// The times of its oldest and newest sample.
    range: Option<(TimestampMs, TimestampMs)>,
}

impl Tsdb {
    /// Makes blocks of all late samples, one for each range that has some, and forgets them here. If somebody still reads
    /// them, the next call forgets them.
    pub(in crate::tsdb) fn compact_out_of_order(&self) -> Result<Vec<Ulid>, UpkeepError> {
        let mut pending = self.late.pending.lock();
        let mut ulids = Vec::new();
        let rotated = match pending.take() {
            Some(earlier) => earlier,
            None => {
                let rotated = self.late.rotate(&self.wbl, &|slot| self.head.wal_ref(slot));
                let rotated = rotated.map_err(|error| self.log.fail(error))?;
                ulids = self.cut_late_blocks(&rotated)?;
                rotated
            }
        };
        let end = rotated.range.map_or(i64::MIN, |(_, max)| max.0.saturating_add(1));
        if !self.readers.wait_for_those_before(end, PATIENCE) {
            *pending = Some(rotated);
            return Ok(ulids);
        }
        self.late.forget(&rotated);
        // The next file gets what is needed longer than what was forgotten.
        self.late.chunks.cut_file();
        let truncated = self.wbl.truncate(rotated.segment);
        let path = || self.wbl.dir().display().to_string();
        truncated.map_err(|source| crate::storage::AppendError::Disk { path: path(), source })?;
        self.late.foreign.lock().clear();
        Ok(ulids)
    }

    /// All blocks come into use at once; after an error none is left.
    fn cut_late_blocks(&self, rotated: &Rotated) -> Result<Vec<Ulid>, UpkeepError> {
        let mut ulids = Vec::new();
        let made = rotated.starts(self.options.chunk_range.0).try_for_each(|start| {
            ulids.extend(self.cut_late_block(rotated, start)?);
            Ok(())
        });
        match made {
            Ok(()) => {
                self.blocks.replace(&ulids, &[])?;
                Ok(ulids)
            }
            Err(error) => {
                self.remove_unused(&ulids);
                Err(error)
            }
        }
    }

    /// Removes blocks that have not come into use.
    pub(in crate::tsdb) fn remove_unused(&self, ulids: &[Ulid]) {
        for ulid in ulids {
            if let Err(error) = self.disk.remove_dir_all(&self.dir.join(ulid.to_string())) {
                tracing::warn!(%ulid, %error, "a block that is not used could not be removed");
            }
        }
    }

    /// `None` if the range has no late samples.
    fn cut_late_block(&self, rotated: &Rotated, start: i64) -> Result<Option<Ulid>, UpkeepError> {
        let end = start.saturating_add(self.options.chunk_range.0);
        let ulid = self.blocks.new_ulid(self.clock.now());
        let mut meta = BlockMeta::new(ulid, start, end);
        meta.compaction.hints.push(FROM_OUT_OF_ORDER.to_owned());
        let range = TimeRange { min: TimestampMs(start), max: TimestampMs(end - 1) };
        let mut stream = OooStream::of_round(&self.late, &self.head, &rotated.chunks, range);
        let Some(meta) = write_block(&self.disk, &self.dir, &mut stream, meta, &self.stop)? else { return Ok(None) };
        let (series, samples) = (meta.stats.num_series, meta.stats.num_samples);
        tracing::info!(%ulid, start, end, series, samples, "cut a block from out-of-order samples");
        Ok(Some(ulid))
    }
}

impl Rotated {
    /// The first instants of the ranges of `width` milliseconds, aligned to multiples of it, that may have samples.
    pub(crate) fn starts(&self, width: i64) -> impl Iterator<Item = i64> {
        let (min, max) = self.range.map_or((0, -1), |(min, max)| (min.0, max.0));
        (min.div_euclid(width)..=max.div_euclid(width)).map(move |n| n.saturating_mul(width))
    }
}

impl OutOfOrder {
    /// Writes all buffers out and begins a log segment; no late sample is taken meanwhile. `wal_ref_of` says the reference
    /// of a slot's series.
    ///
    /// The chunks get no markers: until the round is over the log still has their samples, and after it nothing must bring
    /// them back, though their file may stay.
    pub(crate) fn rotate(&self, log: &Wbl, wal_ref_of: &dyn Fn(u32) -> u64) -> Result<Rotated, WriteError> {
        let _changing = self.changing.lock();
        let mut rotated = Rotated { segment: 0, chunks: BTreeMap::new(), range: None };
        let mut markers = Vec::new();
        for shard in &self.shards {
            // References are looked up outside of the shard's lock: the head asks for shards under its own.
            let slots: Vec<u32> = shard.lock().keys().copied().collect();
            for (slot, wal_ref) in slots.into_iter().map(|slot| (slot, wal_ref_of(slot))) {
                let mut shard = shard.lock();
                let Some(series) = shard.get_mut(&slot) else { continue };
                self.write_out(series, wal_ref, &mut markers)?;
                markers.clear();
                rotated.chunks.insert(slot, series.written().len());
                rotated.range = widest(rotated.range.into_iter().chain(series.time_range()));
            }
        }
        self.chunks.flush()?;
        rotated.segment = log.cut()?;
        Ok(rotated)
    }

    /// Whether a round has left something to forget.
    pub(crate) fn has_pending(&self) -> bool {
        self.pending.lock().is_some()
    }

    /// Forgets the chunks of a round, whose samples are in blocks now; returns how many.
    pub(crate) fn forget(&self, rotated: &Rotated) -> usize {
        let _changing = self.changing.lock();
        let mut forgotten = 0;
        for (slot, count) in &rotated.chunks {
            let mut shard = self.shard(*slot);
            let Some(series) = shard.get_mut(slot) else { continue };
            series.drop_written(*count);
            forgotten += count;
            if series.is_empty() {
                shard.remove(slot);
                self.count.fetch_sub(1, std::sync::atomic::Ordering::AcqRel);
            }
        }
        forgotten
    }
}
