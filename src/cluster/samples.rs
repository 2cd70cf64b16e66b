//! The samples of all members as those of one store, for what has to see series of several members at once.

use std::time::Instant;

use super::explain::Notes;
use super::frontend::{Frontend, Source};
use super::in_hand::InHand;
use super::limits::Fetched;
use super::member::Credentials;
use super::raw::Raw;
use super::strip::strip_selector;
use crate::storage::newest::NewestRows;
use crate::storage::{
    BoxedLatest, BoxedSeries, LabelRequest, LabelTexts, QueryError, Queryable, Scope, SelectRequest, Selector,
    SeriesBatch, StreamStep,
};

/// All members' samples, with their virtual labels.
pub(super) struct Samples<'f> {
    pub frontend: &'f Frontend,
    pub credentials: &'f Credentials,
    /// By when members have to have answered.
    pub deadline: Instant,
    /// Counts the series.
    pub fetched: &'f Fetched,
    pub notes: &'f Notes,
}

impl Samples<'_> {
    /// Reads what a member has. A member that may be missing may fail.
    fn read(
        &self,
        source: &Source,
        selectors: &[Selector],
        request: &SelectRequest<'_>,
        scope: &Scope,
    ) -> Result<InHand, QueryError> {
        match self.read_all(source, selectors, request, scope) {
            Err(error) => {
                let warning = self.frontend.excused(&source.member, error)?;
                let mut nothing = InHand::new(scope);
                nothing.annotations.add(warning);
                Ok(nothing)
            }
            outcome => outcome,
        }
    }

    fn read_all(
        &self,
        source: &Source,
        selectors: &[Selector],
        request: &SelectRequest<'_>,
        scope: &Scope,
    ) -> Result<InHand, QueryError> {
        let Samples { frontend, credentials, deadline, fetched, notes } = *self;
        let raw = Raw { frontend, source, credentials, deadline, fetched, notes };
        let request = SelectRequest { selectors, ..request.clone() };
        let mut stream = raw.select(scope, &request)?;
        let mut held = InHand::new(scope);
        let mut batch = SeriesBatch::default();
        loop {
            match stream.next(&mut batch)? {
                StreamStep::Batch => held.take(&mut batch, |labels| frontend.dressed(&source.member, labels))?,
                StreamStep::End(end) => {
                    held.annotations.merge(end.annotations);
                    return Ok(held);
                }
            }
        }
    }
}

impl Queryable for Samples<'_> {
    fn select(&self, scope: &Scope, request: &SelectRequest<'_>) -> Result<BoxedSeries<'_>, QueryError> {
        let stripped = |source: &Source| -> Vec<Selector> {
            request.selectors.iter().filter_map(|s| strip_selector(s, source.member.labels())).collect()
        };
        let asked: Vec<(&Source, Vec<Selector>)> = self.frontend.sources().iter().map(|s| (s, stripped(s))).collect();
        let mut held = InHand::new(scope);
        let read = |(source, selectors): &(&Source, Vec<Selector>)| self.read(source, selectors, request, scope);
        let asked: Vec<_> = asked.into_iter().filter(|(_, selectors)| !selectors.is_empty()).collect();
        for share in super::frontend::at_once(&asked, read) {
            held.append(share?);
        }
        held.sort();
        Ok(Box::new(held))
    }

    fn select_latest(&self, scope: &Scope, request: &SelectRequest<'_>) -> Result<BoxedLatest<'_>, QueryError> {
        // The limit is one on rows, and not every series has one.
        let mut all = self.select(scope, &SelectRequest { limit: None, ..request.clone() })?;
        Ok(Box::new(NewestRows::read(&mut *all, scope, request.range, request.limit)?))
    }

    fn label_names(&self, _: &Scope, _: &LabelRequest<'_>) -> Result<LabelTexts, QueryError> {
        Err(QueryError::NotReady("labels of a cluster are lists of their own".to_owned()))
    }

    fn label_values(&self, _: &Scope, _: &str, _: &LabelRequest<'_>) -> Result<LabelTexts, QueryError> {
        Err(QueryError::NotReady("labels of a cluster are lists of their own".to_owned()))
    }
}
