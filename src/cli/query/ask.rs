//! Requests to the API, and its errors in one line.

use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::de::DeserializeOwned;
use url::Url;

use super::answer::{Answer, Envelope, LabelSet};
use super::{Failure, Span};
use crate::cli::http;
use crate::model::DurationMs;
use crate::net::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use crate::net::{Client, Method, Request, StatusCode};

/// As promtool's.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Without a range, series and labels of about a year before and after now are asked for.
const AROUND: SignedDuration = SignedDuration::from_hours(9999);
/// How much of an answer that is no answer is shown.
const DETAIL_MAX: usize = 200;

/// A server's API.
pub(super) struct Api {
    client: Client,
    server: Url,
    headers: HeaderMap,
}

/// A checked time range.
#[derive(Debug)]
pub(super) struct Range {
    pub start: Timestamp,
    pub end: Timestamp,
    pub step: DurationMs,
}

impl Range {
    /// As promtool completes it: until now, five minutes long, 250 steps.
    pub fn new(span: Span, step: Option<DurationMs>, now: Timestamp) -> Result<Range, Failure> {
        let out_of_range = |e: jiff::Error| Failure::Usage(e.to_string());
        let end = span.end.unwrap_or(now);
        let start = match span.start {
            Some(start) => start,
            None => end.checked_sub(SignedDuration::from_mins(5)).map_err(out_of_range)?,
        };
        if start >= end {
            return Err(Failure::Usage("start time is not before end time".to_owned()));
        }
        let seconds = (end.duration_since(start).as_secs() / 250).max(1);
        Ok(Range { start, end, step: step.unwrap_or(DurationMs::from_secs(seconds)) })
    }
}

impl Api {
    pub fn new(server: Url, headers: &[(String, String)], http_config: Option<&Path>) -> Result<Api, Failure> {
        let client = http::client(http_config).map_err(Failure::Usage)?;
        let headers = http::headers(headers).map_err(Failure::Usage)?;
        Ok(Api { client, server, headers })
    }

    pub async fn instant(&self, expr: &str, time: Timestamp) -> Result<Answer, Failure> {
        self.post("query", &[("query", expr), ("time", &seconds(time))]).await
    }

    pub async fn range(&self, expr: &str, range: &Range) -> Result<Answer, Failure> {
        let step = (range.step.0 as f64 / 1000.0).to_string();
        let (start, end) = (seconds(range.start), seconds(range.end));
        self.post("query_range", &[("query", expr), ("start", &start), ("end", &end), ("step", &step)]).await
    }

    pub async fn series(&self, matches: &[String], span: Span, now: Timestamp) -> Result<Vec<LabelSet>, Failure> {
        let times = bounds(span, now);
        self.post("series", &with_matches(matches, &times)).await
    }

    pub async fn labels(
        &self,
        name: Option<&str>,
        matches: &[String],
        span: Span,
        now: Timestamp,
    ) -> Result<Vec<String>, Failure> {
        let times = bounds(span, now);
        let form = with_matches(matches, &times);
        let Some(name) = name else { return self.post("labels", &form).await };
        let mut url = self.url(&["label", name, "values"])?;
        url.query_pairs_mut().extend_pairs(form);
        self.read(Request::get(url)).await.and_then(Raw::data)
    }

    /// Asks by form, and by query string where a server does not take forms.
    async fn post<T: DeserializeOwned>(&self, endpoint: &str, form: &[(&str, &str)]) -> Result<T, Failure> {
        let mut url = self.url(&[endpoint])?;
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let mut request = Request::get(url.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        request.method = Method::POST;
        request.body = body.into();
        let mut raw = self.read(request).await?;
        if matches!(raw.status, StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED) {
            url.query_pairs_mut().extend_pairs(form);
            raw = self.read(Request::get(url)).await?;
        }
        raw.data()
    }

    fn url(&self, path: &[&str]) -> Result<Url, Failure> {
        let mut url = self.server.clone();
        url.set_query(None);
        let segments = url.path_segments_mut().map(|mut segments| {
            segments.pop_if_empty().extend(["api", "v1"]).extend(path);
        });
        segments.map(|()| url).map_err(|()| Failure::Usage(format!("{} has no paths", self.server)))
    }

    async fn read(&self, mut request: Request) -> Result<Raw, Failure> {
        request.headers.extend(self.headers.clone());
        let (status, body) = http::ask(&self.client, request.timeout(TIMEOUT)).await.map_err(Failure::Query)?;
        Ok(Raw { status, body })
    }
}

/// An answer as it came.
struct Raw {
    status: StatusCode,
    body: Vec<u8>,
}

impl Raw {
    /// The data; remarks about them go to standard error.
    fn data<T: DeserializeOwned>(self) -> Result<T, Failure> {
        let envelope: Envelope<T> = match serde_json::from_slice(&self.body) {
            Ok(envelope) => envelope,
            Err(error) => return Err(self.not_an_answer(&error)),
        };
        envelope.warnings.iter().for_each(|warning| eprintln!("query warning: {warning}"));
        envelope.infos.iter().for_each(|info| eprintln!("query info: {info}"));
        match envelope.data {
            Some(data) if envelope.status == "success" => Ok(data),
            _ if envelope.error.is_empty() => Err(Failure::Query("the server answered without data".to_owned())),
            _ => Err(Failure::Query(format!("{}: {}", envelope.error_type, envelope.error))),
        }
    }

    fn not_an_answer(&self, error: &serde_json::Error) -> Failure {
        if self.status.is_success() {
            return Failure::Query(format!("the server's answer is not that of a query API: {error}"));
        }
        let text = String::from_utf8_lossy(&self.body);
        let detail: String = text.trim().chars().take(DETAIL_MAX).collect();
        let reason = self.status.canonical_reason().unwrap_or_default();
        Failure::Query(format!("the server answered {} {reason} (detail: {detail})", self.status.as_u16()))
    }
}

fn bounds(span: Span, now: Timestamp) -> [String; 2] {
    let start = span.start.unwrap_or_else(|| now.saturating_sub(AROUND).unwrap_or(Timestamp::MIN));
    let end = span.end.unwrap_or_else(|| now.saturating_add(AROUND).unwrap_or(Timestamp::MAX));
    [seconds(start), seconds(end)]
}

fn with_matches<'a>(matches: &'a [String], [start, end]: &'a [String; 2]) -> Vec<(&'a str, &'a str)> {
    let times = [("start", start.as_str()), ("end", end.as_str())];
    matches.iter().map(|m| ("match[]", m.as_str())).chain(times).collect()
}

/// Unix seconds.
fn seconds(t: Timestamp) -> String {
    format!("{}", t.as_millisecond() as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_completed_as_promtool_does() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let none = Span { start: None, end: None };
        let range = Range::new(none, None, now).unwrap();
        assert_eq!((range.start.as_second(), range.end, range.step), (1_699_999_700, now, DurationMs(1000)));
        let day = Span { start: Some(Timestamp::from_second(1_699_913_600).unwrap()), end: Some(now) };
        assert_eq!(Range::new(day, None, now).unwrap().step, DurationMs(345_000));
        assert!(Range::new(Span { start: Some(now), end: Some(now) }, None, now).is_err());
    }

    #[test]
    fn a_servers_path_stays_and_names_are_escaped() {
        let api = Api::new(Url::parse("http://a/prom/?x=1").unwrap(), &[], None).unwrap();
        assert_eq!(api.url(&["query"]).unwrap().as_str(), "http://a/prom/api/v1/query");
        assert_eq!(
            api.url(&["label", "a/b c", "values"]).unwrap().as_str(),
            "http://a/prom/api/v1/label/a%2Fb%20c/values"
        );
    }

    #[test]
    fn errors_are_one_line_that_says_who_and_why() {
        let fail =
            |status, body: &str| Raw { status, body: body.into() }.data::<Vec<String>>().unwrap_err().to_string();
        let refused = r#"{"status":"error","errorType":"bad_data","error":"1:4: parse error: no"}"#;
        assert_eq!(fail(StatusCode::BAD_REQUEST, refused), "query error: bad_data: 1:4: parse error: no");
        assert_eq!(
            fail(StatusCode::NOT_FOUND, "404 page not found\n"),
            "query error: the server answered 404 Not Found (detail: 404 page not found)"
        );
        assert!(
            fail(StatusCode::OK, "<html>").starts_with("query error: the server's answer is not that of a query API")
        );
        let ok = Raw { status: StatusCode::OK, body: br#"{"status":"success","data":["a"]}"#.to_vec() };
        assert_eq!(ok.data::<Vec<String>>().unwrap(), ["a"]);
    }
}
