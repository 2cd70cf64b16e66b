//! What every part of a running query shares.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use parking_lot::Mutex;

use super::delegated::Delegates;
use super::series::StepSeries;
use super::steps::Steps;
use crate::model::{Annotations, Labels, LabelsBuilder, METRIC_NAME};
use crate::promql::ast::Position;
use crate::promql::notes::{Note, Notes};
use crate::storage::{Cancelled, QueryError, Queryable, Scope};

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The query cannot be evaluated over this data.
    #[error("{0}")]
    Execution(String),
    /// It was ended from outside, or reached a limit.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The storage failed.
    #[error("expanding series: {0}")]
    Storage(QueryError),
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Failure {
        match error {
            QueryError::Cancelled(cancelled) => Failure::Cancelled(cancelled),
            error => Failure::Storage(error),
        }
    }
}

impl Failure {
    /// Two series of one label set at one step.
    pub(crate) fn same_labels() -> Failure {
        Failure::Execution("vector cannot contain metrics with the same labelset".to_owned())
    }
}

/// What a part gave that stands in the plan several times.
pub(crate) struct Kept {
    /// In how many places it is still wanted.
    pub uses: usize,
    /// Its series.
    pub series: Arc<Vec<StepSeries>>,
    /// How many samples were looked at for it; they count in every place.
    pub samples: u64,
}

/// A running query.
pub(crate) struct Context<'q> {
    /// Where samples come from.
    pub storage: &'q dyn Queryable,
    /// What evaluates the parts that are not evaluated here.
    pub delegates: Option<&'q dyn Delegates>,
    /// Its limits.
    pub scope: &'q Scope,
    /// How long a sample stands for its series, milliseconds.
    pub lookback: i64,
    /// Whether names are dropped only when the answer is complete.
    pub delays_name_removal: bool,
    /// Whether `__type__` tells counters from others.
    pub has_type_labels: bool,
    /// Whether `rate` and its like use start timestamps.
    pub uses_starts: bool,
    /// How many threads may work on it.
    pub threads: usize,
    /// Samples that were looked at: every window counts in full.
    samples: AtomicU64,
    /// What parts gave that stand in the plan several times, and in how many places they are still to run.
    shared: Mutex<HashMap<(usize, Steps), Kept>>,
    /// Whether a dropped name had a type or a unit beside it.
    has_dropped_types: AtomicBool,
    /// What was remarked so far.
    notes: Mutex<Notes>,
    /// What storage remarked.
    annotations: Mutex<Annotations>,
}

impl<'q> Context<'q> {
    /// A query without remarks yet.
    pub fn new(storage: &'q dyn Queryable, scope: &'q Scope) -> Context<'q> {
        Context {
            storage,
            delegates: None,
            scope,
            lookback: 300_000,
            delays_name_removal: false,
            has_type_labels: false,
            uses_starts: false,
            threads: 1,
            samples: AtomicU64::new(0),
            shared: Mutex::default(),
            has_dropped_types: AtomicBool::new(false),
            notes: Mutex::default(),
            annotations: Mutex::default(),
        }
    }

    /// Counts a series that is held.
    pub fn charge(&self, series: &StepSeries) -> Result<(), Failure> {
        Ok(self.scope.charge(series.floats.len() as u64, series.bytes())?)
    }

    /// Counts a series that is no longer held.
    pub fn release(&self, series: &StepSeries) {
        self.scope.release(series.floats.len() as u64, series.bytes());
    }

    /// Keeps what a part gave for other places.
    pub fn keep_shared(&self, id: usize, steps: Steps, kept: Kept) {
        self.shared.lock().insert((id, steps), kept);
    }

    /// What a part gave in another place; the last one to ask gets it alone.
    pub fn take_shared(&self, id: usize, steps: Steps) -> Option<Arc<Vec<StepSeries>>> {
        match self.shared.lock().entry((id, steps)) {
            Entry::Vacant(_) => None,
            Entry::Occupied(mut entry) => {
                let kept = entry.get_mut();
                kept.uses -= 1;
                self.count_samples(kept.samples);
                let series = kept.series.clone();
                if kept.uses == 0 {
                    entry.remove();
                }
                Some(series)
            }
        }
    }

    /// Counts samples that were looked at.
    pub fn count_samples(&self, samples: u64) {
        self.samples.fetch_add(samples, Ordering::Relaxed);
    }

    /// Samples that were looked at.
    pub fn samples(&self) -> u64 {
        self.samples.load(Ordering::Relaxed)
    }

    /// Keeps a remark.
    pub fn note(&self, note: Note<'_>, position: Position) {
        self.notes.lock().add(note, position);
    }

    /// Runs a part that is run earlier than the reference does: its remarks are given back, for
    /// [`Context::merge_notes`] when the other part has run too.
    pub fn apart<T>(&self, run: impl FnOnce() -> T) -> (T, Notes) {
        let before = std::mem::take(&mut *self.notes.lock());
        let out = run();
        let notes = std::mem::replace(&mut *self.notes.lock(), before);
        (out, notes)
    }

    /// Keeps the remarks of a part.
    pub fn merge_notes(&self, notes: Notes) {
        if !notes.is_empty() {
            self.notes.lock().merge(notes);
        }
    }

    /// Keeps storage's remarks.
    pub fn merge_annotations(&self, annotations: Annotations) {
        self.annotations.lock().merge(annotations);
    }

    /// All remarks, in the end.
    pub fn into_annotations(self, query: &str) -> Annotations {
        let mut all = self.annotations.into_inner();
        all.merge(self.notes.into_inner().into_annotations(query));
        all
    }

    /// Drops the name of a series now, or marks it to be dropped. Metadata labels go with the name.
    pub fn drop_name(&self, labels: &mut Labels, mark: &mut bool) {
        *mark = true;
        if !self.delays_name_removal {
            if has_type(labels) {
                self.has_dropped_types.store(true, Ordering::Relaxed);
            }
            *labels = without_name(labels);
        }
    }

    /// Whether a name that was dropped had a type or a unit beside it. Series of one name may then have become the same.
    pub fn has_dropped_types(&self) -> bool {
        self.has_dropped_types.load(Ordering::Relaxed)
    }
}

/// Whether there is a type or a unit, which go with the name.
pub(crate) fn has_type(labels: &Labels) -> bool {
    labels
        .iter()
        .map(|(name, _)| name)
        .take_while(|name| *name <= "__unit__")
        .any(|name| matches!(name, "__type__" | "__unit__"))
}

/// Labels without name, type and unit.
pub(crate) fn without_name(labels: &Labels) -> Labels {
    let is_metadata = |name: &str| matches!(name, METRIC_NAME | "__type__" | "__unit__");
    if !labels.iter().any(|(name, _)| is_metadata(name)) {
        return labels.clone();
    }
    let mut builder = LabelsBuilder::new();
    labels.iter().filter(|(name, _)| !is_metadata(name)).for_each(|(name, value)| builder.push_new(name, value));
    builder.labels()
}
