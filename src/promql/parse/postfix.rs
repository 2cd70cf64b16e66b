//! What follows an operand and changes it: brackets, `offset`, `@`, `anchored` and `smoothed`.

use super::Parser;
use super::build::Tree;
use super::duration::{DurationReader, extent, nanoseconds};
use crate::model::TimestampMs;
use crate::promql::ast::{
    At, BinaryOp, DurationExpr, Expr, Extension, Extent, MatrixSelector, Position, Subquery, ValueType, VectorSelector,
};
use crate::promql::error::ParseError;
use crate::promql::lex::{Kind, Modifier, Preprocessor};
use crate::promql::tokens::Context;

/// The parts of a selector or subquery that modifiers set.
struct Target<'e> {
    offset: &'e mut Option<Extent>,
    at: &'e mut Option<At>,
    position: &'e mut Position,
}

const IN_BRACKETS: Context = Context::new("subquery or range selector", "number, duration, step(), or range()");
const BEHIND_RANGE: Context = Context::new("subquery or range", r#"":" or "]""#);
const BEHIND_COLON: Context = Context::new("subquery selector", r#"number, duration, step(), range(), or "]""#);
const BEHIND_STEP: Context = Context::new("subquery selector", r#""]""#);
const BEHIND_OFFSET: Context = Context::new("offset", "number, duration, step(), or range()");
const BEHIND_AT: Context = Context::new("@", "timestamp");

impl Parser<'_> {
    /// Reads all that follows an operand and binds more tightly than any operator.
    pub(super) fn postfix(&mut self, mut operand: Tree) -> Result<Tree, ParseError> {
        loop {
            let token = self.tokens.peek()?;
            match token.kind {
                Kind::LeftBracket => operand = self.brackets(operand)?,
                Kind::At => self.at(&mut operand.expr)?,
                Kind::Modifier(Modifier::Offset) => self.offset(&mut operand.expr)?,
                Kind::Modifier(Modifier::Anchored) => {
                    self.tokens.take()?;
                    self.extend(&mut operand.expr, Extension::Anchored)?;
                }
                Kind::Modifier(Modifier::Smoothed) => {
                    self.tokens.take()?;
                    self.extend(&mut operand.expr, Extension::Smoothed)?;
                }
                _ => return Ok(operand),
            }
        }
    }

    fn brackets(&mut self, operand: Tree) -> Result<Tree, ParseError> {
        let open = self.tokens.take()?;
        let range = DurationReader::new(self, IN_BRACKETS).positive()?;
        let token = self.tokens.peek()?;
        match token.kind {
            Kind::RightBracket => {
                self.tokens.take()?;
                self.matrix(operand, range, Position { start: open.position.start, end: token.position.end })
            }
            Kind::Colon => {
                self.tokens.take()?;
                self.subquery(operand, range)
            }
            _ => Err(self.tokens.unexpected(BEHIND_RANGE)),
        }
    }

    fn matrix(&self, operand: Tree, range: DurationExpr, brackets: Position) -> Result<Tree, ParseError> {
        let fail = |message| Err(self.tokens.error(brackets, message));
        match operand.expr {
            Expr::Vector(VectorSelector { offset: Some(_), .. }) => fail("no offset modifiers allowed before range"),
            Expr::Vector(VectorSelector { at: Some(_), .. }) => fail("no @ modifiers allowed before range"),
            Expr::Vector(selector) => {
                let position = Position { start: selector.position.start, end: brackets.end };
                Ok(Tree::leaf(Expr::Matrix(MatrixSelector { selector, range: extent(range), position })))
            }
            _ => fail("ranges only allowed for vector selectors"),
        }
    }

    /// Behind the colon.
    fn subquery(&mut self, operand: Tree, range: DurationExpr) -> Result<Tree, ParseError> {
        let step = match self.tokens.peek()?.kind {
            Kind::RightBracket => None,
            _ => Some(DurationReader::new(self, BEHIND_COLON).positive()?),
        };
        let Some(close) = self.tokens.take_if(Kind::RightBracket)? else {
            return Err(self.tokens.unexpected(BEHIND_STEP));
        };
        let position = Position { start: operand.expr.position().start, end: close.position.end };
        let (range, step) = (extent(range), step.map(extent));
        let subquery = Subquery { expr: operand.expr, range, step, offset: None, at: None, position };
        self.above(operand.depth, ValueType::Matrix, Expr::Subquery(Box::new(subquery)))
    }

    fn offset(&mut self, expr: &mut Expr) -> Result<(), ParseError> {
        self.tokens.take()?;
        let duration = DurationReader::new(self, BEHIND_OFFSET).offset()?;
        let place = expr.position();
        let Some(target) = target(expr) else {
            return Err(self.tokens.error(
                place,
                "offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
            ));
        };
        if target.offset.is_some() {
            return Err(self.tokens.error(place, "offset may not be set multiple times"));
        }
        *target.offset = match duration {
            // As if it were not there.
            DurationExpr::Number(number) if nanoseconds(&number) == 0 => None,
            duration => Some(extent(duration)),
        };
        target.position.end = self.tokens.last_closing;
        Ok(())
    }

    fn at(&mut self, expr: &mut Expr) -> Result<(), ParseError> {
        self.tokens.take()?;
        let place = expr.position();
        let at = self.instant(place)?;
        let Some(target) = target(expr) else {
            return Err(self.tokens.error(
                place,
                "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery",
            ));
        };
        if target.at.is_some() {
            return Err(self.tokens.error(place, "@ <timestamp> may not be set multiple times"));
        }
        *target.at = Some(at);
        target.position.end = self.tokens.last_closing;
        Ok(())
    }

    /// Behind `@`, which belongs to what stands at `place`.
    fn instant(&mut self, place: Position) -> Result<At, ParseError> {
        use Preprocessor::{End, Start};
        let first = self.tokens.peek()?;
        let sign = match first.kind {
            Kind::Preprocessor(word @ (Start | End)) => {
                self.tokens.take()?;
                for parenthesis in [Kind::LeftParen, Kind::RightParen] {
                    if self.tokens.take_if(parenthesis)?.is_none() {
                        return Err(self.tokens.unexpected(BEHIND_AT));
                    }
                }
                return Ok(if word == Start { At::Start } else { At::End });
            }
            Kind::Operator(op @ (BinaryOp::Add | BinaryOp::Sub)) => {
                self.tokens.take()?;
                if op == BinaryOp::Sub { -1.0 } else { 1.0 }
            }
            _ => 1.0,
        };
        if !matches!(self.tokens.peek()?.kind, Kind::Number | Kind::Duration) {
            return Err(self.tokens.unexpected(BEHIND_AT));
        }
        let seconds = sign * self.number()?.value;
        if seconds.abs() < MAX_INSTANT {
            return Ok(At::Time(TimestampMs((seconds * 1000.0).round() as i64)));
        }
        let shown =
            if seconds.is_infinite() { format!("{seconds:+}").replace("inf", "Inf") } else { format!("{seconds:.6}") };
        Err(self.tokens.error(place, format!("timestamp out of bounds for @ modifier: {shown}")))
    }

    fn extend(&mut self, expr: &mut Expr, extension: Extension) -> Result<(), ParseError> {
        let word = if extension == Extension::Anchored { "anchored" } else { "smoothed" };
        let fail = |what: &str| Err(self.tokens.error(expr.position(), format!("{word} modifier {what}")));
        if !self.options.extended_range_selectors {
            return fail("is experimental and not enabled");
        }
        let selector = match expr {
            Expr::Vector(selector) => selector,
            Expr::Matrix(matrix) => &mut matrix.selector,
            Expr::Subquery(_) => return fail("is not supported for subqueries"),
            _ => return fail("not implemented"),
        };
        if selector.extension != Extension::None && selector.extension != extension {
            let message = "anchored and smoothed modifiers cannot be used together";
            return Err(self.tokens.error(expr.position(), message));
        }
        selector.extension = extension;
        Ok(())
    }
}

/// Instants are signed 64-bit numbers of milliseconds, but this is the bound in seconds that the reference checks.
const MAX_INSTANT: f64 = i64::MAX as f64;

fn target(expr: &mut Expr) -> Option<Target<'_>> {
    match expr {
        Expr::Vector(s) => Some(Target { offset: &mut s.offset, at: &mut s.at, position: &mut s.position }),
        Expr::Matrix(MatrixSelector { selector: s, position, .. }) => {
            Some(Target { offset: &mut s.offset, at: &mut s.at, position })
        }
        Expr::Subquery(s) => {
            let Subquery { offset, at, position, .. } = &mut **s;
            Some(Target { offset, at, position })
        }
        _ => None,
    }
}
