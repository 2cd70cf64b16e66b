//! Numbers as the text formats write them.
//!
//! A float is written with the fewest digits that read back as the same float, in the form of Go's
//! `strconv.FormatFloat(v, 'g', -1, 64)`: an exponent below -4 or above 5 is written out, with a sign and at least two
//! digits. So a million is `1e+06`.

use std::fmt;

use super::TimestampMs;

/// Exponents in this range are not written.
const PLAIN_EXPONENTS: std::ops::RangeInclusive<i32> = -4..=5;
/// Smaller whole numbers are written as they are; a larger one has an exponent.
const PLAIN_WHOLE: f64 = 1e6;
/// From here up to [`PLAIN_WHOLE`] a fraction is written without an exponent.
const PLAIN_FRACTION: f64 = 1e-4;
/// Up to here every whole number has its own float, so that its digits are its shortest form.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// Appends a sample's value: `NaN`, `+Inf`, `-Inf`, both zeros as `0`, everything else in shortest form.
pub fn write_float(out: &mut Vec<u8>, v: f64) {
    let magnitude = v.abs();
    if magnitude < PLAIN_WHOLE && v.trunc() == v {
        // Below a million and without fraction, so the conversion is exact.
        out.extend_from_slice(itoa::Buffer::new().format(v as i32).as_bytes());
    } else if v.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if v.is_infinite() {
        out.extend_from_slice(if v > 0.0 { b"+Inf" } else { b"-Inf" });
    } else {
        if v < 0.0 {
            out.push(b'-');
        }
        if magnitude < MAX_EXACT && magnitude.trunc() == magnitude {
            let mut buffer = itoa::Buffer::new();
            write_digits(out, &Digits::of_whole(buffer.format(magnitude as u64).as_bytes()));
        } else {
            let mut buffer = zmij::Buffer::new();
            let text = buffer.format_finite(magnitude).as_bytes();
            if (PLAIN_FRACTION..PLAIN_WHOLE).contains(&magnitude) {
                // Here the crate needs no exponent either, and no number is whole, behind which it puts `.0`.
                out.extend_from_slice(text);
            } else {
                write_digits(out, &Digits::read(text));
            }
        }
    }
}

/// From here on numbers in JSON have an exponent.
const PLAIN_MAX: f64 = 1e21;
/// Smaller numbers in JSON have an exponent.
const PLAIN_MIN: f64 = 1e-6;

/// Appends a value as the HTTP API writes samples: in plain digits as [`write_plain`], but with an exponent below 1e-6 and from
/// 1e21 on.
pub fn write_api(out: &mut Vec<u8>, v: f64) {
    let magnitude = v.abs();
    if v == 0.0 || !v.is_finite() || (PLAIN_MIN..PLAIN_MAX).contains(&magnitude) {
        return write_plain(out, v);
    }
    if v < 0.0 {
        out.push(b'-');
    }
    write_scientific(out, &Digits::read(zmij::Buffer::new().format_finite(magnitude).as_bytes()));
}

/// Appends a value in shortest form without an exponent, however many digits that takes, and with the sign of zero: as Go's
/// `strconv.FormatFloat(v, 'f', -1, 64)`.
pub fn write_plain(out: &mut Vec<u8>, v: f64) {
    if v.is_nan() {
        return out.extend_from_slice(b"NaN");
    }
    let magnitude = v.abs();
    if magnitude == f64::INFINITY {
        return out.extend_from_slice(if v > 0.0 { b"+Inf" } else { b"-Inf" });
    }
    if v.is_sign_negative() {
        out.push(b'-');
    }
    if magnitude < MAX_EXACT && magnitude.trunc() == magnitude {
        return out.extend_from_slice(itoa::Buffer::new().format(magnitude as u64).as_bytes());
    }
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(magnitude).as_bytes();
    if text.contains(&b'e') {
        write_positional(out, &Digits::read(text));
    } else {
        out.extend_from_slice(text.strip_suffix(b".0").unwrap_or(text));
    }
}

/// Appends an instant in seconds as the HTTP API writes it: with three decimal places, or none if they would be zeros.
pub fn write_seconds(out: &mut Vec<u8>, t: TimestampMs) {
    if t.0 < 0 {
        out.push(b'-');
    }
    let ms = t.0.unsigned_abs();
    out.extend_from_slice(itoa::Buffer::new().format(ms / 1000).as_bytes());
    let fraction = ms % 1000;
    if fraction != 0 {
        let digit = |n: u64| b'0' + (n % 10) as u8;
        out.extend_from_slice(&[b'.', digit(fraction / 100), digit(fraction / 10), digit(fraction)]);
    }
}

/// Shows a float as Go's `%g` does: as [`write_float`], but with the sign of zero.
#[derive(Clone, Copy, Debug)]
pub struct General(pub f64);

impl fmt::Display for General {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(24);
        if self.0 == 0.0 && self.0.is_sign_negative() {
            text.push(b'-');
        }
        write_float(&mut text, self.0);
        // Digits, signs, a point and letters.
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

/// Appends a decimal integer.
pub fn write_int(out: &mut Vec<u8>, v: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(v).as_bytes());
}

/// Significant digits, without zeros at either end, and the power of ten of the first one.
struct Digits {
    /// 17 digits are enough for any float.
    digits: [u8; 24],
    len: usize,
    exponent: i32,
}

impl Digits {
    /// Those of a whole number above 0.
    fn of_whole(text: &[u8]) -> Digits {
        let mut all = Digits { digits: [0; 24], len: 0, exponent: text.len() as i32 - 1 };
        text.iter().for_each(|d| all.push(*d));
        all.trimmed()
    }

    /// Reads `123.45`, `0.0012`, `1.5e-7`.
    fn read(text: &[u8]) -> Digits {
        let mut all = Digits { digits: [0; 24], len: 0, exponent: -1 };
        let (mut in_fraction, mut rest) = (false, text);
        while let [byte, tail @ ..] = rest {
            rest = tail;
            match byte {
                b'.' => in_fraction = true,
                b'e' => {
                    all.exponent += read_int(tail);
                    break;
                }
                b'0' if all.len == 0 => all.exponent -= i32::from(in_fraction),
                digit => {
                    all.exponent += i32::from(!in_fraction);
                    all.push(*digit);
                }
            }
        }
        all.trimmed()
    }

    fn push(&mut self, digit: u8) {
        if let Some(place) = self.digits.get_mut(self.len) {
            *place = digit;
            self.len += 1;
        }
    }

    fn trimmed(mut self) -> Digits {
        while self.len > 1 && self.digits[self.len - 1] == b'0' {
            self.len -= 1;
        }
        self
    }
}

fn read_int(text: &[u8]) -> i32 {
    let (sign, digits) = match text {
        [b'-', digits @ ..] => (-1, digits),
        [b'+', digits @ ..] => (1, digits),
        digits => (1, digits),
    };
    sign * digits.iter().fold(0, |n, d| n * 10 + i32::from(d - b'0'))
}

fn write_digits(out: &mut Vec<u8>, all: &Digits) {
    if PLAIN_EXPONENTS.contains(&all.exponent) {
        write_positional(out, all);
    } else {
        write_scientific(out, all);
    }
}

fn write_scientific(out: &mut Vec<u8>, all: &Digits) {
    let (first, fraction) = all.digits[..all.len].split_at(1);
    out.extend_from_slice(first);
    if !fraction.is_empty() {
        out.push(b'.');
        out.extend_from_slice(fraction);
    }
    out.extend_from_slice(if all.exponent < 0 { b"e-" } else { b"e+" });
    if all.exponent.abs() < 10 {
        out.push(b'0');
    }
    out.extend_from_slice(itoa::Buffer::new().format(all.exponent.unsigned_abs()).as_bytes());
}

fn write_positional(out: &mut Vec<u8>, all: &Digits) {
    let digits = &all.digits[..all.len];
    if all.exponent < 0 {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', all.exponent.unsigned_abs() as usize - 1));
        out.extend_from_slice(digits);
    } else {
        let whole_len = all.exponent.unsigned_abs() as usize + 1;
        let (whole, fraction) = digits.split_at(whole_len.min(digits.len()));
        out.extend_from_slice(whole);
        out.extend(std::iter::repeat_n(b'0', whole_len - whole.len()));
        if !fraction.is_empty() {
            out.push(b'.');
            out.extend_from_slice(fraction);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(v: f64) -> String {
        let mut out = Vec::new();
        write_float(&mut out, v);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn floats_are_written_as_go_writes_them() {
        for (v, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (1.0, "1"),
            (-1.0, "-1"),
            (10.0, "10"),
            (100_000.0, "100000"),
            (999_999.0, "999999"),
            (1_000_000.0, "1e+06"),
            (-1_234_567.0, "-1.234567e+06"),
            (100_000.5, "100000.5"),
            (123_456_789.123, "1.23456789123e+08"),
            (1_795_248_021.098, "1.795248021098e+09"),
            (9_007_199_254_740_991.0, "9.007199254740991e+15"),
            (9_007_199_254_740_993.0, "9.007199254740992e+15"),
            (-7_301_094_656_162_129.0 / 4.0, "-1.8252736640405322e+15"),
            (1e20, "1e+20"),
            (1e21, "1e+21"),
            (1e22, "1e+22"),
            (1e100, "1e+100"),
            (0.1, "0.1"),
            (-0.25, "-0.25"),
            (1.5, "1.5"),
            (0.001882725, "0.001882725"),
            (0.0001, "0.0001"),
            (0.000_099_999_999_999_999_99, "9.999999999999999e-05"),
            (999_999.999_999_999_9, "999999.9999999999"),
            (0.00012, "0.00012"),
            (0.00001, "1e-05"),
            (1.2345e-6, "1.2345e-06"),
            (1e-7, "1e-07"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(written(v), text);
        }
    }

    #[test]
    fn the_api_writes_plain_digits_where_they_are_few() {
        for (v, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (1_000_000.0, "1000000"),
            (123_456_789.123, "123456789.123"),
            (9_007_199_254_740_993.0, "9007199254740992"),
            (1e16, "10000000000000000"),
            (1.2345e20, "123450000000000000000"),
            (999_999_999_999_999_900_000.0, "999999999999999900000"),
            (1e21, "1e+21"),
            (-1.5e300, "-1.5e+300"),
            (0.1, "0.1"),
            (0.000_012_5, "0.0000125"),
            (0.000_001, "0.000001"),
            (0.000_001_25, "0.00000125"),
            (0.000_000_99, "9.9e-07"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::NAN, "NaN"),
            (-f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            let mut out = Vec::new();
            write_api(&mut out, v);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    #[test]
    fn plain_numbers_have_no_exponent_however_long_they_get() {
        let plain = |v| {
            let mut out = Vec::new();
            write_plain(&mut out, v);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(plain(-1.5e30), format!("-15{}", "0".repeat(29)));
        assert_eq!(plain(5e-324), format!("0.{}5", "0".repeat(323)));
        assert_eq!(plain(1e21), format!("1{}", "0".repeat(21)));
        assert_eq!((plain(f64::INFINITY), plain(f64::NAN)), ("+Inf".to_owned(), "NaN".to_owned()));
    }

    #[test]
    fn instants_have_no_or_three_decimal_places() {
        for (ms, text) in [
            (0, "0"),
            (1, "0.001"),
            (-20, "-0.020"),
            (1_435_781_451_781, "1435781451.781"),
            (1_435_781_451_000, "1435781451"),
            (-1_500, "-1.500"),
            (i64::MIN, "-9223372036854775.808"),
        ] {
            let mut out = Vec::new();
            write_seconds(&mut out, TimestampMs(ms));
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    #[test]
    fn integers_are_decimal() {
        let mut out = Vec::new();
        [0, -1, i64::MIN, i64::MAX].iter().for_each(|v| write_int(&mut out, *v));
        assert_eq!(out, b"0-1-92233720368547758089223372036854775807");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5000))]

        #[test]
        fn every_float_reads_back_as_itself(v in prop_oneof![
            any::<f64>(),
            any::<i64>().prop_map(|n| n as f64),
            (-1_000_000_000i64..1_000_000_000, 0i32..12).prop_map(|(n, e)| n as f64 / 10f64.powi(e)),
        ]) {
            let text = written(v);
            let back: f64 = text.parse().unwrap();
            let mut plain = Vec::new();
            write_plain(&mut plain, v);
            plain.push(b' ');
            write_api(&mut plain, v);
            for plain in String::from_utf8(plain).unwrap().split(' ') {
                let plain: f64 = plain.parse().unwrap();
                prop_assert!(plain == v || (plain.is_nan() && v.is_nan()), "{} became {}", v, plain);
            }
            prop_assert!(back == v || (back.is_nan() && v.is_nan()), "{} became {}", v, text);
            // No shorter form exists than the one that the standard library finds. Its last digit may differ: between
            // two forms at the same distance Go takes the even one, and so does the crate used here.
            let digits = |s: &str| s.split('e').next().unwrap_or("").bytes().filter(u8::is_ascii_digit).collect::<Vec<_>>();
            let significant = |d: Vec<u8>| {
                let text = String::from_utf8(d).unwrap();
                text.trim_matches('0').to_owned()
            };
            if v.is_finite() {
                prop_assert_eq!(significant(digits(&text)).len(), significant(digits(&format!("{v:e}"))).len());
            }
        }
    }
}
