//! Types, and what else grammar cannot say.
//!
//! What is checked in which order decides which of several mistakes is told, so the order here is that of the reference:
//! a node's operands before the node, but the number of a call's arguments before the arguments.

use crate::model::GoQuoted;
use crate::promql::ast::{AggregateOp, Binary, Call, Cardinality, Expr, Matching, Position, ValueType};
use crate::promql::error::ParseError;
use crate::promql::lex::is_space;
use crate::promql::selector::mistake;

/// Checks an expression and everything below it.
pub(super) fn check(text: &str, expr: &Expr) -> Result<(), ParseError> {
    let checker = Checker { text };
    let mut path = vec![checker.enter(expr)?];
    while let Some(node) = path.last_mut() {
        match operand(node.expr, node.done) {
            Some(operand) => path.push(checker.enter(operand)?),
            None => {
                let found = checker.leave(node)?;
                path.pop();
                if let Some(above) = path.last_mut() {
                    checker.operand(above, found)?;
                }
            }
        }
    }
    Ok(())
}

/// A node on the way from the root to where the check is.
struct Node<'e> {
    expr: &'e Expr,
    /// Operands that are done.
    done: usize,
    /// Types of the first two operands.
    types: [ValueType; 2],
}

/// The operands in the order in which they are checked.
fn operand(expr: &Expr, at: usize) -> Option<&Expr> {
    match (expr, at) {
        (Expr::Subquery(subquery), 0) => Some(&subquery.expr),
        (Expr::Paren(paren), 0) => Some(&paren.expr),
        (Expr::Unary(unary), 0) => Some(&unary.expr),
        (Expr::Binary(binary), 0) => Some(&binary.left),
        (Expr::Binary(binary), 1) => Some(&binary.right),
        (Expr::Aggregate(aggregate), 0) => Some(&aggregate.expr),
        (Expr::Aggregate(aggregate), 1) => aggregate.param.as_ref(),
        // The second argument of `info` may match every series: it says which labels to take from them.
        (Expr::Call(call), 1) if call.function.name == "info" => None,
        (Expr::Call(call), at) => call.args.get(at),
        _ => None,
    }
}

struct Checker<'a> {
    text: &'a str,
}

type Checked<T = ()> = Result<T, ParseError>;

impl Checker<'_> {
    fn fail<T>(&self, position: Position, message: impl Into<String>) -> Checked<T> {
        Err(ParseError::new(self.text, position, message))
    }

    /// Before the operands.
    fn enter<'e>(&self, expr: &'e Expr) -> Checked<Node<'e>> {
        if let Expr::Call(call) = expr {
            self.count(call)?;
            self.info(call)?;
        }
        Ok(Node { expr, done: 0, types: [ValueType::Scalar; 2] })
    }

    /// Behind one operand, whose type has been found.
    fn operand(&self, node: &mut Node<'_>, found: ValueType) -> Checked {
        let at = node.done;
        node.done += 1;
        if let Some(place) = node.types.get_mut(at) {
            *place = found;
        }
        let (wanted, context) = match (node.expr, at) {
            (Expr::Aggregate(_), 0) => (ValueType::Vector, "aggregation expression".to_owned()),
            (Expr::Aggregate(aggregate), _) => {
                let is_label = aggregate.op == AggregateOp::CountValues;
                let wanted = if is_label { ValueType::String } else { ValueType::Scalar };
                (wanted, "aggregation parameter".to_owned())
            }
            // Further arguments are of the last one's type.
            (Expr::Call(Call { function, .. }), _) => match function.args.get(at).or(function.args.last()) {
                Some(wanted) if *wanted != found => (*wanted, format!("call to function \"{}\"", function.name)),
                _ => return Ok(()),
            },
            _ => return Ok(()),
        };
        let position = operand(node.expr, at).map(Expr::position).unwrap_or_default();
        self.same(found, wanted, position, &context)
    }

    /// Behind all operands. Returns the type of the node.
    fn leave(&self, node: &Node<'_>) -> Checked<ValueType> {
        let [first, second] = node.types;
        match node.expr {
            Expr::Number(_) => Ok(ValueType::Scalar),
            Expr::String(_) => Ok(ValueType::String),
            Expr::Vector(selector) => match mistake(selector) {
                Some(message) => self.fail(selector.position, message),
                None => Ok(ValueType::Vector),
            },
            Expr::Matrix(matrix) => match mistake(&matrix.selector) {
                Some(message) => self.fail(matrix.selector.position, message),
                None => Ok(ValueType::Matrix),
            },
            Expr::Subquery(subquery) => self.subquery(first, subquery.position),
            Expr::Paren(_) => Ok(first),
            Expr::Unary(unary) => self.unary(first, unary.position),
            Expr::Binary(binary) => self.binary(binary, first, second),
            Expr::Aggregate(_) | Expr::Delegated(_) => Ok(ValueType::Vector),
            Expr::Call(call) => Ok(call.function.returns),
        }
    }

    fn subquery(&self, inner: ValueType, position: Position) -> Checked<ValueType> {
        match inner {
            ValueType::Vector => Ok(ValueType::Matrix),
            other => {
                let got = other.as_str();
                self.fail(position, format!("subquery is only allowed on instant vector, got {got} instead"))
            }
        }
    }

    fn unary(&self, operand: ValueType, position: Position) -> Checked<ValueType> {
        match operand {
            ValueType::Scalar | ValueType::Vector => Ok(operand),
            other => {
                let message = "unary expression only allowed on expressions of type scalar or instant vector";
                self.fail(position, format!("{message}, got \"{}\"", other.documented()))
            }
        }
    }

    fn same(&self, found: ValueType, wanted: ValueType, position: Position, context: &str) -> Checked {
        if found == wanted {
            return Ok(());
        }
        let (wanted, found) = (wanted.documented(), found.documented());
        self.fail(position, format!("expected type {wanted} in {context}, got {found}"))
    }

    fn binary(&self, binary: &Binary, left: ValueType, right: ValueType) -> Checked<ValueType> {
        use ValueType::{Scalar, Vector};
        self.operator(binary, (left, right) == (Scalar, Scalar))?;
        for (side, found) in [(&binary.left, left), (&binary.right, right)] {
            if !matches!(found, Scalar | Vector) {
                let message = "binary expression must contain only scalar and instant vector types";
                return self.fail(side.position(), message);
            }
        }
        self.matching(binary, (left, right) == (Vector, Vector))?;
        Ok(if (left, right) == (Scalar, Scalar) { Scalar } else { Vector })
    }

    /// What is said of the operator alone.
    fn operator(&self, binary: &Binary, is_scalar: bool) -> Checked {
        let fail = |message: String| self.fail(self.between(binary), message);
        if binary.returns_bool && !binary.op.is_comparison() {
            return fail("bool modifier can only be used on comparison operators".to_owned());
        }
        if is_scalar && binary.op.is_comparison() && !binary.returns_bool {
            return fail("comparisons between scalars must use BOOL modifier".to_owned());
        }
        let Some(matching) = binary.matching.as_ref().filter(|m| m.is_on) else { return Ok(()) };
        match matching.labels.iter().find(|label| matching.include.contains(label)) {
            Some(label) => fail(format!("label {} must not occur in ON and GROUP clause at once", GoQuoted(label))),
            None => Ok(()),
        }
    }

    fn matching(&self, binary: &Binary, between_vectors: bool) -> Checked {
        let op = binary.op.as_str();
        let fills = binary.matching.as_ref().is_some_and(Matching::fills);
        let is_labelled = binary.matching.as_ref().is_some_and(|m| !m.labels.is_empty());
        let is_grouped = binary.matching.as_ref().is_some_and(|m| m.cardinality != Cardinality::ManyToMany);
        let message = match (between_vectors, binary.op.is_set()) {
            (false, _) if is_labelled => "vector matching only allowed between instant vectors".to_owned(),
            (false, _) if fills => "filling in missing series only allowed between instant vectors".to_owned(),
            (false, true) => format!("set operator \"{op}\" not allowed in binary scalar expression"),
            (true, true) if is_grouped => format!("no grouping allowed for \"{op}\" operation"),
            (true, true) if fills => "filling in missing series not allowed for set operators".to_owned(),
            _ => return Ok(()),
        };
        self.fail(binary.position, message)
    }

    /// What lies between the operands, without the spaces at its ends.
    fn between(&self, binary: &Binary) -> Position {
        let (start, end) = (binary.left.position().end, binary.right.position().start);
        let between = self.text.as_bytes().get(start as usize..end as usize).unwrap_or_default();
        let before = between.iter().take_while(|b| is_space(**b)).count() as u32;
        let behind = between.iter().rev().take_while(|b| is_space(**b)).count() as u32;
        Position { start: start + before, end: end.saturating_sub(behind).max(start + before) }
    }

    fn count(&self, call: &Call) -> Checked {
        let (function, given) = (call.function, call.args.len());
        let fail = |bound: &str, count: usize| {
            let name = function.name;
            let message = format!("expected {bound}{count} argument(s) in call to \"{name}\", got {given}");
            self.fail(call.position, message)
        };
        let declared = function.args.len();
        if function.variadic == 0 {
            return if given == declared { Ok(()) } else { fail("", declared) };
        }
        let least = declared.saturating_sub(1);
        match usize::try_from(function.variadic) {
            _ if given < least => fail("at least ", least),
            Ok(more) if given > least + more => fail("at most ", least + more),
            _ => Ok(()),
        }
    }

    /// The second argument of `info` holds conditions on labels in the form of a selector without name.
    fn info(&self, call: &Call) -> Checked {
        let Some(arg) = call.args.get(1).filter(|_| call.function.name == "info") else { return Ok(()) };
        self.same(arg.value_type(), ValueType::Vector, call.position, "call to function \"info\"")?;
        match arg {
            Expr::Vector(selector) if selector.name.is_none() => Ok(()),
            Expr::Vector(_) => self.fail(arg.position(), "expected label selectors only, got vector selector instead"),
            _ => self.fail(arg.position(), "expected label selectors only"),
        }
    }
}
