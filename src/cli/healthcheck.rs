//! `watershed healthcheck`.

use std::process::ExitCode;
use std::time::Duration;

use super::demo::http;

const TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn run(url: &str) -> ExitCode {
    let url = format!("{}/-/healthy", url.trim_end_matches('/'));
    let outcome = match http::runtime() {
        Ok(runtime) => runtime.block_on(async { tokio::time::timeout(TIMEOUT, http::get(&url)).await }),
        Err(error) => Ok(Err(error.to_string())),
    };
    match outcome {
        Ok(Ok(_)) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            eprintln!("{url}: {error}");
            ExitCode::FAILURE
        }
        Err(_) => {
            eprintln!("{url}: no answer within {}", humantime::format_duration(TIMEOUT));
            ExitCode::FAILURE
        }
    }
}
