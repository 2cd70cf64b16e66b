//! Chunk segment files, drawn in `CHUNKS.md`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::BlockError;
use super::bytes::{CRC, Cursor, Sink, Source, put_uvarint};
use crate::disk::Disk;
use crate::model::TimestampMs;
use crate::storage::{Chunk, Encoding};

/// The directory's name in a block.
pub const CHUNKS_DIR: &str = "chunks";
/// A segment is closed before it would become longer.
pub const SEGMENT_SIZE: u64 = 512 << 20;

const MAGIC: u32 = 0x85BD_40DD;
const VERSION: u8 = 1;
/// Magic, version and three zeros.
const HEADER: u64 = 8;
/// The longest length field.
const MAX_LEN_FIELD: u64 = 5;
/// Most chunks are shorter, so that one read brings the whole.
const GUESS: u64 = 1024;

/// Where a chunk stands: the segment, counted from 0, above 32 bits of offset in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ChunkRef(pub u64);

impl ChunkRef {
    fn new(segment: usize, offset: u64) -> ChunkRef {
        ChunkRef((segment as u64) << 32 | offset)
    }

    /// The number of the segment, counted from 0; its file is named by the number after it.
    pub fn segment(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The byte in the segment at which the chunk begins.
    pub fn offset(self) -> u32 {
        self.0 as u32
    }
}

/// A chunk as the index knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChunkMeta {
    /// Time of the first sample.
    pub min: TimestampMs,
    /// Time of the last sample.
    pub max: TimestampMs,
    /// Where its bytes are.
    pub chunk: ChunkRef,
}

fn segment_path(dir: &Path, segment: usize) -> PathBuf {
    dir.join(format!("{:06}", segment + 1))
}

/// Writes segment files into a directory.
#[derive(Debug)]
pub(super) struct ChunkWriter {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    segment_size: u64,
    /// Segments begun.
    segments: usize,
    open: Option<Sink>,
    record: Vec<u8>,
}

impl ChunkWriter {
    pub(super) fn new(disk: Arc<dyn Disk>, dir: &Path, segment_size: u64) -> ChunkWriter {
        // An offset has 32 bits.
        let segment_size = segment_size.min(u64::from(u32::MAX));
        ChunkWriter { disk, dir: dir.to_owned(), segment_size, segments: 0, open: None, record: Vec::new() }
    }

    pub(super) fn push(&mut self, encoding: Encoding, data: &[u8]) -> Result<ChunkRef, BlockError> {
        let room = MAX_LEN_FIELD + 1 + (data.len() + CRC) as u64;
        if room > self.segment_size.saturating_sub(HEADER) {
            return Err(BlockError::Refused(format!("a chunk of {} bytes has no room in a segment", data.len())));
        }
        if self.open.as_ref().is_some_and(|s| s.position() + room > self.segment_size) {
            self.close_segment()?;
        }
        let sink = match &mut self.open {
            Some(sink) => sink,
            open => {
                let mut sink = Sink::create(&*self.disk, &segment_path(&self.dir, self.segments))?;
                self.segments += 1;
                sink.put(&header())?;
                open.insert(sink)
            }
        };
        let chunk = ChunkRef::new(self.segments - 1, sink.position());
        self.record.clear();
        put_uvarint(&mut self.record, data.len() as u64);
        let checked = self.record.len();
        self.record.push(encoding as u8);
        self.record.extend_from_slice(data);
        let sum = crc32c::crc32c(&self.record[checked..]);
        self.record.extend_from_slice(&sum.to_be_bytes());
        sink.put(&self.record)?;
        Ok(chunk)
    }

    fn close_segment(&mut self) -> Result<(), BlockError> {
        self.open.take().map_or(Ok(()), |sink| sink.finish().map(drop))
    }

    /// Makes the segments durable, their names as well.
    pub(super) fn finish(mut self) -> Result<(), BlockError> {
        self.close_segment()?;
        self.disk.sync_dir(&self.dir).map_err(|e| BlockError::disk(&self.dir, e))
    }
}

fn header() -> [u8; HEADER as usize] {
    let mut header = [0; HEADER as usize];
    header[..4].copy_from_slice(&MAGIC.to_be_bytes());
    header[4] = VERSION;
    header
}

/// Reads chunks by their references. Where files are mapped a chunk's bytes are those of the file.
#[derive(Debug)]
pub struct ChunkReader {
    segments: Vec<Source>,
}

impl ChunkReader {
    /// Opens all segments of a `chunks` directory and looks at their headers.
    pub fn open(disk: &dyn Disk, dir: &Path) -> Result<ChunkReader, BlockError> {
        let names = disk.list(dir).map_err(|e| BlockError::disk(dir, e))?;
        let numbered = names.iter().filter(|name| name.len() >= 6 && name.bytes().all(|b| b.is_ascii_digit()));
        let mut segments = Vec::new();
        for (segment, name) in numbered.enumerate() {
            let path = segment_path(dir, segment);
            if !path.ends_with(name) {
                return Err(BlockError::damaged(&path, 0, format!("this segment before {name}")));
            }
            segments.push(open_segment(disk, &path)?);
        }
        Ok(ChunkReader { segments })
    }

    /// Bytes of all segments.
    pub fn size(&self) -> u64 {
        self.segments.iter().map(Source::len).sum()
    }

    /// The chunk that the index speaks of. The checksum is verified, the samples are not decoded.
    pub fn read(&self, meta: &ChunkMeta) -> Result<Chunk, BlockError> {
        let segment = self.segments.get(meta.chunk.segment() as usize).ok_or(BlockError::NoSuchChunk(meta.chunk))?;
        let offset = u64::from(meta.chunk.offset());
        if offset < HEADER {
            return Err(segment.damaged(offset, "a chunk behind the header"));
        }
        let (bytes, start) = segment.entry(offset, 1, GUESS, segment.len(), "a chunk")?;
        let byte = bytes.first().copied().unwrap_or_default();
        let encoding = Encoding::from_byte(byte).ok_or_else(|| BlockError::Unsupported {
            path: segment.path().to_owned(),
            offset: start,
            what: format!("chunk encoding {byte}"),
        })?;
        Ok(Chunk { min: meta.min, max: meta.max, encoding, data: bytes.slice(1..) })
    }
}

fn open_segment(disk: &dyn Disk, path: &Path) -> Result<Source, BlockError> {
    let source = Source::open(disk, path)?;
    let head = source.read(0, HEADER, "a segment's header")?;
    let mut cursor = Cursor::new(&head, path, 0);
    if cursor.u32("magic")? != MAGIC {
        return Err(source.damaged(0, "the magic number 85bd40dd of a chunk segment"));
    }
    if cursor.u8("version")? != VERSION {
        return Err(source.damaged(4, "version 1 of the chunk segments"));
    }
    Ok(source)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemDisk;

    fn meta(chunk: ChunkRef) -> ChunkMeta {
        ChunkMeta { min: TimestampMs(1), max: TimestampMs(2), chunk }
    }

    fn written(sizes: &[usize], segment_size: u64) -> (MemDisk, Vec<ChunkRef>) {
        let disk = MemDisk::new();
        disk.create_dir_all(Path::new("/c")).unwrap();
        let mut writer = ChunkWriter::new(Arc::new(disk.clone()), Path::new("/c"), segment_size);
        let push = |(i, size): (usize, &usize)| writer.push(Encoding::Xor, &vec![i as u8; *size]).unwrap();
        let refs = sizes.iter().enumerate().map(push).collect();
        writer.finish().unwrap();
        (disk, refs)
    }

    #[test]
    fn chunks_of_all_sizes_come_back_from_segments_that_keep_their_size() {
        let sizes = [1, 2, 100, 127, 128, 1000, 1013, 1014, 1015, 1016, 1017, 1020, 3000, 3, 20];
        let (disk, refs) = written(&sizes, 4000);
        let reader = ChunkReader::open(&disk, Path::new("/c")).unwrap();
        assert!(refs.is_sorted() && refs.last().unwrap().segment() >= 2);
        for (i, (size, chunk)) in sizes.iter().zip(&refs).enumerate() {
            let read = reader.read(&meta(*chunk)).unwrap();
            assert_eq!((read.encoding, &read.data[..]), (Encoding::Xor, &vec![i as u8; *size][..]));
        }
        for name in disk.list(Path::new("/c")).unwrap() {
            assert!(disk.read(&Path::new("/c").join(name)).unwrap().len() <= 4000);
        }
    }

    #[test]
    fn a_chunk_longer_than_a_segment_is_refused() {
        let disk = MemDisk::new();
        disk.create_dir_all(Path::new("/c")).unwrap();
        let mut writer = ChunkWriter::new(Arc::new(disk), Path::new("/c"), 100);
        assert!(matches!(writer.push(Encoding::Xor, &[0; 100]), Err(BlockError::Refused(_))));
    }

    #[test]
    fn references_to_nowhere_and_gaps_between_segments_are_told() {
        let (disk, refs) = written(&[50, 50, 50], 130);
        let reader = ChunkReader::open(&disk, Path::new("/c")).unwrap();
        for wrong in [0, 7, 9, 60, 1 << 31, 9 << 32, u64::MAX] {
            assert!(reader.read(&meta(ChunkRef(wrong))).is_err(), "{wrong}");
        }
        assert_eq!(refs[2].segment(), 1);
        disk.remove_file(Path::new("/c/000001")).unwrap();
        let error = ChunkReader::open(&disk, Path::new("/c")).unwrap_err().to_string();
        assert_eq!(error, "/c/000001: damaged at byte 0: expected this segment before 000002");
    }

    #[test]
    fn an_encoding_from_the_future_is_told_as_such() {
        let (disk, refs) = written(&[2], 1000);
        let path = Path::new("/c/000001");
        let mut bytes = disk.read(path).unwrap();
        bytes[9] = 99;
        let sum = crc32c::crc32c(&bytes[9..12]);
        bytes[12..].copy_from_slice(&sum.to_be_bytes());
        disk.write(path, &bytes);
        let reader = ChunkReader::open(&disk, Path::new("/c")).unwrap();
        let error = reader.read(&meta(refs[0])).unwrap_err().to_string();
        assert_eq!(error, "/c/000001: byte 9: chunk encoding 99 is not supported");
    }
}
