//! External labels in answers: every series that lacks one has it in the eyes of a reader.
//!
//! A reader's condition on an external label must be held against the value that the reader will see. Stored series
//! either have a label of that name themselves, which then counts, or they get the external value. So the conditions on
//! one name select the series that have the label and satisfy them, and, if the external value satisfies them all, those
//! that do not have it. (The reference only looks at `=` with the very value, and misses series that have it stored.)

use crate::model::{Labels, MatchOp, Matcher};
use crate::storage::Selector;

/// Names for which alternatives are made; each doubles the number of selectors. What is beyond is checked series by series.
const MAX_SPLITS: usize = 4;

/// What to ask the store so that a reader gets what it asked for.
#[derive(Debug)]
pub(super) struct Stored {
    /// Alternatives.
    pub(super) selectors: Vec<Selector>,
    /// The conditions that what the reader will see must be checked against; mostly none.
    pub(super) left: Selector,
}

/// Translates a reader's selector.
pub(super) fn stored(selector: &Selector, external: &Labels) -> Stored {
    let is_external = |matcher: &&Matcher| external.get(&matcher.name).is_some();
    let fixed: Selector = selector.iter().filter(|m| !is_external(m)).cloned().collect();
    let mut stored = Stored { selectors: vec![fixed], left: Selector::new() };
    let mut splits = 0;
    for (name, value) in external {
        let own: Selector = selector.iter().filter(|m| *m.name == *name).cloned().collect();
        if own.is_empty() {
            continue;
        }
        let absent_fits = own.iter().all(|m| m.matches(value));
        if absent_fits && own.iter().all(Matcher::matches_empty) {
            stored.add(&own);
        } else if !absent_fits {
            stored.add(&present(own, name));
        } else if splits < MAX_SPLITS {
            splits += 1;
            stored.split(&present(own, name), name);
        } else {
            stored.left.extend(own);
        }
    }
    stored
}

/// The conditions, for series that have the label.
fn present(mut own: Selector, name: &str) -> Selector {
    // A matcher without an expression can always be built.
    own.extend(Matcher::new(MatchOp::NotEqual, name, ""));
    own
}

impl Stored {
    fn add(&mut self, conditions: &[Matcher]) {
        self.selectors.iter_mut().for_each(|selector| selector.extend_from_slice(conditions));
    }

    /// Series with the label that satisfy the conditions, or series without it.
    fn split(&mut self, present: &[Matcher], name: &str) {
        let mut absent = self.selectors.clone();
        absent.iter_mut().for_each(|selector| selector.push(Matcher::equal(name, "")));
        self.add(present);
        self.selectors.append(&mut absent);
    }
}

/// The labels that a reader sees, in order.
pub(super) fn merged<'a>(own: &'a Labels, external: &'a Labels) -> impl Iterator<Item = (&'a str, &'a str)> {
    let (mut own, mut external) = (own.iter().peekable(), external.iter().peekable());
    std::iter::from_fn(move || match (own.peek(), external.peek()) {
        (Some((a, _)), Some((b, _))) if a > b => external.next(),
        (Some((a, _)), Some((b, _))) => {
            if a == b {
                external.next();
            }
            own.next()
        }
        (Some(_), None) => own.next(),
        (None, _) => external.next(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every operator and value, alone and in pairs, against what the reader would have found by looking at merged labels.
    #[test]
    fn conditions_on_external_labels_select_what_a_reader_sees() {
        use MatchOp::*;
        let external = Labels::from_pairs([("site", "edge"), ("zone", "b")]);
        let series: Vec<Labels> =
            [&[][..], &[("site", "edge")], &[("site", "far")], &[("zone", "a")], &[("zone", "b")]]
                .into_iter()
                .map(|own| Labels::from_pairs([("__name__", "m")].into_iter().chain(own.iter().copied())))
                .collect();
        let mut matchers = Vec::new();
        for name in ["site", "zone", "job"] {
            for op in [Equal, NotEqual, Regex, NotRegex] {
                for value in ["", "edge", "far", "b", "edge|far", ".+", ".*", "e.*|", "x|"] {
                    matchers.push(Matcher::new(op, name, value).unwrap());
                }
            }
        }
        let sees = |own: &Labels| Labels::from_pairs(merged(own, &external));
        let mut checked = 0;
        for a in &matchers {
            for b in &matchers {
                let selector = vec![a.clone(), b.clone()];
                let stored = stored(&selector, &external);
                assert!(stored.left.is_empty());
                for own in &series {
                    let wanted = Matcher::all_match(&selector, sees(own).as_bytes());
                    let found = stored.selectors.iter().any(|s| Matcher::all_match(s, own.as_bytes()));
                    assert_eq!(found, wanted, "{a} and {b} for {own}: {stored:?}");
                    checked += usize::from(wanted);
                }
            }
        }
        assert!(checked > 1000, "{checked}");
    }

    #[test]
    fn what_is_not_split_is_left_to_be_checked() {
        let names: Vec<String> = (0..6).map(|i| format!("l{i}")).collect();
        let external = Labels::from_pairs(names.iter().map(|n| (n.as_str(), "v")));
        let selector: Selector = names.iter().map(|n| Matcher::equal(n, "v")).collect();
        let stored = stored(&selector, &external);
        assert_eq!((stored.selectors.len(), stored.left.len()), (1 << MAX_SPLITS, 2));
    }

    #[test]
    fn own_labels_win_and_the_order_stays() {
        let own = Labels::from_pairs([("b", "own"), ("d", "own")]);
        let external = Labels::from_pairs([("a", "ext"), ("b", "ext"), ("c", "ext"), ("e", "ext")]);
        let seen: Vec<_> = merged(&own, &external).collect();
        assert_eq!(seen, [("a", "ext"), ("b", "own"), ("c", "ext"), ("d", "own"), ("e", "ext")]);
    }
}
