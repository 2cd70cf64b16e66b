//! The files of the directory: finding them, reading from them, removing them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use parking_lot::Mutex;

use super::record::{MAX_HEAD, RecordHead};
use super::scan::{Scan, Verdict, scan};
use super::{ChunkPlace, FoundChunk, HEADER};
use crate::disk::{Disk, DiskFile, Source};
use crate::storage::{Encoding, QueryError};
use crate::tsdb::quarantine::set_aside;
use crate::tsdb::wal::{Damage, WriteError};

/// Most records are shorter, so that one read brings the whole.
const GUESS: usize = 512;
/// A file that is written to is mapped anew each time it has grown by this; what is not mapped yet is read by position.
/// Mapping costs as much as ten such reads, and one of those as much as ten of mapped memory.
const MAP_STEP: u64 = 1 << 20;

/// Files by their numbers.
pub(super) type Files = BTreeMap<u32, Arc<ChunkFile>>;

/// One file. Whoever holds it can read it, also after its name is gone.
#[derive(Debug)]
pub(super) struct ChunkFile {
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn DiskFile>,
    /// Bytes that hold whole records. Grows while the file is written to.
    len: AtomicU64,
    /// A part of the file from its beginning, once somebody has read. Bytes before `len` never change.
    source: ArcSwapOption<Source>,
    is_growing: AtomicBool,
}

impl ChunkFile {
    fn new(path: PathBuf, file: Arc<dyn DiskFile>, len: u64, is_growing: bool) -> ChunkFile {
        let (len, source) = (AtomicU64::new(len), ArcSwapOption::empty());
        ChunkFile { path, file, len, source, is_growing: AtomicBool::new(is_growing) }
    }

    /// The file is written to no more.
    pub(super) fn close(&self) {
        self.is_growing.store(false, Ordering::Release);
    }

    pub(super) fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    /// Lets readers have the bytes before `len`.
    pub(super) fn publish(&self, len: u64) {
        self.len.store(len, Ordering::Release);
    }

    pub(super) fn read(&self, place: ChunkPlace) -> Result<(Encoding, Bytes), QueryError> {
        let (offset, end) = (place.offset(), self.len());
        if offset < HEADER as u64 || offset >= end {
            return Err(self.corrupt(offset, "a record"));
        }
        let available = end - offset;
        let disk = |source| QueryError::Disk { path: self.path.display().to_string(), source };
        let source = self.source(end).map_err(disk)?;
        let read = |len: usize| match &source {
            Some(source) if offset + len as u64 <= source.len() => source.read(offset, len as u64),
            _ => self.read_at(offset, len),
        };
        let mut bytes = read(available.min(GUESS as u64) as usize).map_err(disk)?;
        let head = RecordHead::parse(&bytes[..bytes.len().min(MAX_HEAD)]).map_err(|e| self.corrupt(offset, e))?;
        let len = head.record_len().filter(|len| *len as u64 <= available);
        let len = len.ok_or_else(|| self.corrupt(offset, "a record that ends in the file"))?;
        if len > bytes.len() {
            bytes = read(len).map_err(disk)?;
        }
        if bytes.len() < len {
            return Err(self.corrupt(offset + bytes.len() as u64, "the rest of a record"));
        }
        let (encoding, data) = chunk_of(&bytes[..len]).map_err(|expected| self.corrupt(offset, expected))?;
        // A buffer is longer than the record in it; the memory of the file costs nothing.
        let is_mapped = source.is_some_and(|source| source.is_mapped() && offset + len as u64 <= source.len());
        Ok((encoding, if is_mapped { bytes.slice_ref(data) } else { Bytes::copy_from_slice(data) }))
    }

    /// The file up to `end`, or up to where it was some time ago.
    fn source(&self, end: u64) -> io::Result<Option<Arc<Source>>> {
        let source = self.source.load_full();
        let missing = end - source.as_ref().map_or(0, |source| source.len()).min(end);
        if missing == 0 || (missing < MAP_STEP && self.is_growing.load(Ordering::Acquire)) {
            return Ok(source);
        }
        let source = Arc::new(Source::new(self.file.clone(), end)?);
        self.source.store(Some(source.clone()));
        Ok(Some(source))
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let mut bytes = vec![0; len];
        let got = self.file.read_at(&mut bytes, offset)?;
        bytes.truncate(got);
        Ok(bytes.into())
    }

    fn corrupt(&self, offset: u64, expected: &str) -> QueryError {
        corrupt(&self.path, offset, format!("expected {expected}"))
    }
}

fn corrupt(path: &Path, offset: u64, reason: String) -> QueryError {
    QueryError::Corrupt { path: path.display().to_string(), offset, reason }
}

/// What a whole record holds.
pub(super) fn chunk_of(record: &[u8]) -> Result<(Encoding, &[u8]), &'static str> {
    let head = RecordHead::parse(&record[..record.len().min(MAX_HEAD)])?;
    let data = head.data(record)?;
    let encoding = Encoding::from_byte(head.encoding).ok_or("a known chunk encoding")?;
    Ok((encoding, data))
}

/// The directory.
#[derive(Debug)]
pub(super) struct ChunkFiles {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    files: ArcSwap<Files>,
    /// Held while `files` is changed.
    changing: Mutex<()>,
}

impl ChunkFiles {
    pub(super) fn new(disk: Arc<dyn Disk>, dir: &Path, files: Files) -> ChunkFiles {
        ChunkFiles { disk, dir: dir.to_owned(), files: ArcSwap::from_pointee(files), changing: Mutex::default() }
    }

    pub(super) fn snapshot(&self) -> Arc<Files> {
        self.files.load_full()
    }

    pub(super) fn path(&self, number: u32) -> PathBuf {
        file_path(&self.dir, number)
    }

    /// Begins a file; its name is durable when this returns.
    pub(super) fn create(&self, number: u32) -> Result<Arc<ChunkFile>, WriteError> {
        let path = self.path(number);
        let error = |source| WriteError { path: path.clone(), source };
        let file = self.disk.create(&path).map_err(error)?;
        if let Err(source) = self.disk.sync_dir(&self.dir) {
            // So that the number can be used when it is tried again.
            let _ = self.disk.remove_file(&path);
            return Err(error(source));
        }
        let file = Arc::new(ChunkFile::new(path.clone(), file, 0, true));
        self.change(|files| files.insert(number, file.clone()));
        Ok(file)
    }

    /// Removes the files before `number`. Each removal is durable before the next, so that no crash leaves a gap.
    pub(super) fn remove_before(&self, number: u32) -> Result<(), WriteError> {
        for (number, file) in self.snapshot().range(..number) {
            let removed = self.disk.remove_file(&file.path).and_then(|()| self.disk.sync_dir(&self.dir));
            removed.map_err(|source| WriteError { path: file.path.clone(), source })?;
            self.change(|files| files.remove(number));
        }
        Ok(())
    }

    pub(super) fn no_such_file(&self, place: ChunkPlace) -> QueryError {
        corrupt(&self.path(place.file()), place.offset(), "there is no such file of head chunks".into())
    }

    fn change<R>(&self, change: impl FnOnce(&mut Files) -> R) {
        let _changing = self.changing.lock();
        let mut files = Files::clone(&self.files.load());
        change(&mut files);
        self.files.store(Arc::new(files));
    }
}

fn file_path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{number:06}"))
}

/// What a directory holds.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) files: Files,
    pub(super) chunks: Vec<FoundChunk>,
    pub(super) damage: Vec<Damage>,
    /// The number for the next file.
    pub(super) next: u32,
}

/// Verifies all files and repairs what is damaged.
pub(super) fn find(disk: &dyn Disk, dir: &Path) -> io::Result<Found> {
    let mut found = Found { files: Files::new(), chunks: Vec::new(), damage: Vec::new(), next: 1 };
    let numbers = numbers(disk, dir)?;
    for (i, &number) in numbers.iter().enumerate() {
        let path = file_path(dir, number);
        let is_last = i + 1 == numbers.len();
        let trouble = if found.files.is_empty() || number == found.next {
            let file = disk.open(&path)?;
            let scan = scan(&*file, number);
            found.take(number, &path, file, scan, is_last)
        } else {
            Some((0, format!("the file {:06} before it is missing", found.next)))
        };
        let Some((offset, reason)) = trouble else { continue };
        tracing::warn!(path = %path.display(), offset, reason, "head chunks from here on are read from the log instead");
        found.damage.push(Damage { path, offset, reason });
        if found.set_aside(disk, dir, &numbers[i..]).is_err() {
            // A number that is taken cannot be used again.
            found.next = numbers.last().map_or(found.next, |last| last.saturating_add(1));
        }
        break;
    }
    Ok(found)
}

/// The numbers of the files, ascending. Names of another shape are none of ours.
fn numbers(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<u32>> {
    let names = disk.list(dir)?;
    let number = |name: &String| name.parse().ok().filter(|n: &u32| format!("{n:06}") == *name);
    let mut numbers: Vec<u32> = names.iter().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

impl Found {
    /// Takes a file over; says where and why that is not possible, if the file has to be set aside.
    fn take(
        &mut self,
        number: u32,
        path: &Path,
        file: Arc<dyn DiskFile>,
        scan: Scan,
        is_last: bool,
    ) -> Option<(u64, String)> {
        match scan.verdict {
            Verdict::Sound => {}
            Verdict::Damaged(reason) if is_last && scan.good_end > 0 => {
                self.cut_off(path, &*file, scan.good_end, reason);
            }
            Verdict::Damaged(reason) | Verdict::Foreign(reason) => return Some((scan.good_end, reason)),
        }
        self.chunks.extend(scan.chunks);
        self.files.insert(number, Arc::new(ChunkFile::new(path.to_owned(), file, scan.good_end, false)));
        self.next = number.saturating_add(1);
        None
    }

    fn cut_off(&mut self, path: &Path, file: &dyn DiskFile, end: u64, reason: String) {
        tracing::warn!(path = %path.display(), end, reason, "cutting off the torn end of the head chunks");
        self.damage.push(Damage { path: path.to_owned(), offset: end, reason });
        if let Err(error) = file.truncate(end).and_then(|()| file.sync()) {
            // The next start will find the same again, and the log has what is behind.
            tracing::warn!(%error, path = %path.display(), "the torn end could not be cut off");
        }
    }

    /// Sets aside the files of these numbers, the last first, so that no crash leaves a gap. Those too short for anything
    /// but a header are removed.
    fn set_aside(&mut self, disk: &dyn Disk, dir: &Path, numbers: &[u32]) -> io::Result<()> {
        for number in numbers.iter().rev() {
            let path = file_path(dir, *number);
            let moved = match disk.open(&path).and_then(|file| file.len()) {
                Ok(len) if len < HEADER as u64 => disk.remove_file(&path).and_then(|()| disk.sync_dir(dir)),
                _ => set_aside(disk, dir.parent().unwrap_or(dir), &path).map(drop),
            };
            if let Err(error) = moved {
                tracing::warn!(%error, path = %path.display(), "a file of head chunks could not be set aside");
                return Err(error);
            }
        }
        Ok(())
    }
}
