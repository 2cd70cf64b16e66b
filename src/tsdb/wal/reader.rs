//! Reading a segment, whatever state it is in.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::record::RecordError;
use super::{FIRST, FULL, HEADER, KIND_MASK, LAST, MAX_RECORD, MIDDLE, PAGE, SNAPPY, ZSTD};
use crate::disk::DiskFile;

/// Pages read at a time.
const BLOCK_PAGES: usize = 16;
/// Damages of one segment that are told one by one; more say nothing new.
const MAX_DAMAGES: usize = 64;

/// A stretch of a log that could not be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// Where in it, in bytes.
    pub offset: u64,
    /// What is wrong.
    pub reason: String,
}

/// What reading a segment has shown.
#[derive(Debug)]
pub(crate) struct SegmentRead {
    /// What could not be read, in order; at most [`MAX_DAMAGES`] entries.
    pub(crate) damage: Vec<Damage>,
    /// Where the last good record ends.
    pub(crate) good_end: u64,
}

impl SegmentRead {
    /// Whether everything unreadable lies behind the last good record, as after a write that was cut short.
    pub(crate) fn is_torn_tail(&self) -> bool {
        self.damage.first().is_some_and(|d| d.offset >= self.good_end)
    }
}

/// Calls `visit` with each record of a segment. What it refuses counts as damage.
pub(crate) fn read_segment(
    file: &dyn DiskFile,
    path: &Path,
    visit: &mut dyn FnMut(&[u8]) -> Result<(), RecordError>,
) -> SegmentRead {
    let read = SegmentRead { damage: Vec::new(), good_end: 0 };
    let mut reader = Reader {
        path,
        visit,
        read,
        partial: Vec::new(),
        started: None,
        skipping: false,
        unpacked: Vec::new(),
        decoder: snap::raw::Decoder::new(),
    };
    let mut block = vec![0; BLOCK_PAGES * PAGE];
    let mut offset = 0u64;
    loop {
        match file.read_at(&mut block, offset) {
            Ok(0) => break,
            Ok(n) => {
                for page in block[..n].chunks(PAGE) {
                    reader.page(page, offset);
                    offset += page.len() as u64;
                }
            }
            Err(error) => {
                reader.damaged(offset, format!("cannot be read: {error}"));
                break;
            }
        }
    }
    if let Some(start) = reader.started {
        reader.damaged(start, "the last record is torn".into());
    }
    reader.read
}

struct Reader<'a> {
    path: &'a Path,
    visit: &'a mut dyn FnMut(&[u8]) -> Result<(), RecordError>,
    read: SegmentRead,
    /// The fragments so far of a record whose first one lies at `started`.
    partial: Vec<u8>,
    started: Option<u64>,
    /// After damage, the rest of a record that began in it is passed over in silence.
    skipping: bool,
    unpacked: Vec<u8>,
    decoder: snap::raw::Decoder,
}

impl Reader<'_> {
    /// Lengths inside a damaged page cannot be trusted, so the first mistake ends it; the next page stands for itself.
    fn page(&mut self, page: &[u8], offset: u64) {
        let mut at = 0;
        while at < page.len() {
            let here = offset + at as u64;
            match parse_fragment(&page[at..]) {
                Ok(None) => return,
                Ok(Some(fragment)) => {
                    at += HEADER + fragment.data.len();
                    self.fragment(&fragment, here, offset + at as u64);
                }
                Err(reason) => return self.damaged(here, reason),
            }
        }
    }

    fn fragment(&mut self, fragment: &Fragment<'_>, here: u64, end: u64) {
        let begins = matches!(fragment.kind, FULL | FIRST);
        if begins && let Some(start) = self.started {
            self.damaged(start, "a record without an end".into());
        }
        if !begins && self.started.is_none() {
            if !self.skipping {
                self.damaged(here, "a record without a beginning".into());
            }
            return;
        }
        self.skipping = false;
        match fragment.kind {
            FULL => self.record(fragment.data, fragment.flags, here, end),
            FIRST => {
                self.partial.clear();
                self.partial.extend_from_slice(fragment.data);
                self.started = Some(here);
            }
            kind => {
                self.partial.extend_from_slice(fragment.data);
                if self.partial.len() > MAX_RECORD {
                    return self.damaged(here, "a record longer than any commit".into());
                }
                if kind == LAST {
                    let start = self.started.take().unwrap_or(here);
                    let whole = std::mem::take(&mut self.partial);
                    self.record(&whole, fragment.flags, start, end);
                    self.partial = whole;
                }
            }
        }
    }

    fn record(&mut self, data: &[u8], flags: u8, start: u64, end: u64) {
        let done = if flags & SNAPPY != 0 {
            unpack_snappy(&mut self.decoder, data, &mut self.unpacked)
                .and_then(|n| (self.visit)(&self.unpacked[..n]).map_err(|e| e.to_string()))
        } else if flags & ZSTD != 0 {
            unpack_zstd(data, &mut self.unpacked).and_then(|()| (self.visit)(&self.unpacked).map_err(|e| e.to_string()))
        } else {
            (self.visit)(data).map_err(|e| e.to_string())
        };
        match done {
            Ok(()) => self.read.good_end = end,
            Err(reason) => self.tell(start, reason),
        }
    }

    /// Gives up the record in progress and what follows until another begins.
    fn damaged(&mut self, offset: u64, reason: String) {
        let offset = self.started.take().unwrap_or(offset);
        self.skipping = true;
        self.tell(offset, reason);
    }

    fn tell(&mut self, offset: u64, reason: String) {
        if self.read.damage.len() < MAX_DAMAGES {
            self.read.damage.push(Damage { path: self.path.to_owned(), offset, reason });
        }
    }
}

struct Fragment<'a> {
    kind: u8,
    flags: u8,
    data: &'a [u8],
}

/// The fragment at the beginning of `rest`, which goes to the end of the page; `None` if the page ends here.
fn parse_fragment(rest: &[u8]) -> Result<Option<Fragment<'_>>, String> {
    let Some(&first) = rest.first() else { return Ok(None) };
    let kind = first & KIND_MASK;
    if kind == 0 {
        let padded = rest.iter().all(|b| *b == 0);
        return if padded { Ok(None) } else { Err("something else than zeros fills up the page".into()) };
    }
    let &[_, len_high, len_low, c0, c1, c2, c3] = rest.first_chunk::<HEADER>().ok_or("a fragment's header is cut")?;
    if !matches!(kind, FULL | FIRST | MIDDLE | LAST) {
        return Err(format!("a fragment of the unknown type {kind}"));
    }
    let len = usize::from(u16::from_be_bytes([len_high, len_low]));
    let data = rest[HEADER..].get(..len).ok_or("a fragment is longer than what is left of the page")?;
    let (expected, found) = (u32::from_be_bytes([c0, c1, c2, c3]), crc32c::crc32c(data));
    if expected != found {
        return Err(format!("a fragment's checksum is {found:08x}, its header says {expected:08x}"));
    }
    Ok(Some(Fragment { kind, flags: first & !KIND_MASK, data }))
}

#[expect(clippy::disallowed_methods, reason = "the declared length is capped right here")]
fn unpack_snappy(decoder: &mut snap::raw::Decoder, data: &[u8], out: &mut Vec<u8>) -> Result<usize, String> {
    let len = snap::raw::decompress_len(data).map_err(|e| format!("a record's snappy header: {e}"))?;
    // Snappy cannot shrink by more than a factor of 22 or so.
    if len > MAX_RECORD || len / 32 > data.len() {
        return Err(format!("a record claims to unpack from {} to {len} bytes", data.len()));
    }
    if out.len() < len {
        out.resize(len, 0);
    }
    decoder.decompress(data, &mut out[..len]).map_err(|e| format!("a record's snappy data: {e}"))
}

fn unpack_zstd(data: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    out.clear();
    let decoder = zstd::stream::read::Decoder::new(data).map_err(|e| format!("a record's zstd header: {e}"))?;
    let read =
        decoder.take(MAX_RECORD as u64 + 1).read_to_end(out).map_err(|e| format!("a record's zstd data: {e}"))?;
    if read > MAX_RECORD { Err("a record unpacks to more than any commit".into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Disk, MemDisk};
    use crate::tsdb::wal::{Compression, Writer, segment_path};
    use std::sync::Arc;

    fn segment(records: &[Vec<u8>], compression: Compression) -> Vec<u8> {
        let disk = MemDisk::new();
        let dir = Path::new("/wal");
        disk.create_dir_all(dir).unwrap();
        let mut writer = Writer::create(Arc::new(disk.clone()), dir, 0, 1 << 27, compression).unwrap();
        for record in records {
            writer.push(record).unwrap();
            writer.flush().unwrap();
        }
        disk.read(&segment_path(dir, 0)).unwrap()
    }

    fn read(bytes: &[u8]) -> (Vec<Vec<u8>>, SegmentRead) {
        let disk = MemDisk::new();
        let path = Path::new("/wal/00000000");
        disk.write(path, bytes);
        let mut seen = Vec::new();
        let result = read_segment(&*disk.open(path).unwrap(), path, &mut |r| {
            seen.push(r.to_vec());
            Ok(())
        });
        (seen, result)
    }

    /// Incompressible, so that both ways of writing give several pages.
    fn records(n: usize) -> Vec<Vec<u8>> {
        let byte = |i: usize, j: usize| {
            (((i * 7919 + j) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_pow(2) >> 40) as u8
        };
        (0..n).map(|i| (0..(i * 977) % 9000 + 20).map(|j| byte(i, j)).collect()).collect()
    }

    /// Where fragments begin in sound pages.
    fn boundaries(bytes: &[u8]) -> Vec<usize> {
        let mut found = Vec::new();
        for (number, page) in bytes.chunks(PAGE).enumerate() {
            let mut at = 0;
            while let Ok(Some(fragment)) = parse_fragment(&page[at..]) {
                found.push(number * PAGE + at);
                at += HEADER + fragment.data.len();
            }
        }
        found
    }

    #[test]
    fn a_segment_cut_anywhere_in_its_last_two_pages_keeps_every_whole_record() {
        for compression in [Compression::None, Compression::Snappy, Compression::Zstd] {
            let all = records(26);
            let bytes = segment(&all, compression);
            assert!(bytes.len() > 3 * PAGE);
            let mut kept_before = 0;
            let edges = boundaries(&bytes);
            let near = |cut: usize| edges.iter().any(|edge| edge.abs_diff(cut) <= HEADER + 2);
            // Inside of a fragment's data all cuts are alike.
            for cut in (bytes.len() - 2 * PAGE..bytes.len()).filter(|cut| cut % 41 == 0 || near(*cut)) {
                let (seen, result) = read(&bytes[..cut]);
                assert_eq!(seen, all[..seen.len()], "cut at {cut}");
                assert!(seen.len() >= kept_before && seen.len() < all.len());
                kept_before = seen.len();
                assert!(result.damage.is_empty() || result.is_torn_tail(), "cut at {cut}: {:?}", result.damage);
                let (again, clean) = read(&bytes[..usize::try_from(result.good_end).unwrap()]);
                assert_eq!((again.len(), clean.damage.len()), (seen.len(), 0), "cut at {cut}");
            }
            assert_eq!(kept_before, all.len() - 1);
        }
    }

    #[test]
    fn a_flipped_bit_loses_its_page_and_nothing_is_read_wrongly() {
        let all = records(40);
        let bytes = segment(&all, Compression::None);
        for at in (0..bytes.len()).step_by(61) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            let (seen, result) = read(&flipped);
            // The compression flags are not covered by the checksum: then the record must fail to unpack.
            assert!(!result.damage.is_empty() || seen == all, "flip at {at} went unnoticed");
            let mut rest = all.iter();
            assert!(seen.iter().all(|s| rest.any(|r| r == s)), "flip at {at} gave a record that was never written");
            assert!(seen.len() + 16 >= all.len(), "flip at {at} lost more than two pages of records: {}", seen.len());
        }
    }

    #[test]
    fn zstd_records_of_other_writers_are_read() {
        let record = vec![7u8; 5000];
        let packed = zstd::stream::encode_all(&record[..], 1).unwrap();
        let mut bytes = vec![FULL | ZSTD];
        bytes.extend_from_slice(&u16::try_from(packed.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&packed).to_be_bytes());
        bytes.extend_from_slice(&packed);
        assert_eq!(read(&bytes).0, [record]);
    }

    proptest::proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
            let _ = read(&bytes);
        }
    }
}
