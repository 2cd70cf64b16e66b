//! The server on real sockets: keep-alive, HTTP/2, several addresses, draining, clients that leave.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Fixture;
use super::fixture::{NOW, read_all};
use crate::model::Labels;
use crate::runtime::CpuPool;
use crate::storage::{
    BoxedLatest, BoxedSeries, LabelRequest, LabelTexts, LatestBatch, LatestStream, QueryError, Queryable, Scope,
    SelectRequest, StreamStep,
};
use crate::web::{BindError, Server};

const HEALTHY: &str = "GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n";

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let server = Fixture::new().serve().await;
    let mut stream = server.connect().await;
    for _ in 0..3 {
        stream.write_all(HEALTHY.as_bytes()).await.expect("open");
        let mut answer = [0; 512];
        let n = stream.read(&mut answer).await.expect("open");
        assert!(answer[..n].ends_with(b"Watershed is Healthy.\n"));
    }
    assert_eq!(server.metric("watershed_http_connections "), 1.0);
}

#[tokio::test]
async fn several_addresses_are_served_and_a_taken_one_is_told() {
    let fixture = Fixture::new();
    let both = ["127.0.0.1:0".to_owned(), "localhost:0".to_owned()];
    let server = Server::bind(&both, fixture.config.clone(), fixture.deps.clone()).await.expect("free ports");
    assert_eq!(server.addresses().len(), 2);
    let taken = server.addresses()[1].to_string();
    match Server::bind(&["127.0.0.1:0".to_owned(), taken.clone()], fixture.config.clone(), fixture.deps.clone()).await {
        Err(BindError::Listen { address, .. }) => assert_eq!(address, taken),
        _ => panic!("a taken port must be refused"),
    }
    assert!(matches!(Server::bind(&[], fixture.config, fixture.deps).await, Err(BindError::NoAddress)));
}

#[tokio::test]
async fn http2_without_tls_is_understood() {
    let server = Fixture::new().serve().await;
    let mut stream = server.connect().await;
    // The preface and an empty SETTINGS frame; the server answers with its own SETTINGS frame (type 4).
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("open");
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.expect("a frame");
    assert_eq!(head[3], 4);
}

#[tokio::test]
async fn stopping_closes_idle_connections_and_refuses_new_ones() {
    let server = Fixture::new().serve().await;
    let mut silent = server.connect().await;
    let mut idle = server.connect().await;
    idle.write_all(HEALTHY.as_bytes()).await.expect("open");
    let mut answer = [0; 512];
    assert!(idle.read(&mut answer).await.expect("open") > 0);
    server.stop.cancel();
    assert_eq!(read_all(&mut idle).await, "");
    assert_eq!(read_all(&mut silent).await, "");
    server.task.await.expect("the server ends");
    assert!(tokio::net::TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_request_in_flight_is_answered_before_the_server_ends() {
    let (entered, release) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
    let mut fixture = Fixture::new();
    fixture.deps.pool = CpuPool::new("test", 1).expect("threads");
    fixture.deps.host_metrics = Some({
        let (entered, release) = (entered.clone(), release.clone());
        Arc::new(move |out: &mut String| {
            entered.notify_one();
            while !release.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(1));
            }
            out.push_str("late 1\n");
        })
    });
    let server = fixture.serve().await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /metrics/host HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("open");
    entered.notified().await;
    server.stop.cancel();
    release.store(true, Ordering::Release);
    let answer = read_all(&mut stream).await;
    assert!(answer.ends_with("late 1\n"), "{answer}");
    server.task.await.expect("the server ends");
}

/// An endless store that tells when its read was cancelled.
struct Endless(CancellationToken);

struct EndlessStream {
    scope: Scope,
    cancelled: CancellationToken,
}

impl LatestStream for EndlessStream {
    fn next(&mut self, batch: &mut LatestBatch) -> Result<StreamStep, QueryError> {
        batch.clear();
        self.scope.check().inspect_err(|_| self.cancelled.cancel())?;
        for i in 0..1000 {
            let start = batch.arena.len();
            batch.arena.extend_from_slice(Labels::from_pairs([("__name__", "m"), ("i", &i.to_string())]).as_bytes());
            batch.push_row(start, NOW, 1.0);
        }
        Ok(StreamStep::Batch)
    }
}

impl Drop for EndlessStream {
    fn drop(&mut self) {
        self.cancelled.cancel();
    }
}

impl Queryable for Endless {
    fn select(&self, _: &Scope, _: &SelectRequest<'_>) -> Result<BoxedSeries<'_>, QueryError> {
        Err(QueryError::NotReady("not in this test".to_owned()))
    }
    fn select_latest(&self, scope: &Scope, _: &SelectRequest<'_>) -> Result<BoxedLatest<'_>, QueryError> {
        Ok(Box::new(EndlessStream { scope: scope.clone(), cancelled: self.0.clone() }))
    }
    fn label_names(&self, _: &Scope, _: &LabelRequest<'_>) -> Result<LabelTexts, QueryError> {
        Ok(Default::default())
    }
    fn label_values(&self, _: &Scope, _: &str, _: &LabelRequest<'_>) -> Result<LabelTexts, QueryError> {
        Ok(Default::default())
    }
}

const FEDERATE: &[u8] = b"GET /federate?match[]=m HTTP/1.1\r\nHost: x\r\n\r\n";

#[tokio::test]
async fn a_client_that_leaves_ends_the_read() {
    let ended = CancellationToken::new();
    let server = Fixture::new().storage(Arc::new(Endless(ended.clone()))).serve().await;
    let mut stream = server.connect().await;
    stream.write_all(FEDERATE).await.expect("open");
    let mut some = [0; 64 << 10];
    stream.read_exact(&mut some).await.expect("an endless answer");
    assert!(!ended.is_cancelled());
    drop(stream);
    ended.cancelled().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_and_its_read_ends() {
    let ended = CancellationToken::new();
    let mut fixture = Fixture::new().storage(Arc::new(Endless(ended.clone())));
    fixture.config.write_stall_timeout = Duration::from_millis(200);
    let server = fixture.serve().await;
    let mut stream = server.connect().await;
    stream.write_all(FEDERATE).await.expect("open");
    ended.cancelled().await;
    assert!(stream.peer_addr().is_ok(), "it was the server that gave up");
}
