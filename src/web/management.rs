//! `/-/healthy`, `/-/ready`, `/-/reload`, `/-/quit`, `/version`, and what stands at `/debug`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use axum::routing::{MethodRouter, post};
use tokio::sync::oneshot;

use super::config::Lifecycle;
use super::deps::ReloadRequest;
use super::encoding::plain;
use super::routes::Web;

/// Says that the process serves; supervisors restart it otherwise.
pub(super) async fn healthy() -> Response<Body> {
    plain(StatusCode::OK, "Watershed is Healthy.\n")
}

/// Says whether data can be served; balancers send no requests before.
pub(super) async fn ready(State(web): State<Arc<Web>>) -> Response<Body> {
    if let Some(unavailable) = web.unavailable() {
        return unavailable;
    }
    match web.deps.admin.trouble() {
        None => plain(StatusCode::OK, "Watershed is Ready.\n"),
        // Reads go on, so the API still answers; but who balances writes must know.
        Some(why) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("Watershed takes no samples: {why}\n")),
    }
}

pub(super) fn reload_route() -> MethodRouter<Arc<Web>> {
    post(reload).put(reload).get(wants_post)
}

pub(super) fn quit_route() -> MethodRouter<Arc<Web>> {
    post(quit).put(quit).get(wants_post)
}

/// Waits for the outcome: scripts rely on the status, people on the reason.
async fn reload(State(web): State<Arc<Web>>) -> Response<Body> {
    if let Some(refusal) = forbidden(&web) {
        return refusal;
    }
    let (reply, outcome) = oneshot::channel();
    let sent = web.deps.reload.send(ReloadRequest { reply }).await.is_ok();
    let failure = match outcome.await {
        Ok(Ok(())) => return plain(StatusCode::OK, ""),
        Ok(Err(reason)) => reason,
        Err(_) if sent => "the reload ended without a result; the log tells more".to_owned(),
        Err(_) => "the program is shutting down".to_owned(),
    };
    plain(StatusCode::INTERNAL_SERVER_ERROR, format!("failed to reload config: {failure}\n"))
}

async fn quit(State(web): State<Arc<Web>>) -> Response<Body> {
    if let Some(refusal) = forbidden(&web) {
        return refusal;
    }
    if web.deps.quit.is_cancelled() {
        return plain(StatusCode::OK, "Termination already in progress.");
    }
    web.deps.quit.cancel();
    plain(StatusCode::OK, "Requesting termination... Goodbye!")
}

async fn wants_post() -> Response<Body> {
    plain(StatusCode::METHOD_NOT_ALLOWED, "Only POST or PUT requests allowed")
}

/// What was built, as an object without an envelope.
pub(super) async fn version(State(web): State<Arc<Web>>) -> Response<Body> {
    match serde_json::to_string(&web.deps.build) {
        Ok(json) => plain(StatusCode::OK, format!("{json}\n")),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

/// The reference profiles itself with the means of its language, which we do not have.
pub(super) async fn no_profiles() -> Response<Body> {
    plain(
        StatusCode::NOT_FOUND,
        "404 page not found: watershed serves no profiles of itself; /metrics tells how it fares\n",
    )
}

fn forbidden(web: &Web) -> Option<Response<Body>> {
    let disabled = web.config.lifecycle == Lifecycle::Disabled;
    disabled.then(|| plain(StatusCode::FORBIDDEN, "Lifecycle API is not enabled."))
}
