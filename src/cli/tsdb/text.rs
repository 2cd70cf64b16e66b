//! Labels, times and sizes as promtool writes them.

use std::fmt::Write as _;

use crate::model::labels::is_legacy_label_name;
use crate::model::{GoQuoted, Labels, METRIC_NAME};

/// `{a="b", c="d"}`, the metric's name being one of the labels.
pub(super) fn full_labels(labels: &Labels) -> String {
    let mut text = String::from("{");
    for (i, (name, value)) in labels.iter().enumerate() {
        let comma = if i == 0 { "" } else { ", " };
        // Writing to a string cannot fail.
        let _ = match is_legacy_label_name(name) {
            true => write!(text, "{comma}{name}={}", GoQuoted(value)),
            false => write!(text, "{comma}{}={}", GoQuoted(name), GoQuoted(value)),
        };
    }
    text.push('}');
    text
}

/// `name{a="b",c="d"}`.
pub(super) fn openmetrics_series(labels: &Labels) -> String {
    let mut text = labels.metric_name().unwrap_or_default().to_owned();
    text.push('{');
    for (i, (name, value)) in labels.iter().filter(|(name, _)| *name != METRIC_NAME).enumerate() {
        let comma = if i == 0 { "" } else { "," };
        let _ = write!(text, "{comma}{name}={}", GoQuoted(value));
    }
    text.push('}');
    text
}

/// Milliseconds as Go writes a duration: `2h0m0s`, `1.5s`, `3ms`.
pub(super) fn go_duration(ms: i64) -> String {
    let magnitude = ms.unsigned_abs();
    let sign = if ms < 0 { "-" } else { "" };
    if magnitude == 0 {
        return "0s".to_owned();
    }
    if magnitude < 1000 {
        return format!("{sign}{magnitude}ms");
    }
    let (minutes, rest) = (magnitude / 60_000, magnitude % 60_000);
    let mut seconds = (rest / 1000).to_string();
    if !rest.is_multiple_of(1000) {
        let _ = write!(seconds, ".{:03}", rest % 1000);
        seconds.truncate(seconds.trim_end_matches('0').len());
    }
    match minutes {
        0 => format!("{sign}{seconds}s"),
        1..60 => format!("{sign}{minutes}m{seconds}s"),
        _ => format!("{sign}{}h{}m{seconds}s", minutes / 60, minutes % 60),
    }
}

/// Milliseconds since 1970 as a time of day, cut to seconds; the number itself if no calendar reaches so far.
pub(super) fn utc(ms: i64) -> String {
    match jiff::Timestamp::from_second(ms / 1000) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string(),
        Err(_) => ms.to_string(),
    }
}

/// Bytes in powers of 1024, exactly: `1MiB2KiB3B`.
pub(super) fn binary_size(bytes: u64) -> String {
    const UNITS: [(u32, &str); 7] =
        [(60, "EiB"), (50, "PiB"), (40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB"), (0, "B")];
    let part = |(shift, unit): (u32, &str)| {
        let n = (bytes >> shift) & 1023;
        (n > 0).then(|| format!("{n}{unit}"))
    };
    let text: String = UNITS.into_iter().filter_map(part).collect();
    if text.is_empty() { "0B".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_writes_them() {
        for (ms, text) in [
            (0, "0s"),
            (1, "1ms"),
            (999, "999ms"),
            (1000, "1s"),
            (1500, "1.5s"),
            (61_010, "1m1.01s"),
            (7_200_000, "2h0m0s"),
            (7_199_999, "1h59m59.999s"),
            (-90_000, "-1m30s"),
            (360_000_000, "100h0m0s"),
        ] {
            assert_eq!(go_duration(ms), text);
        }
    }

    #[test]
    fn times_and_sizes_are_for_people() {
        assert_eq!(utc(1_700_000_000_999), "2023-11-14 22:13:20 +0000 UTC");
        assert_eq!(utc(-1), "1970-01-01 00:00:00 +0000 UTC");
        assert_eq!(utc(i64::MAX), i64::MAX.to_string());
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1KiB"),
            ((3 << 20) + 5, "3MiB5B"),
            (u64::MAX, "15EiB1023PiB1023TiB1023GiB1023MiB1023KiB1023B"),
        ] {
            assert_eq!(binary_size(bytes), text);
        }
    }

    #[test]
    fn labels_are_written_with_and_without_their_name() {
        let labels = Labels::from_pairs([("__name__", "up"), ("a.b", "x\ny"), ("job", "ü")]);
        assert_eq!(full_labels(&labels), r#"{__name__="up", "a.b"="x\ny", job="ü"}"#);
        assert_eq!(openmetrics_series(&labels), r#"up{a.b="x\ny",job="ü"}"#);
        assert_eq!((full_labels(&Labels::empty()), openmetrics_series(&Labels::empty())), ("{}".into(), "{}".into()));
    }
}
