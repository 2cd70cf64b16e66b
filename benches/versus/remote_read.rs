//! Remote reads of many samples: how fast they come, what they cost the server, and what it holds meanwhile.
//!
//! Watershed and Prometheus open copies of one data directory. Every answer is counted sample by sample before anything is
//! measured; then bytes are read as fast as they come and thrown away.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use watershed::disk::RealDisk;
use watershed::model::{Labels, MatchOp, Matcher, TimestampMs};
use watershed::remote::read::{Framing, Query, ReadRequest, ResponseKind, decode_frame, decode_samples};
use watershed::remote::snappy;
use watershed::runtime::Clock;
use watershed::storage::{Appendable, FloatSample, SeriesChunks, SeriesRef, TimeRange};
use watershed::telemetry::Registry;
use watershed::tsdb::{Deps, Options, Tsdb};

use crate::Size;
use crate::proc::Cpu;
use crate::report::{Budget, SERVERS, Table};
use crate::support::http;
use crate::support::peers::Peers;
use crate::support::process::{Home, Server};

/// Samples of each series, 15 s apart: an hour.
const SAMPLES: i64 = 240;
const STEP: i64 = 15;
const MIB: f64 = (1 << 20) as f64;

/// All of it.
pub fn remote_read(size: Size, table: &mut Table) {
    let series = if size == Size::Full { 10_000 } else { 1_000 };
    let samples = (series as i64 * SAMPLES) as f64;
    let end = crate::support::now_ms() / 1000 / STEP * STEP;
    let homes = [Home::new(), Home::new()];
    write(&homes[0].data_path(), series, end);
    let copied = Command::new("cp").arg("-a").args([homes[0].data_path(), homes[1].data_path()]).status();
    assert!(copied.expect("cp runs").success());
    let servers = servers(&homes);
    for (kind, word, budget) in [
        (ResponseKind::StreamedChunks, "streamed", Budget::OneOver(4.0)),
        (ResponseKind::Samples, "as samples", Budget::None),
    ] {
        let request = request(kind, end);
        let mut answers: BTreeMap<&'static str, Answers> = BTreeMap::new();
        for (name, server) in &servers {
            assert_eq!(count(server, &request, kind) as f64, samples, "{name} answers everything");
            answers.insert(name, Answers::of(server, &request));
        }
        let of = |figure: &dyn Fn(&Answers) -> f64| answers.iter().map(|(name, a)| (*name, figure(a))).collect();
        let what = format!("remote read of {:.1}M samples {word}", samples / 1e6);
        table.add(format!("{what}: ns a sample"), of(&|a| a.median.as_secs_f64() * 1e9 / samples), budget);
        table.add(format!("{what}: CPU, ns a sample"), of(&|a| a.cpu.as_secs_f64() * 1e9 / samples), budget);
        table.add(format!("{what}: bytes a sample"), of(&|a| a.bytes as f64 / samples), Budget::None);
        // A frame and a batch in the one case; the packed message in the other.
        let held = if kind == ResponseKind::Samples { samples * 12.0 / MIB } else { 16.0 };
        table.add(format!("{what}: growth of resident peak, MiB"), of(&|a| a.growth), Budget::AtMost(held));
    }
}

fn servers(homes: &[Home; 2]) -> Vec<(&'static str, Server)> {
    homes.iter().for_each(|home| home.write_config(""));
    let mut servers = vec![(SERVERS[0], homes[0].watershed(&["--log.level=warn"]))];
    if let Some(peers) = Peers::find(&["prometheus"]) {
        let command = homes[1].command(&peers.path("prometheus"), &["--log.level=warn"]);
        let log = homes[1].path().join("log");
        servers.push((SERVERS[1], Server::spawn(SERVERS[1], command, homes[1].port, &log).wait_ready("/-/ready")));
    }
    servers
}

/// Counters that grow at rates of their own, and now and then rest.
fn value(series: usize, step: i64) -> f64 {
    let n = series as i64 + 1;
    (step * (n % 17 + 1) + (step * n * 7919) % 13) as f64
}

/// Writes everything with Watershed's store.
fn write(dir: &Path, series: usize, end: i64) {
    let clock = Clock::manual(TimestampMs(end * 1000));
    let deps = Deps { disk: Arc::new(RealDisk), clock, registry: Registry::new() };
    let (store, _) = Tsdb::open(dir, Options::default(), deps).expect("opens");
    let labels = |i: usize| {
        let texts = [format!("host-{:02}:9100", i % 40), format!("/api/v1/resource/{}", i / 40)];
        Labels::from_pairs([
            ("__name__", "http_requests_total"),
            ("code", "200"),
            ("handler", &texts[1]),
            ("instance", &texts[0]),
            ("job", "api"),
        ])
    };
    let mut refs: Vec<SeriesRef> = Vec::new();
    for step in 0..SAMPLES {
        let mut appender = store.appender();
        if refs.is_empty() {
            refs.extend((0..series).map(|i| appender.series(&labels(i)).expect("a series")));
        }
        let t = TimestampMs((end - (SAMPLES - 1 - step) * STEP) * 1000);
        let sample = |(i, series): (usize, &SeriesRef)| FloatSample { series: *series, t, v: value(i, step) };
        let samples: Vec<FloatSample> = refs.iter().enumerate().map(sample).collect();
        assert!(appender.append(&samples).expect("taken").0.is_empty());
        appender.commit().expect("committed");
    }
    store.close().expect("closes");
}

fn request(kind: ResponseKind, end: i64) -> Vec<u8> {
    let selector = vec![Matcher::new(MatchOp::Equal, "__name__", "http_requests_total").expect("a matcher")];
    let range = TimeRange { min: TimestampMs((end - SAMPLES * STEP) * 1000), max: TimestampMs(end * 1000) };
    let queries = vec![Query { range, selector, hints: None }];
    let message = ReadRequest { queries, accepted: vec![kind.number()] }.encode();
    let mut body = Vec::new();
    snappy::encode(&message, &mut body).expect("a small message");
    body
}

/// Samples of an answer, counted.
fn count(server: &Server, request: &[u8], kind: ResponseKind) -> usize {
    let headers = "Content-Encoding: snappy\r\nContent-Type: application/x-protobuf\r\n";
    let answer = http::post_bytes(&format!("{}/api/v1/read", server.url), headers, request).expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let samples = |series: &[SeriesChunks]| {
        series.iter().flat_map(|s| &s.chunks).map(|chunk| usize::from(chunk.sample_count())).sum::<usize>()
    };
    if kind == ResponseKind::Samples {
        let mut message = Vec::new();
        snappy::decode(&answer.body, 1 << 30, &mut message).expect("a packed message");
        return samples(&decode_samples(&message).expect("samples"));
    }
    let (mut framing, mut total) = (Framing::new(1 << 30), 0);
    framing.push(&answer.body);
    while let Some(frame) = framing.next_frame().expect("frames") {
        total += samples(&decode_frame(frame).expect("a frame"));
    }
    total
}

/// Several answers to one request.
struct Answers {
    median: Duration,
    cpu: Duration,
    bytes: usize,
    /// MiB.
    growth: f64,
}

impl Answers {
    fn of(server: &Server, request: &[u8]) -> Answers {
        const COUNT: u32 = 5;
        // From here on the peak is that of these answers.
        drop(std::fs::write(format!("/proc/{}/clear_refs", server.pid()), "5"));
        let resident = server.status_bytes("VmRSS:");
        let before = Cpu::of(server.pid());
        let mut fetched: Vec<(Duration, usize)> = (0..COUNT).map(|_| fetch(server, request)).collect();
        let cpu = (Cpu::of(server.pid()) - before) / COUNT;
        fetched.sort();
        let growth = server.status_bytes("VmHWM:").saturating_sub(resident) as f64 / MIB;
        let (median, bytes) = fetched[fetched.len() / 2];
        Answers { median, cpu, bytes, growth }
    }
}

/// Reads one answer and does not keep it.
fn fetch(server: &Server, request: &[u8]) -> (Duration, usize) {
    let start = Instant::now();
    let mut stream = TcpStream::connect(&server.address).expect("a connection");
    let head = format!(
        "POST /api/v1/read HTTP/1.1\r\nHost: {}\r\nContent-Encoding: snappy\r\nContent-Type: application/x-protobuf\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        server.address,
        request.len()
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(request)).expect("the request is sent");
    let (mut buffer, mut bytes) = (vec![0; 256 << 10], 0);
    loop {
        match stream.read(&mut buffer).expect("the answer is read") {
            0 => return (start.elapsed(), bytes),
            n => bytes += n,
        }
    }
}
