//! Exemplars beside the samples that they belong to.

use hashbrown::HashMap;

use crate::model::{Exemplar, TimestampMs};
use crate::storage::SeriesExemplars;

/// Of a native histogram so many exemplars are shown.
const OF_HISTOGRAM: usize = 10;

/// The exemplars of some series, ascending by time.
#[derive(Debug, Default)]
pub(super) struct Exemplars(HashMap<Box<[u8]>, Vec<Exemplar>>);

impl Exemplars {
    pub(super) fn new(found: Vec<SeriesExemplars>) -> Exemplars {
        Exemplars(found.into_iter().map(|(labels, exemplars)| (labels.as_bytes().into(), exemplars)).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The newest exemplars of a series that are not newer than its sample at `t`, ascending.
    pub(super) fn of(&self, labels: &[u8], t: TimestampMs) -> &[Exemplar] {
        if self.is_empty() {
            return &[];
        }
        let all = self.0.get(labels).map_or(&[][..], Vec::as_slice);
        let until = all.partition_point(|exemplar| exemplar.t.is_none_or(|own| own <= t));
        &all[until.saturating_sub(OF_HISTOGRAM)..until]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;

    #[test]
    fn those_up_to_the_sample_are_shown_and_not_too_many() {
        let series = Labels::from_pairs([("__name__", "a")]);
        let exemplar = |t| Exemplar { labels: Labels::empty(), value: t as f64, t: Some(TimestampMs(t)) };
        let exemplars = Exemplars::new(vec![(series.clone(), (0..30).map(exemplar).collect())]);
        let times = |t| {
            let found = exemplars.of(series.as_bytes(), TimestampMs(t)).iter();
            found.map(|e| e.t.unwrap().0).collect::<Vec<_>>()
        };
        assert_eq!(times(2), [0, 1, 2]);
        assert_eq!(times(25), (16..26).collect::<Vec<_>>());
        assert!(times(-1).is_empty());
        assert!(exemplars.of(b"", TimestampMs(5)).is_empty());
    }
}
