//! From the log back into memory, at start.
//!
//! The log passes through three hands, each of which may be a thread of its own:
//! 1. [`read`] goes over the files, checks and unpacks, decodes records into [`Batch`]es, and repairs what is damaged.
//! 2. [`Names`] gives each row the slot of its series, creates the series that are new, and takes what is about series
//!    and not in them: references, exemplars, metadata, deletions.
//! 3. [`Taker`]s put samples into series. Each owns the series of its own pages and passes over all others.
//!
//! The law: what becomes of a log does not depend on the number of threads. Names are given by one, in the order of the
//! log; a series belongs to one taker, who gets everything in that order, too; what several of them find out are sums
//! and extremes. So one thread that does all three with one batch after the other gives the same head, which is what
//! machines of one core and the tests do.
//!
//! A handful of batches goes round, so memory is bounded however long the log is. Reading costs about as much as
//! naming or as taking floats, so more threads than a few would wait for the first.
//!
//! Opening fails here only if a directory cannot be worked with, or by a mistake of ours: if one of the hands panics the
//! others end, and that is an error.

mod batch;
mod names;
mod pipeline;
mod read;
mod refs;
mod take;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use super::exemplars::Exemplars;
use super::head::{FoundChunks, Head};
use super::log::Times;
use super::metadata::SeriesMetadata;
use super::wal::Damage;
use super::wal::repair::{Repair, finish_interrupted};
use crate::disk::Disk;
use crate::storage::ReplayStatus;
use names::Names;
pub(super) use pipeline::Threads;
pub(super) use refs::RefMap;
use take::Taker;

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
    pub(super) progress: &'a ReplayProgress,
}

/// How far a log has been read, for those who wait for it; clones share it.
#[derive(Clone, Debug, Default)]
pub struct ReplayProgress(Arc<Mutex<ReplayStatus>>);

impl ReplayProgress {
    /// As of now.
    pub fn get(&self) -> ReplayStatus {
        *self.0.lock()
    }

    fn begin(&self, min: u32, max: u32) {
        *self.0.lock() = ReplayStatus { min, max, current: min };
    }

    fn has_read(&self, segment: u32) {
        self.0.lock().current = segment;
    }
}

/// Reads the whole log in `dir`. Fails only if the directory itself cannot be worked with.
///
/// `found` are the chunks found in files: a series takes its own when the log names it, and needs no samples from the log
/// that they hold. `now`: no segment is kept for longer because of samples from the future.
pub(super) fn replay(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    into: Into<'_>,
    found: &FoundChunks,
    now: i64,
    threads: Threads,
) -> io::Result<Replayed> {
    finish_interrupted(&**disk, dir)?;
    let head = into.head;
    let mut names = Names::new(into, found);
    let mut takers: Vec<Taker<'_>> = Taker::all(head, found, threads.takers());
    let read =
        pipeline::run(threads, |hand_on| read::read(disk, dir, into.progress, hand_on), &mut names, &mut takers)?;
    let (named, mut times) = names.done(into.metadata);
    let mut report = OpenReport {
        checkpoint: read.checkpoint,
        segments: read.segments.len() as u64,
        series: named.series,
        exemplars: named.exemplars,
        unknown_series: named.unknown_series,
        refused_series: named.refused_series,
        skipped_records: read.skipped_records,
        damage: read.damage,
        repairs: read.repairs,
        ..OpenReport::default()
    };
    for taken in takers.into_iter().map(Taker::done) {
        report.samples += taken.samples;
        report.chunks += taken.attached;
        report.out_of_order += taken.out_of_order;
        head.chunks.fetch_add(taken.chunks, Ordering::Relaxed);
        times.add(&taken.times);
    }
    let times = read.segments.iter().map(|index| (*index, times.of(*index, now))).collect();
    Ok(Replayed { report, times, expired: named.expired, next_segment: read.next_segment, refs: named.refs })
}

/// The first and the last time in each segment.
#[derive(Debug, Default)]
struct SegmentTimes(BTreeMap<u32, (i64, i64)>);

impl SegmentTimes {
    /// `segment`: none for a checkpoint, whose times nobody asks for.
    fn note(&mut self, segment: Option<u32>, min: i64, max: i64) {
        let Some(segment) = segment.filter(|_| min <= max) else { return };
        let times = self.0.entry(segment).or_insert((min, max));
        *times = (times.0.min(min), times.1.max(max));
    }

    fn add(&mut self, others: &SegmentTimes) {
        others.0.iter().for_each(|(segment, (min, max))| self.note(Some(*segment), *min, *max));
    }

    /// A segment without samples is as old as can be. A sample from the future must not keep its segment for ever.
    fn of(&self, segment: u32, now: i64) -> Times {
        let (first, max) = self.0.get(&segment).copied().unwrap_or((i64::MIN, i64::MIN));
        Times { first: first.min(now), max: max.min(now) }
    }
}
