//! Labels of which only some count.

use crate::model::labels::RawPairs;
use crate::model::{Labels, METRIC_NAME};

/// Picks labels by their names: those of `on` and `by`, or all but those of `ignoring` and `without`.
#[derive(Clone, Debug)]
pub(crate) struct Projection {
    keeps: bool,
    /// Sorted, each once.
    names: Vec<String>,
}

impl Projection {
    /// Keeps labels of these names.
    pub fn keeping<'a>(names: impl IntoIterator<Item = &'a str>) -> Projection {
        Projection::new(true, names)
    }

    /// Keeps all labels but those of these names.
    pub fn dropping<'a>(names: impl IntoIterator<Item = &'a str>) -> Projection {
        Projection::new(false, names)
    }

    /// By what series of two sides, or of one group, are recognised: the metric's name only counts if it is asked for.
    pub fn matching(keeps: bool, names: &[String]) -> Projection {
        let names = names.iter().map(String::as_str);
        if keeps { Projection::keeping(names) } else { Projection::dropping(names.chain([METRIC_NAME])) }
    }

    fn new<'a>(keeps: bool, names: impl IntoIterator<Item = &'a str>) -> Projection {
        let mut names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        names.sort_unstable();
        names.dedup();
        Projection { keeps, names }
    }

    /// Whether nothing is ever picked.
    pub fn is_nothing(&self) -> bool {
        self.keeps && self.names.is_empty()
    }

    /// Replaces `out` by the encoding of what is picked.
    pub fn write(&self, labels: &Labels, out: &mut Vec<u8>) {
        out.clear();
        if self.is_nothing() {
            return;
        }
        // Both sides are sorted, so one pass over both is enough.
        let mut names = self.names.iter().map(String::as_bytes).peekable();
        let mut pairs = RawPairs::over(labels.as_bytes());
        loop {
            let before = pairs.rest();
            let Some((name, _)) = pairs.next() else { return };
            while names.next_if(|wanted| *wanted < name).is_some() {}
            if names.peek().is_some_and(|wanted| *wanted == name) == self.keeps {
                out.extend_from_slice(&before[..before.len() - pairs.rest().len()]);
            }
        }
    }

    /// What is picked, as a set of its own.
    pub fn apply(&self, labels: &Labels) -> Labels {
        let mut encoded = Vec::with_capacity(labels.as_bytes().len());
        self.write(labels, &mut encoded);
        if encoded.len() == labels.as_bytes().len() { labels.clone() } else { Labels::from_encoded(&encoded) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Labels {
        Labels::from_pairs([(METRIC_NAME, "m"), ("a", "1"), ("b", "2"), ("c", "3")])
    }

    #[test]
    fn names_in_any_order_pick_labels_or_leave_them_out() {
        let names = ["c", "a", "x", "a"];
        assert_eq!(Projection::keeping(names).apply(&labels()), Labels::from_pairs([("a", "1"), ("c", "3")]));
        assert_eq!(Projection::dropping(names).apply(&labels()), Labels::from_pairs([(METRIC_NAME, "m"), ("b", "2")]));
        assert!(Projection::keeping([]).apply(&labels()).is_empty());
        assert_eq!(Projection::dropping([]).apply(&labels()), labels());
    }

    #[test]
    fn the_metric_name_matches_only_if_it_is_named() {
        let names = [METRIC_NAME.to_owned()];
        assert_eq!(Projection::matching(true, &names).apply(&labels()), Labels::from_pairs([(METRIC_NAME, "m")]));
        assert_eq!(Projection::matching(false, &[]).apply(&labels()).metric_name(), None);
    }
}
