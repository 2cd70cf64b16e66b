//! From matchers to the head's series.

use roaring::RoaringBitmap;

use super::index::Index;
use super::pairs::Pair;
use super::postings::Postings;
use crate::model::labels::push_pair;
use crate::storage::{Cancelled, Scope, Selector};
use crate::tsdb::matching::{PostingsIndex, Test, Visit, matching};

impl Index {
    /// The series that satisfy any of the selectors.
    pub(crate) fn matching(&self, selectors: &[Selector], scope: &Scope) -> Result<RoaringBitmap, Cancelled> {
        matching(self, selectors, scope)
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

impl PostingsIndex for Index {
    type Error = Cancelled;
    type Postings<'a> = &'a Postings;

    const VALUES_PER_SERIES: u64 = 4;

    fn all(&self) -> Result<RoaringBitmap, Cancelled> {
        Ok(self.live().clone())
    }

    fn find(&self, name: &str, value: &str) -> Result<Option<&Postings>, Cancelled> {
        let mut text = Vec::with_capacity(name.len() + value.len() + 2);
        push_pair(&mut text, name, value);
        Ok(self.pair(&text).map(|pair| &pair.postings))
    }

    fn value_count(&self, name: &str) -> u64 {
        self.of_name(name).len() as u64
    }

    fn each_value<'a>(
        &'a self,
        name: &str,
        prefix: &str,
        visit: &mut Visit<'_, &'a Postings, Cancelled>,
    ) -> Result<(), Cancelled> {
        for pair in self.of_name(name) {
            let value = pair.value();
            if value.starts_with(prefix) {
                visit(value, &pair.postings)?;
            }
        }
        Ok(())
    }

    fn retain(&self, set: RoaringBitmap, test: &mut Test<'_>) -> Result<RoaringBitmap, Cancelled> {
        let mut kept = RoaringBitmap::new();
        for slot in set {
            if test.matches(self.value(slot, test.name()))? {
                kept.insert(slot);
            }
        }
        Ok(kept)
    }

    fn add(&self, postings: &Postings, set: &mut RoaringBitmap) -> Result<(), Cancelled> {
        postings.add_to(set);
        Ok(())
    }

    fn subtract(&self, postings: &Postings, set: &mut RoaringBitmap) -> Result<(), Cancelled> {
        postings.remove_from(set);
        Ok(())
    }

    fn intersect(&self, postings: &Postings, set: &mut RoaringBitmap) -> Result<(), Cancelled> {
        postings.intersect(set);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tsdb::matching::tests::{check_every_pair_of_matchers, sets};

    #[test]
    fn every_pair_of_matchers_selects_what_testing_each_series_selects() {
        let mut index = Index::new();
        for (i, labels) in (1..).zip(sets()) {
            index.insert(labels.as_bytes(), i).unwrap();
        }
        check_every_pair_of_matchers(|selectors| {
            let found = index.matching(selectors, &Scope::unbounded()).unwrap();
            found.into_iter().map(|i| i as usize).collect()
        });
    }
}
