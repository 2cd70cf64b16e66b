//! Labels of a member's series that nobody sees, and that nobody can ask for: its external labels, which only some ways to its
//! samples show, and those by which its replicas differ.

use super::strip::any_name;
use crate::model::{Labels, LabelsBuilder, Matcher};
use crate::storage::{Selector, SeriesChunks};

/// Labels that nobody sees.
pub(super) struct Hidden<'c> {
    /// Taken off where series have exactly these.
    pub external: Labels,
    /// Taken off whatever their values are.
    pub replica: &'c [String],
}

impl<'c> Hidden<'c> {
    /// Those by which replicas differ, which every way to a member's series shows.
    pub(super) fn of_replicas(names: &'c [String]) -> Hidden<'c> {
        Hidden { external: Labels::empty(), replica: names }
    }

    pub(super) fn is_any(&self) -> bool {
        !self.external.is_empty() || !self.replica.is_empty()
    }

    /// Whether no series has a label with this name, whatever its value would be.
    pub(super) fn has_name(&self, name: &str) -> bool {
        self.replica.iter().any(|hidden| hidden == name)
    }

    /// A selector without conditions on what nobody sees; `None` if there is one that a missing label does not meet.
    /// Servers would take conditions on external labels for their own.
    pub(super) fn withheld(&self, selector: &Selector) -> Option<Selector> {
        let mut left = Selector::with_capacity(selector.len());
        for matcher in selector {
            let is_replica = self.has_name(&matcher.name);
            if is_replica && !matcher.matches("") {
                return None;
            }
            if !is_replica && self.external.get(&matcher.name).is_none() {
                left.push(matcher.clone());
            }
        }
        if left.iter().all(Matcher::matches_empty) {
            left.push(any_name());
        }
        Some(left)
    }

    /// The labels that are seen.
    pub(super) fn off(&self, labels: &Labels) -> Labels {
        let mut builder = LabelsBuilder::new();
        for (name, value) in labels {
            if self.external.get(name) != Some(value) && !self.has_name(name) {
                builder.push_new(name, value);
            }
        }
        builder.labels()
    }

    /// Takes them off series. Those that become the same stand in the order of what told them apart, in whatever order they
    /// have come: whose samples are preferred must not change from one answer to the next.
    pub(super) fn hide(&self, series: &mut [SeriesChunks]) {
        if !self.replica.is_empty() {
            series.sort_by(|a, b| a.labels.cmp(&b.labels));
        }
        for series in series {
            series.labels = self.off(&series.labels);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TimestampMs;
    use crate::storage::ChunkBuilder;

    #[test]
    fn of_replicas_behind_one_server_the_same_is_preferred_in_whatever_order_they_come() {
        let names = ["replica".to_owned()];
        let hidden = Hidden::of_replicas(&names);
        let series = |job: &str, replica: &str, samples: i64| {
            let mut builder = ChunkBuilder::new();
            (0..samples).for_each(|t| builder.push_float(TimestampMs(t), TimestampMs(0), 1.0));
            let labels = Labels::from_pairs([("job", job), ("replica", replica), ("zone", "z")]);
            SeriesChunks { labels, chunks: builder.finish() }
        };
        let all = [series("a", "1", 1), series("b", "1", 3), series("a", "2", 2), series("b", "2", 4)];
        let [a, b] = ["a", "b"].map(|job| Labels::from_pairs([("job", job), ("zone", "z")]));
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 3, 0, 1]] {
            let mut seen = order.map(|at| all[at].clone());
            hidden.hide(&mut seen);
            let seen = seen.each_ref().map(|series| (&series.labels, series.chunks[0].sample_count()));
            assert_eq!(seen, [(&a, 1), (&a, 2), (&b, 3), (&b, 4)]);
        }
    }

    #[test]
    fn conditions_on_what_nobody_sees_are_decided() {
        let names = ["replica".to_owned()];
        let hidden = Hidden::of_replicas(&names);
        let (up, without) = (Matcher::equal("__name__", "up"), Matcher::equal("replica", ""));
        assert_eq!(hidden.withheld(&vec![up.clone(), without.clone()]), Some(vec![up.clone()]));
        assert_eq!(hidden.withheld(&vec![up, Matcher::equal("replica", "a")]), None);
        assert_eq!(hidden.withheld(&vec![without]), Some(vec![any_name()]));
    }
}
