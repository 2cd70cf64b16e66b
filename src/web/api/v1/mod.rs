//! Prometheus's `/api/v1`: one file per family of endpoints, one envelope and status map in [`reply`].
//!
//! Every endpoint is a plain function from a [`Call`] to an [`Answer`]; [`run`] does the rest once for all: the form, the
//! CPU pool, cancellation, the envelope, compression. What grows with the data (`series`, `query`, `query_range`) has its own
//! way out. Rules and alerts, which are not evaluated yet, are answered as the reference answers without any.
//! What is not routed answers 404 in plain text, as there.

mod admin;
mod cluster;
mod expression;
mod features;
mod json;
mod labels;
mod metadata;
mod notifications;
mod openapi;
mod otlp;
mod query;
mod read;
mod relabel;
mod reply;
mod result;
mod rules;
mod self_metrics;
mod series;
mod status;
mod store;
mod targets;
mod write;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use axum::middleware::Next;
use axum::routing::{MethodRouter, any, get, post};
use tokio::time::Instant;

pub(in crate::web) use self::cluster::Desk;
pub(in crate::web) use self::labels::unescape;
pub(in crate::web) use self::read::Reads;
use self::reply::{Answer, ApiError, ErrorKind};
pub(in crate::web) use self::write::RemoteWrite;
use crate::storage::Scope;
use crate::web::encoding::ContentEncoding;
use crate::web::form::Form;
use crate::web::route_list::Routes;
use crate::web::routes::{Web, not_found};
use crate::web::stream::CancelOnDrop;

/// One request to an endpoint.
struct Call {
    web: Arc<Web>,
    form: Form,
    scope: Scope,
}

type Endpoint = fn(&Call) -> Result<Answer, ApiError>;

/// What is answered once data can be served, by path; `openapi` describes each.
fn routes() -> Vec<(&'static str, MethodRouter<Arc<Web>>)> {
    let search = || {
        let post = move |state, request| run(state, request, rules::search);
        endpoint(rules::search).post(post)
    };
    vec![
        ("/query", get(query::instant).post(query::instant)),
        ("/query_range", get(query::range).post(query::range)),
        ("/query_exemplars", expression::route(expression::exemplars)),
        ("/format_query", expression::route(expression::format)),
        ("/parse_query", expression::route(expression::tree)),
        ("/labels", get(label_names).post(label_names)),
        ("/label/{name}/values", get(label_values)),
        ("/series", get(series::series).post(series::series)),
        ("/read", post(read::read)),
        ("/write", write::route()),
        ("/otlp/v1/metrics", otlp::route()),
        ("/targets", endpoint(targets::targets)),
        ("/targets/metadata", endpoint(metadata::of_targets)),
        ("/targets/relabel_steps", endpoint(relabel::steps)),
        ("/scrape_pools", endpoint(targets::scrape_pools)),
        ("/scrape_pools/config", endpoint(targets::config)),
        ("/metadata", endpoint(metadata::of_metrics)),
        ("/rules", endpoint(rules::rules)),
        ("/alerts", endpoint(rules::alerts)),
        ("/alertmanagers", endpoint(rules::alertmanagers)),
        ("/features", endpoint(features::features)),
        ("/search/metric_names", search()),
        ("/search/label_names", search()),
        ("/search/label_values", search()),
        ("/status/config", endpoint(status::config)),
        ("/status/flags", endpoint(status::flags)),
        ("/status/buildinfo", get(status::build_info_of_this)),
        ("/status/runtimeinfo", endpoint(status::runtime_info)),
        ("/status/tsdb", endpoint(store::statistics)),
        ("/status/tsdb/blocks", endpoint(store::blocks)),
        ("/status/self_metrics", endpoint(self_metrics::self_metrics)),
        ("/admin/tsdb/delete_series", admin::route(admin::delete_series)),
        ("/admin/tsdb/clean_tombstones", admin::route(admin::clean_tombstones)),
        ("/admin/tsdb/snapshot", admin::route(admin::snapshot)),
        ("/openapi.yaml", get(openapi::serve)),
    ]
}

/// What is answered also while the store is still being opened.
fn early_routes() -> Vec<(&'static str, MethodRouter<Arc<Web>>)> {
    vec![
        ("/status/walreplay", endpoint(store::replay)),
        ("/notifications", endpoint(notifications::list)),
        ("/notifications/live", get(notifications::live)),
    ]
}

/// The routes of this version, below the prefix.
pub(in crate::web) fn router(web: &Arc<Web>) -> Routes {
    let at = |path: &str| web.config.route_prefix.join(&format!("/api/v1{path}"));
    let register = |routes: Vec<(&str, MethodRouter<Arc<Web>>)>| {
        routes.into_iter().fold(Routes::new(), |all, (path, route)| all.route(&at(path), route))
    };
    let ready = register(routes())
        .route(&at("/"), any(not_found))
        .route(&at("/{*rest}"), any(not_found))
        .merge(cluster::routes(web))
        .within(web, cross_origin)
        .within(web, when_ready);
    ready.merge(register(early_routes()).within(web, cross_origin))
}

fn endpoint(f: Endpoint) -> MethodRouter<Arc<Web>> {
    get(move |state, request| run(state, request, f))
}

async fn label_values(
    state: State<Arc<Web>>,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response<Body> {
    match name {
        Ok(Path(name)) => read_labels(state, request, move |call| labels::values(call, &name)).await,
        Err(error) => ApiError::new(ErrorKind::BadData, format!("invalid label name: {error}")).respond(),
    }
}

async fn label_names(state: State<Arc<Web>>, request: Request) -> Response<Body> {
    read_labels(state, request, labels::names).await
}

/// Labels may come from other servers, and waiting for those must not keep anyone from computing.
async fn read_labels(
    State(web): State<Arc<Web>>,
    request: Request,
    f: impl FnOnce(&Call) -> Result<Answer, ApiError> + Send + 'static,
) -> Response<Body> {
    respond(web, request, Threads::Queries, f).await.unwrap_or_else(|error| error.respond())
}

async fn when_ready(State(web): State<Arc<Web>>, request: Request, next: Next) -> Response<Body> {
    match web.unavailable() {
        Some(unavailable) => unavailable,
        None => next.run(request).await,
    }
}

/// Around every endpoint: the rules for scripts of other origins, and the answer to `OPTIONS`, by which browsers ask for them.
async fn cross_origin(State(web): State<Arc<Web>>, request: Request, next: Next) -> Response<Body> {
    let origin = request.headers().get(ORIGIN).cloned();
    let mut response = if request.method() == Method::OPTIONS {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        response
    } else {
        next.run(request).await
    };
    set_cors(&web, origin.as_ref(), response.headers_mut());
    response
}

fn set_cors(web: &Web, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
    headers.append(VARY, HeaderValue::from_static("Origin"));
    let Some(origin) = origin.and_then(|o| o.to_str().ok()).filter(|o| !o.is_empty()) else { return };
    for (name, value) in [
        (ACCESS_CONTROL_ALLOW_HEADERS, "Accept, Authorization, Content-Type, Origin"),
        (ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
        (ACCESS_CONTROL_EXPOSE_HEADERS, "Date"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Some(allowed) = web.config.cors_origin.allow(origin).and_then(|o| HeaderValue::from_str(o).ok()) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    }
}

/// Reads a request's form and gives it a scope that ends with the time allowed for an answer.
async fn receive(web: Arc<Web>, request: Request) -> Result<Call, ApiError> {
    let form = Form::read(request, web.config.form_limit, web.config.read_timeout).await?;
    let deadline = (Instant::now() + web.config.answer_timeout).into_std();
    Ok(Call { web, form, scope: Scope::new(Some(deadline), u64::MAX, u64::MAX) })
}

/// Where an endpoint computes.
#[derive(Clone, Copy)]
enum Threads {
    /// With everyone else.
    Shared,
    /// Where there is room for deep recursion, and where waiting holds up nobody but queries.
    Queries,
}

impl Threads {
    async fn compute<R: Send + 'static>(
        self,
        web: &Web,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, ApiError> {
        match self {
            Threads::Shared => {
                let done = web.deps.pool.run(work).await;
                done.map_err(|lost| ApiError::new(ErrorKind::Internal, lost.to_string()))
            }
            Threads::Queries => Ok(web.deps.queries.compute(work).await?),
        }
    }
}

async fn run(
    State(web): State<Arc<Web>>,
    request: Request,
    f: impl FnOnce(&Call) -> Result<Answer, ApiError> + Send + 'static,
) -> Response<Body> {
    respond(web, request, Threads::Shared, f).await.unwrap_or_else(|error| error.respond())
}

/// Runs an endpoint. A client that goes away drops this future, which cancels the call's scope.
async fn respond(
    web: Arc<Web>,
    request: Request,
    threads: Threads,
    f: impl FnOnce(&Call) -> Result<Answer, ApiError> + Send + 'static,
) -> Result<Response<Body>, ApiError> {
    let encoding = ContentEncoding::accepted(request.headers());
    let call = receive(web.clone(), request).await?;
    let _cancel = CancelOnDrop(call.scope.clone());
    let answer = move || f(&call).map(|answer| answer.has_data().then(|| encoding.encode(answer.envelope())));
    Ok(match threads.compute(&web, answer).await?? {
        Some(body) => body.respond(StatusCode::OK, reply::JSON),
        None => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        }
    })
}
