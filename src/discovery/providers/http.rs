//! Targets asked of an HTTP endpoint.

use std::time::Duration;

use super::super::merge::Context;
use super::super::{HttpSdConfig, TargetGroup, groups};
use crate::net::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use crate::net::{Client, Request, read_body};

/// The largest answer: eighty thousand targets with two hundred bytes each.
const MAX_ANSWER_BYTES: u64 = 16 << 20;
const INTERVAL_HEADER: HeaderName = HeaderName::from_static("x-prometheus-refresh-interval-seconds");

/// Asks the endpoint until the job stops.
pub(in super::super) async fn run(config: HttpSdConfig, context: Context) {
    let interval = super::interval_of(config.refresh_interval);
    let mut client = None;
    let mut ticks = super::Ticks::new(interval, &context.stop);
    while ticks.next().await {
        context.refreshes.inc();
        let asked = ask(&config, interval, &mut client, &context.job);
        match context.stop.run_until_cancelled(asked).await {
            None => return,
            Some(Ok(groups)) => context.sink.publish(groups),
            Some(Err(error)) => {
                context.failures.inc();
                let host = config.url.host_str();
                tracing::error!(job = %context.job, host, %error, "HTTP discovery failed, keeping the last targets");
            }
        }
    }
}

async fn ask(
    config: &HttpSdConfig,
    interval: Duration,
    slot: &mut Option<Client>,
    job: &str,
) -> Result<Vec<TargetGroup>, String> {
    let client = match slot {
        Some(client) => client,
        None => slot.insert(Client::new(&config.client, job).map_err(|e| e.to_string())?),
    };
    let seconds = HeaderValue::from_str(&interval.as_secs_f64().to_string()).map_err(|e| e.to_string())?;
    let request = Request::get(config.url.clone())
        .timeout(interval)
        .header(ACCEPT, HeaderValue::from_static("application/json"))
        .header(INTERVAL_HEADER, seconds);
    let response = client.send(request).await.and_then(|r| r.ok()).map_err(|e| e.to_string())?;
    let content_type = response.headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    if !is_json(content_type) {
        // Capped: the text comes from the peer and goes into a log line.
        let shown: String = String::from_utf8_lossy(content_type).chars().take(100).collect();
        return Err(format!("unsupported content type {shown:?}"));
    }
    let encoding = response.content_encoding().to_owned();
    let mut body = Vec::new();
    read_body(response.body, &encoding, Some(MAX_ANSWER_BYTES), &mut body).await.map_err(|e| e.to_string())?;
    let url = config.url.as_str();
    groups::from_json(&body, url, ("__meta_url", url))
}

/// `application/json`, with UTF-8 as its only possible parameter.
fn is_json(content_type: &[u8]) -> bool {
    let text = String::from_utf8_lossy(content_type).trim().to_ascii_lowercase();
    match text.strip_prefix("application/json") {
        Some("") => true,
        Some(rest) => {
            let charset = rest.strip_prefix(';').map(str::trim_start).and_then(|p| p.strip_prefix("charset="));
            matches!(charset, Some("utf-8" | "\"utf-8\""))
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::http::{HeaderMap, StatusCode};
    use parking_lot::Mutex;

    use super::*;
    use crate::model::{DurationMs, Labels};
    use crate::net::HttpClientConfig;
    use crate::runtime::Tasks;
    use crate::telemetry::Registry;

    type Script = Arc<Mutex<(StatusCode, &'static str, &'static str, HeaderMap)>>;

    async fn serve(script: Script, tasks: &Tasks) -> url::Url {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/sd", listener.local_addr().expect("an address"));
        let app = axum::Router::new().fallback(move |headers: HeaderMap| async move {
            let mut script = script.lock();
            script.3 = headers;
            (script.0, [("content-type", script.1)], script.2)
        });
        let stop = tasks.stopping();
        tasks.spawn("server", async move {
            axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await.expect("serving");
        });
        url.parse().expect("a URL")
    }

    /// Waits until a condition holds; a test that waits in vain fails by its runner's time limit.
    async fn until(condition: impl Fn() -> bool) {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn groups_come_change_go_and_survive_failures() {
        let (tasks, registry) = (Tasks::new(), Registry::new());
        let two = r#"[{"targets":["a:1"]},{"targets":["b:1"],"labels":{"x":"y"}}]"#;
        let script: Script =
            Arc::new(Mutex::new((StatusCode::OK, "application/json; charset=utf-8", two, HeaderMap::new())));
        let url = serve(script.clone(), &tasks).await;
        let (context, published) = Context::test(&tasks, &registry);
        let failures = context.failures.clone();
        let refresh_interval = DurationMs(100);
        let config = HttpSdConfig { url: url.clone(), refresh_interval, client: HttpClientConfig::default() };
        tasks.spawn("http", run(config, context));
        until(|| published().len() == 2).await;
        assert_eq!(published()[1].source, format!("{url}:1"));
        assert_eq!(published()[1].labels, Labels::from_pairs([("__meta_url", url.as_str()), ("x", "y")]));
        {
            let headers = &script.lock().3;
            assert_eq!(headers["x-prometheus-refresh-interval-seconds"], "0.1");
            assert_eq!(headers["accept"], "application/json");
        }
        let too_long = format!("{}[]", " ".repeat(16 << 20)).leak();
        for (status, content_type, body) in [
            (StatusCode::OK, "application/json", &*too_long),
            (StatusCode::INTERNAL_SERVER_ERROR, "application/json", "[]"),
            (StatusCode::NO_CONTENT, "application/json", ""),
            (StatusCode::OK, "text/plain", "[]"),
            (StatusCode::OK, "application/json", "["),
        ] {
            let before = failures.get();
            {
                let mut script = script.lock();
                (script.0, script.1, script.2) = (status, content_type, body);
            }
            // Two more, because one refresh may have been under way.
            until(|| failures.get() >= before + 2).await;
            let start = body.get(..body.len().min(20));
            assert_eq!(published().len(), 2, "{status} {content_type} {start:?}");
        }
        (script.lock().1, script.lock().2) = ("application/json", r#"[{"targets":["a:1"]}]"#);
        until(|| published().len() == 1).await;
        assert!(tasks.shutdown(Duration::from_secs(10)).await);
    }

    #[test]
    fn only_json_is_json() {
        for good in [
            "application/json",
            " Application/JSON ",
            "application/json; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
        ] {
            assert!(is_json(good.as_bytes()), "{good}");
        }
        for bad in ["", "text/json", "application/jsonp", "application/json; charset=latin1", "application/json;"] {
            assert!(!is_json(bad.as_bytes()), "{bad}");
        }
    }
}
