//! What is counted, and the access log.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use hyper::{Method, Request, StatusCode};
use parking_lot::RwLock;

use super::config::Component;
use crate::telemetry::{Counter, Gauge, HistogramMetric, Registry};

const DURATION_BOUNDS: &[f64] = &[0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0];
/// What a client that went away before its answer is counted as; the number that nginx made known for it.
const CLIENT_GONE: u16 = 499;
/// The tenant's header.
const TENANT: &str = "x-scope-orgid";

/// Instruments of one component.
pub(super) struct BackendMetrics {
    registry: Registry,
    component: Component,
    in_flight: Gauge,
    duration: HistogramMetric,
    /// By status code, as they come.
    codes: RwLock<Vec<(u16, Counter)>>,
    pub(super) ejections: Counter,
    pub(super) retries: Counter,
    pub(super) resolution_failures: Counter,
    pub(super) endpoints: Gauge,
    pub(super) live_endpoints: Gauge,
}

impl BackendMetrics {
    pub(super) fn new(registry: &Registry, component: Component) -> BackendMetrics {
        let labels = [("component", component.name())];
        let counter = |name, help| registry.counter(name, help, &labels);
        let gauge = |name, help| registry.gauge(name, help, &labels);
        BackendMetrics {
            component,
            in_flight: gauge("watershed_gateway_requests_in_flight", "Requests that are being answered."),
            duration: registry.histogram(
                "watershed_gateway_request_duration_seconds",
                "Time from a request's head to its answer's last byte.",
                &labels,
                DURATION_BOUNDS,
            ),
            codes: RwLock::default(),
            ejections: counter(
                "watershed_gateway_ejections_total",
                "Addresses that were taken out for their failures.",
            ),
            retries: counter("watershed_gateway_retries_total", "Attempts beyond the first one of a request."),
            resolution_failures: counter(
                "watershed_gateway_resolution_failures_total",
                "Attempts to resolve the name that failed; the addresses before go on.",
            ),
            endpoints: gauge("watershed_gateway_endpoints", "Addresses that the name stands for."),
            live_endpoints: gauge("watershed_gateway_endpoints_live", "Those of them that get requests."),
            registry: registry.clone(),
        }
    }

    /// Requests that were given to one address.
    pub(super) fn endpoint(&self, address: SocketAddr) -> Counter {
        let help = "Requests by the address that they were given to.";
        let labels = [("component", self.component.name()), ("endpoint", &address.to_string())];
        self.registry.counter(ENDPOINT_REQUESTS, help, &labels)
    }

    /// Forgets an address that is gone.
    pub(super) fn forget(&self, address: SocketAddr) {
        let labels = [("component", self.component.name()), ("endpoint", &address.to_string())];
        self.registry.remove(ENDPOINT_REQUESTS, &labels);
    }

    fn answered(&self, code: u16) {
        if let Some((_, counter)) = self.codes.read().iter().find(|(c, _)| *c == code) {
            return counter.inc();
        }
        let help = "Requests by component and status code; 499 are those whose client went away before the answer.";
        let labels = [("component", self.component.name()), ("code", &code.to_string())];
        let counter = self.registry.counter("watershed_gateway_requests_total", help, &labels);
        counter.inc();
        let mut codes = self.codes.write();
        if codes.iter().all(|(c, _)| *c != code) {
            codes.push((code, counter));
        }
    }
}

const ENDPOINT_REQUESTS: &str = "watershed_gateway_endpoint_requests_total";

/// What the log says of a request.
pub(super) struct LogLine {
    client: IpAddr,
    method: Method,
    path: String,
    tenant: String,
}

impl LogLine {
    /// Without the query: it may hold what is not meant for the log.
    pub(super) fn new<B>(client: IpAddr, request: &Request<B>) -> LogLine {
        let tenant = request.headers().get(TENANT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        LogLine { client, method, path, tenant: tenant.to_owned() }
    }

    /// Writes that the request was for nobody.
    pub(super) fn refused(self, status: StatusCode) {
        let LogLine { client, method, path, tenant } = self;
        tracing::info!(component = "", %client, %method, path, tenant, status = status.as_u16(), "request");
    }
}

/// One request, from its head to its answer's last byte. Counted and logged when it is dropped.
pub(super) struct Exchange {
    metrics: Arc<BackendMetrics>,
    started: Instant,
    code: u16,
    bytes: u64,
    endpoint: Option<SocketAddr>,
    log: Option<LogLine>,
}

impl Exchange {
    pub(super) fn new(metrics: Arc<BackendMetrics>, log: Option<LogLine>) -> Exchange {
        metrics.in_flight.add(1.0);
        Exchange { metrics, started: Instant::now(), code: CLIENT_GONE, bytes: 0, endpoint: None, log }
    }

    /// What is counted of it.
    pub(super) fn metrics(&self) -> &BackendMetrics {
        &self.metrics
    }

    /// Who is asked.
    pub(super) fn asked(&mut self, endpoint: SocketAddr) {
        self.endpoint = Some(endpoint);
    }

    /// The answer begins.
    pub(super) fn answered(&mut self, status: StatusCode) {
        self.code = status.as_u16();
    }

    /// Bytes of the answer's body have gone out.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let duration = self.started.elapsed();
        self.metrics.in_flight.add(-1.0);
        self.metrics.answered(self.code);
        self.metrics.duration.observe(duration.as_secs_f64());
        if let Some(LogLine { client, method, path, tenant }) = &self.log {
            let endpoint = self.endpoint.map(|address| address.to_string()).unwrap_or_default();
            tracing::info!(
                component = self.metrics.component.name(),
                %client, %method, path, tenant, endpoint,
                status = self.code,
                bytes = self.bytes,
                seconds = duration.as_secs_f64(),
                "request"
            );
        }
    }
}
