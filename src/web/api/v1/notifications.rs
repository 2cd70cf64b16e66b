//! `notifications`, once and live as server-sent events. Both answer also while the store is being opened.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, Response, StatusCode};
use bytes::Bytes;
use http_body::Frame;
use serde::Serialize;
use tokio::sync::mpsc;

use super::Call;
use super::json::Rfc3339;
use super::reply::{Answer, ApiError};
use crate::web::Notification;
use crate::web::routes::Web;

#[derive(Serialize)]
struct Shown<'a> {
    text: &'a str,
    date: Rfc3339,
    active: bool,
}

impl<'a> Shown<'a> {
    fn of(notification: &'a Notification) -> Shown<'a> {
        Shown { text: &notification.text, date: Rfc3339(Some(notification.date)), active: notification.active }
    }
}

/// What is to be known now.
pub(super) fn list(call: &Call) -> Result<Answer, ApiError> {
    let all = call.web.deps.notifications.list();
    Ok(Answer::of(&all.iter().map(Shown::of).collect::<Vec<_>>()))
}

/// What is to be known now and from now on, an event each. No content if there are too many who ask for it.
pub(super) async fn live(State(web): State<Arc<Web>>) -> Response<Body> {
    let mut response = match web.deps.notifications.follow() {
        Some(updates) => Response::new(Body::new(Events(updates))),
        None => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        }
    };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// Dropped with the connection, which lets the next follower in.
struct Events(mpsc::Receiver<Notification>);

impl http_body::Body for Events {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::convert::Infallible>>> {
        self.0.poll_recv(cx).map(|update| {
            let json = serde_json::to_string(&Shown::of(&update?)).unwrap_or_default();
            Some(Ok(Frame::data(Bytes::from(format!("data: {json}\n\n")))))
        })
    }
}
