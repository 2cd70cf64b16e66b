//! Writing an index.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use hashbrown::HashMap;

use super::{HEADER, MAGIC, POSTINGS_ALIGN, SERIES_ALIGN, Toc, VERSION};
use crate::disk::Disk;
use crate::model::Labels;
use crate::tsdb::block::BlockError;
use crate::tsdb::block::bytes::{Sink, put_str, put_uvarint, put_varint};
use crate::tsdb::block::chunks::ChunkMeta;

/// Collects series and writes them as one file. Symbols stand before series in the file and are sorted, so nothing can
/// be written before the last series is known: a series waits as a few bytes per label and chunk.
#[derive(Debug)]
pub(in crate::tsdb::block) struct IndexBuilder {
    symbols: HashMap<Arc<str>, u32>,
    series: Vec<Pending>,
}

/// A series whose symbols have no final numbers yet.
#[derive(Debug)]
struct Pending {
    /// Names and values, numbered in order of appearance.
    pairs: Box<[(u32, u32)]>,
    /// The second half of the entry.
    chunks: Box<[u8]>,
}

/// References by the numbers of a label's name and value; numbers are in the order of the strings.
type Postings = BTreeMap<(u32, u32), Vec<u32>>;

impl IndexBuilder {
    pub(in crate::tsdb::block) fn new() -> IndexBuilder {
        // The reference counts the empty strings of the list of all series among the symbols.
        IndexBuilder { symbols: HashMap::from_iter([(Arc::from(""), 0)]), series: Vec::new() }
    }

    /// Adds a series; the caller keeps them ascending, and chunks ascending by time.
    pub(in crate::tsdb::block) fn push(&mut self, labels: &Labels, chunks: &[ChunkMeta]) {
        let pairs = labels.iter().map(|(name, value)| (self.intern(name), self.intern(value))).collect();
        self.series.push(Pending { pairs, chunks: encode_chunks(chunks).into_boxed_slice() });
    }

    fn intern(&mut self, text: &str) -> u32 {
        if let Some(number) = self.symbols.get(text) {
            return *number;
        }
        // Each number stands for a string in memory: they do not reach four billions.
        let number = u32::try_from(self.symbols.len()).unwrap_or(u32::MAX);
        self.symbols.insert(Arc::from(text), number);
        number
    }

    /// Writes the file and makes it durable.
    pub(in crate::tsdb::block) fn write(self, disk: &dyn Disk, path: &Path) -> Result<(), BlockError> {
        let mut sink = Sink::create(disk, path)?;
        sink.put(&MAGIC.to_be_bytes())?;
        sink.put(&[VERSION])?;
        let mut toc = Toc { symbols: HEADER, ..Toc::default() };

        let mut symbols: Vec<(Arc<str>, u32)> = self.symbols.into_iter().collect();
        symbols.sort_unstable();
        sink.put_section(&encode_symbols(&symbols), "the symbol table")?;
        let mut ranks = vec![0; symbols.len()];
        for (rank, (_, number)) in (0..).zip(&symbols) {
            ranks[*number as usize] = rank;
        }

        toc.series = sink.position();
        let postings = write_series(&mut sink, self.series, &ranks)?;
        toc.label_indices = sink.position();
        toc.postings = sink.position();
        let table = write_postings(&mut sink, postings, &symbols)?;
        toc.label_offset_table = sink.position();
        toc.postings_offset_table = sink.position();
        sink.put_section(&table, "the postings offset table")?;
        sink.put(&toc.encode())?;
        sink.finish().map(drop)
    }
}

fn encode_chunks(chunks: &[ChunkMeta]) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_uvarint(&mut bytes, chunks.len() as u64);
    let mut previous: Option<&ChunkMeta> = None;
    for chunk in chunks {
        match previous {
            None => put_varint(&mut bytes, chunk.min.0),
            Some(p) => put_uvarint(&mut bytes, chunk.min.0.wrapping_sub(p.max.0).cast_unsigned()),
        }
        put_uvarint(&mut bytes, chunk.max.0.wrapping_sub(chunk.min.0).cast_unsigned());
        match previous {
            None => put_uvarint(&mut bytes, chunk.chunk.0),
            Some(p) => put_varint(&mut bytes, chunk.chunk.0.wrapping_sub(p.chunk.0).cast_signed()),
        }
        previous = Some(chunk);
    }
    bytes
}

fn encode_symbols(symbols: &[(Arc<str>, u32)]) -> Vec<u8> {
    let mut bytes = (symbols.len() as u32).to_be_bytes().to_vec();
    for (symbol, _) in symbols {
        put_str(&mut bytes, symbol);
    }
    bytes
}

fn write_series(sink: &mut Sink, series: Vec<Pending>, ranks: &[u32]) -> Result<Postings, BlockError> {
    let mut postings = Postings::new();
    let mut all = Vec::with_capacity(series.len());
    let (mut entry, mut len) = (Vec::new(), Vec::new());
    for Pending { pairs, chunks } in series {
        sink.pad(SERIES_ALIGN)?;
        let reference = u32::try_from(sink.position() / SERIES_ALIGN)
            .map_err(|_| BlockError::Refused("the series would take more than 64 GiB of index".to_owned()))?;
        all.push(reference);
        entry.clear();
        put_uvarint(&mut entry, pairs.len() as u64);
        for (name, value) in pairs {
            let (name, value) = (ranks[name as usize], ranks[value as usize]);
            put_uvarint(&mut entry, u64::from(name));
            put_uvarint(&mut entry, u64::from(value));
            postings.entry((name, value)).or_default().push(reference);
        }
        entry.extend_from_slice(&chunks);
        len.clear();
        put_uvarint(&mut len, entry.len() as u64);
        sink.put(&len)?;
        sink.put(&entry)?;
        sink.put(&crc32c::crc32c(&entry).to_be_bytes())?;
    }
    // The empty string has the number 0, and no label is called by it.
    postings.insert((0, 0), all);
    Ok(postings)
}

/// Writes the lists and gives the content of the table that leads to them.
fn write_postings(sink: &mut Sink, postings: Postings, symbols: &[(Arc<str>, u32)]) -> Result<Vec<u8>, BlockError> {
    let count = u32::try_from(postings.len());
    let count = count.map_err(|_| BlockError::Refused("more than four billion labels".to_owned()))?;
    let mut table = count.to_be_bytes().to_vec();
    let mut list = Vec::new();
    for ((name, value), references) in postings {
        sink.pad(POSTINGS_ALIGN)?;
        table.push(2);
        put_str(&mut table, &symbols[name as usize].0);
        put_str(&mut table, &symbols[value as usize].0);
        put_uvarint(&mut table, sink.position());
        list.clear();
        list.extend_from_slice(&(references.len() as u32).to_be_bytes());
        list.extend(references.iter().flat_map(|r| r.to_be_bytes()));
        sink.put_section(&list, "a list of series")?;
    }
    Ok(table)
}
