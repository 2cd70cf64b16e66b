//! Parameters of a request: its query string and, for POST, its form body, read as the reference reads them.

use std::num::IntErrorKind;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, Request};

use crate::model::{DurationMs, GoQuoted, TimestampMs};
use crate::promql;
use crate::storage::{Limit, Selector};

/// Parameters in order, those of the body before those of the query string.
#[derive(Clone, Debug, Default)]
pub(super) struct Form {
    pairs: Vec<(String, String)>,
    malformed: Option<String>,
}

/// Why the parameters could not be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum FormError {
    #[error("the request's body is larger than the {0} bytes allowed for a form")]
    TooLarge(usize),
    #[error("the request's body did not arrive within {0:?}")]
    TooSlow(Duration),
    #[error("the request's body ended early")]
    Incomplete,
}

/// Why a parameter was refused; the sentence names the parameter.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct ParamError(pub(super) String);

impl ParamError {
    pub(super) fn of(parameter: &str, reason: impl std::fmt::Display) -> ParamError {
        ParamError(format!("invalid parameter {parameter:?}: {reason}"))
    }
}

impl Form {
    /// Reads a request's parameters; of a body at most `limit` bytes, within `timeout`.
    pub(super) async fn read(request: Request<Body>, limit: usize, timeout: Duration) -> Result<Form, FormError> {
        let mut form = Form::default();
        let (parts, body) = request.into_parts();
        let content_type = parts.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
        let media_type = content_type.split(';').next().unwrap_or("").trim();
        let has_form = media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded");
        if matches!(parts.method, Method::POST | Method::PUT | Method::PATCH) && has_form {
            let body = tokio::time::timeout(timeout, to_bytes(body, limit));
            let body = body.await.map_err(|_| FormError::TooSlow(timeout))?;
            form.add(&body.map_err(|e| FormError::of(&e, limit))?);
        }
        form.add(parts.uri.query().unwrap_or("").as_bytes());
        Ok(form)
    }

    /// Reads a query string.
    pub(super) fn parse(query: &str) -> Form {
        let mut form = Form::default();
        form.add(query.as_bytes());
        form
    }

    fn add(&mut self, encoded: &[u8]) {
        for pair in encoded.split(|b| *b == b'&').filter(|p| !p.is_empty()) {
            match decode_pair(pair) {
                Ok(pair) => self.pairs.push(pair),
                Err(why) => self.malformed = self.malformed.take().or(Some(why)),
            }
        }
    }

    /// Fails if any pair could not be decoded; such pairs are left out.
    pub(super) fn well_formed(&self) -> Result<(), ParamError> {
        match &self.malformed {
            Some(why) => Err(ParamError(format!("error parsing form values: {why}"))),
            None => Ok(()),
        }
    }

    /// The first value of a parameter; the empty string where it is absent.
    pub(super) fn first(&self, name: &str) -> &str {
        self.all(name).next().unwrap_or("")
    }

    /// All values of a parameter.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.pairs.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// `match[]`, parsed.
    pub(super) fn selectors(&self) -> Result<Vec<Selector>, promql::ParseError> {
        self.all("match[]").map(promql::parse_match).collect()
    }

    /// One selector; the one that everything satisfies where it is absent.
    pub(super) fn selector(&self, name: &str) -> Result<Selector, ParamError> {
        match self.first(name) {
            "" => Ok(Selector::new()),
            text => promql::parse_match(text).map_err(|e| ParamError::of(name, e)),
        }
    }

    /// `match[]` where every selector must exclude the empty label set, so that nobody reads everything by mistake. The
    /// sentence does not name the parameter; some endpoints do, others do not.
    pub(super) fn narrowing_selectors(&self) -> Result<Vec<Selector>, ParamError> {
        let selectors = self.selectors().map_err(|e| ParamError(e.to_string()))?;
        match selectors.iter().find(|s| !promql::has_non_empty_matcher(s)) {
            Some(_) => Err(ParamError("match[] must contain at least one non-empty matcher".to_owned())),
            None => Ok(selectors),
        }
    }

    /// An instant, or `default` where it is not given.
    pub(super) fn time(&self, name: &str, default: TimestampMs) -> Result<TimestampMs, ParamError> {
        match self.first(name) {
            "" => Ok(default),
            text => parse_time(text).ok_or_else(|| {
                ParamError::of(name, format_args!("invalid time value for '{name}': {}", no_time(text)))
            }),
        }
    }

    /// An instant that must be given.
    pub(super) fn required_time(&self, name: &str) -> Result<TimestampMs, ParamError> {
        let text = self.first(name);
        parse_time(text).ok_or_else(|| ParamError::of(name, no_time(text)))
    }

    /// A duration in nanoseconds, written as seconds or as in the configuration; the error does not name the parameter.
    pub(super) fn duration(&self, name: &str) -> Result<i64, ParamError> {
        let text = self.first(name);
        parse_duration(text).map_err(ParamError)
    }

    /// `limit`: absent and 0 mean none.
    pub(super) fn limit(&self) -> Result<Limit, ParamError> {
        let text = self.first("limit");
        let refused = |why| ParamError::of("limit", format_args!("strconv.Atoi: parsing {}: {why}", GoQuoted(text)));
        match text.parse::<i64>() {
            _ if text.is_empty() => Ok(None),
            Ok(0) => Ok(None),
            Ok(n) if n < 0 => Err(ParamError::of("limit", "limit must be non-negative")),
            Ok(n) => Ok(usize::try_from(n).ok()),
            Err(e) => Err(match e.kind() {
                IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => refused("value out of range"),
                _ => refused("invalid syntax"),
            }),
        }
    }

    /// A switch; off where it is not given.
    pub(super) fn boolean(&self, name: &str) -> Result<bool, ParamError> {
        // The spellings that the reference's language takes.
        match self.first(name) {
            "" | "0" | "f" | "F" | "false" | "False" | "FALSE" => Ok(false),
            "1" | "t" | "T" | "true" | "True" | "TRUE" => Ok(true),
            other => {
                let why = format_args!("strconv.ParseBool: parsing {}: invalid syntax", GoQuoted(other));
                Err(ParamError::of(name, format_args!("unable to parse boolean: {why}")))
            }
        }
    }

    /// A limit where 0 allows nothing, and absence and negative numbers allow everything.
    pub(super) fn count(&self, name: &str) -> Result<Limit, ParamError> {
        match self.first(name) {
            "" => Ok(None),
            text => match text.parse::<i64>() {
                Ok(n) => Ok(usize::try_from(n).ok()),
                Err(_) => Err(ParamError(format!("{name} must be a number"))),
            },
        }
    }
}

impl FormError {
    fn of(error: &axum::Error, limit: usize) -> FormError {
        let too_large = std::error::Error::source(error).is_some_and(|e| e.is::<http_body_util::LengthLimitError>());
        if too_large { FormError::TooLarge(limit) } else { FormError::Incomplete }
    }
}

fn decode_pair(pair: &[u8]) -> Result<(String, String), String> {
    if pair.contains(&b';') {
        return Err("a semicolon does not separate parameters; use & or write it as %3B".to_owned());
    }
    let (name, value) = match memchr::memchr(b'=', pair) {
        Some(at) => (&pair[..at], &pair[at + 1..]),
        None => (pair, &pair[pair.len()..]),
    };
    Ok((unescape(name)?, unescape(value)?))
}

fn unescape(text: &[u8]) -> Result<String, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        rest = tail;
        match first {
            b'+' => out.push(b' '),
            b'%' => {
                let digits = tail.get(..2).and_then(|d| std::str::from_utf8(d).ok());
                let byte = digits.filter(|d| !d.starts_with('+')).and_then(|d| u8::from_str_radix(d, 16).ok());
                let shown = || String::from_utf8_lossy(&tail[..tail.len().min(2)]).into_owned();
                out.push(byte.ok_or_else(|| format!("invalid URL escape \"%{}\"", shown()))?);
                rest = &tail[2..];
            }
            byte => out.push(*byte),
        }
    }
    String::from_utf8(out).map_err(|_| "a parameter is not valid UTF-8".to_owned())
}

fn no_time(text: &str) -> String {
    format!("cannot parse {} to a valid timestamp", GoQuoted(text))
}

/// Nanoseconds.
fn parse_duration(text: &str) -> Result<i64, String> {
    const MAX: f64 = i64::MAX as f64;
    if let Ok(seconds) = text.parse::<f64>() {
        let nanos = seconds * 1e9;
        if nanos.abs() > MAX {
            return Err(format!("cannot parse {} to a valid duration. It overflows int64", GoQuoted(text)));
        }
        // What is no number comes out as no time.
        return Ok(nanos as i64);
    }
    match text.parse::<DurationMs>() {
        Ok(duration) => Ok(duration.0.saturating_mul(1_000_000)),
        Err(_) => Err(format!("cannot parse {} to a valid duration", GoQuoted(text))),
    }
}

/// Unix seconds with a fraction, or RFC 3339. Instants are rounded to milliseconds and clamped to what fits.
pub(super) fn parse_time(text: &str) -> Option<TimestampMs> {
    // The boundaries that client libraries send for "everything"; their years are out of RFC 3339's reach.
    match text {
        "-292273086-05-16T16:47:06Z" => return Some(TimestampMs::MIN),
        "292277025-08-18T07:12:54.999999999Z" => return Some(TimestampMs::MAX),
        _ => {}
    }
    if let Ok(seconds) = text.parse::<f64>() {
        let ms = seconds.trunc() * 1000.0 + (seconds.fract() * 1000.0).round();
        // A float cast saturates, as wanted.
        return seconds.is_finite().then_some(TimestampMs(ms as i64));
    }
    let instant: jiff::Timestamp = is_rfc3339(text).then(|| text.parse().ok())??;
    Some(TimestampMs(instant.as_millisecond()))
}

/// The parser of timestamps takes more than RFC 3339; the reference does not.
fn is_rfc3339(text: &str) -> bool {
    let shape = |pattern: &str, text: &str| {
        pattern.len() == text.len()
            && pattern.bytes().zip(text.bytes()).all(|(p, t)| if p == b'0' { t.is_ascii_digit() } else { p == t })
    };
    let Some((date_time, rest)) = text.split_at_checked(19) else { return false };
    let zone = match rest.strip_prefix('.') {
        Some(fraction) => {
            let zone = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            if zone.len() == fraction.len() {
                return false;
            }
            zone
        }
        None => rest,
    };
    let zone_fits = zone == "Z" || shape("+00:00", zone) || shape("-00:00", zone);
    shape("0000-00-00T00:00:00", date_time) && zone_fits && !date_time.ends_with("60")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_keep_their_order() {
        let form = Form::parse("match[]=up&match%5B%5D=%7Ba%3D%22b+c%22%7D&&x&y==z");
        assert_eq!(form.all("match[]").collect::<Vec<_>>(), ["up", "{a=\"b c\"}"]);
        assert_eq!((form.first("x"), form.first("y"), form.first("nothing")), ("", "=z", ""));
        assert!(form.well_formed().is_ok());
    }

    #[test]
    fn what_cannot_be_decoded_is_left_out_and_told() {
        for bad in ["a=%zz", "a=%", "a=%4", "a=%+1", "a=1;b=2", "a=%ff", "a=%\u{e9}"] {
            let form = Form::parse(&format!("{bad}&ok=1"));
            assert!(form.well_formed().is_err(), "{bad}");
            assert_eq!((form.first("a"), form.first("ok")), ("", "1"), "{bad}");
        }
    }

    #[test]
    fn times_are_unix_seconds_or_rfc_3339() {
        for (text, ms) in [
            ("0", 0),
            ("1.5", 1500),
            ("-1.25", -1250),
            ("1e3", 1_000_000),
            ("1543578564.7056", 1_543_578_564_706),
            ("2015-06-03T13:21:58.555Z", 1_433_337_718_555),
            ("2015-06-03T14:21:58.555+01:00", 1_433_337_718_555),
            ("2015-06-03T13:21:58Z", 1_433_337_718_000),
            ("1e300", i64::MAX),
            ("-292273086-05-16T16:47:06Z", i64::MIN),
        ] {
            assert_eq!(parse_time(text), Some(TimestampMs(ms)), "{text}");
        }
        for bad in [
            "",
            "now",
            "NaN",
            "inf",
            "2015-06-03",
            "2015-06-03 13:21:58Z",
            "2015-06-03T13:21:58",
            "2015-06-03T13:21:60Z",
            "2015-06-03T13:21:58.Z",
            "2015-06-03T25:21:58Z",
            "2015-06-03T13:21:58Z[UTC]",
            "30s",
        ] {
            assert_eq!(parse_time(bad), None, "{bad}");
        }
    }

    #[test]
    fn durations_are_seconds_or_written_as_in_the_configuration() {
        for (text, nanos) in
            [("15", 15_000_000_000), ("0.5", 500_000_000), ("1m30s", 90_000_000_000), ("-1", -1_000_000_000)]
        {
            assert_eq!(parse_duration(text), Ok(nanos), "{text}");
        }
        let refused = |text| parse_duration(text).expect_err("refused");
        assert_eq!(refused("x\"y"), r#"cannot parse "x\"y" to a valid duration"#);
        assert_eq!(refused(""), r#"cannot parse "" to a valid duration"#);
        assert_eq!(refused("1e10"), r#"cannot parse "1e10" to a valid duration. It overflows int64"#);
        assert_eq!(parse_duration("NaN"), Ok(0));
    }

    #[test]
    fn what_is_wrong_with_a_parameter_is_said_in_the_references_words() {
        let form = Form::parse("limit=x&time=y&start=");
        let refused = |e: ParamError| e.to_string();
        assert_eq!(
            refused(form.limit().expect_err("refused")),
            r#"invalid parameter "limit": strconv.Atoi: parsing "x": invalid syntax"#
        );
        assert_eq!(
            refused(form.time("time", TimestampMs(0)).expect_err("refused")),
            r#"invalid parameter "time": invalid time value for 'time': cannot parse "y" to a valid timestamp"#
        );
        assert_eq!(
            refused(form.required_time("start").expect_err("refused")),
            r#"invalid parameter "start": cannot parse "" to a valid timestamp"#
        );
    }

    #[test]
    fn limits_are_whole_numbers() {
        assert_eq!(Form::parse("").limit(), Ok(None));
        assert_eq!(Form::parse("limit=0").limit(), Ok(None));
        assert_eq!(Form::parse("limit=7").limit(), Ok(Some(7)));
        assert!(Form::parse("limit=-1").limit().is_err() && Form::parse("limit=x").limit().is_err());
        assert_eq!(Form::parse("n=-1").count("n"), Ok(None));
        assert_eq!(Form::parse("n=0").count("n"), Ok(Some(0)));
        assert_eq!(Form::parse("n=1.5").count("n"), Err(ParamError("n must be a number".to_owned())));
    }

    #[test]
    fn a_selector_that_matches_everything_is_refused_where_it_must_narrow() {
        assert!(Form::parse("match[]=%7Bjob%3D~%22.*%22%7D").narrowing_selectors().is_err());
        assert_eq!(
            Form::parse("match[]=up&match[]=%7Bjob%3D%22a%22%7D").narrowing_selectors().expect("valid").len(),
            2
        );
        let error = Form::parse("match[]=up%7B").narrowing_selectors().expect_err("malformed");
        assert!(error.to_string().starts_with("1:"), "{error}");
    }
}
