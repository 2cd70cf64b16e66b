//! `/federate`: the newest sample of every selected series, streamed.
//!
//! On purpose unlike the reference: a request without `match[]` is refused with a sentence instead of being answered with
//! nothing, because a scrape that succeeds without data hides a mistake in somebody's configuration.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use tokio::time::Instant;

use super::encoding::{ContentEncoding, plain};
use super::form::Form;
use super::routes::Web;
use super::shim as federate;
use super::stream::{Plan, StreamError, WriteError};
use crate::storage::{QueryError, Scope, SelectRequest, Selector, TimeRange};

const NO_SELECTOR: &str =
    "no match[] parameter provided; select series like /federate?match[]={job=\"node\"} (one or more times)\n";

pub(super) async fn federate(State(web): State<Arc<Web>>, request: Request) -> Response<Body> {
    if let Some(unavailable) = web.unavailable() {
        return unavailable;
    }
    let form = Form::parse(request.uri().query().unwrap_or(""));
    let selectors = match read_selectors(&form) {
        Ok(selectors) => selectors,
        Err(reason) => return plain(StatusCode::BAD_REQUEST, reason),
    };
    let deadline = (Instant::now() + web.config.answer_timeout).into_std();
    let plan = Plan {
        content_type: "text/plain; version=0.0.4; charset=utf-8".to_owned(),
        encoding: ContentEncoding::accepted(request.headers()),
        scope: Scope::new(Some(deadline), u64::MAX, u64::MAX),
        metrics: web.metrics.stream("/federate"),
    };

    let job = (web.clone(), plan.scope.clone());
    let answer = web.streams.answer(plan, move |out| write(&job.0, &job.1, &selectors, out)).await;
    answer.unwrap_or_else(|error| {
        let status = match &error {
            StreamError::Busy => StatusCode::SERVICE_UNAVAILABLE,
            StreamError::Failed(WriteError::Query(QueryError::NotReady(_) | QueryError::Cancelled(_))) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            StreamError::Failed(_) | StreamError::Lost => StatusCode::INTERNAL_SERVER_ERROR,
        };
        plain(status, format!("{error}\n"))
    })
}

fn read_selectors(form: &Form) -> Result<Vec<Selector>, String> {
    form.well_formed().map_err(|error| format!("{error}\n"))?;
    match form.selectors() {
        Ok(selectors) if selectors.is_empty() => Err(NO_SELECTOR.to_owned()),
        Ok(selectors) => Ok(selectors),
        Err(error) => Err(format!("{error}\n")),
    }
}

fn write(web: &Web, scope: &Scope, selectors: &[Selector], out: &mut dyn std::io::Write) -> Result<(), WriteError> {
    let now = web.deps.clock.now();
    let range = TimeRange { min: now - web.config.lookback, max: now };
    let request = SelectRequest { selectors, range, sorted: true, limit: None };
    let external = web.deps.external_labels.load_full();
    let written = web
        .deps
        .storage
        .select_latest(scope, &request)
        .map_err(WriteError::from)
        .and_then(|mut stream| federate::write_text(&mut *stream, &external, out));
    match written {
        Ok(end) => {
            web.metrics.federated_series.add(end.stats.series);
            for warning in end.annotations.of(crate::model::AnnotationKind::Warning) {
                web.metrics.federate_warnings.inc();
                tracing::warn!(%warning, "a read for /federate was not complete");
            }
            Ok(())
        }
        Err(error) => {
            web.metrics.federate_errors.inc();
            Err(error)
        }
    }
}
