//! What is counted about queries.

use std::time::Duration;

use super::Statistics;
use crate::promql::QueryStats;
use crate::telemetry::{Counter, Gauge, HistogramMetric, Registry};

/// The reference's.
const BOUNDS: &[f64] = &[0.01, 0.1, 1.0, 10.0];

/// The instruments.
pub(super) struct Metrics {
    queries: Gauge,
    pub log_enabled: Gauge,
    pub log_failures: Counter,
    pub slow: Counter,
    samples: Counter,
    queue: HistogramMetric,
    prepare: HistogramMetric,
    eval: HistogramMetric,
    sort: HistogramMetric,
}

/// Counts a query while it waits or runs.
pub(super) struct Waiting(Gauge);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.add(-1.0);
    }
}

impl Metrics {
    /// `labels` tell desks apart.
    pub fn new(r: &Registry, max_concurrency: usize, labels: &[(&str, &str)]) -> Metrics {
        let slice = |slice| {
            let help = "How long the parts of running a query take.";
            let labels = [labels, &[("slice", slice)]].concat();
            r.histogram("watershed_engine_query_duration_seconds", help, &labels, BOUNDS)
        };
        let help = "How many queries may run at the same time.";
        let max = r.gauge("watershed_engine_queries_concurrent_max", help, labels);
        max.set(max_concurrency as f64);
        Metrics {
            queries: r.gauge("watershed_engine_queries", "Queries that run or wait.", labels),
            log_enabled: r.gauge("watershed_engine_query_log_enabled", "Whether queries are logged to a file.", &[]),
            log_failures: r.counter(
                "watershed_engine_query_log_failures_total",
                "Queries that could not be written to the query log.",
                &[],
            ),
            slow: r.counter(
                "watershed_engine_slow_queries_total",
                "Queries that were told in the log as slow.",
                labels,
            ),
            samples: r.counter(
                "watershed_engine_query_samples_total",
                "Samples that queries looked at; every window counts in full.",
                labels,
            ),
            queue: slice("queue_time"),
            prepare: slice("prepare_time"),
            eval: slice("inner_eval"),
            sort: slice("result_sort"),
        }
    }

    /// A query has come.
    pub fn begin(&self) -> Waiting {
        self.queries.add(1.0);
        Waiting(self.queries.clone())
    }

    /// A query has run.
    pub fn end(&self, stats: &QueryStats, statistics: &Statistics) {
        let observe = |metric: &HistogramMetric, took: Duration| metric.observe(took.as_secs_f64());
        self.samples.add(stats.samples);
        observe(&self.queue, statistics.queue());
        observe(&self.prepare, statistics.prepare());
        observe(&self.eval, stats.eval);
        observe(&self.sort, stats.sort);
    }
}
