//! The cluster frontend's endpoints, below `/prometheus/api/v1`: the query API over all members.
//!
//! They are there whether a cluster is configured or not, and say so if none is: a reload may bring one.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{Response, StatusCode};
use axum::routing::{MethodRouter, get};
use serde::Serialize;
use tokio::time::Instant;

use super::json::LabelMap;
use super::labels::{unescaped, warn_truncated};
use super::query::{self, read_range};
use super::reply::{Answer, ApiError, ErrorKind, JSON};
use crate::cluster::{Frontend, Lists, OverMembers};
use crate::model::{Annotations, Labels, TimestampMs};
use crate::promql::service::{QueryFailure, Times};
use crate::storage::Limit;
use crate::web::encoding::ContentEncoding;
use crate::web::form::Form;
use crate::web::route_list::Routes;
use crate::web::routes::Web;

/// Where these endpoints are, below the prefix.
const PREFIX: &str = "/prometheus/api/v1";

/// The routes.
pub(super) fn routes(web: &Arc<Web>) -> Routes {
    let at = |path: &str| web.config.route_prefix.join(&format!("{PREFIX}{path}"));
    Routes::new()
        .route(&at("/query"), get(instant).post(instant))
        .route(&at("/query_range"), get(range).post(range))
        .route(&at("/labels"), get(labels).post(labels))
        .route(&at("/label/{name}/values"), get(label_values))
        .route(&at("/series"), get(series).post(series))
        .route(&at("/format_query"), super::expression::route(super::expression::format))
        .route(&at("/parse_query"), super::expression::route(super::expression::tree))
        .route(&at("/federation/members"), members_route())
}

fn members_route() -> MethodRouter<Arc<Web>> {
    get(async |State(web): State<Arc<Web>>, request: Request| {
        respond(members(&web), ContentEncoding::accepted(request.headers()))
    })
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
    query::answer(web, request, path, read, Some(Arc::new(over_members))).await
}

async fn labels(State(web): State<Arc<Web>>, request: Request) -> Response<Body> {
    let encoding = ContentEncoding::accepted(request.headers());
    respond(label_names(&web, request).await, encoding)
}

async fn label_names(web: &Web, request: Request) -> Result<Answer, ApiError> {
    let asked = Asked::read(web, request).await?;
    let (names, annotations) =
        asked.frontend.label_names(&asked.lists, asked.deadline).await.map_err(QueryFailure::from)?;
    Ok(texts(names.into_iter().collect(), annotations, asked.limit))
}

async fn label_values(State(web): State<Arc<Web>>, Path(name): Path<String>, request: Request) -> Response<Body> {
    let encoding = ContentEncoding::accepted(request.headers());
    respond(values(&web, &name, request).await, encoding)
}

async fn values(web: &Web, name: &str, request: Request) -> Result<Answer, ApiError> {
    let name = unescaped(name)?;
    let asked = Asked::read(web, request).await?;
    let (values, annotations) =
        asked.frontend.label_values(&name, &asked.lists, asked.deadline).await.map_err(QueryFailure::from)?;
    Ok(texts(values.into_iter().collect(), annotations, asked.limit))
}

async fn series(State(web): State<Arc<Web>>, request: Request) -> Response<Body> {
    let encoding = ContentEncoding::accepted(request.headers());
    respond(all_series(&web, request).await, encoding)
}

async fn all_series(web: &Web, request: Request) -> Result<Answer, ApiError> {
    let asked = Asked::read(web, request).await?;
    if asked.lists.selectors.is_empty() {
        return Err(ApiError::new(ErrorKind::BadData, "no match[] parameter provided"));
    }
    let (series, annotations) =
        asked.frontend.series(&asked.lists, asked.deadline).await.map_err(QueryFailure::from)?;
    let series: Vec<Labels> = series.into_iter().collect();
    let (series, annotations) = limited(series, annotations, asked.limit);
    let shown: Vec<LabelMap<'_>> = series.iter().map(|labels| LabelMap(labels.as_bytes())).collect();
    Ok(Answer::annotated(&shown, annotations))
}

/// A list that a client asks for.
struct Asked {
    frontend: Arc<Frontend>,
    lists: Lists,
    limit: Limit,
    deadline: std::time::Instant,
}

impl Asked {
    async fn read(web: &Web, request: Request) -> Result<Asked, ApiError> {
        let frontend = frontend(web)?;
        let credentials = frontend.forwarded(request.headers());
        let form = Form::read(request, web.config.form_limit, web.config.read_timeout).await?;
        let time = |name: &str| match form.first(name) {
            "" => Ok(None),
            _ => form.time(name, TimestampMs(0)).map(Some),
        };
        let (start, end, limit) = (time("start")?, time("end")?, form.limit()?);
        // Compiling hostile expressions takes its time, which is not the connections'.
        let selectors = web.deps.pool.run(move || form.narrowing_selectors()).await;
        let selectors = selectors.map_err(|lost| ApiError::new(ErrorKind::Internal, lost.to_string()))??;
        let lists = Lists { selectors, start, end, credentials };
        let deadline = (Instant::now() + web.config.answer_timeout).into_std();
        Ok(Asked { frontend, lists, limit, deadline })
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

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MemberStatus {
    name: String,
    labels: std::collections::BTreeMap<String, String>,
    replicas: Vec<ReplicaStatus>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReplicaStatus {
    url: String,
    is_asked: bool,
    last_error: String,
}

fn members(web: &Web) -> Result<Answer, ApiError> {
    let frontend = frontend(web)?;
    let all = frontend.members().map(|member| MemberStatus {
        name: member.config().name.clone(),
        labels: member.labels().iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        replicas: member
            .replicas()
            .map(|(url, resting)| ReplicaStatus {
                url,
                is_asked: resting.is_none(),
                last_error: resting.unwrap_or_default(),
            })
            .collect(),
    });
    Ok(Answer::of(&all.collect::<Vec<_>>()))
}

fn texts(texts: Vec<String>, annotations: Annotations, limit: Limit) -> Answer {
    let (texts, annotations) = limited(texts, annotations, limit);
    Answer::annotated(&texts, annotations)
}

fn limited<T>(mut all: Vec<T>, mut annotations: Annotations, limit: Limit) -> (Vec<T>, Annotations) {
    if let Some(limit) = limit.filter(|limit| all.len() > *limit) {
        all.truncate(limit);
        warn_truncated(&mut annotations);
    }
    (all, annotations)
}

fn respond(answer: Result<Answer, ApiError>, encoding: ContentEncoding) -> Response<Body> {
    match answer {
        Ok(answer) => encoding.encode(answer.envelope()).respond(StatusCode::OK, JSON),
        Err(error) => error.respond(),
    }
}
