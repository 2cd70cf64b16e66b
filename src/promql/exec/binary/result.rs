//! Labels of what an operator between two vectors yields.

use crate::model::{Labels, LabelsBuilder, METRIC_NAME};
use crate::promql::ast::{BinaryOp, Cardinality, Matching};
use crate::promql::exec::Projection;

/// What goes with a metric's name.
const METADATA: [&str; 3] = [METRIC_NAME, "__type__", "__unit__"];

/// Makes labels of results from those of the two sides.
pub(super) struct ResultLabels {
    /// What the "many" side gives.
    own: Projection,
    /// What the "one" side gives; also what it lacks is taken over.
    include: Vec<String>,
    drops_name: bool,
}

impl ResultLabels {
    /// `drops_bool_name`: names go at once where a comparison gives 0 or 1.
    pub fn new(op: BinaryOp, matching: &Matching, drops_bool_name: bool) -> ResultLabels {
        let drops_name = drops_bool_name || op.changes_meaning();
        let dropped: &[&str] = if drops_name { &METADATA } else { &[] };
        let names = matching.labels.iter().map(String::as_str);
        let own = match (matching.cardinality, matching.is_on) {
            (Cardinality::OneToOne, true) => Projection::keeping(names.filter(|name| !dropped.contains(name))),
            (Cardinality::OneToOne, false) => Projection::dropping(names.chain(dropped.iter().copied())),
            _ => Projection::dropping(dropped.iter().copied()),
        };
        ResultLabels { own, include: matching.include.clone(), drops_name }
    }

    /// Whether the "many" side's labels stay as they are.
    pub fn keeps_all(&self, matching: &Matching) -> bool {
        let is_narrowed =
            matching.cardinality == Cardinality::OneToOne && (matching.is_on || !matching.labels.is_empty());
        !self.drops_name && !is_narrowed && self.include.is_empty()
    }

    /// The labels of a result.
    pub fn of(&self, many: &Labels, one: &Labels) -> Labels {
        let own = self.own.apply(many);
        if self.include.is_empty() {
            return own;
        }
        let mut builder = LabelsBuilder::new();
        builder.reset(&own);
        self.include.iter().for_each(|name| builder.set(name, one.get(name).unwrap_or("")));
        builder.labels()
    }
}
