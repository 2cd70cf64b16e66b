//! From an expression as written to one that can be run.
//!
//! A plan knows the query's times: durations are computed, `@ start()` is an instant, `start()` and its like are numbers.
//! What gives the same at every step is marked, so that it runs once ([`Op::Invariant`]).

mod buckets;
mod build;
mod duration;
mod resolve;
mod share;

pub(crate) use buckets::Buckets;
pub(crate) use build::{absent_matchers, build};
pub(crate) use resolve::resolve;
pub(crate) use share::Shared;

use std::fmt;

use super::ast::{AggregateOp, BinaryOp, Cardinality, Extension, Function, Matching, Position, ValueType};
use crate::model::{METRIC_NAME, MatchOp};
use crate::storage::Selector;

/// The times of a query, milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// The first step.
    pub start: i64,
    /// The last instant that may be a step.
    pub end: i64,
    /// Between steps; 0 if there is only one.
    pub interval: i64,
    /// Between the steps of a subquery that tells none.
    pub default_subquery_step: i64,
}

/// A node of a plan.
pub(crate) struct Node {
    /// Place of what it was made from.
    pub position: Position,
    /// What it evaluates to.
    pub value_type: ValueType,
    /// What it does.
    pub op: Op,
}

/// What a node does.
#[derive(Debug)]
pub(crate) enum Op {
    /// A number at every step.
    Number(f64),
    /// A text.
    Text(Text),
    /// The newest sample of each series at each step.
    Select(Select),
    /// A window of samples of each series; only as a function's argument, and as the whole query.
    Range(RangeSelect),
    /// A window of another node's results; only where [`Op::Range`] may stand.
    Subquery(Box<Subquery>),
    /// The node gives the same at every step: it is run for the first one.
    Invariant(Box<Node>),
    /// The same stands elsewhere in the plan, too.
    Shared(Box<Shared>),
    /// Unary minus.
    Negate(Box<Node>),
    /// An operator between two nodes.
    Binary(Box<Binary>),
    /// An aggregation.
    Aggregate(Box<Aggregate>),
    /// A function.
    Call(Call),
    /// What somebody else evaluates, by its number.
    Delegated(usize),
}

/// A text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Text {
    /// What of it is not UTF-8 stands here as U+FFFD.
    pub value: String,
    /// All of it, if that is not UTF-8.
    pub bytes: Option<Box<[u8]>>,
}

impl Text {
    /// Whether a label may be named so.
    pub fn is_label_name(&self) -> bool {
        !self.value.is_empty() && self.bytes.is_none()
    }
}

/// Which series, and from when.
#[derive(Clone, Debug)]
pub(crate) struct Select {
    /// All conditions.
    pub selector: Selector,
    /// Milliseconds between the step and the instant that is looked at.
    pub offset: i64,
    /// `@`, milliseconds: looked at instead of the step; the offset counts from here.
    pub at: Option<i64>,
    /// `anchored` or `smoothed`.
    pub extension: Extension,
    /// Whether the buckets of native histograms are needed.
    pub buckets: Buckets,
}

/// A selector with a window.
#[derive(Debug)]
pub(crate) struct RangeSelect {
    /// Which series.
    pub select: Select,
    /// Length of the window, milliseconds; its start does not belong to it, its end does.
    pub range: i64,
}

/// A node evaluated at steps of its own.
#[derive(Debug)]
pub(crate) struct Subquery {
    /// What is evaluated.
    pub node: Node,
    /// Length of the window, milliseconds.
    pub range: i64,
    /// Distance of the steps, milliseconds, above 0. They are multiples of it.
    pub step: i64,
    /// As in [`Select`].
    pub offset: i64,
    /// As in [`Select`].
    pub at: Option<i64>,
}

/// An operator between two nodes.
#[derive(Debug)]
pub(crate) struct Binary {
    /// Which.
    pub op: BinaryOp,
    /// Left operand.
    pub left: Node,
    /// Right operand.
    pub right: Node,
    /// Whether a comparison gives 0 or 1 instead of filtering.
    pub returns_bool: bool,
    /// Only between vectors.
    pub matching: Option<Matching>,
}

/// An aggregation.
#[derive(Debug)]
pub(crate) struct Aggregate {
    /// Which.
    pub op: AggregateOp,
    /// Over what.
    pub node: Node,
    /// Its parameter.
    pub param: Option<Node>,
    /// Sorted, each once.
    pub grouping: Vec<String>,
    /// `without` if true.
    pub is_without: bool,
}

/// A call.
#[derive(Debug)]
pub(crate) struct Call {
    /// The function.
    pub function: &'static Function,
    /// Its arguments.
    pub args: Vec<Node>,
}

/// Shows what a node does, and not where it stands: nodes that show the same do the same.
impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.op.fmt(f)
    }
}

impl Node {
    /// The nodes that it takes its input from.
    pub fn children(&self) -> Vec<&Node> {
        match &self.op {
            Op::Number(_) | Op::Text(_) | Op::Select(_) | Op::Range(_) | Op::Delegated(_) => Vec::new(),
            Op::Subquery(subquery) => vec![&subquery.node],
            Op::Invariant(inner) | Op::Negate(inner) => vec![inner],
            Op::Shared(shared) => vec![&shared.node],
            Op::Binary(binary) => vec![&binary.left, &binary.right],
            Op::Aggregate(aggregate) => aggregate.param.iter().chain([&aggregate.node]).collect(),
            Op::Call(call) => call.args.iter().collect(),
        }
    }

    /// As [`Node::children`].
    fn children_mut(&mut self) -> Vec<&mut Node> {
        match &mut self.op {
            Op::Number(_) | Op::Text(_) | Op::Select(_) | Op::Range(_) | Op::Delegated(_) => Vec::new(),
            Op::Subquery(subquery) => vec![&mut subquery.node],
            Op::Invariant(inner) | Op::Negate(inner) => vec![inner],
            Op::Shared(shared) => vec![&mut shared.node],
            Op::Binary(binary) => vec![&mut binary.left, &mut binary.right],
            Op::Aggregate(aggregate) => aggregate.param.iter_mut().chain([&mut aggregate.node]).collect(),
            Op::Call(call) => call.args.iter_mut().collect(),
        }
    }

    /// Whether all series that it yields have the same name, or none, so that they stay apart when it is dropped.
    pub fn has_one_name(&self) -> bool {
        match &self.op {
            Op::Select(select) => select.has_one_name(),
            Op::Range(range) => range.select.has_one_name(),
            Op::Subquery(subquery) => subquery.node.has_one_name(),
            Op::Invariant(inner) | Op::Negate(inner) => inner.has_one_name(),
            Op::Shared(shared) => shared.node.has_one_name(),
            Op::Binary(binary) => binary.has_one_name(),
            Op::Aggregate(aggregate) => aggregate.has_one_name(),
            Op::Call(call) => call.has_one_name(),
            Op::Number(_) | Op::Text(_) => true,
            Op::Delegated(_) => false,
        }
    }
}

impl Binary {
    fn has_one_name(&self) -> bool {
        let Some(matching) = &self.matching else { return self.left.has_one_name() && self.right.has_one_name() };
        let many = if matching.cardinality == Cardinality::OneToMany { &self.right } else { &self.left };
        let makes_names = matching.include.iter().any(|label| label == METRIC_NAME);
        match self.op {
            BinaryOp::Or => false,
            BinaryOp::And | BinaryOp::Unless => self.left.has_one_name(),
            op if op.changes_meaning() => !makes_names,
            // What is filled has no name.
            _ => !makes_names && matching.fill_left.is_none() && many.has_one_name(),
        }
    }
}

impl Call {
    fn has_one_name(&self) -> bool {
        let makes_names = matches!(self.function.name, "info" | "label_join" | "label_replace");
        !makes_names && self.args.iter().all(Node::has_one_name)
    }
}

impl Aggregate {
    fn has_one_name(&self) -> bool {
        use AggregateOp::{Bottomk, CountValues, LimitRatio, Limitk, Topk};
        let is_name = |param: &Node| matches!(&param.op, Op::Text(label) if label.value == METRIC_NAME);
        match self.op {
            CountValues if self.param.as_ref().is_some_and(is_name) => false,
            // These hand on series of their input.
            Topk | Bottomk | Limitk | LimitRatio => self.node.has_one_name(),
            _ => self.is_without || !self.grouping.iter().any(|label| label == METRIC_NAME),
        }
    }
}

impl Select {
    fn has_one_name(&self) -> bool {
        self.selector.iter().any(|m| &*m.name == METRIC_NAME && m.op == MatchOp::Equal)
    }
}
