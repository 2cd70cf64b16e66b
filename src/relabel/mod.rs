//! Relabelling: a compiled program over a [`LabelsBuilder`](crate::model::LabelsBuilder).

mod config;

pub use config::{Action, RuleConfig};
