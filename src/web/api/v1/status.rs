//! `status/*`: what runs here.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use serde::Serialize;

use super::Call;
use super::json::Rfc3339;
use super::reply::{Answer, ApiError};
use crate::cluster::introduction;
use crate::web::config::hostname;
use crate::web::routes::Web;

/// A configuration as YAML.
#[derive(Serialize)]
pub(super) struct Yaml {
    pub(super) yaml: String,
}

/// The running configuration.
pub(super) fn config(call: &Call) -> Result<Answer, ApiError> {
    Ok(Answer::of(&Yaml { yaml: (call.web.deps.config_yaml)() }))
}

/// All flags with their values.
pub(super) fn flags(call: &Call) -> Result<Answer, ApiError> {
    Ok(Answer::of(&*call.web.deps.flags))
}

/// What was built, and in a header which process this is: a cluster frontend finds out by it that it asks itself.
pub(super) async fn build_info_of_this(state: State<Arc<Web>>, request: Request) -> Response<Body> {
    let mut response = super::run(state, request, build_info).await;
    let (name, value) = introduction();
    response.headers_mut().insert(name, value);
    response
}

/// What was built.
fn build_info(call: &Call) -> Result<Answer, ApiError> {
    Ok(Answer::of(&call.web.deps.build))
}

/// The reference's fields. Those of its language stand for what comes nearest: tasks for goroutines, worker threads for
/// processors, no memory limit.
#[derive(Serialize)]
struct RuntimeInfo {
    #[serde(rename = "startTime")]
    start_time: Rfc3339,
    #[serde(rename = "CWD")]
    cwd: String,
    hostname: String,
    #[serde(rename = "serverTime")]
    server_time: Rfc3339,
    #[serde(rename = "reloadConfigSuccess")]
    reload_config_success: bool,
    #[serde(rename = "lastConfigTime")]
    last_config_time: Rfc3339,
    #[serde(rename = "corruptionCount")]
    corruption_count: u64,
    #[serde(rename = "goroutineCount")]
    goroutine_count: usize,
    #[serde(rename = "GOMAXPROCS")]
    gomaxprocs: usize,
    #[serde(rename = "GOMEMLIMIT")]
    gomemlimit: i64,
    #[serde(rename = "GOGC")]
    gogc: &'static str,
    #[serde(rename = "GODEBUG")]
    godebug: &'static str,
    #[serde(rename = "storageRetention")]
    storage_retention: String,
}

/// Facts about the process.
pub(super) fn runtime_info(call: &Call) -> Result<Answer, ApiError> {
    let deps = &call.web.deps;
    let facts = (deps.runtime)();
    let cwd = std::env::current_dir().map(|dir| dir.display().to_string());
    Ok(Answer::of(&RuntimeInfo {
        start_time: Rfc3339(Some(call.web.birth)),
        cwd: cwd.unwrap_or_else(|error| format!("<{error}>")),
        hostname: hostname(),
        server_time: Rfc3339(Some(deps.clock.now())),
        reload_config_success: facts.reload_succeeded,
        last_config_time: Rfc3339(facts.config_loaded),
        corruption_count: facts.corruptions,
        goroutine_count: call.web.runtime.num_alive_tasks(),
        gomaxprocs: call.web.runtime.num_workers(),
        gomemlimit: i64::MAX,
        gogc: "",
        godebug: "",
        storage_retention: facts.storage_retention,
    }))
}
