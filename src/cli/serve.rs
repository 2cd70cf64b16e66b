//! Serving: flags into the application's options.

use std::collections::BTreeMap;
use std::process::ExitCode;

use super::ServeFlags;
use crate::app::{self, AppError, Options};
use crate::telemetry::logging;
use crate::web::{CorsOrigin, ExternalUrl, Lifecycle, RoutePrefix, WebConfig};

/// Usage mistakes end with the same code as those that the parser of the command line finds.
const USAGE: u8 = 2;

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
    web.cors_origin = CorsOrigin::new(&flags.cors_origin).map_err(|e| format!("--web.cors.origin: {e}"))?;
    web.max_connections = flags.max_connections;
    web.read_timeout = flags.read_timeout.to_std();
    web.lookback = flags.lookback_delta;
    Ok(Options {
        config_file: flags.config_file,
        auto_reload: (flags.auto_reload_interval.0 > 0).then(|| flags.auto_reload_interval.to_std()),
        listen: flags.listen,
        web,
        host_metrics: flags.enable_host_metrics,
        storage_path: flags.storage_path,
        retention: flags.retention,
        flags: flag_values,
    })
}
