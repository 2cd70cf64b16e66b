//! `labels`, `label/NAME/values` and `series` of all members.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::Response;

use super::super::json::LabelMap;
use super::super::labels::{unescaped, warn_truncated};
use super::super::reply::{Answer, ApiError, ErrorKind};
use super::asked::Asked;
use super::desk::Admitted;
use super::respond;
use crate::cluster::{Frontend, Lists};
use crate::model::{Annotations, Labels};
use crate::promql::service::QueryFailure;
use crate::storage::Limit;
use crate::web::encoding::ContentEncoding;
use crate::web::routes::Web;

pub(super) async fn labels(State(web): State<Arc<Web>>, request: Request) -> Response<Body> {
    let encoding = ContentEncoding::accepted(request.headers());
    respond(label_names(web, request).await, encoding)
}

async fn label_names(web: Arc<Web>, request: Request) -> Result<Answer, ApiError> {
    let asked = Listed::read(web, request).await?;
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
    respond(values(web, &name, request).await, encoding)
}

async fn values(web: Arc<Web>, name: &str, request: Request) -> Result<Answer, ApiError> {
    let name = unescaped(name)?;
    let asked = Listed::read(web, request).await?;
    let (values, annotations) =
        asked.frontend.label_values(&name, &asked.lists, asked.admitted.scope()).await.map_err(QueryFailure::from)?;
    Ok(texts(values.into_iter().collect(), annotations, asked.limit))
}

pub(super) async fn series(State(web): State<Arc<Web>>, request: Request) -> Response<Body> {
    let encoding = ContentEncoding::accepted(request.headers());
    respond(all_series(web, request).await, encoding)
}

async fn all_series(web: Arc<Web>, request: Request) -> Result<Answer, ApiError> {
    let asked = Listed::read(web, request).await?;
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
struct Listed {
    frontend: Arc<Frontend>,
    lists: Lists,
    limit: Limit,
    admitted: Admitted,
}

impl Listed {
    async fn read(web: Arc<Web>, request: Request) -> Result<Listed, ApiError> {
        let asked = Asked::read(web, request).await?;
        let (start, end, limit) = (asked.time("start")?, asked.time("end")?, asked.form.limit()?);
        let Asked { web, frontend, client, form, admitted } = asked;
        // Compiling hostile expressions takes its time, which is not the connections'.
        let selectors = web.deps.pool.run(move || form.narrowing_selectors()).await;
        let selectors = selectors.map_err(|lost| ApiError::new(ErrorKind::Internal, lost.to_string()))??;
        let lists = Lists { selectors, start, end, credentials: client.credentials };
        Ok(Listed { frontend, lists, limit, admitted })
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
