//! Numbers and durations as Go reads them, and its words where it does not.

use std::num::IntErrorKind;

use crate::model::{DurationError, DurationMs, GoQuoted};

/// A number: an integer with any of Go's prefixes, so that `017` is fifteen, or else a decimal one, with underscores
/// between digits. The error is the whole message.
pub(super) fn parse_number(text: &str) -> Result<f64, String> {
    match integer(text).or_else(|| decimal(text)) {
        Some(value) if value.is_infinite() && !is_word(text) => Err(complaint(text, "value out of range")),
        Some(value) => Ok(value),
        None => Err(complaint(text, "invalid syntax")),
    }
}

/// A duration in seconds. The error is the whole message.
pub(super) fn parse_duration(text: &str) -> Result<f64, String> {
    match text.parse::<DurationMs>() {
        // As the reference adds whole seconds and the rest.
        Ok(DurationMs(ms)) => Ok((ms / 1000) as f64 + ((ms % 1000) * 1_000_000) as f64 / 1e9),
        Err(DurationError::Empty) => Err("empty duration string".to_owned()),
        Err(DurationError::Malformed(_)) => Err(format!("not a valid duration string: {}", GoQuoted(text))),
        Err(DurationError::UnknownUnit { unit, .. }) => {
            Err(format!("unknown unit {} in duration {}", GoQuoted(&unit), GoQuoted(text)))
        }
        Err(DurationError::OutOfRange(_)) => Err("duration out of range".to_owned()),
    }
}

fn complaint(text: &str, what: &str) -> String {
    format!("error parsing number: strconv.ParseFloat: parsing {}: {what}", GoQuoted(text))
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
}

fn integer(text: &str) -> Option<f64> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&text[2..], 16),
        [b'0', _, ..] => (&text[1..], 8),
        _ => (text, 10),
    };
    let digits = if has_orderly_underscores(text) { digits.replace('_', "") } else { return None };
    match i64::from_str_radix(&digits, radix) {
        Ok(value) => Some(value as f64),
        // A decimal one is read again as a fraction; a hexadecimal one cannot be.
        Err(error) if *error.kind() == IntErrorKind::PosOverflow => None,
        Err(_) => None,
    }
}

fn decimal(text: &str) -> Option<f64> {
    if is_word(text) {
        return Some(if text.starts_with(['i', 'I']) { f64::INFINITY } else { f64::NAN });
    }
    match has_orderly_underscores(text) {
        true => text.replace('_', "").parse().ok(),
        false => None,
    }
}

/// Whether every underscore stands between digits. The prefix of a hexadecimal number counts as one.
fn has_orderly_underscores(text: &str) -> bool {
    let is_hex = text.starts_with("0x") || text.starts_with("0X");
    let is_digit = |b: u8| if is_hex { b.is_ascii_hexdigit() || matches!(b, b'x' | b'X') } else { b.is_ascii_digit() };
    let bytes = text.as_bytes();
    let digit_at = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(|b| is_digit(*b));
    (0..bytes.len()).all(|at| bytes[at] != b'_' || (digit_at(at.checked_sub(1)) && digit_at(Some(at + 1))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        for (text, value) in [
            ("1", 1.0),
            ("1.", 1.0),
            (".5", 0.5),
            ("1e3", 1000.0),
            ("1.e-2", 0.01),
            ("0x1F", 31.0),
            ("0X_1f", 31.0),
            ("017", 15.0),
            ("0_17", 15.0),
            ("08", 8.0),
            ("00.5", 0.5),
            ("1_000.5", 1000.5),
            ("1e1_0", 1e10),
            ("9223372036854775808", 9_223_372_036_854_775_808.0),
            ("1e-400", 0.0),
            ("Inf", f64::INFINITY),
        ] {
            assert_eq!(parse_number(text), Ok(value), "{text}");
        }
        assert!(parse_number("nAn").is_ok_and(f64::is_nan));
        for text in ["1e", "0x", "1_", "1__0", "0xffffffffffffffffff", "0x1_"] {
            let message = format!("error parsing number: strconv.ParseFloat: parsing \"{text}\": invalid syntax");
            assert_eq!(parse_number(text), Err(message));
        }
        let message = "error parsing number: strconv.ParseFloat: parsing \"1e999\": value out of range";
        assert_eq!(parse_number("1e999"), Err(message.to_owned()));
    }

    #[test]
    fn durations_are_seconds() {
        assert_eq!(parse_duration("1h30m"), Ok(5400.0));
        assert_eq!(parse_duration("1s7ms"), Ok(1.007));
        for (text, message) in [
            ("1m1h", "not a valid duration string: \"1m1h\""),
            (".5m", "not a valid duration string: \".5m\""),
            ("5hs", "unknown unit \"hs\" in duration \"5hs\""),
            ("1.5h", "unknown unit \".\" in duration \"1.5h\""),
            ("300y", "duration out of range"),
            ("99999999999999999999s", "not a valid duration string: \"99999999999999999999s\""),
        ] {
            assert_eq!(parse_duration(text), Err(message.to_owned()));
        }
    }
}
