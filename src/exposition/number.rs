//! Numbers as Go's `strconv.ParseFloat` takes them, without hexadecimal and underscores, which both formats refuse.

use std::fmt::Write as _;

/// Why a text is not a number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NumberError {
    /// Hexadecimal exponents and digit separators are refused by name, as the reference does.
    #[error("unsupported character in float")]
    Unsupported,
    /// The text does not follow the grammar.
    #[error("invalid syntax")]
    Syntax,
    /// Finite as written, infinite as a double.
    #[error("value out of range")]
    OutOfRange,
}

/// Powers of ten that a double holds exactly.
const EXACT_POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];
/// Integers up to here are exact in a double.
const MAX_EXACT: u64 = 1 << 53;

/// A decimal number at the start of `bytes`, read in one pass, if it is of the common short form
/// (`-12.5e-3`, at most 19 digits) and exactly representable by one multiplication or division.
/// Returns the value and the number of bytes read; the caller looks at what follows.
#[inline]
pub(super) fn short_decimal(bytes: &[u8]) -> Option<(f64, usize)> {
    let negative = bytes.first() == Some(&b'-');
    let mut i = usize::from(negative);
    let mut mantissa: u64 = 0;
    let digits_from = i;
    while let Some(digit) = digit_at(bytes, i) {
        mantissa = mantissa.wrapping_mul(10).wrapping_add(digit);
        i += 1;
    }
    let mut digits = i - digits_from;
    let mut exponent: i32 = 0;
    if bytes.get(i) == Some(&b'.') {
        i += 1;
        let fraction_from = i;
        while let Some(digit) = digit_at(bytes, i) {
            mantissa = mantissa.wrapping_mul(10).wrapping_add(digit);
            i += 1;
        }
        let fraction = i - fraction_from;
        digits += fraction;
        // More than 19 digits are refused below, so the cast holds for all that count.
        exponent = -(fraction.min(99) as i32);
    }
    if digits == 0 || digits > 19 {
        return None;
    }
    if let Some(b'e' | b'E') = bytes.get(i) {
        let (e, next) = short_exponent(bytes, i + 1)?;
        exponent += e;
        i = next;
    }
    if mantissa > MAX_EXACT {
        return None;
    }
    let m = mantissa as f64;
    let value = match exponent {
        0 => m,
        1..=22 => m * EXACT_POWERS[exponent as usize],
        -22..=-1 => m / EXACT_POWERS[exponent.unsigned_abs() as usize],
        _ => return None,
    };
    Some((if negative { -value } else { value }, i))
}

#[inline]
fn digit_at(bytes: &[u8], i: usize) -> Option<u64> {
    let digit = bytes.get(i)?.wrapping_sub(b'0');
    (digit < 10).then_some(u64::from(digit))
}

/// An exponent of one to three digits with an optional sign.
fn short_exponent(bytes: &[u8], from: usize) -> Option<(i32, usize)> {
    let mut i = from;
    let negative = match bytes.get(i) {
        Some(b'-') => {
            i += 1;
            true
        }
        Some(b'+') => {
            i += 1;
            false
        }
        _ => false,
    };
    let digits_from = i;
    let mut e: i32 = 0;
    while let Some(digit) = digit_at(bytes, i) {
        if i - digits_from == 3 {
            return None;
        }
        e = e * 10 + digit as i32;
        i += 1;
    }
    (i > digits_from).then_some((if negative { -e } else { e }, i))
}

/// Reads a whole text as a number. NaN comes back as the ordinary NaN of the reference, never as the staleness marker.
pub fn parse_float(text: &[u8]) -> Result<f64, NumberError> {
    if let Some((value, len)) = short_decimal(text)
        && len == text.len()
    {
        return Ok(value);
    }
    if text.iter().any(|b| matches!(b, b'p' | b'P' | b'_')) {
        return Err(NumberError::Unsupported);
    }
    parse_long(text)
}

fn parse_long(text: &[u8]) -> Result<f64, NumberError> {
    let (negative, signed, rest) = match text {
        [b'-', rest @ ..] => (true, true, rest),
        [b'+', rest @ ..] => (false, true, rest),
        rest => (false, false, rest),
    };
    if rest.eq_ignore_ascii_case(b"inf") || rest.eq_ignore_ascii_case(b"infinity") {
        return Ok(if negative { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    if !signed && rest.eq_ignore_ascii_case(b"nan") {
        return Ok(NORMAL_NAN);
    }
    if !is_decimal(rest) {
        return Err(NumberError::Syntax);
    }
    let value: f64 = fast_float2::parse(rest).map_err(|_| NumberError::Syntax)?;
    if value.is_infinite() {
        return Err(NumberError::OutOfRange);
    }
    Ok(if negative { -value } else { value })
}

/// The NaN that the reference stores for every exposed NaN.
const NORMAL_NAN: f64 = f64::from_bits(0x7ff8_0000_0000_0001);

/// `digits[.digits][e[+-]digits]` with a digit before or after the point.
fn is_decimal(text: &[u8]) -> bool {
    let run = |from: usize| text[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let whole = run(0);
    let mut i = whole;
    let mut fraction = 0;
    if text.get(i) == Some(&b'.') {
        fraction = run(i + 1);
        i += 1 + fraction;
    }
    if whole + fraction == 0 {
        return false;
    }
    if let Some(b'e' | b'E') = text.get(i) {
        i += 1;
        if let Some(b'+' | b'-') = text.get(i) {
            i += 1;
        }
        let exponent = run(i);
        if exponent == 0 {
            return false;
        }
        i += exponent;
    }
    i == text.len()
}

/// Writes a float as OpenMetrics wants it in `le` and `quantile`: shortest digits, always with a point or exponent.
pub fn format_openmetrics_float(value: f64) -> String {
    // Both zeros are one bound.
    let mut text = format_go_float(value + 0.0);
    if text.bytes().all(|b| b.is_ascii_digit() || b == b'-') {
        text.push_str(".0");
    }
    text
}

/// Writes a float as Go prints one: shortest digits, with an exponent below 1e-4 and from 1e6 on.
pub fn format_go_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() };
    }
    let scientific = format!("{value:e}");
    // `{:e}` of a finite float always holds an `e` followed by a small integer.
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    // Go's `%g` with shortest digits writes exponents outside of this range.
    if !(-4..6).contains(&exponent) {
        return go_exponent(mantissa, exponent);
    }
    value.to_string()
}

fn go_exponent(mantissa: &str, exponent: i32) -> String {
    let mut out = mantissa.to_owned();
    // Writing to a String cannot fail.
    let _ = write!(out, "e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_that_go_takes() {
        for (text, value) in [
            ("0", 0.0),
            ("-0", -0.0),
            ("+1", 1.0),
            ("1.", 1.0),
            (".5", 0.5),
            ("+.5e1", 5.0),
            ("7.424100000000001e-05", 7.424100000000001e-05),
            ("8.3835e-05", 8.3835e-05),
            ("1234567890123456789", 1234567890123456789.0),
            ("12345678901234567890123", 12345678901234567890123.0),
            ("0.1", 0.1),
            ("1e-400", 0.0),
            ("1E5", 1e5),
            ("1e0005", 1e5),
            ("9007199254740993", 9007199254740992.0),
            ("0.00000000000000000000000000001", 1e-29),
            ("1.7976931348623157e308", f64::MAX),
            ("Inf", f64::INFINITY),
            ("+inf", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
        ] {
            assert_eq!(parse_float(text.as_bytes()).map(f64::to_bits), Ok(value.to_bits()), "{text}");
        }
        for nan in ["NaN", "nan", "nAn"] {
            assert_eq!(parse_float(nan.as_bytes()).map(f64::to_bits), Ok(NORMAL_NAN.to_bits()), "{nan}");
        }
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for bad in
            ["", ".", "-", "+", "e5", "1e", "1e+", "1.5.2", "0x10", "+nan", "-nan", "--1", "1 ", " 1", "infi", "true"]
        {
            assert_eq!(parse_float(bad.as_bytes()), Err(NumberError::Syntax), "{bad}");
        }
        for bad in ["1_2", "0x1p-3", "0x1P3"] {
            assert_eq!(parse_float(bad.as_bytes()), Err(NumberError::Unsupported), "{bad}");
        }
        for bad in ["1e400", "-1e400", "1e99999999999"] {
            assert_eq!(parse_float(bad.as_bytes()), Err(NumberError::OutOfRange), "{bad}");
        }
    }

    #[test]
    fn bucket_bounds_are_written_as_openmetrics_wants() {
        for (value, text) in [
            (0.0, "0.0"),
            (1.0, "1.0"),
            (-1.0, "-1.0"),
            (10.0, "10.0"),
            (0.25, "0.25"),
            (100000.0, "100000.0"),
            (1e6, "1e+06"),
            (1.5e6, "1.5e+06"),
            (123456789.0, "1.23456789e+08"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (2.5e-5, "2.5e-05"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(format_openmetrics_float(value), text);
        }
    }

    #[test]
    fn the_short_way_agrees_with_the_long_way() {
        for text in ["1", "-1.5", "123.456", "1e22", "1e-22", "0.000001", "99999999999999e-5"] {
            let (value, len) = short_decimal(text.as_bytes()).expect("short numbers take the short way");
            assert_eq!(len, text.len());
            assert_eq!(value.to_bits(), text.parse::<f64>().expect("valid").to_bits(), "{text}");
        }
    }
}
