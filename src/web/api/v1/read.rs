//! Remote read: `POST /api/v1/read`.
//!
//! Reads wait for their turn in the order in which they came, and are answered on threads of their own, so that slow
//! readers take none from `/federate` and the rest of the API. The threads are started by the first read.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::CONTENT_ENCODING;
use axum::http::{HeaderValue, Response, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::cluster::{Credentials, Frontend};
use crate::model::{AnnotationKind, Labels};
use crate::remote::read::{
    Limits, ReadRequest, RequestError, ResponseKind, SAMPLES_TYPE, STREAMED_TYPE, ServeError, Served, Source, serve,
};
use crate::remote::snappy;
use crate::runtime::Tasks;
use crate::storage::Scope;
use crate::telemetry::{Counter, Gauge, Registry};
use crate::web::config::WebConfig;
use crate::web::encoding::{ContentEncoding, plain};
use crate::web::routes::Web;
use crate::web::stream::{Plan, Sink, Streams, WriteError};

/// Bytes of an unpacked request: hundreds of times what the longest queries of dashboards need.
const REQUEST_MAX: usize = 4 << 20;

/// The desk for remote reads.
pub(in crate::web) struct Reads {
    gate: Arc<Semaphore>,
    threads: usize,
    timeout: Duration,
    tasks: Tasks,
    streams: OnceLock<Streams>,
    queries: Gauge,
    series: Counter,
    samples: Counter,
    warnings: Counter,
}

impl Reads {
    pub(in crate::web) fn new(config: &WebConfig, registry: &Registry, tasks: &Tasks) -> Reads {
        let threads = config.remote_read.concurrent.max(1);
        let counter = |name, help| registry.counter(name, help, &[]);
        Reads {
            gate: Arc::new(Semaphore::new(threads)),
            threads,
            timeout: config.answer_timeout,
            tasks: tasks.clone(),
            streams: OnceLock::new(),
            queries: registry.gauge(
                "watershed_remote_read_handler_queries",
                "Remote reads that are being answered or wait for it.",
                &[],
            ),
            series: counter("watershed_remote_read_handler_series_total", "Series sent in answers to remote reads."),
            samples: counter("watershed_remote_read_handler_samples_total", "Samples sent in answers to remote reads."),
            warnings: counter("watershed_remote_read_handler_warnings_total", "Warnings of reads for remote reads."),
        }
    }

    fn streams(&self) -> io::Result<&Streams> {
        begun(&self.streams, || Streams::new(self.threads, self.timeout, self.tasks.clone()))
    }

    async fn admit(&self) -> Option<OwnedSemaphorePermit> {
        tokio::time::timeout(self.timeout, self.gate.clone().acquire_owned()).await.ok()?.ok()
    }
}

/// What is there, or else what begins now. If another was faster, its work is used and this one's threads end.
pub(super) fn begun<T>(place: &OnceLock<T>, begin: impl FnOnce() -> io::Result<T>) -> io::Result<&T> {
    match place.get() {
        Some(begun) => Ok(begun),
        None => begin().map(|new| place.get_or_init(|| new)),
    }
}

/// Counts a read from its arrival to its answer's beginning, also if its client goes away.
struct Waiting<'a>(&'a Gauge);

impl<'a> Waiting<'a> {
    fn new(gauge: &'a Gauge) -> Waiting<'a> {
        gauge.add(1.0);
        Waiting(gauge)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.add(-1.0);
    }
}

pub(super) async fn read(State(web): State<Arc<Web>>, request: Request) -> Response<Body> {
    respond(web, request, Samples::Local).await
}

/// Whose samples are read.
pub(super) enum Samples {
    /// Ours, with our external labels.
    Local,
    /// Those of all members of a cluster, in the name of a client.
    Members { frontend: Arc<Frontend>, credentials: Credentials },
}

impl Samples {
    fn path(&self) -> &'static str {
        match self {
            Samples::Local => "/api/v1/read",
            Samples::Members { .. } => "/prometheus/api/v1/read",
        }
    }

    fn reads<'w>(&self, web: &'w Web) -> &'w Reads {
        match self {
            Samples::Local => &web.reads,
            Samples::Members { .. } => &web.cluster.reads,
        }
    }
}

/// Answers a remote read.
pub(super) async fn respond(web: Arc<Web>, request: Request, samples: Samples) -> Response<Body> {
    answer(web, request, samples).await.unwrap_or_else(|(status, text)| plain(status, format!("{text}\n")))
}

type Refusal = (StatusCode, String);

async fn answer(web: Arc<Web>, request: Request, samples: Samples) -> Result<Response<Body>, Refusal> {
    let internal = |error: String| (StatusCode::INTERNAL_SERVER_ERROR, error);
    let packed = receive(&web, request.into_body()).await?;
    let reads = samples.reads(&web);
    let _waiting = Waiting::new(&reads.queries);
    let busy =
        || (StatusCode::SERVICE_UNAVAILABLE, "too many remote reads at the same time; try again later".to_owned());
    let permit = reads.admit().await.ok_or_else(busy)?;
    // Compiling hostile expressions takes its time, which is not the connections'.
    let decoded = web.deps.pool.run(move || decode(&packed)).await.map_err(|lost| internal(lost.to_string()))?;
    let (request, kind) = decoded.map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
    let deadline = (Instant::now() + web.config.answer_timeout).into_std();
    let scope = Scope::new(Some(deadline), u64::MAX, web.config.remote_read.held_bytes);
    let plan = Plan {
        content_type: match kind {
            ResponseKind::Samples => SAMPLES_TYPE,
            ResponseKind::StreamedChunks => STREAMED_TYPE,
        },
        encoding: ContentEncoding::Identity,
        scope: scope.clone(),
        metrics: web.metrics.stream(samples.path()),
        question: None,
    };
    let streams = reads.streams().map_err(|error| internal(error.to_string()))?;
    let work = Work { web: web.clone(), samples, request, kind, scope, _permit: permit };
    let answered = streams.answer(plan, move |out, _| work.write(out)).await;
    let mut response = answered.map_err(|error| (error.status(), error.to_string()))?;
    if kind == ResponseKind::Samples {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
    }
    Ok(response)
}

/// Reads the packed request.
async fn receive(web: &Web, body: Body) -> Result<bytes::Bytes, Refusal> {
    let limit = web.config.form_limit;
    let body = tokio::time::timeout(web.config.read_timeout, to_bytes(body, limit)).await;
    let body = body.map_err(|_| (StatusCode::REQUEST_TIMEOUT, "the request's body came too slowly".to_owned()))?;
    body.map_err(|error| {
        let source = std::error::Error::source(&error);
        match source.is_some_and(|e| e.is::<http_body_util::LengthLimitError>()) {
            true => (StatusCode::PAYLOAD_TOO_LARGE, format!("the request's body is larger than {limit} bytes")),
            false => (StatusCode::BAD_REQUEST, "the request's body ended early".to_owned()),
        }
    })
}

fn decode(packed: &[u8]) -> Result<(ReadRequest, ResponseKind), RequestError> {
    let mut message = Vec::new();
    snappy::decode(packed, REQUEST_MAX, &mut message)?;
    let request = ReadRequest::decode(&message)?;
    let kind = ResponseKind::negotiate(&request.accepted)?;
    Ok((request, kind))
}

/// One answer.
struct Work {
    web: Arc<Web>,
    samples: Samples,
    request: ReadRequest,
    kind: ResponseKind,
    scope: Scope,
    _permit: OwnedSemaphorePermit,
}

impl Work {
    fn write(&self, out: &mut dyn Sink) -> Result<(), WriteError> {
        let scope = &self.scope;
        let served = match &self.samples {
            Samples::Local => {
                let external = self.web.deps.external_labels.load_full();
                self.serve(Source { storage: &*self.web.deps.storage, scope, external: &external }, out)
            }
            Samples::Members { frontend, credentials } => frontend.read(credentials, scope, |storage| {
                self.serve(Source { storage, scope, external: &Labels::empty() }, out)
            }),
        };
        let Served { series, samples, annotations } = served?;
        let reads = self.samples.reads(&self.web);
        reads.series.add(series);
        reads.samples.add(samples);
        for warning in annotations.of(AnnotationKind::Warning) {
            reads.warnings.inc();
            tracing::warn!(%warning, "the answer to a remote read was not complete");
        }
        Ok(())
    }

    fn serve(&self, source: Source<'_>, out: &mut dyn Sink) -> Result<Served, ServeError> {
        let limits: &Limits = &self.web.config.remote_read.limits;
        serve(self.kind, &self.request, source, limits, &mut |buffer| out.take(buffer))
    }
}

impl From<ServeError> for WriteError {
    fn from(error: ServeError) -> WriteError {
        match error {
            ServeError::Query(error) => WriteError::Query(error),
            ServeError::Sink(error) => WriteError::Client(error),
            ServeError::Samples(_) | ServeError::Bytes(_) | ServeError::Packing(_) => {
                WriteError::BadRequest(error.to_string())
            }
        }
    }
}
