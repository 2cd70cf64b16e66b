use std::path::Path;

use watershed::disk::{Disk, MemDisk};
use watershed::model::TimestampMs;
use watershed::storage::chunk::decode_values;
use watershed::tsdb::block::{
    BlockMeta, ChunkMeta, ChunkReader, ChunkRef, INDEX_FILE, IndexReader, META_FILE, TOMBSTONES_FILE, Tombstones,
};

const DIR: &str = "/data/block";

fn disk(name: &str, content: &[u8]) -> MemDisk {
    let disk = MemDisk::new();
    disk.create_dir_all(Path::new(DIR)).expect("a directory in memory");
    disk.write(&Path::new(DIR).join(name), content);
    disk
}

/// Everything that the tables name can be read or is refused.
pub fn index(data: &[u8]) {
    let mut bytes = data.to_vec();
    mend(&mut bytes);
    let Ok(index) = IndexReader::open(&disk(INDEX_FILE, &bytes), &Path::new(DIR).join(INDEX_FILE)) else { return };
    for name in index.label_names().take(100) {
        for value in index.label_values(name).unwrap_or_default().into_iter().take(100) {
            for series in index.postings(name, value).unwrap_or_default().iter().take(100) {
                let _ = index.series(series);
            }
        }
    }
    let _ = index.all();
}

/// Rights the checksums of the table of contents, of the sections that it names, of the series and of the postings, because no
/// mutation would.
fn mend(bytes: &mut [u8]) {
    const TOC: usize = 52;
    let Some(toc) = bytes.len().checked_sub(TOC) else { return };
    let mut places = [0; 6];
    for (n, place) in places.iter_mut().enumerate() {
        let number = bytes[toc + 8 * n..].first_chunk().copied().map_or(0, u64::from_be_bytes);
        // Beyond all inputs, and small enough to be reckoned with.
        *place = usize::try_from(number.min(1 << 40)).unwrap_or_default();
    }
    let sum = crc32c::crc32c(&bytes[toc..toc + 48]);
    bytes[toc + 48..].copy_from_slice(&sum.to_be_bytes());
    let [symbols, series, labels, _, postings, table] = places;
    mend_section(bytes, symbols);
    mend_section(bytes, table);
    let mut at = postings.next_multiple_of(4);
    while at < table.min(toc) {
        let Some(end) = mend_section(bytes, at) else { break };
        at = end.next_multiple_of(4);
    }
    let mut at = series.next_multiple_of(16);
    while at < labels.min(toc) {
        let length = usize::from(bytes[at] & 0x7f);
        let (start, end) = (at + 1, at + 1 + length);
        if end + 4 > toc {
            break;
        }
        let sum = crc32c::crc32c(&bytes[start..end]);
        bytes[end..end + 4].copy_from_slice(&sum.to_be_bytes());
        at = (end + 4).next_multiple_of(16);
    }
}

fn mend_section(bytes: &mut [u8], place: usize) -> Option<usize> {
    let length = u32::from_be_bytes(*bytes.get(place..)?.first_chunk()?) as usize;
    let end = place.checked_add(4)?.checked_add(length)?;
    let sum = crc32c::crc32c(bytes.get(place + 4..end)?);
    bytes.get_mut(end..end + 4)?.copy_from_slice(&sum.to_be_bytes());
    Some(end + 4)
}

/// A segment of chunks behind its header, read at every place.
pub fn chunks(data: &[u8]) {
    let mut bytes = vec![0x85, 0xbd, 0x40, 0xdd, 1, 0, 0, 0];
    let header = bytes.len();
    bytes.extend(data);
    let mut at = header;
    while let Some(end) = mend_chunk(&mut bytes, at) {
        at = end;
    }
    let disk = disk("000001", &bytes);
    let reader = ChunkReader::open(&disk, Path::new(DIR)).expect("the header is right");
    for offset in 0..bytes.len().min(1000) {
        let (min, max, chunk) = (TimestampMs(0), TimestampMs(1), ChunkRef(offset as u64));
        let Ok(chunk) = reader.read(&ChunkMeta { min, max, chunk }) else { continue };
        assert!(offset >= header && offset + chunk.data.len() < bytes.len());
        let _ = decode_values(&chunk, &mut Vec::new());
    }
}

/// Rights the checksum of the chunk at a place; gives back where it ends.
fn mend_chunk(bytes: &mut [u8], place: usize) -> Option<usize> {
    // Two bytes are enough for the length of any chunk that fits into an input.
    let (start, length) = match *bytes.get(place..)? {
        [low @ 0..0x80, ..] => (place + 1, usize::from(low)),
        [low, high @ 0..0x80, ..] => (place + 2, usize::from(low & 0x7f) | usize::from(high) << 7),
        _ => return None,
    };
    let end = start + 1 + length;
    let sum = crc32c::crc32c(bytes.get(start..end)?);
    bytes.get_mut(end..end + 4)?.copy_from_slice(&sum.to_be_bytes());
    Some(end + 4)
}

/// What was read is written as something that is read as the same.
pub fn meta(data: &[u8]) {
    let dir = Path::new(DIR);
    let Ok(meta) = BlockMeta::read(&disk(META_FILE, data), dir) else { return };
    let written = meta.to_json().expect("what was read can be written");
    let again = BlockMeta::read(&disk(META_FILE, &written), dir).expect("what was written can be read");
    assert_eq!(again.to_json().expect("it can be written again"), written);
}

/// As of [`meta`]; the input stands between the header and the checksum.
pub fn tombstones(data: &[u8]) {
    let mut bytes = vec![0x01, 0x30, 0xba, 0x30, 1];
    bytes.extend(data);
    bytes.extend(crc32c::crc32c(data).to_be_bytes());
    let (dir, disk) = (Path::new(DIR), disk(TOMBSTONES_FILE, &bytes));
    let Ok(tombstones) = Tombstones::read(&disk, dir) else { return };
    tombstones.write(&disk, dir).expect("they can be written");
    let again = Tombstones::read(&disk, dir).expect("what was written can be read");
    assert!(again.iter().eq(tombstones.iter()));
}
