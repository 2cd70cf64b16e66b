//! Streams of series from several sources.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::merge_chunks;
use crate::model::Annotations;
use crate::storage::{
    Limit, QueryError, Scope, SeriesBatch, SeriesChunks, SeriesStream, StreamEnd, StreamStats, StreamStep,
};

/// Series in a batch.
const BATCH_SERIES: usize = 256;
/// No series is added to a batch that has so many bytes of chunks.
const BATCH_BYTES: usize = 1 << 20;

/// Several streams, each ascending by labels, as one. A series that several have comes once, with its chunks merged; the
/// earlier stream wins. Warnings are those of all streams that were read to their end: a stream that stops at its limit
/// does not wait for the others'.
pub struct MergedStream<'a> {
    scope: Scope,
    left: usize,
    sources: Vec<Source<'a>>,
    /// The next series of each source that has one.
    next: BinaryHeap<Next>,
    started: bool,
    annotations: Annotations,
    stats: StreamStats,
}

impl<'a> MergedStream<'a> {
    /// A stream over `sources`, in order of precedence. What the sources load is charged to their own scopes.
    pub fn new(sources: Vec<Box<dyn SeriesStream + 'a>>, scope: &Scope, limit: Limit) -> MergedStream<'a> {
        let source = |stream| Source { stream, batch: SeriesBatch::default() };
        MergedStream {
            scope: scope.clone(),
            left: limit.unwrap_or(usize::MAX),
            sources: sources.into_iter().map(source).collect(),
            next: BinaryHeap::new(),
            started: false,
            annotations: Annotations::none(),
            stats: StreamStats::default(),
        }
    }

    fn start(&mut self) -> Result<(), QueryError> {
        if !std::mem::replace(&mut self.started, true) {
            for source in 0..self.sources.len() {
                self.advance(source)?;
            }
        }
        Ok(())
    }

    /// Brings the next series of a source into the heap.
    fn advance(&mut self, source: usize) -> Result<(), QueryError> {
        let next = match self.sources[source].next()? {
            Ok(series) => series,
            Err(end) => {
                self.annotations.merge(end.annotations);
                return Ok(());
            }
        };
        self.next.push(Next { series: next, source });
        Ok(())
    }

    fn pop(&mut self) -> Result<Option<SeriesChunks>, QueryError> {
        let Some(Next { mut series, source }) = self.next.pop() else { return Ok(None) };
        self.advance(source)?;
        let mut alone = true;
        while self.next.peek().is_some_and(|next| next.series.labels == series.labels) {
            if let Some(Next { series: mut same, source }) = self.next.pop() {
                series.chunks.append(&mut same.chunks);
                alone = false;
                self.advance(source)?;
            }
        }
        if !alone {
            series.chunks = merge_chunks(series.chunks).map_err(|e| QueryError::Corrupt {
                path: series.labels.to_string(),
                offset: 0,
                reason: e.to_string(),
            })?;
        }
        Ok(Some(series))
    }
}

impl SeriesStream for MergedStream<'_> {
    fn next(&mut self, batch: &mut SeriesBatch) -> Result<StreamStep, QueryError> {
        self.scope.check()?;
        batch.series.clear();
        self.start()?;
        let (wanted, mut bytes) = (BATCH_SERIES.min(self.left), 0);
        while batch.series.len() < wanted
            && bytes < BATCH_BYTES
            && let Some(series) = self.pop()?
        {
            bytes += series.chunks.iter().map(|c| c.data.len()).sum::<usize>();
            batch.series.push(series);
        }
        self.left -= batch.series.len();
        self.stats.add(&batch.size());
        if batch.series.is_empty() {
            let annotations = std::mem::take(&mut self.annotations);
            return Ok(StreamStep::End(StreamEnd { annotations, stats: self.stats }));
        }
        Ok(StreamStep::Batch)
    }
}

struct Source<'a> {
    stream: Box<dyn SeriesStream + 'a>,
    /// In descending order, so that the next is taken from the end.
    batch: SeriesBatch,
}

impl Source<'_> {
    /// The next series, or the end.
    fn next(&mut self) -> Result<Result<SeriesChunks, StreamEnd>, QueryError> {
        loop {
            if let Some(series) = self.batch.series.pop() {
                return Ok(Ok(series));
            }
            match self.stream.next(&mut self.batch)? {
                StreamStep::Batch => self.batch.series.reverse(),
                StreamStep::End(end) => return Ok(Err(end)),
            }
        }
    }
}

/// A source's next series. The greatest is the one with the smallest labels, of equal ones that of the first source.
struct Next {
    series: SeriesChunks,
    source: usize,
}

impl Ord for Next {
    fn cmp(&self, other: &Next) -> Ordering {
        (&other.series.labels, other.source).cmp(&(&self.series.labels, self.source))
    }
}

impl PartialOrd for Next {
    fn partial_cmp(&self, other: &Next) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Next {
    fn eq(&self, other: &Next) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Next {}
