//! A store with other servers beside it, read as one.
//!
//! * **The store is primary**: its errors are errors, and where it and others disagree about a sample it is right.
//! * **The others are secondary**: what one of them fails to tell becomes a warning that names it. What it had told before
//!   stays; a cancelled read is cancelled whoever notices.
//! * Who has nothing beside the store for a read pays nothing: the store answers alone, in the order that was asked for.
//!
//! The secondaries can be exchanged at any time; reads under way go on with those that they began with.

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::merge::MergedStream;
use super::newest::NewestRows;
use super::{
    BoxedLatest, BoxedSeries, LabelRequest, LabelTexts, Limit, Nothing, QueryError, Queryable, Scope, SelectRequest,
    SeriesBatch, SeriesStream, StreamEnd, StreamStats, StreamStep,
};
use crate::model::{Annotation, AnnotationKind, Annotations};

/// A source beside the store. Its streams outlive the borrow, because sources come and go while reads go on.
pub trait Secondary: Queryable {
    /// As [`Queryable::select`]; `None` if the source need not be asked. Work that takes time should have begun when this
    /// returns, so that several sources work at the same time.
    fn open(&self, scope: &Scope, request: &SelectRequest<'_>) -> Result<Option<BoxedSeries<'static>>, QueryError>;
}

/// A store and the sources beside it.
pub struct Fanout {
    primary: Arc<dyn Queryable>,
    secondaries: ArcSwap<Vec<Arc<dyn Secondary>>>,
}

impl Fanout {
    /// The store alone.
    pub fn new(primary: Arc<dyn Queryable>) -> Fanout {
        Fanout { primary, secondaries: ArcSwap::default() }
    }

    /// Replaces the sources beside the store. The earlier ones are trusted more.
    pub fn set_secondaries(&self, secondaries: Vec<Arc<dyn Secondary>>) {
        self.secondaries.store(Arc::new(secondaries));
    }

    /// The store and all others that have something to tell as one, sorted; `None` if there are no others.
    fn select_merged(
        &self,
        scope: &Scope,
        request: &SelectRequest<'_>,
    ) -> Result<Option<MergedStream<'_>>, QueryError> {
        let sorted = SelectRequest { sorted: true, ..request.clone() };
        let mut others: Vec<BoxedSeries<'_>> = Vec::new();
        let mut failed = Annotations::none();
        for secondary in self.secondaries.load().iter() {
            match forgiven(secondary.open(scope, &sorted))? {
                Ok(Some(stream)) => others.push(Box::new(Forgiven(stream))),
                Ok(None) => {}
                Err(warning) => failed.add(warning),
            }
        }
        if others.is_empty() && failed.is_empty() {
            return Ok(None);
        }
        let mut sources = vec![self.primary.select(scope, &sorted)?];
        sources.append(&mut others);
        sources.push(Box::new(Nothing(failed)));
        Ok(Some(MergedStream::new(sources, scope, request.limit)))
    }

    /// Texts of the store and of all others together.
    fn texts(
        &self,
        limit: Limit,
        ask: impl Fn(&dyn Queryable) -> Result<LabelTexts, QueryError>,
    ) -> Result<LabelTexts, QueryError> {
        let (texts, mut annotations) = ask(&*self.primary)?;
        let secondaries = self.secondaries.load_full();
        if secondaries.is_empty() {
            return Ok((texts, annotations));
        }
        let mut union = BTreeSet::from_iter(texts);
        for secondary in secondaries.iter() {
            match forgiven(ask(&**secondary as &dyn Queryable))? {
                Ok((texts, more)) => {
                    union.extend(texts);
                    annotations.merge(more);
                }
                Err(warning) => annotations.add(warning),
            }
        }
        Ok((union.into_iter().take(limit.unwrap_or(usize::MAX)).collect(), annotations))
    }
}

/// A secondary's failure as the warning that becomes of it.
fn forgiven<T>(outcome: Result<T, QueryError>) -> Result<Result<T, Annotation>, QueryError> {
    let (member, message) = match outcome {
        Ok(value) => return Ok(Ok(value)),
        Err(QueryError::Cancelled(cancelled)) => return Err(cancelled.into()),
        Err(QueryError::Peer { peer, reason }) => (Some(peer), reason),
        Err(other) => (None, other.to_string()),
    };
    Ok(Err(Annotation { kind: AnnotationKind::Warning, message, position: None, member }))
}

impl Queryable for Fanout {
    fn select(&self, scope: &Scope, request: &SelectRequest<'_>) -> Result<BoxedSeries<'_>, QueryError> {
        match self.select_merged(scope, request)? {
            Some(merged) => Ok(Box::new(merged)),
            None => self.primary.select(scope, request),
        }
    }

    fn select_latest(&self, scope: &Scope, request: &SelectRequest<'_>) -> Result<BoxedLatest<'_>, QueryError> {
        let unlimited = SelectRequest { limit: None, ..request.clone() };
        let Some(mut merged) = self.select_merged(scope, &unlimited)? else {
            return self.primary.select_latest(scope, request);
        };
        Ok(Box::new(NewestRows::read(&mut merged, scope, request.range, request.limit)?))
    }

    fn label_names(&self, scope: &Scope, request: &LabelRequest<'_>) -> Result<LabelTexts, QueryError> {
        self.texts(request.limit, |source| source.label_names(scope, request))
    }

    fn label_values(&self, scope: &Scope, name: &str, request: &LabelRequest<'_>) -> Result<LabelTexts, QueryError> {
        self.texts(request.limit, |source| source.label_values(scope, name, request))
    }
}

/// A secondary's stream: it ends where it fails, with a warning.
struct Forgiven(BoxedSeries<'static>);

impl SeriesStream for Forgiven {
    fn next(&mut self, batch: &mut SeriesBatch) -> Result<StreamStep, QueryError> {
        match forgiven(self.0.next(batch))? {
            Ok(step) => Ok(step),
            Err(warning) => {
                batch.series.clear();
                let mut annotations = Annotations::none();
                annotations.add(warning);
                Ok(StreamStep::End(StreamEnd { annotations, stats: StreamStats::default() }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Labels, Matcher, TimestampMs};
    use crate::storage::memory::MemoryStore;
    use crate::storage::{Appendable as _, Cancelled, FloatSample, SeriesChunks, TimeRange, decode_values};

    fn store(series: &[(&str, &[(i64, f64)])]) -> Arc<MemoryStore> {
        let store = Arc::new(MemoryStore::new());
        let mut appender = store.appender();
        for (name, samples) in series {
            let series = appender.series(&Labels::from_pairs([("__name__", *name)])).unwrap();
            for (t, v) in *samples {
                appender.append(&[FloatSample { series, t: TimestampMs(*t), v: *v }]).unwrap();
            }
        }
        appender.commit().unwrap();
        store
    }

    /// A source that gives what a store has, and then fails as it is told to.
    struct Other {
        store: Arc<MemoryStore>,
        fails: Option<fn() -> QueryError>,
        is_asked: bool,
    }

    struct Failing(std::vec::IntoIter<SeriesChunks>, Option<fn() -> QueryError>);

    impl SeriesStream for Failing {
        fn next(&mut self, batch: &mut SeriesBatch) -> Result<StreamStep, QueryError> {
            batch.series.clear();
            batch.series.extend(self.0.next());
            match self.1 {
                _ if !batch.series.is_empty() => Ok(StreamStep::Batch),
                Some(fails) => Err(fails()),
                None => Ok(StreamStep::End(StreamEnd::default())),
            }
        }
    }

    impl Secondary for Other {
        fn open(&self, scope: &Scope, request: &SelectRequest<'_>) -> Result<Option<BoxedSeries<'static>>, QueryError> {
            assert!(request.sorted, "only sorted streams can be merged");
            let (mut all, mut batch) = (Vec::new(), SeriesBatch::default());
            let mut stream = self.store.select(scope, request)?;
            while let StreamStep::Batch = stream.next(&mut batch)? {
                all.append(&mut batch.series);
            }
            Ok(self.is_asked.then(|| Box::new(Failing(all.into_iter(), self.fails)) as BoxedSeries<'static>))
        }
    }

    impl Queryable for Other {
        fn select(&self, scope: &Scope, request: &SelectRequest<'_>) -> Result<BoxedSeries<'_>, QueryError> {
            Ok(self.open(scope, request)?.unwrap_or_else(|| Box::new(Nothing::default())))
        }

        fn select_latest(&self, scope: &Scope, request: &SelectRequest<'_>) -> Result<BoxedLatest<'_>, QueryError> {
            self.store.select_latest(scope, request)
        }

        fn label_names(&self, scope: &Scope, request: &LabelRequest<'_>) -> Result<LabelTexts, QueryError> {
            self.label_values(scope, "__name__", request)
        }

        fn label_values(
            &self,
            scope: &Scope,
            name: &str,
            request: &LabelRequest<'_>,
        ) -> Result<LabelTexts, QueryError> {
            match self.fails {
                Some(fails) => Err(fails()),
                None => self.store.label_values(scope, name, request),
            }
        }
    }

    fn gone() -> QueryError {
        QueryError::Peer { peer: "far".to_owned(), reason: "gone".to_owned() }
    }

    fn fanout(fails: Option<fn() -> QueryError>, is_asked: bool) -> Fanout {
        let fanout = Fanout::new(store(&[("b", &[(1, 1.0), (2, 1.0)]), ("c", &[(1, 3.0)])]));
        let store = store(&[("a", &[(1, 9.0)]), ("b", &[(2, 9.0), (3, 9.0)])]);
        fanout.set_secondaries(vec![Arc::new(Other { store, fails, is_asked })]);
        fanout
    }

    type Read = (Vec<(String, Vec<(i64, f64)>)>, Vec<String>);

    fn read(fanout: &Fanout) -> Result<Read, QueryError> {
        let selectors = [vec![Matcher::new(crate::model::MatchOp::Regex, "__name__", ".+").unwrap()]];
        let request = SelectRequest { selectors: &selectors, range: TimeRange::ALL, sorted: false, limit: None };
        let scope = Scope::unbounded();
        let (mut stream, mut batch, mut all) = (fanout.select(&scope, &request)?, SeriesBatch::default(), Vec::new());
        loop {
            if let StreamStep::End(end) = stream.next(&mut batch)? {
                let warnings = end.annotations.of(AnnotationKind::Warning).map(ToString::to_string).collect();
                return Ok((all, warnings));
            }
            for series in batch.series.drain(..) {
                let mut values = Vec::new();
                series.chunks.iter().for_each(|chunk| decode_values(chunk, &mut values).unwrap());
                let floats = values.iter().map(|s| (s.t.0, s.float().unwrap())).collect();
                all.push((series.labels.metric_name().unwrap().to_owned(), floats));
            }
        }
    }

    fn names(read: &Read) -> Vec<&str> {
        read.0.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn the_store_wins_where_sources_disagree_and_others_add_what_it_lacks() {
        let read = read(&fanout(None, true)).unwrap();
        assert_eq!(names(&read), ["a", "b", "c"]);
        assert_eq!(read.0[1].1, [(1, 1.0), (2, 1.0), (3, 9.0)]);
        assert!(read.1.is_empty());
    }

    #[test]
    fn a_failing_source_is_a_warning_that_names_it_and_a_cancelled_read_is_cancelled() {
        let failed = read(&fanout(Some(gone), true)).unwrap();
        assert_eq!((names(&failed), &failed.1[..]), (vec!["a", "b", "c"], &["far: gone".to_owned()][..]));
        let cancelled = read(&fanout(Some(|| Cancelled::Deadline.into()), true));
        assert!(matches!(cancelled, Err(QueryError::Cancelled(Cancelled::Deadline))));
        let scope = Scope::unbounded();
        let (values, remarks) = fanout(Some(gone), true).label_values(&scope, "__name__", &LabelRequest::ALL).unwrap();
        assert_eq!(values, ["b", "c"]);
        assert!(remarks.of(AnnotationKind::Warning).any(|w| w.to_string() == "far: gone"));
        let two = LabelRequest { limit: Some(2), ..LabelRequest::ALL };
        let (values, _) = fanout(None, true).label_values(&scope, "__name__", &two).unwrap();
        assert_eq!(values, ["a", "b"]);
    }

    #[test]
    fn a_source_that_need_not_be_asked_leaves_the_store_alone() {
        assert_eq!(names(&read(&fanout(Some(gone), false)).unwrap()), ["b", "c"]);
    }

    #[test]
    fn the_newest_sample_of_all_sources_is_the_newest() {
        let (fanout, scope) = (fanout(None, true), Scope::unbounded());
        let selectors = [vec![Matcher::new(crate::model::MatchOp::Regex, "__name__", ".+").unwrap()]];
        let request = SelectRequest { selectors: &selectors, range: TimeRange::ALL, sorted: true, limit: Some(2) };
        let mut stream = fanout.select_latest(&scope, &request).unwrap();
        let mut batch = crate::storage::LatestBatch::default();
        assert!(matches!(stream.next(&mut batch).unwrap(), StreamStep::Batch));
        let rows: Vec<_> = batch.rows.iter().map(|row| (row.t.0, row.v)).collect();
        assert_eq!(rows, [(1, 9.0), (3, 9.0)]);
        assert!(matches!(stream.next(&mut batch).unwrap(), StreamStep::End(_)));
    }
}
