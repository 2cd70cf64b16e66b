//! Both sides together: what the server's side writes, the client's side reads; and what happens if it is not what was asked.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::model::{AnnotationKind, Annotations, BucketLayout, Histogram, Labels, MatchOp, Matcher, Span, TimestampMs};
use crate::net::protobuf::Writer;
use crate::remote::snappy;
use crate::runtime::Tasks;
use crate::storage::memory::MemoryStore;
use crate::storage::{
    Appendable as _, Cancelled, ChunkBuilder, Fanout, FloatSample, HistogramRef, HistogramSample, LabelRequest,
    QueryError, Queryable, Scope, SelectRequest, SeriesBatch, SeriesChunks, StreamStep, TimeRange, TimedValue,
    decode_values,
};
use crate::telemetry::Registry;

const LIMITS: Limits = Limits { samples: None, streamed_samples: None, bytes: None, frame: 1 << 20 };

fn histogram(count: u64) -> Histogram {
    Histogram {
        layout: BucketLayout {
            schema: 2,
            positive_spans: vec![Span { offset: 0, length: 1 }],
            ..BucketLayout::default()
        },
        count,
        sum: count as f64,
        positive_buckets: vec![count as i64],
        ..Histogram::default()
    }
}

/// Samples a second apart of three series of floats, one of them with start timestamps, and two of histograms.
fn store(samples: i64) -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::new());
    let mut appender = store.appender();
    for (n, name) in ["a", "b", "z"].into_iter().enumerate() {
        let series = appender.series(&Labels::from_pairs([("__name__", "floats"), ("series", name)])).unwrap();
        for i in 0..samples {
            let sample = FloatSample { series, t: TimestampMs(i * 1000), v: (i * 3 + n as i64) as f64 / 7.0 };
            let start = if name == "b" { TimestampMs(1) } else { TimestampMs(0) };
            appender.append_with_starts(&[sample], &[start]).unwrap();
        }
    }
    for name in ["float", "integer"] {
        let series = appender.series(&Labels::from_pairs([("__name__", "histograms"), ("series", name)])).unwrap();
        for i in 0..samples {
            let h = histogram(i as u64 % 50);
            let float = h.to_float();
            let value = if name == "float" { HistogramRef::Float(&float) } else { HistogramRef::Integer(&h) };
            let sample = HistogramSample { series, t: TimestampMs(i * 1000), start: TimestampMs(0), value };
            appender.append_histograms(&[sample]).unwrap();
        }
    }
    appender.commit().unwrap();
    store
}

fn range(min: i64, max: i64) -> TimeRange {
    TimeRange { min: TimestampMs(min), max: TimestampMs(max) }
}

fn query(min: i64, max: i64, name: &str) -> Query {
    let selector = vec![Matcher::new(MatchOp::Regex, "__name__", name).unwrap()];
    Query { range: range(min, max), selector, hints: None }
}

fn request(queries: Vec<Query>) -> ReadRequest {
    ReadRequest { queries, accepted: Vec::new() }
}

fn answer(
    store: &dyn Queryable,
    kind: ResponseKind,
    request: &ReadRequest,
    limits: &Limits,
) -> Result<Vec<u8>, ServeError> {
    let (scope, external, mut out) = (Scope::unbounded(), Labels::from_pairs([("site", "edge")]), Vec::new());
    let source = Source { storage: store, scope: &scope, external: &external };
    serve(kind, request, source, limits, &mut |buffer| {
        out.append(buffer);
        Ok(())
    })?;
    Ok(out)
}

fn frames(stream: &[u8]) -> Vec<Vec<u8>> {
    let (mut framing, mut frames) = (Framing::new(u64::MAX), Vec::new());
    framing.push(stream);
    while let Some(frame) = framing.next_frame().unwrap() {
        frames.push(frame.to_vec());
    }
    framing.finish().unwrap();
    frames
}

fn unpacked(block: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    snappy::decode(block, 1 << 30, &mut message).unwrap();
    message
}

type Plain = Vec<(String, Vec<TimedValue>)>;

fn plain(series: Vec<SeriesChunks>) -> Plain {
    let mut all: Plain = Vec::new();
    for SeriesChunks { labels, chunks } in series {
        let name = labels.to_string();
        if all.last().is_none_or(|(last, _)| *last != name) {
            all.push((name, Vec::new()));
        }
        let values = &mut all.last_mut().unwrap().1;
        chunks.iter().for_each(|chunk| decode_values(chunk, values).unwrap());
    }
    all
}

fn expected(store: &MemoryStore, range: TimeRange) -> Plain {
    let with_site = |labels: &Labels| Labels::from_pairs(labels.iter().chain([("site", "edge")])).to_string();
    let within = |samples: Vec<TimedValue>| samples.into_iter().filter(|s| range.contains(s.t)).collect();
    store.dump().into_iter().map(|(labels, samples)| (with_site(&labels), within(samples))).collect()
}

fn assert_same(found: &Plain, expected: &Plain) {
    let names = |all: &Plain| all.iter().map(|(name, samples)| (name.clone(), samples.len())).collect::<Vec<_>>();
    assert_eq!(names(found), names(expected));
    for ((name, found), (_, expected)) in found.iter().zip(expected) {
        for (a, b) in found.iter().zip(expected) {
            assert!(a.t == b.t && a.value.is_same(&b.value), "{name}: {a:?} is not {b:?}");
        }
    }
}

#[test]
fn what_is_stored_arrives_in_both_kinds_of_answers_cut_at_the_range() {
    let store = store(500);
    for (min, max) in [(0, 499_000), (100_500, 333_000), (5000, 5000), (-7, 3)] {
        let request = request(vec![query(min, max, ".+")]);
        let expected = expected(&store, range(min, max));
        let stream = answer(&*store, ResponseKind::StreamedChunks, &request, &LIMITS).unwrap();
        let series: Vec<SeriesChunks> = frames(&stream).iter().flat_map(|f| decode_frame(f).unwrap()).collect();
        assert!(series.iter().flat_map(|s| &s.chunks).all(|chunk| !chunk.encoding.has_starts()));
        assert_same(&plain(series), &expected);
        let block = answer(&*store, ResponseKind::Samples, &request, &LIMITS).unwrap();
        assert_same(&plain(decode_samples(&unpacked(&block)).unwrap()), &expected);
    }
    let nothing = request(vec![query(600_000, 700_000, ".+"), query(5, 4, ".+")]);
    assert!(answer(&*store, ResponseKind::StreamedChunks, &nothing, &LIMITS).unwrap().is_empty());
    let block = answer(&*store, ResponseKind::Samples, &nothing, &LIMITS).unwrap();
    assert_eq!(unpacked(&block), [0x0a, 0, 0x0a, 0], "an empty result for each query");
}

#[test]
fn a_chunk_that_lies_whole_in_the_range_goes_out_as_it_is_stored() {
    let store = store(240);
    let (scope, selectors) = (Scope::unbounded(), [query(0, 0, "floats").selector]);
    let select = SelectRequest { selectors: &selectors, range: TimeRange::ALL, sorted: true, limit: None };
    let (mut stream, mut batch) = (store.select(&scope, &select).unwrap(), SeriesBatch::default());
    assert!(matches!(stream.next(&mut batch).unwrap(), StreamStep::Batch));
    let request = request(vec![query(0, 200_000, "floats")]);
    let sent = answer(&*store, ResponseKind::StreamedChunks, &request, &LIMITS).unwrap();
    let sent = decode_frame(&frames(&sent)[0]).unwrap();
    let stored = &batch.series[0].chunks;
    assert_eq!((stored.len(), sent[0].chunks.len()), (2, 2));
    assert_eq!(sent[0].chunks[0].data, stored[0].data);
    assert_eq!((sent[0].chunks[1].sample_count(), stored[1].sample_count()), (81, 120));
}

#[test]
fn frames_keep_to_their_limit_and_tell_their_query() {
    let store = store(1000);
    let request = request(vec![query(0, i64::MAX, "floats"), query(0, 200_000, "histograms")]);
    for frame in [1, 1500, 4000] {
        let limits = Limits { frame, ..LIMITS };
        let stream = answer(&*store, ResponseKind::StreamedChunks, &request, &limits).unwrap();
        let frames = frames(&stream);
        let asked = |name: &str| answer::Asked {
            range: TimeRange::ALL,
            selector: query(0, 0, name).selector,
            dropped: Vec::new(),
            labels_only: false,
        };
        let (mut decoder, mut series) = (answer::Decoder::default(), Vec::new());
        for message in &frames {
            let before = series.len();
            decoder.frame(message, &[asked("floats"), asked("histograms")], &mut series).unwrap();
            let single = series.len() == before + 1 && series[before].chunks.len() == 1;
            assert!(message.len() <= frame || single, "a frame of {} bytes with several chunks", message.len());
        }
        assert_eq!((decoder.unasked, plain(series).len()), (0, 5));
    }
}

#[test]
fn hints_narrow_the_range_and_may_want_labels_only() {
    let store = store(100);
    let mut wanted = query(0, 99_000, "floats");
    wanted.hints = Some(Hints { range: range(10_000, 19_000), function: "rate".to_owned() });
    for (min, max, samples) in [(10_000, 19_000, 10), (0, 0, 100), (50_000, 900_000, 50), (200_000, 300_000, 0)] {
        wanted.hints.as_mut().unwrap().range = range(min, max);
        let block = answer(&*store, ResponseKind::Samples, &request(vec![wanted.clone()]), &LIMITS).unwrap();
        let found: usize = plain(decode_samples(&unpacked(&block)).unwrap()).iter().map(|(_, s)| s.len()).sum();
        assert_eq!(found, 3 * samples, "{min}..{max}");
    }
    wanted.hints = Some(Hints { range: range(0, 0), function: LABELS_ONLY.to_owned() });
    let asked = answer::Asked {
        range: TimeRange::ALL,
        selector: wanted.selector.clone(),
        dropped: Vec::new(),
        labels_only: true,
    };
    let request = request(vec![wanted]);
    let block = answer(&*store, ResponseKind::Samples, &request, &LIMITS).unwrap();
    let stream = answer(&*store, ResponseKind::StreamedChunks, &request, &LIMITS).unwrap();
    let (mut decoder, mut sampled, mut streamed) = (answer::Decoder::default(), Vec::new(), Vec::new());
    decoder.samples(&unpacked(&block), std::slice::from_ref(&asked), &mut sampled).unwrap();
    for frame in frames(&stream) {
        decoder.frame(&frame, std::slice::from_ref(&asked), &mut streamed).unwrap();
    }
    for series in [sampled, streamed] {
        assert_eq!(series.len(), 3);
        assert!(series.iter().all(|s| s.chunks.is_empty()));
    }
}

#[test]
fn answers_beyond_their_limits_are_refused() {
    let (store, request) = (store(100), request(vec![query(0, i64::MAX, ".+")]));
    let refused = |kind, limits: Limits| answer(&*store, kind, &request, &limits).unwrap_err().to_string();
    let (samples, streamed) = (ResponseKind::Samples, ResponseKind::StreamedChunks);
    assert_eq!(refused(samples, Limits { samples: Some(499), ..LIMITS }), "exceeded sample limit (499)");
    assert_eq!(refused(streamed, Limits { streamed_samples: Some(499), ..LIMITS }), "exceeded sample limit (499)");
    for kind in [samples, streamed] {
        let bytes = answer(&*store, kind, &request, &LIMITS).unwrap().len() as u64;
        let limits = Limits { samples: Some(500), streamed_samples: Some(500), bytes: Some(bytes), ..LIMITS };
        assert!(answer(&*store, kind, &request, &limits).is_ok(), "what is just allowed");
        assert!(refused(kind, Limits { bytes: Some(bytes - 1), ..LIMITS }).contains("bytes that are allowed"));
    }
}

#[test]
fn requests_come_back_whole_and_bad_ones_say_why() {
    let matchers = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];
    let selector = matchers.iter().map(|op| Matcher::new(*op, "l", "v|").unwrap()).collect();
    let hints = Some(Hints { range: range(3, 4), function: "rate".to_owned() });
    let sent = ReadRequest {
        queries: vec![Query { range: range(-5, 7), selector, hints }, query(0, 1, "x")],
        accepted: vec![1, 0],
    };
    let back = ReadRequest::decode(&sent.encode()).unwrap();
    assert_eq!(format!("{back:?}"), format!("{sent:?}"));
    let negotiated = |accepted: &[u64]| ResponseKind::negotiate(accepted).ok();
    assert_eq!(negotiated(&[]), Some(ResponseKind::Samples));
    assert_eq!(negotiated(&[7, 1, 0]), Some(ResponseKind::StreamedChunks));
    assert_eq!(negotiated(&[7]), None);
    let refused = |write: &dyn Fn(&mut Writer<'_>)| {
        let mut out = Vec::new();
        write(&mut Writer::new(&mut out));
        ReadRequest::decode(&out).unwrap_err().to_string()
    };
    let matcher = |op, value: &'static str| {
        move |w: &mut Writer<'_>| {
            w.message(1, |w| {
                w.message(3, |w| {
                    w.varint(1, op);
                    w.bytes(3, value.as_bytes());
                });
            })
        }
    };
    assert_eq!(refused(&matcher(4, "")), "invalid matcher type 4");
    assert!(refused(&matcher(2, "(")).contains("the condition on"));
    assert!(refused(&|w| (0..1001).for_each(|_| w.bytes(1, &[]))).contains("more than 1000 queries"));
}

#[test]
fn answers_that_contradict_themselves_are_refused() {
    let mut builder = ChunkBuilder::new();
    [1, 2, 2, 3].iter().for_each(|t| builder.push_float(TimestampMs(*t), TimestampMs(0), 1.0));
    let chunk = builder.finish().remove(0);
    let frame = |labels: &[(&str, &str)], encoding: u64, data: &[u8]| {
        let mut out = Vec::new();
        Writer::new(&mut out).message(1, |w| {
            wire::write_labels(w, labels.iter().copied());
            w.message(2, |w| {
                w.varint(3, encoding);
                w.bytes(4, data);
            });
        });
        decode_frame(&out).unwrap_err().to_string()
    };
    assert_eq!(frame(&[("a", "b")], 1, &chunk.data), "the times of a series do not ascend at 2");
    assert_eq!(frame(&[("a", "b")], 7, &chunk.data), "a chunk has the unknown encoding 7");
    assert_eq!(frame(&[("a", "b"), ("a", "c")], 1, &chunk.data), "a series has the label \"a\" twice");
    assert!(frame(&[("a", "b")], 1, &chunk.data[..5]).contains("damaged"));
    assert!(frame(&[("a", "b")], 2, &chunk.data).contains("damaged"));
    let mut samples = Vec::new();
    Writer::new(&mut samples)
        .message(1, |w| w.message(1, |w| [5, 4].iter().for_each(|t| wire::write_float(w, *t, 0.0))));
    assert_eq!(decode_samples(&samples).unwrap_err().to_string(), "the times of a series do not ascend at 4");
    assert!(decode_samples(&[]).unwrap_err().to_string().contains("0 queries of 1"));
}

proptest! {
    #[test]
    fn no_bytes_make_the_readers_panic(bytes: Vec<u8>) {
        drop(decode_frame(&bytes));
        drop(decode_samples(&bytes));
        drop(ReadRequest::decode(&bytes));
    }
}

/// A server that answers every request with what a function makes of its body: a head and the body's bytes.
struct Peer {
    url: String,
    asked: Arc<AtomicU64>,
}

type Respond = dyn Fn(ReadRequest, &mut TcpStream) + Send + Sync;

impl Peer {
    fn start(respond: impl Fn(ReadRequest, &mut TcpStream) + Send + Sync + 'static) -> Peer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/read", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicU64::new(0));
        let (count, respond): (_, Arc<Respond>) = (asked.clone(), Arc::new(respond));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (count, respond) = (count.clone(), respond.clone());
                std::thread::spawn(move || {
                    let mut stream = stream.unwrap();
                    let request = receive(&mut stream);
                    count.fetch_add(1, Ordering::SeqCst);
                    respond(request, &mut stream);
                });
            }
        });
        Peer { url, asked }
    }

    /// Answers from a store, as the request asks.
    fn serving(store: Arc<MemoryStore>, kind: ResponseKind) -> Peer {
        Peer::start(move |request, stream| {
            let (content_type, body) = (content_type(kind), answer(&*store, kind, &request, &LIMITS).unwrap());
            respond(stream, "200 OK", content_type, &body);
        })
    }
}

fn content_type(kind: ResponseKind) -> &'static str {
    if kind == ResponseKind::Samples { SAMPLES_TYPE } else { STREAMED_TYPE }
}

fn respond(stream: &mut TcpStream, status: &str, content_type: &str, body: &[u8]) {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    // The client may have left.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
}

fn receive(stream: &mut TcpStream) -> ReadRequest {
    let (mut raw, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let n = stream.read(&mut buffer).unwrap();
        raw.extend_from_slice(&buffer[..n]);
        let Some(end) = raw.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&raw[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")).unwrap().parse::<usize>().unwrap();
        if raw.len() >= end + 4 + length {
            return ReadRequest::decode(&unpacked(&raw[end + 4..])).unwrap();
        }
    }
}

/// A runtime, and an endpoint within it.
struct Client {
    endpoint: Endpoint,
    _runtime: tokio::runtime::Runtime,
}

impl Client {
    fn new(peer: &Peer, change: impl FnOnce(&mut EndpointConfig)) -> Client {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let _context = runtime.enter();
        let mut config = EndpointConfig::new(peer.url.parse().unwrap());
        config.name = "far".to_owned();
        config.read_recent = true;
        change(&mut config);
        let local_start: LocalStart = Arc::new(|| TimestampMs(100_000));
        let deps = Deps { registry: Registry::new(), tasks: Tasks::new(), local_start };
        let endpoint = Endpoint::new(config, deps).unwrap();
        drop(_context);
        Client { endpoint, _runtime: runtime }
    }

    fn read(&self, scope: &Scope, selector: &str, sorted: bool) -> Result<(Plain, Annotations), QueryError> {
        let selectors = [vec![Matcher::new(MatchOp::Regex, "__name__", selector).unwrap()]];
        let request = SelectRequest { selectors: &selectors, range: range(0, 400_000), sorted, limit: None };
        drain(&self.endpoint, scope, &request)
    }

    fn error(&self, sorted: bool) -> String {
        self.read(&Scope::unbounded(), ".+", sorted).unwrap_err().to_string()
    }
}

fn drain(
    storage: &dyn Queryable,
    scope: &Scope,
    request: &SelectRequest<'_>,
) -> Result<(Plain, Annotations), QueryError> {
    let (mut stream, mut batch, mut all) = (storage.select(scope, request)?, SeriesBatch::default(), Vec::new());
    loop {
        if let StreamStep::End(end) = stream.next(&mut batch)? {
            return Ok((plain(all), end.annotations));
        }
        let size = batch.size();
        scope.release(size.samples, size.bytes);
        all.append(&mut batch.series);
    }
}

#[test]
fn an_endpoint_is_a_store_whatever_kind_of_answer_it_gives() {
    let store = store(300);
    let external = Labels::from_pairs([("site", "edge")]);
    for kind in [ResponseKind::Samples, ResponseKind::StreamedChunks] {
        let peer = Peer::serving(store.clone(), kind);
        for sorted in [true, false] {
            let client = Client::new(&peer, |config| config.external = external.clone());
            let (found, remarks) = client.read(&Scope::unbounded(), ".+", sorted).unwrap();
            let own: Plain = store.dump().into_iter().map(|(labels, s)| (labels.to_string(), s)).collect();
            assert_same(&found, &own);
            assert!(remarks.is_empty());
            let client = Client::new(&peer, |_| {});
            assert_same(&client.read(&Scope::unbounded(), ".+", sorted).unwrap().0, &expected(&store, TimeRange::ALL));
        }
        let client = Client::new(&peer, |config| config.external = external.clone());
        let selectors = [query(0, 0, "floats").selector, query(0, 0, ".*s").selector];
        let request = SelectRequest { selectors: &selectors, range: TimeRange::ALL, sorted: false, limit: Some(4) };
        let scope = Scope::new(None, u64::MAX, u64::MAX);
        let (found, _) = drain(&client.endpoint, &scope, &request).unwrap();
        assert_eq!(found.iter().map(|(_, s)| s.len()).collect::<Vec<_>>(), [300; 4], "each series once");
        let all = LabelRequest { selectors: &selectors, ..LabelRequest::ALL };
        let three = LabelRequest { limit: Some(3), ..all };
        let names = client.endpoint.label_names(&scope, &all).unwrap().0;
        assert_eq!(names, ["__name__", "series"]);
        let values = client.endpoint.label_values(&scope, "series", &three).unwrap().0;
        assert_eq!(values, ["a", "b", "float"]);
        let (values, remarks) = client.endpoint.label_values(&scope, "series", &LabelRequest::ALL).unwrap();
        assert!(values.is_empty() && !remarks.is_empty());
        let mut latest = client.endpoint.select_latest(&scope, &request).unwrap();
        let mut rows = crate::storage::LatestBatch::default();
        assert!(matches!(latest.next(&mut rows).unwrap(), StreamStep::Batch));
        assert!(rows.rows.iter().all(|row| row.t.0 == 299_000));
    }
}

#[test]
fn an_endpoint_is_asked_only_for_what_it_is_configured_for() {
    let peer = Peer::serving(store(300), ResponseKind::StreamedChunks);
    let asked = || peer.asked.load(Ordering::SeqCst);
    let scope = Scope::unbounded();
    let client = Client::new(&peer, |config| config.required = Labels::from_pairs([("__name__", "floats")]));
    assert!(client.read(&scope, "floats", true).unwrap().0.is_empty(), "an expression is not the equality");
    assert_eq!(asked(), 0);
    let selectors = [vec![Matcher::equal("__name__", "floats")]];
    let all = SelectRequest { selectors: &selectors, range: TimeRange::ALL, sorted: true, limit: None };
    assert_eq!(drain(&client.endpoint, &scope, &all).unwrap().0.len(), 3);
    assert_eq!(asked(), 1);
    // The store beside it has everything from second 100 on.
    let client = Client::new(&peer, |config| config.read_recent = false);
    let late = SelectRequest { range: range(100_001, 200_000), ..all.clone() };
    assert!(drain(&client.endpoint, &scope, &late).unwrap().0.is_empty());
    assert_eq!(asked(), 1);
    let early = SelectRequest { range: range(90_000, 200_000), ..all };
    let found = drain(&client.endpoint, &scope, &early).unwrap().0;
    assert!(found.iter().all(|(_, samples)| samples.len() == 11));
}

#[test]
fn what_was_not_asked_for_is_dropped_and_what_is_unsorted_is_sorted() {
    let (store, everything) = (store(200), request(vec![query(0, i64::MAX, ".+")]));
    for kind in [ResponseKind::Samples, ResponseKind::StreamedChunks] {
        let body = answer(&*store, kind, &everything, &Limits { frame: 600, ..LIMITS }).unwrap();
        let body = if kind == ResponseKind::Samples { body } else { reversed(&body) };
        let peer = Peer::start(move |_, stream| respond(stream, "200 OK", content_type(kind), &body));
        let client = Client::new(&peer, |_| {});
        let (found, _) = client.read(&Scope::unbounded(), "floats", true).unwrap();
        let mut expected = expected(&store, TimeRange::ALL);
        expected.retain(|(name, _)| name.starts_with("floats"));
        assert_same(&found, &expected);
        let selectors = [query(0, 0, "floats").selector];
        let part = SelectRequest { selectors: &selectors, range: range(0, 10_000), sorted: false, limit: None };
        let (found, _) = drain(&client.endpoint, &Scope::unbounded(), &part).unwrap();
        assert!(found.iter().all(|(_, samples)| samples.len() <= 120), "chunks outside of the range");
    }
}

/// The same frames, the last first.
fn reversed(stream: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for message in frames(stream).iter().rev() {
        prost::encoding::encode_varint(message.len() as u64, &mut out);
        out.extend_from_slice(&crc32c::crc32c(message).to_be_bytes());
        out.extend_from_slice(message);
    }
    out
}

#[test]
fn every_fault_of_an_endpoint_is_an_error_that_names_it() {
    let store = store(300);
    let everything = request(vec![query(0, i64::MAX, ".+")]);
    let good = answer(&*store, ResponseKind::StreamedChunks, &everything, &LIMITS).unwrap();
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let bomb = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0];
    let cases: Vec<(&str, &str, Vec<u8>, &str)> = vec![
        ("200 OK", STREAMED_TYPE, good[..good.len() - 1].to_vec(), "the stream ends within a frame"),
        ("200 OK", STREAMED_TYPE, flipped, "checksum"),
        ("200 OK", STREAMED_TYPE, bomb.to_vec(), "exceeds the limit of 50000000"),
        ("200 OK", SAMPLES_TYPE, bomb.to_vec(), "bytes that are held of one"),
        ("200 OK", SAMPLES_TYPE, good.clone(), "snappy"),
        ("200 OK", "text/html", good.clone(), "unsupported content type \"text/html\""),
        (
            "500 Internal Server Error",
            "text/plain",
            b"on\nfire".to_vec(),
            "it answered 500 Internal Server Error: on fire",
        ),
        ("400 Bad Request", "text/plain", b"no".to_vec(), "it answered 400 Bad Request: no"),
    ];
    for (status, content_type, body, words) in cases {
        let peer = Peer::start(move |_, stream| respond(stream, status, content_type, &body));
        for sorted in [true, false] {
            let told = Client::new(&peer, |_| {}).error(sorted);
            assert!(told.starts_with("far: remote read failed: ") && told.contains(words), "{words:?}: {told}");
        }
    }
    let cut = Peer::start(move |_, stream| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {STREAMED_TYPE}\r\nContent-Length: 1000000\r\n\r\n");
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&good)).unwrap();
    });
    assert!(Client::new(&cut, |_| {}).error(true).contains("closed before the whole answer"));
}

#[test]
fn a_slow_endpoint_costs_its_timeout_and_never_more_than_the_read_has() {
    let silent = Peer::start(|_, stream| {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    });
    let client = Client::new(&silent, |config| config.timeout = Duration::from_millis(100));
    assert!(client.error(true).contains("timed out after 100ms"));
    let client = Client::new(&silent, |_| {});
    let scope = Scope::new(Some(Instant::now() + Duration::from_millis(100)), u64::MAX, u64::MAX);
    let read = client.read(&scope, ".+", true);
    assert!(matches!(read, Err(QueryError::Cancelled(Cancelled::Deadline))));
    let scope = Scope::unbounded();
    let canceller = scope.clone();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        canceller.cancel();
    });
    let read = client.read(&scope, ".+", false);
    assert!(matches!(read, Err(QueryError::Cancelled(Cancelled::Client))));
    thread.join().unwrap();
}

#[test]
fn an_endless_answer_is_held_within_the_reads_bytes_and_streamed_without_end_if_order_does_not_matter() {
    let store = store(1000);
    let body =
        answer(&*store, ResponseKind::StreamedChunks, &request(vec![query(0, i64::MAX, ".+")]), &LIMITS).unwrap();
    let peer = Peer::start(move |_, stream| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {STREAMED_TYPE}\r\n\r\n");
        let _ = stream.write_all(head.as_bytes());
        while stream.write_all(&body).is_ok() {}
    });
    let client = Client::new(&peer, |_| {});
    let limit = 3 << 20;
    let scope = Scope::new(None, u64::MAX, limit);
    assert!(
        matches!(client.read(&scope, ".+", true), Err(QueryError::Cancelled(Cancelled::Bytes(max))) if max == limit)
    );
    let selectors = [query(0, 0, ".+").selector];
    let unsorted = SelectRequest { selectors: &selectors, range: TimeRange::ALL, sorted: false, limit: None };
    let scope = Scope::new(None, u64::MAX, limit);
    let (mut stream, mut batch, mut series) =
        (client.endpoint.select(&scope, &unsorted).unwrap(), SeriesBatch::default(), 0);
    while series < 20_000 {
        assert!(matches!(stream.next(&mut batch).unwrap(), StreamStep::Batch));
        let size = batch.size();
        series += size.series;
        scope.release(size.samples, size.bytes);
    }
    drop(stream);
}

#[test]
fn an_endpoint_that_fails_again_and_again_is_left_alone_and_the_store_beside_it_answers() {
    let peer = Peer::start(|_, stream| respond(stream, "503 Service Unavailable", "text/plain", b"down"));
    let client = Client::new(&peer, |_| {});
    let fanout = Fanout::new(store(10));
    fanout.set_secondaries(vec![Arc::new(client.endpoint.clone())]);
    let selectors = [query(0, 0, ".+").selector];
    let all = SelectRequest { selectors: &selectors, range: TimeRange::ALL, sorted: false, limit: None };
    for read in 0..8 {
        let (found, remarks) = drain(&fanout, &Scope::unbounded(), &all).unwrap();
        assert_eq!(found.len(), 5);
        let warnings: Vec<String> = remarks.of(AnnotationKind::Warning).map(ToString::to_string).collect();
        let words = match read {
            0..5 => "far: remote read failed: it answered 503 Service Unavailable: down",
            _ => "far: remote read failed: not asked, because it failed 5 times in a row: it answered 503",
        };
        assert!(warnings.len() == 1 && warnings[0].starts_with(words), "{warnings:?}");
    }
    assert_eq!(peer.asked.load(Ordering::SeqCst), 5);
}
