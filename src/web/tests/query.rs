//! Queries.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use super::fixture::{App, Fixture};
use crate::promql::service::Limits;
use crate::storage::memory::MemoryStore;
use crate::storage::{BoxedLatest, BoxedSeries, LabelRequest, LabelTexts, QueryError, Queryable, Scope, SelectRequest};

/// Sends a query's parameters to an endpoint and gives the body.
async fn ask(app: &App, endpoint: &str, parameters: &[(&str, &str)]) -> String {
    let (status, body) = refused(app, endpoint, parameters).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    body
}

async fn refused(app: &App, endpoint: &str, parameters: &[(&str, &str)]) -> (StatusCode, String) {
    let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    let got = app.get(&format!("/api/v1/{endpoint}?{form}")).await;
    let posted = app.post_form(&format!("/api/v1/{endpoint}"), form).await;
    assert_eq!((got.status, got.text()), (posted.status, posted.text()), "GET and POST are the same");
    (got.status, got.text().to_owned())
}

#[tokio::test]
async fn an_instant_query_has_the_references_shape() {
    let app = Fixture::new().with_series().app();
    assert_eq!(
        ask(&app, "query", &[("query", "up")]).await,
        r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up","instance":"a:1","job":"node"},"value":[1700000000,"1"]},{"metric":{"__name__":"up","instance":"b:1","job":"db"},"value":[1700000000,"0"]}]}}"#
    );
    assert_eq!(
        ask(&app, "query", &[("query", "load[1m]"), ("time", "1700000000.5")]).await,
        r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"load","instance":"a:1","job":"node","my.label":"x"},"values":[[1699999990,"0.5"]]}]}}"#
    );
    assert_eq!(
        ask(&app, "query", &[("query", "nothing"), ("time", "5")]).await,
        r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#
    );
    assert_eq!(
        ask(&app, "query", &[("query", "\"a<b\""), ("time", "1.5")]).await,
        r#"{"status":"success","data":{"resultType":"string","result":[1.5,"a\u003cb"]}}"#
    );
    assert_eq!(
        ask(&app, "query", &[("query", "1e21"), ("time", "0.25")]).await,
        r#"{"status":"success","data":{"resultType":"scalar","result":[0.25,"1000000000000000000000"]}}"#
    );
}

#[tokio::test]
async fn a_range_query_has_the_references_shape() {
    let app = Fixture::new().series(&[("__name__", "m")], &[(60, 1.5), (30, f64::NAN), (0, 1e21)]).app();
    let range = [("query", "m"), ("start", "1699999940"), ("end", "1700000000"), ("step", "30s")];
    assert_eq!(
        ask(&app, "query_range", &range).await,
        r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"m"},"values":[[1699999940,"1.5"],[1699999970,"NaN"],[1700000000,"1e+21"]]}]}}"#
    );
    let scalar = [("query", "-0"), ("start", "1"), ("end", "2.5"), ("step", "0.75")];
    assert_eq!(
        ask(&app, "query_range", &scalar).await,
        r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"-0"],[1.750,"-0"],[2.500,"-0"]]}]}}"#
    );
}

#[tokio::test]
async fn mistakes_are_told_in_the_references_words() {
    let app = Fixture::new().app();
    let range = |name: &'static str, value: &'static str| {
        let mut all = vec![("query", "up"), ("start", "0"), ("end", "100"), ("step", "1")];
        all.retain(|(n, _)| *n != name);
        all.push((name, value));
        all
    };
    for (endpoint, parameters, message) in [
        (
            "query",
            vec![("query", "up{")],
            r#"invalid parameter "query": 1:4: parse error: unexpected end of input inside braces"#,
        ),
        ("query", vec![], r#"invalid parameter "query": unknown position: parse error: no expression found in input"#),
        (
            "query",
            vec![("limit", "x"), ("time", "y")],
            r#"invalid parameter "limit": strconv.Atoi: parsing "x": invalid syntax"#,
        ),
        ("query", vec![("limit", "-1")], r#"invalid parameter "limit": limit must be non-negative"#),
        (
            "query",
            vec![("time", "y")],
            r#"invalid parameter "time": invalid time value for 'time': cannot parse "y" to a valid timestamp"#,
        ),
        ("query", vec![("timeout", "y")], r#"invalid parameter "timeout": cannot parse "y" to a valid duration"#),
        (
            "query",
            vec![("lookback_delta", "y")],
            r#"error parsing lookback delta duration: cannot parse "y" to a valid duration"#,
        ),
        ("query_range", range("start", ""), r#"invalid parameter "start": cannot parse "" to a valid timestamp"#),
        ("query_range", range("end", "-1"), r#"invalid parameter "end": end timestamp must not be before start time"#),
        ("query_range", range("step", ""), r#"invalid parameter "step": cannot parse "" to a valid duration"#),
        (
            "query_range",
            range("step", "0"),
            r#"invalid parameter "step": zero or negative query resolution step widths are not accepted. Try a positive integer"#,
        ),
        ("query_range", range("step", "-1s"), r#"invalid parameter "step": cannot parse "-1s" to a valid duration"#),
        (
            "query_range",
            range("step", "0.009"),
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ),
        (
            "query_range",
            range("query", "up[5m]"),
            r#"invalid parameter "query": invalid expression type "range vector" for range query, must be Scalar or instant Vector"#,
        ),
        ("query_exemplars", vec![("query", "up{")], "1:4: parse error: unexpected end of input inside braces"),
        (
            "query_exemplars",
            vec![("query", "up"), ("start", "2"), ("end", "1")],
            "end timestamp must not be before start timestamp",
        ),
    ] {
        let (status, body) = refused(&app, endpoint, &parameters).await;
        let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(
            (status, &body["errorType"], &body["error"]),
            (StatusCode::BAD_REQUEST, &json!("bad_data"), &json!(message)),
            "{parameters:?}"
        );
    }
    let steps_that_fit = [("query", "1"), ("start", "0"), ("end", "110"), ("step", "0.01")];
    ask(&app, "query_range", &steps_that_fit).await;
}

#[tokio::test]
async fn a_limit_cuts_and_says_so() {
    let app = Fixture::new().with_series().app();
    let cut = ask(&app, "query", &[("query", "up"), ("limit", "1")]).await;
    assert!(cut.ends_with(r#""value":[1700000000,"1"]}]},"warnings":["results truncated due to limit"]}"#), "{cut}");
    let whole = ask(&app, "query", &[("query", "up"), ("limit", "2")]).await;
    assert!(!whole.contains("warnings"), "{whole}");
}

#[tokio::test]
async fn statistics_come_if_asked_for() {
    let app = Fixture::new().with_series().app();
    let with = |stats: &'static str| {
        let app = &app;
        async move {
            let answer = app.get(&format!("/api/v1/query?query=up&stats={stats}")).await;
            assert_eq!(answer.status, StatusCode::OK);
            answer.json()
        }
    };
    let all = with("all").await;
    let stats = &all["data"]["stats"];
    for timing in
        ["evalTotalTime", "resultSortTime", "queryPreparationTime", "innerEvalTime", "execQueueTime", "execTotalTime"]
    {
        assert!(stats["timings"][timing].is_f64(), "{timing} in {stats}");
    }
    assert_eq!(stats["samples"]["totalQueryableSamples"], json!(2), "{stats}");
    assert!(with("").await["data"].get("stats").is_none() && all.get("warnings").is_none());
    let deprecated = with("some").await;
    assert_eq!(
        deprecated["warnings"],
        json!([
            r#"value "some" for parameter "stats" is deprecated and will be rejected in the next major release, use "true" or "all""#
        ])
    );
}

#[tokio::test]
async fn lookback_can_be_set_for_one_query() {
    let app = Fixture::new().with_series().app();
    let near = ask(&app, "query", &[("query", "up"), ("lookback_delta", "30s")]).await;
    assert!(near.contains("a:1") && !near.contains("b:1"), "{near}");
}

#[tokio::test]
async fn remarks_of_the_engine_reach_the_client() {
    let app = Fixture::new().series(&[("__name__", "up")], &[(60, 1.0), (10, 2.0)]).app();
    let answer = ask(&app, "query", &[("query", "rate(up[5m])")]).await;
    assert!(answer.contains(r#""infos":["PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \"up\" (1:6)"]"#), "{answer}");
}

/// 100 series of 3,000 points: about six megabytes of text.
#[tokio::test]
async fn a_large_answer_is_streamed_and_whole() {
    let mut fixture = Fixture::new();
    for series in 0..100 {
        let name = series.to_string();
        fixture = fixture.series(&[("__name__", "m"), ("series", &name)], &[(3000, 0.5), (1500, 0.25), (0, 1.0)]);
    }
    let app = fixture.app();
    let path = "/api/v1/query_range?query=last_over_time(m[1h])&start=1699997000&end=1700000000&step=1";
    let plain = app.get(path).await;
    let answer = plain.json();
    let result = answer["data"]["result"].as_array().expect("a matrix");
    assert_eq!(result.len(), 100);
    assert!(result.iter().all(|series| series["values"].as_array().is_some_and(|points| points.len() == 3001)));
    let packed = app.get_gzip(path).await;
    assert_eq!(packed.header("content-encoding"), "gzip");
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&packed.body[..]), &mut text).expect("gzip");
    assert_eq!(text, plain.text());
    let packed = app.get_encoded(path, "zstd").await;
    assert_eq!(packed.header("content-encoding"), "zstd");
    assert_eq!(zstd::decode_all(&packed.body[..]).expect("zstd"), plain.body);
}

#[tokio::test]
async fn expressions_are_set_in_lines_and_taken_apart() {
    let app = Fixture::new().app();
    assert_eq!(
        ask(&app, "format_query", &[("query", "foo/bar<1")]).await,
        r#"{"status":"success","data":"foo / bar \u003c 1"}"#
    );
    assert_eq!(
        ask(&app, "parse_query", &[("query", "(1)")]).await,
        r#"{"status":"success","data":{"expr":{"type":"numberLiteral","val":"1"},"type":"parenExpr"}}"#
    );
    for endpoint in ["format_query", "parse_query"] {
        let (status, body) = refused(&app, endpoint, &[("query", "foo{")]).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(body.contains(r#"invalid parameter \"query\": 1:5: parse error: "#), "{body}");
    }
}

#[tokio::test]
async fn exemplars_of_an_expressions_selectors_are_found() {
    let app = Fixture::new().exemplar(&[("__name__", "up"), ("job", "a<b")], "abc", 0.125, 10).app();
    assert_eq!(
        ask(&app, "query_exemplars", &[("query", "rate(up[5m]) + other")]).await,
        r#"{"status":"success","data":[{"seriesLabels":{"__name__":"up","job":"a<b"},"exemplars":[{"labels":{"trace_id":"abc"},"value":"0.125","timestamp":1699999990}]}]}"#
    );
    assert_eq!(ask(&app, "query_exemplars", &[("query", "other")]).await, r#"{"status":"success","data":[]}"#);
    let late = [("query", "up"), ("start", "1700000000")];
    assert_eq!(ask(&app, "query_exemplars", &late).await, r#"{"status":"success","data":[]}"#);
    assert_eq!(app.get("/api/v1/query_exemplars?query=1").await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_query_over_its_limits_is_an_error_and_costs_nothing_more() {
    let limits = Limits { max_samples: 1, ..Limits::default() };
    let app = Fixture::new().with_series().limits(limits).app();
    let (status, body) = refused(&app, "query", &[("query", "up")]).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
    assert_eq!(
        body,
        r#"{"status":"error","errorType":"execution","error":"query processing would load too many samples into memory in query execution"}"#
    );
    let app = Fixture::new().with_series().limits(Limits { max_bytes: 100, ..Limits::default() }).app();
    let (status, body) = refused(&app, "query", &[("query", "up")]).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
    assert!(body.contains("more than 100 bytes of memory"), "{body}");
}

/// A store whose reads last until they are cancelled.
struct Endless(MemoryStore);

impl Queryable for Endless {
    fn select(&self, scope: &Scope, _: &SelectRequest<'_>) -> Result<BoxedSeries<'_>, QueryError> {
        loop {
            scope.check()?;
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn select_latest(&self, scope: &Scope, request: &SelectRequest<'_>) -> Result<BoxedLatest<'_>, QueryError> {
        self.0.select_latest(scope, request)
    }

    fn label_names(&self, scope: &Scope, request: &LabelRequest<'_>) -> Result<LabelTexts, QueryError> {
        self.0.label_names(scope, request)
    }

    fn label_values(&self, scope: &Scope, name: &str, request: &LabelRequest<'_>) -> Result<LabelTexts, QueryError> {
        self.0.label_values(scope, name, request)
    }
}

fn endless(limits: Limits) -> Fixture {
    Fixture::new().storage(Arc::new(Endless(MemoryStore::new()))).limits(limits)
}

#[tokio::test]
async fn a_query_ends_with_its_time() {
    let app = endless(Limits { timeout: Duration::from_millis(50), ..Limits::default() }).app();
    let timed_out = r#"{"status":"error","errorType":"timeout","error":"query timed out in expression evaluation"}"#;
    let (status, body) = refused(&app, "query", &[("query", "up")]).await;
    assert_eq!((status, body.as_str()), (StatusCode::SERVICE_UNAVAILABLE, timed_out));
    let app = endless(Limits::default()).app();
    let (status, body) = refused(&app, "query", &[("query", "up"), ("timeout", "50ms")]).await;
    assert_eq!((status, body.as_str()), (StatusCode::SERVICE_UNAVAILABLE, timed_out));
    let (status, body) = refused(&app, "query", &[("query", "up"), ("timeout", "0")]).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
}

#[tokio::test]
async fn a_query_that_waits_for_its_turn_spends_its_time() {
    let server = endless(Limits { max_concurrency: 1, ..Limits::default() }).serve().await;
    let mut first = server.connect().await;
    first.write_all(b"GET /api/v1/query?query=up HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
    while server.metric("watershed_engine_queries ") < 1.0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let waiting = server.get("/api/v1/query?query=1&timeout=50ms").await;
    assert!(waiting.starts_with("HTTP/1.1 503 ") && waiting.contains("query timed out in query queue"), "{waiting}");
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_place() {
    let server = endless(Limits { max_concurrency: 1, ..Limits::default() }).serve().await;
    for _ in 0..3 {
        let mut client = server.connect().await;
        client.write_all(b"GET /api/v1/query?query=up HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
        while server.metric("watershed_engine_queries ") < 1.0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(client);
        let answer = server.get("/api/v1/query?query=1&timeout=30s").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}

/// As deep as the parser lets it be; the threads for queries have the stacks for it.
#[tokio::test]
async fn deep_expressions_are_answered_and_deeper_ones_refused() {
    let app = Fixture::new().with_series().app();
    let nested = |n: usize| format!("{}1{}", "(".repeat(n), ")".repeat(n));
    let calls = |n: usize| format!("{}up{}", "abs(".repeat(n), ")".repeat(n));
    let sums = |n: usize| format!("{}up{}", "sum(".repeat(n), ")".repeat(n));
    // As deep as a chain of each kind may be; a call or an operator may count for more than one level.
    for expression in
        [nested(950), format!("up{}", "+1".repeat(950)), format!("{}up", "-".repeat(950)), calls(950), sums(950)]
    {
        let answer = app.post_form("/api/v1/query", format!("query={}", expression.replace('+', "%2B"))).await;
        assert_eq!(answer.status, StatusCode::OK, "{:.40}: {}", expression, answer.text());
    }
    let answer = app.post_form("/api/v1/query", format!("query={}", nested(100_000))).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.text().contains("deep"), "{}", answer.text());
}

/// Where an expression says the same several times, the engine looks once; it is counted as often as it is said.
#[tokio::test]
async fn what_is_asked_for_twice_is_counted_twice() {
    let app = Fixture::new().with_series().app();
    for (query, samples) in [
        ("up", 2),
        ("up + up", 4),
        ("up * (up + up)", 6),
        ("sum(up) / count(up) + load", 5),
        ("rate(up[5m]) + rate(up[5m])", 4),
    ] {
        let pairs = [("query", query), ("stats", "true")];
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let answer = app.post_form("/api/v1/query", form).await;
        let counted = &answer.json()["data"]["stats"]["samples"]["totalQueryableSamples"];
        assert_eq!(*counted, json!(samples), "{query}: {}", answer.text());
    }
}
