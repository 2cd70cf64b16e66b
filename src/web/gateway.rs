//! The door of a cluster: our own few paths, and all others to the components behind.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::http::{Response, StatusCode};
use axum::routing::get;

use super::connection::ClientAddress;
use super::encoding::plain;
use super::route_list::Routes;
use super::routes::{Web, not_found};
use super::{management, metrics};
use crate::gateway::Via;

/// The paths that are not passed on: what supervisors, scrapers and people ask of this process itself. They are those of
/// our other roles and of the components (`/ready`, `/config`).
pub(super) fn routes(web: &Arc<Web>) -> Routes {
    let prefix = &web.config.route_prefix;
    Routes::new()
        .route(&prefix.join("/metrics"), get(metrics::own))
        .route(&prefix.join("/config"), get(config))
        .route(&prefix.join("/ready"), get(management::ready))
        .route(&prefix.join("/-/healthy"), get(management::healthy))
        .route(&prefix.join("/-/ready"), get(management::ready))
        .route(&prefix.join("/-/reload"), management::reload_route())
        .route(&prefix.join("/-/quit"), management::quit_route())
        .route(&prefix.join("/version"), get(management::version))
}

async fn config(State(web): State<Arc<Web>>) -> Response<Body> {
    let mut response = plain(StatusCode::OK, (web.deps.config_yaml)());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/yaml"));
    response
}

/// Everything else.
pub(super) async fn pass_on(State(web): State<Arc<Web>>, request: Request) -> Response<Body> {
    // A client whose base URL ends in a slash is told the path that it means.
    if request.uri().path().contains("//") {
        return not_found(request.uri().clone()).await;
    }
    let gateway = web.deps.gateway.as_ref().and_then(|gateway| gateway.load_full());
    let Some(gateway) = gateway else {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable");
    };
    let address = request.extensions().get::<ClientAddress>().map(|client| client.0);
    let client = address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let via = Via { client, is_encrypted: web.deps.security.tls().is_some() };
    gateway.answer(request, via).await
}
