//! One token of lookahead over the lexer.
//!
//! A token is read only when somebody asks for it. That decides which of two mistakes is reported where the first is one
//! of meaning and the second one of spelling right behind it, and it is why [`Tokens::last_closing`] may lie behind the
//! expression that is being finished; both as in the reference.

use super::ast::Position;
use super::error::ParseError;
use super::lex::{Kind, Lexer, Token, unquote};
use crate::model::GoQuoted;

/// The tokens of a text.
pub(super) struct Tokens<'a> {
    pub(super) text: &'a str,
    lexer: Lexer<'a>,
    ahead: Option<Token>,
    /// What was read last, be it taken or looked at.
    last: Token,
    /// End of the last closing bracket, number or duration that was read.
    pub(super) last_closing: u32,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(text: &'a str) -> Result<Tokens<'a>, ParseError> {
        let last = Token { kind: Kind::End, position: Position::default() };
        Ok(Tokens { text, lexer: Lexer::new(text)?, ahead: None, last, last_closing: 0 })
    }

    /// The next token, which stays.
    pub(super) fn peek(&mut self) -> Result<Token, ParseError> {
        if let Some(token) = self.ahead {
            return Ok(token);
        }
        let token = self.lexer.next()?;
        use Kind::*;
        if matches!(token.kind, RightBrace | RightParen | RightBracket | Number | Duration) {
            self.last_closing = token.position.end;
        }
        (self.ahead, self.last) = (Some(token), token);
        Ok(token)
    }

    /// Passes over the next token and returns it.
    pub(super) fn take(&mut self) -> Result<Token, ParseError> {
        let token = self.peek()?;
        self.ahead = None;
        Ok(token)
    }

    /// Passes over the next token if it is of this kind.
    pub(super) fn take_if(&mut self, kind: Kind) -> Result<Option<Token>, ParseError> {
        match self.peek()?.kind == kind {
            true => self.take().map(Some),
            false => Ok(None),
        }
    }

    /// A mistake at a place.
    pub(super) fn error(&self, position: Position, message: impl Into<String>) -> ParseError {
        ParseError::new(self.text, position, message)
    }

    /// The token that was looked at has no business here.
    pub(super) fn unexpected(&self, context: Context) -> ParseError {
        let mut message = format!("unexpected {}", self.last.describe(self.text));
        let Context { within, expected } = context;
        for (word, what) in [(" in ", within), (", expected ", expected)] {
            if !what.is_empty() {
                message.push_str(word);
                message.push_str(what);
            }
        }
        self.error(self.last.position, message)
    }

    /// The value of the string that was just taken, if it is UTF-8.
    pub(super) fn unquote(&self, token: Token) -> Result<String, ParseError> {
        let quoted = token.of(self.text);
        String::from_utf8(unquote(quoted).into_owned()).map_err(|_| {
            let message = format!("error unquoting string {}: invalid UTF-8 rune", GoQuoted(quoted));
            self.error(token.position, message)
        })
    }

    /// Where the token before the one that was looked at ends, if both are closing parentheses with only spaces between
    /// them; otherwise the end of the last closing token. The reference loses track there, and so do positions.
    pub(super) fn end_before_lookahead(&self) -> u32 {
        if self.last.kind != Kind::RightParen || self.ahead.is_none() {
            return self.last_closing;
        }
        let before = &self.text.as_bytes()[..self.last.position.start as usize];
        match before.iter().rposition(|b| !super::lex::is_space(*b)) {
            Some(at) if at > 0 && before[at] == b')' => at as u32 + 1,
            _ => self.last_closing,
        }
    }
}

/// What was being read when an unexpected token came, and what could have come; both may be empty.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context {
    pub(super) within: &'static str,
    pub(super) expected: &'static str,
}

impl Context {
    pub(super) const NONE: Context = Context::new("", "");

    pub(super) const fn new(within: &'static str, expected: &'static str) -> Context {
        Context { within, expected }
    }
}
