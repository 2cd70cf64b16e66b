//! What an unquoted word means, as the reference's YAML library sees it, and the number formats of the config.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use super::yaml::{Scalar, ScalarKind};

/// The type of a scalar.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Resolved {
    Null,
    Bool(bool),
    Int(i64),
    /// A whole number above the range of `Int`.
    Uint(u64),
    Float(f64),
    Timestamp,
    Text,
}

impl Scalar {
    /// The type that the notation gives.
    pub(super) fn resolve(&self) -> Resolved {
        match self.kind {
            ScalarKind::Text => Resolved::Text,
            ScalarKind::Plain | ScalarKind::Typed => resolve(&self.text),
        }
    }
}

/// The type of an unquoted word: YAML 1.1 with `yes` and `on`, but without numbers to base 60.
pub(super) fn resolve(word: &str) -> Resolved {
    match word {
        "" | "~" | "null" | "Null" | "NULL" => return Resolved::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Resolved::Bool(true);
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Resolved::Bool(false);
        }
        ".nan" | ".NaN" | ".NAN" => return Resolved::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Resolved::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Resolved::Float(f64::NEG_INFINITY),
        _ => {}
    }
    if !word.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return Resolved::Text;
    }
    if is_timestamp(word) {
        return Resolved::Timestamp;
    }
    number(&word.replace('_', "")).unwrap_or(Resolved::Text)
}

fn number(text: &str) -> Option<Resolved> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, body) = match digits.get(..2).map(str::to_ascii_lowercase).as_deref() {
        Some("0x") => (16, &digits[2..]),
        Some("0o") => (8, &digits[2..]),
        Some("0b") => (2, &digits[2..]),
        _ if digits.len() > 1 && digits.starts_with('0') => (8, &digits[1..]),
        _ => (10, digits),
    };
    let plain = !body.is_empty() && body.bytes().all(|b| b.is_ascii_alphanumeric());
    if let Some(n) = plain.then(|| u64::from_str_radix(body, radix).ok()).flatten() {
        let signed = if negative { 0i64.checked_sub_unsigned(n) } else { i64::try_from(n).ok() };
        match signed {
            Some(n) => return Some(Resolved::Int(n)),
            None if !negative => return Some(Resolved::Uint(n)),
            None => {}
        }
    }
    is_yaml_float(digits).then(|| text.parse().ok().map(Resolved::Float)).flatten()
}

/// Digits with a point somewhere and an exponent; no `inf` or `nan`.
fn is_yaml_float(digits: &str) -> bool {
    let (mantissa, exponent) = digits.split_once(['e', 'E']).map_or((digits, None), |(m, e)| (m, Some(e)));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let exponent_fits = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['+', '-']).unwrap_or(e);
        !e.is_empty() && all_digits(e)
    });
    all_digits(whole) && all_digits(fraction) && !(whole.is_empty() && fraction.is_empty()) && exponent_fits
}

/// `2001-12-14`, alone or with a time of day; such words are quoted when they are printed.
fn is_timestamp(word: &str) -> bool {
    #[expect(clippy::expect_used, reason = "the pattern is a constant that a test compiles")]
    static PATTERN: LazyLock<regex::Regex> = LazyLock::new(|| {
        regex::Regex::new(r"^[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ][0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})?)?$")
            .expect("constant pattern")
    });
    word.as_bytes().get(4) == Some(&b'-') && PATTERN.is_match(word)
}

/// A float as the reference prints it: shortest digits, an exponent outside of 1e-4 to 1e6.
pub(super) fn format_float(value: f64) -> String {
    if value.is_nan() {
        return ".nan".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { ".inf".into() } else { "-.inf".into() };
    }
    let scientific = format!("{value:e}");
    let exponent = scientific.split_once('e').and_then(|(_, e)| e.parse::<i32>().ok()).unwrap_or(0);
    if value == 0.0 || (-4..6).contains(&exponent) {
        return format!("{value}");
    }
    let mantissa = scientific.split_once('e').map_or(scientific.as_str(), |(m, _)| m);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}

/// Bytes, written with a unit; `KB` and `KiB` both are 1024 bytes, as in the reference.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ByteSize(pub i64);

const PREFIXES: [&str; 7] = ["", "K", "M", "G", "T", "P", "E"];

impl FromStr for ByteSize {
    type Err = String;

    /// `[-+]?([0-9]*(\.[0-9]*)?unit)+`, or a bare zero.
    fn from_str(text: &str) -> Result<ByteSize, String> {
        // Both families of units are tried over the whole text, so that they cannot be mixed; the second one's word counts.
        parse_size(text, "iB").or_else(|_| parse_size(text, "B")).map(ByteSize)
    }
}

fn parse_size(text: &str, suffix: &str) -> Result<i64, String> {
    let invalid = || format!("units: invalid {text}");
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0.0f64;
    while !rest.is_empty() {
        let is_number = |c: char| c.is_ascii_digit() || c == '.';
        let (number, tail) = rest.split_at(rest.find(|c| !is_number(c)).unwrap_or(rest.len()));
        let (unit, tail) = tail.split_at(tail.find(is_number).unwrap_or(tail.len()));
        let number: f64 = number.parse().map_err(|_| invalid())?;
        total += number * unit_factor(unit, suffix).ok_or_else(|| format!("units: unknown unit {unit} in {text}"))?;
        rest = tail;
    }
    let total = if negative { -total } else { total };
    // `-2^63` is representable, `2^63` is not.
    if !(-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&total) {
        return Err("units: overflow parsing unit".into());
    }
    Ok(total as i64)
}

fn unit_factor(unit: &str, suffix: &str) -> Option<f64> {
    let power = PREFIXES.iter().position(|prefix| {
        // The smallest unit is B in both families.
        let suffix = if prefix.is_empty() { "B" } else { suffix };
        unit.strip_prefix(prefix) == Some(suffix)
    })?;
    Some(1024f64.powi(i32::try_from(power).ok()?))
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0B");
        }
        let mut parts = Vec::new();
        let mut rest = self.0;
        for prefix in PREFIXES {
            let digit = rest % 1024;
            if digit != 0 {
                parts.push(format!("{digit}{prefix}{}", if prefix.is_empty() { "B" } else { "iB" }));
            }
            rest /= 1024;
            if rest == 0 {
                break;
            }
        }
        parts.reverse();
        f.write_str(&parts.concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_resolve_as_in_yaml_1_1() {
        for (word, resolved) in [
            ("yes", Resolved::Bool(true)),
            ("off", Resolved::Bool(false)),
            ("~", Resolved::Null),
            ("12", Resolved::Int(12)),
            ("-0x10", Resolved::Int(-16)),
            ("010", Resolved::Int(8)),
            ("0b11", Resolved::Int(3)),
            ("1_000", Resolved::Int(1000)),
            ("18446744073709551615", Resolved::Uint(u64::MAX)),
            ("1.5", Resolved::Float(1.5)),
            (".5", Resolved::Float(0.5)),
            ("1e3", Resolved::Float(1000.0)),
            ("-.inf", Resolved::Float(f64::NEG_INFINITY)),
            ("2001-01-01", Resolved::Timestamp),
            ("2001-01-01 10:00:00", Resolved::Timestamp),
            ("12:30", Resolved::Text),
            ("1.2.3.4", Resolved::Text),
            ("15s", Resolved::Text),
            ("inf", Resolved::Text),
            ("-", Resolved::Text),
            ("09", Resolved::Float(9.0)),
        ] {
            assert_eq!(resolve(word), resolved, "{word}");
        }
    }

    #[test]
    fn sizes_follow_the_reference_grammar() {
        for (text, bytes) in [
            ("0", 0),
            ("100B", 100),
            ("10MB", 10 << 20),
            ("1GiB", 1 << 30),
            ("1.5KB", 1536),
            ("1GiB512MiB", (1 << 30) + (512 << 20)),
            ("-1GB", -(1 << 30)),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        assert_eq!("100".parse::<ByteSize>(), Err("units: unknown unit  in 100".into()));
        for bad in ["", "MB", "1kB", "1 MB", "1KB1KiB", "99999EB", "1..5KB", "1e3B", "µ"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad} must be refused");
        }
    }

    #[test]
    fn sizes_print_as_the_reference_prints_them() {
        for (bytes, text) in [(0, "0B"), (15 << 20, "15MiB"), (1536, "1KiB512B"), ((1 << 30) + 1, "1GiB1B")] {
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
    }

    #[test]
    fn floats_print_as_the_reference_prints_them() {
        for (value, text) in
            [(28.0, "28"), (0.5, "0.5"), (1e-5, "1e-05"), (1e6, "1e+06"), (123456.0, "123456"), (1.5e30, "1.5e+30")]
        {
            assert_eq!(format_float(value), text);
        }
    }
}
