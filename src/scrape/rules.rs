//! The job's label rules, compiled.

use std::sync::Arc;

use crate::model::LabelsBuilder;
use crate::relabel::{Program, RuleConfig, Verdict};

/// The rules of `relabel_configs` or `metric_relabel_configs`. Cloning gives another handle to the same program.
#[derive(Clone)]
pub(super) struct Rules(Arc<Program>);

impl Rules {
    pub(super) fn new(rules: &[RuleConfig]) -> Rules {
        Rules(Arc::new(Program::new(rules.to_vec())))
    }

    /// Applies the rules; false drops the labels.
    pub(super) fn apply(&self, labels: &mut LabelsBuilder) -> bool {
        self.0.apply(labels) == Verdict::Keep
    }
}
