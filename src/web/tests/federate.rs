//! `/federate` without sockets.

use std::sync::Arc;

use super::Fixture;
use super::fixture::NOW;
use crate::model::{Annotations, DurationMs, Labels};
use crate::storage::memory::MemoryStore;
use crate::storage::{
    LatestBatch, LatestStream, Limit, QueryError, Queryable, Scope, SelectRequest, Selector, SeriesStream, StreamStep,
    TimeRange,
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
async fn missing_and_malformed_selectors_are_refused_with_a_sentence() {
    let app = Fixture::new().app();
    for (path, sentence) in [
        ("/federate", "no match[] parameter provided"),
        ("/federate?match[]=up%7B", "1:"),
        ("/federate?match[]=", "parse error"),
        ("/federate?match[]=%zz", "invalid URL escape"),
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
    fn select<'a>(&'a self, s: &Scope, r: &SelectRequest<'_>) -> Result<Box<dyn SeriesStream + 'a>, QueryError> {
        self.inner.select(s, r)
    }
    fn select_latest<'a>(&'a self, _: &Scope, _: &SelectRequest<'_>) -> Result<Box<dyn LatestStream + 'a>, QueryError> {
        Ok(Box::new(FailingStream(self.good)))
    }
    fn label_names(
        &self,
        _: &Scope,
        _: &[Selector],
        _: TimeRange,
        _: Limit,
    ) -> Result<(Vec<String>, Annotations), QueryError> {
        Err(QueryError::NotReady("on purpose".to_owned()))
    }
    fn label_values(
        &self,
        _: &Scope,
        _: &str,
        _: &[Selector],
        _: TimeRange,
        _: Limit,
    ) -> Result<(Vec<String>, Annotations), QueryError> {
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
