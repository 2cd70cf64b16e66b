//! Reading: head and blocks as one. How each is read stands in `head/read.rs` and `block/query.rs`.
//!
//! A block takes part if its time overlaps the range that is asked for. The head always does: it may still hold what a
//! block has taken over, and then both answer and are merged, the head winning where they differ. Samples out of order are
//! a source of their own, which comes last. If no block overlaps and there are none of those, the head answers alone; that
//! is the way of nearly every query for the present.
//!
//! A reader enters [`Readers`](super::readers::Readers) before it looks at the list of blocks and stays until its stream
//! is dropped, so that a sample which changes from the head to a block meanwhile is found in one of them at least.

use std::collections::BTreeSet;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::Tsdb;
use super::block::{Block, BlockError};
use super::head::Index;
use super::readers::Reading;
use crate::model::Annotations;
use crate::storage::merge::MergedStream;
use crate::storage::newest::NewestRows;
use crate::storage::{
    BoxedLatest, BoxedSeries, Cancelled, LabelRequest, LabelTexts, LatestBatch, LatestStream, PartOf, QueryError,
    Queryable, Scope, SelectRequest, Selector, SeriesBatch, SeriesStream, StreamStep, TimeRange,
};

impl Queryable for Tsdb {
    fn select(&self, scope: &Scope, request: &SelectRequest<'_>) -> Result<BoxedSeries<'_>, QueryError> {
        let reading = self.readers.enter(request.range.min.0);
        let blocks = self.blocks_in(request.range);
        let stream = match blocks.is_empty() && !self.late.is_in(request.range) {
            true => self.select_head(scope, request)?,
            false => Box::new(self.select_merged(scope, request, &blocks)?),
        };
        Ok(Box::new(Held { stream, _reading: reading }))
    }

    fn select_latest(&self, scope: &Scope, request: &SelectRequest<'_>) -> Result<BoxedLatest<'_>, QueryError> {
        scope.check()?;
        let reading = self.readers.enter(request.range.min.0);
        let blocks = self.blocks_in(request.range);
        if blocks.is_empty() && !self.may_be_latest(request.range) {
            let stream: BoxedLatest<'_> = Box::new(self.head.select_latest(scope, request, &self.metadata)?);
            return Ok(Box::new(Held { stream, _reading: reading }));
        }
        let unlimited = SelectRequest { limit: None, ..request.clone() };
        let mut merged = self.select_merged(scope, &unlimited, &blocks)?;
        Ok(Box::new(NewestRows::read(&mut merged, scope, request.range, request.limit)?))
    }

    fn is_prompt(&self) -> bool {
        self.head.is_prompt()
    }

    fn label_names(&self, scope: &Scope, request: &LabelRequest<'_>) -> Result<LabelTexts, QueryError> {
        scope.check()?;
        let names = |index: &Index, series: &RoaringBitmap, limit| index.names_of(series, limit);
        let names = self.texts(scope, request, names, |block| block.label_names(request.selectors, scope))?;
        Ok((names, Annotations::none()))
    }

    fn label_values(&self, scope: &Scope, name: &str, request: &LabelRequest<'_>) -> Result<LabelTexts, QueryError> {
        scope.check()?;
        let values = |index: &Index, series: &RoaringBitmap, limit| index.values_of(name, series, limit);
        let of_block = |block: &Block| block.label_values(name, request.selectors, scope);
        let values = self.texts(scope, request, values, of_block)?;
        Ok((values, Annotations::none()))
    }
}

impl Tsdb {
    /// Opens a stream over what the head holds.
    pub(super) fn select_head(
        &self,
        scope: &Scope,
        request: &SelectRequest<'_>,
    ) -> Result<BoxedSeries<'_>, QueryError> {
        scope.check()?;
        Ok(Box::new(self.head.select(scope, request)?))
    }

    /// Opens a stream over head and blocks, sorted whatever is asked for.
    fn select_merged(
        &self,
        scope: &Scope,
        request: &SelectRequest<'_>,
        blocks: &[Arc<Block>],
    ) -> Result<MergedStream<'_>, QueryError> {
        let sorted = SelectRequest { sorted: true, ..request.clone() };
        let mut sources = vec![self.select_head(scope, &sorted)?];
        for block in blocks {
            sources.push(Box::new(block.select(scope, request.selectors, request.range, request.limit)?));
        }
        if let Some(late) = self.select_late(scope, &sorted)? {
            sources.push(Box::new(late));
        }
        Ok(MergedStream::new(sources, scope, request.limit))
    }

    /// The blocks that may have samples in a range. To be called by someone who has entered.
    fn blocks_in(&self, range: TimeRange) -> Vec<Arc<Block>> {
        // The last instant of a block does not belong to it.
        let overlaps = |b: &&Arc<Block>| b.meta().min_time <= range.max.0 && range.min.0 < b.meta().max_time;
        self.blocks.snapshot().iter().filter(overlaps).cloned().collect()
    }

    /// Label names or values of the selected series of head and blocks, ascending.
    fn texts(
        &self,
        scope: &Scope,
        request: &LabelRequest<'_>,
        of_head: impl FnOnce(&Index, &RoaringBitmap, usize) -> Vec<String>,
        of_block: impl Fn(&Block) -> Result<Vec<String>, BlockError>,
    ) -> Result<Vec<String>, QueryError> {
        let limit = request.limit.unwrap_or(usize::MAX);
        let _reading = self.readers.enter(request.range.min.0);
        let blocks = self.blocks_in(request.range);
        let texts = {
            let index = self.head.index();
            let series = self.in_memory(&matching_or_all(&index, request.selectors, scope)?, request.range);
            of_head(&index, &series, limit)
        };
        if blocks.is_empty() {
            return Ok(texts);
        }
        let mut union = BTreeSet::from_iter(texts);
        for block in &blocks {
            union.extend(of_block(block)?);
        }
        Ok(union.into_iter().take(limit).collect())
    }
}

fn matching_or_all(index: &Index, selectors: &[Selector], scope: &Scope) -> Result<RoaringBitmap, Cancelled> {
    if selectors.is_empty() { Ok(index.live().clone()) } else { index.matching(selectors, scope) }
}

/// A stream of someone who has entered.
struct Held<'a, S: ?Sized> {
    stream: Box<S>,
    _reading: Reading<'a>,
}

impl SeriesStream for Held<'_, dyn SeriesStream + '_> {
    fn next(&mut self, batch: &mut SeriesBatch) -> Result<StreamStep, QueryError> {
        self.stream.next(batch)
    }
}

impl LatestStream for Held<'_, dyn LatestStream + '_> {
    fn next(&mut self, batch: &mut LatestBatch) -> Result<StreamStep, QueryError> {
        self.stream.next(batch)
    }

    fn by_family(&mut self, part_of: &mut PartOf<'_>) -> bool {
        self.stream.by_family(part_of)
    }
}
