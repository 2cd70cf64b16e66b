//! Questions to a member's API: what is sent, and how its answer is read.

use std::fmt::Write as _;

use super::answer::{self, AnswerError, ListAnswer, QueryAnswer};
use super::explain::Meter;
use crate::model::labels::is_legacy_label_name;
use crate::model::{Labels, TimestampMs};
use crate::net::Method;
use crate::promql::StepTimes;
use crate::storage::{Selector, TimeRange};

/// A question to a member's API, and how its answer is read.
#[derive(Clone, Debug)]
pub struct Question<T> {
    /// What metrics call it.
    pub(super) kind: &'static str,
    pub(super) path: String,
    pub(super) form: String,
    pub(super) method: Method,
    /// Whether the answer is worth compressing.
    pub(super) is_compressed: bool,
    pub(super) read: fn(&[u8]) -> Result<T, AnswerError>,
    /// Counts the bytes of its answers, as they come.
    pub(super) meter: Option<Meter>,
}

impl<T> Question<T> {
    fn new(
        kind: &'static str,
        method: Method,
        path: String,
        form: String,
        read: fn(&[u8]) -> Result<T, AnswerError>,
    ) -> Question<T> {
        Question { kind, path, form, method, is_compressed: true, read, meter: None }
    }

    /// The bytes of its answers, as they come over the wire, are counted there.
    pub(super) fn metered(self, meter: Option<Meter>) -> Question<T> {
        Question { meter, ..self }
    }

    /// What an endpoint answers to `GET`.
    pub(super) fn get(endpoint: &'static str, form: &str, read: fn(&[u8]) -> Result<T, AnswerError>) -> Question<T> {
        Question::new(endpoint, Method::GET, format!("api/v1/{endpoint}"), form.to_owned(), read)
    }
}

impl Question<QueryAnswer> {
    /// An expression at steps.
    pub fn steps(expr: &str, steps: StepTimes, lookback: Option<i64>) -> Question<QueryAnswer> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("query", expr);
        let kind = if steps.count == 1 { "query" } else { "query_range" };
        if steps.count == 1 {
            form.append_pair("time", &seconds(steps.start));
        } else {
            form.append_pair("start", &seconds(steps.start)).append_pair("end", &seconds(steps.end()));
            form.append_pair("step", &seconds(TimestampMs(steps.interval)));
        }
        if let Some(ms) = lookback {
            form.append_pair("lookback_delta", &seconds(TimestampMs(ms)));
        }
        Question::new(kind, Method::POST, format!("api/v1/{kind}"), form.finish(), answer::parse_result)
    }

    /// The samples of series in a range; there is at least one matcher that no empty value meets.
    pub fn samples(selector: &Selector, range: TimeRange) -> Question<QueryAnswer> {
        // Servers may leave out what is at a window's beginning, and lose some of its milliseconds. What is before it may come, too.
        let window = range.max.0.saturating_sub(range.min.0).max(0) / 1000 + 2;
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("query", &format!("{}[{window}s]", in_braces(selector)));
        form.append_pair("time", &seconds(range.max));
        Question::new("query", Method::POST, "api/v1/query".to_owned(), form.finish(), answer::parse_result)
    }

    /// For an answer of a few lines: a Prometheus spends a millisecond on each answer that it compresses, however small.
    pub fn uncompressed(mut self) -> Question<QueryAnswer> {
        self.is_compressed = false;
        self
    }

    /// For VictoriaMetrics: at the very steps, and up to now.
    pub fn uncached(mut self) -> Question<QueryAnswer> {
        self.form.push_str("&nocache=1");
        self
    }
}

/// A selector without a name before its braces.
pub(super) fn in_braces(selector: &Selector) -> String {
    format!("{{{}}}", selector.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
}

/// Which series a list is about.
#[derive(Clone, Debug, Default)]
pub struct Listed<'a> {
    /// Selectors as text, any of which may hold; none for all series.
    pub selectors: &'a [String],
    /// Of series with samples since then.
    pub start: Option<TimestampMs>,
    /// Of series with samples until then.
    pub end: Option<TimestampMs>,
}

impl Listed<'_> {
    fn form(&self) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(self.selectors.iter().map(|selector| ("match[]", selector)));
        for (name, t) in [("start", self.start), ("end", self.end)] {
            form.extend_pairs(t.map(|t| (name, seconds(t))));
        }
        form.finish()
    }
}

impl Question<ListAnswer<String>> {
    /// The names of labels.
    pub fn label_names(listed: &Listed<'_>) -> Self {
        Question::new("labels", Method::POST, "api/v1/labels".to_owned(), listed.form(), answer::parse_texts)
    }

    /// The values of a label. Servers take this question by `GET` only.
    pub fn label_values(name: &str, listed: &Listed<'_>) -> Self {
        let path = format!("api/v1/label/{}/values", in_path(name));
        Question::new("label_values", Method::GET, path, listed.form(), answer::parse_texts)
    }
}

impl Question<ListAnswer<Labels>> {
    /// The labels of series.
    pub fn series(listed: &Listed<'_>) -> Self {
        Question::new("series", Method::POST, "api/v1/series".to_owned(), listed.form(), answer::parse_series)
    }
}

/// A label's name in a path: as it is, or in the escaped form that servers take since Prometheus 3.
fn in_path(name: &str) -> String {
    if is_legacy_label_name(name) {
        return name.to_owned();
    }
    let mut out = "U__".to_owned();
    for c in name.chars() {
        match c {
            '_' => out.push_str("__"),
            c if c.is_ascii_alphanumeric() => out.push(c),
            // Writing to a string cannot fail.
            c => drop(write!(out, "_{:x}_", u32::from(c))),
        }
    }
    out
}

/// With all its milliseconds: a float would lose them in far times.
pub(super) fn seconds(t: TimestampMs) -> String {
    let sign = if t.0 < 0 { "-" } else { "" };
    let ms = t.0.unsigned_abs();
    format!("{sign}{}.{:03}", ms / 1000, ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_tell_times_to_the_millisecond() {
        let steps = StepTimes { start: TimestampMs(1_700_000_000_123), interval: 15_000, count: 3 };
        let range = Question::steps("up{a=\"b\"}", steps, Some(60_000));
        let form =
            "query=up%7Ba%3D%22b%22%7D&start=1700000000.123&end=1700000030.123&step=15.000&lookback_delta=60.000";
        assert_eq!((range.path.as_str(), range.form.as_str()), ("api/v1/query_range", form));
        let once = Question::steps("up", StepTimes { count: 1, ..steps }, None);
        assert_eq!((once.path.as_str(), once.form.as_str()), ("api/v1/query", "query=up&time=1700000000.123"));
        assert_eq!(seconds(TimestampMs(-1500)), "-1.500");
    }

    #[test]
    fn windows_are_whole_seconds_that_begin_before_what_is_asked_for() {
        let selector = vec![crate::model::Matcher::equal("__name__", "up")];
        for (min, max, seconds) in [(5000, 5000, 2), (5000, 64_999, 61), (5000, 65_000, 62)] {
            let form = Question::samples(&selector, TimeRange { min: TimestampMs(min), max: TimestampMs(max) }).form;
            assert!(form.contains(&format!("%5B{seconds}s%5D&")), "{form}");
        }
    }

    #[test]
    fn lists_are_asked_for_by_selectors_and_times() {
        let selectors = ["up".to_owned(), "{a=\"b\"}".to_owned()];
        let listed = Listed { selectors: &selectors, start: Some(TimestampMs(1500)), end: None };
        let values = Question::label_values("my.label", &listed);
        assert_eq!(values.path, "api/v1/label/U__my_2e_label/values");
        assert_eq!(values.form, "match%5B%5D=up&match%5B%5D=%7Ba%3D%22b%22%7D&start=1.500");
        assert_eq!(Question::label_values("a_b", &Listed::default()).path, "api/v1/label/a_b/values");
    }
}
