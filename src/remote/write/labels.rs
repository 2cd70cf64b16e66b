//! What names a series: labels as a peer sent them, checked as the reference checks them.

use std::fmt;

use crate::model::labels::push_pair;
use crate::model::{Labels, METRIC_NAME};

/// Bytes of labels that an error shows.
const SHOWN_BYTES_MAX: usize = 300;

/// Labels of one series or exemplar; real ones have some ten. Each may be two bytes of a message, and is 64 of memory.
pub(super) const LABELS_MAX: usize = 1 << 14;

/// Bytes of all names and values of one series or exemplar. In 2.0 two bytes of a message name a symbol of megabytes, as
/// often as they like.
const LABEL_BYTES_MAX: usize = 1 << 20;

/// A name and a value as they came.
pub(super) type RawPair<'a> = (&'a [u8], &'a [u8]);

/// Why labels name no series.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub(super) enum LabelFault {
    #[error("no metric name")]
    NoMetricName,
    #[error("empty metric name")]
    EmptyMetricName,
    #[error("empty label name")]
    EmptyName,
    #[error("repeated label name")]
    Repeated,
    #[error("label that is not valid UTF-8")]
    NotUtf8,
    #[error("more than {LABELS_MAX} labels")]
    TooMany,
    #[error("more than {LABEL_BYTES_MAX} bytes of labels")]
    TooLong,
    #[error("odd number of label references")]
    OddReferences,
    #[error("label reference outside of the symbols")]
    OutsideOfSymbols,
}

/// Checks and sorts a series' labels. Empty values mean absence.
pub(super) fn series_labels(pairs: &[RawPair<'_>]) -> Result<Labels, LabelFault> {
    let text = sorted(pairs)?;
    let name = text.iter().find(|(name, _)| *name == METRIC_NAME).ok_or(LabelFault::NoMetricName)?;
    if name.1.is_empty() {
        return Err(LabelFault::EmptyMetricName);
    }
    encode(&text)
}

/// The same for an exemplar, which needs no metric name.
pub(super) fn exemplar_labels(pairs: &[RawPair<'_>]) -> Result<Labels, LabelFault> {
    encode(&sorted(pairs)?)
}

/// Bytes of all names and values, which are known before anything is built of them.
pub(super) fn raw_bytes(pairs: &[RawPair<'_>]) -> Result<usize, LabelFault> {
    let bytes = pairs.iter().fold(0, |sum: usize, (name, value)| sum.saturating_add(name.len() + value.len()));
    if bytes > LABEL_BYTES_MAX { Err(LabelFault::TooLong) } else { Ok(bytes) }
}

fn sorted<'a>(pairs: &[RawPair<'a>]) -> Result<Vec<(&'a str, &'a str)>, LabelFault> {
    raw_bytes(pairs)?;
    let utf8 = |bytes| std::str::from_utf8(bytes).map_err(|_| LabelFault::NotUtf8);
    let pairs = pairs.iter().map(|(name, value)| Ok((utf8(name)?, utf8(value)?)));
    let mut sorted = pairs.collect::<Result<Vec<_>, _>>()?;
    sorted.sort_unstable();
    Ok(sorted)
}

fn encode(sorted: &[(&str, &str)]) -> Result<Labels, LabelFault> {
    if sorted.first().is_some_and(|(name, _)| name.is_empty()) {
        return Err(LabelFault::EmptyName);
    }
    if sorted.windows(2).any(|two| two[0].0 == two[1].0) {
        return Err(LabelFault::Repeated);
    }
    let mut encoded = Vec::with_capacity(sorted.iter().map(|(name, value)| name.len() + value.len() + 2).sum());
    for (name, value) in sorted.iter().filter(|(_, value)| !value.is_empty()) {
        push_pair(&mut encoded, name, value);
    }
    Ok(Labels::from_encoded(&encoded))
}

/// Labels for people, shortened.
pub(super) struct Shown<'a, 'b>(pub(super) &'a [RawPair<'b>]);

impl fmt::Display for Shown<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::from("{");
        for (i, (name, value)) in self.0.iter().enumerate() {
            if text.len() > SHOWN_BYTES_MAX {
                text.push_str(", ...");
                break;
            }
            let cut =
                |bytes: &'_ [u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_BYTES_MAX)]).into_owned();
            let separator = if i == 0 { "" } else { ", " };
            text.push_str(&format!("{separator}{}={:?}", cut(name), cut(value)));
        }
        write!(f, "{text}}}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pairs: &[(&'static str, &'static str)]) -> Result<String, LabelFault> {
        let raw: Vec<RawPair<'_>> = pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        series_labels(&raw).map(|labels| labels.to_string())
    }

    #[test]
    fn labels_are_sorted_and_checked() {
        assert_eq!(
            check(&[("b", "2"), ("__name__", "up"), ("a.é", "1"), ("c", "")]).unwrap(),
            r#"up{"a.é"="1", b="2"}"#
        );
        assert_eq!(check(&[]), Err(LabelFault::NoMetricName));
        assert_eq!(check(&[("__name__", ""), ("a", "1")]), Err(LabelFault::EmptyMetricName));
        assert_eq!(check(&[("__name__", "up"), ("", "1")]), Err(LabelFault::EmptyName));
        assert_eq!(check(&[("__name__", "up"), ("a", "1"), ("a", "")]), Err(LabelFault::Repeated));
        let invalid = &[(&b"__name__"[..], &b"up"[..]), (b"a", &[0xff])];
        assert_eq!(series_labels(invalid), Err(LabelFault::NotUtf8));
    }

    #[test]
    fn a_symbol_that_is_named_again_and_again_does_not_make_gigabytes_of_labels() {
        let (names, value) = ((0..1000).map(|n| format!("n{n}")).collect::<Vec<_>>(), vec![b'v'; 10_000]);
        let mut pairs: Vec<RawPair<'_>> = vec![(b"__name__", b"up")];
        pairs.extend(names.iter().map(|name| (name.as_bytes(), &value[..])));
        assert_eq!(series_labels(&pairs), Err(LabelFault::TooLong));
        assert_eq!(exemplar_labels(&pairs), Err(LabelFault::TooLong));
        pairs.truncate(100);
        assert_eq!(series_labels(&pairs).unwrap().iter().count(), 100);
    }

    #[test]
    fn labels_are_shown_shortened() {
        let long = vec![b'x'; 10_000];
        let shown = Shown(&[(&b"a"[..], &long[..]), (b"b", &[0xff, b'"'])]).to_string();
        assert!(shown.starts_with("{a=\"xxx") && shown.ends_with(", ...}") && shown.len() < 1000, "{shown}");
        assert_eq!(Shown(&[(&b"a"[..], &[0xff, b'"'][..])]).to_string(), "{a=\"\u{fffd}\\\"\"}");
    }
}
