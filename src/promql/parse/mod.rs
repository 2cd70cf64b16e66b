//! Text to tree.
//!
//! An operator-precedence parser with a stack of its own: [`Open`] says what is still open, innermost last, so that
//! no text, however deeply nested, needs more of the thread's stack. The trees it makes are at most [`MAX_DEPTH`] deep;
//! whatever goes down a tree by recursion relies on that.
//!
//! The law: what the reference reads is read to the same tree, and what it refuses is refused with the same words at the
//! same place. It reports many mistakes and shows the first; here the first one ends the work. First means: a mistake of
//! grammar, or one that is seen while reading, in the order of the text; [`check`] only then looks at types.
//!
//! Not here: what duration expressions come to, and what an expression means.

mod build;
mod check;
mod duration;
mod grouping;
mod number;
mod postfix;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use self::build::{Open, Tree};
use self::grouping::BinaryModifiers;
use super::ast::{AggregateOp, BinaryOp, Expr, NumberLiteral, Position, StringLiteral};
use super::error::ParseError;
use super::lex::{Kind, Modifier, Token, unquote};
use super::selector::vector_selector;
use super::tokens::{Context, Tokens};

/// Most levels of a tree, and most things that may be open at once while it is read. A chain of operators counts one
/// level for each. Reading and checking need no more stack for it; what recurses over trees needs some kilobytes for each
/// level in a build without optimisations.
pub const MAX_DEPTH: u32 = 1000;

/// What of the language is switched on beyond what is stable; each as a feature flag of the reference.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ParserOptions {
    /// Functions and aggregations that are still experiments.
    pub experimental_functions: bool,
    /// Arithmetic in ranges, offsets and steps.
    pub duration_expr: bool,
    /// `anchored` and `smoothed`.
    pub extended_range_selectors: bool,
    /// `fill`, `fill_left` and `fill_right`.
    pub binop_fill_modifiers: bool,
}

impl ParserOptions {
    /// Everything.
    pub const ALL: ParserOptions = ParserOptions {
        experimental_functions: true,
        duration_expr: true,
        extended_range_selectors: true,
        binop_fill_modifiers: true,
    };
}

/// Reads an expression and checks its types. The error is the first mistake.
pub fn parse(text: &str, options: &ParserOptions) -> Result<Expr, ParseError> {
    let mut parser = Parser { tokens: Tokens::new(text)?, options: *options, open: Vec::new() };
    if parser.tokens.peek()?.kind == Kind::End {
        return Err(parser.tokens.error(Position::default(), "no expression found in input"));
    }
    let expr = parser.expression()?;
    check::check(text, &expr)?;
    Ok(expr)
}

struct Parser<'a> {
    tokens: Tokens<'a>,
    options: ParserOptions,
    open: Vec<Open>,
}

impl Parser<'_> {
    fn expression(&mut self) -> Result<Expr, ParseError> {
        loop {
            let mut operand = self.operand()?;
            loop {
                operand = self.postfix(operand)?;
                let token = self.tokens.peek()?;
                match token.kind {
                    Kind::Operator(op) => {
                        self.operator(op, operand)?;
                        break;
                    }
                    Kind::RightParen => operand = self.close(operand)?,
                    Kind::Comma => {
                        self.comma(operand)?;
                        break;
                    }
                    _ => {
                        let tree = self.reduce(operand, 0)?;
                        match (token.kind, self.open.is_empty()) {
                            (Kind::End, true) => return Ok(tree.expr),
                            _ => return Err(self.unexpected()),
                        }
                    }
                }
            }
        }
    }

    /// The next token cannot stand here. The reference names the innermost aggregation that is open.
    fn unexpected(&self) -> ParseError {
        let is_in_aggregation = self.open.iter().any(|open| matches!(open, Open::Aggregate { .. }));
        let within = if is_in_aggregation { "aggregation" } else { "" };
        self.tokens.unexpected(Context::new(within, ""))
    }

    fn push(&mut self, open: Open, place: Position) -> Result<(), ParseError> {
        if self.open.len() >= MAX_DEPTH as usize {
            return Err(self.too_deep(place));
        }
        self.open.push(open);
        Ok(())
    }

    fn too_deep(&self, place: Position) -> ParseError {
        self.tokens.error(place, format!("the expression is nested more than {MAX_DEPTH} levels deep"))
    }

    /// Reads up to the end of something that operators and brackets can follow, and opens what stands before it.
    fn operand(&mut self) -> Result<Tree, ParseError> {
        loop {
            let token = self.tokens.peek()?;
            match token.kind {
                Kind::Operator(op @ (BinaryOp::Add | BinaryOp::Sub)) => {
                    self.tokens.take()?;
                    self.push(
                        Open::Sign { is_minus: op == BinaryOp::Sub, start: token.position.start },
                        token.position,
                    )?;
                }
                Kind::LeftParen => {
                    self.tokens.take()?;
                    self.push(Open::Paren { start: token.position.start }, token.position)?;
                }
                Kind::Number | Kind::Duration => return self.number().map(|n| Tree::leaf(Expr::Number(n))),
                Kind::String => {
                    self.tokens.take()?;
                    return Ok(Tree::leaf(Expr::String(string(token, self.tokens.text))));
                }
                Kind::LeftBrace => return self.selector(None),
                _ if token.is_metric_name() => {
                    if let Some(operand) = self.word()? {
                        return Ok(operand);
                    }
                }
                _ => return Err(self.unexpected()),
            }
        }
    }

    /// A selector, an aggregation or a call; of the latter two it returns those that are already closed.
    fn word(&mut self) -> Result<Option<Tree>, ParseError> {
        let word = self.tokens.take()?;
        let next = self.tokens.peek()?.kind;
        match (word.kind, next) {
            (Kind::Aggregator(op), Kind::LeftParen | Kind::Modifier(Modifier::By | Modifier::Without)) => {
                self.aggregation(op, word)
            }
            (Kind::Identifier | Kind::Preprocessor(_), Kind::LeftParen) => {
                let paren = self.tokens.take()?;
                self.push(Open::Call { name: word, args: Vec::new() }, paren.position)?;
                self.arguments()
            }
            _ => self.selector(Some(word)).map(Some),
        }
    }

    fn aggregation(&mut self, op: AggregateOp, word: Token) -> Result<Option<Tree>, ParseError> {
        let grouping = self.grouping()?;
        self.push(Open::Aggregate { op, word, grouping, args: Vec::new() }, word.position)?;
        if self.tokens.take_if(Kind::LeftParen)?.is_none() {
            return Err(self.unexpected());
        }
        self.arguments()
    }

    /// Behind the opening parenthesis of a call or an aggregation: there may be nothing in it.
    fn arguments(&mut self) -> Result<Option<Tree>, ParseError> {
        match self.tokens.take_if(Kind::RightParen)? {
            Some(_) => self.finish_arguments().map(Some),
            None => Ok(None),
        }
    }

    fn selector(&mut self, name: Option<Token>) -> Result<Tree, ParseError> {
        vector_selector(&mut self.tokens, name).map(|s| Tree::leaf(Expr::Vector(s)))
    }

    /// A number or a duration, without sign.
    fn number(&mut self) -> Result<NumberLiteral, ParseError> {
        let token = self.tokens.take()?;
        let text = token.of(self.tokens.text);
        let is_duration = token.kind == Kind::Duration;
        let value = if is_duration { number::parse_duration(text) } else { number::parse_number(text) };
        let value = value.map_err(|message| self.tokens.error(token.position, message))?;
        Ok(NumberLiteral { value, is_duration, position: token.position })
    }

    /// A binary operator behind an operand, and its modifiers.
    fn operator(&mut self, op: BinaryOp, operand: Tree) -> Result<(), ParseError> {
        let left = self.reduce(operand, build::precedence(op) + u32::from(op == BinaryOp::Pow))?;
        let token = self.tokens.take()?;
        let modifiers: BinaryModifiers = self.binary_modifiers()?;
        self.push(Open::Binary { op, left, modifiers }, token.position)
    }

    /// A closing parenthesis behind an operand.
    fn close(&mut self, operand: Tree) -> Result<Tree, ParseError> {
        let inner = self.reduce(operand, 0)?;
        match self.open.last_mut() {
            Some(Open::Paren { start }) => {
                let start = *start;
                let paren = self.tokens.take()?;
                self.open.pop();
                self.parenthesised(inner, Position { start, end: paren.position.end })
            }
            Some(Open::Call { args, .. } | Open::Aggregate { args, .. }) => {
                args.push(inner);
                self.tokens.take()?;
                self.finish_arguments()
            }
            _ => Err(self.unexpected()),
        }
    }

    /// A comma behind an operand.
    fn comma(&mut self, operand: Tree) -> Result<(), ParseError> {
        let inner = self.reduce(operand, 0)?;
        let Some(Open::Call { args, .. } | Open::Aggregate { args, .. }) = self.open.last_mut() else {
            return Err(self.unexpected());
        };
        args.push(inner);
        let comma = self.tokens.take()?;
        let next = self.tokens.peek()?;
        if next.starts_expression() {
            return Ok(());
        }
        Err(self.tokens.error(comma.position, "trailing commas not allowed in function call args"))
    }
}

fn string(token: Token, text: &str) -> StringLiteral {
    let position = token.position;
    match String::from_utf8(unquote(token.of(text)).into_owned()) {
        Ok(value) => StringLiteral { value, bytes: None, position },
        Err(error) => {
            let bytes = error.into_bytes();
            let value = String::from_utf8_lossy(&bytes).into_owned();
            StringLiteral { value, bytes: Some(bytes.into()), position }
        }
    }
}
