//! What is counted about members, and about queries over them.
//!
//! Beside our own names stand those that the closed product's dashboards and alerts ask for (`cortex_federation_frontend_*`),
//! with the same labels and meanings.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use super::answer::AnswerError;
use super::member::MemberError;
use crate::net::ClientError;
use crate::telemetry::{Counter, HistogramMetric, Registry};

const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];
const COUNTS: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];
/// Queries of which quantiles are told.
const RECENT: usize = 1024;
const QUANTILES: [(&str, f64); 4] = [("0.5", 0.5), ("0.75", 0.75), ("0.9", 0.9), ("0.99", 0.99)];

/// Figures of one member.
#[derive(Clone)]
pub struct MemberMetrics {
    registry: Registry,
    name: String,
    bytes: Counter,
    /// Registered when they are first needed.
    latencies: Arc<RwLock<HashMap<End, Latencies>>>,
}

/// How a request has ended: its kind, its status, and whose fault that was if anything was sent.
type End = (&'static str, &'static str, Option<&'static str>);

/// How long requests took that ended in the same way.
struct Latencies {
    ours: HistogramMetric,
    theirs: Option<HistogramMetric>,
}

impl Latencies {
    fn observe(&self, took: Duration) {
        for histogram in [Some(&self.ours), self.theirs.as_ref()].into_iter().flatten() {
            histogram.observe(took.as_secs_f64());
        }
    }
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
        MemberMetrics { registry: registry.clone(), name: name.to_owned(), bytes, latencies: Arc::default() }
    }

    /// A request of this kind has ended.
    pub(super) fn asked<T>(&self, request: &'static str, took: Duration, outcome: &Result<T, MemberError>) {
        let end = (request, status(outcome), side(outcome));
        if let Some(latencies) = self.latencies.read().get(&end) {
            return latencies.observe(took);
        }
        self.latencies.write().entry(end).or_insert_with(|| self.latencies_of(end)).observe(took);
    }

    fn latencies_of(&self, (request, status, side): End) -> Latencies {
        let ours = self.registry.histogram(
            "watershed_federation_request_duration_seconds",
            "How long members took to answer.",
            &[("cluster", &self.name), ("request", request), ("status", status)],
            &BUCKETS,
        );
        let theirs = side.map(|side| {
            self.registry.histogram(
                "cortex_federation_frontend_cluster_remote_latency_seconds",
                "How long remote clusters took to answer, by whose fault it was if they did not.",
                &[("remote_cluster", &self.name), ("request_type", request), ("status", side)],
                &BUCKETS,
            )
        });
        Latencies { ours, theirs }
    }

    /// So much of an answer came.
    pub(super) fn received(&self, bytes: u64) {
        self.bytes.add(bytes);
    }
}

fn status<T>(outcome: &Result<T, MemberError>) -> &'static str {
    match outcome {
        Ok(_) => "success",
        Err(MemberError::Answer(AnswerError::Refused { .. })) => "refused",
        Err(MemberError::Answer(AnswerError::Garbled(_))) => "garbled",
        Err(MemberError::Unreachable(_) | MemberError::Body(_)) => "unreachable",
        Err(MemberError::Status { .. }) => "error",
        Err(MemberError::Resting(_) | MemberError::NoTime | MemberError::Ended(_)) => "not_asked",
    }
}

/// Whose fault it was; `None` if nothing was sent.
fn side<T>(outcome: &Result<T, MemberError>) -> Option<&'static str> {
    Some(match outcome {
        Ok(_) => "success",
        Err(MemberError::Resting(_) | MemberError::NoTime | MemberError::Ended(_)) => return None,
        Err(MemberError::Answer(AnswerError::Refused { .. })) => "client_error",
        Err(MemberError::Status { status, .. }) if status.is_client_error() => "client_error",
        Err(MemberError::Unreachable(ClientError::Config(_) | ClientError::File { .. })) => "client_error",
        Err(_) => "server_error",
    })
}

/// Figures of the queries over all members; cloning gives another handle to the same ones.
#[derive(Clone)]
pub struct FrontendMetrics {
    attempted: Counter,
    succeeded: Counter,
    sharded: HistogramMetric,
    missing: Arc<Mutex<VecDeque<f64>>>,
}

/// What one query took.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Effort {
    /// Members that were asked.
    pub asked: usize,
    /// Those of them that are missing from the answer.
    pub missing: usize,
    /// Requests for parts that members evaluate.
    pub pushed: usize,
}

impl FrontendMetrics {
    /// Nothing counted yet.
    pub fn new(registry: &Registry) -> FrontendMetrics {
        let counter = |name, help| registry.counter(name, help, &[]);
        let missing: Arc<Mutex<VecDeque<f64>>> = Arc::default();
        for (label, quantile) in QUANTILES {
            let recent = missing.clone();
            registry.gauge_fn(
                "cortex_federation_frontend_partial_results",
                "Of the last queries, the part of the clusters asked that is missing from the answer.",
                &[("quantile", label)],
                move || quantile_of(&recent.lock(), quantile),
            );
        }
        FrontendMetrics {
            attempted: counter(
                "cortex_federation_frontend_cluster_sharding_rewrites_attempted_total",
                "Queries that were looked at for parts that remote clusters can evaluate.",
            ),
            succeeded: counter(
                "cortex_federation_frontend_cluster_sharding_rewrites_succeeded_total",
                "Queries of which remote clusters evaluate parts.",
            ),
            sharded: registry.histogram(
                "cortex_federation_frontend_cluster_sharded_queries_per_query",
                "Requests to remote clusters for one query of which they evaluate parts.",
                &[],
                &COUNTS,
            ),
            missing,
        }
    }

    /// A query has been answered.
    pub(super) fn answered(&self, effort: Effort) {
        self.attempted.inc();
        if effort.pushed > 0 {
            self.succeeded.inc();
            self.sharded.observe(effort.pushed as f64);
        }
        if effort.asked > 0 {
            let mut recent = self.missing.lock();
            if recent.len() == RECENT {
                recent.pop_front();
            }
            recent.push_back(effort.missing as f64 / effort.asked as f64);
        }
    }
}

fn quantile_of(values: &VecDeque<f64>, quantile: f64) -> f64 {
    let mut sorted: Vec<f64> = values.iter().copied().collect();
    sorted.sort_by(f64::total_cmp);
    let rank = (quantile * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_last_queries() {
        let registry = Registry::new();
        let metrics = FrontendMetrics::new(&registry);
        let answered = |missing| metrics.answered(Effort { asked: 4, missing, pushed: missing });
        (0..RECENT).for_each(|_| answered(4));
        (0..RECENT).for_each(|n| answered(usize::from(n % 10 == 0)));
        let mut text = String::new();
        registry.write_text(&mut text);
        for line in [
            "cortex_federation_frontend_partial_results{quantile=\"0.9\"} 0.25",
            "cortex_federation_frontend_partial_results{quantile=\"0.75\"} 0\n",
            "cortex_federation_frontend_cluster_sharding_rewrites_attempted_total 2048",
            "cortex_federation_frontend_cluster_sharding_rewrites_succeeded_total 1127",
            "cortex_federation_frontend_cluster_sharded_queries_per_query_bucket{le=\"1\"} 103",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert!(quantile_of(&VecDeque::new(), 0.5).is_nan());
    }

    #[test]
    fn requests_that_end_in_the_same_way_are_counted_together() {
        let registry = Registry::new();
        let metrics = MemberMetrics::new(&registry, "home");
        (0..3).for_each(|_| metrics.asked("query", Duration::from_millis(1), &Ok(())));
        metrics.asked::<()>("query", Duration::ZERO, &Err(MemberError::NoTime));
        let mut text = String::new();
        registry.write_text(&mut text);
        let counts: Vec<&str> = text.lines().filter(|line| line.contains("_count{")).collect();
        let of = |name: &str, status: &str, count| {
            counts.iter().any(|line| {
                line.starts_with(name) && line.contains(&format!("status=\"{status}\"")) && line.ends_with(count)
            })
        };
        assert_eq!(counts.len(), 3, "{counts:?}");
        assert!(of("watershed_federation_request_duration_seconds", "success", " 3"), "{counts:?}");
        assert!(of("watershed_federation_request_duration_seconds", "not_asked", " 1"), "{counts:?}");
        assert!(of("cortex_federation_frontend_cluster_remote_latency_seconds", "success", " 3"), "{counts:?}");
    }

    #[test]
    fn a_request_counts_by_whose_fault_it_was() {
        let of = |error: MemberError| side::<()>(&Err(error));
        let refused = AnswerError::Refused { kind: "bad_data".to_owned(), message: String::new() };
        assert_eq!(of(refused.into()), Some("client_error"));
        assert_eq!(of(AnswerError::Garbled(String::new()).into()), Some("server_error"));
        assert_eq!(of(ClientError::Refused { peer: String::new() }.into()), Some("server_error"));
        assert_eq!((of(MemberError::NoTime), side(&Ok(()))), (None, Some("success")));
    }
}
