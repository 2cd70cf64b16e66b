//! What the targets API tells.

use super::config::JobConfig;
use crate::model::{DurationMs, Labels, Metadata, TimestampMs};

/// Whether a target answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TargetHealth {
    /// Not scraped yet.
    #[default]
    Unknown,
    /// The last scrape succeeded.
    Up,
    /// The last scrape failed.
    Down,
}

impl TargetHealth {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            TargetHealth::Unknown => "unknown",
            TargetHealth::Up => "up",
            TargetHealth::Down => "down",
        }
    }
}

/// One active target as of now.
#[derive(Clone, Debug)]
pub struct TargetStatus {
    /// The job it belongs to.
    pub scrape_pool: String,
    /// Labels before relabelling.
    pub discovered_labels: Labels,
    /// Labels after relabelling, without `__` labels.
    pub labels: Labels,
    /// What is scraped, with parameters.
    pub scrape_url: String,
    /// Its health.
    pub health: TargetHealth,
    /// Why the last scrape failed; empty if it did not.
    pub last_error: String,
    /// When the last scrape began; `None` before the first.
    pub last_scrape: Option<TimestampMs>,
    /// How long it took in seconds.
    pub last_scrape_duration_s: f64,
    /// Time between scrapes.
    pub interval: DurationMs,
    /// Time allowed for one.
    pub timeout: DurationMs,
    /// Samples of the last scrape before relabelling.
    pub last_samples: u64,
    /// Bytes of the last body, uncompressed.
    pub last_body_bytes: u64,
}

/// A discovered target that relabelling dropped.
#[derive(Clone, Debug)]
pub struct DroppedTarget {
    /// The job it belongs to.
    pub scrape_pool: String,
    /// Labels before relabelling.
    pub discovered_labels: Labels,
}

/// Metadata of one metric family as one target told it.
#[derive(Clone, Debug)]
pub struct TargetMetadata {
    /// Labels of the target.
    pub target: Labels,
    /// Name of the family.
    pub metric: String,
    /// What was told.
    pub metadata: Metadata,
}

/// What the web layer asks of the scrape manager.
pub trait TargetSource: Send + Sync {
    /// All jobs by name, ascending.
    fn pools(&self) -> Vec<String>;
    /// Active targets of all jobs or of one, by job, then by labels.
    fn active(&self, pool: Option<&str>) -> Vec<TargetStatus>;
    /// Dropped targets still remembered.
    fn dropped(&self, pool: Option<&str>) -> Vec<DroppedTarget>;
    /// Number of dropped targets by job, the forgotten ones included.
    fn dropped_counts(&self) -> Vec<(String, u64)>;
    /// The configuration of one job; `None` if there is no such job.
    fn config(&self, pool: &str) -> Option<JobConfig>;
    /// Metadata of one metric (or all) over all active targets.
    fn metadata(&self, metric: Option<&str>) -> Vec<TargetMetadata>;
    /// What some target says of one metric family; of several jobs the first one's by name.
    fn family(&self, name: &str) -> Option<Metadata> {
        self.metadata(Some(name)).into_iter().next().map(|told| told.metadata)
    }
    /// As [`family`](TargetSource::family), but `None` if that had to wait for a scrape or a change of the targets.
    fn try_family(&self, name: &str) -> Option<Option<Metadata>> {
        Some(self.family(name))
    }
}
