//! The postings offset table, and the lists of series it leads to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use roaring::RoaringBitmap;

use super::NOTE_EVERY;
use crate::tsdb::block::BlockError;
use crate::tsdb::block::bytes::Cursor;

/// The table as it stands in the file.
#[derive(Debug, Default)]
pub(super) struct PostingsTable {
    content: Bytes,
    path: PathBuf,
    offset: u64,
    names: BTreeMap<Box<str>, Name>,
}

/// The entries of one label name.
#[derive(Debug, Default)]
struct Name {
    entries: usize,
    /// The places in `content` of the entries 0, 32, 64, ... of the name.
    notes: Vec<u32>,
}

/// One line of the table: where the list of a label's series stands.
struct Entry<'a> {
    name: &'a str,
    value: &'a str,
    place: u64,
}

impl<'a> Entry<'a> {
    fn read(cursor: &mut Cursor<'a>) -> Result<Entry<'a>, BlockError> {
        let before = *cursor;
        if cursor.u8("the number of an entry's strings")? != 2 {
            return Err(before.expected("an entry of two strings"));
        }
        let (name, value) = (cursor.str("a label name")?, cursor.str("a label value")?);
        Ok(Entry { name, value, place: cursor.uvarint("the place of postings")? })
    }
}

impl PostingsTable {
    /// Takes the section's content, which stands at `offset` in the file.
    pub(super) fn parse(content: Bytes, path: &Path, offset: u64) -> Result<PostingsTable, BlockError> {
        let mut cursor = Cursor::new(&content, path, offset);
        let count = cursor.u32("the number of entries")?;
        let mut names: BTreeMap<Box<str>, Name> = BTreeMap::new();
        let mut previous: Option<Entry<'_>> = None;
        let mut current = Name::default();
        for _ in 0..count {
            let before = cursor;
            let entry = Entry::read(&mut cursor)?;
            if let Some(p) = &previous {
                if (p.name, p.value) >= (entry.name, entry.value) {
                    return Err(before.expected("an entry greater than the one before"));
                }
                if p.name != entry.name {
                    names.insert(p.name.into(), std::mem::take(&mut current));
                }
            }
            if current.entries.is_multiple_of(NOTE_EVERY) {
                current.notes.push((before.offset() - offset) as u32);
            }
            current.entries += 1;
            previous = Some(entry);
        }
        if !cursor.is_empty() {
            return Err(cursor.expected("the end of the postings offset table"));
        }
        if let Some(p) = previous {
            names.insert(p.name.into(), current);
        }
        Ok(PostingsTable { content, path: path.to_owned(), offset, names })
    }

    /// The label names, ascending; not the empty one that stands for all series.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(|n| &**n).filter(|n| !n.is_empty())
    }

    /// How many values a name has.
    pub(super) fn value_count(&self, name: &str) -> usize {
        self.names.get(name).map_or(0, |n| n.entries)
    }

    /// The values of a name that begin with `prefix`, ascending, each with the place of its postings.
    pub(super) fn each_value<'a, E: From<BlockError>>(
        &'a self,
        name: &str,
        prefix: &str,
        visit: &mut dyn FnMut(&'a str, u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(found) = self.names.get(name) else { return Ok(()) };
        let group = self.group(found, prefix).unwrap_or(0);
        let mut cursor = self.at(found.notes.get(group));
        for _ in group * NOTE_EVERY..found.entries {
            let entry = Entry::read(&mut cursor)?;
            if entry.value.starts_with(prefix) {
                visit(entry.value, entry.place)?;
            } else if entry.value > prefix {
                break;
            }
        }
        Ok(())
    }

    /// The place of the postings of a label, if any series has it.
    pub(super) fn find(&self, name: &str, value: &str) -> Result<Option<u64>, BlockError> {
        let Some(found) = self.names.get(name) else { return Ok(None) };
        let Some(group) = self.group(found, value) else { return Ok(None) };
        let mut cursor = self.at(found.notes.get(group));
        for _ in 0..NOTE_EVERY.min(found.entries - group * NOTE_EVERY) {
            let entry = Entry::read(&mut cursor)?;
            if entry.value == value {
                return Ok(Some(entry.place));
            }
        }
        Ok(None)
    }

    /// The last noted group of entries whose first value is not greater.
    fn group(&self, name: &Name, value: &str) -> Option<usize> {
        // An entry that cannot be read cannot be: the table was walked when it was opened.
        let starts_at_most = |note: &u32| Entry::read(&mut self.at(Some(note))).is_ok_and(|e| e.value <= value);
        name.notes.partition_point(starts_at_most).checked_sub(1)
    }

    fn at(&self, note: Option<&u32>) -> Cursor<'_> {
        let start = note.map_or(self.content.len(), |n| *n as usize);
        let rest = self.content.get(start..).unwrap_or_default();
        Cursor::new(rest, &self.path, self.offset + start as u64)
    }
}

/// Reads the content of a list of series.
pub(super) fn parse_list(mut cursor: Cursor<'_>) -> Result<RoaringBitmap, BlockError> {
    let start = cursor;
    let count = cursor.u32("the number of postings")? as usize;
    if count.checked_mul(4) != Some(cursor.len()) {
        return Err(start.expected("a number of postings that fits their section"));
    }
    let bytes = cursor.take(cursor.len(), "postings")?;
    let refs = bytes.as_chunks::<4>().0.iter().map(|b| u32::from_be_bytes(*b));
    RoaringBitmap::from_sorted_iter(refs).map_err(|_| start.expected("postings in ascending order"))
}
