//! Which group a series belongs to.

use crate::model::Labels;
use crate::promql::exec::{Keys, Projection};
use crate::promql::plan::Aggregate;

/// The groups of an aggregation, numbered from 0 in the order in which they first come.
pub(super) struct Groups {
    projection: Projection,
    keys: Keys,
    scratch: Vec<u8>,
}

impl Groups {
    pub fn of(aggregate: &Aggregate) -> Groups {
        Groups::by(Projection::matching(!aggregate.is_without, &aggregate.grouping))
    }

    /// Groups by what a projection picks.
    pub fn by(projection: Projection) -> Groups {
        Groups { projection, keys: Keys::default(), scratch: Vec::new() }
    }

    /// The group of a series.
    pub fn index(&mut self, labels: &Labels) -> usize {
        if self.projection.is_nothing() && self.keys.len() == 1 {
            return 0;
        }
        self.projection.write(labels, &mut self.scratch);
        self.keys.insert(&self.scratch)
    }

    /// The labels of a group.
    pub fn labels(&self, index: usize) -> &Labels {
        self.keys.labels(index)
    }
}
