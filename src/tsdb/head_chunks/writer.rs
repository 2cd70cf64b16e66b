//! Appending: a buffer in front of the newest file.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::files::{ChunkFile, ChunkFiles, chunk_of};
use super::record::{CRC, MAX_HEAD, RecordHead, push};
use super::{ChunkPlace, FoundChunk, HEADER, MAGIC, VERSION};
use crate::storage::{Encoding, QueryError};
use crate::tsdb::wal::WriteError;

/// The buffer goes to the system once it is so long, at the latest.
const BUFFER: usize = 1 << 20;

/// Lock order: `syncing`, then `state`.
#[derive(Debug)]
pub(super) struct Writer {
    files: Arc<ChunkFiles>,
    file_size: u64,
    /// Held during a sync, so that the second to come returns only after what the first has taken is synced.
    syncing: Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    open: Option<OpenFile>,
    /// The number of the next file.
    next: u32,
    /// What a process wrote that was killed may not have been synced.
    unsynced: Option<Arc<ChunkFile>>,
    cut_next: bool,
    /// Why nothing more is written until the directory is opened again.
    refusing: Option<(PathBuf, String)>,
}

/// The file that is written to.
#[derive(Debug)]
struct OpenFile {
    number: u32,
    file: Arc<ChunkFile>,
    /// Bytes that were handed to the system; `buffer` comes behind them.
    written: u64,
    buffer: Vec<u8>,
    /// A write has failed, so that unknown bytes may stand behind `written`.
    torn: bool,
}

impl Writer {
    pub(super) fn new(files: Arc<ChunkFiles>, next: u32, file_size: u64) -> Writer {
        let unsynced = files.snapshot().values().next_back().cloned();
        // An offset has 32 bits.
        let file_size = file_size.min(u64::from(u32::MAX));
        let state = State { open: None, next, unsynced, cut_next: false, refusing: None };
        Writer { files, file_size, syncing: Mutex::default(), state: Mutex::new(state) }
    }

    pub(super) fn append(&self, chunk: &FoundChunk, data: &[u8]) -> Result<ChunkPlace, WriteError> {
        let room = (MAX_HEAD + CRC + data.len()) as u64;
        let mut state = self.state.lock();
        state.check()?;
        let is_full = |open: &OpenFile| open.position() + room > self.file_size;
        if state.cut_next || state.open.as_ref().is_none_or(is_full) {
            self.cut(&mut state)?;
        }
        // `cut` has left an open file.
        let Some(open) = &mut state.open else {
            let source = io::Error::other("no file of head chunks is open");
            return Err(WriteError { path: self.files.path(0), source });
        };
        if open.torn || open.buffer.len() >= BUFFER {
            open.flush()?;
        }
        let place = ChunkPlace::new(open.number, open.position());
        push(&mut open.buffer, chunk, data);
        Ok(place)
    }

    pub(super) fn flush(&self) -> Result<(), WriteError> {
        self.state.lock().open.as_mut().map_or(Ok(()), OpenFile::flush)
    }

    pub(super) fn sync(&self) -> Result<(), WriteError> {
        let _syncing = self.syncing.lock();
        let (before, open) = {
            let mut state = self.state.lock();
            state.check()?;
            if let Some(open) = &mut state.open {
                open.flush()?;
            }
            (state.unsynced.clone(), state.open.as_ref().map(|open| open.file.clone()))
        };
        for file in before.iter().chain(&open) {
            let synced = file.file.sync();
            synced.map_err(|source| self.state.lock().refuse(file, source))?;
        }
        self.state.lock().unsynced.take_if(|file| before.as_ref().is_some_and(|b| Arc::ptr_eq(b, file)));
        Ok(())
    }

    pub(super) fn cut_file(&self) {
        let mut state = self.state.lock();
        state.cut_next = state.open.is_some();
    }

    /// The number of the file that is written to.
    pub(super) fn open_file(&self) -> Option<u32> {
        self.state.lock().open.as_ref().map(|open| open.number)
    }

    pub(super) fn buffered(&self) -> u64 {
        self.state.lock().open.as_ref().map_or(0, |open| open.buffer.len() as u64)
    }

    /// The chunk, if it has not been handed to the system yet.
    pub(super) fn read_buffered(&self, place: ChunkPlace) -> Option<Result<(Encoding, Bytes), QueryError>> {
        let state = self.state.lock();
        let open = state.open.as_ref().filter(|open| open.number == place.file())?;
        let skip = place.offset().checked_sub(open.written)?;
        let bytes = usize::try_from(skip).ok().and_then(|skip| open.buffer.get(skip..)).unwrap_or_default();
        let record = || {
            let head = RecordHead::parse(&bytes[..bytes.len().min(MAX_HEAD)])?;
            let len = head.record_len().filter(|len| *len <= bytes.len()).ok_or("a whole record")?;
            let (encoding, data) = chunk_of(&bytes[..len])?;
            Ok((encoding, Bytes::copy_from_slice(data)))
        };
        Some(record().map_err(|expected: &str| QueryError::Corrupt {
            path: open.file.path.display().to_string(),
            offset: place.offset(),
            reason: format!("expected {expected}"),
        }))
    }

    /// Closes the open file and begins the next one. On an error the open file stays. All that comes before the new file
    /// is durable first: an earlier file that a crash has made shorter looks whole, and what it misses would be missed
    /// in silence.
    fn cut(&self, state: &mut State) -> Result<(), WriteError> {
        if let Some(open) = &mut state.open {
            open.flush()?;
        }
        if let Some(file) = state.open.as_ref().map(|open| open.file.clone()).or(state.unsynced.take()) {
            file.file.sync().map_err(|source| state.refuse(&file, source))?;
        }
        let mut next = OpenFile {
            number: state.next,
            file: self.files.create(state.next)?,
            written: 0,
            buffer: header().to_vec(),
            torn: false,
        };
        state.next += 1;
        // A file without a header is one that Prometheus does not start on.
        let begun = next.flush();
        if let Some(closed) = state.open.replace(next) {
            closed.file.close();
        }
        state.cut_next = false;
        begun
    }
}

impl State {
    fn check(&self) -> Result<(), WriteError> {
        match &self.refusing {
            Some((path, reason)) => Err(WriteError { path: path.clone(), source: io::Error::other(reason.clone()) }),
            None => Ok(()),
        }
    }

    /// After a failed sync the system may have dropped what it could not write, and would not say so again.
    fn refuse(&mut self, file: &ChunkFile, source: io::Error) -> WriteError {
        self.refusing = Some((file.path.clone(), format!("nothing is written since a sync has failed: {source}")));
        WriteError { path: file.path.clone(), source }
    }
}

impl OpenFile {
    fn position(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// On an error the buffer stays as it is, and so does what readers see.
    fn flush(&mut self) -> Result<(), WriteError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let file = &self.file.file;
        let cut_off = if self.torn { file.truncate(self.written) } else { Ok(()) };
        let done = cut_off.and_then(|()| file.append(&self.buffer));
        self.torn = done.is_err();
        done.map_err(|source| WriteError { path: self.file.path.clone(), source })?;
        self.written += self.buffer.len() as u64;
        self.file.publish(self.written);
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER);
        Ok(())
    }
}

fn header() -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..4].copy_from_slice(&MAGIC.to_be_bytes());
    header[4] = VERSION;
    header
}
