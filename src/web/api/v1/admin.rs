//! `admin/tsdb/*`: deleting and copying what is stored. Off unless enabled, because it undoes what cannot be redone.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use axum::routing::{MethodRouter, post};
use serde::Serialize;

use super::labels::time_range;
use super::reply::{Answer, ApiError, ErrorKind};
use super::{Call, Endpoint, run};
use crate::storage::AdminError;
use crate::web::config::AdminApi;
use crate::web::form::ParamError;
use crate::web::routes::Web;

/// The work goes on when the client goes away: half a deletion helps nobody.
pub(super) fn route(f: Endpoint) -> MethodRouter<Arc<Web>> {
    let handle = move |state: State<Arc<Web>>, request: Request| enabled(state, request, f);
    post(handle).put(handle)
}

async fn enabled(State(web): State<Arc<Web>>, request: Request, f: Endpoint) -> Response<Body> {
    match web.config.admin_api {
        AdminApi::Enabled => run(State(web), request, f).await,
        AdminApi::Disabled => ApiError::new(ErrorKind::Unavailable, "admin APIs disabled").respond(),
    }
}

/// Marks samples as deleted; all of time unless `start` and `end` say otherwise.
pub(super) fn delete_series(call: &Call) -> Result<Answer, ApiError> {
    call.form.well_formed()?;
    if call.form.all("match[]").next().is_none() {
        return Err(ApiError::new(ErrorKind::BadData, "no match[] parameter provided"));
    }
    let range = time_range(call)?;
    let selectors = call.form.narrowing_selectors().map_err(|e| ParamError::of("match[]", e))?;
    call.web.deps.admin.delete(&selectors, range)?;
    Ok(Answer::nothing())
}

/// Removes from disk what was deleted.
pub(super) fn clean_tombstones(call: &Call) -> Result<Answer, ApiError> {
    call.web.deps.admin.clean_tombstones()?;
    Ok(Answer::nothing())
}

/// Copies the store; `skip_head=true` leaves out what is not in blocks yet.
pub(super) fn snapshot(call: &Call) -> Result<Answer, ApiError> {
    #[derive(Serialize)]
    struct Snapshot {
        name: String,
    }
    let skip_head = call.form.boolean("skip_head")?;
    Ok(Answer::of(&Snapshot { name: call.web.deps.admin.snapshot(!skip_head)? }))
}

impl From<AdminError> for ApiError {
    fn from(error: AdminError) -> ApiError {
        ApiError::new(ErrorKind::Internal, error.to_string())
    }
}
