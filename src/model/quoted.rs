//! Text in double quotes.

use std::fmt::{self, Write as _};
use std::sync::OnceLock;

/// Shows a text in double quotes as Go's `strconv.Quote` does: what cannot be printed is escaped.
#[derive(Clone, Copy, Debug)]
pub struct GoQuoted<'a>(pub &'a str);

impl fmt::Display for GoQuoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        self.0.chars().try_for_each(|c| write_escaped(f, c))?;
        f.write_char('"')
    }
}

/// Shows the beginning of a text in an error, and `...` for what is left out of one that nobody would read to its end.
#[derive(Clone, Copy, Debug)]
pub struct Shortened<'a>(pub &'a str);

impl fmt::Display for Shortened<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MAX: usize = 1000;
        match self.0.len() {
            ..=MAX => f.write_str(self.0),
            _ => write!(f, "{}...", &self.0[..self.0.floor_char_boundary(MAX)]),
        }
    }
}

fn write_escaped(f: &mut fmt::Formatter<'_>, c: char) -> fmt::Result {
    match c {
        '"' | '\\' => write!(f, "\\{c}"),
        ' '..='~' => f.write_char(c),
        '\x07' => f.write_str("\\a"),
        '\x08' => f.write_str("\\b"),
        '\x0c' => f.write_str("\\f"),
        '\n' => f.write_str("\\n"),
        '\r' => f.write_str("\\r"),
        '\t' => f.write_str("\\t"),
        '\x0b' => f.write_str("\\v"),
        c if c.is_ascii() => write!(f, "\\x{:02x}", c as u32),
        c if is_printable(c) => f.write_char(c),
        c if (c as u32) < 0x10000 => write!(f, "\\u{:04x}", c as u32),
        c => write!(f, "\\U{:08x}", c as u32),
    }
}

/// Letters, marks, numbers, punctuation and symbols of the whole of Unicode; of spaces only the ASCII one is, which does
/// not come here.
fn is_printable(c: char) -> bool {
    static PRINTABLE: OnceLock<Option<regex::Regex>> = OnceLock::new();
    let regex = PRINTABLE.get_or_init(|| regex::Regex::new(r"^[\p{L}\p{M}\p{N}\p{P}\p{S}]$").ok());
    regex.as_ref().is_some_and(|r| r.is_match(c.encode_utf8(&mut [0; 4])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_as_go_quotes_them() {
        for (text, quoted) in [
            ("", r#""""#),
            ("plain 'text'", r#""plain 'text'""#),
            ("a\"b\\c", r#""a\"b\\c""#),
            ("\x07\x08\x0c\n\r\t\x0b\0\x1b\x7f", r#""\a\b\f\n\r\t\v\x00\x1b\x7f""#),
            ("ü e\u{301} 日本 🦀 €", "\"ü e\u{301} 日本 🦀 €\""),
            ("\u{85}\u{a0}\u{ad}\u{200b}\u{2028}\u{e000}\u{feff}", r#""\u0085\u00a0\u00ad\u200b\u2028\ue000\ufeff""#),
            ("\u{fffd}\u{10ffff}\u{e0001}", "\"\u{fffd}\\U0010ffff\\U000e0001\""),
        ] {
            assert_eq!(GoQuoted(text).to_string(), quoted);
        }
    }
}
