//! Pieces that several endpoints write.

use std::io::{self, Write};

use serde::{Serialize, Serializer};
use serde_json::ser::{CharEscape, Formatter};

use crate::model::TimestampMs;
use crate::model::labels::LabelsIter;

/// How the reference escapes in strings; its answers are made by several encoders that agree on what is needed only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Escaping {
    /// Labels: only what JSON demands.
    Labels,
    /// Every other text: also what could end a script in a page, and line separators.
    Text,
    /// The text that a query evaluates to: as [`Escaping::Text`], with all of JSON's short forms.
    Value,
}

impl Formatter for Escaping {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        if *self == Escaping::Labels {
            return out.write_all(fragment.as_bytes());
        }
        let mut rest = fragment;
        while let Some(at) = rest.find(['<', '>', '&', '\u{2028}', '\u{2029}']) {
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
        match long.filter(|_| *self != Escaping::Value) {
            Some(byte) => write!(out, "\\u{byte:04x}"),
            None => out.write_all(short.as_bytes()),
        }
    }
}

/// Appends a value as JSON.
pub(super) fn append(out: &mut Vec<u8>, data: &impl Serialize, escaping: Escaping) {
    let before = out.len();
    // Only maps with keys that are no strings cannot be written, and there are none.
    if data.serialize(&mut serde_json::Serializer::with_formatter(&mut *out, escaping)).is_err() {
        out.truncate(before);
        out.extend_from_slice(b"null");
    }
}

/// Encoded labels as an object.
pub(super) struct LabelMap<'a>(pub(super) &'a [u8]);

impl Serialize for LabelMap<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(LabelsIter::over(self.0))
    }
}

/// An instant in RFC 3339 without needless zeros; absence is the year 1, as the reference writes its zero time.
pub(super) struct Rfc3339(pub(super) Option<TimestampMs>);

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.and_then(|t| jiff::Timestamp::from_millisecond(t.0).ok()) {
            Some(instant) => serializer.collect_str(&instant),
            None => serializer.serialize_str("0001-01-01T00:00:00Z"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;

    #[test]
    fn instants_are_written_as_the_reference_writes_them() {
        let json = |t| serde_json::to_string(&Rfc3339(t)).expect("a string");
        assert_eq!(json(Some(TimestampMs(1_433_337_718_500))), r#""2015-06-03T13:21:58.5Z""#);
        assert_eq!(json(Some(TimestampMs(1_433_337_718_000))), r#""2015-06-03T13:21:58Z""#);
        assert_eq!(json(None), r#""0001-01-01T00:00:00Z""#);
    }

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
        assert_eq!(written(Escaping::Value), format!("\"{html}\u{e9}\\b\\f\\u0001\u{7f}\\t\\\"\\\\/\""));
    }

    #[test]
    fn labels_become_an_object_with_escaped_strings() {
        let labels = Labels::from_pairs([("a", "\"\\\n"), ("__name__", "up")]);
        let json = serde_json::to_string(&LabelMap(labels.as_bytes())).expect("an object");
        assert_eq!(json, r#"{"__name__":"up","a":"\"\\\n"}"#);
    }
}
