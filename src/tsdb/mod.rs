//! The store: a durable head with a write-ahead log in Prometheus's format.
//!
//! What it is: everything of the last [`Options::window`] in memory (`head/`), and the same on disk as a log
//! (`wal/`, format in `WAL.md`) that is read back at start. The directory is Prometheus's: `wal/00000000` and on,
//! `wal/checkpoint.00000003/`, `lock`. Prometheus opens what we wrote and we open what it wrote.
//!
//! The laws:
//! * A sample is logged before it can be read. A series is logged before its samples.
//! * After a failed write or sync the store refuses writes until it is opened again; reads go on.
//! * Opening never fails because of what the log holds. What cannot be read is repaired or put aside, and told in
//!   [`OpenReport`], in the log and in `watershed_tsdb_wal_corruptions_total`.
//! * What dies with the process: nothing committed. What dies with the machine: what was committed since the last
//!   [`Tsdb::sync`], or [`Tsdb::maintain`], which syncs too; nothing with [`SyncPolicy::EveryCommit`].
//!
//! What it does not do yet: keep anything in blocks (their format is in [`block`]), compaction, histograms, exemplars,
//! out-of-order samples, hiding half-applied commits from readers. Records of kinds it cannot hold are counted when read
//! and kept in the log while they are young.

mod append;
pub mod block;
pub mod blocks;
pub mod compact;
mod exemplars;
#[cfg(test)]
mod fixtures;
mod head;
#[allow(dead_code, reason = "the head moves its full chunks there next")]
mod head_chunks;
mod log;
mod metadata;
mod metrics;
mod quarantine;
mod query;
mod replay;
mod settings;
mod wal;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

pub use replay::OpenReport;
pub use settings::{Retention, Settings};
pub use wal::repair::Repair;
pub use wal::{Compression, Damage};

use crate::disk::{DirLock, Disk};
use crate::model::{DurationMs, TimestampMs};
use crate::runtime::Clock;
use crate::storage::AppendError;
use crate::telemetry::Registry;
use append::Scratch;
use head::Head;
use log::Log;
use metrics::Metrics;
use wal::Writer;

/// Size of a log segment, as in the reference.
const SEGMENT_SIZE: u64 = 128 << 20;
/// How long upkeep waits for open appenders before it leaves old series for the next time.
const COLLECT_PATIENCE: Duration = Duration::from_secs(2);

/// How the store works.
#[derive(Clone, Debug)]
pub struct Options {
    /// How far back from its newest sample (or from now, if that is earlier) the store accepts and keeps samples.
    pub window: DurationMs,
    /// No chunk crosses a multiple of this.
    pub chunk_range: DurationMs,
    /// Bytes after which a log segment is closed.
    pub segment_size: u64,
    /// How log records are compressed.
    pub compression: Compression,
    /// When the log is forced to disk.
    pub sync: SyncPolicy,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            window: DurationMs::from_secs(3 * 3600),
            chunk_range: DurationMs::from_secs(2 * 3600),
            segment_size: SEGMENT_SIZE,
            compression: Compression::Snappy,
            sync: SyncPolicy::OnUpkeep,
        }
    }
}

/// When the log is forced to disk. Only the death of the machine makes a difference, not that of the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SyncPolicy {
    /// With each [`Tsdb::maintain`] and [`Tsdb::sync`]; samples since then are lost with the machine.
    #[default]
    OnUpkeep,
    /// Before each commit returns.
    EveryCommit,
}

/// What the store runs on.
#[derive(Clone)]
pub struct Deps {
    /// Where files are.
    pub disk: Arc<dyn Disk>,
    /// What time it is.
    pub clock: Clock,
    /// Where its metrics go.
    pub registry: Registry,
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process works on the directory.
    #[error("{0} is locked: another process, perhaps a Prometheus, has this data directory open")]
    Locked(PathBuf),
    /// The directory cannot be worked with.
    #[error("opening the data directory {path}: {source}")]
    Disk {
        /// The directory or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What one round of upkeep did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MaintainReport {
    /// Chunks dropped because they were too old.
    pub chunks_removed: usize,
    /// Series dropped because they had no samples left.
    pub series_removed: usize,
    /// The checkpoint written, if one was due.
    pub checkpoint: Option<u32>,
}

/// An open store.
pub struct Tsdb {
    options: Options,
    clock: Clock,
    disk: Arc<dyn Disk>,
    wal_dir: PathBuf,
    head: Head,
    log: Log,
    metrics: Metrics,
    scratches: Mutex<Vec<Scratch>>,
    upkeep: Mutex<Upkeep>,
    _lock: Box<dyn DirLock>,
}

/// What only upkeep knows; its lock makes rounds follow one another.
#[derive(Debug, Default)]
struct Upkeep {
    /// References of series that are gone, each with the last segment that may use it. Their series records are kept
    /// as long, so that a reader of the log knows every reference it meets.
    expired: HashMap<u64, u32>,
    /// Series when the index was packed last.
    packed_at: u64,
}

impl Tsdb {
    /// Opens the store in `dir`, creating the directory if needed, and reads its log.
    pub fn open(dir: &Path, options: Options, deps: Deps) -> Result<(Tsdb, OpenReport), OpenError> {
        let Deps { disk, clock, registry } = deps;
        let began = Instant::now();
        let wal_dir = dir.join("wal");
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Disk { path, source }
        };
        disk.create_dir_all(&wal_dir).map_err(at(&wal_dir))?;
        let lock = lock(&*disk, &dir.join("lock"))?;

        let metrics = Metrics::new(&registry);
        let head = Head::new(options.chunk_range.0);
        let mut replayed = replay::replay(&disk, &wal_dir, &head, clock.now().0).map_err(at(&wal_dir))?;
        // Sort once now instead of during the first scrape.
        drop(head.ordered_index());
        head.optimize();
        let next = replayed.next_segment;
        let writer = Writer::create(disk.clone(), &wal_dir, next, options.segment_size, options.compression);
        let log = Log::new(writer, replayed.times, metrics.clone());

        replayed.report.seconds = began.elapsed().as_secs_f64();
        metrics.replay_seconds.set(replayed.report.seconds);
        metrics.wal_corruptions.add(replayed.report.damage.len() as u64);
        metrics.series_created.add(replayed.report.series);
        let upkeep = Upkeep { expired: replayed.expired, packed_at: head.index().live().len() };
        let tsdb = Tsdb {
            options,
            clock,
            disk,
            wal_dir,
            head,
            log,
            metrics,
            scratches: Mutex::default(),
            upkeep: Mutex::new(upkeep),
            _lock: lock,
        };
        tsdb.publish_gauges();
        tracing::info!(
            series = replayed.report.series,
            samples = replayed.report.samples,
            segments = replayed.report.segments,
            unknown_series = replayed.report.unknown_series,
            damaged = replayed.report.damage.len(),
            seconds = replayed.report.seconds,
            "opened the store",
        );
        Ok((tsdb, replayed.report))
    }

    /// Forces everything committed to disk. Commits go on meanwhile.
    pub fn sync(&self) -> Result<(), AppendError> {
        self.log.sync()
    }

    /// Upkeep, to be called every minute or so: forces the log to disk, drops what is older than the window, and
    /// replaces old log segments by a checkpoint. Must not be called by a thread that holds an appender.
    ///
    /// An error means that something is left to do; the store goes on unless it says that it is latched.
    pub fn maintain(&self) -> Result<MaintainReport, AppendError> {
        let mut upkeep = self.upkeep.lock();
        let mut report = MaintainReport::default();
        let synced = self.log.sync();
        if let Some(cut) = self.cut() {
            self.collect(cut, &mut upkeep, &mut report);
        }
        self.publish_gauges();
        synced?;
        if let Some(cut) = self.cut() {
            self.truncate_log(cut, &mut upkeep, &mut report)?;
        }
        Ok(report)
    }

    /// Syncs and closes. What is not closed but dropped loses nothing unless the machine dies, too.
    pub fn close(self) -> Result<(), AppendError> {
        self.log.sync()
    }

    /// Series in memory.
    pub fn series_count(&self) -> u64 {
        self.head.index().live().len()
    }

    /// The times of the oldest and the newest sample, if there are any.
    pub fn time_range(&self) -> Option<(TimestampMs, TimestampMs)> {
        let min = self.head.min_t()?;
        Some((TimestampMs(min), TimestampMs(self.head.max_t())))
    }

    /// The oldest time still accepted and kept. A sample from the future does not move it beyond the clock's window,
    /// and a clock that is ahead does not move it beyond the newest sample's.
    fn cut(&self) -> Option<i64> {
        let max_t = self.head.max_t();
        (max_t > i64::MIN).then(|| max_t.min(self.clock.now().0).saturating_sub(self.options.window.0))
    }

    fn collect(&self, cut: i64, upkeep: &mut Upkeep, report: &mut MaintainReport) {
        let collected = self.head.collect(cut, COLLECT_PATIENCE);
        if collected.postponed {
            self.metrics.collections_postponed.inc();
        }
        let segment = self.log.current();
        upkeep.expired.extend(collected.series.iter().map(|wal_ref| (*wal_ref, segment)));
        self.metrics.series_removed.add(collected.series.len() as u64);
        self.metrics.chunks_removed.add(collected.chunks as u64);
        report.series_removed = collected.series.len();
        report.chunks_removed = collected.chunks;
        let series = self.series_count();
        if series.abs_diff(upkeep.packed_at) > series / 8 {
            self.head.optimize();
            upkeep.packed_at = series;
        }
    }

    /// The log keeps about the window: segments span a third of it, and go once all their samples are too old.
    fn truncate_log(&self, cut: i64, upkeep: &mut Upkeep, report: &mut MaintainReport) -> Result<(), AppendError> {
        let newest = cut.saturating_add(self.options.window.0);
        self.log.rotate(newest, self.options.window.0 / 3)?;
        let Some(last) = self.log.obsolete(cut) else { return Ok(()) };
        let live = self.head.wal_refs();
        let expired = &upkeep.expired;
        let keep = |wal_ref| live.contains(&wal_ref) || expired.get(&wal_ref).is_some_and(|until| *until > last);
        let keep = wal::checkpoint::Keep { series: &keep, min_t: cut };
        match wal::checkpoint::write(&self.disk, &self.wal_dir, last, &keep) {
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

    fn publish_gauges(&self) {
        self.metrics.head_series.set(self.series_count() as f64);
        self.metrics.head_chunks.set(self.head.chunks.load(Ordering::Relaxed) as f64);
        if self.head.max_t() > i64::MIN {
            self.metrics.head_max_time_seconds.set(TimestampMs(self.head.max_t()).as_seconds());
        }
    }
}

fn lock(disk: &dyn Disk, path: &Path) -> Result<Box<dyn DirLock>, OpenError> {
    disk.lock(path).map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock => OpenError::Locked(path.to_owned()),
        _ => OpenError::Disk { path: path.to_owned(), source },
    })
}

#[cfg(test)]
mod tests;
