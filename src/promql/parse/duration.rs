//! Durations in brackets and behind `offset`, which may be computed.

use super::Parser;
use super::build::precedence;
use crate::promql::ast::{BinaryOp, DurationExpr, Extent, NumberLiteral, Position};
use crate::promql::error::ParseError;
use crate::promql::lex::{Kind, Preprocessor, Token};
use crate::promql::tokens::Context;

/// Most operands, signs and parentheses of one duration. It is read by recursion.
const MAX_PARTS: u32 = 200;
/// Durations are counted in nanoseconds by the reference; in seconds, no more fit 64 bits with sign.
const MAX_SECONDS: f64 = 9_223_372_036.854_776;
/// What binds less tightly than this is not part of a sign's operand.
const POWER: u32 = 6;

/// One duration that is being read.
pub(super) struct DurationReader<'r, 'a> {
    parser: &'r mut Parser<'a>,
    context: Context,
    parts: u32,
}

impl<'r, 'a> DurationReader<'r, 'a> {
    /// Unexpected tokens are told with `context`.
    pub(super) fn new(parser: &'r mut Parser<'a>, context: Context) -> DurationReader<'r, 'a> {
        DurationReader { parser, context, parts: 0 }
    }

    /// What brackets hold: above zero where that can be known.
    pub(super) fn positive(&mut self) -> Result<DurationExpr, ParseError> {
        match self.expression(0)? {
            DurationExpr::Number(n) if n.value <= 0.0 => {
                Err(self.parser.tokens.error(n.position, "duration must be greater than 0"))
            }
            duration => Ok(duration),
        }
    }

    /// What follows `offset`. A lone operand ends there, so that `x offset 5m * 2` is a product; only parentheses and
    /// double signs may go on.
    pub(super) fn offset(&mut self) -> Result<DurationExpr, ParseError> {
        let first = self.parser.tokens.peek()?;
        match first.kind {
            Kind::Operator(BinaryOp::Add | BinaryOp::Sub) => {
                self.parser.tokens.take()?;
                self.signed_offset(first)
            }
            Kind::LeftParen => {
                let operand = self.operand()?;
                self.climb(operand, 0)
            }
            _ => self.operand(),
        }
    }

    fn signed_offset(&mut self, sign: Token) -> Result<DurationExpr, ParseError> {
        use Preprocessor::*;
        match self.parser.tokens.peek()?.kind {
            Kind::Number | Kind::Duration => {
                let number = self.parser.number()?;
                match is_in_range(&number) {
                    true => Ok(sign_of(sign, DurationExpr::Number(number))),
                    false => Err(self.parser.tokens.error(sign.position, "duration out of range")),
                }
            }
            // A plus is kept here, and only here.
            Kind::Preprocessor(word @ (Step | Range | MaxOf | MinOf)) => {
                let duration = unary(sign, self.word(word)?);
                self.experimental(duration.position())?;
                Ok(duration)
            }
            Kind::LeftParen => {
                self.parser.tokens.take()?;
                let inner = self.expression(0)?;
                self.expect(Kind::RightParen)?;
                let place = inner.position();
                // A plus stays, too: it keeps operators behind the parenthesis out.
                Ok(unary(sign, wrapped(inner, place)))
            }
            _ => {
                let operand = self.expression(POWER)?;
                self.climb(sign_of(sign, operand), 0)
            }
        }
    }

    /// Operands and the operators between them that bind at least as tightly as `least`.
    fn expression(&mut self, least: u32) -> Result<DurationExpr, ParseError> {
        let first = self.operand()?;
        self.climb(first, least)
    }

    fn climb(&mut self, mut left: DurationExpr, least: u32) -> Result<DurationExpr, ParseError> {
        loop {
            let token = self.parser.tokens.peek()?;
            let op = match token.kind {
                Kind::Operator(op) if is_arithmetic(op) && precedence(op) >= least => op,
                _ => return Ok(left),
            };
            self.parser.tokens.take()?;
            let right = self.expression(precedence(op) + u32::from(op != BinaryOp::Pow))?;
            self.experimental(left.position())?;
            self.divisor(op, token.position, &right)?;
            let position = Position { start: left.position().start, end: right.position().end };
            left = DurationExpr::Binary { op, left: Box::new(left), right: Box::new(right), position };
        }
    }

    fn divisor(&self, op: BinaryOp, place: Position, right: &DurationExpr) -> Result<(), ParseError> {
        let message = match (op, right) {
            (BinaryOp::Div, DurationExpr::Number(n)) if n.value == 0.0 => "division by zero",
            (BinaryOp::Mod, DurationExpr::Number(n)) if n.value == 0.0 => "modulo by zero",
            _ => return Ok(()),
        };
        Err(self.parser.tokens.error(place, message))
    }

    fn operand(&mut self) -> Result<DurationExpr, ParseError> {
        let token = self.parser.tokens.peek()?;
        self.parts += 1;
        if self.parts > MAX_PARTS {
            let message = format!("the duration has more than {MAX_PARTS} parts");
            return Err(self.parser.tokens.error(token.position, message));
        }
        match token.kind {
            Kind::Number | Kind::Duration => self.literal(),
            Kind::Operator(BinaryOp::Add | BinaryOp::Sub) => {
                self.parser.tokens.take()?;
                let operand = self.expression(POWER)?;
                Ok(sign_of(token, operand))
            }
            Kind::LeftParen => {
                self.parser.tokens.take()?;
                let inner = self.expression(0)?;
                self.expect(Kind::RightParen)?;
                self.experimental(inner.position())?;
                // The reference does not count the closing parenthesis in.
                let place = Position { start: token.position.start, end: inner.position().end };
                Ok(wrapped(inner, place))
            }
            Kind::Preprocessor(word) => {
                let duration = self.word(word)?;
                self.experimental(duration.position())?;
                Ok(duration)
            }
            _ => Err(self.parser.tokens.unexpected(self.context)),
        }
    }

    fn literal(&mut self) -> Result<DurationExpr, ParseError> {
        let number = self.parser.number()?;
        match is_in_range(&number) {
            true => Ok(DurationExpr::Number(number)),
            false => Err(self.parser.tokens.error(number.position, "duration out of range")),
        }
    }

    fn word(&mut self, word: Preprocessor) -> Result<DurationExpr, ParseError> {
        if matches!(word, Preprocessor::Start | Preprocessor::End) {
            return Err(self.parser.tokens.unexpected(self.context));
        }
        let start = self.parser.tokens.take()?.position.start;
        self.expect(Kind::LeftParen)?;
        match word {
            Preprocessor::MaxOf | Preprocessor::MinOf => {
                let left = Box::new(self.expression(0)?);
                self.expect(Kind::Comma)?;
                let right = Box::new(self.expression(0)?);
                self.expect(Kind::RightParen)?;
                // The reference takes the place of the operands for that of the whole.
                let place = Position { start: left.position().start, end: right.position().end };
                Ok(match word {
                    Preprocessor::MaxOf => DurationExpr::MaxOf(left, right, place),
                    _ => DurationExpr::MinOf(left, right, place),
                })
            }
            _ => {
                let place = Position { start, end: self.expect(Kind::RightParen)?.position.end };
                Ok(match word {
                    Preprocessor::Step => DurationExpr::Step(place),
                    _ => DurationExpr::Range(place),
                })
            }
        }
    }

    fn expect(&mut self, kind: Kind) -> Result<Token, ParseError> {
        match self.parser.tokens.take_if(kind)? {
            Some(token) => Ok(token),
            None => Err(self.parser.tokens.unexpected(self.context)),
        }
    }

    fn experimental(&self, place: Position) -> Result<(), ParseError> {
        match self.parser.options.duration_expr {
            true => Ok(()),
            false => Err(self.parser.tokens.error(place, "experimental duration expression is not enabled")),
        }
    }
}

fn is_arithmetic(op: BinaryOp) -> bool {
    use BinaryOp::*;
    matches!(op, Add | Sub | Mul | Div | Mod | Pow)
}

fn is_in_range(number: &NumberLiteral) -> bool {
    number.value.abs() <= MAX_SECONDS
}

/// A signed operand. A number takes the sign in; of a plus before anything else nothing remains.
fn sign_of(sign: Token, operand: DurationExpr) -> DurationExpr {
    let is_minus = sign.kind == Kind::Operator(BinaryOp::Sub);
    match operand {
        DurationExpr::Number(mut number) => {
            number.value = if is_minus { -number.value } else { number.value };
            number.position.start = sign.position.start;
            DurationExpr::Number(number)
        }
        operand if is_minus => unary(sign, operand),
        operand => operand,
    }
}

fn unary(sign: Token, operand: DurationExpr) -> DurationExpr {
    let position = Position { start: sign.position.start, end: operand.position().end };
    let op = if sign.kind == Kind::Operator(BinaryOp::Sub) { BinaryOp::Sub } else { BinaryOp::Add };
    DurationExpr::Unary { op, operand: Box::new(operand), position }
}

/// In parentheses; a second pair adds nothing. Only a number gets the `place` of its parentheses.
fn wrapped(inner: DurationExpr, place: Position) -> DurationExpr {
    match inner {
        DurationExpr::Paren(..) => inner,
        DurationExpr::Number(_) => DurationExpr::Paren(Box::new(inner), place),
        _ => {
            let place = inner.position();
            DurationExpr::Paren(Box::new(inner), place)
        }
    }
}

/// A duration as the tree keeps it.
pub(super) fn extent(duration: DurationExpr) -> Extent {
    match duration {
        DurationExpr::Number(number) => Extent::Fixed(nanoseconds(&number) / 1_000_000),
        computed => Extent::Computed(Box::new(computed)),
    }
}

/// The parser has checked that it fits.
pub(super) fn nanoseconds(number: &NumberLiteral) -> i64 {
    (number.value * 1e9).round() as i64
}
