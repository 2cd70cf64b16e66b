//! Management, metrics, redirects and the pages for people.

use std::sync::Arc;

use axum::http::{Method, StatusCode};

use super::Fixture;
use crate::web::Lifecycle;

#[tokio::test]
async fn lifecycle_endpoints_are_forbidden_unless_enabled() {
    let app = Fixture::new().app();
    for path in ["/-/reload", "/-/quit"] {
        for method in [Method::POST, Method::PUT] {
            let answer = app.method(method, path).await;
            assert_eq!((answer.status.as_u16(), answer.text()), (403, "Lifecycle API is not enabled."));
        }
        let answer = app.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (405, "Only POST or PUT requests allowed"));
    }
}

#[tokio::test]
async fn a_reload_answers_with_its_outcome() {
    let mut fixture = Fixture::new();
    fixture.config.lifecycle = Lifecycle::Enabled;
    let (_, closed) = tokio::sync::mpsc::channel(1);
    let mut reloads = std::mem::replace(&mut fixture.reloads, closed);
    let app = fixture.app();
    for (outcome, status, text) in [
        (Ok(()), StatusCode::OK, ""),
        (Err("line 3: unknown key".to_owned()), StatusCode::INTERNAL_SERVER_ERROR, "line 3: unknown key"),
    ] {
        let reload = async { reloads.recv().await.expect("a request").reply.send(outcome).expect("awaited") };
        let (answer, ()) = tokio::join!(app.method(Method::POST, "/-/reload"), reload);
        assert_eq!(answer.status, status);
        assert!(answer.text().contains(text), "{}", answer.text());
    }
    drop(reloads);
    let answer = app.method(Method::PUT, "/-/reload").await;
    assert!(answer.status == 500 && answer.text().contains("shutting down"), "{}", answer.text());
}

#[tokio::test]
async fn quit_is_asked_for_once() {
    let mut fixture = Fixture::new();
    fixture.config.lifecycle = Lifecycle::Enabled;
    let quit = fixture.deps.quit.clone();
    let app = fixture.app();
    assert!(app.method(Method::POST, "/-/quit").await.text().starts_with("Requesting termination"));
    assert!(quit.is_cancelled());
    assert!(app.method(Method::POST, "/-/quit").await.text().starts_with("Termination already"));
}

#[tokio::test]
async fn own_metrics_count_the_requests_by_route_and_never_by_path() {
    let app = Fixture::new().app();
    for path in ["/-/healthy", "/-/healthy", "/secret-path", "/api/v1/label/job/values", "/api/v1/nonsense"] {
        app.get(path).await;
    }
    let answer = app.get("/metrics").await;
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    for line in [
        r#"watershed_http_requests_total{handler="/-/healthy",code="200"} 2"#,
        r#"watershed_http_requests_total{handler="unknown",code="404"} 1"#,
        r#"watershed_http_requests_total{handler="/api/v1/label/{name}/values",code="200"} 1"#,
        r#"watershed_http_requests_total{handler="/api/v1/{*rest}",code="404"} 1"#,
        r#"watershed_http_request_duration_seconds_count{handler="/-/healthy"} 2"#,
    ] {
        assert!(answer.text().lines().any(|l| l == line), "{line} is missing in\n{}", answer.text());
    }
    assert!(!answer.text().contains("secret-path"));
}

#[tokio::test]
async fn the_host_exporter_is_served_only_where_it_is_enabled() {
    let answer = Fixture::new().app().get("/metrics/host").await;
    assert_eq!((answer.status.as_u16(), answer.text()), (404, "The host exporter is not enabled.\n"));
    let mut fixture = Fixture::new();
    fixture.deps.host_metrics = Some(Arc::new(|out: &mut String| out.push_str("node_load1 0.5\n")));
    assert_eq!(fixture.app().get("/metrics/host").await.text(), "node_load1 0.5\n");
}

#[tokio::test]
async fn everything_is_served_below_the_route_prefix() {
    let app = Fixture::new().external_url("http://x.example/mon/").app();
    let root = app.get("/").await;
    assert_eq!((root.status.as_u16(), root.header("location")), (302, "/mon"));
    let bare = app.get("/mon").await;
    assert_eq!((bare.status.as_u16(), bare.header("location")), (301, "/mon/"));
    for path in ["/mon/", "/mon/-/healthy", "/mon/metrics", "/mon/api/v1/labels", "/mon/targets"] {
        assert_eq!(app.get(path).await.status, StatusCode::OK, "{path}");
    }
    for path in ["/-/healthy", "/metrics", "/api/v1/labels"] {
        assert_eq!(app.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    let metrics = app.get("/mon/metrics").await;
    assert!(metrics.text().contains(r#"handler="/-/healthy""#), "handlers are named without the prefix");
    assert!(app.get("/mon/").await.text().contains("href=\"/mon/targets\""));
}

#[tokio::test]
async fn pages_escape_what_targets_say() {
    let answer = Fixture::new().app().get("/targets").await;
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    assert!(answer.text().contains("&lt;script&gt;alert(&#39;x&#39;)"), "{}", answer.text());
    assert!(!answer.text().contains("<script>"));
    assert!(answer.text().contains("1.5 s ago, took 0.250 s") && answer.text().contains("never"));
}
