//! The `index` file, version 2, drawn in `INDEX.md`: which series there are, and where their chunks stand.
//!
//! Laws: every section's checksum is verified before a byte of it is believed, at opening for the table of contents,
//! the symbols and the postings offset table, at each read for postings and series; nothing is read outside of the
//! part of the file where the table of contents says it is.
//!
//! The symbols and the postings offset table are held as they stand in the file, with every 32nd entry's place noted;
//! series and postings are read and verified each time. It does not intersect postings and knows no matchers. The label
//! index sections of older writers are passed over, and not written, as the reference does since 3.x.

mod postings;
mod read;
mod symbols;
mod write;

pub(super) use read::SeriesScratch;
pub use read::{IndexReader, SeriesEntry};
pub(super) use write::IndexBuilder;

use super::BlockError;
use super::bytes::{CRC, Cursor, Source};

/// The file's name in a block's directory.
pub const INDEX_FILE: &str = "index";

const MAGIC: u32 = 0xBAAA_D700;
const VERSION: u8 = 2;
/// Magic and version.
const HEADER: u64 = 5;
/// A series' reference is its place divided by this, so 32 bits reach 64 GiB.
const SERIES_ALIGN: u64 = 16;
/// Postings begin at multiples of this.
const POSTINGS_ALIGN: u64 = 4;
/// Six places and a checksum.
const TOC_LEN: u64 = 6 * 8 + CRC as u64;
/// Of each so many entries of a table one place is noted.
const NOTE_EVERY: usize = 32;

/// The table of contents; a place of zero means that there is no such section.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Toc {
    symbols: u64,
    series: u64,
    label_indices: u64,
    label_offset_table: u64,
    postings: u64,
    postings_offset_table: u64,
}

impl Toc {
    fn places(&self) -> [u64; 6] {
        let Toc { symbols, series, label_indices, label_offset_table, postings, postings_offset_table } = *self;
        [symbols, series, label_indices, label_offset_table, postings, postings_offset_table]
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.places().iter().flat_map(|place| place.to_be_bytes()).collect();
        let sum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&sum.to_be_bytes());
        bytes
    }

    fn read(source: &Source) -> Result<Toc, BlockError> {
        let start = source.len().checked_sub(TOC_LEN).filter(|start| *start >= HEADER);
        let start = start.ok_or_else(|| source.damaged(source.len(), "a header and a table of contents"))?;
        let bytes = source.read(start, TOC_LEN, "the table of contents")?;
        let bytes = source.check(bytes, start, "the table of contents")?;
        let mut cursor = Cursor::new(&bytes, source.path(), start);
        let mut places = [0; 6];
        for place in &mut places {
            let before = cursor;
            *place = cursor.u64("a section's place")?;
            if *place != 0 && !(HEADER..=start).contains(place) {
                return Err(before.expected("a section's place between header and table of contents"));
            }
        }
        let [symbols, series, label_indices, label_offset_table, postings, postings_offset_table] = places;
        Ok(Toc { symbols, series, label_indices, label_offset_table, postings, postings_offset_table })
    }

    /// Where the section that begins at `place` must have ended: where the next one begins.
    fn end_of(&self, place: u64, file_len: u64) -> u64 {
        self.places().into_iter().filter(|p| *p > place).min().unwrap_or(file_len.saturating_sub(TOC_LEN))
    }
}

#[cfg(test)]
mod tests;
