//! What is open, and what it becomes.

use super::grouping::{BinaryModifiers, Grouping};
use super::{MAX_DEPTH, Parser};
use crate::model::GoQuoted;
use crate::promql::ast::{
    Aggregate, AggregateOp, Binary, BinaryOp, Call, Cardinality, Expr, Paren, Position, Unary, ValueType,
};
use crate::promql::error::ParseError;
use crate::promql::functions::signatures::function;
use crate::promql::lex::Token;

/// An expression and what is known of it, so that nobody needs to go down into it.
pub(super) struct Tree {
    pub(super) expr: Expr,
    /// How many levels it has.
    pub(super) depth: u32,
    pub(super) value_type: ValueType,
}

/// Something whose last operand is still to come.
pub(super) enum Open {
    Sign { is_minus: bool, start: u32 },
    Binary { op: BinaryOp, left: Tree, modifiers: BinaryModifiers },
    Paren { start: u32 },
    Call { name: Token, args: Vec<Tree> },
    Aggregate { op: AggregateOp, word: Token, grouping: Option<Grouping>, args: Vec<Tree> },
}

/// A sign binds like multiplication.
const SIGN_PRECEDENCE: u32 = 5;

/// How tightly an operator binds, above 0.
pub(super) fn precedence(op: BinaryOp) -> u32 {
    use BinaryOp::*;
    match op {
        Or => 1,
        And | Unless => 2,
        Equal | NotEqual | Greater | Less | GreaterEqual | LessEqual | TrimUpper | TrimLower => 3,
        Add | Sub => 4,
        Mul | Div | Mod | Atan2 => SIGN_PRECEDENCE,
        Pow => 6,
    }
}

impl Tree {
    /// Of something without expressions below it.
    pub(super) fn leaf(expr: Expr) -> Tree {
        let value_type = expr.value_type();
        Tree { expr, depth: 1, value_type }
    }
}

impl Parser<'_> {
    /// Finishes what is open above the last parenthesis and binds at least as tightly as `least`.
    pub(super) fn reduce(&mut self, mut operand: Tree, least: u32) -> Result<Tree, ParseError> {
        while let Some(top) = self.open.pop_if(|open| binds(open) >= least.max(1)) {
            operand = match top {
                Open::Sign { is_minus, start } => self.signed(is_minus, start, operand)?,
                Open::Binary { op, left, modifiers } => self.binary(op, left, modifiers, operand)?,
                Open::Paren { .. } | Open::Call { .. } | Open::Aggregate { .. } => operand,
            };
        }
        Ok(operand)
    }

    /// A tree above others that are `below` levels deep.
    pub(super) fn above(&self, below: u32, value_type: ValueType, expr: Expr) -> Result<Tree, ParseError> {
        match below < MAX_DEPTH {
            true => Ok(Tree { expr, depth: below + 1, value_type }),
            false => Err(self.too_deep(expr.position())),
        }
    }

    fn signed(&self, is_minus: bool, start: u32, operand: Tree) -> Result<Tree, ParseError> {
        match operand.expr {
            Expr::Number(mut number) => {
                number.value = if is_minus { -number.value } else { number.value };
                number.position.start = start;
                Ok(Tree { expr: Expr::Number(number), ..operand })
            }
            expr => {
                let position = Position { start, end: expr.position().end };
                let unary = Expr::Unary(Box::new(Unary { is_minus, expr, position }));
                self.above(operand.depth, operand.value_type, unary)
            }
        }
    }

    fn binary(&self, op: BinaryOp, left: Tree, with: BinaryModifiers, right: Tree) -> Result<Tree, ParseError> {
        let position = Position { start: left.expr.position().start, end: right.expr.position().end };
        let BinaryModifiers { returns_bool, mut matching } = with;
        if !self.options.binop_fill_modifiers && matching.fills() {
            return Err(self.tokens.error(position, "binop fill modifiers are experimental and not enabled"));
        }
        let (depth, types) = (left.depth.max(right.depth), (left.value_type, right.value_type));
        if op.is_set() && matching.cardinality == Cardinality::OneToOne {
            matching.cardinality = Cardinality::ManyToMany;
        }
        // Between others than vectors there is nothing to match; what was written all the same is for the check to tell.
        let matches = types == (ValueType::Vector, ValueType::Vector);
        let is_kept = matches || !matching.labels.is_empty() || matching.fills();
        let matching = Some(matching).filter(|_| is_kept);
        let is_scalar = types == (ValueType::Scalar, ValueType::Scalar);
        let value_type = if is_scalar { ValueType::Scalar } else { ValueType::Vector };
        let (left, right) = (left.expr, right.expr);
        let binary = Binary { op, left, right, returns_bool, matching, position };
        self.above(depth, value_type, Expr::Binary(Box::new(binary)))
    }

    pub(super) fn parenthesised(&self, inner: Tree, position: Position) -> Result<Tree, ParseError> {
        self.above(inner.depth, inner.value_type, Expr::Paren(Box::new(Paren { expr: inner.expr, position })))
    }

    /// The innermost thing that is open is a call or an aggregation, and its closing parenthesis has been passed over.
    pub(super) fn finish_arguments(&mut self) -> Result<Tree, ParseError> {
        match self.open.pop() {
            Some(Open::Call { name, args }) => self.call(name, args),
            Some(Open::Aggregate { op, word, grouping: Some(grouping), args }) => {
                let end = self.tokens.last_closing;
                self.aggregate(op, Position { start: word.position.start, end }, grouping, args)
            }
            Some(Open::Aggregate { op, word, grouping: None, args }) => {
                let (grouping, end) = match self.grouping()? {
                    Some(grouping) => (grouping, self.tokens.last_closing),
                    None => (Grouping::default(), self.tokens.end_before_lookahead()),
                };
                self.aggregate(op, Position { start: word.position.start, end }, grouping, args)
            }
            _ => Err(self.unexpected()),
        }
    }

    fn call(&self, name: Token, args: Vec<Tree>) -> Result<Tree, ParseError> {
        let text = name.of(self.tokens.text);
        let fail = |message| Err(self.tokens.error(name.position, message));
        let Some(function) = function(text) else {
            return fail(format!("unknown function with name {}", GoQuoted(text)));
        };
        if function.is_experimental && !self.options.experimental_functions {
            return fail(format!("function {} is not enabled", GoQuoted(text)));
        }
        let depth = args.iter().map(|a| a.depth).max().unwrap_or(0);
        let position = Position { start: name.position.start, end: self.tokens.last_closing };
        let args = args.into_iter().map(|a| a.expr).collect();
        self.above(depth, function.returns, Expr::Call(Call { function, args, position }))
    }

    fn aggregate(
        &self,
        op: AggregateOp,
        position: Position,
        grouping: Grouping,
        mut args: Vec<Tree>,
    ) -> Result<Tree, ParseError> {
        let fail = |message| Err(self.tokens.error(position, message));
        let given = args.len();
        let Some(expr) = args.pop() else {
            return fail("no arguments for aggregate expression provided".to_owned());
        };
        if op.is_experimental() && !self.options.experimental_functions {
            let name = op.as_str();
            return fail(format!(
                "{name}() is experimental and must be enabled with --enable-feature=promql-experimental-functions"
            ));
        }
        let expected = 1 + usize::from(op.has_param());
        if given != expected {
            return fail(format!(
                "wrong number of arguments for aggregate expression provided, expected {expected}, got {given}"
            ));
        }
        let param = args.pop();
        let depth = expr.depth.max(param.as_ref().map_or(0, |p| p.depth));
        let Grouping { labels, is_without } = grouping;
        let (expr, param) = (expr.expr, param.map(|p| p.expr));
        let aggregate = Aggregate { op, expr, param, grouping: labels, is_without, position };
        self.above(depth, ValueType::Vector, Expr::Aggregate(Box::new(aggregate)))
    }
}

/// How tightly it binds what stands at its right; 0 if it needs to be closed.
fn binds(open: &Open) -> u32 {
    match open {
        Open::Sign { .. } => SIGN_PRECEDENCE,
        Open::Binary { op, .. } => precedence(*op),
        Open::Paren { .. } | Open::Call { .. } | Open::Aggregate { .. } => 0,
    }
}
