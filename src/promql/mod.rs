//! PromQL: from a text to an answer.
//!
//! ```text
//! text -- lex, parse --> ast -- plan --> plan -- exec, functions --> answer
//! ```
//!
//! `lex` turns text into tokens with byte positions and says what is wrong with a character; `parse` and `selector` read
//! tokens into the tree of [`ast`], and say what is wrong with their order and with types. All use the reference's wording,
//! so an error reads `1:5: parse error: unexpected identifier "bar"`, line and column counted from 1, the column in bytes.
//!
//! `plan` resolves the tree against the query's times, marks what needs to run once only, and finds parts that repeat.
//! `exec` runs a plan over [`Queryable`](crate::storage::Queryable): series come one by one, each with all steps of the query at
//! once. `functions` computes. `notes` keeps what is remarked meanwhile. [`Engine`] is the face of it; [`service`] adds what a
//! server needs around it: a gate, budgets, logs.
//!
//! The law: results are the reference's, to the bit wherever it is deterministic; its golden scripts (`tests/promql`) and a
//! differential test against a real server prove it. An expression, however hostile, costs no more than its limits.
//!
//! Not here: any knowledge of where samples come from; `storage` is all that this module may know.

pub mod ast;
mod engine;
mod error;
mod exec;
mod features;
mod functions;
mod lex;
mod notes;
mod parse;
mod plan;
mod print;
#[cfg(test)]
mod same;
mod selector;
pub mod service;
mod tokens;
mod tree;

pub use engine::{
    Answer, Engine, EngineOptions, MatrixSeries, Outcome, Point, PrepareError, Query, QueryStats, Span, VectorSample,
};
pub use error::ParseError;
pub use exec::{DelegatedAnswer, DelegatedSeries, Delegates, Failure, StepTimes};
pub use features::{Feature, features};
pub use parse::{MAX_DEPTH, ParserOptions, parse};
pub use print::pretty;
pub use selector::{has_non_empty_matcher, parse_match, parse_selector};
pub use tree::tree_json;
