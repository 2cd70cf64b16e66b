//! `/api/v1` without sockets.

use std::sync::Arc;

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::Fixture;
use super::fixture::App;
use crate::storage::{AdminError, Administrable, HeadStatistics, ReplayStatus, Selector, TimeRange};
use crate::web::{AdminApi, CorsOrigin, ReadinessState};

async fn data(app: &App, path: &str) -> Value {
    let answer = app.get(&format!("/api/v1/{path}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
    assert_eq!(answer.header("content-type"), "application/json");
    let mut envelope = answer.json();
    assert_eq!(envelope["status"], "success", "{path}");
    envelope["data"].take()
}

async fn error(app: &App, path: &str) -> (u16, String, String) {
    let answer = app.get(&format!("/api/v1/{path}")).await;
    let envelope = answer.json();
    assert_eq!(envelope["status"], "error", "{path}");
    let field = |name: &str| envelope[name].as_str().expect("a string").to_owned();
    (answer.status.as_u16(), field("errorType"), field("error"))
}

#[tokio::test]
async fn labels_and_values_can_be_narrowed_by_selectors_and_time() {
    let app = Fixture::new().with_series().app();
    for (path, expected) in [
        ("labels", json!(["__name__", "instance", "job", "my.label"])),
        ("labels?match[]=up", json!(["__name__", "instance", "job"])),
        ("labels?match[]=up&match[]=load", json!(["__name__", "instance", "job", "my.label"])),
        ("labels?end=1", json!([])),
        ("labels?start=2023-11-14T22:13:00Z&match[]=up", json!(["__name__", "instance", "job"])),
        ("label/job/values", json!(["db", "node"])),
        ("label/job/values?match[]=load", json!(["node"])),
        ("label/job/values?start=1699999970", json!(["node"])),
        ("label/nothing/values", json!([])),
        ("label/my.label/values", json!(["x"])),
        ("label/U__my_2e_label/values", json!(["x"])),
        ("label/my%2Elabel/values", json!(["x"])),
    ] {
        assert_eq!(data(&app, path).await, expected, "{path}");
    }
}

#[tokio::test]
async fn an_answer_cut_by_a_limit_carries_a_warning() {
    let app = Fixture::new().with_series().app();
    for (path, left, warned) in [
        ("labels?limit=2", 2, true),
        ("labels?limit=4", 4, false),
        ("labels?limit=0", 4, false),
        ("label/job/values?limit=1", 1, true),
        ("series?match[]=up&limit=1", 1, true),
        ("series?match[]=up&limit=2", 2, false),
        ("series?match[]=up&match[]=load&limit=2", 2, true),
    ] {
        let answer = app.get(&format!("/api/v1/{path}")).await.json();
        assert_eq!(answer["data"].as_array().map(Vec::len), Some(left), "{path}");
        let warnings = if warned { json!(["results truncated due to limit"]) } else { Value::Null };
        assert_eq!(answer["warnings"], warnings, "{path}");
    }
}

#[tokio::test]
async fn series_are_the_union_of_the_selections() {
    let app = Fixture::new().with_series().app();
    let answer = app.get("/api/v1/series?match[]=up&match[]=%7Bjob=%22node%22%7D").await;
    let expected = concat!(
        r#"{"status":"success","data":["#,
        r#"{"__name__":"load","instance":"a:1","job":"node","my.label":"x"},"#,
        r#"{"__name__":"up","instance":"a:1","job":"node"},"#,
        r#"{"__name__":"up","instance":"b:1","job":"db"}]}"#,
    );
    assert_eq!(answer.text(), expected);
    assert_eq!(app.get("/api/v1/series?match[]=nothing").await.text(), r#"{"status":"success","data":[]}"#);
}

#[tokio::test]
async fn a_form_in_the_body_counts_like_the_query_string() {
    let app = Fixture::new().with_series().app();
    let answer = app.post_form("/api/v1/series?match[]=load", "match%5B%5D=up&limit=9").await.json();
    assert_eq!(answer["data"].as_array().map(Vec::len), Some(3));
    let answer = app.post_form("/api/v1/labels?limit=1", "limit=2").await.json();
    assert_eq!(answer["data"].as_array().map(Vec::len), Some(2), "the body's value comes first");
}

#[tokio::test]
async fn wrong_parameters_are_bad_data() {
    let app = Fixture::new().app();
    for (path, sentence) in [
        ("series", "no match[] parameter provided"),
        ("series?match[]=up&limit=-1", "limit must be non-negative"),
        ("series?match[]=up&limit=x", "invalid parameter \"limit\": "),
        ("series?match[]=up&start=x", "invalid parameter \"start\": "),
        ("series?match[]=up&end=2020", ""),
        ("series?match[]=up%7B", "invalid parameter \"match[]\": "),
        ("series?match[]=%7Bx=~%22.*%22%7D", "match[] must contain at least one non-empty matcher"),
        ("series?match[]=%zz", "invalid URL escape \"%zz\""),
        ("labels?end=never", "cannot parse \"never\" to a valid timestamp"),
        ("labels?match[]=%7Bx=~%22(%22%7D", "1:2: parse error: error parsing regexp: "),
        ("label/U__/values", "invalid label name: \"\""),
        ("label/job/values?limit=1.5", "limit"),
        ("metadata?limit=x", "limit must be a number"),
        ("metadata?limit_per_metric=x", "limit_per_metric must be a number"),
        ("targets/metadata?limit=x", "limit must be a number"),
        ("targets/metadata?match_target=%7B", "match_target"),
    ] {
        if sentence.is_empty() {
            // A plain number is a time in seconds.
            assert_eq!(app.get(&format!("/api/v1/{path}")).await.status, StatusCode::OK);
            continue;
        }
        let (status, kind, message) = error(&app, path).await;
        assert_eq!((status, kind.as_str()), (400, "bad_data"), "{path}");
        assert!(message.contains(sentence), "{path}: {message}");
    }
}

#[tokio::test]
async fn targets_have_the_reference_s_shape() {
    let app = Fixture::new().app();
    let answer = app.get("/api/v1/targets?scrapePool=db").await;
    let expected = concat!(
        r#"{"status":"success","data":{"activeTargets":[{"discoveredLabels":{"__address__":"b:1","job":"db"},"#,
        r#""labels":{"instance":"b:1","job":"db"},"scrapePool":"db","scrapeUrl":"http://b:1/metrics","#,
        r#""globalUrl":"http://b:1/metrics","lastError":"\u003cscript\u003ealert('x')\u003c/script\u003e","#,
        r#""lastScrape":"2023-11-14T22:13:18.5Z","lastScrapeDuration":0.25,"health":"down","#,
        r#""scrapeInterval":"15s","scrapeTimeout":"10s"}],"droppedTargets":[],"#,
        r#""droppedTargetCounts":{"db":0,"node":7}}}"#,
    );
    assert_eq!(answer.text(), expected);
    let node = &data(&app, "targets?scrapePool=node").await["activeTargets"][0];
    assert_eq!(node["globalUrl"], "http://home.example:9090/metrics", "our own port is the external URL");
    assert_eq!((&node["lastScrape"], &node["health"]), (&json!("0001-01-01T00:00:00Z"), &json!("unknown")));
    assert_eq!(data(&app, "scrape_pools").await, json!({"scrapePools": ["db", "node"]}));
}

#[tokio::test]
async fn the_state_chooses_which_targets_are_shown() {
    let app = Fixture::new().app();
    for (state, active, dropped) in [("", 2, 1), ("any", 2, 1), ("Active", 2, 0), ("dropped", 0, 1), ("else", 0, 0)] {
        let shown = data(&app, &format!("targets?state={state}")).await;
        let count = |field: &str| shown[field].as_array().expect("an array").len();
        assert_eq!((count("activeTargets"), count("droppedTargets")), (active, dropped), "{state}");
        assert_eq!(shown["droppedTargetCounts"].is_null(), dropped == 0, "{state}");
    }
}

#[tokio::test]
async fn metadata_is_gathered_by_metric_and_by_target() {
    let app = Fixture::new().app();
    let load = |help: &str| json!({"type": "gauge", "unit": "", "help": help});
    let both = json!([load("Load."), load("Another load.")]);
    assert_eq!(data(&app, "metadata").await, json!({"load": both, "size_bytes": [load("Size.")]}));
    assert_eq!(data(&app, "metadata?metric=load&limit_per_metric=1").await, json!({"load": [load("Load.")]}));
    assert_eq!(data(&app, "metadata?limit=1").await, json!({"load": both}));
    assert_eq!(data(&app, "metadata?limit=0").await, json!({}));
    assert_eq!(data(&app, "metadata?metric=nothing").await, json!({}));
    let of_db = data(&app, "targets/metadata?match_target=%7Bjob=%22db%22%7D").await;
    let target = json!({"instance": "b:1", "job": "db"});
    let expected = json!([
        {"target": target, "metric": "load", "type": "gauge", "help": "Load.", "unit": ""},
        {"target": target, "metric": "size_bytes", "type": "gauge", "help": "Size.", "unit": ""},
    ]);
    assert_eq!(of_db, expected);
    let one = data(&app, "targets/metadata?metric=size_bytes").await;
    assert_eq!(one, json!([{"target": target, "type": "gauge", "help": "Size.", "unit": ""}]));
    let limited = data(&app, "targets/metadata?limit=1").await;
    assert_eq!(limited.as_array().map(Vec::len), Some(2), "one target's metrics are never cut");
}

#[tokio::test]
async fn status_tells_what_runs_here() {
    let app = Fixture::new().app();
    assert_eq!(data(&app, "status/config").await, json!({"yaml": "global: {}\n"}));
    assert_eq!(data(&app, "status/flags").await, json!({"web.listen-address": "0.0.0.0:9090"}));
    let build = data(&app, "status/buildinfo").await;
    assert_eq!((&build["application"], &build["version"]), (&json!("Watershed"), &json!(env!("CARGO_PKG_VERSION"))));
    let runtime = data(&app, "status/runtimeinfo").await;
    for (field, value) in [
        ("startTime", json!("2023-11-14T22:13:20Z")),
        ("serverTime", json!("2023-11-14T22:13:20Z")),
        ("lastConfigTime", json!("2023-11-14T22:13:19Z")),
        ("reloadConfigSuccess", json!(true)),
        ("corruptionCount", json!(2)),
        ("storageRetention", json!("3h")),
        ("GOMAXPROCS", json!(1)),
    ] {
        assert_eq!(runtime[field], value, "{field}");
    }
}

#[tokio::test]
async fn what_is_not_there_and_what_cannot_be_done_is_said_in_plain_words() {
    let app = Fixture::new().app();
    for path in ["/nothing", "/api/v1/nothing/deep", "/api/v1/", "/api/v2/query"] {
        let answer = app.get(path).await;
        assert_eq!((answer.status, answer.text()), (StatusCode::NOT_FOUND, "404 page not found\n"), "{path}");
    }
    for (method, path, allowed) in [
        (Method::DELETE, "/api/v1/labels", "GET,HEAD,POST"),
        (Method::POST, "/api/v1/rules", "GET,HEAD"),
        (Method::GET, "/api/v1/admin/tsdb/snapshot", "POST,PUT"),
        (Method::POST, "/-/healthy", "GET,HEAD"),
        (Method::POST, "/api/v1/notifications", "GET,HEAD"),
    ] {
        let answer = app.method(method, path).await;
        assert_eq!((answer.status, answer.text()), (StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n"), "{path}");
        assert_eq!(answer.header("allow"), allowed, "{path}");
    }
    let profiles = app.get("/debug/pprof/heap").await;
    assert!(profiles.status == StatusCode::NOT_FOUND && profiles.text().contains("no profiles"));
}

#[tokio::test]
async fn rules_and_alerts_are_answered_as_by_a_server_without_any() {
    let app = Fixture::new().app();
    assert_eq!(data(&app, "rules?type=Alert&group_limit=2").await, json!({"groups": []}));
    assert_eq!(data(&app, "alerts").await, json!({"alerts": []}));
    let managers = json!({"activeAlertmanagers": [], "droppedAlertmanagers": []});
    assert_eq!(data(&app, "alertmanagers").await, managers);
    for path in [
        "rules?type=x",
        "rules?exclude_alerts=maybe",
        "rules?group_limit=0",
        "rules?group_limit=1e3",
        "rules?group_next_token=x",
        "rules?group_limit=1&group_next_token=x",
        "rules?match[]=%7B",
    ] {
        let (status, kind, _) = error(&app, path).await;
        assert_eq!((status, kind.as_str()), (400, "bad_data"), "{path}");
    }
    assert_eq!(error(&app, "search/metric_names").await.1, "unavailable");
}

#[tokio::test]
async fn what_is_stored_is_told_within_limits() {
    let mut fixture = Fixture::new().with_series();
    fixture.deps.admin = Arc::new(Troubled);
    let app = fixture.app();
    assert_eq!(data(&app, "status/tsdb").await["headStats"]["numSeries"], 0);
    assert_eq!(data(&app, "status/tsdb/blocks").await, json!({"blocks": [{"ulid": "01"}]}));
    for limit in ["0", "-1", "x", "10001"] {
        assert_eq!(error(&app, &format!("status/tsdb?limit={limit}")).await.0, 400, "{limit}");
    }
}

#[tokio::test]
async fn progress_and_notifications_are_told_before_the_store_is_ready() {
    let mut fixture = Fixture::new();
    fixture.deps.admin = Arc::new(Troubled);
    fixture.deps.readiness.set(ReadinessState::Starting);
    fixture.deps.notifications.add("It is starting.");
    let app = fixture.app();
    assert_eq!(data(&app, "status/walreplay").await, json!({"min": 2, "max": 5, "current": 3}));
    let expected = json!([{"text": "It is starting.", "date": "2023-11-14T22:13:20Z", "active": true}]);
    assert_eq!(data(&app, "notifications").await, expected);
    assert_eq!(app.get("/api/v1/status/tsdb").await.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn notifications_are_sent_live_until_the_server_ends_and_to_no_more_than_allowed() {
    let fixture = Fixture::new();
    let notifications = fixture.deps.notifications.clone();
    notifications.add("First.");
    let app = Arc::new(fixture.app());
    let follower = notifications.follow().expect("room for one");
    let refused = app.get("/api/v1/notifications/live").await;
    assert_eq!((refused.status, refused.header("content-type")), (StatusCode::NO_CONTENT, "text/event-stream"));
    drop(follower);
    let live = app.get("/api/v1/notifications/live");
    let end = async {
        tokio::task::yield_now().await;
        notifications.remove("First.");
        notifications.close();
    };
    let (live, ()) = tokio::join!(live, end);
    let event =
        |active| format!("data: {{\"text\":\"First.\",\"date\":\"2023-11-14T22:13:20Z\",\"active\":{active}}}\n\n");
    assert_eq!(live.text(), event(true) + &event(false));
}

#[tokio::test]
async fn browsers_may_call_from_the_allowed_origins() {
    let ask = |origin: &'static str, method: Method| {
        let request = axum::http::Request::builder().method(method).uri("/api/v1/labels").header("origin", origin);
        request.body(axum::body::Body::empty()).expect("a valid request")
    };
    let app = Fixture::new().app();
    let answer = app.send(ask("http://a.example", Method::OPTIONS)).await;
    assert_eq!((answer.status, answer.body.len()), (StatusCode::NO_CONTENT, 0));
    assert_eq!(answer.header("access-control-allow-origin"), "http://a.example");
    assert_eq!(answer.header("access-control-allow-methods"), "GET, POST, OPTIONS");
    assert_eq!(app.get("/api/v1/labels").await.header("access-control-allow-origin"), "");

    let mut fixture = Fixture::new();
    fixture.config.cors_origin = CorsOrigin::new("http://a\\.example").expect("valid");
    let app = fixture.app();
    let origin = "access-control-allow-origin";
    assert_eq!(app.send(ask("http://a.example", Method::GET)).await.header(origin), "http://a.example");
    assert_eq!(app.send(ask("http://b.example", Method::GET)).await.header(origin), "");
}

/// A store whose disk is full.
struct Troubled;

impl Administrable for Troubled {
    fn delete(&self, _: &[Selector], _: TimeRange) -> Result<(), AdminError> {
        Err(AdminError::Failed("full".to_owned()))
    }

    fn clean_tombstones(&self) -> Result<(), AdminError> {
        Err(AdminError::Failed("full".to_owned()))
    }

    fn snapshot(&self, _: bool) -> Result<String, AdminError> {
        Err(AdminError::Failed("full".to_owned()))
    }

    fn trouble(&self) -> Option<String> {
        Some("writing /data/wal/00000003: no space left on device".to_owned())
    }

    fn statistics(&self, _: usize) -> Result<HeadStatistics, AdminError> {
        Ok(HeadStatistics::default())
    }

    fn block_descriptions(&self) -> Result<Vec<String>, AdminError> {
        Ok(vec![r#"{"ulid":"01"}"#.to_owned()])
    }

    fn replay_status(&self) -> ReplayStatus {
        ReplayStatus { min: 2, max: 5, current: 3 }
    }
}

#[tokio::test]
async fn a_store_in_trouble_is_not_ready_and_says_why_and_still_answers() {
    let mut fixture = Fixture::new().with_series();
    fixture.deps.admin = Arc::new(Troubled);
    let app = fixture.app();
    let ready = app.get("/-/ready").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(ready.text().contains("/data/wal/00000003: no space left"), "{}", ready.text());
    assert_eq!(app.get("/-/healthy").await.status, StatusCode::OK);
    assert_eq!(data(&app, "label/job/values").await, json!(["db", "node"]));
}

#[tokio::test]
async fn nothing_is_answered_before_the_store_is_ready() {
    let fixture = Fixture::new();
    let readiness = fixture.deps.readiness.clone();
    let app = fixture.app();
    readiness.set(ReadinessState::Starting);
    for path in ["/api/v1/labels", "/federate?match[]=up", "/-/ready"] {
        let answer = app.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.header("x-prometheus-stopping")), (503, "false"), "{path}");
    }
    assert_eq!(app.get("/-/healthy").await.status, StatusCode::OK);
    assert_eq!(app.get("/metrics").await.status, StatusCode::OK);
    readiness.set(ReadinessState::Stopping);
    assert_eq!(app.get("/-/ready").await.header("x-prometheus-stopping"), "true");
    readiness.set(ReadinessState::Ready);
    assert_eq!(app.get("/-/ready").await.text(), "Watershed is Ready.\n");
}

#[tokio::test]
async fn a_form_larger_than_the_limit_is_refused() {
    let mut fixture = Fixture::new();
    fixture.config.form_limit = 1000;
    let app = fixture.app();
    let answer = app.post_form("/api/v1/labels", format!("x={}", "y".repeat(1000))).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(answer.json()["error"].as_str().expect("a string").contains("1000 bytes"));
}

#[tokio::test]
async fn large_answers_are_compressed_when_asked() {
    let mut fixture = Fixture::new();
    for i in 0..200 {
        fixture = fixture.series(&[("__name__", "m"), ("i", &i.to_string())], &[(1, 1.0)]);
    }
    let app = fixture.app();
    for path in ["/api/v1/label/i/values", "/api/v1/series?match[]=m"] {
        let (plain, gzip) = (app.get(path).await, app.get_gzip(path).await);
        assert_eq!((plain.header("content-encoding"), gzip.header("content-encoding")), ("", "gzip"), "{path}");
        assert!(gzip.headers.get_all("vary").iter().any(|v| v == "Accept-Encoding"), "{path}");
        let mut unpacked = Vec::new();
        let mut decoder = flate2::read::GzDecoder::new(&gzip.body[..]);
        std::io::Read::read_to_end(&mut decoder, &mut unpacked).expect("valid gzip");
        assert_eq!(unpacked, plain.body, "{path}");
    }
}

#[tokio::test]
async fn the_admin_api_obeys_only_where_it_is_enabled() {
    let delete = "/api/v1/admin/tsdb/delete_series?match[]=up";
    let app = Fixture::new().with_series().app();
    let refused = app.method(Method::POST, delete).await;
    // As the reference, for all that is unavailable.
    assert_eq!(refused.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(refused.json()["error"], "admin APIs disabled");
    assert_eq!(data(&app, "labels?match[]=up").await, json!(["__name__", "instance", "job"]));

    let mut fixture = Fixture::new().with_series();
    fixture.config.admin_api = AdminApi::Enabled;
    let app = fixture.app();
    assert_eq!(app.get(delete).await.status, StatusCode::METHOD_NOT_ALLOWED);
    for (query, why) in [
        ("", "no match[] parameter provided"),
        ("?match[]={}", "invalid parameter \"match[]\": match[] must contain at least one non-empty matcher"),
        (
            "?match[]=up&start=x",
            "invalid parameter \"start\": invalid time value for 'start': cannot parse \"x\" to a valid timestamp",
        ),
    ] {
        let answer = app.method(Method::POST, &format!("/api/v1/admin/tsdb/delete_series{query}")).await;
        assert_eq!((answer.status, answer.json()["error"].as_str()), (StatusCode::BAD_REQUEST, Some(why)));
    }
    let done = app.method(Method::POST, delete).await;
    assert_eq!((done.status, done.text()), (StatusCode::NO_CONTENT, ""));
    assert_eq!(data(&app, "labels?match[]=up").await, json!([]));
    assert_eq!(data(&app, "labels?match[]=load").await, json!(["__name__", "instance", "job", "my.label"]));
    let tidied = app.method(Method::PUT, "/api/v1/admin/tsdb/clean_tombstones").await;
    assert_eq!(tidied.status, StatusCode::NO_CONTENT);
    let copied = app.method(Method::POST, "/api/v1/admin/tsdb/snapshot?skip_head=maybe").await;
    assert_eq!(copied.status, StatusCode::BAD_REQUEST);
    let copied = app.method(Method::POST, "/api/v1/admin/tsdb/snapshot").await;
    assert_eq!(copied.json()["error"], "a store in memory has no files");
}
