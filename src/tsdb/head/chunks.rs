//! Closed chunks on their way to files and back: written during upkeep, attached to their series at start.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::Head;
use super::closed::{Closed, Held};
use super::series::{Page, Series};
use crate::storage::Encoding;
use crate::tsdb::head_chunks::{ChunkPlace, FoundChunk};
use crate::tsdb::wal::WriteError;

/// A closed chunk that lies in memory only.
struct Waiting {
    at: usize,
    wal_ref: u64,
    min: i64,
    max: i64,
    encoding: Encoding,
    data: Bytes,
}

impl Head {
    /// Writes the closed chunks that are still in memory to files and lets go of the memory; returns how many. On an error
    /// the rest stays in memory and can be read as before.
    pub(crate) fn write_closed_chunks(&self) -> Result<u64, WriteError> {
        let pages = self.pages.read().clone();
        let mut written = 0;
        for page in &pages {
            let waiting = waiting_in(page);
            let mut placed = Vec::with_capacity(waiting.len());
            let mut failed = None;
            for chunk in waiting {
                match self.files.append(chunk.wal_ref, chunk.min, chunk.max, chunk.encoding, false, &chunk.data) {
                    Ok(place) => placed.push((chunk, place)),
                    Err(error) => {
                        failed = Some(error);
                        break;
                    }
                }
            }
            written += placed.len() as u64;
            move_out(page, placed);
            if let Some(error) = failed {
                return Err(error);
            }
        }
        self.files.flush()?;
        Ok(written)
    }

    /// Removes the files before the first that is still needed; all but the open one if none is.
    pub(crate) fn drop_files(&self, first_needed: Option<u32>) {
        self.files.cut_file();
        if let Err(error) = self.files.truncate(first_needed.unwrap_or(u32::MAX)) {
            tracing::warn!(%error, "files of head chunks that are not needed any more could not be removed");
        }
    }
}

fn waiting_in(page: &Arc<Page>) -> Vec<Waiting> {
    let mut waiting = Vec::new();
    for (at, series) in page.lock().iter().enumerate() {
        for chunk in series.closed() {
            if let Held::Memory { encoding, data } = &chunk.held {
                let (min, max, data) = (chunk.min, chunk.max, Bytes::clone(data));
                waiting.push(Waiting { at, wal_ref: series.wal_ref, min, max, encoding: *encoding, data });
            }
        }
    }
    waiting
}

/// A chunk that was dropped meanwhile is only a record that nobody refers to.
fn move_out(page: &Arc<Page>, placed: Vec<(Waiting, ChunkPlace)>) {
    if placed.is_empty() {
        return;
    }
    let mut series = page.lock();
    for (chunk, place) in placed {
        let series = &mut series[chunk.at];
        if series.wal_ref == chunk.wal_ref {
            series.move_out(chunk.min, chunk.encoding, place);
        }
    }
}

impl Series {
    fn move_out(&mut self, min: i64, encoding: Encoding, place: ChunkPlace) {
        if let Some(chunk) = self.closed_mut().iter_mut().find(|chunk| chunk.min == min) {
            chunk.held = Held::File { encoding, place };
        }
    }

    /// Takes the chunks that were found in files, once the log names the series. A chunk that overlaps what is there, or an
    /// earlier one of its own, is refused with all behind it: their samples come from the log. Returns how many were taken.
    pub(crate) fn attach(&mut self, found: &[FoundChunk], min_valid: i64) -> usize {
        let needed = found.iter().filter(|chunk| chunk.max >= min_valid);
        needed.take_while(|chunk| self.attach_one(chunk)).count()
    }

    /// Takes a chunk if all of it comes behind what is there.
    fn attach_one(&mut self, found: &FoundChunk) -> bool {
        if found.min > found.max || self.last_t().is_some_and(|last| last >= found.min) {
            return false;
        }
        let held = Held::File { encoding: found.encoding, place: found.place };
        self.push_closed(Closed { min: found.min, max: found.max, held });
        true
    }

    /// Whether a sample of that time lies in a chunk that came from a file, where the log need not be asked.
    pub(crate) fn is_in_file(&self, t: i64) -> bool {
        let closed = self.closed();
        let found = closed.get(closed.partition_point(|chunk| chunk.max < t));
        found.is_some_and(|chunk| chunk.min <= t && chunk.held.place().is_some())
    }

    /// The first file with a chunk of the series.
    pub(super) fn first_file(&self) -> Option<u32> {
        self.closed().iter().filter_map(|chunk| chunk.held.place()).map(ChunkPlace::file).min()
    }
}

/// Found chunks by series, each one's in the order in which they were written.
#[derive(Debug, Default)]
pub(crate) struct FoundChunks(Vec<FoundChunk>);

impl FoundChunks {
    /// Those of samples that came in order, and the others. All of them may be as large as the head, so none is copied.
    pub(crate) fn split(mut found: Vec<FoundChunk>) -> (FoundChunks, Vec<FoundChunk>) {
        let late = found.extract_if(.., |chunk| chunk.out_of_order).collect();
        // Places ascend in the order of writing.
        found.sort_unstable_by_key(|chunk| (chunk.series, chunk.place));
        (FoundChunks(found), late)
    }

    /// Where those of a series are.
    pub(crate) fn of(&self, wal_ref: u64) -> Range<usize> {
        let start = self.0.partition_point(|chunk| chunk.series < wal_ref);
        let len = self.0[start..].iter().take_while(|chunk| chunk.series == wal_ref).count();
        start..start + len
    }

    /// Those that [`FoundChunks::of`] has told.
    pub(crate) fn get(&self, chunks: Range<usize>) -> &[FoundChunk] {
        &self.0[chunks]
    }

    /// Series that have any.
    pub(crate) fn series_count(&self) -> usize {
        self.0.chunk_by(|a, b| a.series == b.series).count()
    }
}
