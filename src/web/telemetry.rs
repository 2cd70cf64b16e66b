//! The server's own metrics.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::connection::Cut;
use super::routes::Web;
use super::stream::Ending;
use crate::telemetry::{Counter, Gauge, HistogramMetric, Registry};

const DURATION_BOUNDS: &[f64] = &[0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0];

/// Instruments of the whole server.
pub(super) struct WebMetrics {
    registry: Registry,
    pub(super) connections: Gauge,
    /// Connections that found all places taken.
    pub(super) full: Counter,
    pub(super) accept_errors: Counter,
    pub(super) federated_series: Counter,
    pub(super) federate_nameless: Counter,
    pub(super) federate_histograms_left_out: Counter,
    pub(super) federate_warnings: Counter,
    pub(super) federate_errors: Counter,
}

impl WebMetrics {
    pub(super) fn new(registry: &Registry) -> WebMetrics {
        let counter = |name, help| registry.counter(name, help, &[]);
        WebMetrics {
            registry: registry.clone(),
            connections: registry.gauge("watershed_http_connections", "Open connections to the web server.", &[]),
            full: counter(
                "watershed_http_connections_full_total",
                "Connections that found --web.max-connections taken and had to wait for a place.",
            ),
            accept_errors: counter("watershed_http_accept_errors_total", "Connections that could not be accepted."),
            federated_series: counter("watershed_federate_series_total", "Series sent by /federate."),
            federate_nameless: counter(
                "watershed_federate_nameless_series_total",
                "Series left out of /federate because they have no metric name.",
            ),
            federate_histograms_left_out: counter(
                "watershed_federate_histograms_left_out_total",
                "Native histograms left out of /federate because the client asked for a text format.",
            ),
            federate_warnings: counter("watershed_federate_warnings_total", "Warnings of reads for /federate."),
            federate_errors: counter("watershed_federate_errors_total", "Answers of /federate that failed."),
        }
    }

    /// Counts a connection that is closed because of its peer.
    pub(super) fn cut(&self, why: Cut) {
        let reason = match why {
            Cut::Silent => "silent",
            Cut::SlowHead => "slow_head",
            Cut::Idle => "idle",
            Cut::Stalled => "not_reading",
            Cut::Stopping => "stopping",
            Cut::Crowded => "place_wanted",
        };
        let help = "Connections closed because their peer was waited for too long, by what was waited for.";
        self.registry.counter("watershed_http_connections_cut_total", help, &[("reason", reason)]).inc();
    }

    /// Counts a connection that ended with bytes that are no request.
    pub(super) fn bad_head(&self, too_large: bool) {
        let reason = if too_large { "too_large" } else { "malformed" };
        let help = "Connections closed because of a request's head, which was malformed or larger than allowed.";
        self.registry.counter("watershed_http_bad_heads_total", help, &[("reason", reason)]).inc();
    }

    /// Counts a connection that never was encrypted.
    pub(super) fn handshake_failed(&self, reason: &'static str) {
        let help = "TLS handshakes that failed, by reason.";
        self.registry.counter("watershed_http_tls_handshakes_failed_total", help, &[("reason", reason)]).inc();
    }

    /// Instruments of the streamed answers of one endpoint.
    pub(super) fn stream(&self, handler: &'static str) -> StreamMetrics {
        StreamMetrics::new(&self.registry, handler)
    }

    fn request(&self, handler: &str, code: &str) -> Counter {
        let labels = [("handler", handler), ("code", code)];
        self.registry.counter("watershed_http_requests_total", "Requests by handler and status code.", &labels)
    }

    fn duration(&self, handler: &str) -> HistogramMetric {
        let help = "Time from a request's head to its answer's last byte.";
        self.registry.histogram(
            "watershed_http_request_duration_seconds",
            help,
            &[("handler", handler)],
            DURATION_BOUNDS,
        )
    }
}

/// Instruments of the streamed answers of one endpoint.
pub(super) struct StreamMetrics {
    registry: Registry,
    handler: &'static str,
}

impl StreamMetrics {
    pub(super) fn new(registry: &Registry, handler: &'static str) -> StreamMetrics {
        StreamMetrics { registry: registry.clone(), handler }
    }

    pub(super) fn begin(&self) {
        self.active().add(1.0);
    }

    pub(super) fn end(&self, ending: Ending) {
        self.active().add(-1.0);
        let outcome = match ending {
            // It has not ended yet.
            Ending::Elsewhere => return,
            Ending::Whole | Ending::Complete => "complete",
            Ending::Abandoned => "abandoned",
            Ending::Refused => "refused",
            Ending::Failed => "failed",
        };
        let help = "Streamed answers that have ended, by handler and outcome.";
        let labels = [("handler", self.handler), ("outcome", outcome)];
        self.registry.counter("watershed_http_streams_total", help, &labels).inc();
    }

    fn active(&self) -> Gauge {
        let help = "Streamed answers being written.";
        self.registry.gauge("watershed_http_streams", help, &[("handler", self.handler)])
    }
}

/// Counts a request and times it to the last byte of its answer. The handler is named by its route, never by the path
/// asked for, so that strangers cannot create series.
pub(super) async fn observe(State(web): State<Arc<Web>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let route = request.extensions().get::<MatchedPath>().map(|m| m.as_str().to_owned());
    let prefix = web.config.route_prefix.as_str();
    let handler = route.as_deref().map_or("unknown", |route| route.strip_prefix(prefix).unwrap_or(route)).to_owned();
    let response = next.run(request).await;
    web.metrics.request(&handler, response.status().as_str()).inc();
    let duration = web.metrics.duration(&handler);
    response.map(|body| Body::new(TimedBody { body, duration, started }))
}

struct TimedBody {
    body: Body,
    duration: HistogramMetric,
    started: Instant,
}

impl Drop for TimedBody {
    fn drop(&mut self) {
        self.duration.observe(self.started.elapsed().as_secs_f64());
    }
}

impl http_body::Body for TimedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
