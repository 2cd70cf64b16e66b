//! From the log back into memory, at start.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::head::{Head, Verdict, locate};
use super::log::Times;
use super::wal::record::{self, Kind, RecordError};
use super::wal::repair::{Repair, finish_interrupted, repair_segment};
use super::wal::{Damage, checkpoint, checkpoints, read_segment, segment_path, segments};
use crate::disk::Disk;

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
    /// Samples not taken because the series had a newer one already.
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
}

/// Reads the whole log in `dir` into an empty head. Fails only if the directory itself cannot be worked with.
pub(super) fn replay(disk: &Arc<dyn Disk>, dir: &Path, head: &Head, now: i64) -> io::Result<Replayed> {
    finish_interrupted(&**disk, dir)?;
    let mut replay = Replay {
        head,
        now,
        refs: RefMap::default(),
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
    head.chunks.fetch_add(replay.opened_chunks, std::sync::atomic::Ordering::Relaxed);
    Ok(replay.out)
}

struct Replay<'a> {
    head: &'a Head,
    now: i64,
    refs: RefMap,
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
        match Kind::of(bytes) {
            Kind::Series => record::each_series(bytes, &mut |wal_ref, labels| self.series(wal_ref, labels)),
            Kind::Samples | Kind::SamplesV2 => self.samples(bytes),
            kind => {
                // Checked so that damage is found where it is, and dated so that the segment is kept long enough.
                record::check(bytes)?;
                if let Some(t) = record::first_time(bytes)? {
                    self.note_time(t);
                }
                *self.out.report.skipped_records.entry(kind.name()).or_default() += 1;
                Ok(())
            }
        }
    }

    fn series(&mut self, wal_ref: u64, labels: &[u8]) {
        match self.head.restore(labels, wal_ref, &mut self.scratch) {
            Ok((slot, before)) => {
                self.refs.insert(wal_ref, slot);
                match before {
                    Some(old) => {
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
        // A record is taken whole or not at all.
        record::check(bytes)?;
        let pages = self.head.pages();
        let chunk_range = self.head.chunk_range();
        let min_valid = self.head.min_valid();
        let mut locked = None;
        let (mut min, mut max) = (i64::MAX, i64::MIN);
        let report = &mut self.out.report;
        record::each_sample(bytes, &mut |sample| {
            let Some(slot) = self.refs.get(sample.series) else {
                report.unknown_series += 1;
                self.head.reserve_wal_ref(sample.series);
                return;
            };
            let (number, at) = locate(slot);
            let page = match locked.take() {
                Some((n, page)) if n == number => page,
                other => {
                    drop(other);
                    pages[number].lock()
                }
            };
            let (_, page) = locked.insert((number, page));
            let series = &mut page[at];
            match series.judge(sample.t, sample.v, min_valid) {
                Verdict::Keep => {
                    self.opened_chunks += i64::from(series.push(sample.t, sample.v, chunk_range));
                    report.samples += 1;
                    (min, max) = (min.min(sample.t), max.max(sample.t));
                }
                // What is too old is in a block.
                Verdict::Same | Verdict::TooOld => {}
                _ => report.out_of_order += 1,
            }
        })?;
        drop(locked);
        drop(pages);
        if min <= max {
            self.head.note_max_t(max);
            self.note_time(min);
            self.note_time(max);
        }
        Ok(())
    }

    /// A sample from the future must not keep its segment for ever.
    fn note_time(&mut self, t: i64) {
        let t = t.min(self.now);
        let times = self.times.get_or_insert(Times { first: t, max: t });
        times.max = times.max.max(t);
    }
}

/// Slots by log reference: a plain list while references are dense, which those of one process are.
#[derive(Default)]
struct RefMap {
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
    fn get(&self, wal_ref: u64) -> Option<u32> {
        let dense = usize::try_from(wal_ref).ok().and_then(|at| self.dense.get(at));
        match dense {
            Some(slot) if *slot != NO_SLOT => Some(*slot),
            // A reference can have gone to the sparse side before the dense one grew past it.
            _ => self.sparse.get(&wal_ref).copied(),
        }
    }
}
