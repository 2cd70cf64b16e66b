//! `write`: receiving remote write. Off unless enabled, since who may write may also fill the disk.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use axum::routing::{MethodRouter, post};

use crate::remote::write::{Config, Content, Deps, Failure, Message, Outcome, Receiver};
use crate::storage::AppendError;
use crate::web::body::{BodyBudget, BodyError};
use crate::web::encoding::plain;
use crate::web::routes::Web;

/// The receiver, and what bodies on their way to it may hold together.
#[derive(Clone)]
pub(in crate::web) struct RemoteWrite {
    receiver: Arc<Receiver>,
    bodies: Arc<BodyBudget>,
}

impl RemoteWrite {
    pub(in crate::web) fn new(config: Config, deps: Deps) -> RemoteWrite {
        let bodies = BodyBudget::new(config.max_held);
        let held = bodies.clone();
        deps.registry.gauge_fn(
            "watershed_remote_write_receiver_held_bytes",
            "Bytes of memory that request bodies of remote write hold at this moment.",
            &[],
            move || held.held() as f64,
        );
        RemoteWrite { receiver: Arc::new(Receiver::new(config, deps)), bodies }
    }
}

pub(super) fn route() -> MethodRouter<Arc<Web>> {
    post(write)
}

async fn write(State(web): State<Arc<Web>>, request: Request) -> Response<Body> {
    let Some(RemoteWrite { receiver, bodies }) = web.remote_write.clone() else {
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
    let body = match bodies.read(request, receiver.config().max_body, web.config.read_timeout).await {
        Ok(body) => body,
        Err(error) => {
            match error {
                BodyError::TooLarge(_) => receiver.note_too_large(),
                BodyError::Busy => receiver.note_busy(),
                BodyError::Incomplete | BodyError::TooSlow(_) => {}
            }
            return error.response();
        }
    };
    let outcome = web.deps.pool.run(move || receiver.receive(content, &body.bytes));
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
