//! What shipping counts about itself.

use crate::telemetry::{Counter, Gauge, Registry};

#[derive(Clone, Debug)]
pub(super) struct Metrics {
    pub(super) blocks: Counter,
    pub(super) bytes: Counter,
    pub(super) failures: Counter,
    pub(super) missed: Counter,
    pub(super) waiting: Gauge,
    pub(super) refused: Gauge,
    pub(super) last_success: Gauge,
    pub(super) shipped_until: Gauge,
}

impl Metrics {
    pub(super) fn new(registry: &Registry) -> Metrics {
        let counter = |name, help| registry.counter(name, help, &[]);
        let gauge = |name, help| registry.gauge(name, help, &[]);
        Metrics {
            blocks: counter("watershed_ship_blocks_total", "Blocks shipped to the bucket."),
            bytes: counter("watershed_ship_bytes_total", "Bytes of shipped blocks."),
            failures: counter("watershed_ship_failures_total", "Rounds of shipping that failed."),
            missed: counter(
                "watershed_ship_blocks_missed_total",
                "Blocks that were deleted before they could be shipped.",
            ),
            waiting: gauge("watershed_ship_blocks_waiting", "Blocks that are still to be shipped."),
            refused: gauge(
                "watershed_ship_blocks_refused",
                "Blocks that are not shipped because they are damaged or would double samples.",
            ),
            last_success: gauge(
                "watershed_ship_last_success_timestamp_seconds",
                "When everything that was due had last been shipped.",
            ),
            shipped_until: gauge(
                "watershed_ship_blocks_max_time_seconds",
                "End of the newest block that this process has shipped.",
            ),
        }
    }
}
