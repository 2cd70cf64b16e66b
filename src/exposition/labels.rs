//! Labels of one sample, decoded on demand.

use std::borrow::Cow;

use super::Format;
use super::error::{Fault, ParseError};
use super::grammar::{NOT_UTF8, Piece, walk_exemplar, walk_pieces};
use super::number::{format_openmetrics_float, parse_float};
use crate::model::{Labels, METRIC_NAME, MetricType};

/// A reusable scratch of decoded labels: the metric name first, then the labels in the order of the line.
///
/// Unlike [`Labels`] it keeps empty values and repeated names, because label rules tell these from absence.
#[derive(Clone, Debug, Default)]
pub struct SeriesLabels {
    text: String,
    /// Ends of name and value in `text`; each begins where the one before ended.
    ends: Vec<(usize, usize)>,
    empty_value: bool,
}

impl SeriesLabels {
    /// Without labels.
    pub fn new() -> SeriesLabels {
        SeriesLabels::default()
    }

    /// Forgets all labels and keeps the memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
        self.empty_value = false;
    }

    /// Adds a pair behind the others, whatever it is. The metric name goes first.
    pub fn push_pair(&mut self, name: &str, value: &str) {
        self.text.push_str(name);
        let name_end = self.text.len();
        self.text.push_str(value);
        self.empty_value |= value.is_empty();
        self.ends.push((name_end, self.text.len()));
    }

    /// Decodes a series part that a [`Parser`](super::Parser) has yielded. `family` is the type that the last `# TYPE`
    /// line declared: bounds of its buckets and quantiles are written in OpenMetrics style whatever the target wrote.
    pub fn decode(&mut self, series: &[u8], format: Format, family: MetricType) -> Result<(), ParseError> {
        let mut text = std::mem::take(&mut self.text).into_bytes();
        text.clear();
        self.ends.clear();
        self.empty_value = false;
        let escaped = memchr::memchr(b'\\', series).is_some();
        let mut name_at = 0;
        let walked = walk_pieces(series, 0, format, |piece| match piece {
            Piece::Name(metric) => {
                name_at = self.ends.len();
                self.push(&mut text, METRIC_NAME.as_bytes(), metric, escaped, MetricType::Unknown);
            }
            Piece::Label(name, value) => self.push(&mut text, name, value, escaped, family),
        });
        walked.map_err(|fault: Fault| fault.locate(series, 0))?;
        self.text = String::from_utf8(text).map_err(|_| Fault::new(0, NOT_UTF8).locate(series, 0))?;
        if name_at > 0 {
            self.move_to_front(name_at);
        }
        Ok(())
    }

    /// The pairs, empty values and repetitions included.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut from = 0;
        self.ends.iter().map(move |&(name_end, value_end)| {
            let pair = (&self.text[from..name_end], &self.text[name_end..value_end]);
            from = value_end;
            pair
        })
    }

    /// The number of pairs.
    #[expect(clippy::len_without_is_empty, reason = "there is always the metric name")]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// The first value of `name`; `None` where the line does not mention it.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find_map(|(n, v)| (n == name).then_some(v))
    }

    /// Whether some label has no value.
    pub fn has_empty_value(&self) -> bool {
        self.empty_value
    }

    /// A name in braces may come after labels; it goes first nevertheless, as in the reference.
    #[cold]
    fn move_to_front(&mut self, at: usize) {
        let mut pairs: Vec<(String, String)> = self.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        pairs[..=at].rotate_right(1);
        self.text.clear();
        self.ends.clear();
        for (name, value) in pairs {
            self.text.push_str(&name);
            let name_end = self.text.len();
            self.text.push_str(&value);
            self.ends.push((name_end, self.text.len()));
        }
    }

    fn push(&mut self, text: &mut Vec<u8>, name: &[u8], value: &[u8], escaped: bool, family: MetricType) {
        let name_from = text.len();
        push_unescaped(text, name, escaped);
        let name_end = text.len();
        push_unescaped(text, value, escaped);
        if let Some(bound) = normalized_bound(family, &text[name_from..name_end], &text[name_end..]) {
            text.truncate(name_end);
            text.extend_from_slice(bound.as_bytes());
        }
        self.empty_value |= text.len() == name_end;
        self.ends.push((name_end, text.len()));
    }
}

#[inline]
fn push_unescaped(out: &mut Vec<u8>, text: &[u8], escaped: bool) {
    if escaped {
        // Pieces end at ASCII characters, so what is not UTF-8 here is not UTF-8 as a whole either.
        match std::str::from_utf8(text) {
            Ok(text) => out.extend_from_slice(unescape(text, Escapes::LabelValue).as_bytes()),
            Err(_) => out.extend_from_slice(text),
        }
    } else {
        out.extend_from_slice(text);
    }
}

/// Bounds of classic buckets and quantiles follow OpenMetrics's way of writing floats.
fn normalized_bound(family: MetricType, name: &[u8], value: &[u8]) -> Option<String> {
    let is_bound = matches!((family, name), (MetricType::Histogram, b"le") | (MetricType::Summary, b"quantile"));
    let bound = is_bound.then(|| parse_float(value).ok()).flatten()?;
    Some(format_openmetrics_float(bound))
}

/// The labels of an exemplar, which the reference takes as they are written, escapes included.
pub(super) fn exemplar_labels(body: &[u8], start: usize) -> Labels {
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    // The parser has walked the same bytes without a fault.
    let _ = walk_exemplar(body, start, |piece| {
        if let Piece::Label(name, value) = piece {
            pairs.push((std::str::from_utf8(name).unwrap_or_default(), std::str::from_utf8(value).unwrap_or_default()));
        }
    });
    Labels::from_pairs(pairs)
}

#[derive(Clone, Copy, PartialEq)]
enum Escapes {
    /// `\\`, `\n` and `\"`.
    LabelValue,
    /// `\\` and `\n`.
    Help,
}

/// Help text without its escapes; the formats differ in whether a quote is escaped.
pub fn unescape_help(text: &str, format: Format) -> Cow<'_, str> {
    match format {
        Format::Text => unescape(text, Escapes::Help),
        Format::OpenMetrics => unescape(text, Escapes::LabelValue),
    }
}

/// An unknown escape stays as it is written.
fn unescape(text: &str, escapes: Escapes) -> Cow<'_, str> {
    if memchr::memchr(b'\\', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let (unescaped, used) = match rest.as_bytes().get(at + 1) {
            Some(b'\\') => ('\\', 2),
            Some(b'n') => ('\n', 2),
            Some(b'"') if escapes == Escapes::LabelValue => ('"', 2),
            _ => ('\\', 1),
        };
        out.push(unescaped);
        rest = &rest[at + used..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}
