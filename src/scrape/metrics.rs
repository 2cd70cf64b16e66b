//! What scraping counts about itself.

use std::sync::OnceLock;

use crate::storage::Refused;
use crate::telemetry::{Counter, Gauge, HistogramMetric, Registry};

const SYNC_BOUNDS: &[f64] = &[0.001, 0.01, 0.1, 1.0, 10.0];
const INTERVAL_BOUNDS: &[f64] = &[1.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0];

const FAILURES: &str = "watershed_scrape_failures_total";
const REFUSED: &str = "watershed_scrape_samples_refused_total";
const NEWEST_AGE: &str = "watershed_scrape_newest_sample_age_seconds";

/// Why a scrape failed, as a metric label.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reason {
    Timeout,
    Transfer,
    Status,
    BodySizeLimit,
    ContentType,
    Parse,
    SampleLimit,
    BucketLimit,
    LabelLimit,
    Labels,
    TargetLimit,
    Storage,
}

const REASONS: [(Reason, &str); 12] = [
    (Reason::Timeout, "timeout"),
    (Reason::Transfer, "transfer"),
    (Reason::Status, "status"),
    (Reason::BodySizeLimit, "body_size_limit"),
    (Reason::ContentType, "content_type"),
    (Reason::Parse, "parse"),
    (Reason::SampleLimit, "sample_limit"),
    (Reason::BucketLimit, "native_histogram_bucket_limit"),
    (Reason::LabelLimit, "label_limit"),
    (Reason::Labels, "labels"),
    (Reason::TargetLimit, "target_limit"),
    (Reason::Storage, "storage"),
];

const REFUSALS: [&str; 5] = ["out_of_order", "duplicate_timestamp", "too_old", "too_far_in_future", "repeated_in_body"];

/// The instruments of one job.
pub(super) struct JobMetrics {
    registry: Registry,
    job: String,
    pub(super) scrapes: Counter,
    pub(super) samples: Counter,
    pub(super) body_bytes: Counter,
    pub(super) wire_bytes: Counter,
    pub(super) targets: Gauge,
    pub(super) targets_dropped: Gauge,
    pub(super) syncs_failed: Counter,
    pub(super) sync_seconds: HistogramMetric,
    pub(super) interval_seconds: HistogramMetric,
    failures: Vec<Counter>,
    refused: Vec<Counter>,
    /// There only once a body has brought timestamps of its own.
    newest_age: OnceLock<Gauge>,
}

impl JobMetrics {
    pub(super) fn new(registry: &Registry, job: &str) -> JobMetrics {
        let labels: &[(&str, &str)] = &[("scrape_job", job)];
        let r = registry;
        let failures = REASONS.iter().map(|(_, reason)| {
            r.counter(FAILURES, "Scrapes that failed, by reason.", &[("scrape_job", job), ("reason", reason)])
        });
        let refused = REFUSALS.iter().map(|reason| {
            r.counter(REFUSED, "Scraped samples that were not kept.", &[("scrape_job", job), ("reason", reason)])
        });
        JobMetrics {
            scrapes: r.counter("watershed_scrape_scrapes_total", "Scrapes, failed ones included.", labels),
            samples: r.counter("watershed_scrape_samples_total", "Samples scraped, before relabelling.", labels),
            body_bytes: r.counter("watershed_scrape_body_bytes_total", "Bytes scraped, uncompressed.", labels),
            wire_bytes: r.counter("watershed_scrape_wire_bytes_total", "Bytes scraped, as they came.", labels),
            targets: r.gauge("watershed_scrape_targets", "Targets being scraped.", labels),
            targets_dropped: r.gauge("watershed_scrape_targets_dropped", "Targets dropped by relabelling.", labels),
            syncs_failed: r.counter("watershed_target_sync_failed_total", "Discovered targets without use.", labels),
            sync_seconds: r.histogram(
                "watershed_target_sync_duration_seconds",
                "Time to turn discovered targets into loops.",
                labels,
                SYNC_BOUNDS,
            ),
            interval_seconds: r.histogram(
                "watershed_target_interval_length_seconds",
                "Actual time between two scrapes of a target.",
                labels,
                INTERVAL_BOUNDS,
            ),
            failures: failures.collect(),
            refused: refused.collect(),
            newest_age: OnceLock::new(),
            registry: registry.clone(),
            job: job.to_owned(),
        }
    }

    pub(super) fn fail(&self, reason: Reason) {
        let position = REASONS.iter().position(|(r, _)| *r == reason);
        if let Some(counter) = position.and_then(|i| self.failures.get(i)) {
            counter.inc();
        }
    }

    /// Counts what the store refused and what never came to it.
    pub(super) fn refuse(&self, refused: &Refused, repeated: u64) {
        let counts =
            [refused.out_of_order, refused.duplicate_timestamp, refused.too_old, refused.too_far_in_future, repeated];
        for (counter, count) in self.refused.iter().zip(counts) {
            if count > 0 {
                counter.add(count);
            }
        }
    }

    /// Notes how old the newest of a body's own timestamps is; negative if it is ahead.
    pub(super) fn newest_age(&self, age_ms: i64) {
        let gauge = self.newest_age.get_or_init(|| {
            let help = "Age of the newest timestamp that the last scraped body brought itself; negative if ahead.";
            self.registry.gauge(NEWEST_AGE, help, &[("scrape_job", &self.job)])
        });
        gauge.set(age_ms as f64 / 1000.0);
    }

    /// Takes the job out of the registry.
    pub(super) fn forget(&self) {
        let labels: &[(&str, &str)] = &[("scrape_job", &self.job)];
        for name in [
            "watershed_scrape_scrapes_total",
            "watershed_scrape_samples_total",
            "watershed_scrape_body_bytes_total",
            "watershed_scrape_wire_bytes_total",
            "watershed_scrape_targets",
            "watershed_scrape_targets_dropped",
            "watershed_target_sync_failed_total",
            "watershed_target_sync_duration_seconds",
            "watershed_target_interval_length_seconds",
            NEWEST_AGE,
        ] {
            self.registry.remove(name, labels);
        }
        for (_, reason) in REASONS {
            self.registry.remove(FAILURES, &[("scrape_job", &self.job), ("reason", reason)]);
        }
        for reason in REFUSALS {
            self.registry.remove(REFUSED, &[("scrape_job", &self.job), ("reason", reason)]);
        }
    }
}
