//! The store's side of the write-ahead log: what is logged when, how old segments are, and refusing after a failure.
//!
//! After a failed write the log takes nothing more until [`Log::try_recover`], which upkeep calls each time, has cut off
//! what the write may have left behind. That is safe because the log knows what stands there: every commit before that one,
//! and of that one, which nobody was told of, nothing that counts. After a failed sync it is not: the system may have
//! dropped the very bytes that it could not write, and a later sync would succeed without them. So a failed sync is final;
//! who opens the store again reads what is really there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};

use super::LowWrite;
use super::metrics::Metrics;
use super::wal::record::{
    ExemplarsEncoder, HistogramsEncoder, SamplesEncoder, WalExemplar, WalHistogram, WalSample, push_metadata,
};
use super::wal::{WriteError, Writer};
use crate::disk::DiskFile;
use crate::model::Metadata;
use crate::storage::AppendError;

/// A series record longer than this is followed by another.
const SERIES_RECORD: usize = 256 << 10;

/// The open log.
///
/// Lock order: `syncing`, then `state`, then `unlogged`, `refusing` or the head's `applying`. `unlogged` is also taken alone
/// under the head's index lock.
pub(super) struct Log {
    /// Held during a sync: a closed segment is handed to the first who syncs, so the second must not return before that
    /// one has.
    syncing: Mutex<()>,
    state: Mutex<State>,
    /// Records of the series created since the last commit. Whoever commits next logs them before its own samples, so
    /// that no sample in the log comes before its series.
    unlogged: Mutex<Vec<Vec<u8>>>,
    /// Whether `refusing` is some; for those in a hurry.
    is_refusing: AtomicBool,
    refusing: Mutex<Option<Refusing>>,
    /// Opens the first segment.
    open: Box<dyn Fn() -> Result<Writer, WriteError> + Send + Sync>,
    low_write: Option<LowWrite>,
    metrics: Metrics,
}

/// Why nothing is written.
#[derive(Clone, Debug)]
struct Refusing {
    reason: String,
    /// Until the store is opened again.
    is_final: bool,
}

struct State {
    /// When records were last handed to the system; the store's clock, in milliseconds.
    flushed_at: i64,
    /// `None` as long as the log could not be opened; writes are refused then.
    writer: Option<Writer>,
    /// Files that the first sync has to take care of, too.
    unsynced: Vec<Arc<dyn DiskFile>>,
    /// Per segment, the current one included, the times of its samples (never later than the clock then).
    times: BTreeMap<u32, Times>,
}

/// Times of the samples in a segment, in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Times {
    pub(super) first: i64,
    pub(super) max: i64,
}

impl Log {
    /// `open` opens the first segment to write; if it fails it is tried again when the log recovers. `unsynced` are the
    /// segments of before, which hold the times `times`.
    pub(super) fn new(
        unsynced: Vec<Arc<dyn DiskFile>>,
        open: impl Fn() -> Result<Writer, WriteError> + Send + Sync + 'static,
        times: BTreeMap<u32, Times>,
        low_write: Option<LowWrite>,
        metrics: Metrics,
    ) -> Log {
        let log = Log {
            syncing: Mutex::default(),
            state: Mutex::new(State { flushed_at: i64::MIN, writer: None, unsynced, times }),
            unlogged: Mutex::default(),
            is_refusing: AtomicBool::new(false),
            refusing: Mutex::default(),
            open: Box::new(open),
            low_write,
            metrics,
        };
        if let Err(error) = log.open(&mut log.state.lock()) {
            log.refuse(&error, false);
        }
        log
    }

    fn open(&self, state: &mut State) -> Result<(), WriteError> {
        let writer = (self.open)()?;
        self.metrics.wal_segment.set(f64::from(writer.index()));
        state.writer = Some(writer);
        Ok(())
    }

    /// Fails while nothing is written because something has failed.
    pub(super) fn check(&self) -> Result<(), AppendError> {
        if !self.is_refusing.load(Ordering::Acquire) {
            return Ok(());
        }
        match &*self.refusing.lock() {
            Some(refusing) => Err(AppendError::Latched(refusing.reason.clone())),
            None => Ok(()),
        }
    }

    /// Makes the log take writes again after one has failed; `others` does the same for what else the store writes. Fails,
    /// and changes nothing that counts, as long as that is not possible.
    pub(super) fn try_recover(&self, others: impl FnOnce() -> Result<(), WriteError>) -> Result<(), AppendError> {
        if self.check().is_ok() {
            return Ok(());
        }
        let _syncing = self.syncing.lock();
        let mut state = self.state.lock();
        if self.refusing.lock().as_ref().is_some_and(|refusing| refusing.is_final) {
            return self.check();
        }
        let recovered = match &mut state.writer {
            Some(writer) => writer.recover(),
            None => self.open(&mut state),
        };
        recovered.and_then(|()| others()).map_err(disk_error)?;
        if let Some(writer) = &mut state.writer {
            self.metrics.wal_segment.set(f64::from(writer.index()));
            // What was cut off must not come back: other samples may be written in its place.
            writer.sync().map_err(|error| self.fail_sync(error))?;
            self.metrics.wal_fsyncs.inc();
        }
        *self.refusing.lock() = None;
        self.is_refusing.store(false, Ordering::Release);
        self.metrics.latched.set(0.0);
        tracing::info!("the store takes writes again");
        Ok(())
    }

    /// Notes a new series for the next commit.
    pub(super) fn note_series(&self, push: impl FnOnce(&mut Vec<u8>)) {
        let mut records = self.unlogged.lock();
        match records.last_mut().filter(|record| record.len() < SERIES_RECORD) {
            Some(record) => push(record),
            None => {
                let mut record = Vec::new();
                push(&mut record);
                records.push(record);
            }
        }
    }

    /// Logs the new series and the records of a commit (there may be none) whose newest sample is at `max_t`, in one
    /// write. Returns `applying`, locked before another commit can be logged: who holds it puts what was logged into the
    /// head, so that commits are applied in the order in which they are logged and in which a restart reads them.
    pub(super) fn commit<'a>(
        &self,
        records: &Records,
        max_t: i64,
        applying: &'a Mutex<()>,
    ) -> Result<MutexGuard<'a, ()>, AppendError> {
        let mut state = self.state.lock();
        self.check()?;
        self.write(&mut state, records, max_t)?;
        let applying = applying.lock();
        drop(state);
        Ok(applying)
    }

    fn write(&self, state: &mut State, records: &Records, max_t: i64) -> Result<(), AppendError> {
        let series = std::mem::take(&mut *self.unlogged.lock());
        if series.is_empty() && records.is_empty() {
            return Ok(());
        }
        let Some(writer) = &mut state.writer else { return Err(AppendError::Closed) };
        let before = writer.index();
        let keep = self.low_write.map_or(0, |low_write| low_write.buffer_bytes);
        match writer.write(series.iter().map(Vec::as_slice).chain(records.iter()), keep) {
            Ok(bytes) => self.metrics.wal_bytes.add(bytes),
            Err(error) => {
                // The head has these series, so that the next commit must name them.
                self.unlogged.lock().splice(..0, series);
                return Err(self.fail(error));
            }
        }
        if writer.index() != before {
            self.metrics.wal_segment.set(f64::from(writer.index()));
        }
        if !records.is_empty() {
            let times = state.times.entry(writer.index()).or_insert(Times { first: max_t, max: max_t });
            times.max = times.max.max(max_t);
        }
        Ok(())
    }

    /// [`Log::sync`], unless records may wait in memory for longer.
    pub(super) fn sync_if_due(&self, now: i64) -> Result<bool, AppendError> {
        if let Some(low_write) = self.low_write {
            let mut state = self.state.lock();
            if state.flushed_at == i64::MIN {
                state.flushed_at = now;
            }
            if now.saturating_sub(state.flushed_at) < low_write.flush_interval.0 {
                return self.check().map(|()| false);
            }
            state.flushed_at = now;
        }
        self.sync().map(|()| true)
    }

    /// Makes everything committed so far durable. Commits go on meanwhile.
    pub(super) fn sync(&self) -> Result<(), AppendError> {
        let _syncing = self.syncing.lock();
        let (files, path) = {
            let mut state = self.state.lock();
            self.check()?;
            let state = &mut *state;
            let Some(writer) = &mut state.writer else { return Err(AppendError::Closed) };
            let bytes = writer.flush().map_err(|error| self.fail(error))?;
            self.metrics.wal_bytes.add(bytes);
            let (closed, path) = (writer.files_to_sync(), writer.path());
            (std::mem::take(&mut state.unsynced).into_iter().chain(closed), path)
        };
        for file in files {
            // A failed sync may have dropped the bytes from the system's cache, so trying again proves nothing.
            // It may also be an earlier segment, which makes no difference to anyone.
            file.sync().map_err(|source| self.fail_sync(WriteError { path: path.clone(), source }))?;
            self.metrics.wal_fsyncs.inc();
        }
        Ok(())
    }

    /// The segment written to.
    pub(super) fn current(&self) -> u32 {
        self.state.lock().writer.as_ref().map_or(0, Writer::index)
    }

    /// Starts a new segment if the current one began `span` or more before `now`.
    pub(super) fn rotate(&self, now: i64, span: i64) -> Result<(), AppendError> {
        let mut state = self.state.lock();
        self.check()?;
        let state = &mut *state;
        let Some(writer) = &mut state.writer else { return Ok(()) };
        let Some(times) = state.times.get(&writer.index()) else { return Ok(()) };
        if now.saturating_sub(times.first) < span || writer.is_empty() {
            return Ok(());
        }
        writer.next_segment().map_err(|error| self.fail(error))?;
        self.metrics.wal_segment.set(f64::from(writer.index()));
        Ok(())
    }

    /// The newest closed segment such that it and all before it hold only samples older than `min_t`.
    pub(super) fn obsolete(&self, min_t: i64) -> Option<u32> {
        let state = self.state.lock();
        let current = state.writer.as_ref()?.index();
        let old = state.times.iter().take_while(|(index, times)| **index < current && times.max < min_t);
        old.map(|(index, _)| *index).last()
    }

    /// Forgets the segments up to `last`, which a checkpoint has replaced.
    pub(super) fn forget(&self, last: u32) {
        self.state.lock().times.retain(|index, _| *index > last);
    }

    /// Refuses writes until the log has recovered.
    pub(super) fn fail(&self, error: WriteError) -> AppendError {
        self.refuse(&error, false);
        disk_error(error)
    }

    /// Refuses writes for good.
    pub(super) fn fail_sync(&self, error: WriteError) -> AppendError {
        self.refuse(&error, true);
        disk_error(error)
    }

    fn refuse(&self, error: &WriteError, is_final: bool) {
        self.metrics.wal_write_failures.inc();
        let mut refusing = self.refusing.lock();
        if refusing.as_ref().is_none_or(|earlier| is_final && !earlier.is_final) {
            *refusing = Some(Refusing { reason: error.to_string(), is_final });
            self.is_refusing.store(true, Ordering::Release);
            self.metrics.latched.set(1.0);
            tracing::error!(%error, is_final, "the store refuses writes from now on; reads go on");
        }
    }
}

fn disk_error(error: WriteError) -> AppendError {
    AppendError::Disk { path: error.path.display().to_string(), source: error.source }
}

/// The records of one commit, in the order in which their contents came. A record holds samples of one kind, so a change
/// of kind begins another, and so does the first start timestamp.
#[derive(Debug, Default)]
pub(super) struct Records {
    done: Vec<Vec<u8>>,
    /// At most one of the two is open.
    samples: SamplesEncoder,
    histograms: HistogramsEncoder,
    /// Come behind the samples, so that no reader of the log meets an exemplar before its sample.
    exemplars: ExemplarsEncoder,
    metadata: Vec<u8>,
}

impl Records {
    #[inline]
    pub(super) fn push_sample(&mut self, sample: WalSample) {
        if !self.histograms.record().is_empty() || !self.samples.takes(sample) {
            self.end_record();
        }
        self.samples.push(sample);
    }

    pub(super) fn push_histogram(&mut self, histogram: WalHistogram<'_>) {
        if !self.samples.record().is_empty() || !self.histograms.takes(histogram.start, histogram.value) {
            self.end_record();
        }
        self.histograms.push(histogram);
    }

    pub(super) fn push_exemplar(&mut self, exemplar: WalExemplar<'_>) {
        self.exemplars.push(exemplar);
    }

    pub(super) fn push_metadata(&mut self, series: u64, metadata: &Metadata) {
        push_metadata(&mut self.metadata, series, metadata);
    }

    /// Adds a whole record of another kind.
    pub(super) fn push_record(&mut self, record: Vec<u8>) {
        self.end_record();
        self.done.push(record);
    }

    #[cold]
    fn end_record(&mut self) {
        let open = [self.samples.record(), self.histograms.record()];
        self.done.extend(open.into_iter().filter(|r| !r.is_empty()).map(<[u8]>::to_vec));
        self.samples.clear();
        self.histograms.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let open = [self.samples.record(), self.histograms.record(), self.exemplars.record(), &self.metadata];
        self.done.iter().map(Vec::as_slice).chain(open).filter(|record| !record.is_empty())
    }

    /// Forgets the records and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.done.clear();
        self.samples.clear();
        self.histograms.clear();
        self.exemplars.clear();
        self.metadata.clear();
    }

    /// Bytes of memory held.
    pub(super) fn capacity(&self) -> usize {
        let others = self.exemplars.capacity() + self.metadata.capacity();
        self.samples.capacity() + self.histograms.capacity() + others
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    use super::*;
    use crate::disk::{Disk, MemDisk};
    use crate::telemetry::Registry;
    use crate::tsdb::wal::Compression;

    /// A closed segment whose sync takes until it is told to end.
    #[derive(Debug)]
    struct SlowFile {
        entered: Sender<()>,
        end: Mutex<Receiver<()>>,
        is_synced: Arc<AtomicBool>,
    }

    impl DiskFile for SlowFile {
        fn append(&self, _: &[u8]) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn sync(&self) -> io::Result<()> {
            self.entered.send(()).map_err(io::Error::other)?;
            self.end.lock().recv().map_err(io::Error::other)?;
            self.is_synced.store(true, Ordering::Release);
            Ok(())
        }
        fn truncate(&self, _: u64) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn len(&self) -> io::Result<u64> {
            Ok(0)
        }
    }

    /// The second found no closed segment any more and returned while the first still waited for the disk, so a commit
    /// that had asked for durability was told that it had it.
    #[test]
    fn a_sync_returns_only_after_the_sync_of_what_another_has_taken_on() {
        let disk = MemDisk::new();
        disk.create_dir_all(Path::new("/wal")).unwrap();
        let writer = move || Writer::create(Arc::new(disk.clone()), Path::new("/wal"), 0, 1 << 20, Compression::None);
        let log = Log::new(vec![], writer, BTreeMap::new(), None, Metrics::new(&Registry::new()));
        let ((entered, has_entered), (end, end_told)) = (channel(), channel());
        let is_synced = Arc::new(AtomicBool::new(false));
        let slow = SlowFile { entered, end: Mutex::new(end_told), is_synced: is_synced.clone() };
        log.state.lock().unsynced.push(Arc::new(slow));

        std::thread::scope(|scope| {
            scope.spawn(|| log.sync().unwrap());
            has_entered.recv().unwrap();
            let second = scope.spawn(|| {
                log.sync().unwrap();
                is_synced.load(Ordering::Acquire)
            });
            // Time for the second to return too early; without the fault it makes no difference.
            std::thread::sleep(Duration::from_millis(50));
            end.send(()).unwrap();
            assert!(second.join().unwrap());
        });
    }

    /// Two commits could be logged in one order and applied in the other, so that a restart found another winner.
    #[test]
    fn nothing_is_logged_between_a_commit_and_its_turn_to_be_applied() {
        let disk = MemDisk::new();
        disk.create_dir_all(Path::new("/wal")).unwrap();
        let files = disk.clone();
        let writer = move || Writer::create(Arc::new(files.clone()), Path::new("/wal"), 0, 1 << 20, Compression::None);
        let log = Log::new(vec![], writer, BTreeMap::new(), None, Metrics::new(&Registry::new()));
        let len = || disk.read(Path::new("/wal/00000000")).map_or(0, |bytes| bytes.len());
        let applying = Mutex::default();
        let commit = |series| {
            let mut records = Records::default();
            records.push_sample(WalSample { series, t: 5, start: 0, v: 1.0 });
            drop(log.commit(&records, 5, &applying).unwrap());
        };
        let held = applying.lock();
        std::thread::scope(|scope| {
            scope.spawn(|| commit(1));
            while len() == 0 {
                std::thread::yield_now();
            }
            let first = len();
            scope.spawn(|| commit(2));
            // Time for the second to be logged too early; without the fault it makes no difference.
            std::thread::sleep(Duration::from_millis(50));
            assert_eq!(len(), first);
            drop(held);
        });
        assert!(len() > 0);
    }
}
