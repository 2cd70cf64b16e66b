//! `/federate` without sockets.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::http::Request;

use super::Fixture;
use super::fixture::{FakeTargets, NOW, local_cluster};
use crate::model::{DurationMs, Labels};
use crate::storage::memory::MemoryStore;
use crate::storage::{
    Appendable as _, BoxedLatest, BoxedSeries, FloatSample, LabelRequest, LabelTexts, LatestBatch, LatestStream,
    QueryError, Queryable, Scope, SelectRequest, StreamStep,
};

#[tokio::test]
async fn the_newest_samples_of_the_union_are_sent_with_external_labels() {
    let fixture = Fixture::new()
        .with_series()
        .series(&[("__name__", "old"), ("job", "node")], &[(301, 1.0)])
        .series(&[("__name__", "twice"), ("job", "node")], &[(20, 1.0), (5, 2.0)]);
    fixture.deps.external_labels.store(Arc::new(Labels::from_pairs([("site", "home"), ("job", "other")])));
    let app = fixture.app();
    let answer = app.get("/federate?match[]=up&match[]=%7Bjob=%22node%22%7D&match[]=up").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.header("content-type").starts_with("text/plain; version=0.0.4"));
    let samples: Vec<_> = answer.text().lines().filter(|l| !l.starts_with('#')).collect();
    let t = |age_s| (NOW - DurationMs::from_secs(age_s)).0;
    let expected = [
        format!(r#"load{{instance="a:1",job="node",my_label="x",site="home"}} 0.5 {}"#, t(10)),
        format!(r#"twice{{job="node",instance="",site="home"}} 2 {}"#, t(5)),
        format!(r#"up{{instance="a:1",job="node",site="home"}} 1 {}"#, t(10)),
        format!(r#"up{{instance="b:1",job="db",site="home"}} 0 {}"#, t(60)),
    ];
    assert_eq!(samples, expected);
}

#[tokio::test]
async fn the_format_is_the_one_asked_for_and_types_are_those_that_targets_tell() {
    let fixture = Fixture::new().with_series().exemplar(&[("__name__", "load_total")], "abc", 0.5, 3);
    let app = fixture.app();
    let ask = async |accept: &str| {
        let request = Request::builder().uri("/federate?match[]=%7B__name__=~%22load.*%22%7D").header("accept", accept);
        app.send(request.body(Body::empty()).expect("a valid request")).await
    };
    let text = ask("text/plain;version=1.0.0").await;
    assert_eq!(text.header("content-type"), "text/plain; version=1.0.0; charset=utf-8; escaping=underscores");
    assert!(text.text().starts_with("# HELP load Load.\n# TYPE load gauge\nload{"), "{}", text.text());
    let openmetrics = ask("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8").await;
    let expected = "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8";
    assert_eq!(openmetrics.header("content-type"), expected);
    assert!(openmetrics.text().ends_with("# EOF\n") && openmetrics.text().contains("\"my.label\"=\"x\""));
    let accept = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
    let protobuf = ask(accept).await;
    assert!(protobuf.header("content-type").starts_with("application/vnd.google.protobuf; proto="));
    let mut rest = &protobuf.body[..];
    let mut messages = 0;
    while let Some(message) = crate::net::protobuf::delimited(&mut rest) {
        assert!(message.is_ok());
        messages += 1;
    }
    assert_eq!(messages, 2, "a family each");
}

#[tokio::test]
async fn limits_and_sources_are_taken_or_refused() {
    let app = Fixture::new().with_series().app();
    let count = async |query: &str| {
        let answer = app.get(&format!("/federate?match[]=%7Bjob=~%22.%2B%22%7D&{query}")).await;
        assert_eq!(answer.status, 200, "{query}");
        answer.text().lines().filter(|l| !l.starts_with('#')).count()
    };
    for (query, expected) in [("limit=2", 2), ("limit=0", 3), ("limit=", 3), ("source=local", 3), ("source=", 3)] {
        assert_eq!(count(query).await, expected, "{query}");
    }
}

#[tokio::test]
async fn what_targets_say_is_there_however_fast_the_answer_and_busy_the_targets() {
    let targets = Arc::new(FakeTargets::default());
    let mut fixture = Fixture::new().with_series();
    fixture.deps.targets = targets.clone();
    let app = fixture.app();
    let whole = app.get("/federate?match[]=load").await;
    assert!(whole.text().contains("# TYPE load gauge\n"), "{}", whole.text());
    targets.are_busy.store(true, Ordering::Relaxed);
    // As soon as one was short, the next one is computed where it is asked for, where nothing is waited for.
    for _ in 0..10_000 {
        assert_eq!(app.get("/federate?match[]=load").await.text(), whole.text());
        if targets.avoided.load(Ordering::Relaxed) > 0 {
            return;
        }
    }
    panic!("no answer was computed where it was asked for");
}

#[tokio::test]
async fn the_cluster_is_asked_where_there_is_one_and_our_targets_say_nothing_of_it() {
    let cluster = Arc::new(MemoryStore::new());
    let mut appender = cluster.appender();
    let series = appender.series(&Labels::from_pairs([("__name__", "load"), ("member", "far")])).expect("in memory");
    appender.append(&[FloatSample { series, t: NOW, v: 4.0 }]).expect("in memory");
    appender.commit().expect("in memory");
    let fixture = Fixture::new().with_series();
    fixture.deps.external_labels.store(Arc::new(Labels::from_pairs([("site", "here")])));
    fixture.deps.cluster.store(Some(Arc::new(local_cluster("home", cluster))));
    let answer = fixture.app().get("/federate?match[]=load&source=cluster").await;
    let expected =
        format!("# TYPE load untyped\nload{{__cluster__=\"home\",member=\"far\",instance=\"\"}} 4 {}\n", NOW.0);
    assert_eq!(answer.text(), expected);
}

#[tokio::test]
async fn what_the_cluster_has_is_refused_if_it_takes_more_memory_than_one_answer_may() {
    let long = "v".repeat(1000);
    let mut fixture = Fixture::new();
    for i in 0..10 {
        fixture = fixture.series(&[("__name__", "load"), ("i", &i.to_string()), ("long", &long)], &[(1, 1.0)]);
    }
    fixture.config.remote_read.held_bytes = 5000;
    fixture.deps.cluster.store(Some(Arc::new(local_cluster("home", fixture.store.clone()))));
    let app = fixture.app();
    let ours = app.get("/federate?match[]=load").await;
    assert_eq!(ours.status, 200);
    assert_eq!(ours.text().matches("load{").count(), 10);
    let refused = app.get("/federate?match[]=load&source=cluster").await;
    assert_eq!(refused.status, 400);
    assert_eq!(refused.text(), "the query would need more than 5000 bytes of memory\n");
}

#[tokio::test]
async fn missing_and_malformed_selectors_are_refused_with_a_sentence() {
    let app = Fixture::new().app();
    for (path, sentence) in [
        ("/federate", "no match[] parameter provided"),
        ("/federate?match[]=up%7B", "1:"),
        ("/federate?match[]=", "parse error"),
        ("/federate?match[]=%zz", "invalid URL escape"),
        ("/federate?match[]=up&limit=x", "limit"),
        ("/federate?match[]=up&limit=-1", "non-negative"),
        ("/federate?match[]=up&source=cluster", "the cluster frontend, which is not configured here"),
        ("/federate?match[]=up&source=moon", "\"moon\" is neither \"local\" nor \"cluster\""),
    ] {
        let answer = app.get(path).await;
        assert_eq!(answer.status, 400, "{path}");
        assert!(answer.text().contains(sentence), "{path}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_large_answer_is_whole_in_every_encoding() {
    let mut fixture = Fixture::new();
    let long = "x".repeat(1000);
    for i in 0..5000 {
        fixture = fixture.series(&[("__name__", "m"), ("i", &format!("{i:05}")), ("long", &long)], &[(1, i.into())]);
    }
    let app = fixture.app();
    let plain = app.get("/federate?match[]=m").await;
    assert_eq!(plain.text().lines().filter(|l| l.starts_with("m{")).count(), 5000);
    assert!(plain.body.len() > 4 << 20, "more chunks than the queue holds, so that the writer has to wait");
    let gzip = app.get_gzip("/federate?match[]=m").await;
    assert_eq!(gzip.header("content-encoding"), "gzip");
    let mut unpacked = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&gzip.body[..]), &mut unpacked).expect("valid gzip");
    assert_eq!(unpacked, plain.body);
}

/// A store whose newest samples end in an error after `good` batches.
struct Failing {
    inner: MemoryStore,
    good: usize,
}

struct FailingStream(usize);

impl LatestStream for FailingStream {
    fn next(&mut self, batch: &mut LatestBatch) -> Result<StreamStep, QueryError> {
        batch.clear();
        if self.0 == 0 {
            let reason = "on purpose".to_owned();
            return Err(QueryError::Corrupt { path: "block".to_owned(), offset: 7, reason });
        }
        self.0 -= 1;
        for i in 0..1000 {
            let start = batch.arena.len();
            let labels = Labels::from_pairs([("__name__", "m"), ("i", format!("{}-{i}", self.0).as_str())]);
            batch.arena.extend_from_slice(labels.as_bytes());
            batch.push_row(start, NOW, 1.0);
        }
        Ok(StreamStep::Batch)
    }
}

impl Queryable for Failing {
    fn select(&self, s: &Scope, r: &SelectRequest<'_>) -> Result<BoxedSeries<'_>, QueryError> {
        self.inner.select(s, r)
    }
    fn select_latest(&self, _: &Scope, _: &SelectRequest<'_>) -> Result<BoxedLatest<'_>, QueryError> {
        Ok(Box::new(FailingStream(self.good)))
    }
    fn label_names(&self, _: &Scope, _: &LabelRequest<'_>) -> Result<LabelTexts, QueryError> {
        Err(QueryError::NotReady("on purpose".to_owned()))
    }
    fn label_values(&self, _: &Scope, _: &str, _: &LabelRequest<'_>) -> Result<LabelTexts, QueryError> {
        panic!("on purpose")
    }
}

#[tokio::test]
async fn a_read_that_fails_at_once_is_an_error_answer() {
    let app = Fixture::new().storage(Arc::new(Failing { inner: MemoryStore::new(), good: 1 })).app();
    let answer = app.get("/federate?match[]=m").await;
    assert_eq!((answer.status.as_u16(), answer.text()), (500, "block: damaged at byte 7: on purpose\n"));
    let answer = app.get("/api/v1/labels").await;
    assert_eq!((answer.status.as_u16(), &answer.json()["errorType"]), (500, &"unavailable".into()));
    let answer = app.get("/api/v1/label/a/values").await;
    assert_eq!((answer.status.as_u16(), &answer.json()["errorType"]), (500, &"internal".into()));
}

#[tokio::test]
async fn a_read_that_fails_midway_never_looks_whole() {
    for encoding in ["identity", "gzip"] {
        let server = Fixture::new().storage(Arc::new(Failing { inner: MemoryStore::new(), good: 400 })).serve().await;
        let head = format!("GET /federate?match[]=m HTTP/1.1\r\nHost: x\r\nAccept-Encoding: {encoding}\r\n\r\n");
        let answer = server.exchange(head).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{encoding}");
        assert!(!answer.ends_with("0\r\n\r\n"), "{encoding}: the last chunk must be missing");
    }
}
