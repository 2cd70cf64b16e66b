//! Reading an index.

use std::path::Path;

use bytes::Bytes;
use roaring::RoaringBitmap;

use super::postings::{PostingsTable, parse_list};
use super::symbols::Symbols;
use super::{HEADER, MAGIC, SERIES_ALIGN, Toc, VERSION};
use crate::disk::Disk;
use crate::model::labels::push_pair;
use crate::model::{Labels, TimestampMs};
use crate::tsdb::block::BlockError;
use crate::tsdb::block::bytes::{Cursor, Source};
use crate::tsdb::block::chunks::{ChunkMeta, ChunkRef};

/// Most series' entries are shorter, so that one read brings the whole.
const GUESS: u64 = 512;

/// An open index whose tables have been verified.
#[derive(Debug)]
pub struct IndexReader {
    source: Source,
    toc: Toc,
    symbols: Symbols,
    pub(super) postings: PostingsTable,
}

/// What the index says of a series.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SeriesEntry {
    /// Its labels.
    pub labels: Labels,
    /// Its chunks, ascending by time.
    pub chunks: Vec<ChunkMeta>,
}

/// What the index says of a series, in memory that is used again. Neighbours share most of their labels, which are
/// copied from the series read before instead of being looked up. For one index only.
#[derive(Debug, Default)]
pub(in crate::tsdb::block) struct SeriesScratch {
    /// Its encoded labels.
    pub(in crate::tsdb::block) labels: Vec<u8>,
    /// Its chunks, ascending by time.
    pub(in crate::tsdb::block) chunks: Vec<ChunkMeta>,
    pairs: Vec<PairAt>,
    labels_before: Vec<u8>,
    pairs_before: Vec<PairAt>,
}

/// The numbers of a label's symbols, and where it lies among the encoded labels.
#[derive(Clone, Copy, Debug)]
struct PairAt {
    name: u64,
    value: u64,
    start: usize,
    end: usize,
}

impl IndexReader {
    /// Opens an index file and reads its tables.
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<IndexReader, BlockError> {
        let source = Source::open(disk, path)?;
        let head = source.read(0, HEADER, "a header")?;
        let mut cursor = Cursor::new(&head, path, 0);
        if cursor.u32("magic")? != MAGIC {
            return Err(source.damaged(0, "the magic number baaad700 of an index"));
        }
        match cursor.u8("version")? {
            VERSION => {}
            other => {
                let what = format!("index version {other}");
                return Err(BlockError::Unsupported { path: path.to_owned(), offset: 4, what });
            }
        }
        let toc = Toc::read(&source)?;
        let section = |place: u64, what: &str| source.section(place, toc.end_of(place, source.len()), what);
        let symbols = match toc.symbols {
            0 => Symbols::default(),
            place => Symbols::parse(section(place, "the symbols")?, path, place + 4)?,
        };
        let postings = match toc.postings_offset_table {
            0 => PostingsTable::default(),
            place => PostingsTable::parse(section(place, "the postings offset table")?, path, place + 4)?,
        };
        Ok(IndexReader { source, toc, symbols, postings })
    }

    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        self.source.len()
    }

    /// How many different label names and values there are, the empty string included if the writer kept it.
    pub fn symbol_count(&self) -> u32 {
        self.symbols.count()
    }

    /// All label names, ascending.
    pub fn label_names(&self) -> impl Iterator<Item = &str> {
        self.postings.names()
    }

    /// All values of a label, ascending; none if no series has it.
    pub fn label_values(&self, name: &str) -> Result<Vec<&str>, BlockError> {
        if name.is_empty() {
            return Ok(Vec::new());
        }
        let mut values = Vec::with_capacity(self.postings.value_count(name));
        self.postings.each_value(name, "", &mut |value, _| {
            values.push(value);
            Ok::<_, BlockError>(())
        })?;
        Ok(values)
    }

    /// How many values a label has.
    pub(in crate::tsdb::block) fn value_count(&self, name: &str) -> usize {
        if name.is_empty() { 0 } else { self.postings.value_count(name) }
    }

    /// Visits the values of a label that begin with `prefix`, ascending, with the places of their postings.
    pub(in crate::tsdb::block) fn each_value<'a, E: From<BlockError>>(
        &'a self,
        name: &str,
        prefix: &str,
        visit: &mut dyn FnMut(&'a str, u64) -> Result<(), E>,
    ) -> Result<(), E> {
        if name.is_empty() { Ok(()) } else { self.postings.each_value(name, prefix, visit) }
    }

    /// The place of the postings of a label, for [`IndexReader::list`].
    pub(in crate::tsdb::block) fn find(&self, name: &str, value: &str) -> Result<Option<u64>, BlockError> {
        if name.is_empty() { Ok(None) } else { self.postings.find(name, value) }
    }

    /// References of the series with that label, for [`IndexReader::series`]. They ascend as labels do. Empty name and
    /// value stand for all series.
    pub fn postings(&self, name: &str, value: &str) -> Result<RoaringBitmap, BlockError> {
        match self.postings.find(name, value)? {
            Some(place) => self.list(place),
            None => Ok(RoaringBitmap::new()),
        }
    }

    /// References of all series.
    pub fn all(&self) -> Result<RoaringBitmap, BlockError> {
        self.postings("", "")
    }

    /// The postings at a place of the table.
    pub(in crate::tsdb::block) fn list(&self, place: u64) -> Result<RoaringBitmap, BlockError> {
        let (start, end) = (self.toc.postings, self.toc.postings_offset_table);
        if start == 0 || !(start..end).contains(&place) {
            return Err(self.source.damaged(place, "postings among the postings"));
        }
        let content = self.source.section(place, end, "postings")?;
        parse_list(Cursor::new(&content, self.source.path(), place + 4))
    }

    /// The series of a reference that came from postings.
    pub fn series(&self, reference: u32) -> Result<SeriesEntry, BlockError> {
        let mut scratch = SeriesScratch::default();
        self.read_series(reference, &mut scratch)?;
        Ok(SeriesEntry { labels: Labels::from_encoded(&scratch.labels), chunks: scratch.chunks })
    }

    /// [`IndexReader::series`] into memory that is used again.
    pub(in crate::tsdb::block) fn read_series(
        &self,
        reference: u32,
        scratch: &mut SeriesScratch,
    ) -> Result<(), BlockError> {
        let (bytes, start) = self.entry(reference)?;
        let mut cursor = Cursor::new(&bytes, self.source.path(), start);
        self.encode_labels(&mut cursor, scratch)?;
        chunks(&mut cursor, &mut scratch.chunks)?;
        if !cursor.is_empty() {
            return Err(cursor.expected("the end of the series"));
        }
        Ok(())
    }

    /// Visits the labels of a series, ascending by name.
    pub(in crate::tsdb::block) fn each_label<'a>(
        &'a self,
        reference: u32,
        visit: impl FnMut(&'a str, &'a str),
    ) -> Result<(), BlockError> {
        let (bytes, start) = self.entry(reference)?;
        self.labels(&mut Cursor::new(&bytes, self.source.path(), start), visit)
    }

    /// The verified bytes of a series and where in the file they begin.
    fn entry(&self, reference: u32) -> Result<(Bytes, u64), BlockError> {
        let place = u64::from(reference) * SERIES_ALIGN;
        let end = self.toc.end_of(self.toc.series, self.source.len());
        if self.toc.series == 0 || !(self.toc.series..end).contains(&place) {
            return Err(self.source.damaged(place, "a series among the series"));
        }
        self.source.entry(place, 0, GUESS, end, "a series")
    }

    fn labels<'a>(
        &'a self,
        cursor: &mut Cursor<'_>,
        mut visit: impl FnMut(&'a str, &'a str),
    ) -> Result<(), BlockError> {
        let count = cursor.count(2, "the number of labels")?;
        let mut previous = "";
        for _ in 0..count {
            let before = *cursor;
            let name = self.symbol(cursor)?;
            if name <= previous {
                return Err(before.expected("a label name greater than the one before"));
            }
            visit(name, self.symbol(cursor)?);
            previous = name;
        }
        Ok(())
    }

    fn encode_labels(&self, cursor: &mut Cursor<'_>, scratch: &mut SeriesScratch) -> Result<(), BlockError> {
        let SeriesScratch { labels, pairs, labels_before, pairs_before, .. } = scratch;
        std::mem::swap(labels, labels_before);
        std::mem::swap(pairs, pairs_before);
        labels.clear();
        pairs.clear();
        for i in 0..cursor.count(2, "the number of labels")? {
            let mut lookup = *cursor;
            let name = cursor.uvarint("the number of a symbol")?;
            let value = cursor.uvarint("the number of a symbol")?;
            // Symbols are numbered in their order.
            if pairs.last().is_some_and(|p| p.name >= name) {
                return Err(lookup.expected("a label name greater than the one before"));
            }
            let start = labels.len();
            match pairs_before.get(i) {
                Some(p) if (p.name, p.value) == (name, value) => {
                    labels.extend_from_slice(&labels_before[p.start..p.end]);
                }
                _ => {
                    let text = self.symbol(&mut lookup)?;
                    if text.is_empty() {
                        return Err(lookup.expected("a label name that is not empty"));
                    }
                    push_pair(labels, text, self.symbol(&mut lookup)?);
                }
            }
            pairs.push(PairAt { name, value, start, end: labels.len() });
        }
        Ok(())
    }

    fn symbol(&self, cursor: &mut Cursor<'_>) -> Result<&str, BlockError> {
        let before = *cursor;
        let number = cursor.uvarint("the number of a symbol")?;
        self.symbols.get(number).ok_or_else(|| before.expected(format!("a symbol's number, not {number}")))
    }
}

fn chunks(cursor: &mut Cursor<'_>, chunks: &mut Vec<ChunkMeta>) -> Result<(), BlockError> {
    let count = cursor.count(3, "the number of chunks")?;
    chunks.clear();
    chunks.reserve(count);
    for _ in 0..count {
        let before = *cursor;
        let outside = || before.expected("a chunk whose times and place fit 64 bits");
        let previous = chunks.last();
        let min = match previous {
            None => Some(cursor.varint("a chunk's first time")?),
            Some(p) => p.max.0.checked_add_unsigned(cursor.uvarint("a chunk's first time")?),
        };
        let min = min.ok_or_else(outside)?;
        let max = min.checked_add_unsigned(cursor.uvarint("a chunk's last time")?).ok_or_else(outside)?;
        let place = match previous {
            None => Some(cursor.uvarint("a chunk's place")?),
            Some(p) => p.chunk.0.checked_add_signed(cursor.varint("a chunk's place")?),
        };
        let chunk = ChunkRef(place.ok_or_else(outside)?);
        chunks.push(ChunkMeta { min: TimestampMs(min), max: TimestampMs(max), chunk });
    }
    Ok(())
}
