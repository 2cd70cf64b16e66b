//! The symbol table: every label name and value once, ascending.

use std::path::Path;

use bytes::Bytes;

use crate::tsdb::block::BlockError;
use crate::tsdb::block::bytes::Cursor;

/// Looking up a string walks over those between it and a noted one; half a byte of notes a string keeps that short.
const NOTE_EVERY: usize = 8;

/// The table as it stands in the file; strings are numbered by their order.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    content: Bytes,
    count: u32,
    /// The places in `content` of the strings 0, 8, 16, ...; a section is shorter than 4 GiB.
    notes: Vec<u32>,
}

impl Symbols {
    /// Takes the section's content, which stands at `offset` in the file.
    pub(super) fn parse(content: Bytes, path: &Path, offset: u64) -> Result<Symbols, BlockError> {
        let mut cursor = Cursor::new(&content, path, offset);
        let count = cursor.u32("the number of symbols")?;
        let (mut notes, mut previous) = (Vec::new(), None);
        for i in 0..count {
            if (i as usize).is_multiple_of(NOTE_EVERY) {
                notes.push((cursor.offset() - offset) as u32);
            }
            let before = cursor;
            let symbol = cursor.str("a symbol")?;
            if previous.is_some_and(|p| p >= symbol) {
                return Err(before.expected("a symbol greater than the one before"));
            }
            previous = Some(symbol);
        }
        if !cursor.is_empty() {
            return Err(cursor.expected("the end of the symbols"));
        }
        Ok(Symbols { content, count, notes })
    }

    /// The string of that number, if there is one.
    pub(super) fn get(&self, number: u64) -> Option<&str> {
        if number >= u64::from(self.count) {
            return None;
        }
        let number = number as usize;
        let note = *self.notes.get(number / NOTE_EVERY)?;
        let mut cursor = Cursor::new(self.content.get(note as usize..)?, Path::new(""), 0);
        for _ in 0..number % NOTE_EVERY {
            let len = cursor.count(1, "").ok()?;
            cursor.take(len, "").ok()?;
        }
        cursor.str("").ok()
    }

    /// How many there are.
    pub(super) fn count(&self) -> u32 {
        self.count
    }
}
