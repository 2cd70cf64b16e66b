//! Walking over a whole file at start.

use std::io;

use super::record::{CRC, MAX_HEAD, MIN_REST, RecordHead};
use super::{ChunkPlace, FoundChunk, HEADER, MAGIC, VERSION};
use crate::disk::DiskFile;
use crate::storage::Encoding;

/// Bytes read at a time; longer records are read as a whole.
const WINDOW: usize = 1 << 20;
/// The lengths that Prometheus gives to a new file, on Windows the second.
const PREALLOCATED: [u64; 2] = [128 << 10, 128 << 20];

/// What a file has turned out to hold.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) chunks: Vec<FoundChunk>,
    /// Where the last whole record ends; 0 if not even the header is whole.
    pub(super) good_end: u64,
    pub(super) verdict: Verdict,
}

#[derive(Debug)]
pub(super) enum Verdict {
    Sound,
    /// Bytes that are no record begin behind `good_end`.
    Damaged(String),
    /// The file is whole but not for us; it must not be changed.
    Foreign(String),
}

/// Verifies every record of a file.
pub(super) fn scan(file: &dyn DiskFile, number: u32) -> Scan {
    let mut scan = Scan { chunks: Vec::new(), good_end: 0, verdict: Verdict::Sound };
    let walked = file.len().and_then(|len| {
        let mut window = Window { file, len, start: 0, bytes: Vec::new() };
        scan.walk(&mut window, number)
    });
    // What the disk refuses today it may give tomorrow.
    scan.verdict = walked.unwrap_or_else(|error| Verdict::Foreign(format!("cannot be read: {error}")));
    scan
}

impl Scan {
    fn walk(&mut self, window: &mut Window<'_>, number: u32) -> io::Result<Verdict> {
        let header = window.at(0, HEADER)?;
        match header.split_first_chunk::<4>() {
            Some((magic, [VERSION, _, _, _])) if u32::from_be_bytes(*magic) == MAGIC => {}
            Some((magic, [version, _, _, _])) if u32::from_be_bytes(*magic) == MAGIC => {
                return Ok(Verdict::Foreign(format!("version {version} of head chunk files is not supported")));
            }
            Some((magic, [_, _, _, _])) if *magic != [0; 4] => {
                return Ok(Verdict::Foreign("expected the magic number 0130bc91 of a head chunk file".into()));
            }
            _ => return Ok(Verdict::Damaged("expected a header".into())),
        }
        let mut at = HEADER as u64;
        loop {
            self.good_end = at;
            if at == window.len {
                return Ok(Verdict::Sound);
            }
            let head = window.at(at, MIN_REST)?;
            if RecordHead::is_end(head) {
                return window.zeros_to_the_end(at);
            }
            let head = match RecordHead::parse(&head[..head.len().min(MAX_HEAD)]) {
                Ok(head) => head,
                Err(expected) => return Ok(Verdict::Damaged(format!("expected {expected}"))),
            };
            let fits = head.record_len().filter(|len| *len as u64 <= window.len - at);
            let Some(len) = fits else {
                let reason = format!("expected a record whose {} bytes of data end in the file", head.data_len);
                return Ok(Verdict::Damaged(reason));
            };
            let data = match head.data(window.at(at, len)?) {
                Ok(data) => data,
                Err(expected) => return Ok(Verdict::Damaged(format!("expected {expected}"))),
            };
            let Some(encoding) = Encoding::from_byte(head.encoding) else {
                return Ok(Verdict::Foreign(format!("chunk encoding {} is not supported", head.encoding)));
            };
            let Some(samples) = encoding.sample_count(data) else {
                return Ok(Verdict::Damaged("expected a number of samples".into()));
            };
            self.chunks.push(FoundChunk {
                series: head.series,
                place: ChunkPlace::new(number, at),
                min: head.min,
                max: head.max,
                samples,
                encoding,
                out_of_order: head.out_of_order,
            });
            at += (head.data_start + head.data_len + CRC) as u64;
        }
    }
}

/// A piece of a file that moves forward over it.
struct Window<'a> {
    file: &'a dyn DiskFile,
    len: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// Zeros are the end of a file that Prometheus has made long beforehand. Elsewhere they are pages that never reached
    /// the disk, and taking them for the end would hide that records are missing.
    fn zeros_to_the_end(&mut self, start: u64) -> io::Result<Verdict> {
        if !PREALLOCATED.contains(&self.len) {
            return Ok(Verdict::Damaged("expected a record, not zeros".into()));
        }
        let mut at = start;
        while at < self.len {
            let bytes = self.at(at, WINDOW)?;
            if bytes.is_empty() || bytes.iter().any(|b| *b != 0) {
                return Ok(Verdict::Damaged("expected zeros up to the end of the file".into()));
            }
            at += bytes.len() as u64;
        }
        Ok(Verdict::Sound)
    }

    /// The `len` bytes at `offset`, or as many as the file has.
    fn at(&mut self, offset: u64, len: usize) -> io::Result<&[u8]> {
        let wanted = (self.len.saturating_sub(offset)).min(len as u64) as usize;
        let inside = offset.checked_sub(self.start).filter(|skip| skip + wanted as u64 <= self.bytes.len() as u64);
        let skip = match inside {
            Some(skip) => skip as usize,
            None => {
                let rest = self.len.saturating_sub(offset);
                self.bytes.resize(rest.min(WINDOW.max(wanted) as u64) as usize, 0);
                self.start = offset;
                let got = self.file.read_at(&mut self.bytes, offset)?;
                self.bytes.truncate(got);
                0
            }
        };
        Ok(&self.bytes[skip..self.bytes.len().min(skip + wanted)])
    }
}
