//! The envelope of every answer, and the one place that turns errors into a status.

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Response, StatusCode};
use serde::Serialize;

use crate::model::json::{Escaping, append};
use crate::model::{AnnotationKind, Annotations};
use crate::promql::service::QueryFailure;
use crate::storage::{Cancelled, QueryError};
use crate::web::form::{FormError, ParamError};
use crate::web::stream::{StreamError, WriteError};

pub(super) const JSON: &str = "application/json";

/// Remarks of one kind in one answer; more are only counted.
const REMARKS_MAX: usize = 10;

/// Kinds of errors, as the API names them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ErrorKind {
    BadData,
    TooLarge,
    TooSlow,
    Canceled,
    Timeout,
    Execution,
    Unavailable,
    Internal,
    NotFound,
    Loop,
}

impl ErrorKind {
    fn word(self) -> &'static str {
        match self {
            ErrorKind::BadData | ErrorKind::TooLarge | ErrorKind::TooSlow => "bad_data",
            ErrorKind::Canceled => "canceled",
            ErrorKind::Timeout => "timeout",
            ErrorKind::Execution => "execution",
            ErrorKind::Unavailable => "unavailable",
            ErrorKind::Internal => "internal",
            ErrorKind::NotFound => "not_found",
            ErrorKind::Loop => "loop",
        }
    }

    fn status(self) -> u16 {
        match self {
            ErrorKind::BadData => 400,
            ErrorKind::NotFound => 404,
            ErrorKind::TooSlow => 408,
            ErrorKind::TooLarge => 413,
            ErrorKind::Execution => 422,
            // Nobody will read it; the reference's logs and ours agree on the number.
            ErrorKind::Canceled => 499,
            // The reference maps an unavailable store to 500 like everything that it has no other number for.
            ErrorKind::Internal | ErrorKind::Unavailable => 500,
            ErrorKind::Timeout => 503,
            ErrorKind::Loop => 508,
        }
    }
}

/// Why a call failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ApiError {
    pub(super) kind: ErrorKind,
    pub(super) message: String,
}

impl ApiError {
    pub(super) fn new(kind: ErrorKind, message: impl Into<String>) -> ApiError {
        ApiError { kind, message: message.into() }
    }

    pub(super) fn respond(&self) -> Response<Body> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Envelope<'a> {
            status: &'static str,
            error_type: &'static str,
            error: &'a str,
        }
        let envelope = Envelope { status: "error", error_type: self.kind.word(), error: &self.message };
        let mut response = Response::new(Body::from(serialize(&envelope)));
        *response.status_mut() = StatusCode::from_u16(self.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        response
    }
}

impl From<ParamError> for ApiError {
    fn from(error: ParamError) -> ApiError {
        ApiError::new(ErrorKind::BadData, error.to_string())
    }
}

impl From<FormError> for ApiError {
    fn from(error: FormError) -> ApiError {
        let kind = match error {
            FormError::TooLarge(_) => ErrorKind::TooLarge,
            FormError::TooSlow(_) => ErrorKind::TooSlow,
            FormError::Incomplete => ErrorKind::BadData,
        };
        ApiError::new(kind, error.to_string())
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> ApiError {
        let kind = match &error {
            QueryError::Cancelled(Cancelled::Client) => ErrorKind::Canceled,
            QueryError::Cancelled(Cancelled::Deadline) => ErrorKind::Timeout,
            QueryError::Cancelled(_) => ErrorKind::Execution,
            QueryError::Disk { .. } | QueryError::Corrupt { .. } | QueryError::Peer { .. } => ErrorKind::Internal,
            QueryError::NotReady(_) => ErrorKind::Unavailable,
        };
        ApiError::new(kind, error.to_string())
    }
}

impl From<QueryFailure> for ApiError {
    fn from(failure: QueryFailure) -> ApiError {
        let message = failure.to_string();
        let kind = match failure {
            QueryFailure::Bad(_) => return ParamError::of("query", message).into(),
            QueryFailure::Timeout(_) => ErrorKind::Timeout,
            QueryFailure::Canceled(_) => ErrorKind::Canceled,
            QueryFailure::Execution(_) => ErrorKind::Execution,
            QueryFailure::Storage(_) | QueryFailure::Lost(_) => ErrorKind::Internal,
        };
        ApiError::new(kind, message)
    }
}

impl From<StreamError> for ApiError {
    fn from(error: StreamError) -> ApiError {
        match error {
            StreamError::Failed(WriteError::Query(error)) => error.into(),
            StreamError::Failed(WriteError::BadRequest(why)) => ApiError::new(ErrorKind::BadData, why),
            StreamError::Failed(error @ WriteError::Client(_)) => ApiError::new(ErrorKind::Canceled, error.to_string()),
            error @ StreamError::Busy => ApiError::new(ErrorKind::Timeout, error.to_string()),
            error @ StreamError::Lost => ApiError::new(ErrorKind::Internal, error.to_string()),
        }
    }
}

/// The data of a successful call, already JSON.
pub(super) struct Answer {
    data: Vec<u8>,
    annotations: Annotations,
}

impl Answer {
    pub(super) fn of(data: &impl Serialize) -> Answer {
        Answer::annotated(data, Annotations::none())
    }

    /// Data that are JSON already.
    pub(super) fn json(data: Vec<u8>) -> Answer {
        Answer { data, annotations: Annotations::none() }
    }

    /// A success that has nothing to tell.
    pub(super) fn nothing() -> Answer {
        Answer { data: Vec::new(), annotations: Annotations::none() }
    }

    /// Whether it has something to tell; if not, the answer has no body at all.
    pub(super) fn has_data(&self) -> bool {
        !self.data.is_empty()
    }

    pub(super) fn annotated(data: &impl Serialize, annotations: Annotations) -> Answer {
        Answer { data: serialize(data), annotations }
    }

    /// The whole body.
    pub(super) fn envelope(self) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.data.len() + 64);
        body.extend_from_slice(OPEN);
        body.extend_from_slice(&self.data);
        body.extend_from_slice(&close(&self.annotations));
        body
    }
}

/// What stands before the data of a success.
pub(super) const OPEN: &[u8] = br#"{"status":"success","data":"#;

/// What stands behind the data of a success.
pub(super) fn close(annotations: &Annotations) -> Vec<u8> {
    let mut out = Vec::new();
    for (kind, field, noun) in
        [(AnnotationKind::Warning, "warnings", "warning"), (AnnotationKind::Info, "infos", "info")]
    {
        let mut remarks: Vec<String> = annotations.of(kind).map(ToString::to_string).collect();
        let omitted = remarks.len().saturating_sub(REMARKS_MAX);
        if omitted > 0 {
            remarks.truncate(REMARKS_MAX);
            remarks.push(format!("{omitted} more {noun} annotations omitted"));
        }
        if !remarks.is_empty() {
            out.extend_from_slice(format!(",\"{field}\":").as_bytes());
            out.extend_from_slice(&serialize(&remarks));
        }
    }
    out.push(b'}');
    out
}

fn serialize(data: &impl Serialize) -> Vec<u8> {
    let mut out = Vec::new();
    append(&mut out, data, Escaping::Text);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_follow_the_data_and_are_limited() {
        let mut annotations = Annotations::none();
        assert_eq!(Answer::of(&["a"]).envelope(), br#"{"status":"success","data":["a"]}"#);
        (0..12).for_each(|i| annotations.warn(format!("w{i}")));
        let body = String::from_utf8(Answer::annotated(&[0; 0], annotations).envelope()).expect("UTF-8");
        assert!(body.starts_with(r#"{"status":"success","data":[],"warnings":["w0","w1""#), "{body}");
        assert!(body.ends_with(r#""w9","2 more warning annotations omitted"]}"#), "{body}");
    }
}
