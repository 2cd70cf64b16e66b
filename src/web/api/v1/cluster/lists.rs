//! `labels`, `label/NAME/values` and `series` of all members.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::Response;

use super::super::json::LabelMap;
use super::super::labels::{unescaped, warn_truncated};
use super::super::reply::{Answer, ApiError, ErrorKind};
use super::desk::Admitted;
use super::{frontend, respond};
use crate::cluster::{Frontend, Lists};
use crate::model::{Annotations, Labels, TimestampMs};
use crate::promql::service::QueryFailure;
use crate::storage::Limit;
use crate::web::encoding::ContentEncoding;
use crate::web::form::Form;
use crate::web::routes::Web;

pub(super) async fn labels(State(web): State<Arc<Web>>, request: Request) -> Response<Body> {
    let encoding = ContentEncoding::accepted(request.headers());
    respond(label_names(&web, request).await, encoding)
}

async fn label_names(web: &Web, request: Request) -> Result<Answer, ApiError> {
    let asked = Asked::read(web, request).await?;
    let (names, annotations) =
        asked.frontend.label_names(&asked.lists, asked.admitted.scope()).await.map_err(QueryFailure::from)?;
    Ok(texts(names.into_iter().collect(), annotations, asked.limit))
}

pub(super) async fn label_values(
    State(web): State<Arc<Web>>,
    Path(name): Path<String>,
    request: Request,
) -> Response<Body> {
    let encoding = ContentEncoding::accepted(request.headers());
    respond(values(&web, &name, request).await, encoding)
}

async fn values(web: &Web, name: &str, request: Request) -> Result<Answer, ApiError> {
    let name = unescaped(name)?;
    let asked = Asked::read(web, request).await?;
    let (values, annotations) =
        asked.frontend.label_values(&name, &asked.lists, asked.admitted.scope()).await.map_err(QueryFailure::from)?;
    Ok(texts(values.into_iter().collect(), annotations, asked.limit))
}

pub(super) async fn series(State(web): State<Arc<Web>>, request: Request) -> Response<Body> {
    let encoding = ContentEncoding::accepted(request.headers());
    respond(all_series(&web, request).await, encoding)
}

async fn all_series(web: &Web, request: Request) -> Result<Answer, ApiError> {
    let asked = Asked::read(web, request).await?;
    if asked.lists.selectors.is_empty() {
        return Err(ApiError::new(ErrorKind::BadData, "no match[] parameter provided"));
    }
    let (series, annotations) =
        asked.frontend.series(&asked.lists, asked.admitted.scope()).await.map_err(QueryFailure::from)?;
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
    admitted: Admitted,
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
        let admitted = web.cluster.admit(&web.deps.queries).await?;
        Ok(Asked { frontend, lists, limit, admitted })
    }
}

fn texts(texts: Vec<String>, annotations: Annotations, limit: Limit) -> Answer {
    let (texts, annotations) = limited(texts, annotations, limit);
    Answer::annotated(&texts, annotations)
}

pub(super) fn limited<T>(mut all: Vec<T>, mut annotations: Annotations, limit: Limit) -> (Vec<T>, Annotations) {
    if let Some(limit) = limit.filter(|limit| all.len() > *limit) {
        all.truncate(limit);
        warn_truncated(&mut annotations);
    }
    (all, annotations)
}
