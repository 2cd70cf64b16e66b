//! What is counted about an endpoint.

use crate::telemetry::{Counter, Gauge, HistogramMetric, Registry};

const DURATION_BOUNDS: &[f64] = &[0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0];

/// Instruments of one endpoint.
pub(super) struct Metrics {
    registry: Registry,
    name: String,
    in_flight: Gauge,
    seconds: HistogramMetric,
    bytes: Counter,
    unasked: Counter,
    open: Gauge,
}

impl Metrics {
    pub(super) fn new(registry: &Registry, name: &str) -> Metrics {
        let labels = [("endpoint", name)];
        Metrics {
            registry: registry.clone(),
            name: name.to_owned(),
            in_flight: registry.gauge("watershed_remote_read_queries", "Remote reads under way.", &labels),
            seconds: registry.histogram(
                "watershed_remote_read_request_duration_seconds",
                "Time from a remote read's request to the end of its answer.",
                &labels,
                DURATION_BOUNDS,
            ),
            bytes: registry.counter("watershed_remote_read_bytes_total", "Bytes of answers to remote reads.", &labels),
            unasked: registry.counter(
                "watershed_remote_read_unasked_series_total",
                "Series in answers to remote reads that do not satisfy the selector and were dropped.",
                &labels,
            ),
            open: registry.gauge(
                "watershed_remote_read_circuit_open",
                "Whether the endpoint is left alone after failures.",
                &labels,
            ),
        }
    }

    pub(super) fn begin(&self) {
        self.in_flight.add(1.0);
    }

    pub(super) fn end(&self, outcome: &str, seconds: f64) {
        self.in_flight.add(-1.0);
        self.seconds.observe(seconds);
        self.count(outcome);
    }

    /// Counts a read by how it ended.
    pub(super) fn count(&self, outcome: &str) {
        let labels = [("endpoint", self.name.as_str()), ("outcome", outcome)];
        self.registry.counter("watershed_remote_read_queries_total", "Remote reads by outcome.", &labels).inc();
    }

    pub(super) fn took(&self, bytes: u64, unasked: u64) {
        self.bytes.add(bytes);
        self.unasked.add(unasked);
    }

    pub(super) fn circuit(&self, open: bool) {
        self.open.set(if open { 1.0 } else { 0.0 });
    }
}
