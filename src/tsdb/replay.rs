//! From the log back into memory, at start.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::exemplars::{Exemplars, Timed};
use super::head::{ChunkRule, FoundChunks, Head, Page, PageCursor, Verdict};
use super::log::Times;
use super::metadata::SeriesMetadata;
use super::wal::record::{self, Kind, RecordError};
use super::wal::repair::{Repair, finish_interrupted, repair_segment};
use super::wal::{Damage, checkpoint, checkpoints, read_segment, segment_path, segments};
use crate::disk::Disk;
use crate::model::{Labels, Metadata, TimestampMs};
use crate::storage::TimeRange;

/// What opening has found.
#[derive(Clone, Debug, Default)]
pub struct OpenReport {
    /// The checkpoint read, if there was one.
    pub checkpoint: Option<u32>,
    /// Segments read behind it.
    pub segments: u64,
    /// Series created.
    pub series: u64,
    /// Samples taken.
    pub samples: u64,
    /// Exemplars taken.
    pub exemplars: u64,
    /// Chunks found in files and given to their series.
    pub chunks: u64,
    /// Out-of-order samples taken from their own log.
    pub late_samples: u64,
    /// Samples not taken because the series had a newer one already. Two commits at once leave some; many of them are those
    /// of full chunks whose file has lost its end without a trace.
    pub out_of_order: u64,
    /// Samples whose series the log does not name.
    pub unknown_series: u64,
    /// Series that could not be created, with the last reason.
    pub refused_series: Option<(u64, String)>,
    /// Records of kinds that the store does not hold yet, by kind; they stay in the log until they are too old.
    pub skipped_records: BTreeMap<&'static str, u64>,
    /// What could not be read, and what was done about it.
    pub damage: Vec<Damage>,
    /// One per damaged segment.
    pub repairs: Vec<(PathBuf, Repair)>,
    /// Blocks opened.
    pub blocks: usize,
    /// Blocks that were moved to quarantine.
    pub broken_blocks: Vec<PathBuf>,
    /// Blocks that cannot be read now and were left where they are: of a later version, or on a disk that fails.
    pub unreadable_blocks: Vec<PathBuf>,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// What the store goes on with.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    pub(super) report: OpenReport,
    pub(super) times: BTreeMap<u32, Times>,
    /// References that series no longer have, each with the last segment that may use it.
    pub(super) expired: HashMap<u64, u32>,
    pub(super) next_segment: u32,
    /// Slots by reference.
    pub(super) refs: RefMap,
}

/// What a log is read into, all of it empty.
#[derive(Clone, Copy)]
pub(super) struct Into<'a> {
    pub(super) head: &'a Head,
    pub(super) exemplars: &'a Exemplars,
    pub(super) metadata: &'a SeriesMetadata,
}

/// Reads the whole log in `dir`. Fails only if the directory itself cannot be worked with.
///
/// `found` are the chunks found in files: a series takes its own when the log names it, and needs no samples from the log
/// that they hold.
pub(super) fn replay(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    into: Into<'_>,
    found: FoundChunks,
    now: i64,
) -> io::Result<Replayed> {
    finish_interrupted(&**disk, dir)?;
    let Into { head, exemplars, metadata } = into;
    let mut replay = Replay {
        head,
        exemplars,
        now,
        refs: RefMap::default(),
        found,
        deleted: Vec::new(),
        metadata: HashMap::new(),
        scratch: Vec::new(),
        times: None,
        segment: 0,
        last_segment: 0,
        opened_chunks: 0,
        out: Replayed::default(),
    };
    let newest = checkpoints(&**disk, dir)?.pop();
    if let Some((index, name)) = newest {
        // A crash may have come between naming the checkpoint and removing what it stands for.
        checkpoint::remove_replaced(&**disk, dir, index)?;
        replay.out.report.checkpoint = Some(index);
        replay.directory(disk, &dir.join(name), false)?;
        replay.out.next_segment = index + 1;
    }
    replay.directory(disk, dir, true)?;
    head.hide_in_slots(&replay.deleted);
    replay.keep_metadata(metadata);
    if replay.found.series_left() > 0 {
        tracing::debug!(
            series = replay.found.series_left(),
            "dropped head chunks of series that the log does not name"
        );
    }
    head.chunks.fetch_add(replay.opened_chunks, std::sync::atomic::Ordering::Relaxed);
    Ok(Replayed { refs: replay.refs, ..replay.out })
}

struct Replay<'a> {
    head: &'a Head,
    exemplars: &'a Exemplars,
    now: i64,
    refs: RefMap,
    found: FoundChunks,
    /// Deleted intervals, hidden at the end, when series have their last references.
    deleted: Vec<(u32, TimeRange)>,
    /// By slot, for the same reason.
    metadata: HashMap<u32, Metadata>,
    scratch: Vec<u32>,
    times: Option<Times>,
    segment: u32,
    last_segment: u32,
    opened_chunks: i64,
    out: Replayed,
}

impl Replay<'_> {
    /// Reads every segment of a directory; `is_log` for the log itself, not for a checkpoint.
    fn directory(&mut self, disk: &Arc<dyn Disk>, dir: &Path, is_log: bool) -> io::Result<()> {
        let found = segments(&**disk, dir)?;
        self.last_segment = found.last().copied().unwrap_or(0);
        for pair in found.windows(2).filter(|pair| pair[1] != pair[0] + 1) {
            let reason = format!("the segments from {} to {} are missing", pair[0] + 1, pair[1] - 1);
            self.out.report.damage.push(Damage { path: dir.to_owned(), offset: 0, reason });
        }
        for &index in &found {
            self.times = None;
            self.segment = index;
            self.segment(disk, dir, index, index == self.last_segment);
            if is_log {
                self.out.report.segments += 1;
                self.out.next_segment = index + 1;
                // A segment without samples is as old as can be.
                let times = self.times.unwrap_or(Times { first: i64::MIN, max: i64::MIN });
                self.out.times.insert(index, times);
            }
        }
        Ok(())
    }

    fn segment(&mut self, disk: &Arc<dyn Disk>, dir: &Path, index: u32, is_last: bool) {
        let path = segment_path(dir, index);
        let read = match disk.open(&path) {
            Ok(file) => read_segment(&*file, &path, &mut |bytes| self.record(bytes)),
            Err(error) => {
                let reason = format!("cannot be opened: {error}");
                self.out.report.damage.push(Damage { path, offset: 0, reason });
                return;
            }
        };
        if read.damage.is_empty() {
            return;
        }
        let repair = repair_segment(disk, dir, index, &read, is_last);
        for damage in &read.damage {
            tracing::warn!(path = %path.display(), offset = damage.offset, reason = damage.reason, "damaged log");
        }
        tracing::warn!(path = %path.display(), ?repair, "repaired log");
        self.out.report.damage.extend(read.damage);
        self.out.report.repairs.push((path, repair));
    }

    fn record(&mut self, bytes: &[u8]) -> Result<(), RecordError> {
        let kind = Kind::of(bytes);
        if kind == Kind::Series {
            return record::each_series(bytes, &mut |wal_ref, labels| self.series(wal_ref, labels));
        }
        // Half a record of series does no harm; others are taken whole or not at all.
        record::check(bytes)?;
        match kind {
            Kind::Samples | Kind::SamplesV2 => self.samples(bytes),
            kind if kind.is_histograms() => self.histograms(bytes),
            Kind::Tombstones => {
                record::each_tombstone(bytes, &mut |wal_ref, min, max| self.tombstone(wal_ref, min, max))
            }
            Kind::Exemplars => self.exemplars(bytes),
            Kind::Metadata => self.metadata(bytes),
            // Markers stand in the log of out-of-order samples; here they are as foreign as unknown kinds.
            kind => {
                *self.out.report.skipped_records.entry(kind.name()).or_default() += 1;
                Ok(())
            }
        }
    }

    fn series(&mut self, wal_ref: u64, labels: &[u8]) {
        match self.head.restore(labels, wal_ref, &mut self.scratch) {
            Ok((slot, before)) => {
                self.refs.insert(wal_ref, slot);
                let attached = self.head.attach(slot, &self.found.take(wal_ref));
                self.opened_chunks += attached as i64;
                self.out.report.chunks += attached as u64;
                match before {
                    Some(old) => {
                        self.head.hide_as_well(old, wal_ref);
                        self.out.expired.insert(old, self.last_segment);
                    }
                    None => self.out.report.series += 1,
                }
            }
            Err(error) => {
                let refused = self.out.report.refused_series.get_or_insert_default();
                *refused = (refused.0 + 1, error.to_string());
            }
        }
    }

    fn samples(&mut self, bytes: &[u8]) -> Result<(), RecordError> {
        let pages = self.head.pages();
        let mut taking = Taking::new(self.head, &pages);
        let (refs, report) = (&self.refs, &mut self.out.report);
        record::each_sample(bytes, &mut |sample| {
            let Some(slot) = refs.get(sample.series) else { return taking.unknown(sample.series, report) };
            let (rule, min_valid) = (taking.rule, taking.min_valid);
            let Some(series) = taking.cursor.series(slot) else { return };
            let taken = match series.judge(sample.t, sample.v, min_valid) {
                Verdict::Keep => Ok(series.push(sample.t, sample.start, sample.v, rule)),
                verdict => Err((verdict, series.is_in_file(sample.t))),
            };
            taking.count(sample.t, taken, report);
        })?;
        let taken = taking.done();
        drop(pages);
        self.took(taken);
        Ok(())
    }

    fn histograms(&mut self, bytes: &[u8]) -> Result<(), RecordError> {
        let pages = self.head.pages();
        let mut taking = Taking::new(self.head, &pages);
        let (refs, report) = (&self.refs, &mut self.out.report);
        record::each_histogram(bytes, &mut |sample| {
            let Some(slot) = refs.get(sample.series) else { return taking.unknown(sample.series, report) };
            let (rule, min_valid) = (taking.rule, taking.min_valid);
            let Some(series) = taking.cursor.series(slot) else { return };
            let taken = match series.judge_histogram(sample.t, sample.value, min_valid) {
                Verdict::Keep => Ok(series.push_histogram(sample.t, sample.start, sample.value, rule)),
                verdict => Err((verdict, series.is_in_file(sample.t))),
            };
            taking.count(sample.t, taken, report);
        })?;
        let taken = taking.done();
        drop(pages);
        self.took(taken);
        Ok(())
    }

    /// Notes what a record has brought.
    fn took(&mut self, (opened, min, max): (i64, i64, i64)) {
        self.opened_chunks += opened;
        if min <= max {
            self.head.note_max_t(max);
            self.note_time(min);
            self.note_time(max);
        }
    }

    fn exemplars(&mut self, bytes: &[u8]) -> Result<(), RecordError> {
        let mut labels = Vec::new();
        record::each_exemplar(bytes, &mut |found| {
            self.note_time(found.t);
            let Some(slot) = self.refs.get(found.series) else {
                self.out.report.unknown_series += 1;
                return self.head.reserve_wal_ref(found.series);
            };
            if !self.exemplars.is_on() {
                return;
            }
            labels.clear();
            self.head.index().write_labels(slot, &mut labels);
            let own = Labels::from_encoded(found.labels);
            let exemplar = Timed { t: found.t, is_own_time: false, value: found.v, labels: own };
            // What is not kept was driven out or repeated before, too.
            let kept = self.exemplars.add(&Labels::from_encoded(&labels), exemplar);
            self.out.report.exemplars += u64::from(kept.is_ok());
        })
    }

    fn metadata(&mut self, bytes: &[u8]) -> Result<(), RecordError> {
        record::each_metadata(bytes, &mut |wal_ref, entry| {
            let Some(slot) = self.refs.get(wal_ref) else {
                self.out.report.unknown_series += 1;
                return self.head.reserve_wal_ref(wal_ref);
            };
            // The record has been checked.
            if let Ok(metadata) = record::read_metadata(entry) {
                self.metadata.insert(slot, metadata);
            }
        })
    }

    /// Notes what the log has brought last for each series, by the reference that the series goes on with.
    fn keep_metadata(&self, metadata: &SeriesMetadata) {
        let pages = self.head.pages();
        let mut cursor = PageCursor::new(&pages);
        for (slot, found) in &self.metadata {
            if let Some(series) = cursor.series(*slot) {
                metadata.set(series.wal_ref, found);
            }
        }
    }

    fn tombstone(&mut self, wal_ref: u64, min: i64, max: i64) {
        let Some(slot) = self.refs.get(wal_ref) else {
            self.out.report.unknown_series += 1;
            return self.head.reserve_wal_ref(wal_ref);
        };
        if (min, max) == (i64::MIN, i64::MAX) {
            // The reference says so that a series was dropped with all that it had; what follows is a new one.
            let pages = self.head.pages();
            let mut cursor = PageCursor::new(&pages);
            let cleared = cursor.series(slot).map_or(0, |series| series.clear());
            self.opened_chunks -= cleared as i64;
            self.deleted.retain(|(deleted, _)| *deleted != slot);
            return;
        }
        if max >= self.head.min_valid() {
            self.deleted.push((slot, TimeRange { min: TimestampMs(min), max: TimestampMs(max) }));
        }
        self.note_time(max);
    }

    /// A sample from the future must not keep its segment for ever.
    fn note_time(&mut self, t: i64) {
        let t = t.min(self.now);
        let times = self.times.get_or_insert(Times { first: t, max: t });
        times.max = times.max.max(t);
    }
}

/// The samples of one record on their way into their series.
struct Taking<'a> {
    head: &'a Head,
    cursor: PageCursor<'a>,
    rule: ChunkRule,
    min_valid: i64,
    opened: i64,
    /// Times of what was kept.
    min: i64,
    max: i64,
}

impl<'a> Taking<'a> {
    fn new(head: &'a Head, pages: &'a [Arc<Page>]) -> Taking<'a> {
        let (rule, min_valid) = (head.chunk_rule(), head.min_valid());
        Taking { head, cursor: PageCursor::new(pages), rule, min_valid, opened: 0, min: i64::MAX, max: i64::MIN }
    }

    /// Chunks opened, and the first and the last time of what was kept.
    fn done(self) -> (i64, i64, i64) {
        (self.opened, self.min, self.max)
    }

    #[cold]
    fn unknown(&self, wal_ref: u64, report: &mut OpenReport) {
        report.unknown_series += 1;
        self.head.reserve_wal_ref(wal_ref);
    }

    /// `taken`: whether a chunk was opened, or why the sample was not kept and whether a file has it.
    #[inline]
    fn count(&mut self, t: i64, taken: Result<bool, (Verdict, bool)>, report: &mut OpenReport) {
        match taken {
            Ok(opened) => {
                self.opened += i64::from(opened);
                report.samples += 1;
                (self.min, self.max) = (self.min.min(t), self.max.max(t));
            }
            // What is too old is in a block.
            Err((Verdict::Same | Verdict::TooOld, _) | (_, true)) => {}
            Err(_) => report.out_of_order += 1,
        }
    }
}

/// Slots by log reference: a plain list while references are dense, which those of one process are.
#[derive(Debug, Default)]
pub(super) struct RefMap {
    dense: Vec<u32>,
    sparse: HashMap<u64, u32>,
    len: usize,
}

const NO_SLOT: u32 = u32::MAX;

impl RefMap {
    fn insert(&mut self, wal_ref: u64, slot: u32) {
        self.len += 1;
        let room = 8 * self.len as u64 + 4096;
        if wal_ref >= room && wal_ref >= self.dense.len() as u64 {
            self.sparse.insert(wal_ref, slot);
            return;
        }
        // Below `room`, which is a number of things in memory.
        let at = wal_ref as usize;
        if self.dense.len() <= at {
            self.dense.resize(at + 1, NO_SLOT);
        }
        self.dense[at] = slot;
    }

    #[inline]
    pub(super) fn get(&self, wal_ref: u64) -> Option<u32> {
        let dense = usize::try_from(wal_ref).ok().and_then(|at| self.dense.get(at));
        match dense {
            Some(slot) if *slot != NO_SLOT => Some(*slot),
            // A reference can have gone to the sparse side before the dense one grew past it.
            _ => self.sparse.get(&wal_ref).copied(),
        }
    }
}
