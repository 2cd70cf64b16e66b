//! From matchers to series by set algebra over postings, for every index that has postings by label pair.
//!
//! What is cheap and leaves little comes first: equality, then other conditions that need the label, then those that
//! only take away. A regular expression is tried as a list of literals, then as a prefix, before its values are scanned;
//! and where few series are left, their own labels are tested instead of all values.

use roaring::RoaringBitmap;

use crate::model::{MatchOp, Matcher};
use crate::storage::Selector;

/// What is called with a label's value and its postings.
pub(super) type Visit<'v, L, E> = dyn FnMut(&str, L) -> Result<(), E> + 'v;

/// Series by label pair. An empty name is no label.
pub(super) trait PostingsIndex {
    /// Why reading can fail.
    type Error;
    /// The series of one label pair, possibly still unread.
    type Postings<'a>: Copy
    where
        Self: 'a;

    /// Testing the labels of one series costs about as much as testing so many values of a label.
    const VALUES_PER_SERIES: u64;

    /// All series.
    fn all(&self) -> Result<RoaringBitmap, Self::Error>;

    /// The series with that label.
    fn find(&self, name: &str, value: &str) -> Result<Option<Self::Postings<'_>>, Self::Error>;

    /// How many values a label has.
    fn value_count(&self, name: &str) -> u64;

    /// Visits the values of a label that begin with `prefix`.
    fn each_value<'a>(
        &'a self,
        name: &str,
        prefix: &str,
        visit: &mut Visit<'_, Self::Postings<'a>, Self::Error>,
    ) -> Result<(), Self::Error>;

    /// Keeps the series whose labels satisfy the matcher.
    fn retain(&self, set: RoaringBitmap, matcher: &Matcher) -> Result<RoaringBitmap, Self::Error>;

    /// Adds the postings to `set`.
    fn add(&self, postings: Self::Postings<'_>, set: &mut RoaringBitmap) -> Result<(), Self::Error>;

    /// Takes the postings from `set`.
    fn subtract(&self, postings: Self::Postings<'_>, set: &mut RoaringBitmap) -> Result<(), Self::Error>;

    /// Leaves only the postings in `set`.
    fn intersect(&self, postings: Self::Postings<'_>, set: &mut RoaringBitmap) -> Result<(), Self::Error>;
}

/// The series that satisfy any of the selectors.
pub(super) fn matching<I: PostingsIndex>(index: &I, selectors: &[Selector]) -> Result<RoaringBitmap, I::Error> {
    let mut found = RoaringBitmap::new();
    for selector in selectors {
        found |= matching_all(index, selector)?;
    }
    Ok(found)
}

/// The series that satisfy every matcher.
fn matching_all<I: PostingsIndex>(index: &I, matchers: &[Matcher]) -> Result<RoaringBitmap, I::Error> {
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
            None if !matcher.matches_empty() => having(index, matcher)?,
            None => narrow(index, index.all()?, matcher)?,
            Some(set) => narrow(index, set, matcher)?,
        };
        if next.is_empty() {
            return Ok(next);
        }
        found = Some(next);
    }
    found.map_or_else(|| index.all(), Ok)
}

/// Keeps the series of `set` that satisfy a matcher.
fn narrow<I: PostingsIndex>(index: &I, mut set: RoaringBitmap, matcher: &Matcher) -> Result<RoaringBitmap, I::Error> {
    if matches!(matcher.op, MatchOp::Equal | MatchOp::NotEqual) && !matcher.value.is_empty() {
        match (matcher.op, index.find(&matcher.name, &matcher.value)?) {
            (MatchOp::Equal, Some(postings)) => index.intersect(postings, &mut set)?,
            (MatchOp::Equal, None) => set.clear(),
            (_, Some(postings)) => index.subtract(postings, &mut set)?,
            (_, None) => {}
        }
        return Ok(set);
    }
    if set.len().saturating_mul(I::VALUES_PER_SERIES) < index.value_count(&matcher.name) {
        return index.retain(set, matcher);
    }
    if matcher.matches_empty() {
        // Series without the label stay, so only the values that do not match take series away.
        index.each_value(&matcher.name, "", &mut |value, postings| match matcher.matches(value) {
            true => Ok(()),
            false => index.subtract(postings, &mut set),
        })?;
        Ok(set)
    } else {
        Ok(set & having(index, matcher)?)
    }
}

/// The series that have the label of a matcher with a value that satisfies it.
fn having<I: PostingsIndex>(index: &I, matcher: &Matcher) -> Result<RoaringBitmap, I::Error> {
    let mut found = RoaringBitmap::new();
    let regex = matcher.regex().filter(|_| matcher.op == MatchOp::Regex);
    let exactly = match matcher.op {
        MatchOp::Equal => Some(std::slice::from_ref(&matcher.value)),
        _ => regex.and_then(|r| r.literals()),
    };
    if let Some(values) = exactly {
        for value in values {
            if let Some(postings) = index.find(&matcher.name, value)? {
                index.add(postings, &mut found)?;
            }
        }
        return Ok(found);
    }
    let prefix = regex.map_or("", |r| r.prefix());
    index.each_value(&matcher.name, prefix, &mut |value, postings| match matcher.matches(value) {
        true => index.add(postings, &mut found),
        false => Ok(()),
    })?;
    Ok(found)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::Labels;

    /// Sixty series, ascending by labels, with labels that some lack.
    pub(in crate::tsdb) fn sets() -> Vec<Labels> {
        let mut sets = Vec::new();
        for i in 0..60 {
            let (a, b) = (format!("v{}", i % 7), format!("w{i}"));
            let mut pairs = vec![("__name__", if i % 2 == 0 { "x" } else { "y" }), ("b", b.as_str())];
            if i % 3 != 0 {
                pairs.push(("a", a.as_str()));
            }
            sets.push(Labels::from_pairs(pairs));
        }
        sets.sort();
        sets
    }

    /// Compares what pairs of matchers of every kind select with what testing each series of [`sets`] selects. `name` gives
    /// the position in `sets` of a series that the index answers.
    pub(in crate::tsdb) fn check_every_pair_of_matchers(select: impl Fn(&[Selector]) -> Vec<usize>) {
        let sets = sets();
        let mut matchers = Vec::new();
        for op in [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex] {
            for name in ["__name__", "a", "b", "missing", ""] {
                for value in ["", "x", "v3", "w17", "v[12]|w1.*", ".*", ".+", "|v1", "w(1|2|30)", "w5.?"] {
                    matchers.push(Matcher::new(op, name, value).unwrap());
                }
            }
        }
        for a in &matchers {
            for b in &matchers {
                let selector = vec![a.clone(), b.clone()];
                let matching = sets.iter().enumerate().filter(|(_, l)| Matcher::all_match(&selector, l.as_bytes()));
                let expected: Vec<usize> = matching.map(|(i, _)| i).collect();
                assert_eq!(select(std::slice::from_ref(&selector)), expected, "{a},{b}");
            }
        }
        assert_eq!(select(&[Vec::new()]).len(), 60);
        assert!(select(&[]).is_empty());
    }
}
