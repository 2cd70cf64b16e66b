//! One request to one server, and its answer.

use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use serde::de::IgnoredAny;
use url::Url;

use super::error::is_failure;
use super::{Credentials, Member, MemberError, Server};
use crate::cluster::answer::{self, AnswerError};
use crate::cluster::limits::{Charge, Charged, Errand};
use crate::cluster::loops;
use crate::cluster::probe;
use crate::cluster::question::Question;
use crate::net::header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderValue};
use crate::net::{self, BodyError, Method, Request, StatusCode};

/// Of an answer that is no success this much is read for its sentence.
const ERROR_MAX: u64 = 64 << 10;
/// Answers up to this are read where they came; larger ones on the threads for computing.
const SMALL: usize = 64 << 10;
/// Of a sentence that is not the API's this much is shown.
const SHOWN: usize = 200;

/// An answer, read whole.
pub(super) struct Fetched {
    pub(super) status: StatusCode,
    pub(super) is_victoria: bool,
    pub(super) is_self: bool,
    wire_bytes: u64,
    pub(super) body: Vec<u8>,
}

impl Fetched {
    /// The answer of a server that has not failed.
    pub(super) fn of_the_well(self) -> Result<Fetched, MemberError> {
        if is_failure(self.status) { Err(self.into_error()) } else { Ok(self) }
    }

    /// Reads it: what is neither success nor a refusal of the question is an error, whatever is said with it.
    fn read<T>(self, read: impl FnOnce(&[u8]) -> Result<T, AnswerError>) -> Result<T, MemberError> {
        let is_refusal = matches!(self.status, StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY);
        if !self.status.is_success() && !is_refusal {
            return Err(self.into_error());
        }
        match read(&self.body) {
            Err(AnswerError::Garbled(_)) if self.status != StatusCode::OK => Err(self.into_error()),
            outcome => Ok(outcome?),
        }
    }

    pub(super) fn into_error(self) -> MemberError {
        let (kind, text) = match answer::parse_data::<IgnoredAny>(&self.body) {
            Err(AnswerError::Refused { kind, message }) => {
                let text = format!("{kind}: {message}");
                (kind, text)
            }
            _ => {
                let text = String::from_utf8_lossy(&self.body);
                (String::new(), text.trim().chars().take(SHOWN).collect())
            }
        };
        MemberError::Status { status: self.status, kind, text }
    }
}

impl Member {
    pub(super) async fn exchange<T: Charged + Send + 'static>(
        &self,
        server: &Server,
        question: &Question<T>,
        errand: &Errand,
    ) -> Result<T, MemberError> {
        let mut request = self.request(&server.url, &question.path, question.method.clone(), &errand.credentials);
        if !question.is_compressed {
            request.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if question.method == Method::POST {
            request.body = Bytes::from(question.form.clone());
        } else if !question.form.is_empty() {
            request.url.set_query(Some(&question.form));
        }
        let mut charge = Charge::none(&errand.scope);
        let fetched = self.fetch(request, errand.max_bytes, errand.deadline, Some(&mut charge)).await?;
        if let Some(meter) = &question.meter {
            meter.fetch_add(fetched.wire_bytes, Ordering::Relaxed);
        }
        if fetched.is_victoria {
            server.known.has_victorias_header();
        }
        // What is made of it lies beside it for a moment.
        charge.set(0, 2 * fetched.body.len() as u64)?;
        let mut answer = self.read(question, fetched, errand.deadline).await?;
        let (samples, bytes) = answer.weight();
        charge.set(samples, bytes)?;
        answer.take(charge);
        Ok(answer)
    }

    /// Reads an answer; a large one on other threads, while the time for it runs.
    async fn read<T: Send + 'static>(
        &self,
        question: &Question<T>,
        fetched: Fetched,
        deadline: Instant,
    ) -> Result<T, MemberError> {
        let (read, is_small) = (question.read, fetched.body.len() <= SMALL);
        let work = move || fetched.read(read);
        if is_small {
            return work();
        }
        match tokio::time::timeout_at(deadline.into(), self.pool.run(work)).await {
            Ok(outcome) => outcome.map_err(|lost| AnswerError::Garbled(lost.to_string()))?,
            Err(_) => Err(MemberError::NoTime),
        }
    }

    /// A request to a server, in the name of a client.
    pub(super) fn request(&self, url: &Url, path: &str, method: Method, credentials: &Credentials) -> Request {
        let mut headers = self.headers(credentials);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        // Prometheus understands the names alone: no spelling with weights.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("zstd, gzip"));
        Request { method, url: below(url, path), headers, body: Bytes::new(), timeout: None }
    }

    /// Sends a request of which only the status counts.
    pub(super) async fn status(&self, request: Request, deadline: Instant) -> Result<StatusCode, MemberError> {
        let left = deadline.saturating_duration_since(Instant::now()).min(self.config.timeout);
        Ok(self.client.send(request.timeout(left)).await?.status)
    }

    /// Sends a request and reads its answer whole; its bytes are charged while they come.
    pub(super) async fn fetch(
        &self,
        request: Request,
        max_bytes: u64,
        deadline: Instant,
        mut charge: Option<&mut Charge>,
    ) -> Result<Fetched, MemberError> {
        let left = deadline.saturating_duration_since(Instant::now()).min(self.config.timeout);
        if left.is_zero() {
            return Err(MemberError::NoTime);
        }
        let response = self.client.send(request.timeout(left)).await?;
        let (status, encoding) = (response.status, response.content_encoding().to_owned());
        let is_victoria = response.headers.contains_key(probe::VICTORIA_HEADER);
        let is_self = response.headers.get(loops::INSTANCE).is_some_and(|told| *told == *loops::instance());
        let limit = if status == StatusCode::OK { max_bytes } else { ERROR_MAX };
        let mut body = Vec::new();
        let grown = |bytes: usize| match &mut charge {
            Some(charge) => charge.set(0, bytes as u64).map_err(MemberError::from),
            None => Ok(()),
        };
        let mut wire_bytes = 0;
        match net::read_body_watched(response.body, &encoding, Some(limit), &mut body, grown).await {
            Ok(info) => {
                wire_bytes = info.wire_bytes;
                self.metrics.received(wire_bytes);
            }
            // The beginning of an error says enough.
            Err(MemberError::Body(BodyError::TooLarge { .. })) if status != StatusCode::OK => {}
            Err(error) => return Err(error),
        }
        Ok(Fetched { status, is_victoria, is_self, wire_bytes, body })
    }
}

/// A path below a URL, whose own path may end in a slash or not.
fn below(url: &Url, path: &str) -> Url {
    let mut url = url.clone();
    let joined = format!("{}/{path}", url.path().trim_end_matches('/'));
    url.set_path(&joined);
    url
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::answer::ListAnswer;

    #[test]
    fn the_api_is_below_the_members_path() {
        for (url, wanted) in [
            ("http://a", "http://a/api/v1/query"),
            ("http://a/", "http://a/api/v1/query"),
            ("https://a:1/api/prom/", "https://a:1/api/prom/api/v1/query"),
        ] {
            assert_eq!(below(&Url::parse(url).unwrap(), "api/v1/query").as_str(), wanted);
        }
    }

    fn answered(status: u16, body: &str) -> Result<ListAnswer<String>, MemberError> {
        let status = StatusCode::from_u16(status).unwrap();
        let body = body.as_bytes().to_vec();
        Fetched { status, is_victoria: false, is_self: false, wire_bytes: 0, body }.read(answer::parse_texts)
    }

    /// A server that was out of order in JSON had refused the question: it was not asked again, its circuit breaker stayed
    /// closed, and a query had no answer though the member was optional.
    #[test]
    fn only_who_is_well_refuses() {
        let error = r#"{"status":"error","errorType":"KIND","error":"no"}"#;
        for (status, kind, may_retry) in [
            (500, "internal", true),
            (503, "unavailable", true),
            (502, "", true),
            (429, "too_many_requests", true),
            (503, "timeout", false),
            (508, "loop", false),
            (404, "not_found", false),
        ] {
            let failed = answered(status, &error.replace("KIND", kind)).unwrap_err();
            assert_eq!(failed.may_retry(), may_retry, "{failed}");
            assert!(matches!(&failed, MemberError::Status { kind: told, .. } if told == kind), "{failed:?}");
            assert!(failed.to_string().ends_with(&format!(": {kind}: no")), "{failed}");
        }
        for status in [400, 422] {
            let refused = AnswerError::Refused { kind: "execution".to_owned(), message: "no".to_owned() };
            assert_eq!(answered(status, &error.replace("KIND", "execution")).unwrap_err(), refused.into());
        }
        let page = answered(400, "<html>").unwrap_err();
        assert_eq!(page.to_string(), "server returned HTTP status 400 Bad Request: <html>");
        assert!(answered(200, r#"{"status":"success","data":[]}"#).is_ok());
    }
}
