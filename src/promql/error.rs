//! What is wrong with an expression, and where.

use std::fmt::{self, Write};
use std::ops::Range;

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
    pub(super) fn new(text: &str, range: Range<usize>, message: impl Into<String>) -> ParseError {
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

/// `text` in double quotes, escaped as Go escapes it.
pub(super) fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    text.chars().for_each(|c| push_escaped(&mut out, c, '"'));
    out.push('"');
    out
}

/// A character in single quotes; the end of the text counts as one that cannot be decoded.
pub(super) fn quote_char(c: Option<char>) -> String {
    let mut out = String::from("'");
    push_escaped(&mut out, c.unwrap_or('\u{fffd}'), '\'');
    out.push('\'');
    out
}

/// A character's code point, and the character itself where it can be shown.
pub(super) fn describe_char(c: char) -> String {
    let mut out = format!("U+{:04X}", c as u32);
    if !is_hidden(c) {
        let _ = write!(out, " '{c}'");
    }
    out
}

fn push_escaped(out: &mut String, c: char, quote: char) {
    // Writing to a string cannot fail.
    let _ = match c {
        c if c == quote || c == '\\' => write!(out, "\\{c}"),
        '\x07' => write!(out, "\\a"),
        '\x08' => write!(out, "\\b"),
        '\x0c' => write!(out, "\\f"),
        '\n' => write!(out, "\\n"),
        '\r' => write!(out, "\\r"),
        '\t' => write!(out, "\\t"),
        '\x0b' => write!(out, "\\v"),
        c if !is_hidden(c) => out.write_char(c),
        c if c.is_ascii() => write!(out, "\\x{:02x}", c as u32),
        c if (c as u32) < 0x10000 => write!(out, "\\u{:04x}", c as u32),
        c => write!(out, "\\U{:08x}", c as u32),
    };
}

/// Whether a character has no glyph of its own.
fn is_hidden(c: char) -> bool {
    c != '\'' && c != '"' && c != '\\' && c.escape_debug().count() > 1
}
