//! From matchers to series.

use roaring::RoaringBitmap;

use super::index::Index;
use super::pairs::Pair;
use crate::model::labels::push_pair;
use crate::model::{MatchOp, Matcher};
use crate::storage::Selector;

/// Reading a label of one series costs about as much as matching so many values.
const SERIES_PER_VALUE: u64 = 4;

impl Index {
    /// The series that satisfy any of the selectors.
    pub(crate) fn matching(&self, selectors: &[Selector]) -> RoaringBitmap {
        selectors.iter().map(|selector| self.matching_all(selector)).fold(RoaringBitmap::new(), |all, one| all | one)
    }

    /// The series that satisfy every matcher.
    fn matching_all(&self, matchers: &[Matcher]) -> RoaringBitmap {
        // What is cheap and leaves little comes first: equality, then other conditions that need the label, then
        // those that only take away.
        let rank = |m: &&Matcher| match m.op {
            _ if m.matches_empty() => 2,
            MatchOp::Equal => 0,
            _ => 1,
        };
        let mut ordered: Vec<&Matcher> = matchers.iter().collect();
        ordered.sort_by_key(rank);
        let mut found: Option<RoaringBitmap> = None;
        for matcher in ordered {
            let next = match found {
                None if !matcher.matches_empty() => self.having(matcher),
                None => self.narrow(self.live().clone(), matcher),
                Some(set) => self.narrow(set, matcher),
            };
            if next.is_empty() {
                return next;
            }
            found = Some(next);
        }
        found.unwrap_or_else(|| self.live().clone())
    }

    /// Keeps the series of `set` that satisfy a matcher.
    fn narrow(&self, mut set: RoaringBitmap, matcher: &Matcher) -> RoaringBitmap {
        if matches!(matcher.op, MatchOp::Equal | MatchOp::NotEqual) && !matcher.value.is_empty() {
            match (matcher.op, self.pair_of(&matcher.name, &matcher.value)) {
                (MatchOp::Equal, Some(pair)) => pair.postings.intersect(&mut set),
                (MatchOp::Equal, None) => set.clear(),
                (_, Some(pair)) => pair.postings.remove_from(&mut set),
                (_, None) => {}
            }
            return set;
        }
        if set.len().saturating_mul(SERIES_PER_VALUE) < self.of_name(&matcher.name).len() as u64 {
            return set.into_iter().filter(|slot| matcher.matches(self.value(*slot, &matcher.name))).collect();
        }
        if matcher.matches_empty() {
            // Series without the label stay, so only the values that do not match take series away.
            for pair in self.of_name(&matcher.name).filter(|pair| !matcher.matches(pair.value())) {
                pair.postings.remove_from(&mut set);
            }
            set
        } else {
            set & self.having(matcher)
        }
    }

    /// The series that have the label of a matcher with a value that satisfies it.
    fn having(&self, matcher: &Matcher) -> RoaringBitmap {
        let mut found = RoaringBitmap::new();
        let mut add = |pair: &Pair| pair.postings.add_to(&mut found);
        let regex = matcher.regex().filter(|_| matcher.op == MatchOp::Regex);
        if matcher.op == MatchOp::Equal {
            self.pair_of(&matcher.name, &matcher.value).into_iter().for_each(&mut add);
        } else if let Some(literals) = regex.and_then(|r| r.literals()) {
            literals.iter().filter_map(|value| self.pair_of(&matcher.name, value)).for_each(&mut add);
        } else {
            let prefix = regex.map_or("", |r| r.prefix());
            let matches = |pair: &&Pair| {
                let value = pair.value();
                value.starts_with(prefix) && matcher.matches(value)
            };
            self.of_name(&matcher.name).filter(matches).for_each(&mut add);
        }
        found
    }

    fn pair_of(&self, name: &str, value: &str) -> Option<&Pair> {
        let mut text = Vec::with_capacity(name.len() + value.len() + 2);
        push_pair(&mut text, name, value);
        self.pair(&text)
    }

    /// The names of labels that any of these series has, ascending.
    pub(crate) fn names_of(&self, series: &RoaringBitmap, limit: usize) -> Vec<String> {
        let used = self.names().filter_map(|(name, mut pairs)| pairs.any(|p| p.postings.meets(series)).then_some(name));
        used.take(limit).map(str::to_owned).collect()
    }

    /// The values of a label that any of these series has, ascending.
    pub(crate) fn values_of(&self, name: &str, series: &RoaringBitmap, limit: usize) -> Vec<String> {
        let mut values: Vec<&str> =
            self.of_name(name).filter(|pair| pair.postings.meets(series)).map(Pair::value).collect();
        values.sort_unstable();
        values.into_iter().take(limit).map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;

    fn sets() -> Vec<Labels> {
        let mut sets = Vec::new();
        for i in 0..60 {
            let (a, b) = (format!("v{}", i % 7), format!("w{i}"));
            let mut pairs = vec![("__name__", if i % 2 == 0 { "x" } else { "y" }), ("b", b.as_str())];
            if i % 3 != 0 {
                pairs.push(("a", a.as_str()));
            }
            sets.push(Labels::from_pairs(pairs));
        }
        sets
    }

    #[test]
    fn every_pair_of_matchers_selects_what_testing_each_series_selects() {
        let sets = sets();
        let mut index = Index::new();
        for (i, labels) in (1..).zip(&sets) {
            index.insert(labels.as_bytes(), i).unwrap();
        }
        let mut matchers = Vec::new();
        for op in [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex] {
            for name in ["__name__", "a", "b", "missing"] {
                for value in ["", "x", "v3", "w17", "v[12]|w1.*", ".*", ".+", "|v1", "w(1|2|30)"] {
                    matchers.push(Matcher::new(op, name, value).unwrap());
                }
            }
        }
        let slots_of = |selector: &[Matcher]| {
            let matching = (0..).zip(&sets).filter(|(_, labels)| Matcher::all_match(selector, labels.as_bytes()));
            matching.map(|(slot, _)| slot).collect::<Vec<u32>>()
        };
        for a in &matchers {
            for b in &matchers {
                let selector = vec![a.clone(), b.clone()];
                let expected = slots_of(&selector);
                let found: Vec<u32> = index.matching(std::slice::from_ref(&selector)).into_iter().collect();
                assert_eq!(found, expected, "{a},{b}");
            }
        }
        assert_eq!(index.matching(&[Vec::new()]).len(), 60);
        assert!(index.matching(&[]).is_empty());
    }
}
