//! Appending records.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Compression, FIRST, FULL, HEADER, LAST, MIDDLE, PAGE, SNAPPY, ZSTD, segment_path};
use crate::disk::{Disk, DiskFile};

/// Why records could not be written; the log's end is in an unknown state then, see [`Writer::recover`].
#[derive(Debug, thiserror::Error)]
#[error("writing {path}: {source}")]
pub(crate) struct WriteError {
    pub(crate) path: PathBuf,
    pub(crate) source: io::Error,
}

/// The open end of a log. What `flush` has returned for has been handed to the system.
///
/// After a failed write nothing more is written until [`Writer::recover`] has cut off what the write may have left behind.
pub(crate) struct Writer {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    file: Arc<dyn DiskFile>,
    index: u32,
    /// Bytes of the segment that are written; `out` comes behind them.
    written: u64,
    out: Vec<u8>,
    /// Bytes handed to the system in all segments.
    flushed: u64,
    segment_size: u64,
    compressor: Compressor,
    compressed: Vec<u8>,
    /// Closed segments that have not been synced yet.
    unsynced: Vec<Arc<dyn DiskFile>>,
    /// Where the last good commit ends, if a write behind it has failed.
    torn: Option<Boundary>,
}

/// The end of a commit.
struct Boundary {
    file: Arc<dyn DiskFile>,
    index: u32,
    position: u64,
    /// How many closed segments waited for their sync.
    unsynced: usize,
}

enum Compressor {
    None,
    Snappy(Box<snap::raw::Encoder>),
    Zstd(zstd::bulk::Compressor<'static>),
}

/// Records are small and read once at most, so more effort than the least is not paid back.
const ZSTD_LEVEL: i32 = 1;

/// Memory that the output buffer may keep between commits.
const KEPT_BUFFER: usize = 1 << 20;

impl Writer {
    /// Opens a new segment of that number.
    pub(crate) fn create(
        disk: Arc<dyn Disk>,
        dir: &Path,
        index: u32,
        segment_size: u64,
        compression: Compression,
    ) -> Result<Writer, WriteError> {
        let compressor =
            Compressor::new(compression).map_err(|source| WriteError { path: segment_path(dir, index), source })?;
        let file = create_segment(&*disk, dir, index)?;
        Ok(Writer {
            disk,
            dir: dir.to_owned(),
            file,
            index,
            written: 0,
            out: Vec::new(),
            flushed: 0,
            // A segment holds whole pages.
            segment_size: segment_size.max(2 * PAGE as u64).next_multiple_of(PAGE as u64),
            compressor,
            compressed: Vec::new(),
            unsynced: Vec::new(),
            torn: None,
        })
    }

    /// The number of the segment that is written to; after a failed write of the one that the last good commit is in.
    pub(crate) fn index(&self) -> u32 {
        self.torn.as_ref().map_or(self.index, |torn| torn.index)
    }

    /// The file of that segment.
    pub(crate) fn path(&self) -> PathBuf {
        segment_path(&self.dir, self.index())
    }

    /// Whether the segment has no records yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.position() == 0
    }

    /// Adds the records of one commit and writes everything added, unless that is no more than `keep` bytes; returns how
    /// many were written. After an error nothing of the commit is in the log once [`Writer::recover`] has succeeded, and
    /// all of those before it is.
    pub(crate) fn write<'a>(
        &mut self,
        records: impl Iterator<Item = &'a [u8]>,
        keep: usize,
    ) -> Result<u64, WriteError> {
        let before = self.flushed;
        self.guarded(|writer| {
            for record in records {
                writer.push(record)?;
            }
            if writer.out.len() > keep { writer.hand_over() } else { Ok(()) }
        })?;
        Ok(self.flushed - before)
    }

    /// Adds a record; it reaches the file with the next [`Writer::flush`] (or before). For logs that are given up after an
    /// error.
    pub(crate) fn push(&mut self, record: &[u8]) -> Result<(), WriteError> {
        let mut compressed = std::mem::take(&mut self.compressed);
        let (data, flag) = self.compressor.compress(record, &mut compressed);
        if data.len() as u64 > self.room() && !self.is_empty() {
            self.begin_next()?;
        }
        self.frame(data, flag);
        compressed.truncate(KEPT_BUFFER);
        compressed.shrink_to(KEPT_BUFFER);
        self.compressed = compressed;
        Ok(())
    }

    /// Writes everything added, in one write; returns how many bytes that was.
    pub(crate) fn flush(&mut self) -> Result<u64, WriteError> {
        let before = self.flushed;
        self.guarded(Writer::hand_over)?;
        Ok(self.flushed - before)
    }

    /// Ends the segment at a page's end and opens the next one.
    pub(crate) fn next_segment(&mut self) -> Result<(), WriteError> {
        self.guarded(Writer::begin_next)
    }

    /// After a failed write, cuts off what it may have left behind, writes what earlier commits had left to be written, and
    /// goes on in a new segment. An error leaves everything for the next try. Not for failed syncs: who has been told of
    /// one does not know what of the file is there.
    pub(crate) fn recover(&mut self) -> Result<(), WriteError> {
        let Some(torn) = &self.torn else { return Ok(()) };
        // Segments begun since hold nothing but parts of the commit that failed.
        for index in torn.index + 1..=self.index {
            let path = segment_path(&self.dir, index);
            match self.disk.remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(WriteError { path, source }),
                _ => {}
            }
        }
        if self.index > torn.index {
            self.disk.sync_dir(&self.dir).map_err(|source| WriteError { path: self.dir.clone(), source })?;
            (self.file, self.index) = (torn.file.clone(), torn.index);
            self.unsynced.truncate(torn.unsynced);
            self.written = torn.position;
        }
        // The commit may also have been written out whole, before the next segment could not be begun.
        self.written = self.written.min(torn.position);
        self.out.truncate((torn.position - self.written) as usize);
        self.file.truncate(self.written).map_err(|source| self.error(source))?;
        self.torn = None;
        if self.is_empty() { Ok(()) } else { self.next_segment() }
    }

    /// Does what may fail half way.
    fn guarded(&mut self, work: impl FnOnce(&mut Writer) -> Result<(), WriteError>) -> Result<(), WriteError> {
        if self.torn.is_some() {
            return Err(self.error(io::Error::other("an earlier write has failed")));
        }
        let (file, index, position) = (self.file.clone(), self.index, self.position());
        let boundary = Boundary { file, index, position, unsynced: self.unsynced.len() };
        work(self).inspect_err(|_| self.torn = Some(boundary))
    }

    fn hand_over(&mut self) -> Result<(), WriteError> {
        if !self.out.is_empty() {
            self.file.append(&self.out).map_err(|source| self.error(source))?;
            self.written += self.out.len() as u64;
            self.flushed += self.out.len() as u64;
            self.out.clear();
            self.out.shrink_to(KEPT_BUFFER);
        }
        Ok(())
    }

    fn begin_next(&mut self) -> Result<(), WriteError> {
        self.pad_page();
        self.hand_over()?;
        let next = self.index + 1;
        let file = create_segment(&*self.disk, &self.dir, next)?;
        self.unsynced.push(std::mem::replace(&mut self.file, file));
        (self.index, self.written) = (next, 0);
        Ok(())
    }

    /// As [`Writer::next_segment`], with the whole segment durable before the next one is there.
    pub(crate) fn next_segment_durably(&mut self) -> Result<(), WriteError> {
        self.pad_page();
        self.flush()?;
        self.sync()?;
        self.next_segment()
    }

    /// The files that must be synced so that everything flushed is durable. Sync them without holding the log.
    pub(crate) fn files_to_sync(&mut self) -> Vec<Arc<dyn DiskFile>> {
        let mut files = std::mem::take(&mut self.unsynced);
        files.push(self.file.clone());
        files
    }

    /// Syncs everything flushed, in place.
    pub(crate) fn sync(&mut self) -> Result<(), WriteError> {
        for file in self.files_to_sync() {
            file.sync().map_err(|source| self.error(source))?;
        }
        Ok(())
    }

    fn position(&self) -> u64 {
        self.written + self.out.len() as u64
    }

    /// Bytes of data that still fit into the segment, headers taken off.
    fn room(&self) -> u64 {
        let (page, header) = (PAGE as u64, HEADER as u64);
        let in_page = (page - self.position() % page).saturating_sub(header);
        let pages = (self.segment_size / page).saturating_sub(self.position() / page + 1);
        in_page + pages * (page - header)
    }

    fn frame(&mut self, data: &[u8], flag: u8) {
        let (mut rest, mut first) = (data, true);
        loop {
            let mut left = PAGE - (self.position() % PAGE as u64) as usize;
            if left < HEADER {
                self.pad_page();
                left = PAGE;
            }
            let (part, tail) = rest.split_at(rest.len().min(left - HEADER));
            let kind = match (first, tail.is_empty()) {
                (true, true) => FULL,
                (true, false) => FIRST,
                (false, false) => MIDDLE,
                (false, true) => LAST,
            };
            // A part is shorter than a page, so its length fits two bytes.
            let len = u16::try_from(part.len()).unwrap_or(u16::MAX);
            self.out.push(kind | flag);
            self.out.extend_from_slice(&len.to_be_bytes());
            self.out.extend_from_slice(&crc32c::crc32c(part).to_be_bytes());
            self.out.extend_from_slice(part);
            (rest, first) = (tail, false);
            if rest.is_empty() {
                return;
            }
        }
    }

    fn pad_page(&mut self) {
        let used = (self.position() % PAGE as u64) as usize;
        if used > 0 {
            self.out.resize(self.out.len() + PAGE - used, 0);
        }
    }

    fn error(&self, source: io::Error) -> WriteError {
        WriteError { path: segment_path(&self.dir, self.index), source }
    }
}

impl Compressor {
    fn new(compression: Compression) -> io::Result<Compressor> {
        Ok(match compression {
            Compression::None => Compressor::None,
            Compression::Snappy => Compressor::Snappy(Box::new(snap::raw::Encoder::new())),
            Compression::Zstd => Compressor::Zstd(zstd::bulk::Compressor::new(ZSTD_LEVEL)?),
        })
    }

    /// The bytes to write, which are the record's own where packing makes it no smaller, and the flag that tells.
    fn compress<'a>(&mut self, record: &'a [u8], packed: &'a mut Vec<u8>) -> (&'a [u8], u8) {
        let (done, flag) = match self {
            Compressor::None => return (record, 0),
            Compressor::Snappy(encoder) => {
                packed.resize(snap::raw::max_compress_len(record.len()), 0);
                (encoder.compress(record, packed).ok(), SNAPPY)
            }
            Compressor::Zstd(encoder) => {
                packed.resize(zstd::zstd_safe::compress_bound(record.len()), 0);
                (encoder.compress_to_buffer(record, &mut packed[..]).ok(), ZSTD)
            }
        };
        match done {
            Some(n) if n < record.len() => (&packed[..n], flag),
            _ => (record, 0),
        }
    }
}

fn create_segment(disk: &dyn Disk, dir: &Path, index: u32) -> Result<Arc<dyn DiskFile>, WriteError> {
    let path = segment_path(dir, index);
    let error = |source| WriteError { path: path.clone(), source };
    let file = disk.create(&path).map_err(error)?;
    disk.sync_dir(dir).map_err(|source| {
        // So that the number can be used when it is tried again.
        let _ = disk.remove_file(&path);
        error(source)
    })?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemDisk;
    use crate::tsdb::wal::{read_segment, segments};

    /// Writes records and reads all segments back.
    fn round_trip(records: &[Vec<u8>], segment_size: u64, compression: Compression, per_flush: usize) -> Vec<Vec<u8>> {
        let disk = MemDisk::new();
        let dir = Path::new("/wal");
        disk.create_dir_all(dir).unwrap();
        let mut writer = Writer::create(Arc::new(disk.clone()), dir, 0, segment_size, compression).unwrap();
        for some in records.chunks(per_flush) {
            some.iter().for_each(|r| writer.push(r).unwrap());
            writer.flush().unwrap();
        }
        let mut seen = Vec::new();
        for index in segments(&disk, dir).unwrap() {
            let path = segment_path(dir, index);
            let file = disk.open(&path).unwrap();
            if index < writer.index() {
                assert_eq!(file.len().unwrap() % PAGE as u64, 0, "closed segments end at a page's end");
            }
            let read = read_segment(&*file, &path, &mut |record| {
                seen.push(record.to_vec());
                Ok(())
            });
            assert!(read.damage.is_empty(), "{:?}", read.damage);
        }
        seen
    }

    #[test]
    fn records_of_every_length_around_a_page_come_back() {
        let filler = |n: usize| (0..n).map(|i| (i * 7 + n) as u8).collect::<Vec<_>>();
        for len in (PAGE - 40..PAGE + 40).chain([0, 1, 3 * PAGE, 5 * PAGE - 3]) {
            let records = [filler(len), filler(5), filler(PAGE - HEADER), filler(1)];
            for compression in [Compression::None, Compression::Snappy, Compression::Zstd] {
                assert_eq!(round_trip(&records, 64 * PAGE as u64, compression, 2), records, "{len}");
            }
        }
    }

    #[test]
    fn a_full_segment_is_followed_by_the_next_and_a_giant_record_has_its_own() {
        let records: Vec<_> = (0..50usize).map(|i| vec![i as u8; if i == 20 { 9 * PAGE } else { 9000 }]).collect();
        assert_eq!(round_trip(&records, 2 * PAGE as u64, Compression::None, 3), records);
    }
}
