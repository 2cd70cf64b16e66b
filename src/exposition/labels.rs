//! Labels of one sample, decoded on demand.

use std::borrow::Cow;

use super::Format;
use super::error::{Fault, ParseError};
use super::grammar::{Piece, walk_exemplar, walk_series};
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
}

impl SeriesLabels {
    /// Without labels.
    pub fn new() -> SeriesLabels {
        SeriesLabels::default()
    }

    /// Decodes a series part that a [`Parser`](super::Parser) has yielded. `family` is the type that the last `# TYPE`
    /// line declared: bounds of its buckets and quantiles are written in OpenMetrics style whatever the target wrote.
    pub fn decode(&mut self, series: &[u8], format: Format, family: MetricType) -> Result<(), ParseError> {
        self.text.clear();
        self.ends.clear();
        // A name in braces may come after labels; it goes first nevertheless, as in the reference.
        let mut metric: &[u8] = &[];
        let walked = walk_series(series, 0, format, |piece| {
            if let Piece::Name(name) = piece {
                metric = name;
            }
        });
        walked.map_err(|fault: Fault| fault.locate(series, 0))?;
        self.push(METRIC_NAME.as_bytes(), metric, MetricType::Unknown);
        // The same bytes were walked without a fault just now.
        let _ = walk_series(series, 0, format, |piece| {
            if let Piece::Label(name, value) = piece {
                self.push(name, value, family);
            }
        });
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

    /// A name that is mentioned more than once.
    pub fn repeated_name(&self) -> Option<&str> {
        self.iter().enumerate().find_map(|(i, (name, _))| self.iter().take(i).any(|(n, _)| n == name).then_some(name))
    }

    fn push(&mut self, name: &[u8], value: &[u8], family: MetricType) {
        // The walk has checked that the whole series part is UTF-8, and pieces end at ASCII characters.
        let name = unescape(std::str::from_utf8(name).unwrap_or_default(), Escapes::LabelValue);
        let value = unescape(std::str::from_utf8(value).unwrap_or_default(), Escapes::LabelValue);
        self.text.push_str(&name);
        let name_end = self.text.len();
        match normalized_bound(family, &name, &value) {
            Some(bound) => self.text.push_str(&bound),
            None => self.text.push_str(&value),
        }
        self.ends.push((name_end, self.text.len()));
    }
}

/// Bounds of classic buckets and quantiles follow OpenMetrics's way of writing floats.
fn normalized_bound(family: MetricType, name: &str, value: &str) -> Option<String> {
    let is_bound = matches!((family, name), (MetricType::Histogram, "le") | (MetricType::Summary, "quantile"));
    let bound = is_bound.then(|| parse_float(value.as_bytes()).ok()).flatten()?;
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
