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
#[inline]
pub(super) fn walk_series(body: &[u8], start: usize, format: Format) -> Result<usize, Fault> {
    let end = walk_pieces(body, start, format, |_| {})?;
    match std::str::from_utf8(&body[start..end]) {
        Ok(_) => Ok(end),
        Err(e) => Err(Fault::new(start + e.valid_up_to(), NOT_UTF8)),
    }
}

/// What is wrong with a series part that is not UTF-8.
pub(super) const NOT_UTF8: &str = "invalid UTF-8 in metric name or labels";

/// Like [`walk_series`], but shows the pieces, and leaves it to the caller whether they are UTF-8.
///
/// The series part of a text line begins with the line itself: blanks before the metric name belong to it, and, as in
/// the reference, even to the name.
#[inline]
pub(super) fn walk_pieces<'a>(
    body: &'a [u8],
    start: usize,
    format: Format,
    mut visit: impl FnMut(Piece<'a>),
) -> Result<usize, Fault> {
    let walk = Walk { body, format };
    let first = walk.blanks(start);
    if body.get(first) == Some(&b'{') {
        walk.braces(first + 1, Named::InBraces, &mut visit)
    } else {
        let name_end = walk.metric_name(first)?;
        visit(Piece::Name(&body[start..name_end]));
        let after = walk.blanks(name_end);
        match body.get(after) {
            Some(b'{') => walk.braces(after + 1, Named::Before, &mut visit),
            _ => Ok(name_end),
        }
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
    let plain = |b: u8| PLAIN[usize::from(b)] || (colons && b == b':');
    match body.get(at) {
        Some(&b) if plain(b) && !b.is_ascii_digit() => {}
        _ => return at,
    }
    let rest = &body[at + 1..];
    at + 1 + rest.iter().position(|&b| !plain(b)).unwrap_or(rest.len())
}

/// Letters, digits and the underscore.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut b = 0;
    while b < plain.len() {
        plain[b] = (b as u8).is_ascii_alphanumeric() || b == b'_' as usize;
        b += 1;
    }
    plain
};

/// How many of the first bytes can neither end a quoted string nor be forbidden in it; eight are tested at a time.
#[inline]
fn plain_run(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    // The high bit of the lowest byte below `limit`, which must not exceed 128, is set, and of no byte before it.
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word & HIGHS;
    let (words, _) = bytes.as_chunks::<8>();
    for (i, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let quotes = below(word ^ (ONES * b'"' as u64), 1);
        let escapes = below(word ^ (ONES * b'\\' as u64), 1);
        let found = quotes | escapes | below(word, b'\n' as u64 + 1);
        if found != 0 {
            return i * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    words.len() * 8
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
            at += plain_run(&self.body[at..]);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_run_never_reaches_over_a_byte_that_must_be_looked_at() {
        for at in 0..24 {
            for byte in 0..=u8::MAX {
                let mut bytes = [b'x'; 24];
                bytes[at] = byte;
                let run = plain_run(&bytes);
                let special = matches!(byte, b'"' | b'\\' | b'\n' | 0);
                assert!(
                    if special { run == at } else { run == 24 || (byte < b'\n' && run == at) },
                    "{byte} at {at}: {run}"
                );
            }
        }
        assert_eq!(plain_run("é\u{10ffff}ü\"".as_bytes()), 8);
        assert_eq!(plain_run(b"short"), 0);
    }
}
