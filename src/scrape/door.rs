//! A door for fuzzing: bodies go the whole way from a target to the store, without a target.

use std::sync::Arc;

use super::JobConfig;
use super::cache::Cache;
use super::ingest::{Ingest, IngestOptions};
use super::rules::Rules;
use super::sample_rules::SampleRules;
use super::target::HistogramWishes;
use crate::exposition::MediaType;
use crate::model::{DurationMs, Labels, TimestampMs};
use crate::storage::Appendable;

/// What a body brought.
#[doc(hidden)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Taken {
    /// Samples in it.
    pub scraped: u64,
    /// Those that the label rules left.
    pub after_relabelling: u64,
    /// Series that the body before did not have.
    pub series_added: u64,
}

/// Scrapes bodies as the job says, one each ten seconds from `start`; of those that are refused nothing is kept.
#[doc(hidden)]
pub fn take_bodies(
    job: &JobConfig,
    storage: &dyn Appendable,
    media: MediaType,
    start: TimestampMs,
    bodies: &[&[u8]],
) -> Vec<Option<Taken>> {
    let wishes = HistogramWishes {
        native: job.native_histograms,
        keep_classic: job.keep_classic_histograms,
        convert_classic: job.convert_classic_histograms,
    };
    let options = IngestOptions::new(job, wishes);
    let target = Labels::from_pairs([("instance", "target:80"), ("job", job.name.as_str())]);
    let rules = SampleRules::new(job, Rules::new(&job.metric_relabel), target);
    let mut cache = Cache::new(Arc::default());
    let mut t = start;
    let mut one = |body: &&[u8]| {
        t = t + DurationMs::from_secs(10);
        let mut appender = storage.appender();
        let mut ingest = Ingest::new(&mut cache, &mut *appender, &rules, options, t, t);
        let result = ingest.body(body, media);
        let (counts, untracked) = (ingest.counts, std::mem::take(&mut ingest.untracked));
        drop(cache.ended(&untracked));
        if result.is_err() {
            cache.end_failure();
            return None;
        }
        cache.end_success();
        appender.commit().ok()?;
        let (scraped, after_relabelling) = (counts.scraped, counts.after_relabelling);
        Some(Taken { scraped, after_relabelling, series_added: counts.series_added })
    };
    bodies.iter().map(&mut one).collect()
}
