//! Replacement templates: `$1`, `${name}`, `$$`.

use std::sync::LazyLock;

use super::Captures;

/// A template that has been read. A `$` that begins no variable stands for itself.
///
/// A name without braces is as long as it can be: `$1x` is the group named `1x`, not group 1 and an `x`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Template {
    parts: Box<[Part]>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Text(Box<str>),
    Number(usize),
    Name(Box<str>),
}

impl Template {
    /// Reads a template; every text is one.
    pub fn new(template: &str) -> Template {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('$') {
            text.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                text.push('$');
                rest = after;
            } else if let Some((part, after)) = variable(after) {
                if !text.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut text).into()));
                }
                parts.push(part);
                rest = after;
            } else {
                text.push('$');
                rest = after;
            }
        }
        text.push_str(rest);
        if !text.is_empty() {
            parts.push(Part::Text(text.into()));
        }
        Template { parts: parts.into() }
    }

    /// The text that every expansion gives, if there is no variable in it.
    pub fn constant(&self) -> Option<&str> {
        match &*self.parts {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    pub(super) fn expand(&self, captures: &Captures<'_, '_>, out: &mut String) {
        for part in &self.parts {
            out.push_str(match part {
                Part::Text(text) => text,
                Part::Number(number) => captures.group(*number).unwrap_or(""),
                Part::Name(name) => captures.named(name).unwrap_or(""),
            });
        }
    }
}

/// Reads the variable behind a `$`.
fn variable(text: &str) -> Option<(Part, &str)> {
    let braced = text.strip_prefix('{');
    let body = braced.unwrap_or(text);
    let len = body.find(|c: char| !is_name_char(c)).unwrap_or(body.len());
    let (name, mut rest) = body.split_at(len);
    if name.is_empty() {
        return None;
    }
    if braced.is_some() {
        rest = rest.strip_prefix('}')?;
    }
    Some((number(name).map_or_else(|| Part::Name(name.into()), Part::Number), rest))
}

/// A group's number. Leading zeros make it a name, and so does a number beyond all groups.
fn number(name: &str) -> Option<usize> {
    let is_number = name.bytes().all(|b| b.is_ascii_digit()) && (name.len() == 1 || !name.starts_with('0'));
    if is_number { name.parse().ok().filter(|n| *n < 100_000_000) } else { None }
}

/// The reference takes Unicode letters and decimal digits here, although no group's name can hold them.
fn is_name_char(c: char) -> bool {
    static LETTER_OR_DIGIT: LazyLock<Option<regex::Regex>> =
        LazyLock::new(|| regex::Regex::new(r"\A[\p{L}\p{Nd}]\z").ok());
    match c {
        '_' => true,
        c if c.is_ascii() => c.is_ascii_alphanumeric(),
        c => LETTER_OR_DIGIT.as_ref().is_some_and(|r| r.is_match(c.encode_utf8(&mut [0; 4]))),
    }
}
