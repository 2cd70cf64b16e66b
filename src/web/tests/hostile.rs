//! Peers that mean no good: the server stays bounded and goes on serving.

use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use super::Fixture;
use super::fixture::{NOW, Running, read_all};
use crate::disk::MemDisk;
use crate::model::Labels;
use crate::promql::service::Limits;
use crate::runtime::Clock;
use crate::storage::{Appendable as _, FloatSample};
use crate::telemetry::Registry;
use crate::tsdb::{self, Tsdb};

fn impatient() -> Fixture {
    let mut fixture = Fixture::new();
    fixture.config.header_timeout = Duration::from_millis(200);
    fixture.config.read_timeout = Duration::from_millis(400);
    fixture
}

async fn assert_serves(server: &Running) {
    assert!(server.get("/-/healthy").await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn connections_that_say_nothing_or_not_enough_are_cut() {
    let server = impatient().serve().await;
    // The last two hang where the protocol is not known yet, and within the HTTP/2 preface.
    for start in
        ["", "GET /-/healthy HT", "GET /-/healthy HTTP/1.1\r\nHost: x\r\nX-A: b\r\n", "P", "PRI * HTTP/2.0\r\n"]
    {
        let mut stream = server.connect().await;
        stream.write_all(start.as_bytes()).await.expect("open");
        assert_eq!(read_all(&mut stream).await, "", "{start:?}");
    }
    assert_eq!(server.metric("watershed_http_connections_cut_total{reason=\"silent\"}"), 1.0);
    assert_eq!(server.metric("watershed_http_connections_cut_total{reason=\"slow_head\"}"), 4.0);
    assert_serves(&server).await;
}

#[tokio::test]
async fn a_head_that_trickles_is_cut_although_bytes_keep_coming() {
    let server = impatient().serve().await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /-/healthy HTTP/1.1\r\n").await.expect("open");
    // Far more pieces than the time allows: only the cut ends this loop.
    let mut sent = 0;
    while stream.write_all(b"X-Slow: 1\r\n").await.is_ok() && sent < 90 {
        sent += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(sent < 90, "the head was never cut");
    assert_serves(&server).await;
}

#[tokio::test]
async fn a_form_that_trickles_is_refused() {
    let server = impatient().serve().await;
    let head = "POST /api/v1/labels HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\
                Content-Type: application/x-www-form-urlencoded\r\nConnection: close\r\n\r\nlimit=";
    let answer = server.exchange(head).await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("bad_data"), "{answer}");
}

#[tokio::test]
async fn idle_connections_are_closed_after_the_read_timeout() {
    let server = impatient().serve().await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("open");
    assert!(read_all(&mut stream).await.ends_with("Watershed is Healthy.\n"));
}

#[tokio::test]
async fn connections_over_the_limit_wait_and_are_served_when_others_were_cut() {
    let mut fixture = impatient();
    fixture.config.max_connections = 3;
    let server = fixture.serve().await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(server.connect().await);
    }
    let served = server.get("/-/healthy");
    let mut most = 0.0_f64;
    tokio::pin!(served);
    let answer = loop {
        tokio::select! {
            answer = &mut served => break answer,
            () = tokio::time::sleep(Duration::from_millis(5)) => {
                most = most.max(server.metric("watershed_http_connections "));
            }
        }
    };
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert_eq!(most, 3.0);
}

#[tokio::test]
async fn floods_of_headers_and_endless_urls_are_refused() {
    let server = Fixture::new().serve().await;
    let many: String = (0..10_000).map(|i| format!("X-{i}: y\r\n")).collect();
    let long = "y".repeat(1 << 20);
    for (head, status) in [
        (format!("GET /-/healthy HTTP/1.1\r\n{many}\r\n"), "431"),
        (format!("GET /-/healthy HTTP/1.1\r\nX: {long}\r\n\r\n"), "431"),
        (format!("GET /federate?match[]={} HTTP/1.1\r\n\r\n", &long[..70_000]), "414"),
        (format!("GET /federate?match[]={long} HTTP/1.1\r\n\r\n"), "4"),
    ] {
        let answer = server.exchange(&head).await;
        // The server closes with bytes of the flood unread, so the system may discard its answer.
        assert!(answer.is_empty() || answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
    let long_but_allowed = server.get(&format!("/federate?match[]={}", &long[..60_000])).await;
    assert!(long_but_allowed.starts_with("HTTP/1.1 200 "), "{long_but_allowed}");
    assert_serves(&server).await;
}

#[tokio::test]
async fn garbage_is_no_reason_to_panic() {
    let server = Fixture::new().serve().await;
    let requests: [&[u8]; 8] = [
        b"\0\0\0\0\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET http://[::1/ HTTP/1.1\r\n\r\n",
        b"GET /api/v1/label/%ff%fe/values HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /api/v1/label/U__%00_ffffff_/values HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /api/v1/series?match[]=%ff&start=-1e999&end=1e999 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"POST /api/v1/labels HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nzz\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ];
    for request in requests {
        let mut stream = server.connect().await;
        drop(stream.write_all(request).await);
        drop(stream.shutdown().await);
        read_all(&mut stream).await;
    }
    assert_serves(&server).await;
}

/// Behind another server that reads them differently, such requests would hide a second one.
#[tokio::test]
async fn requests_that_could_hide_another_one_are_refused_or_end_their_connection() {
    let server = Fixture::new().serve().await;
    const HIDDEN: &str = "GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let length = HIDDEN.len();
    let chunked = format!("{length:x}\r\n{HIDDEN}\r\n0\r\n\r\n");
    for (headers, body) in [
        // Two lengths, of which one ends before the hidden request.
        (format!("Content-Length: 0\r\nContent-Length: {length}"), HIDDEN),
        (format!("Content-Length: {length}\r\nContent-Length: 0"), HIDDEN),
        (format!("Content-Length: 0, {length}"), HIDDEN),
        (format!("Content-Length: +{length}"), HIDDEN),
        (format!("Content-Length: -1\r\nContent-Length: {length}"), HIDDEN),
        (format!("Content-Length: 0x{length:x}"), HIDDEN),
        ("Content-Length: 99999999999999999999999".to_owned(), HIDDEN),
        // A length and chunks.
        ("Content-Length: 4\r\nTransfer-Encoding: chunked".to_owned(), chunked.as_str()),
        ("Transfer-Encoding: chunked\r\nContent-Length: 4".to_owned(), chunked.as_str()),
        // Codings that are not quite chunks.
        ("Transfer-Encoding: identity".to_owned(), HIDDEN),
        ("Transfer-Encoding: xchunked".to_owned(), HIDDEN),
        ("Transfer-Encoding: chunked, identity".to_owned(), HIDDEN),
        ("Transfer-Encoding : chunked".to_owned(), HIDDEN),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity".to_owned(), HIDDEN),
        ("X: y\r\n Transfer-Encoding: chunked".to_owned(), HIDDEN),
        ("Transfer-Encoding:\u{b}chunked".to_owned(), HIDDEN),
        // Chunks whose sizes overflow or are no numbers.
        ("Transfer-Encoding: chunked".to_owned(), "ffffffffffffffff1\r\nGET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("Transfer-Encoding: chunked".to_owned(), "0x0\r\n\r\nGET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("Transfer-Encoding: chunked".to_owned(), "-0\r\n\r\nGET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n"),
    ] {
        let head = "POST /api/v1/labels HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n";
        let mut stream = server.connect().await;
        stream.write_all(format!("{head}{headers}\r\n\r\n{body}").as_bytes()).await.expect("open");
        drop(stream.shutdown().await);
        let answer = read_all(&mut stream).await;
        assert!(!answer.contains("Watershed is Healthy."), "{headers}: {answer}");
        assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{headers}: {answer}");
    }
    assert_serves(&server).await;
}

#[tokio::test]
async fn who_closes_its_half_leaves_nothing_behind() {
    let server = Fixture::new().serve().await;
    for start in [
        "",
        "GET /-/hea",
        "GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /api/v1/labels HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 10\r\n\r\nlimit",
    ] {
        let mut halves = Vec::new();
        for _ in 0..20 {
            let mut stream = server.connect().await;
            stream.write_all(start.as_bytes()).await.expect("open");
            stream.shutdown().await.expect("open");
            halves.push(stream);
        }
        for mut stream in halves {
            read_all(&mut stream).await;
        }
    }
    // The clients have seen the ends; the server counts them a moment later.
    while server.metric("watershed_http_connections ") != 0.0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_serves(&server).await;
}

#[tokio::test]
async fn slow_bodies_that_take_every_place_give_way() {
    let mut fixture = Fixture::new();
    fixture.config.max_connections = 2;
    let server = fixture.serve().await;
    let mut slow = Vec::new();
    for _ in 0..2 {
        let mut stream = server.connect().await;
        let head = "POST /api/v1/labels HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\nlimit=";
        stream.write_all(head.as_bytes()).await.expect("open");
        slow.push(stream);
    }
    while server.metric("watershed_http_connections ") != 2.0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_serves(&server).await;
    assert_eq!(server.metric("watershed_http_connections_cut_total{reason=\"place_wanted\"}"), 1.0);
    assert_eq!(server.metric("watershed_http_connections_full_total"), 1.0);
}

/// So many series as the hostile queries are asked of.
const CROWD: usize = 1_000_000;

/// A store with a crowd of series, each with a sample and a name of its own; made once, since that takes a while.
fn crowded() -> Arc<Tsdb> {
    static STORE: LazyLock<Arc<Tsdb>> = LazyLock::new(|| {
        let deps = tsdb::Deps { disk: Arc::new(MemDisk::new()), clock: Clock::manual(NOW), registry: Registry::new() };
        let (store, _) = Tsdb::open(Path::new("/data"), tsdb::Options::default(), deps).expect("a disk in memory");
        let mut appender = store.appender();
        let sample = |n: usize| {
            let (name, path) = (format!("metric_{n}"), format!("/some/path/{}/{n}", n % 100));
            let labels = Labels::from_pairs([("__name__", name.as_str()), ("path", path.as_str())]);
            let series = appender.series(&labels).expect("a disk in memory");
            FloatSample { series, t: NOW, v: n as f64 }
        };
        let samples: Vec<_> = (0..CROWD).map(sample).collect();
        appender.append(&samples).expect("a disk in memory");
        appender.commit().expect("a disk in memory");
        Arc::new(store)
    });
    STORE.clone()
}

fn posted(path: &str, form: &[(&str, &str)]) -> String {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn everything_there_is_is_more_than_a_small_budget_bears_and_all_of_it_is_given_back() {
    let store = crowded();
    let bytes = Limits { max_bytes: 1 << 20, ..Limits::default() };
    let all_bytes = Limits { max_bytes_of_all: 1 << 20, ..Limits::default() };
    let samples = Limits { max_samples: 1000, ..Limits::default() };
    for (limits, sentence) in [
        (bytes, "query processing would need more than 1048576 bytes of memory"),
        (all_bytes, "query processing would need more memory than is left of the 1048576 bytes for all queries"),
        (samples, "query processing would load too many samples into memory in query execution"),
    ] {
        let server = Fixture::new().storage(store.clone()).limits(limits).serve().await;
        // A count holds few samples at a time, but a list of all series.
        let aggregations = [r#"count({__name__=~".+"})"#, r#"sum(rate({__name__=~".+"}[5m]))"#];
        let counts_bytes = sentence.contains("bytes");
        let queries = aggregations.into_iter().filter(|_| counts_bytes).chain([r#"{__name__=~".+"}"#, r#"{path!=""}"#]);
        for query in queries {
            let answer = server.exchange(posted("/api/v1/query", &[("query", query)])).await;
            assert!(answer.starts_with("HTTP/1.1 422 ") && answer.contains(sentence), "{query}: {answer}");
            assert_eq!(server.deps.queries.held_bytes(), 0, "{query}");
        }
        let answer = server.exchange(posted("/api/v1/query", &[("query", "metric_7")])).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("/some/path/7/7"), "{answer}");
    }
}

/// Some milliseconds for each of many values: to its end this would take minutes.
fn endless_pattern() -> String {
    let alternatives: Vec<String> = (0..10_000).map(|n| format!("value{n}")).collect();
    format!("({}|.*).*x", alternatives.join("|"))
}

#[tokio::test]
async fn a_client_that_leaves_amid_a_huge_pattern_ends_its_query() {
    let store = crowded();
    let server = Fixture::new().storage(store).limits(Limits { max_concurrency: 1, ..Limits::default() }).serve().await;
    let pattern = endless_pattern();
    let queries = [
        format!("{{__name__=~\"{pattern}\"}}"),
        format!("label_replace({{path!=\"\"}}, \"a\", \"$1\", \"path\", \"{pattern}\")"),
    ];
    for query in &queries {
        let mut client = server.connect().await;
        client.write_all(posted("/api/v1/query", &[("query", query)]).as_bytes()).await.expect("sent");
        while server.metric("watershed_engine_queries ") < 1.0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Past compiling the pattern, if the machine is quick; the law holds before, too.
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(server.metric("watershed_engine_queries "), 1.0, "the query was over too soon to tell anything");
        drop(client);
        let answer = server.exchange(posted("/api/v1/query", &[("query", "1"), ("timeout", "60s")])).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        while server.metric("watershed_engine_queries ") > 0.0 || server.deps.queries.held_bytes() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
