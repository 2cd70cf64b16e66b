//! The store's part of the wiring: from flags and config to its options, and its upkeep.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::config::{Features, FloatEncoding, Fsync, StorageConfig};
use crate::model::DurationMs;
use crate::runtime::{CpuPool, Tasks};
use crate::tsdb::{LowWrite, Options, Retention, Settings, Starts, SyncPolicy, Tsdb, UpkeepError};

/// How often the store is tidied up and its log forced to disk.
const UPKEEP: Duration = Duration::from_secs(60);
/// Exemplars kept if only the command line asks for them; as in the reference.
const MAX_EXEMPLARS: usize = 100_000;
/// Longest block, whatever the retention.
const MAX_BLOCK: DurationMs = DurationMs::from_secs(31 * 24 * 3600);

/// What takes effect at start: flags, and what the config says of it.
pub(super) fn options(flags: &Options, config: &StorageConfig, retention: Retention, features: Features) -> Options {
    let settings = settings(config, retention, features);
    let by_retention = settings.retention.time.map_or(MAX_BLOCK, |t| DurationMs(t.0 / 10).min(MAX_BLOCK));
    Options {
        max_block: flags.max_block.or(Some(by_retention)),
        sync: match config.fsync {
            Fsync::Commit => SyncPolicy::EveryCommit,
            Fsync::Minute => SyncPolicy::OnUpkeep,
        },
        low_write: config.low_write.map(|low_write| LowWrite {
            flush_interval: low_write.flush_interval,
            buffer_bytes: usize::try_from(low_write.buffer_size.0).unwrap_or(usize::MAX),
        }),
        settings,
        ..flags.clone()
    }
}

/// What a reload can change. The config's retention, where it has one, wins over the flags' as a whole.
pub(super) fn settings(config: &StorageConfig, flags: Retention, features: Features) -> Settings {
    let exemplars = if features.exemplar_storage { MAX_EXEMPLARS } else { 0 };
    let floats = if features.xor2_encoding { FloatEncoding::Xor2 } else { FloatEncoding::Xor };
    let retention = config.retention.map_or(flags, |config| Retention {
        time: Some(config.time).filter(|t| t.0 > 0),
        bytes: u64::try_from(config.size.0).ok().filter(|n| *n > 0),
        percentage: Some(config.percentage).filter(|p| *p > 0.0),
    });
    Settings {
        retention,
        out_of_order_window: config.out_of_order_time_window,
        max_exemplars: config.max_exemplars.map_or(exemplars, |n| usize::try_from(n).unwrap_or(0)),
        stale_series_threshold: config.stale_series_compaction_threshold,
        starts: if features.st_storage { Starts::Keep } else { Starts::Drop },
        xor2: config.float_encoding.unwrap_or(floats) == FloatEncoding::Xor2,
        histogram_starts: features.histograms_st_encoding,
    }
}

/// How long data is kept, as the reference's runtime information says it.
pub(super) fn describe(retention: &Retention) -> String {
    let limits = [
        retention.time.map(|time| time.to_string()),
        retention.bytes.map(|n| crate::config::ByteSize(i64::try_from(n).unwrap_or(i64::MAX)).to_string()),
        retention.percentage.map(|p| format!("{p}% of the disk")),
    ];
    let told: Vec<String> = limits.into_iter().flatten().collect();
    if told.is_empty() { "forever".to_owned() } else { told.join(" or ") }
}

/// Looks after the store until told to stop, on two threads of its own: a long compaction of blocks must neither keep
/// queries from the processor pool nor the log from being forced to disk.
pub(super) fn spawn_upkeep(store: &Arc<Tsdb>, tasks: &Tasks) -> std::io::Result<()> {
    let pool = CpuPool::new("storage", 2)?;
    let head = |store: &Tsdb| store.maintain_head().map(|report| tracing::debug!(?report, "upkeep of the head"));
    let blocks = |store: &Tsdb| store.maintain_blocks().map(|report| tracing::debug!(?report, "upkeep of the blocks"));
    tasks.spawn("head upkeep", upkeep(store.clone(), pool.clone(), tasks.stopping(), head));
    tasks.spawn("block upkeep", upkeep(store.clone(), pool, tasks.stopping(), blocks));
    Ok(())
}

async fn upkeep(
    store: Arc<Tsdb>,
    pool: CpuPool,
    stop: CancellationToken,
    work: impl Fn(&Tsdb) -> Result<(), UpkeepError> + Copy + Send + 'static,
) {
    let mut ticker = tokio::time::interval_at(tokio::time::Instant::now() + UPKEEP, UPKEEP);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticker.tick() => {}
        }
        let worker = store.clone();
        let outcome = tokio::select! {
            outcome = pool.run(move || work(&worker)) => outcome,
            () = stop.cancelled() => {
                // A compaction under way is given up; what it would have replaced is all still there.
                store.give_up();
                return;
            }
        };
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "upkeep of the store failed"),
            Err(error) => tracing::error!(%error, "upkeep of the store failed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ByteSize, RetentionConfig};

    #[test]
    fn the_configs_retention_replaces_that_of_the_flags_as_a_whole() {
        let flags = Retention { time: Some(DurationMs::from_secs(86_400)), bytes: Some(7), percentage: None };
        let mut config = StorageConfig::default();
        let settings = |config: &StorageConfig| super::settings(config, flags, Features::default());
        assert_eq!(settings(&config).retention, flags);
        config.retention = Some(RetentionConfig { size: ByteSize(1 << 30), ..RetentionConfig::default() });
        let retention = settings(&config).retention;
        assert_eq!(retention, Retention { time: None, bytes: Some(1 << 30), percentage: None });
        assert_eq!(describe(&retention), "1GiB");
        assert_eq!(describe(&flags), "1d or 7B");
    }
    #[test]
    fn features_are_defaults_that_the_config_wins_over() {
        let features =
            Features { exemplar_storage: true, xor2_encoding: true, st_storage: true, ..Features::default() };
        let mut config = StorageConfig::default();
        let of = |config: &StorageConfig, features| {
            let Settings { max_exemplars, starts, xor2, .. } = settings(config, Retention::default(), features);
            (max_exemplars, starts, xor2)
        };
        assert_eq!(of(&config, Features::default()), (0, Starts::Drop, false));
        assert_eq!(of(&config, features), (100_000, Starts::Keep, true));
        config.max_exemplars = Some(-1);
        config.float_encoding = Some(FloatEncoding::Xor);
        assert_eq!(of(&config, features), (0, Starts::Keep, false));
        config.max_exemplars = Some(7);
        config.float_encoding = Some(FloatEncoding::Xor2);
        assert_eq!(of(&config, Features::default()), (7, Starts::Drop, true));
    }
}
