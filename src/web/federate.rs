//! `/federate`: the newest sample of every selected series, streamed.
//!
//! On purpose unlike the reference: a request without `match[]` is refused with a sentence instead of being answered with
//! nothing, because a scrape that succeeds without data hides a mistake in somebody's configuration.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::ACCEPT;
use axum::http::{Response, StatusCode};
use tokio::time::Instant;

use super::deps::Deps;
use super::encoding::{ContentEncoding, plain};
use super::form::Form;
use super::routes::Web;
use super::stream::{Plan, Sink, StreamError, WriteError};
use crate::federate::{FederateError, Format, Written, negotiate, write_text};
use crate::model::AnnotationKind;
use crate::storage::{QueryError, Scope, SelectRequest, Selector, TimeRange};

const NO_SELECTOR: &str =
    "no match[] parameter provided; select series like /federate?match[]={job=\"node\"} (one or more times)";

pub(super) async fn federate(State(web): State<Arc<Web>>, request: Request) -> Response<Body> {
    if let Some(unavailable) = web.unavailable() {
        return unavailable;
    }
    let form = Form::parse(request.uri().query().unwrap_or(""));
    let deadline = (Instant::now() + web.config.answer_timeout).into_std();
    let accept = request.headers().get(ACCEPT).and_then(|v| v.to_str().ok());
    let format = negotiate(accept.unwrap_or(""));
    let plan = Plan {
        content_type: format.content_type(),
        encoding: ContentEncoding::accepted(request.headers()),
        scope: Scope::new(Some(deadline), u64::MAX, u64::MAX),
        metrics: web.metrics.stream("/federate"),
    };
    let reading = Reading { web: web.clone(), scope: plan.scope.clone(), form, format };
    let answer = web.streams.answer(plan, move |out| reading.write(out)).await;
    answer.unwrap_or_else(|error| {
        let status = match &error {
            StreamError::Failed(WriteError::BadRequest(_)) => StatusCode::BAD_REQUEST,
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
    form.well_formed().map_err(|error| error.to_string())?;
    match form.selectors() {
        Ok(selectors) if selectors.is_empty() => Err(NO_SELECTOR.to_owned()),
        Ok(selectors) => Ok(selectors),
        Err(error) => Err(error.to_string()),
    }
}

/// One answer's read.
struct Reading {
    web: Arc<Web>,
    scope: Scope,
    form: Form,
    format: Format,
}

impl Reading {
    fn write(&self, out: &mut dyn Sink) -> Result<(), WriteError> {
        // Compiling hostile expressions takes its time, which is not the connections'.
        let selectors = read_selectors(&self.form).map_err(WriteError::BadRequest)?;
        let metrics = &self.web.metrics;
        let written = self.read(&selectors, out).inspect_err(|_| metrics.federate_errors.inc())?;
        metrics.federated_series.add(written.series);
        metrics.federate_nameless.add(written.nameless);
        for warning in written.end.annotations.of(AnnotationKind::Warning) {
            metrics.federate_warnings.inc();
            tracing::warn!(%warning, "a read for /federate was not complete");
        }
        Ok(())
    }

    fn read(&self, selectors: &[Selector], out: &mut dyn Sink) -> Result<Written, WriteError> {
        let Deps { storage, clock, external_labels, .. } = &self.web.deps;
        let now = clock.now();
        let range = TimeRange { min: now - self.web.config.lookback, max: now };
        let request = SelectRequest { selectors, range, sorted: true, limit: None };
        let mut stream = storage.select_latest(&self.scope, &request)?;
        let external = external_labels.load_full();
        Ok(write_text(&mut *stream, &external, self.format, &mut |buffer| out.take(buffer))?)
    }
}

impl From<FederateError> for WriteError {
    fn from(error: FederateError) -> WriteError {
        match error {
            FederateError::Query(error) => WriteError::Query(error),
            FederateError::Sink(error) => WriteError::Client(error),
        }
    }
}
