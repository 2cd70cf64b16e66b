//! A job, ready to run, and what all jobs share.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::config::JobConfig;
use super::failure_log::FailureLog;
use super::families::Texts;
use super::fetch::Fetcher;
use super::metrics::JobMetrics;
use super::negotiate::{accept_header, fallback_media_type};
use super::rules::Rules;
use crate::exposition::MediaType;
use crate::model::DurationMs;
use crate::net::HttpClientConfig;
use crate::runtime::{Clock, CpuPool, Tasks};
use crate::storage::Appendable;
use crate::telemetry::Registry;

/// What all loops share.
pub(super) struct Env {
    pub(super) storage: Arc<dyn Appendable>,
    pub(super) registry: Registry,
    pub(super) pool: CpuPool,
    pub(super) clock: Clock,
    pub(super) offset_seed: u64,
    pub(super) tasks: Tasks,
    /// Completes when scrapes under way are no longer waited for.
    pub(super) cut: CancellationToken,
    pub(super) bodies: Bodies,
}

/// Buffers for bodies. Few scrapes are under way at a time, so that few buffers serve many targets.
#[derive(Default)]
pub(super) struct Bodies(Mutex<Vec<Vec<u8>>>);

/// More buffers than this are not kept for later.
const KEPT_BODIES: usize = 8;
/// Buffers are kept for later up to so many bytes altogether.
const KEPT_BYTES: usize = 16 * 1024 * 1024;

impl Bodies {
    /// An empty buffer, the one used last first.
    pub(super) fn take(&self) -> Vec<u8> {
        self.0.lock().pop().unwrap_or_default()
    }

    pub(super) fn give_back(&self, mut body: Vec<u8>) {
        // A buffer that has become much larger than what it serves goes back to the system.
        if body.capacity() / 8 > body.len().max(4096) {
            return;
        }
        body.clear();
        let mut kept = self.0.lock();
        let bytes: usize = kept.iter().map(Vec::capacity).sum();
        if kept.len() < KEPT_BODIES && bytes + body.capacity() <= KEPT_BYTES {
            kept.push(body);
        }
    }
}

/// A job whose configuration has been turned into something that runs.
pub(super) struct Job {
    pub(super) config: JobConfig,
    pub(super) target_rules: Rules,
    pub(super) sample_rules: Rules,
    pub(super) fetcher: Arc<dyn Fetcher>,
    pub(super) accept: String,
    pub(super) fallback: Option<MediaType>,
    pub(super) metrics: JobMetrics,
    pub(super) texts: Arc<Texts>,
    pub(super) failure_log: Option<Arc<FailureLog>>,
    /// Equal for two configurations that make the same series of the same body.
    series_key: String,
}

impl Job {
    pub(super) fn new(
        config: JobConfig,
        fetcher: Arc<dyn Fetcher>,
        failure_log: Option<Arc<FailureLog>>,
        registry: &Registry,
        texts: Arc<Texts>,
    ) -> Job {
        Job {
            target_rules: Rules::new(&config.relabel),
            sample_rules: Rules::new(&config.metric_relabel),
            fetcher,
            accept: accept_header(&config.protocols, config.name_escaping),
            fallback: config.fallback_protocol.map(fallback_media_type),
            metrics: JobMetrics::new(registry, &config.name),
            texts,
            failure_log,
            series_key: series_key(&config),
            config,
        }
    }

    /// Whether two configurations of a job make the same series of the same body.
    pub(super) fn makes_same_series(&self, other: &Job) -> bool {
        self.series_key == other.series_key
    }
}

/// Everything but what only says when and how a target is asked.
fn series_key(config: &JobConfig) -> String {
    let series_part = JobConfig {
        interval: DurationMs(0),
        timeout: DurationMs(0),
        sample_limit: None,
        client: HttpClientConfig::default(),
        failure_log_file: None,
        discovery: Vec::new(),
        fingerprint: String::new(),
        ..config.clone()
    };
    format!("{series_part:?}")
}
