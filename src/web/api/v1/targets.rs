//! `targets`, `scrape_pools` and `scrape_pools/config`.

use serde::Serialize;
use std::collections::BTreeMap;

use super::Call;
use super::json::{LabelMap, Rfc3339};
use super::reply::{Answer, ApiError, ErrorKind};
use super::status::Yaml;
use crate::model::GoQuoted;
use crate::scrape::{DroppedTarget, JobConfig, TargetStatus};
use crate::web::routes::Web;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Discovery<'a> {
    active_targets: Vec<Active<'a>>,
    dropped_targets: Vec<Dropped<'a>>,
    /// Null unless dropped targets were asked for.
    dropped_target_counts: Option<BTreeMap<String, u64>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Active<'a> {
    discovered_labels: LabelMap<'a>,
    labels: LabelMap<'a>,
    scrape_pool: &'a str,
    scrape_url: &'a str,
    global_url: String,
    last_error: &'a str,
    last_scrape: Rfc3339,
    last_scrape_duration: f64,
    health: &'static str,
    scrape_interval: String,
    scrape_timeout: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Dropped<'a> {
    discovered_labels: LabelMap<'a>,
    scrape_pool: &'a str,
}

/// Targets by `state` (active, dropped; any by default), of one `scrapePool` or of all.
pub(super) fn targets(call: &Call) -> Result<Answer, ApiError> {
    let pool = Some(call.form.first("scrapePool")).filter(|p| !p.is_empty());
    let state = call.form.first("state").to_lowercase();
    let shows = |which: &str| matches!(state.as_str(), "" | "any") || state == which;
    let source = &call.web.deps.targets;
    let active = if shows("active") { source.active(pool) } else { Vec::new() };
    let dropped = if shows("dropped") { source.dropped(pool) } else { Vec::new() };
    Ok(Answer::of(&Discovery {
        active_targets: active.iter().map(|t| Active::of(&call.web, t)).collect(),
        dropped_targets: dropped.iter().map(Dropped::of).collect(),
        dropped_target_counts: shows("dropped").then(|| source.dropped_counts().into_iter().collect()),
    }))
}

/// The names of all jobs.
pub(super) fn scrape_pools(call: &Call) -> Result<Answer, ApiError> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Pools {
        scrape_pools: Vec<String>,
    }
    Ok(Answer::of(&Pools { scrape_pools: call.web.deps.targets.pools() }))
}

/// The configuration of the job `scrapePool`.
pub(super) fn config(call: &Call) -> Result<Answer, ApiError> {
    Ok(Answer::of(&Yaml { yaml: job(call)?.rendered }))
}

/// The job `scrapePool`.
pub(super) fn job(call: &Call) -> Result<JobConfig, ApiError> {
    let refused = |why: String| ApiError::new(ErrorKind::BadData, why);
    let pool = call.form.first("scrapePool");
    if pool.is_empty() {
        return Err(refused("no scrapePool parameter provided".to_owned()));
    }
    let unknown = || refused(format!("error retrieving scrape config: scrape pool {} not found", GoQuoted(pool)));
    call.web.deps.targets.config(pool).ok_or_else(unknown)
}

impl<'a> Active<'a> {
    fn of(web: &Web, target: &'a TargetStatus) -> Active<'a> {
        Active {
            discovered_labels: LabelMap(target.discovered_labels.as_bytes()),
            labels: LabelMap(target.labels.as_bytes()),
            scrape_pool: &target.scrape_pool,
            scrape_url: &target.scrape_url,
            global_url: global_url(web, &target.scrape_url),
            last_error: &target.last_error,
            last_scrape: Rfc3339(target.last_scrape),
            last_scrape_duration: target.last_scrape_duration_s,
            health: target.health.as_str(),
            scrape_interval: target.interval.to_string(),
            scrape_timeout: target.timeout.to_string(),
        }
    }
}

impl<'a> Dropped<'a> {
    fn of(target: &'a DroppedTarget) -> Dropped<'a> {
        Dropped { discovered_labels: LabelMap(target.discovered_labels.as_bytes()), scrape_pool: &target.scrape_pool }
    }
}

/// The URL under which people can reach a target. A target on this machine is reached under the external URL's host; if
/// it has our own port it is ourselves, and scheme and port are the external ones too.
fn global_url(web: &Web, url: &str) -> String {
    let external = &web.config.external_url;
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (host, port) = split_port(authority);
    if !matches!(host, "127.0.0.1" | "localhost" | "[::1]") {
        return url.to_owned();
    }
    if port.parse() == Ok(web.own_port) {
        return format!("{}://{}{path}", external.scheme(), external.host());
    }
    let (external_host, _) = split_port(external.host());
    let colon = if port.is_empty() { "" } else { ":" };
    format!("{scheme}://{external_host}{colon}{port}{path}")
}

/// Host, in brackets if it is given so, and port or nothing.
fn split_port(authority: &str) -> (&str, &str) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (authority, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::tests::Fixture;

    #[tokio::test]
    async fn local_targets_are_shown_under_the_external_host() {
        let web = Fixture::new().external_url("https://home.example/mon").web();
        for (url, global) in [
            ("http://127.0.0.1:9090/metrics", "https://home.example/metrics"),
            ("http://localhost:9100/metrics?a=b", "http://home.example:9100/metrics?a=b"),
            ("http://[::1]:9100/m", "http://home.example:9100/m"),
            ("http://localhost/m", "http://home.example/m"),
            ("http://10.0.0.1:9100/m", "http://10.0.0.1:9100/m"),
            ("https://[fd00::1]/m", "https://[fd00::1]/m"),
        ] {
            assert_eq!(global_url(&web, url), global, "{url}");
        }
    }
}
