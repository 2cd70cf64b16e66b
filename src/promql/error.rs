//! What is wrong with an expression, and where.

use std::fmt;
use std::ops::Range;

use super::ast::Position;
use crate::model::GoQuoted;

/// A mistake in an expression.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{place}: parse error: {message}")]
pub struct ParseError {
    /// What is wrong.
    pub message: String,
    /// The bytes of the text that it is about.
    pub range: Range<usize>,
    place: Place,
}

/// Shown as `line:column`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    /// Counted from 1; 0 where the text is empty.
    line: usize,
    /// In bytes, counted from 1.
    column: usize,
}

/// Where byte `start` of a text stands.
pub(super) fn place_of(text: &str, start: usize) -> Place {
    let before = &text.as_bytes()[..start.min(text.len())];
    let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
    let line = if text.is_empty() { 0 } else { line };
    Place { line, column: before.len() - line_start + 1 }
}

impl ParseError {
    pub(super) fn new(text: &str, position: Position, message: impl Into<String>) -> ParseError {
        let range = position.start as usize..position.end as usize;
        ParseError { message: message.into(), place: place_of(text, range.start), range }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str("unknown position"),
            line => write!(f, "{line}:{}", self.column),
        }
    }
}

/// A character in single quotes as Go shows it; the end of the text counts as one that cannot be decoded.
pub(super) fn quote_char(c: Option<char>) -> String {
    match c.unwrap_or('\u{fffd}') {
        '\'' => r"'\''".to_owned(),
        '"' => "'\"'".to_owned(),
        c => GoQuoted(c.encode_utf8(&mut [0; 4])).to_string().replace('"', "'"),
    }
}

/// A character's code point, and the character itself where it can be shown.
pub(super) fn describe_char(c: char) -> String {
    let quoted = quote_char(Some(c));
    let is_shown = matches!(c, '\'' | '\\') || !quoted.starts_with(r"'\");
    let shown = if is_shown { format!(" '{c}'") } else { String::new() };
    format!("U+{:04X}{shown}", c as u32)
}

/// Bytes in double quotes as Go shows them, those that are not UTF-8 as escapes.
pub(super) fn quote_bytes(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        let quoted = GoQuoted(chunk.valid()).to_string();
        out.push_str(&quoted[1..quoted.len() - 1]);
        chunk.invalid().iter().for_each(|b| out.push_str(&format!("\\x{b:02x}")));
    }
    out.push('"');
    out
}
