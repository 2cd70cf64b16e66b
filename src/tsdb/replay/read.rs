//! The first hand: from files to batches.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ReplayProgress;
use super::batch::{Batch, HistogramRow, SeriesRow, What};
use super::pipeline::Stopped;
use crate::disk::Disk;
use crate::tsdb::wal::record::{self, Kind, RecordError};
use crate::tsdb::wal::repair::{Repair, repair_segment};
use crate::tsdb::wal::{Damage, checkpoint, checkpoints, read_segment, segment_path, segments};

/// A longer record is decoded in pieces that go to several batches, after it has been read through once. Tests have some.
const LONG: usize = if cfg!(test) { 4 << 10 } else { 1 << 20 };

/// What reading has shown.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) checkpoint: Option<u32>,
    /// Those behind the checkpoint.
    pub(super) segments: Vec<u32>,
    /// The first number that is free.
    pub(super) next_segment: u32,
    pub(super) skipped_records: BTreeMap<&'static str, u64>,
    pub(super) damage: Vec<Damage>,
    pub(super) repairs: Vec<(PathBuf, Repair)>,
}

/// Takes a full batch and leaves an empty one in its place.
pub(super) type HandOn<'a> = &'a mut dyn FnMut(&mut Batch) -> Result<(), Stopped>;

/// Reads the newest checkpoint and the segments behind it, and repairs what is damaged.
pub(super) fn read(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    progress: &ReplayProgress,
    hand_on: HandOn<'_>,
) -> io::Result<Read> {
    let mut reading = Reading {
        disk,
        progress,
        hand_on,
        batch: Batch::default(),
        segment: None,
        last_segment: 0,
        stopped: None,
        out: Read::default(),
    };
    if let Some((index, name)) = checkpoints(&**disk, dir)?.pop() {
        // A crash may have come between naming the checkpoint and removing what it stands for.
        checkpoint::remove_replaced(&**disk, dir, index)?;
        reading.out.checkpoint = Some(index);
        reading.directory(&dir.join(name), false)?;
        reading.out.next_segment = index + 1;
    }
    reading.directory(dir, true)?;
    Ok(reading.out)
}

struct Reading<'a> {
    disk: &'a Arc<dyn Disk>,
    progress: &'a ReplayProgress,
    hand_on: HandOn<'a>,
    batch: Batch,
    /// What a batch is told.
    segment: Option<u32>,
    last_segment: u32,
    /// Nobody takes batches any more.
    stopped: Option<Stopped>,
    out: Read,
}

impl Reading<'_> {
    /// Reads every segment of a directory; `is_log` for the log itself, not for a checkpoint.
    fn directory(&mut self, dir: &Path, is_log: bool) -> io::Result<()> {
        let found = segments(&**self.disk, dir)?;
        self.last_segment = found.last().copied().unwrap_or(0);
        for pair in found.windows(2).filter(|pair| pair[1] != pair[0] + 1) {
            let reason = format!("the segments from {} to {} are missing", pair[0] + 1, pair[1] - 1);
            self.out.damage.push(Damage { path: dir.to_owned(), offset: 0, reason });
        }
        if is_log {
            self.progress.begin(found.first().copied().unwrap_or(0), self.last_segment);
        }
        for &index in &found {
            self.segment = is_log.then_some(index);
            self.segment(dir, index)?;
            if is_log {
                self.progress.has_read(index);
                self.out.segments.push(index);
                self.out.next_segment = index + 1;
            }
        }
        Ok(())
    }

    fn segment(&mut self, dir: &Path, index: u32) -> Result<(), Stopped> {
        let path = segment_path(dir, index);
        let read = match self.disk.open(&path) {
            Ok(file) => read_segment(&*file, &path, &mut |bytes| self.record(bytes)),
            Err(error) => {
                let reason = format!("cannot be opened: {error}");
                self.out.damage.push(Damage { path, offset: 0, reason });
                return Ok(());
            }
        };
        self.hand_on();
        if let Some(stopped) = self.stopped {
            return Err(stopped);
        }
        if read.damage.is_empty() {
            return Ok(());
        }
        let repair = repair_segment(self.disk, dir, index, &read, index == self.last_segment);
        for damage in &read.damage {
            tracing::warn!(path = %path.display(), offset = damage.offset, reason = damage.reason, "damaged log");
        }
        tracing::warn!(path = %path.display(), ?repair, "repaired log");
        self.out.damage.extend(read.damage);
        self.out.repairs.push((path, repair));
        Ok(())
    }

    fn hand_on(&mut self) {
        if self.batch.is_empty() || self.stopped.is_some() {
            return;
        }
        (self.batch.segment, self.batch.last_segment) = (self.segment, self.last_segment);
        self.stopped = (self.hand_on)(&mut self.batch).err();
    }

    fn record(&mut self, bytes: &[u8]) -> Result<(), RecordError> {
        if self.stopped.is_some() {
            return Ok(());
        }
        let read = match Kind::of(bytes) {
            Kind::Series => self.series(bytes),
            Kind::Samples | Kind::SamplesV2 => self.samples(bytes),
            kind if kind.is_histograms() => self.histograms(bytes),
            kind => self.other(kind, bytes),
        };
        if self.batch.is_full() {
            self.hand_on();
        }
        read
    }

    /// Half a record of series does no harm; others are taken whole or not at all.
    fn series(&mut self, bytes: &[u8]) -> Result<(), RecordError> {
        let mut before = self.batch.series.len();
        let read = record::each_series(bytes, &mut |wal_ref, labels| {
            self.batch.labels.extend_from_slice(labels);
            self.batch.series.push(SeriesRow { wal_ref, labels_end: self.batch.labels.len() });
            if self.batch.is_full() {
                self.batch.ran(What::Series, before);
                self.hand_on();
                before = 0;
            }
        });
        self.batch.ran(What::Series, before);
        read
    }

    fn samples(&mut self, bytes: &[u8]) -> Result<(), RecordError> {
        let is_long = is_long(bytes)?;
        let mut before = self.batch.samples.len();
        let read = record::each_sample(bytes, &mut |sample| {
            self.batch.samples.push(sample);
            if is_long && self.batch.is_full() {
                self.batch.ran(What::Samples, before);
                self.hand_on();
                before = 0;
            }
        });
        if read.is_err() {
            self.batch.samples.truncate(before);
        }
        self.batch.ran(What::Samples, before);
        read
    }

    fn histograms(&mut self, bytes: &[u8]) -> Result<(), RecordError> {
        let is_long = is_long(bytes)?;
        let mut before = self.batch.histograms.len();
        let read = record::each_histogram(bytes, &mut |found| {
            let record::WalHistogram { series, t, start, value } = found;
            self.batch.push_histogram(HistogramRow { series, t, start, value: value.to_value() });
            if is_long && self.batch.is_full() {
                self.batch.ran(What::Histograms, before);
                self.hand_on();
                before = 0;
            }
        });
        if read.is_err() {
            self.batch.histograms.truncate(before);
        }
        self.batch.ran(What::Histograms, before);
        read
    }

    fn other(&mut self, kind: Kind, bytes: &[u8]) -> Result<(), RecordError> {
        record::check(bytes)?;
        if !matches!(kind, Kind::Tombstones | Kind::Exemplars | Kind::Metadata) {
            // Markers stand in the log of out-of-order samples; here they are as foreign as unknown kinds.
            *self.out.skipped_records.entry(kind.name()).or_default() += 1;
            return Ok(());
        }
        let before = self.batch.records.len();
        self.batch.records.extend_from_slice(bytes);
        self.batch.ran(What::Record, before);
        Ok(())
    }
}

/// Whether a record is to be decoded in pieces; then it is sound, because a piece cannot be taken back.
fn is_long(bytes: &[u8]) -> Result<bool, RecordError> {
    if bytes.len() <= LONG {
        return Ok(false);
    }
    record::check(bytes).map(|()| true)
}
