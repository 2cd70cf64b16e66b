//! The samples of all members as those of one store, for what has to see series of several members at once.

use super::frontend::{Frontend, Source};
use super::strip::strip_selector;
use crate::model::{Annotations, Labels};
use crate::storage::{
    BoxedLatest, BoxedSeries, LabelRequest, LabelTexts, QueryError, Queryable, Scope, SelectRequest, Selector,
    SeriesBatch, SeriesChunks, SeriesStream, StreamEnd, StreamStats, StreamStep,
};

/// Series that are handed on at a time.
const BATCH: usize = 128;

/// All members' samples, with their virtual labels.
pub(super) struct Samples<'f> {
    pub frontend: &'f Frontend,
}

impl Samples<'_> {
    /// Reads what a member has.
    fn read(
        &self,
        source: &Source,
        selectors: &[Selector],
        request: &SelectRequest<'_>,
        scope: &Scope,
        into: &mut Gathered,
    ) -> Result<(), QueryError> {
        let name = &source.member.config().name;
        let missing =
            || QueryError::NotReady(format!("samples of member {name} are needed, which cannot be read from it"));
        let samples = source.samples.as_ref().ok_or_else(missing)?;
        let request = SelectRequest { selectors, ..request.clone() };
        let mut stream = samples.select(scope, &request)?;
        let mut batch = SeriesBatch::default();
        loop {
            match stream.next(&mut batch)? {
                StreamStep::Batch => into.take(self.frontend, source, &mut batch, scope)?,
                StreamStep::End(end) => {
                    into.annotations.merge(end.annotations);
                    return Ok(());
                }
            }
        }
    }
}

/// What has been read; charged to the scope until it is handed on.
struct Gathered {
    series: Vec<SeriesChunks>,
    annotations: Annotations,
    stats: StreamStats,
    scope: Scope,
    held: u64,
}

impl Gathered {
    fn take(
        &mut self,
        frontend: &Frontend,
        source: &Source,
        batch: &mut SeriesBatch,
        scope: &Scope,
    ) -> Result<(), QueryError> {
        let size = batch.size();
        self.held += size.bytes;
        scope.charge(0, size.bytes)?;
        for mut series in batch.series.drain(..) {
            let labels: Labels = frontend.dressed(&source.member, &series.labels);
            series.labels = labels;
            self.series.push(series);
        }
        Ok(())
    }
}

impl Drop for Gathered {
    fn drop(&mut self) {
        self.scope.release(0, self.held);
    }
}

impl SeriesStream for Gathered {
    fn next(&mut self, batch: &mut SeriesBatch) -> Result<StreamStep, QueryError> {
        batch.series.clear();
        let from = self.series.len().saturating_sub(BATCH);
        batch.series.extend(self.series.drain(from..).rev());
        if batch.series.is_empty() {
            let annotations = std::mem::take(&mut self.annotations);
            return Ok(StreamStep::End(StreamEnd { annotations, stats: self.stats }));
        }
        self.stats.add(&batch.size());
        Ok(StreamStep::Batch)
    }
}

impl Queryable for Samples<'_> {
    fn select(&self, scope: &Scope, request: &SelectRequest<'_>) -> Result<BoxedSeries<'_>, QueryError> {
        let mut gathered = Gathered {
            series: Vec::new(),
            annotations: Annotations::none(),
            stats: StreamStats::default(),
            scope: scope.clone(),
            held: 0,
        };
        for source in self.frontend.sources() {
            let stripped = request.selectors.iter().filter_map(|s| strip_selector(s, source.member.labels()));
            let stripped: Vec<Selector> = stripped.collect();
            if !stripped.is_empty() {
                self.read(source, &stripped, request, scope, &mut gathered)?;
            }
        }
        // Handed on from the end.
        gathered.series.sort_by(|a, b| b.labels.cmp(&a.labels));
        Ok(Box::new(gathered))
    }

    fn select_latest(&self, _: &Scope, _: &SelectRequest<'_>) -> Result<BoxedLatest<'_>, QueryError> {
        Err(QueryError::NotReady("the newest samples of a cluster cannot be read at once".to_owned()))
    }

    fn label_names(&self, _: &Scope, _: &LabelRequest<'_>) -> Result<LabelTexts, QueryError> {
        Err(QueryError::NotReady("labels of a cluster are lists of their own".to_owned()))
    }

    fn label_values(&self, _: &Scope, _: &str, _: &LabelRequest<'_>) -> Result<LabelTexts, QueryError> {
        Err(QueryError::NotReady("labels of a cluster are lists of their own".to_owned()))
    }
}
