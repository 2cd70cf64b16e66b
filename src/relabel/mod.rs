//! Relabelling: a compiled [`Program`] over a [`LabelsBuilder`](crate::model::LabelsBuilder).
//!
//! The law is Prometheus's: rules run in order, each sees what the ones before it did, and the first that drops ends the
//! program. An absent label is the empty string; setting a label to the empty string removes it. A program can also tell
//! what each of its steps did ([`Program::trace`]).
//!
//! Not here: reading rules from a config and checking their combinations (see `config`), and the rules that are fixed
//! parts of scraping, such as `honor_labels` (see `scrape`).

mod case;
mod config;
mod program;

pub use config::{Action, RuleConfig};
pub use program::{Program, Step, Verdict};
