//! `/metrics` about ourselves and `/metrics/host` about the machine.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode};

use super::encoding::{ContentEncoding, plain};
use super::routes::Web;

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The registry, also while the store is still being opened.
pub(super) async fn own(State(web): State<Arc<Web>>, headers: HeaderMap) -> Response<Body> {
    let registry = web.deps.registry.clone();
    exposition(&web, &headers, move |out| registry.write_text(out)).await
}

/// The built-in host exporter.
pub(super) async fn host(State(web): State<Arc<Web>>, headers: HeaderMap) -> Response<Body> {
    match web.deps.host_metrics.clone() {
        Some(write) => exposition(&web, &headers, move |out| write(out)).await,
        None => plain(StatusCode::NOT_FOUND, "The host exporter is not enabled.\n"),
    }
}

async fn exposition(
    web: &Web,
    headers: &HeaderMap,
    write: impl FnOnce(&mut String) + Send + 'static,
) -> Response<Body> {
    let encoding = ContentEncoding::accepted(headers);
    let written = web.deps.pool.run(move || {
        let mut text = String::new();
        write(&mut text);
        encoding.encode(text.into_bytes())
    });
    match written.await {
        Ok(body) => body.respond(StatusCode::OK, CONTENT_TYPE),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}
