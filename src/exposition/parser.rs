//! The walk over a whole body.

use super::Format;
use super::error::{Fault, ParseError, Quoted};
use super::grammar::{plain_name_end, skip_blanks, walk_exemplar, walk_series};
use super::labels::exemplar_labels;
use super::number::{parse_float, short_decimal};
use crate::model::{Exemplar, MetricType, TimestampMs};

/// One sample of a body.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// Metric name and labels as written; see [`SeriesLabels::decode`](super::SeriesLabels::decode).
    pub series: &'a [u8],
    /// Its value; an exposed NaN is always the ordinary one.
    pub value: f64,
    /// Its own timestamp, if it has one.
    pub timestamp: Option<TimestampMs>,
    /// Its exemplar, if it has one.
    pub exemplar: Option<RawExemplar<'a>>,
}

/// An exemplar whose labels have not been decoded.
#[derive(Clone, Copy, Debug)]
pub struct RawExemplar<'a> {
    body: &'a [u8],
    labels_at: usize,
    /// Its value.
    pub value: f64,
    /// Its timestamp, if it has one.
    pub timestamp: Option<TimestampMs>,
}

impl RawExemplar<'_> {
    /// Decodes the labels.
    pub fn decode(&self) -> Exemplar {
        Exemplar { labels: exemplar_labels(self.body, self.labels_at), value: self.value, t: self.timestamp }
    }
}

/// What a line brings.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A sample.
    Series(Sample<'a>),
    /// `# TYPE`: the family's name as written and its type.
    Type(&'a [u8], MetricType),
    /// `# HELP`: the family's name as written and its text, still escaped.
    Help(&'a [u8], &'a str),
    /// `# UNIT`: the family's name as written and its unit.
    Unit(&'a [u8], &'a [u8]),
    /// Any other comment.
    Comment,
}

/// A cursor over a body. After an error it must not be asked further.
#[derive(Clone, Debug)]
pub struct Parser<'a> {
    body: &'a [u8],
    format: Format,
    /// The next line begins here.
    at: usize,
    /// The line of the last event begins here.
    start: usize,
    family: MetricType,
}

impl<'a> Parser<'a> {
    /// Begins at the first byte.
    pub fn new(body: &'a [u8], format: Format) -> Parser<'a> {
        Parser { body, format, at: 0, start: 0, family: MetricType::Unknown }
    }

    /// What has not been read yet; begins at the start of a line.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        &self.body[self.at..]
    }

    /// Where the line of the last event begins in the body.
    #[inline]
    pub fn line_start(&self) -> usize {
        self.start
    }

    /// The bytes of the last event's line, without its line break.
    pub fn last_line(&self) -> &'a [u8] {
        let line = &self.body[self.start..self.at];
        line.strip_suffix(b"\n").unwrap_or(line)
    }

    /// The type that the last `# TYPE` line declared.
    #[inline]
    pub fn family_type(&self) -> MetricType {
        self.family
    }

    /// Tells the parser of a `# TYPE` line that was skipped by [`accept_line`](Parser::accept_line).
    #[inline]
    pub fn set_family_type(&mut self, family: MetricType) {
        self.family = family;
    }

    /// If the first `len` bytes of [`rest`](Parser::rest), which the caller knows to be a series part that has been
    /// parsed before, are the whole series part of this line, reads the line; else reads nothing and says `None`.
    #[inline]
    pub fn accept_series(&mut self, len: usize) -> Result<Option<Sample<'a>>, ParseError> {
        let start = self.at;
        let end = start + len;
        // A longer name, or labels behind a name that had none, must not be taken for the known series.
        if self.body.get(end) != Some(&b' ') || matches!(self.body.get(end + 1), None | Some(b' ' | b'\t' | b'{')) {
            return Ok(None);
        }
        if let Some((value, used)) = short_decimal(&self.body[end + 1..])
            && self.body.get(end + 1 + used) == Some(&b'\n')
        {
            self.start = start;
            self.at = end + 2 + used;
            let series = &self.body[start..end];
            return Ok(Some(Sample { series, value, timestamp: None, exemplar: None }));
        }
        self.start = start;
        self.tail(start, end).map(Some).map_err(|fault| self.locate(fault))
    }

    /// If the first `len` bytes of [`rest`](Parser::rest), which the caller knows to be a comment line that has been
    /// parsed before, are a whole line, skips it and says true.
    #[inline]
    pub fn accept_line(&mut self, len: usize) -> bool {
        let end = self.at + len;
        let next = match (self.body.get(end), self.format) {
            (Some(b'\n'), _) => end + 1,
            (None, Format::Text) if end == self.body.len() => end,
            _ => return false,
        };
        self.start = self.at;
        self.at = next;
        true
    }

    /// Reads on to the next event; `None` at the end of the body.
    #[expect(clippy::should_implement_trait, reason = "an iterator would have to stop after an error by itself")]
    pub fn next(&mut self) -> Result<Option<Event<'a>>, ParseError> {
        let event = match self.format {
            Format::Text => self.next_text(),
            Format::OpenMetrics => self.next_openmetrics(),
        };
        event.map_err(|fault| self.locate(fault))
    }

    fn locate(&self, fault: Fault) -> ParseError {
        fault.locate(self.body, self.start)
    }

    fn series(&mut self) -> Result<Event<'a>, Fault> {
        let end = walk_series(self.body, self.start, self.format)?;
        self.tail(self.start, end).map(Event::Series)
    }

    #[inline]
    fn tail(&mut self, start: usize, end: usize) -> Result<Sample<'a>, Fault> {
        match self.format {
            Format::Text => self.text_tail(start, end),
            Format::OpenMetrics => self.openmetrics_tail(start, end),
        }
    }

    fn number(&self, from: usize, to: usize) -> Result<f64, Fault> {
        let text = &self.body[from..to];
        parse_float(text).map_err(|e| Fault::text(from, format!("parsing number {}: {e}", Quoted(text))))
    }
}

/// Prometheus text.
impl<'a> Parser<'a> {
    fn next_text(&mut self) -> Result<Option<Event<'a>>, Fault> {
        loop {
            self.start = self.at;
            let first = skip_blanks(self.body, self.at);
            match self.body.get(first) {
                None => {
                    self.at = first;
                    return Ok(None);
                }
                Some(b'\n') => self.at = first + 1,
                Some(b'#') => return self.text_comment(first + 1).map(Some),
                Some(_) => return self.series().map(Some),
            }
        }
    }

    /// A line that begins with `#`; `at` is behind it.
    fn text_comment(&mut self, at: usize) -> Result<Event<'a>, Fault> {
        let word = skip_blanks(self.body, at);
        let rest = &self.body[word..];
        let is_keyword = |k: &[u8]| rest.starts_with(k) && matches!(rest.get(k.len()), Some(b' ' | b'\t'));
        if word > at && is_keyword(b"HELP") {
            let (name, text) = self.text_metadata(word + 4, "expected a metric name after HELP")?;
            let text = std::str::from_utf8(text).map_err(|_| Fault::new(self.start, "help text is not valid UTF-8"))?;
            return Ok(Event::Help(name, text));
        }
        if word > at && is_keyword(b"TYPE") {
            let (name, text) = self.text_metadata(word + 4, "expected a metric name after TYPE")?;
            let kind = match text {
                b"counter" => MetricType::Counter,
                b"gauge" => MetricType::Gauge,
                b"histogram" => MetricType::Histogram,
                b"summary" => MetricType::Summary,
                b"untyped" => MetricType::Unknown,
                _ => return Err(Fault::text(self.start, format!("invalid metric type {}", Quoted(text)))),
            };
            self.family = kind;
            return Ok(Event::Type(name, kind));
        }
        let end = self.line_end(at);
        // Where the reference allows NUL bytes in comments is behind `# `; behind a bare `#` they end its parsing.
        if word == at && memchr::memchr(0, &self.body[at..end]).is_some() {
            return Err(Fault::new(at, "expected a comment without NUL bytes"));
        }
        self.at = (end + 1).min(self.body.len());
        Ok(Event::Comment)
    }

    /// Name and text of a metadata line, from behind its keyword to the end of the line.
    fn text_metadata(&mut self, at: usize, missing: &'static str) -> Result<(&'a [u8], &'a [u8]), Fault> {
        let (name, name_end) = self.family_name(skip_blanks(self.body, at), missing)?;
        let end = self.line_end(name_end);
        let text = &self.body[name_end..end];
        if text.first() == Some(&0) {
            return Err(Fault::new(name_end, "expected a line break after metadata"));
        }
        self.at = (end + 1).min(self.body.len());
        let all_blank = text.iter().all(|b| matches!(b, b' ' | b'\t'));
        // The byte behind the name is taken for the separator whatever it is, as the reference does.
        Ok((name, if all_blank { &[] } else { &text[1..] }))
    }

    fn text_tail(&mut self, start: usize, end: usize) -> Result<Sample<'a>, Fault> {
        let body = self.body;
        let value_at = skip_blanks(body, end);
        let ends_value = |b: &u8| matches!(b, b'{' | b' ' | b'\t' | b'\n' | 0);
        let (value, value_end) = match short_decimal(&body[value_at..]) {
            Some((value, used)) if body.get(value_at + used).is_none_or(ends_value) => (value, value_at + used),
            _ => {
                let to = body[value_at..].iter().position(ends_value).map_or(body.len(), |n| value_at + n);
                if to == value_at {
                    return Err(Fault::new(value_at, "expected a value after the metric"));
                }
                (self.number(value_at, to)?, to)
            }
        };
        let mut at = skip_blanks(body, value_end);
        let mut timestamp = None;
        let digits = body[at..].iter().take_while(|b| b.is_ascii_digit()).count();
        if digits > 0 {
            timestamp = Some(TimestampMs(
                parse_digits(&body[at..at + digits])
                    .ok_or_else(|| Fault::new(at, "expected a timestamp that fits into 64 bits"))?,
            ));
            at = skip_blanks(body, at + digits);
        }
        self.at = match body.get(at) {
            Some(b'\n') => at + 1,
            None => at,
            Some(_) if timestamp.is_some() => return Err(Fault::new(at, "expected the next line after the timestamp")),
            Some(_) => return Err(Fault::new(at, "expected a timestamp or the next line")),
        };
        Ok(Sample { series: &body[start..end], value, timestamp, exemplar: None })
    }

    fn line_end(&self, from: usize) -> usize {
        memchr::memchr(b'\n', &self.body[from..]).map_or(self.body.len(), |n| from + n)
    }

    /// A metric name in a metadata line, plain or quoted; quotes are taken off, escapes stay.
    fn family_name(&self, at: usize, missing: &'static str) -> Result<(&'a [u8], usize), Fault> {
        if self.body.get(at) != Some(&b'"') {
            let end = plain_name_end(self.body, at, true);
            return if end == at { Err(Fault::new(at, missing)) } else { Ok((&self.body[at..end], end)) };
        }
        let mut i = at + 1;
        loop {
            match self.body.get(i) {
                Some(b'"') => return Ok((&self.body[at + 1..i], i + 1)),
                Some(b'\\') if !matches!(self.body.get(i + 1), None | Some(b'\n' | 0)) => i += 2,
                None | Some(b'\\' | 0) => return Err(Fault::new(i, missing)),
                Some(_) => i += 1,
            }
        }
    }
}

fn parse_digits(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0i64, |n, &d| n.checked_mul(10)?.checked_add(i64::from(d - b'0')))
}

const NO_EOF: &str = "data does not end with # EOF";

/// OpenMetrics.
impl<'a> Parser<'a> {
    fn next_openmetrics(&mut self) -> Result<Option<Event<'a>>, Fault> {
        self.start = self.at;
        match self.body.get(self.at) {
            None => Err(Fault::new(self.at, NO_EOF)),
            Some(b'#') => self.openmetrics_comment(),
            Some(_) => self.series().map(Some),
        }
    }

    fn openmetrics_comment(&mut self) -> Result<Option<Event<'a>>, Fault> {
        let rest = self.rest();
        if let Some(behind) = rest.strip_prefix(b"# EOF") {
            let behind = behind.strip_prefix(b"\n").unwrap_or(behind);
            if !behind.is_empty() {
                return Err(Fault::new(self.body.len() - behind.len(), "unexpected data after # EOF"));
            }
            self.at = self.body.len();
            return Ok(None);
        }
        let event = if rest.starts_with(b"# HELP ") {
            let (name, text) = self.openmetrics_metadata("expected a metric name after HELP")?;
            let text = std::str::from_utf8(text).map_err(|_| Fault::new(self.start, "help text is not valid UTF-8"))?;
            Event::Help(name, text)
        } else if rest.starts_with(b"# TYPE ") {
            let (name, text) = self.openmetrics_metadata("expected a metric name after TYPE")?;
            self.family = openmetrics_type(text)
                .ok_or_else(|| Fault::text(self.start, format!("invalid metric type {}", Quoted(text))))?;
            Event::Type(name, self.family)
        } else if rest.starts_with(b"# UNIT ") {
            let (name, unit) = self.openmetrics_metadata("expected a metric name after UNIT")?;
            let is_suffix = unit.is_empty() || name.strip_suffix(unit).is_some_and(|n| n.ends_with(b"_"));
            if !is_suffix {
                let problem = format!("unit {} not a suffix of metric {}", Quoted(unit), Quoted(name));
                return Err(Fault::text(self.start, problem));
            }
            Event::Unit(name, unit)
        } else {
            return Err(Fault::new(self.at, "expected # HELP, # TYPE, # UNIT or # EOF"));
        };
        Ok(Some(event))
    }

    fn openmetrics_metadata(&mut self, missing: &'static str) -> Result<(&'a [u8], &'a [u8]), Fault> {
        // All three keywords have the same length.
        let (name, name_end) = self.family_name(self.at + b"# HELP ".len(), missing)?;
        if self.body.get(name_end) != Some(&b' ') {
            return Err(Fault::new(name_end, "expected a space and text after the metric name"));
        }
        let end = self.line_end(name_end);
        if end == self.body.len() {
            return Err(Fault::new(end, "expected text that ends with a line break"));
        }
        self.at = end + 1;
        Ok((name, &self.body[name_end + 1..end]))
    }

    fn openmetrics_tail(&mut self, start: usize, end: usize) -> Result<Sample<'a>, Fault> {
        let (value, mut at) = self.spaced_number(end, "expected a value after the metric")?;
        let mut timestamp = None;
        if self.body.get(at) == Some(&b' ') && !self.body[at..].starts_with(b" # {") {
            let (seconds, next) = self.spaced_number(at, "expected a timestamp or an exemplar")?;
            timestamp =
                Some(seconds_to_ms(seconds).ok_or_else(|| Fault::text(at, format!("invalid timestamp {seconds}")))?);
            at = next;
        }
        let mut exemplar = None;
        if self.body[at..].starts_with(b" # {") {
            let (found, next) = self.exemplar(at + 4)?;
            exemplar = Some(found);
            at = next;
        }
        match self.body.get(at) {
            Some(b'\n') => self.at = at + 1,
            None => return Err(Fault::new(at, NO_EOF)),
            Some(_) => return Err(Fault::new(at, "expected the next line")),
        }
        Ok(Sample { series: &self.body[start..end], value, timestamp, exemplar })
    }

    /// One space and a number that goes on to the next space or line break.
    #[inline]
    fn spaced_number(&self, at: usize, missing: &'static str) -> Result<(f64, usize), Fault> {
        if self.body.get(at) != Some(&b' ') {
            return Err(Fault::new(at, missing));
        }
        let from = at + 1;
        let ends = |b: &u8| matches!(b, b' ' | b'\n');
        if let Some((value, used)) = short_decimal(&self.body[from..])
            && self.body.get(from + used).is_none_or(ends)
        {
            return Ok((value, from + used));
        }
        let to = self.body[from..].iter().position(ends).map_or(self.body.len(), |n| from + n);
        if to == from {
            return Err(Fault::new(from, missing));
        }
        Ok((self.number(from, to)?, to))
    }

    /// Labels, value and timestamp of an exemplar, from behind its `{`.
    fn exemplar(&self, labels_at: usize) -> Result<(RawExemplar<'a>, usize), Fault> {
        let labels_end = walk_exemplar(self.body, labels_at, |_| {})?;
        let (value, mut at) = self.spaced_number(labels_end, "expected a value after exemplar labels")?;
        let mut timestamp = None;
        if self.body.get(at) == Some(&b' ') {
            let (seconds, next) = self.spaced_number(at, "expected an exemplar timestamp")?;
            timestamp = Some(
                seconds_to_ms(seconds)
                    .ok_or_else(|| Fault::text(at, format!("invalid exemplar timestamp {seconds}")))?,
            );
            at = next;
        }
        Ok((RawExemplar { body: self.body, labels_at, value, timestamp }, at))
    }
}

fn openmetrics_type(text: &[u8]) -> Option<MetricType> {
    Some(match text {
        b"counter" => MetricType::Counter,
        b"gauge" => MetricType::Gauge,
        b"histogram" => MetricType::Histogram,
        b"gaugehistogram" => MetricType::GaugeHistogram,
        b"summary" => MetricType::Summary,
        b"info" => MetricType::Info,
        b"stateset" => MetricType::StateSet,
        b"unknown" => MetricType::Unknown,
        _ => return None,
    })
}

/// Truncates towards zero, as the reference does.
fn seconds_to_ms(seconds: f64) -> Option<TimestampMs> {
    seconds.is_finite().then_some(TimestampMs((seconds * 1000.0) as i64))
}
