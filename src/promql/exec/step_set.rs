//! Sets of steps.

use super::series::{StepSeries, is_absent};

/// Some of a query's steps, one bit for each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct StepSet(Box<[u64]>);

impl StepSet {
    /// None of `steps` steps.
    pub fn none(steps: usize) -> StepSet {
        StepSet(vec![0; steps.div_ceil(64)].into_boxed_slice())
    }

    /// The steps at which a series has a value.
    pub fn of(series: &StepSeries) -> StepSet {
        let word = |floats: &[f64]| {
            floats.iter().enumerate().fold(0, |word, (bit, v)| word | u64::from(!is_absent(*v)) << bit)
        };
        let mut set = StepSet(series.floats.chunks(64).map(word).collect());
        if let Some(histograms) = &series.histograms {
            histograms.iter().enumerate().filter(|(_, h)| h.is_some()).for_each(|(step, _)| set.insert(step));
        }
        set
    }

    /// Adds a step.
    pub fn insert(&mut self, step: usize) {
        self.0[step / 64] |= 1 << (step % 64);
    }

    /// Whether a step is in it.
    pub fn contains(&self, step: usize) -> bool {
        self.0[step / 64] >> (step % 64) & 1 != 0
    }

    /// Adds all steps of another set.
    pub fn add(&mut self, other: &StepSet) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word |= other);
    }

    /// Takes all steps of another set away.
    pub fn remove(&mut self, other: &StepSet) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word &= !other);
    }

    /// Keeps the steps that another set has too.
    pub fn intersect(&mut self, other: &StepSet) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word &= other);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// The steps, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().flat_map(|(at, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                let bit = (rest != 0).then(|| rest.trailing_zeros() as usize)?;
                rest &= rest - 1;
                Some(at * 64 + bit)
            })
        })
    }

    /// The steps that both sets have, ascending.
    pub fn common(&self, other: &StepSet) -> StepSet {
        let mut common = self.clone();
        common.intersect(other);
        common
    }

    /// Whether both sets have a step before `end`.
    pub fn meets_before(&self, other: &StepSet, end: usize) -> bool {
        self.0.iter().zip(&other.0).enumerate().any(|(at, (word, other))| {
            let common = word & other;
            common != 0 && at * 64 + (common.trailing_zeros() as usize) < end
        })
    }

    /// Takes a series' values away from all other steps.
    pub fn restrict(&self, series: &mut StepSeries) {
        for (word, floats) in self.0.iter().zip(series.floats.chunks_mut(64)) {
            if *word != u64::MAX {
                let others = floats.iter_mut().enumerate().filter(|(bit, _)| word >> bit & 1 == 0);
                others.for_each(|(_, v)| *v = super::ABSENT);
            }
        }
        if let Some(histograms) = &mut series.histograms {
            histograms.iter_mut().enumerate().filter(|(step, _)| !self.contains(*step)).for_each(|(_, h)| *h = None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;

    #[test]
    fn a_series_is_restricted_to_the_steps_of_a_set() {
        let mut series = StepSeries::absent(Labels::empty(), 130);
        for step in [0, 63, 64, 129] {
            series.floats[step] = step as f64;
        }
        series.set_histogram(70, Default::default());
        let set = StepSet::of(&series);
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 63, 64, 70, 129]);
        let mut wanted = StepSet::none(130);
        [63, 70, 100, 129].into_iter().for_each(|step| wanted.insert(step));
        wanted.restrict(&mut series);
        assert_eq!(StepSet::of(&series).iter().collect::<Vec<_>>(), [63, 70, 129]);
        assert_eq!(StepSet::of(&series), set.common(&wanted));
        assert!(set.meets_before(&wanted, 64) && !set.meets_before(&wanted, 63));
        let mut rest = set;
        rest.remove(&wanted);
        assert_eq!(rest.iter().collect::<Vec<_>>(), [0, 64]);
        rest.intersect(&wanted);
        assert!(rest.is_empty());
    }
}
