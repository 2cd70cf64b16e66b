//! Numbers and strings as block files hold them, and the files themselves.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::BlockError;
use crate::disk::{self, Disk, DiskFile};

/// Bytes of a checksum.
pub(super) const CRC: usize = 4;
/// Writes are collected up to this size.
const WRITE_BUFFER: usize = 1 << 20;

pub(super) fn put_uvarint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn put_varint(out: &mut Vec<u8>, value: i64) {
    put_uvarint(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

pub(super) fn put_str(out: &mut Vec<u8>, value: &str) {
    put_uvarint(out, value.len() as u64);
    out.extend_from_slice(value.as_bytes());
}

/// An open file that is only read.
#[derive(Debug)]
pub(super) struct Source {
    path: PathBuf,
    bytes: disk::Source,
}

impl Source {
    pub(super) fn open(disk: &dyn Disk, path: &Path) -> Result<Source, BlockError> {
        let bytes = disk::Source::open(disk, path).map_err(|e| BlockError::disk(path, e))?;
        Ok(Source { path: path.to_owned(), bytes })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn len(&self) -> u64 {
        self.bytes.len()
    }

    /// Exactly `len` bytes; `what` says what they would have been. Memory is taken only for bytes that the file has.
    pub(super) fn read(&self, offset: u64, len: u64, what: &str) -> Result<Bytes, BlockError> {
        if offset.checked_add(len).is_none_or(|end| end > self.len()) {
            return Err(self.damaged(offset, format!("{what} of {len} bytes before the file's end")));
        }
        let bytes = self.bytes.read(offset, len).map_err(|e| BlockError::disk(&self.path, e))?;
        if (bytes.len() as u64) < len {
            return Err(self.damaged(offset + bytes.len() as u64, format!("the rest of {what}")));
        }
        Ok(bytes)
    }

    /// As many bytes as there are before `end`, at most `len`.
    pub(super) fn read_up_to(&self, offset: u64, len: u64, end: u64, what: &str) -> Result<Bytes, BlockError> {
        self.read(offset, len.min(end.min(self.len()).saturating_sub(offset)), what)
    }

    /// A section: four bytes of length, the content that is returned, and its checksum, all before `end`.
    pub(super) fn section(&self, offset: u64, end: u64, what: &str) -> Result<Bytes, BlockError> {
        let head = self.read(offset, 4, what)?;
        let len = u64::from(Cursor::new(&head, &self.path, offset).u32(what)?);
        if offset.saturating_add(4 + len + CRC as u64) > end {
            return Err(self.damaged(offset, format!("{what} whose {len} bytes end before byte {end}")));
        }
        let bytes = self.read(offset + 4, len + CRC as u64, what)?;
        self.check(bytes, offset + 4, what)
    }

    /// An entry before `end`: its length, `extra` bytes that the length does not count, the content and its checksum.
    /// Returns what lies between length and checksum, and where it begins. `guess` is how long most are, so that where
    /// files are not mapped one read brings the whole.
    pub(super) fn entry(
        &self,
        offset: u64,
        extra: u64,
        guess: u64,
        end: u64,
        what: &str,
    ) -> Result<(Bytes, u64), BlockError> {
        let mut bytes = self.read_up_to(offset, guess, end, what)?;
        let mut cursor = Cursor::new(&bytes, &self.path, offset);
        let len = cursor.uvarint("the length of an entry")?;
        let start = cursor.offset();
        let whole = len.checked_add(extra + CRC as u64).filter(|n| *n <= end.saturating_sub(start));
        let whole =
            whole.ok_or_else(|| self.damaged(offset, format!("{what} whose {len} bytes end before byte {end}")))?;
        // The offset of the content in what is there, and in what is taken: an entry has room in memory once it is read.
        let skipped = (start - offset) as usize;
        bytes = match bytes.get(skipped..).is_some_and(|rest| rest.len() as u64 >= whole) {
            true => bytes.slice(skipped..skipped + whole as usize),
            false => self.read(start, whole, what)?,
        };
        Ok((self.check(bytes, start, what)?, start))
    }

    /// Compares and takes off the checksum at the end of `bytes`.
    pub(super) fn check(&self, mut bytes: Bytes, offset: u64, what: &str) -> Result<Bytes, BlockError> {
        let Some((content, sum)) = bytes.split_last_chunk::<CRC>() else {
            return Err(self.damaged(offset, format!("{what} with a checksum")));
        };
        if crc32c::crc32c(content) != u32::from_be_bytes(*sum) {
            return Err(self.damaged(offset, format!("{what} with the right checksum")));
        }
        bytes.truncate(bytes.len() - CRC);
        Ok(bytes)
    }

    pub(super) fn damaged(&self, offset: u64, expected: impl Into<String>) -> BlockError {
        BlockError::damaged(&self.path, offset, expected)
    }
}

/// Walks over bytes of a file and knows where in the file they stand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
    path: &'a Path,
    offset: u64,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8], path: &'a Path, offset: u64) -> Cursor<'a> {
        Cursor { rest: bytes, path, offset }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.rest.len()
    }

    /// Where in the file the next byte stands.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn expected(&self, what: impl Into<String>) -> BlockError {
        BlockError::damaged(self.path, self.offset, what)
    }

    pub(super) fn take(&mut self, len: usize, what: &str) -> Result<&'a [u8], BlockError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or_else(|| self.expected(what))?;
        self.rest = rest;
        self.offset += len as u64;
        Ok(taken)
    }

    pub(super) fn u8(&mut self, what: &str) -> Result<u8, BlockError> {
        Ok(self.take(1, what)?[0])
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, BlockError> {
        let bytes = self.take(4, what)?;
        Ok(bytes.iter().fold(0, |n, b| n << 8 | u32::from(*b)))
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64, BlockError> {
        let bytes = self.take(8, what)?;
        Ok(bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b)))
    }

    pub(super) fn uvarint(&mut self, what: &str) -> Result<u64, BlockError> {
        let mut value = 0;
        for (i, byte) in self.rest.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * i);
            if *byte < 0x80 {
                // The tenth byte has room for a single bit.
                if i == 9 && *byte > 1 {
                    break;
                }
                self.rest = &self.rest[i + 1..];
                self.offset += i as u64 + 1;
                return Ok(value);
            }
        }
        Err(self.expected(what))
    }

    pub(super) fn varint(&mut self, what: &str) -> Result<i64, BlockError> {
        let zigzag = self.uvarint(what)?;
        Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
    }

    /// A count of things of at least `size` bytes each, which must have room in what is left.
    pub(super) fn count(&mut self, size: usize, what: &str) -> Result<usize, BlockError> {
        let start = *self;
        let count = usize::try_from(self.uvarint(what)?).ok();
        count.filter(|n| *n <= self.rest.len() / size).ok_or_else(|| start.expected(what))
    }

    pub(super) fn str(&mut self, what: &str) -> Result<&'a str, BlockError> {
        let len = self.count(1, what)?;
        let start = *self;
        std::str::from_utf8(self.take(len, what)?).map_err(|_| start.expected(format!("{what} in UTF-8")))
    }
}

/// A new file that is written front to back.
#[derive(Debug)]
pub(super) struct Sink {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    buffer: Vec<u8>,
    written: u64,
}

impl Sink {
    pub(super) fn create(disk: &dyn Disk, path: &Path) -> Result<Sink, BlockError> {
        let file = disk.create(path).map_err(|e| BlockError::disk(path, e))?;
        Ok(Sink { path: path.to_owned(), file, buffer: Vec::new(), written: 0 })
    }

    /// Where the next byte goes.
    pub(super) fn position(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<(), BlockError> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= WRITE_BUFFER { self.flush() } else { Ok(()) }
    }

    /// Content between its length and its checksum.
    pub(super) fn put_section(&mut self, content: &[u8], what: &str) -> Result<(), BlockError> {
        let len = u32::try_from(content.len());
        let len = len.map_err(|_| BlockError::Refused(format!("{what} would be longer than 4 GiB")))?;
        self.put(&len.to_be_bytes())?;
        self.put(content)?;
        self.put(&crc32c::crc32c(content).to_be_bytes())
    }

    pub(super) fn pad(&mut self, align: u64) -> Result<(), BlockError> {
        let missing = self.position().next_multiple_of(align) - self.position();
        self.buffer.resize(self.buffer.len() + missing as usize, 0);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), BlockError> {
        self.file.append(&self.buffer).map_err(|e| BlockError::disk(&self.path, e))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Writes what is left and makes the file durable; gives its length.
    pub(super) fn finish(mut self) -> Result<u64, BlockError> {
        self.flush()?;
        self.file.sync().map_err(|e| BlockError::disk(&self.path, e))?;
        Ok(self.written)
    }
}
