//! `/federate`: the newest sample of every selected series, streamed.
//!
//! | parameter | meaning |
//! |---|---|
//! | `match[]` | selectors, at least one; a series that satisfies any is sent |
//! | `limit` | so many series at most; 0 or nothing: all |
//! | `source` | `local` (the default): our own store; `cluster`: what the cluster frontend sees, where that can be federated |
//!
//! What the head has is read and sent batch by batch. Members' series come in any order, so they are all held before the
//! first is sent, within the bytes that one answer may hold: 400 tells of more.
//!
//! On purpose unlike the reference, which knows only `match[]`: a request without it is refused with a sentence instead of
//! being answered with nothing, because a scrape that succeeds without data hides a mistake in somebody's configuration.

use std::cell::Cell;
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
use super::stream::{Place, Plan, Sink, WriteError};
use crate::cluster::{Credentials, Frontend, check_loop};
use crate::federate::{Answer, BodyFormat, FederateError, Format, Written, negotiate, write};
use crate::model::{AnnotationKind, Labels, Metadata};
use crate::storage::{Limit, QueryError, Queryable, Scope, SelectRequest, Selector, SeriesExemplars, TimeRange};

const NO_SELECTOR: &str =
    "no match[] parameter provided; select series like /federate?match[]={job=\"node\"} (one or more times)";

pub(super) async fn federate(State(web): State<Arc<Web>>, request: Request) -> Response<Body> {
    if let Some(unavailable) = web.unavailable() {
        return unavailable;
    }
    let form = Form::parse(request.uri().query().unwrap_or(""));
    let cluster = match form.first("source") {
        "cluster" => web.deps.cluster.load_full(),
        _ => None,
    };
    if cluster.is_some()
        && let Err(error) = check_loop(request.headers())
    {
        return plain(StatusCode::LOOP_DETECTED, format!("{error}\n"));
    }
    let deadline = (Instant::now() + web.config.answer_timeout).into_std();
    let accept = request.headers().get(ACCEPT).and_then(|v| v.to_str().ok());
    let format = negotiate(accept.unwrap_or(""));
    // What the head has is read batch by batch, however much it is. What members have is gathered first.
    let max_bytes = cluster.as_ref().map_or(u64::MAX, |_| web.config.remote_read.held_bytes);
    let encoding = ContentEncoding::accepted(request.headers());
    // Members are waited for, and so would be whoever changes the store.
    let is_prompt = cluster.is_none() && web.deps.local.is_prompt();
    let question = || web.streams.question((request.uri().query(), format.content_type(), encoding));
    let plan = Plan {
        content_type: format.content_type(),
        encoding,
        scope: Scope::new(Some(deadline), u64::MAX, max_bytes),
        metrics: web.metrics.stream("/federate"),
        question: is_prompt.then(question),
    };
    // What waits for members keeps no threads from the local data.
    let streams = match &cluster {
        Some(_) => web.cluster.streams(),
        None => Ok(&web.streams),
    };
    let streams = match streams {
        Ok(streams) => streams,
        Err(error) => return plain(StatusCode::INTERNAL_SERVER_ERROR, format!("starting threads: {error}\n")),
    };
    let cluster = cluster.map(|frontend| (frontend.forwarded(request.headers()), frontend));
    let reading = Reading { web: web.clone(), cluster, scope: plan.scope.clone(), form, format };
    let answer = streams.answer(plan, move |out, place| reading.write(out, place)).await;
    answer.unwrap_or_else(|error| plain(error.status(), format!("{error}\n")))
}

const NO_CLUSTER: &str =
    "source=cluster asks for the view of the cluster frontend, which is not configured here for /federate";

/// Whose series are asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Local,
    Cluster,
}

/// The parameters of a request.
struct Wanted {
    selectors: Vec<Selector>,
    limit: Limit,
    source: Source,
}

impl Wanted {
    fn read(form: &Form) -> Result<Wanted, String> {
        form.well_formed().map_err(|error| error.to_string())?;
        let selectors = form.selectors().map_err(|error| error.to_string())?;
        if selectors.is_empty() {
            return Err(NO_SELECTOR.to_owned());
        }
        let limit = form.limit().map_err(|error| error.to_string())?;
        let source = match form.first("source") {
            "" | "local" => Source::Local,
            "cluster" => Source::Cluster,
            other => {
                return Err(format!("invalid parameter \"source\": {other:?} is neither \"local\" nor \"cluster\""));
            }
        };
        Ok(Wanted { selectors, limit, source })
    }
}

/// One answer's read.
struct Reading {
    web: Arc<Web>,
    /// Who is asked for what members have, and in whose name.
    cluster: Option<(Credentials, Arc<Frontend>)>,
    scope: Scope,
    form: Form,
    format: Format,
}

impl Reading {
    fn write(&self, out: &mut dyn Sink, place: Place) -> Result<(), WriteError> {
        // Compiling hostile expressions takes its time, which is not the connections': a question that has some is never short.
        let wanted = Wanted::read(&self.form).map_err(WriteError::BadRequest)?;
        let metrics = &self.web.metrics;
        let written = self.read(&wanted, out, place).inspect_err(|error| {
            if !error.is_provisional() {
                metrics.federate_errors.inc();
            }
        })?;
        metrics.federated_series.add(written.series);
        metrics.federate_nameless.add(written.nameless);
        metrics.federate_histograms_left_out.add(written.histograms_left_out);
        for warning in written.end.annotations.of(AnnotationKind::Warning) {
            metrics.federate_warnings.inc();
            tracing::warn!(%warning, "a read for /federate was not complete");
        }
        Ok(())
    }

    fn read(&self, wanted: &Wanted, out: &mut dyn Sink, place: Place) -> Result<Written, WriteError> {
        match (wanted.source, &self.cluster) {
            (Source::Local, _) => {
                let external = self.web.deps.external_labels.load_full();
                self.write_from(&*self.web.deps.local, wanted, &external, out, place)
            }
            // Members' series have labels of their own clusters, and are not ours.
            (Source::Cluster, Some((credentials, frontend))) => frontend.read(credentials, &self.scope, |samples| {
                self.write_from(samples, wanted, &Labels::empty(), out, place)
            }),
            (Source::Cluster, None) => Err(WriteError::BadRequest(NO_CLUSTER.to_owned())),
        }
    }

    fn write_from(
        &self,
        source: &dyn Queryable,
        wanted: &Wanted,
        external: &Labels,
        out: &mut dyn Sink,
        place: Place,
    ) -> Result<Written, WriteError> {
        let Deps { clock, targets, .. } = &self.web.deps;
        let now = clock.now();
        let range = TimeRange { min: now - self.web.config.lookback, max: now };
        let request = SelectRequest { selectors: &wanted.selectors, range, sorted: true, limit: wanted.limit };
        let mut stream = source.select_latest(&self.scope, &request)?;
        let must_wait = Cell::new(false);
        let lookup = |family: &str| -> Option<Metadata> {
            match (wanted.source, place) {
                (Source::Local, Place::Thread) => targets.family(family),
                (Source::Local, Place::Here) => targets.try_family(family).unwrap_or_else(|| {
                    must_wait.set(true);
                    None
                }),
                // What our own targets say does not tell about the members of a cluster.
                (Source::Cluster, _) => None,
            }
        };
        let answer =
            Answer { format: self.format, external, lookup: &lookup, exemplars: self.exemplars(wanted, range)? };
        let written = write(&mut *stream, answer, &mut |buffer| out.take(buffer))?;
        if must_wait.get() {
            place.wait()?;
        }
        Ok(written)
    }

    fn exemplars(&self, wanted: &Wanted, range: TimeRange) -> Result<Vec<SeriesExemplars>, QueryError> {
        match (self.format.body, wanted.source) {
            (BodyFormat::Text004 | BodyFormat::Text100, _) | (_, Source::Cluster) => Ok(Vec::new()),
            _ => self.web.deps.exemplars.select_exemplars(&wanted.selectors, range),
        }
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
