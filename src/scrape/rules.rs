//! The job's label rules, compiled.

use std::sync::Arc;

use crate::model::LabelsBuilder;
use crate::relabel::{Program, RuleConfig, Verdict};

/// Applies rules to labels; false drops them.
pub(super) type Rules = Arc<dyn Fn(&mut LabelsBuilder) -> bool + Send + Sync>;

/// Compiles the rules of `relabel_configs` or `metric_relabel_configs`.
pub(super) fn compile(rules: &[RuleConfig]) -> Rules {
    let program = Program::new(rules.to_vec());
    Arc::new(move |labels| program.apply(labels) == Verdict::Keep)
}
