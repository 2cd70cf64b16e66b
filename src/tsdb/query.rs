//! Reading; how the head is read stands in `head/read.rs`.

use roaring::RoaringBitmap;

use super::Tsdb;
use super::head::Index;
use crate::model::Annotations;
use crate::storage::{
    LatestStream, Limit, QueryError, Queryable, Scope, SelectRequest, Selector, SeriesStream, TimeRange,
};

impl Tsdb {
    /// Opens a stream over what the head holds.
    pub(super) fn select_head<'a>(
        &'a self,
        scope: &Scope,
        request: &SelectRequest<'_>,
    ) -> Result<Box<dyn SeriesStream + 'a>, QueryError> {
        scope.check()?;
        Ok(Box::new(self.head.select(scope, request)))
    }
}

impl Queryable for Tsdb {
    fn select<'a>(
        &'a self,
        scope: &Scope,
        request: &SelectRequest<'_>,
    ) -> Result<Box<dyn SeriesStream + 'a>, QueryError> {
        self.select_head(scope, request)
    }

    fn select_latest<'a>(
        &'a self,
        scope: &Scope,
        request: &SelectRequest<'_>,
    ) -> Result<Box<dyn LatestStream + 'a>, QueryError> {
        scope.check()?;
        Ok(Box::new(self.head.select_latest(scope, request)?))
    }

    fn label_names(
        &self,
        scope: &Scope,
        selectors: &[Selector],
        range: TimeRange,
        limit: Limit,
    ) -> Result<(Vec<String>, Annotations), QueryError> {
        scope.check()?;
        let index = self.head.index();
        let series = self.head.with_samples(&matching_or_all(&index, selectors), range);
        Ok((index.names_of(&series, limit.unwrap_or(usize::MAX)), Annotations::none()))
    }

    fn label_values(
        &self,
        scope: &Scope,
        name: &str,
        selectors: &[Selector],
        range: TimeRange,
        limit: Limit,
    ) -> Result<(Vec<String>, Annotations), QueryError> {
        scope.check()?;
        let index = self.head.index();
        let series = self.head.with_samples(&matching_or_all(&index, selectors), range);
        Ok((index.values_of(name, &series, limit.unwrap_or(usize::MAX)), Annotations::none()))
    }
}

fn matching_or_all(index: &Index, selectors: &[Selector]) -> RoaringBitmap {
    if selectors.is_empty() { index.live().clone() } else { index.matching(selectors) }
}
