//! The series part of a line: metric name and labels, before the value.

use super::Format;
use super::error::Fault;

/// One piece of a series part, still escaped, without its quotes.
pub(super) enum Piece<'a> {
    /// The metric name.
    Name(&'a [u8]),
    /// A label.
    Label(&'a [u8], &'a [u8]),
}

/// Walks the series part that begins at `start` and returns where it ends. The bytes are known to be UTF-8 then.
///
/// The series part of a text line begins with the line itself: blanks before the metric name belong to it, and, as in
/// the reference, even to the name.
#[inline]
pub(super) fn walk_series<'a>(
    body: &'a [u8],
    start: usize,
    format: Format,
    mut visit: impl FnMut(Piece<'a>),
) -> Result<usize, Fault> {
    let walk = Walk { body, format };
    let first = walk.blanks(start);
    let end = if body.get(first) == Some(&b'{') {
        walk.braces(first + 1, Named::InBraces, &mut visit)?
    } else {
        let name_end = walk.metric_name(first)?;
        visit(Piece::Name(&body[start..name_end]));
        let after = walk.blanks(name_end);
        match body.get(after) {
            Some(b'{') => walk.braces(after + 1, Named::Before, &mut visit)?,
            _ => name_end,
        }
    };
    match std::str::from_utf8(&body[start..end]) {
        Ok(_) => Ok(end),
        Err(e) => Err(Fault::new(start + e.valid_up_to(), "invalid UTF-8 in metric name or labels")),
    }
}

/// Walks the labels of an exemplar from behind its `{` and returns where they end.
pub(super) fn walk_exemplar<'a>(
    body: &'a [u8],
    start: usize,
    mut visit: impl FnMut(Piece<'a>),
) -> Result<usize, Fault> {
    let walk = Walk { body, format: Format::OpenMetrics };
    let end = walk.braces(start, Named::Never, &mut visit)?;
    match std::str::from_utf8(&body[start..end]) {
        Ok(_) => Ok(end),
        Err(e) => Err(Fault::new(start + e.valid_up_to(), "invalid UTF-8 in exemplar labels")),
    }
}

/// Skips spaces and tabs.
#[inline]
pub(super) fn skip_blanks(body: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t') = body.get(at) {
        at += 1;
    }
    at
}

/// Where a metric name of plain characters that begins at `at` ends; `at` itself if there is none.
#[inline]
pub(super) fn plain_name_end(body: &[u8], at: usize, colons: bool) -> usize {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || (colons && b == b':');
    match body.get(at) {
        Some(&b) if plain(b) && !b.is_ascii_digit() => {}
        _ => return at,
    }
    let rest = &body[at + 1..];
    at + 1 + rest.iter().position(|&b| !plain(b)).unwrap_or(rest.len())
}

/// Where the metric name may stand.
#[derive(Clone, Copy, PartialEq)]
enum Named {
    /// It stands before the braces.
    Before,
    /// It must stand in the braces.
    InBraces,
    /// It stood in the braces.
    Done,
    /// Exemplars have none.
    Never,
}

/// What a quoted string may hold.
#[derive(Clone, Copy)]
struct QuoteRule {
    newlines: bool,
    /// The reference skips NUL bytes where values may hold them.
    nul: bool,
}

struct Walk<'a> {
    body: &'a [u8],
    format: Format,
}

impl<'a> Walk<'a> {
    #[inline]
    fn blanks(&self, at: usize) -> usize {
        match self.format {
            Format::Text => skip_blanks(self.body, at),
            Format::OpenMetrics => at,
        }
    }

    #[inline]
    fn metric_name(&self, at: usize) -> Result<usize, Fault> {
        match plain_name_end(self.body, at, true) {
            end if end == at => Err(Fault::new(at, "expected a valid start of a line")),
            end => Ok(end),
        }
    }

    /// From behind `{` to behind `}`.
    #[inline]
    fn braces(&self, start: usize, mut named: Named, visit: &mut impl FnMut(Piece<'a>)) -> Result<usize, Fault> {
        let exemplar = named == Named::Never;
        let name_rule = QuoteRule { newlines: !exemplar, nul: false };
        let value_rule = QuoteRule { newlines: self.format == Format::Text, nul: !exemplar };
        let mut at = start;
        let end = loop {
            at = self.blanks(at);
            let name;
            match self.body.get(at) {
                Some(b'}') => break at + 1,
                Some(b'"') => {
                    let end = self.quoted(at, name_rule).map_err(|f| Fault::new(f, "expected a label name"))?;
                    let quoted = &self.body[at + 1..end - 1];
                    let after = self.blanks(end);
                    if let Some(close @ (b',' | b'}')) = self.body.get(after) {
                        named = self.metric_name_in_braces(named, after)?;
                        visit(Piece::Name(quoted));
                        if *close == b'}' {
                            break after + 1;
                        }
                        at = after + 1;
                        continue;
                    }
                    name = quoted;
                    at = after;
                }
                _ => {
                    let end = plain_name_end(self.body, at, false);
                    if end == at {
                        return Err(Fault::new(at, "expected a label name"));
                    }
                    name = &self.body[at..end];
                    at = self.blanks(end);
                }
            }
            if self.body.get(at) != Some(&b'=') {
                return Err(Fault::new(at, "expected `=` after the label name"));
            }
            at = self.blanks(at + 1);
            if self.body.get(at) != Some(&b'"') {
                return Err(Fault::new(at, "expected a quoted label value"));
            }
            let end = self.quoted(at, value_rule).map_err(|f| Fault::new(f, "expected a quoted label value"))?;
            visit(Piece::Label(name, &self.body[at + 1..end - 1]));
            at = self.after_pair(end)?;
        };
        match named {
            Named::InBraces => Err(Fault::new(end, "metric name not set")),
            _ => Ok(end),
        }
    }

    fn metric_name_in_braces(&self, named: Named, at: usize) -> Result<Named, Fault> {
        match named {
            Named::InBraces => Ok(Named::Done),
            Named::Before | Named::Done => Err(Fault::new(at, "metric name already set")),
            Named::Never => Err(Fault::new(at, "expected `=` after the label name")),
        }
    }

    /// Behind a pair: text lets the comma be left out, OpenMetrics does not.
    #[inline]
    fn after_pair(&self, end: usize) -> Result<usize, Fault> {
        let at = self.blanks(end);
        match (self.body.get(at), self.format) {
            (Some(b','), _) => Ok(at + 1),
            (Some(b'}'), _) | (_, Format::Text) => Ok(at),
            (_, Format::OpenMetrics) => Err(Fault::new(at, "expected a comma or `}`")),
        }
    }

    /// From the opening quote to behind the closing one; an error is the offset of what is wrong.
    #[inline]
    fn quoted(&self, open: usize, rule: QuoteRule) -> Result<usize, usize> {
        let mut at = open + 1;
        loop {
            match self.body.get(at) {
                Some(b'"') => {
                    at += 1;
                    break;
                }
                Some(b'\\') => {
                    at += 1;
                    if rule.nul {
                        at = self.skip_nul(at);
                    }
                    match self.body.get(at) {
                        None | Some(b'\n' | 0) => return Err(at),
                        Some(_) => at += 1,
                    }
                }
                None => return Err(at),
                Some(b'\n') if !rule.newlines => return Err(at),
                Some(0) if !rule.nul => return Err(at),
                Some(_) => at += 1,
            }
        }
        // The reference takes NUL bytes behind a value for a part of it.
        Ok(if rule.nul { self.skip_nul(at) } else { at })
    }

    fn skip_nul(&self, mut at: usize) -> usize {
        while self.body.get(at) == Some(&0) {
            at += 1;
        }
        at
    }
}
