//! The store, in Prometheus's own on-disk format: Prometheus opens what we wrote and we open what it wrote.
//!
//! Samples begin in the write-ahead log (`wal/`) and in memory (`head/`). Full chunks go to files (`head_chunks/`); what comes late
//! lies beside the others and has a log of its own (`ooo/`); after two hours the head's samples become a block
//! ([`block`]), and blocks become larger ones ([`compact`]) until [`retention`] takes them. Series that have ended can go to
//! blocks earlier than others (`stale.rs`). `upkeep.rs` tells in which order a sample changes its place; `query.rs` reads
//! all places at once. Each kind of file has a page that draws it.
//!
//! The laws:
//! * A sample is logged before it can be read (in [`LowWrite`] mode: before its turn to be written comes). A series is logged
//!   before its samples.
//! * A commit is seen whole or not at all, and commits are applied in the order in which they are logged. Samples out of
//!   order are seen as they come.
//! * A place is given up only when the next one is durable and nobody reads the old one any more.
//! * After a failed write the store refuses writes until upkeep has repaired the log's end, which takes a disk that writes
//!   again; after a failed sync until it is opened again. Reads go on, and nothing acknowledged is lost.
//! * Opening never fails because of what the files hold. What cannot be read is repaired or moved to `quarantine/`, and told
//!   in [`OpenReport`], in the log and in metrics.
//! * What dies with the process: nothing committed. What dies with the machine: what was committed since the last
//!   [`Tsdb::sync`], or [`Tsdb::maintain`], which syncs too; nothing with [`SyncPolicy::EveryCommit`].
//! * Bounds follow the clock as much as the newest sample: one sample from the future pushes nothing out.
//!
//! What it does not do: evaluate anything.

mod admin;
mod append;
pub mod block;
mod block_upkeep;
pub mod blocks;
pub mod compact;
mod exemplars;
#[cfg(test)]
mod fixtures;
mod head;
mod head_chunks;
mod log;
mod matching;
mod metadata;
mod metrics;
mod ooo;
mod quarantine;
mod query;
pub mod read_only;
mod readers;
mod replay;
pub mod retention;
mod settings;
pub mod ship;
mod snapshot;
mod stale;
mod upkeep;
mod wal;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

pub use block_upkeep::BlocksMaintained;
pub use replay::{OpenReport, ReplayProgress};
pub use settings::{Retention, Settings, Starts};
pub use upkeep::{MaintainReport, UpkeepError};
pub use wal::repair::Repair;
pub use wal::{Compression, Damage};

use crate::disk::{DirLock, Disk};
use crate::model::{DurationMs, TimestampMs};
use crate::runtime::Clock;
use crate::storage::{AppendError, Scope};
use crate::telemetry::Registry;
use append::Scratch;
use blocks::{BlockList, Blocks};
use compact::{Compactor, block_ranges};
use exemplars::Exemplars;
use head::{FoundChunks, Head};
use head_chunks::{HEAD_CHUNKS_DIR, HeadChunks};
use log::Log;
use metadata::SeriesMetadata;
use metrics::{ExemplarMetrics, Metrics};
use ooo::{OutOfOrder, Wbl};
use readers::Readers;
use upkeep::Upkeep;
use wal::Writer;

/// Size of a log segment, as in the reference.
const SEGMENT_SIZE: u64 = 128 << 20;

/// Where the log of out-of-order samples is, below the data directory.
const WBL_DIR: &str = "wbl";

/// How the store works.
#[derive(Clone, Debug)]
pub struct Options {
    /// Time span of the blocks that the head is cut into; no chunk crosses a multiple of it.
    pub chunk_range: DurationMs,
    /// Longest time span of a block that others are merged into; `None` merges without end.
    pub max_block: Option<DurationMs>,
    /// Bytes after which a log segment is closed.
    pub segment_size: u64,
    /// How log records are compressed.
    pub compression: Compression,
    /// When the log is forced to disk.
    pub sync: SyncPolicy,
    /// Collect log records in memory before they are written; `None` writes each commit at once.
    pub low_write: Option<LowWrite>,
    /// What can be changed later.
    pub settings: Settings,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            chunk_range: DurationMs::from_secs(2 * 3600),
            max_block: Some(DurationMs::from_secs(31 * 24 * 3600)),
            segment_size: SEGMENT_SIZE,
            compression: Compression::Snappy,
            sync: SyncPolicy::OnUpkeep,
            low_write: None,
            settings: Settings::default(),
        }
    }
}

/// Fewer and larger writes, for media that wear out. What is in memory is lost with the process, not only with the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LowWrite {
    /// How long a record may wait in memory.
    pub flush_interval: DurationMs,
    /// Bytes that are written at once at the latest.
    pub buffer_bytes: usize,
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

/// An open store.
pub struct Tsdb {
    options: Options,
    settings: ArcSwap<Settings>,
    clock: Clock,
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    wal_dir: PathBuf,
    head: Head,
    log: Log,
    late: OutOfOrder,
    wbl: Wbl,
    blocks: Blocks,
    exemplars: Exemplars,
    metadata: SeriesMetadata,
    readers: Readers,
    /// Ends compactions under way.
    stop: Scope,
    metrics: Metrics,
    scratches: Mutex<Vec<Scratch>>,
    upkeep: Mutex<Upkeep>,
    compactor: Compactor,
    /// Held by whoever compacts, copies or deletes blocks.
    block_upkeep: Mutex<()>,
    replay: ReplayProgress,
    _lock: Box<dyn DirLock>,
}

impl Tsdb {
    /// Opens the store in `dir`, creating the directory if needed, and reads its log.
    pub fn open(dir: &Path, options: Options, deps: Deps) -> Result<(Tsdb, OpenReport), OpenError> {
        Tsdb::open_watched(dir, options, deps, &ReplayProgress::default())
    }

    /// As [`Tsdb::open`], where others can see how far the reading of the log has come.
    pub fn open_watched(
        dir: &Path,
        options: Options,
        deps: Deps,
        progress: &ReplayProgress,
    ) -> Result<(Tsdb, OpenReport), OpenError> {
        let Deps { disk, clock, registry } = deps;
        let began = Instant::now();
        let wal_dir = dir.join("wal");
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Disk { path, source }
        };
        create_durably(&*disk, &wal_dir).map_err(at(&wal_dir))?;
        let lock = lock(&*disk, &dir.join("lock"))?;

        let metrics = Metrics::new(&registry);
        let chunks_dir = dir.join(HEAD_CHUNKS_DIR);
        let opened = HeadChunks::open(disk.clone(), &chunks_dir, head_chunks::Options::default());
        let (chunks, found_chunks, chunk_damage) = opened.map_err(at(&chunks_dir))?;
        let chunks = Arc::new(chunks);
        let head = Head::new(options.chunk_range.0, chunks.clone());
        head.open_chunks_with(options.settings.xor2, options.settings.histogram_starts);
        // A chunk can have outlived its series' record in the log.
        found_chunks.iter().for_each(|chunk| head.reserve_wal_ref(chunk.series));
        let (in_order, late_chunks) = FoundChunks::split(found_chunks);
        let (blocks, found) = Blocks::open(disk.clone(), dir, &registry).map_err(at(dir))?;
        // What is in blocks need not come back from the log.
        head.raise_min_valid(blocks.in_order_max_time().unwrap_or(i64::MIN));
        let exemplars = Exemplars::new(ExemplarMetrics::new(&registry));
        exemplars.configure(options.settings.max_exemplars, options.settings.out_of_order_window);
        let metadata = SeriesMetadata::default();
        let into = replay::Into { head: &head, exemplars: &exemplars, metadata: &metadata, progress };
        let (now, threads) = (clock.now().0, replay::Threads::available());
        let mut replayed = replay::replay(&disk, &wal_dir, into, &in_order, now, threads).map_err(at(&wal_dir))?;
        drop(in_order);
        replayed.report.damage.extend(chunk_damage);
        let late = OutOfOrder::new(ooo::DEFAULT_CAP, chunks);
        let wbl_dir = dir.join(WBL_DIR);
        let wbl_next = late.restore(&disk, &wbl_dir, &late_chunks, &head, &mut replayed).map_err(at(&wbl_dir))?;
        let wbl = Wbl::new(disk.clone(), wbl_dir, wbl_next, options.segment_size, options.compression);
        replayed.report.blocks = found.opened;
        replayed.report.broken_blocks = found.quarantined.into_iter().map(|broken| broken.path).collect();
        replayed.report.unreadable_blocks = found.unreadable.into_iter().map(|broken| broken.path).collect();
        // Sort once now instead of during the first scrape.
        drop(head.ordered_index());
        head.optimize();
        let next = replayed.next_segment;
        let (unsynced, size, compression) =
            (wal::unsynced(&*disk, &wal_dir), options.segment_size, options.compression);
        let begin = {
            let (disk, wal_dir) = (disk.clone(), wal_dir.clone());
            move || Writer::create(disk.clone(), &wal_dir, next, size, compression)
        };
        let log = Log::new(unsynced, begin, replayed.times, options.low_write, metrics.clone());

        replayed.report.seconds = began.elapsed().as_secs_f64();
        metrics.replay_seconds.set(replayed.report.seconds);
        metrics.wal_corruptions.add(replayed.report.damage.len() as u64);
        metrics.series_created.add(replayed.report.series);
        let upkeep = Upkeep::new(replayed.expired, head.index().live().len());
        let longest = options.max_block.unwrap_or(DurationMs(i64::MAX));
        let compactor = Compactor::new(block_ranges(options.chunk_range, longest), &registry);
        let tsdb = Tsdb {
            settings: ArcSwap::from_pointee(options.settings.clone()),
            options,
            clock,
            disk,
            dir: dir.to_owned(),
            wal_dir,
            head,
            log,
            late,
            wbl,
            blocks,
            exemplars,
            metadata,
            readers: Readers::default(),
            stop: Scope::unbounded(),
            metrics,
            scratches: Mutex::default(),
            upkeep: Mutex::new(upkeep),
            compactor,
            block_upkeep: Mutex::default(),
            replay: progress.clone(),
            _lock: lock,
        };
        tsdb.publish_gauges();
        tracing::info!(
            series = replayed.report.series,
            samples = replayed.report.samples,
            late_samples = replayed.report.late_samples,
            segments = replayed.report.segments,
            unknown_series = replayed.report.unknown_series,
            damaged = replayed.report.damage.len(),
            blocks = replayed.report.blocks,
            seconds = replayed.report.seconds,
            "opened the store",
        );
        Ok((tsdb, replayed.report))
    }

    /// Forces everything committed to disk. Commits go on meanwhile.
    pub fn sync(&self) -> Result<(), AppendError> {
        // First the log that names the series.
        self.log.sync()?;
        self.sync_late()
    }

    /// As [`Tsdb::sync`]; in low-write mode only if that is due.
    fn sync_if_due(&self) -> Result<(), AppendError> {
        if self.log.sync_if_due(self.clock.now().0)? { self.sync_late() } else { Ok(()) }
    }

    /// As [`Tsdb::sync`], with the files of full chunks: for those who are about to go. The logs have the same samples, so
    /// a failure there is told and no error.
    pub fn flush(&self) -> Result<(), AppendError> {
        if let Err(error) = self.late.chunks.sync() {
            tracing::warn!(%error, "full chunks of the head could not be forced to disk");
        }
        self.sync()
    }

    /// Syncs and closes. What is not closed but dropped loses nothing unless the machine dies, too.
    pub fn close(self) -> Result<(), AppendError> {
        self.flush()
    }

    /// Series in memory.
    pub fn series_count(&self) -> u64 {
        self.head.index().live().len()
    }

    /// The times of the oldest and the newest sample, if there are any.
    pub fn time_range(&self) -> Option<(TimestampMs, TimestampMs)> {
        let late = self.late.time_range();
        let in_order = self.head.min_t().map(|min| (TimestampMs(min), TimestampMs(self.head.max_t())));
        in_order.into_iter().chain(late).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    /// Puts other settings to work.
    pub fn apply(&self, settings: Settings) {
        self.exemplars.configure(settings.max_exemplars, settings.out_of_order_window);
        self.head.open_chunks_with(settings.xor2, settings.histogram_starts);
        self.settings.store(Arc::new(settings));
    }

    /// Ends compactions under way, so that the store can be closed soon. They leave nothing behind, and what they would
    /// have replaced is all still there.
    pub fn give_up(&self) {
        self.stop.cancel();
    }

    /// The blocks as they are now.
    pub fn blocks(&self) -> BlockList {
        self.blocks.snapshot()
    }

    /// By which shipping keeps blocks back from compaction.
    pub fn ship_gate(&self) -> ship::Gate {
        self.blocks.gate()
    }

    /// The newest sample's time, or now if that is earlier: a sample from the future must not push others out.
    fn newest(&self) -> i64 {
        self.head.max_t().min(self.clock.now().0)
    }

    /// The oldest time that the head takes samples of: nothing that may be in a block already, and no more than half a
    /// block behind the newest sample.
    fn min_valid(&self) -> i64 {
        let behind = match self.head.max_t() {
            i64::MIN => i64::MIN,
            _ => self.newest().saturating_sub(self.options.chunk_range.0 / 2),
        };
        self.head.min_valid().max(behind)
    }

    fn publish_gauges(&self) {
        self.metrics.head_series.set(self.series_count() as f64);
        self.metrics.head_chunks.set(self.head.chunks.load(Ordering::Relaxed) as f64);
        self.metrics.head_chunk_files_bytes.set(self.head.files().size() as f64);
        if self.head.max_t() > i64::MIN {
            self.metrics.head_max_time_seconds.set(TimestampMs(self.head.max_t()).as_seconds());
        }
    }
}

/// Creates a directory and those above it that are missing, none of which a power cut takes away again.
fn create_durably(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let mut above = Vec::new();
    for dir in dir.ancestors() {
        let parent = dir.parent().map(|p| if p.as_os_str().is_empty() { Path::new(".") } else { p });
        above.extend(parent);
        // The last two may also be there because an earlier process was killed before it came to this.
        if above.len() >= 2 && disk.exists(dir)? {
            break;
        }
    }
    disk.create_dir_all(dir)?;
    for dir in above {
        if let Err(error) = disk.sync_dir(dir) {
            // Whoever made that directory may have let nobody read it.
            tracing::debug!(%error, dir = %dir.display(), "a directory could not be synced");
        }
    }
    Ok(())
}

fn lock(disk: &dyn Disk, path: &Path) -> Result<Box<dyn DirLock>, OpenError> {
    disk.lock(path).map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock => OpenError::Locked(path.to_owned()),
        _ => OpenError::Disk { path: path.to_owned(), source },
    })
}

#[cfg(test)]
mod extras_tests;
#[cfg(test)]
mod stale_tests;
#[cfg(test)]
mod tests;
