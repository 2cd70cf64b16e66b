//! JSON with the escapes of Prometheus, so that answers are the same byte for byte.
//!
//! Its answers are made by several encoders, which only agree on what JSON demands.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter};

/// How characters are escaped that need not be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Escaping {
    /// Only what JSON demands: labels.
    Labels,
    /// Every other text: also what could end a script in a page, and line separators.
    Text,
    /// What comes from Go's own encoder: as [`Escaping::Text`], with all of JSON's short forms.
    Value,
    /// The same, told to leave alone what could end a script.
    PlainValue,
}

impl Formatter for Escaping {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        if *self == Escaping::Labels {
            return out.write_all(fragment.as_bytes());
        }
        let mut rest = fragment;
        const ESCAPED: [char; 5] = ['\u{2028}', '\u{2029}', '<', '>', '&'];
        let escaped = if *self == Escaping::PlainValue { &ESCAPED[..2] } else { &ESCAPED };
        while let Some(at) = rest.find(escaped) {
            let (safe, tail) = rest.split_at(at);
            let mut chars = tail.chars();
            let c = chars.next().unwrap_or_default();
            write!(out, "{safe}\\u{:04x}", c as u32)?;
            rest = chars.as_str();
        }
        out.write_all(rest.as_bytes())
    }

    fn write_char_escape<W: ?Sized + Write>(&mut self, out: &mut W, escape: CharEscape) -> io::Result<()> {
        let (short, long) = match escape {
            CharEscape::Quote => (r#"\""#, None),
            CharEscape::ReverseSolidus | CharEscape::Solidus => (r"\\", None),
            CharEscape::LineFeed => (r"\n", None),
            CharEscape::CarriageReturn => (r"\r", None),
            CharEscape::Tab => (r"\t", None),
            CharEscape::Backspace => (r"\b", Some(8)),
            CharEscape::FormFeed => (r"\f", Some(12)),
            CharEscape::AsciiControl(byte) => return write!(out, "\\u{byte:04x}"),
        };
        match long.filter(|_| !matches!(self, Escaping::Value | Escaping::PlainValue)) {
            Some(byte) => write!(out, "\\u{byte:04x}"),
            None => out.write_all(short.as_bytes()),
        }
    }
}

/// Appends a value as JSON.
pub fn append(out: &mut Vec<u8>, data: &impl Serialize, escaping: Escaping) {
    let before = out.len();
    // Only maps with keys that are no strings cannot be written, and there are none.
    if data.serialize(&mut serde_json::Serializer::with_formatter(&mut *out, escaping)).is_err() {
        out.truncate(before);
        out.extend_from_slice(b"null");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_as_each_of_the_references_encoders_does() {
        let written = |escaping| {
            let mut out = Vec::new();
            append(&mut out, &"<&>\u{2028}\u{e9}\u{8}\u{c}\u{1}\u{7f}\t\"\\/", escaping);
            String::from_utf8(out).expect("UTF-8")
        };
        assert_eq!(written(Escaping::Labels), "\"<&>\u{2028}\u{e9}\\u0008\\u000c\\u0001\u{7f}\\t\\\"\\\\/\"");
        let html = r"\u003c\u0026\u003e\u2028";
        assert_eq!(written(Escaping::Text), format!("\"{html}\u{e9}\\u0008\\u000c\\u0001\u{7f}\\t\\\"\\\\/\""));
        let plain = "\"<&>\\u2028\u{e9}\\b\\f\\u0001\u{7f}\\t\\\"\\\\/\"";
        assert_eq!(written(Escaping::PlainValue), plain);
        assert_eq!(written(Escaping::Value), format!("\"{html}\u{e9}\\b\\f\\u0001\u{7f}\\t\\\"\\\\/\""));
    }
}
