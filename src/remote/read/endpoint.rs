//! A server that is asked by remote read.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::Handle;

use super::answer::Asked;
use super::config::EndpointConfig;
use super::incoming::{EndpointError, Stopped, channel};
use super::metrics::Metrics;
use super::stream::EndpointStream;
use super::wire::{Hints, LABELS_ONLY, Query, ReadRequest, ResponseKind};
use crate::model::{Annotations, Labels, MatchOp, Matcher, TimestampMs};
use crate::net::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use crate::net::{Admitted, Breaker, BreakerLimits, Client, ClientError, Method, Request};
use crate::remote::snappy;
use crate::runtime::Tasks;
use crate::storage::newest::NewestRows;
use crate::storage::{
    BoxedLatest, BoxedSeries, LabelRequest, LabelTexts, Limit, Nothing, QueryError, Queryable, Scope, Secondary,
    SelectRequest, Selector, SeriesBatch, SeriesStream, StreamStep, TimeRange,
};
use crate::telemetry::Registry;

const VERSION: HeaderName = HeaderName::from_static("x-prometheus-remote-read-version");
const SNAPPY: HeaderValue = HeaderValue::from_static("snappy");

/// One lost packet must not open the breaker, a dead server should after a dashboard's first load; the first pause is shorter
/// than most intervals of dashboards.
const BREAKER: BreakerLimits =
    BreakerLimits { failures: 5, pause_min: Duration::from_secs(5), pause_max: Duration::from_secs(60) };

/// From when on the local store has everything; what is later need not be asked of others.
pub type LocalStart = Arc<dyn Fn() -> TimestampMs + Send + Sync>;

/// What an endpoint needs of others.
#[derive(Clone)]
pub struct Deps {
    /// For its metrics.
    pub registry: Registry,
    /// Owns its transfers.
    pub tasks: Tasks,
    /// Asked at every read, unless the endpoint is read for recent samples, too.
    pub local_start: LocalStart,
}

/// A server that is asked by remote read. Reads block the thread that pulls them, so they belong on threads for work, not
/// on those of an async runtime. Cloning gives another handle to the same endpoint.
#[derive(Clone)]
pub struct Endpoint {
    inner: Arc<Inner>,
    /// Sent besides the configured headers, which they replace.
    further: Arc<HeaderMap>,
    meter: Option<Arc<AtomicU64>>,
}

struct Inner {
    config: EndpointConfig,
    client: Client,
    headers: HeaderMap,
    runtime: Handle,
    deps: Deps,
    breaker: Breaker,
    metrics: Metrics,
}

impl Endpoint {
    /// Checks how the endpoint is asked; nothing is sent. To be called within the runtime that is to carry its transfers.
    pub fn new(config: EndpointConfig, deps: Deps) -> Result<Endpoint, ClientError> {
        let client = Client::new(&config.client, &config.name)?;
        let headers = headers(&config)?;
        let metrics = Metrics::new(&deps.registry, &config.name);
        let (runtime, breaker) = (Handle::current(), Breaker::new(BREAKER));
        let inner = Arc::new(Inner { config, client, headers, runtime, deps, breaker, metrics });
        Ok(Endpoint { inner, further: Arc::default(), meter: None })
    }

    /// The same endpoint, asked with these headers besides the configured ones, which they replace.
    pub fn with_headers(&self, further: Arc<HeaderMap>) -> Endpoint {
        Endpoint { further, ..self.clone() }
    }

    /// The same endpoint; the bytes that come are counted there, too.
    pub fn with_meter(&self, meter: Option<Arc<AtomicU64>>) -> Endpoint {
        Endpoint { meter, ..self.clone() }
    }

    /// How it is asked.
    pub fn config(&self) -> &EndpointConfig {
        &self.inner.config
    }

    /// What is to be asked for a read; `None` if nothing is.
    fn asked(&self, selectors: &[Selector], range: TimeRange, labels_only: bool) -> Option<Vec<Asked>> {
        let config = &self.inner.config;
        let mut range = range;
        if !config.read_recent {
            let start = (self.inner.deps.local_start)();
            if range.min > start {
                return None;
            }
            range.max = range.max.min(start);
        }
        let has_required = |selector: &&Selector| {
            let has = |(name, value)| selector.contains(&Matcher::equal(name, value));
            config.required.iter().all(has)
        };
        let asked = selectors.iter().filter(has_required).map(|selector| {
            let (selector, dropped) = with_external(selector, &config.external);
            Asked { range, selector, dropped, labels_only }
        });
        let asked: Vec<Asked> = asked.collect();
        (!asked.is_empty() && range.min <= range.max).then_some(asked)
    }

    fn open_asked(
        &self,
        scope: &Scope,
        asked: Vec<Asked>,
        sorted: bool,
        limit: Limit,
    ) -> Result<EndpointStream, QueryError> {
        scope.check()?;
        let inner = &self.inner;
        let admitted = inner.breaker.admit(Instant::now()).map_err(|resting| {
            let error = EndpointError::Resting(resting);
            inner.metrics.count(error.outcome());
            inner.failure(&error)
        })?;
        let attempt = Attempt::new(inner.clone(), admitted, self.meter.clone());
        let mut request = inner.request(&asked).map_err(|error| inner.failure(&error))?;
        for (name, value) in &*self.further {
            request.headers.insert(name, value.clone());
        }
        let (transfer, incoming) = channel(scope);
        let stop = inner.deps.tasks.stopping();
        let work = transfer.run(inner.client.clone(), request);
        let _context = inner.runtime.enter();
        inner.deps.tasks.spawn("remote-read", async move {
            // Who reads learns of the end by the queue's.
            let _ended = stop.run_until_cancelled(work).await;
        });
        Ok(EndpointStream::new(attempt, incoming, asked, scope, sorted, limit))
    }

    /// Collects what `add` takes from the labels of all selected series.
    fn labels(
        &self,
        scope: &Scope,
        request: &LabelRequest<'_>,
        add: impl Fn(&Labels, &mut BTreeSet<String>),
    ) -> Result<LabelTexts, QueryError> {
        let mut annotations = Annotations::none();
        if request.selectors.is_empty() {
            // Servers that do not know the hint would send everything that they have.
            let name = &self.inner.config.name;
            annotations.warn(format!("{name}: labels are read from remote servers only together with a selector"));
            return Ok((Vec::new(), annotations));
        }
        let mut found = BTreeSet::new();
        if let Some(asked) = self.asked(request.selectors, request.range, true) {
            let mut stream = self.open_asked(scope, asked, false, None)?;
            let mut batch = SeriesBatch::default();
            while let StreamStep::Batch = stream.next(&mut batch)? {
                let size = batch.size();
                batch.series.iter().for_each(|series| add(&series.labels, &mut found));
                scope.release(size.samples, size.bytes);
            }
        }
        Ok((found.into_iter().take(request.limit.unwrap_or(usize::MAX)).collect(), annotations))
    }
}

fn headers(config: &EndpointConfig) -> Result<HeaderMap, ClientError> {
    let mut headers = HeaderMap::new();
    for (name, value) in &config.headers {
        let unusable = || ClientError::Config(format!("the header {name:?} cannot be sent"));
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unusable())?;
        let mut value = HeaderValue::from_str(value).map_err(|_| unusable())?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(super::SAMPLES_TYPE));
    headers.insert(CONTENT_ENCODING, SNAPPY);
    headers.insert(ACCEPT_ENCODING, SNAPPY);
    headers.insert(VERSION, HeaderValue::from_static("0.1.0"));
    Ok(headers)
}

/// A selector with the external labels that it does not name itself, and the names of those.
fn with_external(selector: &Selector, external: &Labels) -> (Selector, Vec<Box<str>>) {
    let (mut selector, mut added) = (selector.clone(), Vec::new());
    for (name, value) in external {
        if selector.iter().all(|matcher| *matcher.name != *name) {
            selector.push(Matcher::equal(name, value));
            added.push(Box::from(name));
        }
    }
    (selector, added)
}

impl Inner {
    fn request(&self, asked: &[Asked]) -> Result<Request, EndpointError> {
        let query = |asked: &Asked| Query {
            range: asked.range,
            selector: asked.selector.clone(),
            hints: asked.labels_only.then(|| Hints { range: asked.range, function: LABELS_ONLY.to_owned() }),
        };
        let accepted = [ResponseKind::StreamedChunks, ResponseKind::Samples].map(ResponseKind::number).to_vec();
        let message = ReadRequest { queries: asked.iter().map(query).collect(), accepted }.encode();
        let mut body = Vec::new();
        snappy::encode(&message, &mut body)?;
        Ok(Request {
            method: Method::POST,
            url: self.config.url.clone(),
            headers: self.headers.clone(),
            body: Bytes::from(body),
            timeout: Some(self.config.timeout),
        })
    }

    fn failure(&self, error: &EndpointError) -> QueryError {
        QueryError::Peer { peer: self.config.name.clone(), reason: format!("remote read failed: {error}") }
    }
}

/// One read of an endpoint, from its request to its end; keeps account of it.
pub(super) struct Attempt {
    endpoint: Arc<Inner>,
    meter: Option<Arc<AtomicU64>>,
    started: Instant,
    /// Until the end.
    admitted: Option<Admitted>,
}

impl Attempt {
    fn new(endpoint: Arc<Inner>, admitted: Admitted, meter: Option<Arc<AtomicU64>>) -> Attempt {
        endpoint.metrics.begin();
        Attempt { endpoint, meter, started: Instant::now(), admitted: Some(admitted) }
    }

    pub(super) fn frame_limit(&self) -> u64 {
        self.endpoint.config.frame_limit
    }

    /// Bytes have come.
    pub(super) fn took(&self, bytes: u64) {
        self.endpoint.metrics.took(bytes, 0);
        if let Some(meter) = &self.meter {
            meter.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// The answer has come whole.
    pub(super) fn succeeded(&mut self, unasked: u64) {
        self.endpoint.metrics.took(0, unasked);
        self.end("success", Admitted::succeeded);
    }

    /// The read must stop.
    pub(super) fn stopped(&mut self, why: Stopped) -> QueryError {
        let error = match why {
            Stopped::Cancelled(cancelled) => return cancelled.into(),
            Stopped::Endpoint(error) => error,
        };
        // If it has ended, it had answered; what it answered turned out to be wrong as a whole.
        self.end(error.outcome(), |admitted| match error.is_endpoints() {
            true => admitted.failed(Instant::now(), error.to_string()),
            false => admitted.succeeded(),
        });
        self.endpoint.failure(&error)
    }

    /// Keeps account of the end, if this is the first.
    fn end(&mut self, outcome: &str, tell: impl FnOnce(Admitted)) {
        if let Some(admitted) = self.admitted.take() {
            tell(admitted);
            self.endpoint.metrics.circuit(self.endpoint.breaker.resting().is_some());
            self.endpoint.metrics.end(outcome, self.started.elapsed().as_secs_f64());
        }
    }
}

impl Drop for Attempt {
    /// A read that nobody wanted the end of says nothing about the endpoint.
    fn drop(&mut self) {
        self.end("cancelled", drop);
    }
}

impl Secondary for Endpoint {
    fn open(&self, scope: &Scope, request: &SelectRequest<'_>) -> Result<Option<BoxedSeries<'static>>, QueryError> {
        let Some(asked) = self.asked(request.selectors, request.range, false) else { return Ok(None) };
        Ok(Some(Box::new(self.open_asked(scope, asked, request.sorted, request.limit)?)))
    }
}

impl Queryable for Endpoint {
    fn select(&self, scope: &Scope, request: &SelectRequest<'_>) -> Result<BoxedSeries<'_>, QueryError> {
        Ok(self.open(scope, request)?.unwrap_or_else(|| Box::new(Nothing::default())))
    }

    fn select_latest(&self, scope: &Scope, request: &SelectRequest<'_>) -> Result<BoxedLatest<'_>, QueryError> {
        let Some(asked) = self.asked(request.selectors, request.range, false) else {
            return Ok(Box::new(Nothing::default()));
        };
        let mut stream = self.open_asked(scope, asked, false, None)?;
        Ok(Box::new(NewestRows::read(&mut stream, scope, request.range, request.limit)?))
    }

    fn label_names(&self, scope: &Scope, request: &LabelRequest<'_>) -> Result<LabelTexts, QueryError> {
        self.labels(scope, request, |labels, names| {
            for (name, _) in labels {
                if !names.contains(name) {
                    names.insert(name.to_owned());
                }
            }
        })
    }

    fn label_values(&self, scope: &Scope, name: &str, request: &LabelRequest<'_>) -> Result<LabelTexts, QueryError> {
        let mut narrowed = request.selectors.to_vec();
        for selector in &mut narrowed {
            // A matcher without an expression can always be built. One on an external label would keep that from being
            // added, and so from being taken away again.
            if self.inner.config.external.get(name).is_none() {
                selector.extend(Matcher::new(MatchOp::NotEqual, name, ""));
            }
        }
        self.labels(scope, &LabelRequest { selectors: &narrowed, ..*request }, |labels, values| {
            if let Some(value) = labels.get(name).filter(|value| !values.contains(*value)) {
                values.insert(value.to_owned());
            }
        })
    }
}
