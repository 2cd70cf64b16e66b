//! One record of a head chunk file, drawn in `HEAD_CHUNKS.md`.

use super::FoundChunk;

/// Series and two times.
const KEY: usize = 24;
/// The longest head of a record: its key, the encoding and the length.
pub(super) const MAX_HEAD: usize = KEY + 1 + MAX_LEN_FIELD;
/// Nobody writes longer length fields; five bytes hold 32 bits.
const MAX_LEN_FIELD: usize = 5;
pub(super) const CRC: usize = 4;
/// A rest shorter than this cannot hold a record: it is zeros, or damage.
pub(super) const MIN_REST: usize = MAX_HEAD + CRC;
/// The bit of the encoding that marks chunks of out-of-order samples.
const OUT_OF_ORDER: u8 = 0x80;

/// What stands before the data.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordHead {
    pub(super) series: u64,
    pub(super) min: i64,
    pub(super) max: i64,
    pub(super) encoding: u8,
    pub(super) out_of_order: bool,
    /// Where in the record the data begins.
    pub(super) data_start: usize,
    pub(super) data_len: usize,
}

impl RecordHead {
    /// Reads the head of a record from its first bytes: [`MAX_HEAD`] of them, or as many as the file has.
    pub(super) fn parse(bytes: &[u8]) -> Result<RecordHead, &'static str> {
        let (key, rest) = bytes.split_first_chunk::<KEY>().ok_or("a record's series and times")?;
        let (keys, _) = key.as_chunks::<8>();
        let number = |i: usize| keys.get(i).map_or(0, |bytes| u64::from_be_bytes(*bytes));
        let (encoding, rest) = rest.split_first().ok_or("a record's encoding")?;
        let (data_len, len_bytes) = uvarint(rest).ok_or("the length of a record's data")?;
        Ok(RecordHead {
            series: number(0),
            min: number(1).cast_signed(),
            max: number(2).cast_signed(),
            encoding: encoding & !OUT_OF_ORDER,
            out_of_order: encoding & OUT_OF_ORDER != 0,
            data_start: KEY + 1 + len_bytes,
            data_len: usize::try_from(data_len).map_err(|_| "a length of data that this machine can hold")?,
        })
    }

    /// Whether preallocated zeros begin here instead of a record.
    pub(super) fn is_end(bytes: &[u8]) -> bool {
        match bytes.first_chunk::<KEY>() {
            Some(key) => key.iter().all(|b| *b == 0),
            None => bytes.iter().all(|b| *b == 0),
        }
    }

    /// Bytes of the whole record; `None` if they are more than can be counted.
    pub(super) fn record_len(&self) -> Option<usize> {
        self.data_start.checked_add(self.data_len)?.checked_add(CRC)
    }

    /// The data of a whole record after a look at its checksum.
    pub(super) fn data<'a>(&self, record: &'a [u8]) -> Result<&'a [u8], &'static str> {
        let (content, sum) = record.split_last_chunk::<CRC>().ok_or("a record with a checksum")?;
        if crc32c::crc32c(content) != u32::from_be_bytes(*sum) {
            return Err("a record with the right checksum");
        }
        content.get(self.data_start..).ok_or("a record with data")
    }
}

fn uvarint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0;
    for (i, byte) in bytes.iter().enumerate().take(MAX_LEN_FIELD) {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if *byte < 0x80 {
            return Some((value, i + 1));
        }
    }
    None
}

/// Appends a record to `out`; what of `chunk` does not stand in a record is passed over.
pub(super) fn push(out: &mut Vec<u8>, chunk: &FoundChunk, data: &[u8]) {
    let start = out.len();
    out.extend_from_slice(&chunk.series.to_be_bytes());
    out.extend_from_slice(&chunk.min.to_be_bytes());
    out.extend_from_slice(&chunk.max.to_be_bytes());
    out.push(chunk.encoding as u8 | if chunk.out_of_order { OUT_OF_ORDER } else { 0 });
    let mut len = data.len();
    while len >= 0x80 {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    out.extend_from_slice(data);
    let sum = crc32c::crc32c(&out[start..]);
    out.extend_from_slice(&sum.to_be_bytes());
}
