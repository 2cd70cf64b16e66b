//! The tree of an expression, as written: nothing is resolved, every node knows its place in the text.
//!
//! The parser builds it, the printer writes it, the plan is made from it. The names are those of the reference's
//! documentation, so that `parse_query` answers can be built from it directly.

use crate::model::{Matcher, TimestampMs};

/// Bytes `start..end` of the query text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Position {
    /// First byte.
    pub start: u32,
    /// Behind the last byte.
    pub end: u32,
}

/// What an expression evaluates to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ValueType {
    /// One number per step.
    Scalar,
    /// One sample per series and step.
    Vector,
    /// A window of samples per series and step.
    Matrix,
    /// Text.
    String,
}

/// An expression.
#[derive(Clone, Debug)]
pub enum Expr {
    /// `1e3`, `0x1f`, `5m`
    Number(NumberLiteral),
    /// `"text"`
    String(StringLiteral),
    /// `up{job="a"} offset 5m`
    Vector(VectorSelector),
    /// `up[5m]`
    Matrix(MatrixSelector),
    /// `expr[1h:5m]`
    Subquery(Box<Subquery>),
    /// `(expr)`
    Paren(Box<Paren>),
    /// `-expr`
    Unary(Box<Unary>),
    /// `a + on(x) b`
    Binary(Box<Binary>),
    /// `sum by(x) (expr)`
    Aggregate(Box<Aggregate>),
    /// `rate(x[5m])`
    Call(Call),
    /// A vector that is evaluated elsewhere. The parser never makes it: whoever splits an expression puts it in place of a
    /// part (see [`Delegates`](super::Delegates)).
    Delegated(Delegated),
}

/// A number.
#[derive(Clone, Debug)]
pub struct NumberLiteral {
    /// Its value; seconds if it was written as a duration.
    pub value: f64,
    /// Whether it was written as a duration, and is to be printed so.
    pub is_duration: bool,
    /// Place.
    pub position: Position,
}

/// A text.
#[derive(Clone, Debug)]
pub struct StringLiteral {
    /// Without quotes and escapes. What of it is not UTF-8 stands here as U+FFFD.
    pub value: String,
    /// All of it, if that is not UTF-8: no label can be named or set so, and errors show it.
    pub bytes: Option<Box<[u8]>>,
    /// Place.
    pub position: Position,
}

/// The instant of `@`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum At {
    /// `@ 1234.5`
    Time(TimestampMs),
    /// `@ start()`
    Start,
    /// `@ end()`
    End,
}

/// How far a range, an offset or a subquery's step goes.
#[derive(Clone, Debug)]
pub enum Extent {
    /// Milliseconds; an offset may be negative.
    Fixed(i64),
    /// To be computed when the query's step and range are known.
    Computed(Box<DurationExpr>),
}

/// A computed duration, in seconds.
#[derive(Clone, Debug)]
pub enum DurationExpr {
    /// A number, or a duration literal.
    Number(NumberLiteral),
    /// `step()`: the query's step.
    Step(Position),
    /// `range()`: the query's end minus its start.
    Range(Position),
    /// `-x`; also `+x`, but only right behind `offset`
    Unary {
        /// [`BinaryOp::Add`] or [`BinaryOp::Sub`].
        op: BinaryOp,
        /// The operand.
        operand: Box<DurationExpr>,
        /// Place.
        position: Position,
    },
    /// `x + y` with any arithmetic operator.
    Binary {
        /// The operator.
        op: BinaryOp,
        /// Left operand.
        left: Box<DurationExpr>,
        /// Right operand.
        right: Box<DurationExpr>,
        /// Place.
        position: Position,
    },
    /// `min_of(x, y)`
    MinOf(Box<DurationExpr>, Box<DurationExpr>, Position),
    /// `max_of(x, y)`
    MaxOf(Box<DurationExpr>, Box<DurationExpr>, Position),
    /// `(x)`
    Paren(Box<DurationExpr>, Position),
}

/// How samples beside a window are used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Extension {
    /// They are not.
    #[default]
    None,
    /// `anchored`: the sample before the window's start stands at its start.
    Anchored,
    /// `smoothed`: values at the borders are interpolated.
    Smoothed,
}

/// Which series, and when.
#[derive(Clone, Debug)]
pub struct VectorSelector {
    /// The name before the braces; also one of the matchers.
    pub name: Option<String>,
    /// All conditions.
    pub matchers: Vec<Matcher>,
    /// `offset`
    pub offset: Option<Extent>,
    /// `@`
    pub at: Option<At>,
    /// `anchored` or `smoothed`.
    pub extension: Extension,
    /// Place.
    pub position: Position,
}

/// A selector with a window.
#[derive(Clone, Debug)]
pub struct MatrixSelector {
    /// Which series; offset, `@` and extension stand here.
    pub selector: VectorSelector,
    /// The window.
    pub range: Extent,
    /// Place, with the brackets.
    pub position: Position,
}

/// An expression evaluated at steps of its own within a window.
#[derive(Clone, Debug)]
pub struct Subquery {
    /// What is evaluated.
    pub expr: Expr,
    /// The window.
    pub range: Extent,
    /// Distance of its steps; the engine's default if absent.
    pub step: Option<Extent>,
    /// `offset`
    pub offset: Option<Extent>,
    /// `@`
    pub at: Option<At>,
    /// Place.
    pub position: Position,
}

/// Parentheses.
#[derive(Clone, Debug)]
pub struct Paren {
    /// What they hold.
    pub expr: Expr,
    /// Place.
    pub position: Position,
}

/// A sign.
#[derive(Clone, Debug)]
pub struct Unary {
    /// Whether the sign is a minus.
    pub is_minus: bool,
    /// The operand.
    pub expr: Expr,
    /// Place.
    pub position: Position,
}

/// An operator between two expressions.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum BinaryOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `^`
    Pow,
    /// `atan2`
    Atan2,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `>`
    Greater,
    /// `<`
    Less,
    /// `>=`
    GreaterEqual,
    /// `<=`
    LessEqual,
    /// `</`: drop a histogram's observations above a bound.
    TrimUpper,
    /// `>/`: drop a histogram's observations below a bound.
    TrimLower,
    /// `and`
    And,
    /// `or`
    Or,
    /// `unless`
    Unless,
}

/// How many series of either side belong together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cardinality {
    /// One of each.
    OneToOne,
    /// `group_left`
    ManyToOne,
    /// `group_right`
    OneToMany,
    /// Set operators.
    ManyToMany,
}

/// How series of the two sides of an operator find each other.
#[derive(Clone, PartialEq, Debug)]
pub struct Matching {
    /// Cardinality.
    pub cardinality: Cardinality,
    /// `on` if true, `ignoring` if false.
    pub is_on: bool,
    /// The labels of `on` or `ignoring`.
    pub labels: Vec<String>,
    /// The labels of `group_left` or `group_right`.
    pub include: Vec<String>,
    /// `fill` or `fill_left`: stands for a missing left side.
    pub fill_left: Option<f64>,
    /// `fill` or `fill_right`: stands for a missing right side.
    pub fill_right: Option<f64>,
}

/// Two expressions and the operator between them.
#[derive(Clone, Debug)]
pub struct Binary {
    /// The operator.
    pub op: BinaryOp,
    /// Left operand.
    pub left: Expr,
    /// Right operand.
    pub right: Expr,
    /// `bool`
    pub returns_bool: bool,
    /// Only between vectors.
    pub matching: Option<Matching>,
    /// Place.
    pub position: Position,
}

/// An aggregation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[expect(missing_docs, reason = "named as in the language")]
pub enum AggregateOp {
    Sum,
    Avg,
    Count,
    Min,
    Max,
    Group,
    Stddev,
    Stdvar,
    Topk,
    Bottomk,
    CountValues,
    Quantile,
    Limitk,
    LimitRatio,
}

/// An aggregation over series.
#[derive(Clone, Debug)]
pub struct Aggregate {
    /// Which.
    pub op: AggregateOp,
    /// Over what.
    pub expr: Expr,
    /// `k` of `topk`, the label of `count_values` and so on.
    pub param: Option<Expr>,
    /// The labels of `by` or `without`, as written.
    pub grouping: Vec<String>,
    /// `without` if true; `by`, also where nothing is written, if false.
    pub is_without: bool,
    /// Place.
    pub position: Position,
}

/// A call of a function.
#[derive(Clone, Debug)]
pub struct Call {
    /// The function.
    pub function: &'static Function,
    /// Its arguments.
    pub args: Vec<Expr>,
    /// Place.
    pub position: Position,
}

/// In place of a part of an expression that is evaluated elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delegated {
    /// Which part; two of the same number give the same.
    pub id: usize,
    /// Place of the part.
    pub position: Position,
}

/// A function's signature.
#[derive(Debug)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// Types of its arguments.
    pub args: &'static [ValueType],
    /// 0: exactly these arguments. Above 0: so many of the last may be left out. Below 0: the last may be left out or repeat
    /// without end.
    pub variadic: i32,
    /// Type of the result.
    pub returns: ValueType,
    /// Whether it is only there if experimental functions are enabled.
    pub is_experimental: bool,
}

impl BinaryOp {
    /// As written.
    pub fn as_str(self) -> &'static str {
        match self {
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::Mod => "%",
            BinaryOp::Pow => "^",
            BinaryOp::Atan2 => "atan2",
            BinaryOp::Equal => "==",
            BinaryOp::NotEqual => "!=",
            BinaryOp::Greater => ">",
            BinaryOp::Less => "<",
            BinaryOp::GreaterEqual => ">=",
            BinaryOp::LessEqual => "<=",
            BinaryOp::TrimUpper => "</",
            BinaryOp::TrimLower => ">/",
            BinaryOp::And => "and",
            BinaryOp::Or => "or",
            BinaryOp::Unless => "unless",
        }
    }

    /// Whether it compares.
    pub fn is_comparison(self) -> bool {
        use BinaryOp::*;
        matches!(self, Equal | NotEqual | Greater | Less | GreaterEqual | LessEqual)
    }

    /// Whether its result is another quantity than its operands, so that their name does not fit it.
    pub fn changes_meaning(self) -> bool {
        use BinaryOp::*;
        matches!(self, Add | Sub | Mul | Div | Mod | Pow | Atan2)
    }

    /// Whether it works on sets of series, not on values.
    pub fn is_set(self) -> bool {
        matches!(self, BinaryOp::And | BinaryOp::Or | BinaryOp::Unless)
    }
}

impl Matching {
    /// Whether it stands in for what is missing on a side.
    pub fn fills(&self) -> bool {
        self.fill_left.is_some() || self.fill_right.is_some()
    }
}

impl DurationExpr {
    /// Its place in the text, as the reference sees it: of `min_of` and `max_of` that of the operands, and parentheses are
    /// part of it only around a number, and then only the opening one.
    pub fn position(&self) -> Position {
        match self {
            DurationExpr::Number(number) => number.position,
            DurationExpr::Step(position) | DurationExpr::Range(position) => *position,
            DurationExpr::Unary { position, .. } | DurationExpr::Binary { position, .. } => *position,
            DurationExpr::MinOf(_, _, position) | DurationExpr::MaxOf(_, _, position) => *position,
            DurationExpr::Paren(_, position) => *position,
        }
    }
}

impl AggregateOp {
    /// Whether it has a parameter before what it aggregates.
    pub fn has_param(self) -> bool {
        use AggregateOp::*;
        matches!(self, Topk | Bottomk | CountValues | Quantile | Limitk | LimitRatio)
    }

    /// Whether it is only there if experimental functions are enabled.
    pub fn is_experimental(self) -> bool {
        matches!(self, AggregateOp::Limitk | AggregateOp::LimitRatio)
    }

    /// As written.
    pub fn as_str(self) -> &'static str {
        match self {
            AggregateOp::Sum => "sum",
            AggregateOp::Avg => "avg",
            AggregateOp::Count => "count",
            AggregateOp::Min => "min",
            AggregateOp::Max => "max",
            AggregateOp::Group => "group",
            AggregateOp::Stddev => "stddev",
            AggregateOp::Stdvar => "stdvar",
            AggregateOp::Topk => "topk",
            AggregateOp::Bottomk => "bottomk",
            AggregateOp::CountValues => "count_values",
            AggregateOp::Quantile => "quantile",
            AggregateOp::Limitk => "limitk",
            AggregateOp::LimitRatio => "limit_ratio",
        }
    }
}

impl Cardinality {
    /// As errors and `parse_query` name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Cardinality::OneToOne => "one-to-one",
            Cardinality::ManyToOne => "many-to-one",
            Cardinality::OneToMany => "one-to-many",
            Cardinality::ManyToMany => "many-to-many",
        }
    }
}

impl ValueType {
    /// As the API and `parse_query` name it.
    pub fn as_str(self) -> &'static str {
        match self {
            ValueType::Scalar => "scalar",
            ValueType::Vector => "vector",
            ValueType::Matrix => "matrix",
            ValueType::String => "string",
        }
    }

    /// As errors name it.
    pub fn documented(self) -> &'static str {
        match self {
            ValueType::Scalar => "scalar",
            ValueType::Vector => "instant vector",
            ValueType::Matrix => "range vector",
            ValueType::String => "string",
        }
    }
}

impl Expr {
    /// What it evaluates to.
    pub fn value_type(&self) -> ValueType {
        match self {
            Expr::Number(_) => ValueType::Scalar,
            Expr::String(_) => ValueType::String,
            Expr::Vector(_) | Expr::Aggregate(_) | Expr::Delegated(_) => ValueType::Vector,
            Expr::Matrix(_) | Expr::Subquery(_) => ValueType::Matrix,
            Expr::Paren(paren) => paren.expr.value_type(),
            Expr::Unary(unary) => unary.expr.value_type(),
            Expr::Call(call) => call.function.returns,
            Expr::Binary(binary) => match (binary.left.value_type(), binary.right.value_type()) {
                (ValueType::Scalar, ValueType::Scalar) => ValueType::Scalar,
                _ => ValueType::Vector,
            },
        }
    }

    /// Its place in the text.
    pub fn position(&self) -> Position {
        match self {
            Expr::Number(e) => e.position,
            Expr::String(e) => e.position,
            Expr::Vector(e) => e.position,
            Expr::Matrix(e) => e.position,
            Expr::Subquery(e) => e.position,
            Expr::Paren(e) => e.position,
            Expr::Unary(e) => e.position,
            Expr::Binary(e) => e.position,
            Expr::Aggregate(e) => e.position,
            Expr::Call(e) => e.position,
            Expr::Delegated(e) => e.position,
        }
    }

    /// Calls `f` for it and everything below it, parents first. The parser bounds the depth.
    pub fn walk<'a>(&'a self, f: &mut dyn FnMut(&'a Expr)) {
        f(self);
        match self {
            Expr::Number(_) | Expr::String(_) | Expr::Vector(_) | Expr::Matrix(_) | Expr::Delegated(_) => {}
            Expr::Subquery(e) => e.expr.walk(f),
            Expr::Paren(e) => e.expr.walk(f),
            Expr::Unary(e) => e.expr.walk(f),
            Expr::Binary(e) => {
                e.left.walk(f);
                e.right.walk(f);
            }
            Expr::Aggregate(e) => {
                e.expr.walk(f);
                e.param.iter().for_each(|p| p.walk(f));
            }
            Expr::Call(e) => e.args.iter().for_each(|a| a.walk(f)),
        }
    }
}
