//! Reading the head.
//!
//! A stream decides at its opening which series it will visit and how far each may be read, and holds no lock between
//! batches. A slot may have got another owner by then, so each is visited with the reference that it had; a series that is
//! gone meanwhile had only samples older than what the head keeps.

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::closed::{Part, Seen};
use super::{Head, Index, PageCursor, series_ref};
use crate::model::{Annotations, Labels};
use crate::storage::merge::without;
use crate::storage::{
    Cancelled, Chunk, Held, QueryError, Scope, SelectRequest, SeriesBatch, SeriesChunks, SeriesStream, StreamEnd,
    StreamStats, StreamStep, TimeRange,
};
use crate::tsdb::block::Tombstones;
use crate::tsdb::head_chunks::PinnedChunks;

/// Series in a batch of chunks.
const BATCH_SERIES: usize = 256;

/// A series that a stream will visit.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    slot: u32,
    low_ref: u32,
    rank: u32,
    seen: Seen,
}

impl Head {
    /// The series that satisfy a selector with their chunks, as of this moment.
    pub(crate) fn select<'a>(
        &'a self,
        scope: &Scope,
        request: &SelectRequest<'_>,
    ) -> Result<HeadStream<'a>, Cancelled> {
        let index = if request.sorted { self.ordered_index() } else { self.index() };
        let found = index.matching(request.selectors, scope)?;
        let mut stream = self.stream(scope, &found, request.range, request.sorted.then_some(&*index))?;
        stream.left = request.limit.unwrap_or(usize::MAX);
        Ok(stream)
    }

    /// The series in a set of slots, ascending by labels.
    pub(crate) fn select_slots<'a>(
        &'a self,
        scope: &Scope,
        slots: &RoaringBitmap,
        range: TimeRange,
    ) -> Result<HeadStream<'a>, Cancelled> {
        let index = self.ordered_index();
        self.stream(scope, &(slots & index.live()), range, Some(&index))
    }

    /// A stream over these series, by the order of an index or in none.
    fn stream<'a>(
        &'a self,
        scope: &Scope,
        found: &RoaringBitmap,
        range: TimeRange,
        order: Option<&Index>,
    ) -> Result<HeadStream<'a>, Cancelled> {
        let files = self.files.pin();
        let held = scope.hold(found.len() * size_of::<Wanted>() as u64)?;
        let mut wanted = Vec::with_capacity(usize::try_from(found.len()).unwrap_or(0));
        let applied = self.applying.lock();
        self.each(found, |slot, series| {
            if let Some(seen) = series.seen().filter(|_| series.overlaps(range)) {
                wanted.push(Wanted { slot, low_ref: series.wal_ref as u32, rank: 0, seen });
            }
        });
        drop(applied);
        if let Some(index) = order {
            wanted.iter_mut().for_each(|series| series.rank = index.rank(series.slot));
            wanted.sort_unstable_by_key(|series| series.rank);
        }
        Ok(HeadStream {
            head: self,
            scope: scope.clone(),
            _held: held,
            range,
            series: wanted.into_iter(),
            left: usize::MAX,
            parts: Vec::new(),
            encoded: Vec::new(),
            stats: StreamStats::default(),
            files,
            tombstones: self.tombstones.read().clone(),
        })
    }
}

pub(super) fn left_of(chunk: Option<Chunk>, removed: &[TimeRange]) -> Result<Vec<Chunk>, QueryError> {
    match chunk {
        None => Ok(Vec::new()),
        Some(chunk) if removed.is_empty() => Ok(vec![chunk]),
        Some(chunk) => {
            let copy = chunk.clone();
            without(chunk, removed).map_err(|error| undecodable(&copy, &error))
        }
    }
}

pub(super) fn undecodable(chunk: &Chunk, error: &dyn std::error::Error) -> QueryError {
    let reason = format!("the chunk from {} to {}: {error}", chunk.min.0, chunk.max.0);
    QueryError::Corrupt { path: "memory".to_owned(), offset: 0, reason }
}

/// Series of the head with their chunks.
pub(crate) struct HeadStream<'a> {
    head: &'a Head,
    scope: Scope,
    /// For the list of series.
    _held: Held,
    range: TimeRange,
    series: std::vec::IntoIter<Wanted>,
    left: usize,
    /// Of the batch in progress, by place in it, with the series' log references.
    parts: Vec<(u64, Vec<Part>)>,
    encoded: Vec<u8>,
    stats: StreamStats,
    files: PinnedChunks<'a>,
    tombstones: Arc<Tombstones>,
}

impl HeadStream<'_> {
    /// Takes labels and parts of some series; files are not read yet.
    fn gather(&mut self, batch: &mut SeriesBatch) {
        let index = self.head.index();
        let pages = self.head.pages();
        let mut cursor = PageCursor::new(&pages);
        let wanted = BATCH_SERIES.min(self.left);
        self.parts.clear();
        while batch.series.len() < wanted
            && let Some(Wanted { slot, low_ref, seen, .. }) = self.series.next()
        {
            if index.low_ref(slot) != low_ref {
                continue;
            }
            let Some((_, series)) = cursor.known(series_ref(slot, u64::from(low_ref))) else { continue };
            let mut parts = Vec::new();
            series.parts(self.range, seen, &mut parts);
            if parts.is_empty() {
                continue;
            }
            self.parts.push((series.wal_ref, parts));
            self.encoded.clear();
            index.write_labels(slot, &mut self.encoded);
            batch.series.push(SeriesChunks { labels: Labels::from_encoded(&self.encoded), chunks: Vec::new() });
        }
    }

    fn load(&mut self, batch: &mut SeriesBatch) -> Result<(), QueryError> {
        for (series, (wal_ref, parts)) in batch.series.iter_mut().zip(self.parts.drain(..)) {
            let removed = self.tombstones.get(wal_ref);
            for part in parts {
                let chunks = left_of(part.load(&self.files)?, removed)?;
                series.chunks.extend(chunks.into_iter().filter(|c| self.range.overlaps(c.min, c.max)));
            }
        }
        batch.series.retain(|series| !series.chunks.is_empty());
        self.left -= batch.series.len();
        Ok(())
    }
}

impl SeriesStream for HeadStream<'_> {
    fn next(&mut self, batch: &mut SeriesBatch) -> Result<StreamStep, QueryError> {
        self.scope.check()?;
        batch.series.clear();
        while batch.series.is_empty() {
            self.gather(batch);
            if batch.series.is_empty() {
                return Ok(StreamStep::End(StreamEnd { annotations: Annotations::none(), stats: self.stats }));
            }
            self.load(batch)?;
        }
        let (mut samples, mut bytes, mut chunks) = (0, 0, 0);
        for chunk in batch.series.iter().flat_map(|s| &s.chunks) {
            samples += u64::from(chunk.sample_count());
            bytes += chunk.data.len() as u64;
            chunks += 1;
        }
        self.stats.series += batch.series.len() as u64;
        self.stats.chunks += chunks;
        self.stats.bytes += bytes;
        self.scope.charge(samples, bytes)?;
        Ok(StreamStep::Batch)
    }
}
