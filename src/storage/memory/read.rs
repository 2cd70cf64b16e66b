//! Answering, from plain lists of samples.

use std::collections::BTreeSet;

use super::MemoryStore;
use crate::model::{Annotations, Labels};
use crate::storage::chunk::{ChunkBuilder, EncodeError, TimedValue};
use crate::storage::newest::NewestRows;
use crate::storage::{
    BoxedLatest, BoxedSeries, Chunk, LabelRequest, LabelTexts, Limit, QueryError, Queryable, Scope, SelectRequest,
    SeriesBatch, SeriesChunks, SeriesStream, StreamEnd, StreamStats, StreamStep, TimeRange,
};

const BATCH_SERIES: usize = 100;

impl Queryable for MemoryStore {
    fn select(&self, scope: &Scope, request: &SelectRequest<'_>) -> Result<BoxedSeries<'_>, QueryError> {
        // A chunk says more about a histogram the more of its predecessors it holds, so nothing is cut off.
        let mut found = self.matching_whole(request.selectors, request.range, scope)?;
        found.truncate(request.limit.unwrap_or(usize::MAX));
        Ok(Box::new(MemoryStream::new(scope, request.range, found)))
    }

    fn select_latest(&self, scope: &Scope, request: &SelectRequest<'_>) -> Result<BoxedLatest<'_>, QueryError> {
        let found = self.matching(request.selectors, request.range, scope)?.into_iter();
        let newest = found.filter_map(|(labels, mut samples)| Some((labels, samples.pop()?)));
        let alive = newest.filter(|(_, sample)| !sample.value.is_stale());
        Ok(Box::new(NewestRows::new(scope, alive.collect(), Annotations::none(), request.limit)?))
    }

    fn is_prompt(&self) -> bool {
        true
    }

    fn label_names(&self, scope: &Scope, request: &LabelRequest<'_>) -> Result<LabelTexts, QueryError> {
        scope.check()?;
        let found = self.matching_or_all(request, scope)?;
        let names: BTreeSet<_> = found.iter().flat_map(|(labels, _)| labels.iter().map(|(name, _)| name)).collect();
        Ok(first(names, request.limit))
    }

    fn label_values(&self, scope: &Scope, name: &str, request: &LabelRequest<'_>) -> Result<LabelTexts, QueryError> {
        scope.check()?;
        let found = self.matching_or_all(request, scope)?;
        Ok(first(found.iter().filter_map(|(labels, _)| labels.get(name)).collect(), request.limit))
    }
}

fn first(texts: BTreeSet<&str>, limit: Limit) -> LabelTexts {
    let texts = texts.into_iter().take(limit.unwrap_or(usize::MAX)).map(str::to_owned).collect();
    (texts, Annotations::none())
}

struct MemoryStream {
    scope: Scope,
    range: TimeRange,
    rest: std::vec::IntoIter<(Labels, Vec<TimedValue>)>,
    stats: StreamStats,
}

impl MemoryStream {
    fn new(scope: &Scope, range: TimeRange, found: Vec<(Labels, Vec<TimedValue>)>) -> MemoryStream {
        MemoryStream { scope: scope.clone(), range, rest: found.into_iter(), stats: StreamStats::default() }
    }

    fn end(&self) -> StreamStep {
        StreamStep::End(StreamEnd { annotations: Annotations::none(), stats: self.stats })
    }
}

impl SeriesStream for MemoryStream {
    fn next(&mut self, batch: &mut SeriesBatch) -> Result<StreamStep, QueryError> {
        self.scope.check()?;
        batch.series.clear();
        for (labels, samples) in self.rest.by_ref().take(BATCH_SERIES) {
            let mut chunks = encode(&samples)?;
            chunks.retain(|chunk| self.range.overlaps(chunk.min, chunk.max));
            batch.series.push(SeriesChunks { labels, chunks });
        }
        if batch.series.is_empty() {
            return Ok(self.end());
        }
        let loaded = batch.size();
        self.stats.add(&loaded);
        self.scope.charge(loaded.samples, loaded.bytes)?;
        Ok(StreamStep::Batch)
    }
}

fn encode(samples: &[TimedValue]) -> Result<Vec<Chunk>, QueryError> {
    let mut builder = ChunkBuilder::new();
    for sample in samples {
        let step = builder.push(sample.t, sample.start, &sample.value);
        let corrupt =
            |e: EncodeError| QueryError::Corrupt { path: "memory".to_owned(), offset: 0, reason: e.to_string() };
        step.map_err(corrupt)?;
    }
    Ok(builder.finish())
}
