//! What is counted about members.

use std::time::Duration;

use super::answer::AnswerError;
use super::member::MemberError;
use crate::telemetry::{Counter, HistogramMetric, Registry};

const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

/// Figures of one member.
#[derive(Clone)]
pub struct MemberMetrics {
    registry: Registry,
    name: String,
    bytes: Counter,
}

impl MemberMetrics {
    /// Figures of the member of this name.
    pub fn new(registry: &Registry, name: &str) -> MemberMetrics {
        let labels = [("cluster", name)];
        let bytes = registry.counter(
            "watershed_federation_received_bytes_total",
            "Bytes of members' answers, as they came over the wire.",
            &labels,
        );
        MemberMetrics { registry: registry.clone(), name: name.to_owned(), bytes }
    }

    /// A request of this kind has ended.
    pub(super) fn asked<T>(&self, request: &'static str, took: Duration, outcome: &Result<T, MemberError>) {
        self.latency(request, status(outcome)).observe(took.as_secs_f64());
    }

    /// So much of an answer came.
    pub(super) fn received(&self, bytes: u64) {
        self.bytes.add(bytes);
    }

    fn latency(&self, request: &'static str, status: &'static str) -> HistogramMetric {
        self.registry.histogram(
            "watershed_federation_request_duration_seconds",
            "How long members took to answer.",
            &[("cluster", &self.name), ("request", request), ("status", status)],
            &BUCKETS,
        )
    }
}

fn status<T>(outcome: &Result<T, MemberError>) -> &'static str {
    match outcome {
        Ok(_) => "success",
        Err(MemberError::Answer(AnswerError::Refused { .. })) => "refused",
        Err(MemberError::Answer(AnswerError::Garbled(_))) => "garbled",
        Err(MemberError::Unreachable(_) | MemberError::Body(_)) => "unreachable",
        Err(MemberError::Status { .. }) => "error",
        Err(MemberError::Resting(_) | MemberError::NoTime) => "not_asked",
    }
}
