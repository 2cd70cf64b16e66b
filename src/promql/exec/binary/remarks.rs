//! What is told of an operator's values, step by step.

use super::element::Remark;
use crate::promql::ast::{BinaryOp, Position};
use crate::promql::exec::Context;

/// Of each step the latest remark, as the reference keeps them.
#[derive(Debug, Default)]
pub(super) struct Remarks {
    /// Empty until there is one.
    latest: Vec<Option<Remark>>,
}

impl Remarks {
    /// Keeps a remark about a step.
    pub fn set(&mut self, step: usize, remark: Remark) {
        if self.latest.len() <= step {
            self.latest.resize(step + 1, None);
        }
        self.latest[step] = Some(remark);
    }

    /// Hands all over.
    pub fn note(self, context: &Context<'_>, op: BinaryOp, position: Position) {
        let mut seen: Vec<Remark> = Vec::new();
        for remark in self.latest.into_iter().flatten() {
            if !seen.contains(&remark) {
                remark.note(context, op, position);
                seen.push(remark);
            }
        }
    }
}
