//! Which path is answered by what.

use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, Uri};
use axum::routing::get;

use super::api::v1::{Desk, Reads, RemoteWrite};
use super::config::WebConfig;
use super::deps::{Deps, ReadinessState};
use super::encoding::plain;
use super::route_list::Routes;
use super::stream::Streams;
use super::telemetry::WebMetrics;
use super::{api, federate, gateway, management, metrics, pages};
use crate::model::TimestampMs;

/// What every handler sees.
pub(super) struct Web {
    pub(super) config: WebConfig,
    pub(super) deps: Deps,
    pub(super) metrics: WebMetrics,
    pub(super) streams: Streams,
    /// `None` if it is not enabled.
    pub(super) remote_write: Option<RemoteWrite>,
    pub(super) reads: Reads,
    /// Where members of a cluster are asked.
    pub(super) cluster: Desk,
    /// Port of the first listener, to recognise the targets that are ourselves.
    pub(super) own_port: u16,
    /// When the server was bound.
    pub(super) birth: TimestampMs,
    /// Figures of the async runtime.
    pub(super) runtime: tokio::runtime::RuntimeMetrics,
}

/// Every route that is served.
pub(super) fn routes(web: &Arc<Web>) -> Routes {
    if web.deps.gateway.is_some() {
        return gateway::routes(web);
    }
    let prefix = &web.config.route_prefix;
    let mut routes = Routes::new()
        .route(&prefix.join("/"), get(pages::start))
        .route(&prefix.join("/targets"), get(pages::targets))
        .route(&prefix.join("/metrics"), get(metrics::own))
        .route(&prefix.join("/metrics/host"), get(metrics::host))
        .route(&prefix.join("/federate"), get(federate::federate))
        .route(&prefix.join("/-/healthy"), get(management::healthy))
        .route(&prefix.join("/-/ready"), get(management::ready))
        .route(&prefix.join("/-/reload"), management::reload_route())
        .route(&prefix.join("/-/quit"), management::quit_route())
        .route(&prefix.join("/version"), get(management::version))
        .route(&prefix.join("/debug/{*rest}"), get(management::no_profiles).post(management::no_profiles))
        .merge(api::v1::router(web));
    if !prefix.as_str().is_empty() {
        // As the reference: strangers at the root are sent to the prefix, whose own page ends in a slash.
        let (to_prefix, to_page) = (prefix.as_str().to_owned(), prefix.join("/"));
        routes = routes
            .route("/", get(move || async move { redirect(StatusCode::FOUND, &to_prefix) }))
            .route(prefix.as_str(), get(move || async move { redirect(StatusCode::MOVED_PERMANENTLY, &to_page) }));
    }
    routes
}

/// The reference's words; scripts look for them. Paths with empty parts, which clients make of a base URL that ends in a
/// slash, are sent to those without.
pub(super) async fn not_found(uri: Uri) -> Response<Body> {
    if !uri.path().contains("//") {
        return plain(StatusCode::NOT_FOUND, "404 page not found\n");
    }
    let mut to = String::with_capacity(uri.path().len());
    for part in uri.path().split('/').filter(|part| !part.is_empty()) {
        to.push('/');
        to.push_str(part);
    }
    if uri.path().ends_with('/') {
        to.push('/');
    }
    if let Some(query) = uri.query() {
        to.push('?');
        to.push_str(query);
    }
    redirect(StatusCode::TEMPORARY_REDIRECT, &to)
}

pub(super) async fn wrong_method() -> Response<Body> {
    plain(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n")
}

/// As the reference's library answers.
fn redirect(status: StatusCode, to: &str) -> Response<Body> {
    let what = status.canonical_reason().unwrap_or_default();
    let shown =
        to.replace('&', "&amp;").replace('\'', "&#39;").replace('"', "&#34;").replace('<', "&lt;").replace('>', "&gt;");
    let mut response = plain(status, format!("<a href=\"{shown}\">{what}</a>.\n\n"));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    if let Ok(location) = HeaderValue::from_str(to) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

impl Web {
    /// The answer to who comes before or after data can be served.
    pub(super) fn unavailable(&self) -> Option<Response<Body>> {
        let stopping = match self.deps.readiness.get() {
            ReadinessState::Ready => return None,
            ReadinessState::Starting => "false",
            ReadinessState::Stopping => "true",
        };
        let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable");
        let name = HeaderName::from_static("x-prometheus-stopping");
        response.headers_mut().insert(name, HeaderValue::from_static(stopping));
        Some(response)
    }
}
