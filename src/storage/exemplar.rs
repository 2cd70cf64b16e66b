//! Reading exemplars.

use super::{QueryError, Selector, TimeRange};
use crate::model::{Exemplar, Labels};

/// A series with exemplars of it, ascending by time; each of them has one.
pub type SeriesExemplars = (Labels, Vec<Exemplar>);

/// A store that can be asked for exemplars.
pub trait ExemplarQueryable: Send + Sync {
    /// The exemplars in the range of the series that satisfy any selector, ascending by the series' labels. Series without
    /// any are left out.
    fn select_exemplars(&self, selectors: &[Selector], range: TimeRange) -> Result<Vec<SeriesExemplars>, QueryError>;
}
