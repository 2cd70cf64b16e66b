//! Lists of labels, and what stands between an operator and its right operand.

use super::Parser;
use crate::promql::ast::{BinaryOp, Cardinality, Matching};
use crate::promql::error::{ParseError, quote_bytes};
use crate::promql::lex::{Kind, Modifier, unquote};
use crate::promql::tokens::Context;

/// `by (a, b)` or `without (a, b)`.
#[derive(Default)]
pub(super) struct Grouping {
    pub(super) labels: Vec<String>,
    pub(super) is_without: bool,
}

/// `bool on (a) group_left (b) fill (0)`.
pub(super) struct BinaryModifiers {
    pub(super) returns_bool: bool,
    pub(super) matching: Matching,
}

const CONTEXT: &str = "grouping opts";

impl Parser<'_> {
    /// `by` or `without` and their labels, if they come.
    pub(super) fn grouping(&mut self) -> Result<Option<Grouping>, ParseError> {
        let is_without = match self.tokens.peek()?.kind {
            Kind::Modifier(Modifier::By) => false,
            Kind::Modifier(Modifier::Without) => true,
            _ => return Ok(None),
        };
        self.tokens.take()?;
        Ok(Some(Grouping { labels: self.labels()?, is_without }))
    }

    /// Labels in parentheses, as they are written. A comma may stand behind the last one.
    fn labels(&mut self) -> Result<Vec<String>, ParseError> {
        let mut labels = Vec::new();
        if self.tokens.take_if(Kind::LeftParen)?.is_none() {
            return Err(self.tokens.unexpected(Context::new(CONTEXT, r#""(""#)));
        }
        while self.tokens.take_if(Kind::RightParen)?.is_none() {
            labels.push(self.label()?);
            match self.tokens.peek()?.kind {
                Kind::Comma => drop(self.tokens.take()?),
                Kind::RightParen => {}
                _ => return Err(self.tokens.unexpected(Context::new(CONTEXT, r#""," or ")""#))),
            }
        }
        Ok(labels)
    }

    fn label(&mut self) -> Result<String, ParseError> {
        let token = self.tokens.peek()?;
        match token.kind {
            Kind::String => {
                let name = unquote(self.tokens.take()?.of(self.tokens.text));
                match std::str::from_utf8(&name) {
                    Ok(name) if !name.is_empty() => Ok(name.to_owned()),
                    _ => {
                        let message = format!("invalid label name for grouping: {}", quote_bytes(&name));
                        Err(self.tokens.error(token.position, message))
                    }
                }
            }
            _ if token.is_label_name() => Ok(self.tokens.take()?.of(self.tokens.text).to_owned()),
            _ => Err(self.tokens.unexpected(Context::new(CONTEXT, "label"))),
        }
    }

    /// What may stand behind an operator, in this order.
    pub(super) fn binary_modifiers(&mut self) -> Result<BinaryModifiers, ParseError> {
        let mut matching = Matching {
            cardinality: Cardinality::OneToOne,
            is_on: false,
            labels: Vec::new(),
            include: Vec::new(),
            fill_left: None,
            fill_right: None,
        };
        let returns_bool = self.take_modifier(&[Modifier::Bool])?.is_some();
        if let Some(word) = self.take_modifier(&[Modifier::On, Modifier::Ignoring])? {
            matching.is_on = word == Modifier::On;
            matching.labels = self.labels()?;
            self.group(&mut matching)?;
        }
        self.fill(&mut matching)?;
        Ok(BinaryModifiers { returns_bool, matching })
    }

    fn take_modifier(&mut self, any_of: &[Modifier]) -> Result<Option<Modifier>, ParseError> {
        match self.tokens.peek()?.kind {
            Kind::Modifier(modifier) if any_of.contains(&modifier) => {
                self.tokens.take()?;
                Ok(Some(modifier))
            }
            _ => Ok(None),
        }
    }

    /// `group_left` or `group_right`, whose labels may be missing, parentheses and all.
    fn group(&mut self, matching: &mut Matching) -> Result<(), ParseError> {
        matching.cardinality = match self.take_modifier(&[Modifier::GroupLeft, Modifier::GroupRight])? {
            Some(Modifier::GroupLeft) => Cardinality::ManyToOne,
            Some(_) => Cardinality::OneToMany,
            None => return Ok(()),
        };
        let next = self.tokens.peek()?;
        if next.kind == Kind::LeftParen || !next.starts_expression() {
            matching.include = self.labels()?;
        }
        Ok(())
    }

    /// One value for both sides, or one for either.
    fn fill(&mut self, matching: &mut Matching) -> Result<(), ParseError> {
        use Modifier::*;
        let Some(first) = self.take_modifier(&[Fill, FillLeft, FillRight])? else { return Ok(()) };
        let value = Some(self.fill_value()?);
        match first {
            FillLeft => {
                matching.fill_left = value;
                if self.take_modifier(&[FillRight])?.is_some() {
                    matching.fill_right = Some(self.fill_value()?);
                }
            }
            FillRight => {
                matching.fill_right = value;
                if self.take_modifier(&[FillLeft])?.is_some() {
                    matching.fill_left = Some(self.fill_value()?);
                }
            }
            _ => (matching.fill_left, matching.fill_right) = (value, value),
        }
        Ok(())
    }

    fn fill_value(&mut self) -> Result<f64, ParseError> {
        if self.tokens.take_if(Kind::LeftParen)?.is_none() {
            return Err(self.unexpected());
        }
        let is_minus = self.tokens.take_if(Kind::Operator(BinaryOp::Sub))?.is_some();
        if !is_minus {
            self.tokens.take_if(Kind::Operator(BinaryOp::Add))?;
        }
        if !matches!(self.tokens.peek()?.kind, Kind::Number | Kind::Duration) {
            return Err(self.unexpected());
        }
        let number = self.number()?.value;
        match self.tokens.take_if(Kind::RightParen)? {
            Some(_) => Ok(if is_minus { -number } else { number }),
            None => Err(self.unexpected()),
        }
    }
}
