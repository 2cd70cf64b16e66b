//! The write-behind log: segments as those of the write-ahead log, of late samples and markers.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::disk::{Disk, DiskFile};
use crate::tsdb::wal::{Compression, WriteError, Writer, segment_path, segments, unsynced};

/// The open log. Its first segment, and its directory, come into being with the first record.
///
/// Lock order: `syncing`, then `state`.
pub(crate) struct Wbl {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    segment_size: u64,
    compression: Compression,
    /// Held during a sync: a closed segment is handed to the first who syncs, so the second must not return before that
    /// one has.
    syncing: Mutex<()>,
    state: Mutex<State>,
}

struct State {
    writer: Option<Writer>,
    /// The number of the first segment.
    next: u32,
    /// Segments from before the start that the first sync has to take care of.
    unsynced: Vec<Arc<dyn DiskFile>>,
    /// Whether something was logged since the last sync.
    is_dirty: bool,
}

impl Wbl {
    /// A log that goes on with segment `next`.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        next: u32,
        segment_size: u64,
        compression: Compression,
    ) -> Wbl {
        let unsynced = unsynced(&*disk, &dir);
        let state = Mutex::new(State { writer: None, next, unsynced, is_dirty: false });
        Wbl { disk, dir, segment_size, compression, syncing: Mutex::default(), state }
    }

    /// Logs records in one write; returns how many bytes that was.
    pub(crate) fn log(&self, records: &[Vec<u8>]) -> Result<u64, WriteError> {
        if records.is_empty() {
            return Ok(0);
        }
        let mut state = self.state.lock();
        let next = state.next;
        state.is_dirty = true;
        let writer = match &mut state.writer {
            Some(writer) => writer,
            none => none.insert(self.create(next)?),
        };
        writer.write(records.iter().map(Vec::as_slice), 0)
    }

    /// Makes logging possible again after it has failed; see [`Writer::recover`].
    pub(crate) fn recover(&self) -> Result<(), WriteError> {
        self.state.lock().writer.as_mut().map_or(Ok(()), Writer::recover)
    }

    fn create(&self, index: u32) -> Result<Writer, WriteError> {
        let made = self.disk.create_dir_all(&self.dir);
        let made = made.and_then(|()| self.dir.parent().map_or(Ok(()), |parent| self.disk.sync_dir(parent)));
        made.map_err(|source| WriteError { path: self.dir.clone(), source })?;
        Writer::create(self.disk.clone(), &self.dir, index, self.segment_size, self.compression)
    }

    /// Makes everything logged so far durable; returns how many files that took. Logging goes on meanwhile.
    pub(crate) fn sync(&self) -> Result<u64, WriteError> {
        let _syncing = self.syncing.lock();
        let (files, index) = {
            let mut state = self.state.lock();
            let is_dirty = std::mem::take(&mut state.is_dirty);
            let mut files = std::mem::take(&mut state.unsynced);
            let mut index = state.next;
            if let Some(writer) = state.writer.as_mut().filter(|_| is_dirty) {
                files.extend(writer.files_to_sync());
                index = writer.index();
            }
            (files, index)
        };
        for file in &files {
            file.sync().map_err(|source| WriteError { path: segment_path(&self.dir, index), source })?;
        }
        Ok(files.len() as u64)
    }

    /// Begins a new segment if the current one has records; returns the number of the first segment that what is logged
    /// from now on can be in.
    pub(crate) fn cut(&self) -> Result<u32, WriteError> {
        let mut state = self.state.lock();
        let next = state.next;
        let Some(writer) = &mut state.writer else { return Ok(next) };
        if !writer.is_empty() {
            // Durable before anything follows: then damage in a segment that is not the last is never a torn end, which
            // replay would have to take for lost markers.
            writer.flush()?;
            writer.sync()?;
            writer.next_segment()?;
        }
        Ok(writer.index())
    }

    /// Removes the segments before one. Each removal is durable before the next, so that a crash leaves no gap.
    pub(crate) fn truncate(&self, before: u32) -> io::Result<()> {
        if !self.disk.exists(&self.dir)? {
            return Ok(());
        }
        for index in segments(&*self.disk, &self.dir)?.into_iter().take_while(|index| *index < before) {
            self.disk.remove_file(&segment_path(&self.dir, index))?;
            self.disk.sync_dir(&self.dir)?;
        }
        Ok(())
    }

    /// Where it is.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }
}
