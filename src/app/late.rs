//! A store that is opened while others already hold it.

use std::sync::{Arc, OnceLock};

use crate::model::Labels;
use crate::storage::{
    AdminError, Administrable, AppendError, AppendReport, Appendable, Appender, BoxedLatest, BoxedSeries,
    ExemplarQueryable, FloatSample, HeadStatistics, LabelRequest, LabelTexts, QueryError, Queryable, ReplayStatus,
    Scope, SelectRequest, Selector, SeriesExemplars, SeriesRef, TimeRange, UnknownSeries,
};
use crate::tsdb::{ReplayProgress, Tsdb};

/// Refuses everything until the store is there.
#[derive(Default)]
pub(super) struct LateStore {
    store: OnceLock<Arc<Tsdb>>,
    replay: ReplayProgress,
}

impl LateStore {
    /// Puts the open store in place. The first one stays.
    pub(super) fn open(&self, store: Arc<Tsdb>) {
        // There is one opener; a second store would only be dropped again.
        drop(self.store.set(store));
    }

    /// Where whoever opens the store tells how far it is.
    pub(super) fn progress(&self) -> &ReplayProgress {
        &self.replay
    }

    /// The store, once it is open.
    pub(super) fn get(&self) -> Option<&Arc<Tsdb>> {
        self.store.get()
    }

    fn ready(&self) -> Result<&Tsdb, QueryError> {
        match self.store.get() {
            Some(store) => Ok(store),
            None => Err(QueryError::NotReady("its log is still being read".to_owned())),
        }
    }
}

impl Appendable for LateStore {
    fn appender(&self) -> Box<dyn Appender + '_> {
        match self.store.get() {
            Some(store) => store.appender(),
            None => Box::new(Closed),
        }
    }
}

impl Queryable for LateStore {
    fn select(&self, scope: &Scope, request: &SelectRequest<'_>) -> Result<BoxedSeries<'_>, QueryError> {
        self.ready()?.select(scope, request)
    }

    fn select_latest(&self, scope: &Scope, request: &SelectRequest<'_>) -> Result<BoxedLatest<'_>, QueryError> {
        self.ready()?.select_latest(scope, request)
    }

    fn is_prompt(&self) -> bool {
        self.get().is_some_and(|store| store.is_prompt())
    }

    fn label_names(&self, scope: &Scope, request: &LabelRequest<'_>) -> Result<LabelTexts, QueryError> {
        self.ready()?.label_names(scope, request)
    }

    fn label_values(&self, scope: &Scope, name: &str, request: &LabelRequest<'_>) -> Result<LabelTexts, QueryError> {
        self.ready()?.label_values(scope, name, request)
    }
}

impl ExemplarQueryable for LateStore {
    fn select_exemplars(&self, selectors: &[Selector], range: TimeRange) -> Result<Vec<SeriesExemplars>, QueryError> {
        self.ready()?.select_exemplars(selectors, range)
    }
}

impl Administrable for LateStore {
    fn delete(&self, selectors: &[Selector], range: TimeRange) -> Result<(), AdminError> {
        self.ready()?.delete(selectors, range)
    }

    fn clean_tombstones(&self) -> Result<(), AdminError> {
        self.ready()?.clean_tombstones()
    }

    fn snapshot(&self, with_head: bool) -> Result<String, AdminError> {
        self.ready()?.snapshot(with_head)
    }

    fn trouble(&self) -> Option<String> {
        self.store.get().and_then(|store| store.trouble())
    }

    fn statistics(&self, limit: usize) -> Result<HeadStatistics, AdminError> {
        self.ready()?.statistics(limit)
    }

    fn block_descriptions(&self) -> Result<Vec<String>, AdminError> {
        self.ready()?.block_descriptions()
    }

    fn replay_status(&self) -> ReplayStatus {
        self.replay.get()
    }
}

/// The appender of a store that is not there.
struct Closed;

impl Appender for Closed {
    fn series(&mut self, _: &Labels) -> Result<SeriesRef, AppendError> {
        Err(AppendError::Closed)
    }

    fn append(&mut self, _: &[FloatSample]) -> Result<UnknownSeries, AppendError> {
        Err(AppendError::Closed)
    }

    fn commit(self: Box<Self>) -> Result<AppendReport, AppendError> {
        Err(AppendError::Closed)
    }
}
