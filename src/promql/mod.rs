//! PromQL.
//!
//! `lex` turns text into tokens with byte positions and says what is wrong with a character; `parse` and `selector` read
//! tokens into the tree of `ast`, and say what is wrong with their order and with types. All use the reference's wording,
//! so an error reads `1:5: parse error: unexpected identifier "bar"`, line and column counted from 1, the column in bytes.
//!
//! Not here: any knowledge of where samples come from; `storage` is all that this module may know.

pub mod ast;
mod engine;
mod error;
mod exec;
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
    Answer, Engine, EngineOptions, MatrixSeries, Outcome, Point, PrepareError, Query, QueryStats, VectorSample,
};
pub use error::ParseError;
pub use exec::Failure;
pub use parse::{MAX_DEPTH, ParserOptions, parse};
pub use print::pretty;
pub use selector::{has_non_empty_matcher, parse_match, parse_selector};
pub use tree::tree_json;
