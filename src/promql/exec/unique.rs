//! Series by label set.

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use super::context::Failure;
use super::series::{Histograms, StepSeries, is_absent};
use crate::model::Labels;

/// Collects series and makes one of those that have the same labels. They may not both have a value at one step.
#[derive(Default)]
pub(crate) struct Unique {
    by_labels: HashMap<Labels, usize>,
    all: Vec<StepSeries>,
}

impl Unique {
    /// Adds a series.
    pub fn add(&mut self, series: StepSeries) -> Result<(), Failure> {
        match self.by_labels.entry(series.labels.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(self.all.len());
                self.all.push(series);
                Ok(())
            }
            Entry::Occupied(entry) => merge(&mut self.all[*entry.get()], series),
        }
    }
}

impl IntoIterator for Unique {
    type Item = StepSeries;
    type IntoIter = std::vec::IntoIter<StepSeries>;

    /// The series in the order in which their labels first came.
    fn into_iter(self) -> Self::IntoIter {
        self.all.into_iter()
    }
}

fn merge(into: &mut StepSeries, from: StepSeries) -> Result<(), Failure> {
    if (0..into.floats.len()).any(|step| into.has(step) && from.has(step)) {
        return Err(Failure::same_labels());
    }
    // Whether the name goes in the end is told by what comes first, as the reference does.
    if into.drop_name != from.drop_name && first(&from) < first(into) {
        into.drop_name = from.drop_name;
    }
    for (place, v) in into.floats.iter_mut().zip(from.floats) {
        if !is_absent(v) {
            *place = v;
        }
    }
    match (&mut into.histograms, from.histograms) {
        (Some(into), Some(from)) => merge_histograms(into, from),
        (into @ None, from) => *into = from,
        (Some(_), None) => {}
    }
    Ok(())
}

/// The first step with a value.
fn first(series: &StepSeries) -> Option<usize> {
    (0..series.floats.len()).find(|step| series.has(*step))
}

fn merge_histograms(into: &mut Histograms, from: Histograms) {
    for (place, histogram) in into.iter_mut().zip(from) {
        if histogram.is_some() {
            *place = histogram;
        }
    }
}
