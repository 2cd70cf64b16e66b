//! What the store counts about itself.

use crate::storage::Refused;
use crate::telemetry::{Counter, Gauge, Registry};

/// The store's own metrics.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    pub(super) head_series: Gauge,
    pub(super) head_chunks: Gauge,
    pub(super) head_chunk_files_bytes: Gauge,
    pub(super) head_max_time_seconds: Gauge,
    pub(super) series_created: Counter,
    pub(super) series_removed: Counter,
    pub(super) chunks_removed: Counter,
    pub(super) appended: Counter,
    refused: [Counter; 4],
    pub(super) late_appended: Counter,
    pub(super) wbl_bytes: Counter,
    pub(super) wal_bytes: Counter,
    pub(super) wal_segment: Gauge,
    pub(super) wal_fsyncs: Counter,
    pub(super) wal_write_failures: Counter,
    pub(super) wal_corruptions: Counter,
    pub(super) replay_seconds: Gauge,
    pub(super) checkpoints: Counter,
    pub(super) checkpoint_failures: Counter,
    pub(super) collections_postponed: Counter,
    pub(super) head_stale_series: Gauge,
    pub(super) stale_compactions: Counter,
    pub(super) stale_compaction_failures: Counter,
    pub(super) latched: Gauge,
    pub(super) expired_by_time: Counter,
    pub(super) expired_by_size: Counter,
}

impl Metrics {
    pub(super) fn new(r: &Registry) -> Metrics {
        let refused = |reason| {
            let help = "Samples that were not kept, by reason.";
            r.counter("watershed_tsdb_refused_samples_total", help, &[("reason", reason)])
        };
        let counter = |name, help| r.counter(name, help, &[]);
        let gauge = |name, help| r.gauge(name, help, &[]);
        Metrics {
            head_series: gauge("watershed_tsdb_head_series", "Series in memory."),
            head_chunks: gauge("watershed_tsdb_head_chunks", "Chunks in memory."),
            head_chunk_files_bytes: gauge(
                "watershed_tsdb_head_chunk_files_bytes",
                "Bytes of the full chunks of memory that lie in files.",
            ),
            head_max_time_seconds: gauge("watershed_tsdb_head_max_time_seconds", "Time of the newest sample."),
            series_created: counter("watershed_tsdb_series_created_total", "Series created."),
            series_removed: counter(
                "watershed_tsdb_series_removed_total",
                "Series removed because they had no samples left.",
            ),
            chunks_removed: counter("watershed_tsdb_chunks_removed_total", "Chunks removed because they were too old."),
            appended: counter("watershed_tsdb_samples_appended_total", "Samples kept."),
            refused: ["out_of_order", "duplicate_timestamp", "too_old", "too_far_in_future"].map(refused),
            late_appended: counter(
                "watershed_tsdb_out_of_order_samples_appended_total",
                "Samples kept although their series had newer ones.",
            ),
            wbl_bytes: counter(
                "watershed_tsdb_wbl_bytes_written_total",
                "Bytes written to the log of out-of-order samples.",
            ),
            wal_bytes: counter("watershed_tsdb_wal_bytes_written_total", "Bytes written to the write-ahead log."),
            wal_segment: gauge("watershed_tsdb_wal_segment_current", "Number of the log segment written to."),
            wal_fsyncs: counter("watershed_tsdb_wal_fsyncs_total", "Files of the write-ahead log synced to disk."),
            wal_write_failures: counter(
                "watershed_tsdb_wal_write_failures_total",
                "Failed writes and syncs of the write-ahead log.",
            ),
            wal_corruptions: counter(
                "watershed_tsdb_wal_corruptions_total",
                "Damaged places found in the write-ahead log.",
            ),
            replay_seconds: gauge(
                "watershed_tsdb_wal_replay_seconds",
                "How long the last replay of the write-ahead log took.",
            ),
            checkpoints: counter("watershed_tsdb_checkpoints_total", "Checkpoints of the write-ahead log written."),
            checkpoint_failures: counter(
                "watershed_tsdb_checkpoint_failures_total",
                "Checkpoints that could not be written.",
            ),
            collections_postponed: counter(
                "watershed_tsdb_collections_postponed_total",
                "Times that old series stayed because appenders were busy for too long.",
            ),
            expired_by_time: counter(
                "watershed_tsdb_time_retentions_total",
                "Blocks deleted because they were older than the retention time.",
            ),
            expired_by_size: counter(
                "watershed_tsdb_size_retentions_total",
                "Blocks deleted because all together were larger than allowed.",
            ),
            head_stale_series: gauge(
                "watershed_tsdb_head_stale_series",
                "Series in memory that have ended, as of the last upkeep.",
            ),
            stale_compactions: counter(
                "watershed_tsdb_stale_series_compactions_total",
                "Times that series which had ended became blocks early.",
            ),
            stale_compaction_failures: counter(
                "watershed_tsdb_stale_series_compactions_failed_total",
                "Times that series which had ended could not become blocks.",
            ),
            latched: gauge("watershed_tsdb_writes_refused", "1 if the store refuses writes since a failed one."),
        }
    }

    pub(super) fn count_refused(&self, refused: &Refused) {
        let counts = [refused.out_of_order, refused.duplicate_timestamp, refused.too_old, refused.too_far_in_future];
        for (counter, n) in self.refused.iter().zip(counts) {
            counter.add(n);
        }
    }
}

/// Metrics of the store of exemplars.
#[derive(Clone, Debug)]
pub(super) struct ExemplarMetrics {
    pub(super) appended: Counter,
    pub(super) out_of_order: Counter,
    pub(super) too_long: Counter,
    pub(super) stored: Gauge,
    pub(super) series: Gauge,
    pub(super) max: Gauge,
}

impl ExemplarMetrics {
    pub(super) fn new(r: &Registry) -> ExemplarMetrics {
        let counter = |name, help| r.counter(name, help, &[]);
        let gauge = |name, help| r.gauge(name, help, &[]);
        ExemplarMetrics {
            appended: counter("watershed_tsdb_exemplars_appended_total", "Exemplars kept."),
            out_of_order: counter(
                "watershed_tsdb_exemplars_out_of_order_total",
                "Exemplars not kept because their series had a newer one.",
            ),
            too_long: counter(
                "watershed_tsdb_exemplars_too_long_total",
                "Exemplars not kept because their labels were too long.",
            ),
            stored: gauge("watershed_tsdb_exemplars", "Exemplars in memory."),
            series: gauge("watershed_tsdb_exemplar_series", "Series with exemplars in memory."),
            max: gauge("watershed_tsdb_exemplars_max", "Exemplars that there is room for."),
        }
    }
}
