//! Types, and what else grammar cannot say.
//!
//! What is checked in which order decides which of several mistakes is told, so the order here is that of the reference.

use crate::model::GoQuoted;
use crate::promql::ast::{Aggregate, AggregateOp, Binary, Call, Cardinality, Expr, Position, ValueType};
use crate::promql::error::ParseError;
use crate::promql::lex::is_space;
use crate::promql::selector::mistake;

/// Checks an expression and everything below it. Vector matching is taken from operators that are not between vectors,
/// and set operators become many-to-many.
pub(super) fn check(text: &str, expr: &mut Expr) -> Result<(), ParseError> {
    Checker { text }.expr(expr).map(drop)
}

struct Checker<'a> {
    text: &'a str,
}

type Checked<T = ()> = Result<T, ParseError>;

impl Checker<'_> {
    fn fail<T>(&self, position: Position, message: impl Into<String>) -> Checked<T> {
        Err(ParseError::new(self.text, position, message))
    }

    /// The depth of the recursion is that of the tree, which the parser bounds.
    fn expr(&self, expr: &mut Expr) -> Checked<ValueType> {
        match expr {
            Expr::Number(_) => Ok(ValueType::Scalar),
            Expr::String(_) => Ok(ValueType::String),
            Expr::Vector(_) | Expr::Matrix(_) => self.selector(expr),
            Expr::Subquery(subquery) => {
                let inner = self.expr(&mut subquery.expr)?;
                self.subquery(inner, subquery.position)
            }
            Expr::Paren(paren) => self.expr(&mut paren.expr),
            Expr::Unary(unary) => {
                let operand = self.expr(&mut unary.expr)?;
                self.unary(operand, unary.position)
            }
            Expr::Binary(binary) => {
                let left = self.expr(&mut binary.left)?;
                let right = self.expr(&mut binary.right)?;
                self.binary(binary, left, right)
            }
            Expr::Aggregate(aggregate) => self.aggregate(aggregate),
            Expr::Call(call) => self.call(call),
        }
    }

    fn selector(&self, expr: &Expr) -> Checked<ValueType> {
        let (selector, value_type) = match expr {
            Expr::Matrix(matrix) => (&matrix.selector, ValueType::Matrix),
            Expr::Vector(selector) => (selector, ValueType::Vector),
            other => return Ok(other.value_type()),
        };
        match mistake(selector) {
            Some(message) => self.fail(selector.position, message),
            None => Ok(value_type),
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

    fn aggregate(&self, aggregate: &mut Aggregate) -> Checked<ValueType> {
        self.expect(&mut aggregate.expr, ValueType::Vector, "aggregation expression")?;
        if let Some(param) = &mut aggregate.param {
            let wanted = if aggregate.op == AggregateOp::CountValues { ValueType::String } else { ValueType::Scalar };
            self.expect(param, wanted, "aggregation parameter")?;
        }
        Ok(ValueType::Vector)
    }

    fn expect(&self, expr: &mut Expr, wanted: ValueType, context: &str) -> Checked {
        let found = self.expr(expr)?;
        self.same(found, wanted, expr.position(), context)
    }

    fn same(&self, found: ValueType, wanted: ValueType, position: Position, context: &str) -> Checked {
        if found == wanted {
            return Ok(());
        }
        let (wanted, found) = (wanted.documented(), found.documented());
        self.fail(position, format!("expected type {wanted} in {context}, got {found}"))
    }

    fn binary(&self, binary: &mut Binary, left: ValueType, right: ValueType) -> Checked<ValueType> {
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

    fn matching(&self, binary: &mut Binary, between_vectors: bool) -> Checked {
        let (position, op) = (binary.position, binary.op);
        let fail = |message: &str| self.fail(position, message);
        let Some(matching) = &mut binary.matching else { return Ok(()) };
        if !between_vectors {
            return match (matching.labels.is_empty(), matching.fills(), op.is_set()) {
                (false, ..) => fail("vector matching only allowed between instant vectors"),
                (true, true, _) => fail("filling in missing series only allowed between instant vectors"),
                (true, false, true) => {
                    fail(&format!("set operator \"{}\" not allowed in binary scalar expression", op.as_str()))
                }
                (true, false, false) => {
                    binary.matching = None;
                    Ok(())
                }
            };
        }
        if !op.is_set() {
            return Ok(());
        }
        if matching.cardinality != Cardinality::OneToOne {
            return fail(&format!("no grouping allowed for \"{}\" operation", op.as_str()));
        }
        matching.cardinality = Cardinality::ManyToMany;
        match matching.fills() {
            true => fail("filling in missing series not allowed for set operators"),
            false => Ok(()),
        }
    }

    /// What lies between the operands, without the spaces at its ends.
    fn between(&self, binary: &Binary) -> Position {
        let (start, end) = (binary.left.position().end, binary.right.position().start);
        let between = self.text.as_bytes().get(start as usize..end as usize).unwrap_or_default();
        let before = between.iter().take_while(|b| is_space(**b)).count() as u32;
        let behind = between.iter().rev().take_while(|b| is_space(**b)).count() as u32;
        Position { start: start + before, end: end.saturating_sub(behind).max(start + before) }
    }

    fn call(&self, call: &mut Call) -> Checked<ValueType> {
        let function = call.function;
        self.count(call)?;
        let is_info = function.name == "info";
        if is_info {
            self.info(call)?;
        }
        for (at, arg) in call.args.iter_mut().enumerate() {
            // Further arguments are of the last one's type.
            let Some(wanted) = function.args.get(at).or(function.args.last()) else { break };
            if is_info && at == 1 {
                // It may match every series: it says which labels to take from them.
                continue;
            }
            let found = self.expr(arg)?;
            if found != *wanted {
                let context = format!("call to function \"{}\"", function.name);
                self.same(found, *wanted, arg.position(), &context)?;
            }
        }
        Ok(function.returns)
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
        let Some(arg) = call.args.get(1) else { return Ok(()) };
        self.same(arg.value_type(), ValueType::Vector, call.position, "call to function \"info\"")?;
        match arg {
            Expr::Vector(selector) if selector.name.is_none() => Ok(()),
            Expr::Vector(_) => self.fail(arg.position(), "expected label selectors only, got vector selector instead"),
            _ => self.fail(arg.position(), "expected label selectors only"),
        }
    }
}
