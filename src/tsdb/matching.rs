//! From matchers to series by set algebra over postings, for every index that has postings by label pair.
//!
//! What is cheap and leaves little comes first: equality, then other conditions that need the label, then those that
//! only take away. A regular expression is tried as a list of literals, then as a prefix, before its values are scanned;
//! and where few series are left, their own labels are tested instead of all values.
//!
//! There may be a million values, and an expression of ten thousand alternatives takes its time for each: every loop over
//! them asks the read's scope now and then ([`Pace`]), so that one that was given up ends soon.

use roaring::RoaringBitmap;

use crate::model::{MatchOp, Matcher};
use crate::storage::{Cancelled, Scope, Selector};

/// So much is done between two looks at the scope, in tests of a short expression: some ten microseconds.
const UNITS: usize = 512;
/// A test of a value takes one unit more for each so many bytes of its expression: the automaton of a large one does
/// not fit its cache and is walked state by state.
const BYTES_PER_UNIT: usize = 256;

/// What is called with a label's value and its postings.
pub(super) type Visit<'v, L, E> = dyn FnMut(&str, L) -> Result<(), E> + 'v;

/// Series by label pair. An empty name is no label.
pub(super) trait PostingsIndex {
    /// Why reading can fail.
    type Error: From<Cancelled>;
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
    fn retain(&self, set: RoaringBitmap, test: &mut Test<'_>) -> Result<RoaringBitmap, Self::Error>;

    /// Adds the postings to `set`.
    fn add(&self, postings: Self::Postings<'_>, set: &mut RoaringBitmap) -> Result<(), Self::Error>;

    /// Takes the postings from `set`.
    fn subtract(&self, postings: Self::Postings<'_>, set: &mut RoaringBitmap) -> Result<(), Self::Error>;

    /// Leaves only the postings in `set`.
    fn intersect(&self, postings: Self::Postings<'_>, set: &mut RoaringBitmap) -> Result<(), Self::Error>;
}

/// Asks a scope now and then whether to go on.
pub(super) struct Pace<'a> {
    scope: &'a Scope,
    /// What is done at a step.
    units: usize,
    done: usize,
}

impl<'a> Pace<'a> {
    /// For steps that are cheap.
    pub(super) fn new(scope: &'a Scope) -> Pace<'a> {
        Pace { scope, units: 1, done: 0 }
    }

    /// To be called at every step.
    #[inline]
    pub(super) fn step(&mut self) -> Result<(), Cancelled> {
        self.done += self.units;
        if self.done < UNITS {
            return Ok(());
        }
        self.done = 0;
        self.scope.check()
    }
}

/// A matcher that is tried on many values.
pub(super) struct Test<'a> {
    matcher: &'a Matcher,
    pace: Pace<'a>,
}

impl<'a> Test<'a> {
    fn new(matcher: &'a Matcher, scope: &'a Scope) -> Test<'a> {
        let units = 1 + matcher.value.len() / BYTES_PER_UNIT;
        Test { matcher, pace: Pace { units, ..Pace::new(scope) } }
    }

    /// The label whose values are tried.
    pub(super) fn name(&self) -> &'a str {
        &self.matcher.name
    }

    /// Whether a value satisfies the matcher.
    #[inline]
    pub(super) fn matches(&mut self, value: &str) -> Result<bool, Cancelled> {
        self.pace.step()?;
        Ok(self.matcher.matches(value))
    }
}

/// The series that satisfy any of the selectors.
pub(super) fn matching<I: PostingsIndex>(
    index: &I,
    selectors: &[Selector],
    scope: &Scope,
) -> Result<RoaringBitmap, I::Error> {
    let mut found = RoaringBitmap::new();
    for selector in selectors {
        scope.check()?;
        found |= matching_all(index, selector, scope)?;
    }
    Ok(found)
}

/// The series that satisfy every matcher.
fn matching_all<I: PostingsIndex>(index: &I, matchers: &[Matcher], scope: &Scope) -> Result<RoaringBitmap, I::Error> {
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
            None if !matcher.matches_empty() => having(index, matcher, scope)?,
            None => narrow(index, index.all()?, matcher, scope)?,
            Some(set) => narrow(index, set, matcher, scope)?,
        };
        if next.is_empty() {
            return Ok(next);
        }
        found = Some(next);
    }
    found.map_or_else(|| index.all(), Ok)
}

/// Keeps the series of `set` that satisfy a matcher.
fn narrow<I: PostingsIndex>(
    index: &I,
    mut set: RoaringBitmap,
    matcher: &Matcher,
    scope: &Scope,
) -> Result<RoaringBitmap, I::Error> {
    if matches!(matcher.op, MatchOp::Equal | MatchOp::NotEqual) && !matcher.value.is_empty() {
        match (matcher.op, index.find(&matcher.name, &matcher.value)?) {
            (MatchOp::Equal, Some(postings)) => index.intersect(postings, &mut set)?,
            (MatchOp::Equal, None) => set.clear(),
            (_, Some(postings)) => index.subtract(postings, &mut set)?,
            (_, None) => {}
        }
        return Ok(set);
    }
    let mut test = Test::new(matcher, scope);
    if set.len().saturating_mul(I::VALUES_PER_SERIES) < index.value_count(&matcher.name) {
        return index.retain(set, &mut test);
    }
    if matcher.matches_empty() {
        // Series without the label stay, so only the values that do not match take series away.
        index.each_value(&matcher.name, "", &mut |value, postings| match test.matches(value)? {
            true => Ok(()),
            false => index.subtract(postings, &mut set),
        })?;
        Ok(set)
    } else {
        Ok(set & having(index, matcher, scope)?)
    }
}

/// The series that have the label of a matcher with a value that satisfies it.
fn having<I: PostingsIndex>(index: &I, matcher: &Matcher, scope: &Scope) -> Result<RoaringBitmap, I::Error> {
    let mut found = RoaringBitmap::new();
    let regex = matcher.regex().filter(|_| matcher.op == MatchOp::Regex);
    let exactly = match matcher.op {
        MatchOp::Equal => Some(std::slice::from_ref(&matcher.value)),
        _ => regex.and_then(|r| r.literals()),
    };
    if let Some(values) = exactly {
        let mut pace = Pace::new(scope);
        for value in values {
            pace.step()?;
            if let Some(postings) = index.find(&matcher.name, value)? {
                index.add(postings, &mut found)?;
            }
        }
        return Ok(found);
    }
    let prefix = regex.map_or("", |r| r.prefix());
    let mut test = Test::new(matcher, scope);
    index.each_value(&matcher.name, prefix, &mut |value, postings| match test.matches(value)? {
        true => index.add(postings, &mut found),
        false => Ok(()),
    })?;
    Ok(found)
}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::model::Labels;

    /// A label with numbers for values and nothing else; counts those that were visited, and does something at one.
    struct Numbers<'a> {
        visited: Cell<u64>,
        at: u64,
        then: &'a dyn Fn(),
    }

    impl PostingsIndex for Numbers<'_> {
        type Error = Cancelled;
        type Postings<'a>
            = u32
        where
            Self: 'a;

        const VALUES_PER_SERIES: u64 = 1;

        fn all(&self) -> Result<RoaringBitmap, Cancelled> {
            Ok((0..1_000_000).collect())
        }

        fn find(&self, _: &str, value: &str) -> Result<Option<u32>, Cancelled> {
            self.visit();
            Ok(value.parse().ok())
        }

        fn value_count(&self, name: &str) -> u64 {
            if name == "few" { 0 } else { u64::MAX }
        }

        fn each_value(&self, _: &str, _: &str, visit: &mut Visit<'_, u32, Cancelled>) -> Result<(), Cancelled> {
            (0..1_000_000).try_for_each(|n: u32| {
                self.visit();
                visit(&n.to_string(), n)
            })
        }

        fn retain(&self, set: RoaringBitmap, test: &mut Test<'_>) -> Result<RoaringBitmap, Cancelled> {
            for n in set {
                self.visit();
                test.matches(&n.to_string())?;
            }
            Ok(RoaringBitmap::new())
        }

        fn add(&self, n: u32, set: &mut RoaringBitmap) -> Result<(), Cancelled> {
            set.insert(n);
            Ok(())
        }

        fn subtract(&self, n: u32, set: &mut RoaringBitmap) -> Result<(), Cancelled> {
            set.remove(n);
            Ok(())
        }

        fn intersect(&self, n: u32, set: &mut RoaringBitmap) -> Result<(), Cancelled> {
            *set &= RoaringBitmap::from_iter([n]);
            Ok(())
        }
    }

    impl Numbers<'_> {
        fn visit(&self) {
            self.visited.update(|n| n + 1);
            if self.visited.get() == self.at {
                (self.then)();
            }
        }
    }

    #[test]
    fn a_read_that_is_given_up_looks_at_few_more_values() {
        const AT: u64 = 3000;
        let huge = format!("{}.*x", ["[0-9]+y|"; 40_000].concat());
        let list = Vec::from_iter((0..100_000).map(|n| n.to_string())).join("|");
        for (op, name, pattern, more) in [
            (MatchOp::Regex, "few", "[0-9]+", UNITS as u64),
            (MatchOp::NotRegex, "few", "[0-9]+", UNITS as u64),
            (MatchOp::NotRegex, "few", "[0-9]*x", UNITS as u64),
            (MatchOp::Regex, "many", "[0-9]*", UNITS as u64),
            (MatchOp::Regex, "few", &list, UNITS as u64),
            // So large an expression is not tried on two values without a look.
            (MatchOp::Regex, "few", &huge, 1),
            (MatchOp::Regex, "many", &format!("|{huge}"), 1),
        ] {
            let scope = Scope::unbounded();
            let index = Numbers { visited: Cell::new(0), at: AT, then: &|| scope.cancel() };
            let selector = vec![Matcher::new(op, name, pattern).unwrap()];
            assert_eq!(matching(&index, &[selector], &scope), Err(Cancelled::Client), "{op:?} {pattern:.40}");
            assert!((AT..=AT + more).contains(&index.visited.get()), "{op:?} {pattern:.40}: {}", index.visited.get());
        }
    }

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
