//! Serving: flags into the application's options.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use super::ServeFlags;
use super::flags::CONFIG_FILE;
use crate::app::{self, AppError, Options};
use crate::config::{self, ByteSize, FeatureFate, FeatureNote, Features};
use crate::model::DurationMs;
use crate::promql::service::Limits;
use crate::remote::read;
use crate::remote::write::{self, AcceptedMessages};
use crate::telemetry::{self, logging};
use crate::tsdb;
use crate::web::{AdminApi, CorsOrigin, ExternalUrl, Lifecycle, RemoteReadConfig, RoutePrefix, WebConfig};

/// How long samples are kept if nobody says.
const RETENTION_DEFAULT: DurationMs = DurationMs::from_secs(15 * 24 * 3600);

/// How often the config is looked at if only a feature asks for it; as in the reference.
const AUTO_RELOAD: DurationMs = DurationMs::from_secs(30);

/// Usage mistakes end with the same code as those that the parser of the command line finds.
const USAGE: u8 = 2;

/// A query may have so large a part of the memory, and all together twice that: the store has the rest.
const MEMORY_PART: u64 = 4;

/// Async work is small and short; more threads than this only cost memory.
const ASYNC_THREADS_MAX: usize = 4;

pub(super) fn run(flags: ServeFlags, flag_values: BTreeMap<String, String>) -> ExitCode {
    if let Err(error) = logging::init(flags.log_level.into(), flags.log_format.into()) {
        eprintln!("watershed: setting up the log: {error}");
        return ExitCode::FAILURE;
    }
    let options = match options(flags, flag_values) {
        Ok(options) => options,
        Err(reason) => {
            eprintln!("watershed: {reason}");
            return ExitCode::from(USAGE);
        }
    };
    match serve(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // To people, not to the log: a config's mistakes are lines of their own.
            eprintln!("watershed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(options: Options) -> Result<(), AppError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(ASYNC_THREADS_MAX);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    runtime.block_on(app::serve(options))
}

/// As in the reference: without any limit, fifteen days.
fn retention(time: DurationMs, size: ByteSize) -> tsdb::Retention {
    let bytes = u64::try_from(size.0).ok().filter(|n| *n > 0);
    let time = match time.0 {
        0 if bytes.is_none() => Some(RETENTION_DEFAULT),
        0 => None,
        _ => Some(time),
    };
    tsdb::Retention { time, bytes, percentage: None }
}

fn remote_read(flags: &ServeFlags, held_bytes: u64) -> RemoteReadConfig {
    let some = |n: u64| Some(n).filter(|n| *n > 0);
    let limits = read::Limits {
        samples: some(flags.read_sample_limit),
        streamed_samples: some(flags.read_stream_sample_limit),
        bytes: u64::try_from(flags.read_byte_limit.0).ok().and_then(some),
        frame: usize::try_from(flags.read_max_bytes_in_frame).unwrap_or(usize::MAX),
    };
    let concurrent = some(flags.read_concurrent_limit).and_then(|n| usize::try_from(n).ok());
    let concurrent = concurrent.unwrap_or(usize::MAX).min(RemoteReadConfig::CONCURRENT_MAX);
    RemoteReadConfig { limits, concurrent, held_bytes }
}

fn limits(flags: &ServeFlags) -> Limits {
    let told = u64::try_from(flags.query_max_bytes.0).ok().filter(|bytes| *bytes > 0);
    let max_bytes = told.or_else(|| telemetry::memory::limit().map(|bytes| bytes / MEMORY_PART)).unwrap_or(u64::MAX);
    Limits {
        timeout: flags.query_timeout.to_std(),
        max_concurrency: flags.query_max_concurrency.max(1) as usize,
        max_samples: flags.query_max_samples,
        max_bytes,
        max_bytes_of_all: max_bytes.saturating_mul(2),
        slow: Some(flags.query_log_slower_than.to_std()).filter(|d| !d.is_zero()),
    }
}

/// Reads the names of features, and tells in the log what becomes of each.
fn features(lists: &[String]) -> Features {
    let (features, notes) = config::read_features(lists);
    for FeatureNote { name: feature, fate } in &notes {
        match fate {
            FeatureFate::Enabled => tracing::info!(feature, "enabled a feature"),
            FeatureFate::Always => tracing::info!(feature, "--enable-feature names what is always on"),
            FeatureFate::Absent => {
                tracing::warn!(feature, "--enable-feature names what this version does not have; it changes nothing")
            }
            FeatureFate::Unknown => tracing::warn!(feature, "--enable-feature names an unknown feature"),
        }
    }
    features
}

fn remote_write(flags: &ServeFlags, has_type_labels: bool) -> write::Config {
    let bytes = |size: ByteSize| usize::try_from(size.0.max(0)).unwrap_or(usize::MAX);
    write::Config {
        accepted: AcceptedMessages::only(&flags.remote_write_messages),
        max_body: bytes(flags.remote_write_max_body),
        max_message: bytes(flags.remote_write_max_message),
        max_held: bytes(flags.remote_write_max_held),
        has_type_labels,
    }
}

fn options(flags: ServeFlags, flag_values: BTreeMap<String, String>) -> Result<Options, String> {
    let first = flags.listen.first().map_or("", String::as_str);
    let external_url = ExternalUrl::parse(flags.external_url.as_deref().unwrap_or_default(), first)
        .map_err(|e| format!("--web.external-url: {e}"))?;
    let mut web = WebConfig::new(external_url);
    if let Some(prefix) = &flags.route_prefix {
        web.route_prefix = RoutePrefix::new(prefix);
    }
    if flags.enable_lifecycle {
        web.lifecycle = Lifecycle::Enabled;
    }
    if flags.enable_admin_api {
        web.admin_api = AdminApi::Enabled;
    }
    web.cors_origin = CorsOrigin::new(&flags.cors_origin).map_err(|e| format!("--web.cors.origin: {e}"))?;
    web.max_connections = flags.max_connections;
    web.read_timeout = flags.read_timeout.to_std();
    web.header_timeout = flags.header_timeout.to_std();
    web.write_stall_timeout = flags.write_timeout.to_std();
    web.answer_timeout = flags.answer_timeout.to_std();
    web.max_header_bytes = u32::try_from(flags.max_header_bytes.0).unwrap_or(u32::MAX);
    web.form_limit = usize::try_from(flags.max_form_bytes.0).unwrap_or(usize::MAX);
    web.max_streams = flags.max_streams;
    web.open_health = flags.open_health_endpoints;
    web.lookback = flags.lookback_delta;
    web.cluster_concurrency = flags.query_cluster_max_concurrency.max(1) as usize;
    let features = features(&flags.enable_feature);
    web.remote_write = flags.enable_remote_write_receiver.then(|| remote_write(&flags, features.type_and_unit_labels));
    let auto_reload = match flags.auto_reload_interval {
        DurationMs(0) if features.auto_reload_config => AUTO_RELOAD,
        interval => interval,
    };
    let queries = limits(&flags);
    web.remote_read = remote_read(&flags, queries.max_bytes);
    Ok(Options {
        config_may_be_missing: flags.gateway.suffice() && flags.config_file == Path::new(CONFIG_FILE),
        settings: flags.gateway.settings,
        config_file: flags.config_file,
        auto_reload: (auto_reload.0 > 0).then(|| auto_reload.to_std()),
        web_config_file: flags.web_config_file,
        listen: flags.listen,
        web,
        host_metrics: flags.enable_host_metrics,
        otlp: flags.enable_otlp_receiver,
        storage_path: flags.storage_path,
        storage: tsdb::Options {
            compression: flags.wal_compression.into(),
            chunk_range: flags.min_block_duration,
            max_block: flags.max_block_duration,
            ..tsdb::Options::default()
        },
        retention: retention(flags.retention_time, flags.retention_size),
        features,
        queries,
        notification_followers: flags.max_notification_followers,
        flags: flag_values,
    })
}
