//! What the receiver counts.

use std::sync::Arc;

use super::cache::SeriesCache;
use super::outcome::{Complaint, Complaints, Written};
use crate::telemetry::{Counter, Registry};

pub(super) struct Metrics {
    registry: Registry,
    samples: Counter,
    histograms: Counter,
    exemplars: Counter,
    /// Samples and histograms of series with invalid labels.
    invalid_labels: Counter,
    /// Metadata of 1.0, which belongs to no series.
    pub(super) ignored_metadata: Counter,
    pub(super) malformed: Counter,
    pub(super) too_large: Counter,
    pub(super) busy: Counter,
    pub(super) unsupported: Counter,
    pub(super) failed: Counter,
}

impl Metrics {
    pub(super) fn new(registry: &Registry, cache: &Arc<SeriesCache>) -> Metrics {
        let written = |kind| {
            let help = "Received by remote write and written, by kind.";
            registry.counter("watershed_remote_write_receiver_written_total", help, &[("kind", kind)])
        };
        let requests = |reason| {
            let help = "Requests of remote write that were refused as a whole, by reason.";
            registry.counter("watershed_remote_write_receiver_rejected_requests_total", help, &[("reason", reason)])
        };
        let cache = cache.clone();
        registry.gauge_fn(
            "watershed_remote_write_receiver_cached_series",
            "Series whose reference is known by how remote write names them.",
            &[],
            move || cache.len() as f64,
        );
        Metrics {
            samples: written("samples"),
            histograms: written("histograms"),
            exemplars: written("exemplars"),
            invalid_labels: registry.counter(
                "watershed_api_remote_write_invalid_labels_samples_total",
                "The total number of received remote write samples and histogram samples which were rejected due to invalid labels.",
                &[],
            ),
            ignored_metadata: registry.counter(
                "watershed_remote_write_receiver_ignored_metadata_total",
                "Metadata in requests of remote write 1.0, where it belongs to no series.",
                &[],
            ),
            malformed: requests("malformed"),
            too_large: requests("too_large"),
            busy: requests("busy"),
            unsupported: requests("unsupported"),
            failed: requests("store"),
            registry: registry.clone(),
        }
    }

    /// Counts what became of a request.
    pub(super) fn count(&self, written: Written, complaints: &Complaints) {
        self.samples.add(written.samples);
        self.histograms.add(written.histograms);
        self.exemplars.add(written.exemplars);
        for (complaint, count) in complaints.counts() {
            if matches!(complaint, Complaint::Labels(_)) {
                self.invalid_labels.add(*count);
            }
            let help = "Samples, histograms and exemplars received by remote write and not written, by reason.";
            let labels = [("reason", complaint.reason())];
            self.registry.counter("watershed_remote_write_receiver_refused_total", help, &labels).add(*count);
        }
    }
}
