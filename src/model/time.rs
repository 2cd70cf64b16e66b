//! Instants and durations in milliseconds, and Prometheus's duration grammar.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::Duration;

/// Milliseconds since 1970-01-01T00:00:00Z; negative before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct TimestampMs(pub i64);

impl TimestampMs {
    /// Earlier than every sample.
    pub const MIN: TimestampMs = TimestampMs(i64::MIN);
    /// Later than every sample.
    pub const MAX: TimestampMs = TimestampMs(i64::MAX);

    /// The instant in seconds, as the HTTP API writes it.
    pub fn as_seconds(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// The second in which the instant lies, as RFC 3339 in UTC.
    pub fn to_rfc3339(self) -> String {
        let second = self.0.div_euclid(1000);
        jiff::Timestamp::from_second(second).map_or_else(|_| format!("second {second}"), |t| t.to_string())
    }

    /// Milliseconds from `earlier` to `self`, saturating.
    pub fn since(self, earlier: TimestampMs) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<DurationMs> for TimestampMs {
    type Output = TimestampMs;
    fn add(self, d: DurationMs) -> TimestampMs {
        TimestampMs(self.0.saturating_add(d.0))
    }
}

impl Sub<DurationMs> for TimestampMs {
    type Output = TimestampMs;
    fn sub(self, d: DurationMs) -> TimestampMs {
        TimestampMs(self.0.saturating_sub(d.0))
    }
}

impl fmt::Display for TimestampMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(t) => write!(f, "{t:.3}"),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

/// A duration in milliseconds, read and printed in Prometheus's grammar:
/// `[0-9]+` with the units `y w d h m s ms` in that order, each at most once; `0` needs no unit.
/// A year is 365 days, a week 7, a day 24 hours.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct DurationMs(pub i64);

const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 24 * 3_600_000),
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];
/// The reference keeps durations in signed 64-bit nanoseconds and refuses longer ones.
const MAX_MS: i64 = i64::MAX / 1_000_000;

impl DurationMs {
    /// `n` seconds.
    pub const fn from_secs(n: i64) -> DurationMs {
        DurationMs(n * 1000)
    }

    /// For timers; a negative duration becomes zero.
    pub fn to_std(self) -> Duration {
        Duration::from_millis(u64::try_from(self.0).unwrap_or(0))
    }
}

/// Why a text is not a duration.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DurationError {
    /// Nothing was given.
    #[error("empty duration string")]
    Empty,
    /// The text does not follow the grammar.
    #[error("not a valid duration string: {0:?}; write it like 15s, 1h30m or 500ms")]
    Malformed(String),
    /// A number is followed by something else than a unit.
    #[error("not a valid duration string: {text:?}; write it like 15s, 1h30m or 500ms")]
    UnknownUnit {
        /// What follows.
        unit: String,
        /// The whole text.
        text: String,
    },
    /// Longer than about 292 years.
    #[error("duration out of range: {0:?}")]
    OutOfRange(String),
}

impl FromStr for DurationMs {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<DurationMs, DurationError> {
        let malformed = || DurationError::Malformed(text.to_owned());
        let out_of_range = || DurationError::OutOfRange(text.to_owned());
        match text {
            "" => return Err(DurationError::Empty),
            "0" => return Ok(DurationMs(0)),
            _ => {}
        }
        let mut rest = text;
        let mut units = UNITS.iter();
        let mut total: i64 = 0;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, tail) = rest.split_at(digits);
            let letters = tail.bytes().take_while(|b| !b.is_ascii_digit()).count();
            let (unit, tail) = tail.split_at(letters);
            if number.is_empty() || unit.is_empty() {
                return Err(malformed());
            }
            let number: u64 = number.parse().map_err(|_| malformed())?;
            if UNITS.iter().all(|(name, _)| *name != unit) {
                return Err(DurationError::UnknownUnit { unit: unit.to_owned(), text: text.to_owned() });
            }
            // Going on in the same iterator enforces both the order of units and that none comes twice.
            let (_, factor) = units.find(|(name, _)| *name == unit).ok_or_else(malformed)?;
            let part = i64::try_from(number).ok().and_then(|n| n.checked_mul(*factor));
            total = part.and_then(|p| total.checked_add(p)).filter(|t| *t <= MAX_MS).ok_or_else(out_of_range)?;
            rest = tail;
        }
        Ok(DurationMs(total))
    }
}

impl fmt::Display for DurationMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        if rest == 0 {
            return f.write_str("0s");
        }
        if rest < 0 {
            f.write_str("-")?;
            rest = rest.saturating_neg();
        }
        for (i, (name, factor)) in UNITS.iter().enumerate() {
            // As the reference prints: years and weeks only where nothing smaller remains.
            let exact_only = i < 2;
            if exact_only && rest % factor != 0 {
                continue;
            }
            let n = rest / factor;
            if n > 0 {
                write!(f, "{n}{name}")?;
                rest -= n * factor;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_follow_the_reference_grammar() {
        for (text, ms) in [
            ("0", 0),
            ("0s", 0),
            ("324ms", 324),
            ("3s", 3000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("4d", 345_600_000),
            ("3w2d1h", 3 * 604_800_000 + 2 * 86_400_000 + 3_600_000),
            ("10y", 315_360_000_000),
        ] {
            assert_eq!(text.parse(), Ok(DurationMs(ms)), "{text}");
        }
        for bad in ["", "1", "-3h", "1s1m", "1m1m", "1.5h", " 3s", "1e3s", "10000y", "3M"] {
            assert!(bad.parse::<DurationMs>().is_err(), "{bad} must be refused");
        }
    }

    #[test]
    fn durations_print_as_the_reference_prints_them() {
        for (ms, text) in [
            (0, "0s"),
            (324, "324ms"),
            (5_400_000, "1h30m"),
            (90_061_000, "1d1h1m1s"),
            (86_400_000, "1d"),
            (604_800_000, "1w"),
            (31_536_000_000, "1y"),
            (100_800_000, "1d4h"),
        ] {
            assert_eq!(DurationMs(ms).to_string(), text);
        }
    }
}
