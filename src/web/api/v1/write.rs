//! `write`: receiving remote write. Off unless enabled, since who may write may also fill the disk.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use axum::routing::{MethodRouter, post};
use http_body_util::BodyExt as _;

use crate::remote::write::{Content, Failure, HeldBytes, Message, Outcome, Receiver};
use crate::storage::AppendError;
use crate::web::encoding::plain;
use crate::web::routes::Web;

/// Of a declared length no more is believed before it has come.
const RESERVED_MAX: usize = 1 << 20;
/// Seconds after which a sender may come again if there was no room.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
enum BodyError {
    #[error("the request's body is larger than the {0} bytes allowed")]
    TooLarge(usize),
    #[error(transparent)]
    Busy(#[from] crate::remote::write::TooBusy),
    #[error("the request's body ended early")]
    Incomplete,
    #[error("the request's body did not arrive within {0:?}")]
    TooSlow(std::time::Duration),
}

pub(super) fn route() -> MethodRouter<Arc<Web>> {
    post(write)
}

async fn write(State(web): State<Arc<Web>>, request: Request) -> Response<Body> {
    let Some(receiver) = web.remote_write.clone() else {
        let why = "remote write receiver needs to be enabled with --web.enable-remote-write-receiver\n";
        return plain(StatusCode::NOT_FOUND, why);
    };
    let content = match negotiate(request.headers(), &receiver) {
        Ok(content) => content,
        Err(why) => {
            receiver.note_unsupported();
            return plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("{why}\n"));
        }
    };
    let timeout = web.config.read_timeout;
    let body = tokio::time::timeout(timeout, read(request, &receiver)).await;
    let (body, held) = match body.unwrap_or(Err(BodyError::TooSlow(timeout))) {
        Ok(read) => read,
        Err(error) => return refuse(&error, &receiver),
    };
    let outcome = web.deps.pool.run(move || {
        let outcome = receiver.receive(content, &body);
        drop((body, held));
        outcome
    });
    match outcome.await {
        Ok(outcome) => respond(content.message, &outcome),
        Err(lost) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{lost}\n")),
    }
}

fn negotiate(headers: &HeaderMap, receiver: &Receiver) -> Result<Content, String> {
    let text = |name: &HeaderName| {
        headers.get(name).map_or(Ok(""), |value| value.to_str().map_err(|_| format!("{name} is not ASCII")))
    };
    let (media_type, encoding) = (text(&CONTENT_TYPE)?, text(&CONTENT_ENCODING)?);
    Content::negotiate(media_type, encoding, receiver.config().accepted).map_err(|e| e.to_string())
}

/// Reads a body; its bytes count against the receiver's limit as long as the account lives.
async fn read(request: Request, receiver: &Arc<Receiver>) -> Result<(Vec<u8>, HeldBytes), BodyError> {
    let max = receiver.config().max_body;
    let declared = request.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    let declared = declared.unwrap_or(0);
    if declared > max {
        return Err(BodyError::TooLarge(max));
    }
    let mut held = receiver.hold();
    let mut out = Vec::with_capacity(declared.min(RESERVED_MAX));
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame.map_err(|_| BodyError::Incomplete)?.into_data() else { continue };
        if out.len() + piece.len() > max {
            return Err(BodyError::TooLarge(max));
        }
        held.add(piece.len())?;
        out.extend_from_slice(&piece);
    }
    Ok((out, held))
}

fn refuse(error: &BodyError, receiver: &Receiver) -> Response<Body> {
    let status = match error {
        BodyError::TooLarge(_) => {
            receiver.note_too_large();
            StatusCode::PAYLOAD_TOO_LARGE
        }
        BodyError::Busy(_) => {
            receiver.note_busy();
            StatusCode::SERVICE_UNAVAILABLE
        }
        BodyError::Incomplete => StatusCode::BAD_REQUEST,
        BodyError::TooSlow(_) => StatusCode::REQUEST_TIMEOUT,
    };
    let mut response = plain(status, format!("{error}\n"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, RETRY_SECONDS);
    }
    response
}

fn respond(message: Message, outcome: &Outcome) -> Response<Body> {
    let mut response = match &outcome.failure {
        None => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        }
        Some(failure) => plain(status(failure), format!("{failure}\n")),
    };
    // Senders of 1.0 know nothing of these.
    if message == Message::V2 {
        for (name, count) in [
            ("x-prometheus-remote-write-samples-written", outcome.written.samples),
            ("x-prometheus-remote-write-histograms-written", outcome.written.histograms),
            ("x-prometheus-remote-write-exemplars-written", outcome.written.exemplars),
        ] {
            response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from(count));
        }
    }
    response
}

fn status(failure: &Failure) -> StatusCode {
    match failure {
        Failure::Invalid(_) => StatusCode::BAD_REQUEST,
        Failure::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        Failure::Store(AppendError::Latched(_) | AppendError::Closed) => StatusCode::SERVICE_UNAVAILABLE,
        Failure::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
