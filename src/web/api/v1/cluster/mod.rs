//! The cluster frontend's endpoints, below `/prometheus/api/v1`: the API of one server over all members.
//!
//! They are there whether a cluster is configured or not, and say so if none is: a reload may bring one. What they ask waits
//! at places of its own ([`Desk`]), and what blocks a thread meanwhile does so on threads of its own, so that a member that
//! hangs keeps nobody from the local data.

mod asked;
mod desk;
mod gather;
mod lists;
mod members;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use axum::middleware::Next;
use axum::routing::{MethodRouter, get, post};

pub(in crate::web) use self::desk::Desk;
use super::query::{self, read_range};
use super::read;
use super::reply::{Answer, ApiError, ErrorKind, JSON};
use super::{expression, status};
use crate::cluster::{Frontend, OverMembers, check_loop};
use crate::promql::service::Times;
use crate::web::encoding::ContentEncoding;
use crate::web::form::Form;
use crate::web::route_list::Routes;
use crate::web::routes::Web;

/// Where these endpoints are, below the prefix.
const PREFIX: &str = "/prometheus/api/v1";

/// The routes.
pub(super) fn routes(web: &Arc<Web>) -> Routes {
    let at = |path: &str| web.config.route_prefix.join(&format!("{PREFIX}{path}"));
    let asking = Routes::new()
        .route(&at("/query"), get(instant).post(instant))
        .route(&at("/query_range"), get(range).post(range))
        .route(&at("/query_exemplars"), get(gather::exemplars).post(gather::exemplars))
        .route(&at("/read"), post(remote_read))
        .route(&at("/labels"), get(lists::labels).post(lists::labels))
        .route(&at("/label/{name}/values"), get(lists::label_values))
        .route(&at("/series"), get(lists::series).post(lists::series))
        .route(&at("/metadata"), get(gather::metadata))
        .route(&at("/rules"), get(gather::rules))
        .route(&at("/alerts"), get(gather::alerts))
        .within(web, without_loops);
    asking
        .route(&at("/format_query"), expression::route(expression::format))
        .route(&at("/parse_query"), expression::route(expression::tree))
        .route(&at("/status/buildinfo"), get(status::build_info_of_this))
        .route(&at("/federation/members"), members_route())
        // About this node rather than its members' data, so it is found beside its own API as well.
        .route(&web.config.route_prefix.join("/api/v1/federation/members"), members_route())
}

fn members_route() -> MethodRouter<Arc<Web>> {
    get(async |State(web): State<Arc<Web>>, request: Request| {
        respond(members::members(&web), ContentEncoding::accepted(request.headers()))
    })
}

/// Refuses requests that come back to where they were sent from.
async fn without_loops(_: State<Arc<Web>>, request: Request, next: Next) -> Response<Body> {
    match check_loop(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => ApiError::new(ErrorKind::Loop, error.to_string()).respond(),
    }
}

async fn instant(State(web): State<Arc<Web>>, request: Request) -> Response<Body> {
    let read = |form: &Form, now| Ok(Times::Instant(form.time("time", now)?));
    evaluate(web, request, "/prometheus/api/v1/query", read).await.unwrap_or_else(|error| error.respond())
}

async fn range(State(web): State<Arc<Web>>, request: Request) -> Response<Body> {
    let path = "/prometheus/api/v1/query_range";
    evaluate(web, request, path, |form, _| read_range(form)).await.unwrap_or_else(|error| error.respond())
}

async fn evaluate(
    web: Arc<Web>,
    request: Request,
    path: &'static str,
    read: query::ReadTimes,
) -> Result<Response<Body>, ApiError> {
    let over_members = OverMembers::new(frontend(&web)?, request.headers());
    let queries = web.cluster.queries(&web.deps.queries)?;
    query::answer(web, request, path, read, query::Desk { queries, evaluator: Some(Arc::new(over_members)) }).await
}

async fn remote_read(State(web): State<Arc<Web>>, request: Request) -> Response<Body> {
    match frontend(&web) {
        Ok(frontend) => {
            let credentials = frontend.forwarded(request.headers());
            read::respond(web, request, read::Samples::Members { frontend, credentials }).await
        }
        Err(error) => error.respond(),
    }
}

fn frontend(web: &Web) -> Result<Arc<Frontend>, ApiError> {
    let none = || {
        let why =
            "no cluster is configured here: the members of one stand in the config under federation.proxy_targets";
        ApiError::new(ErrorKind::NotFound, why)
    };
    web.deps.cluster.load_full().ok_or_else(none)
}

fn respond(answer: Result<Answer, ApiError>, encoding: ContentEncoding) -> Response<Body> {
    match answer {
        Ok(answer) => encoding.encode(answer.envelope()).respond(StatusCode::OK, JSON),
        Err(error) => error.respond(),
    }
}
