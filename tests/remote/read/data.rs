//! The data that everyone is asked for, and how it is asked for.

use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use watershed::model::{MatchOp, Matcher, TimestampMs};
use watershed::remote::read::{Framing, Query, ReadRequest, ResponseKind, decode_frame, decode_samples};
use watershed::remote::snappy;
use watershed::storage::{SeriesChunks, TimeRange, TimedValue, decode_values};

use crate::support::http::{self, Response};
use crate::support::peers::Peers;
use crate::support::process::{Home, Server};
use crate::support::remote_write::{self, Series, Value, histograms};
use crate::support::{now_ms, wait_for};

pub const STEP: i64 = 15_000;
pub const STEPS: usize = 400;

fn series(labels: &[(&str, &str)], start: i64, value: impl Fn(usize) -> Option<Value>) -> Series {
    let samples = (0..STEPS).filter_map(|i| Some((start + i as i64 * STEP, value(i)?))).collect();
    Series { labels: labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(), samples }
}

/// Floats of all sorts, gaps, every kind of native histograms, and series that have labels which are external ones, too.
fn all_series(start: i64) -> Vec<Series> {
    let mut all = Vec::new();
    let mut floats = |labels: &[(&str, &str)], value: &dyn Fn(usize) -> f64| {
        all.push(series(labels, start, |i| Some(Value::Float(value(i)))));
    };
    for (n, instance) in ["a:1", "b:1", "c<>&\u{e9}\"\\"].into_iter().enumerate() {
        for (m, code) in ["200", "404", "500"].into_iter().enumerate() {
            let labels = [("__name__", "requests_total"), ("code", code), ("instance", instance)];
            floats(&labels, &|i| ((i % 97) * (n + 1) * (m + 1)) as f64 * 0.1);
        }
    }
    let special = [0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 5e-324, 1e300, 1234567.5];
    for (n, v) in special.into_iter().enumerate() {
        floats(&[("__name__", "special"), ("kind", &n.to_string())], &|_| v);
    }
    for site in ["edge", "far"] {
        floats(&[("__name__", "sited"), ("site", site)], &|i| i as f64);
    }
    floats(&[("__name__", "sited"), ("zone", "a")], &|i| i as f64);
    floats(&[("Upper", "x"), ("__name__", "sited")], &|i| i as f64);
    all.push(series(&[("__name__", "gaps")], start, |i| ((i / 40) % 2 == 0).then_some(Value::Float(i as f64))));
    for kind in 0..5 {
        let values = histograms(kind, STEPS);
        let labels = [("__name__", &*format!("h_{kind}")), ("kind", "h")];
        all.push(series(&labels, start, |i| Some(Value::Histogram(values[i].clone()))));
    }
    all
}

/// A home with all series in its data directory, and the times of the first and of the last samples.
pub fn home_with_data(peers: &Peers) -> (Home, (i64, i64)) {
    let home = Home::new();
    home.write_config("global: {scrape_interval: 1h}\n");
    let end = now_ms() / STEP * STEP - 60_000;
    let start = end - (STEPS as i64 - 1) * STEP;
    let receives = ["--web.enable-remote-write-receiver", "--enable-feature=native-histograms"];
    let mut writer = home.prometheus(peers, &receives);
    remote_write::send(&writer.url, &all_series(start)).expect("the reference takes it");
    writer.signal(Signal::TERM);
    writer.wait_exit(Duration::from_secs(60));
    (home, (start, end))
}

/// Copies a directory with everything in it.
pub fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let path = entry.expect("an entry").path();
        let copy = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy_dir(&path, &copy);
        } else {
            std::fs::copy(&path, &copy).expect("a copy");
        }
    }
}

pub fn matcher(text: &str) -> Matcher {
    let at = text.find(['=', '!']).expect("an operator");
    let (name, rest) = text.split_at(at);
    let (op, length) = match rest.as_bytes() {
        [b'=', b'~', ..] => (MatchOp::Regex, 2),
        [b'!', b'~', ..] => (MatchOp::NotRegex, 2),
        [b'!', ..] => (MatchOp::NotEqual, 2),
        _ => (MatchOp::Equal, 1),
    };
    Matcher::new(op, name, &rest[length..]).expect("a matcher")
}

pub fn query((min, max): (i64, i64), matchers: &[&str]) -> Query {
    let selector = matchers.iter().map(|text| matcher(text)).collect();
    Query { range: TimeRange { min: TimestampMs(min), max: TimestampMs(max) }, selector, hints: None }
}

/// Sends a packed body as a remote read.
pub fn post(server: &Server, body: &[u8]) -> Response {
    let headers = "Content-Encoding: snappy\r\nContent-Type: application/x-protobuf\r\n\
                   X-Prometheus-Remote-Read-Version: 0.1.0\r\n";
    http::post_bytes(&format!("{}/api/v1/read", server.url), headers, body).expect("an answer")
}

pub fn ask(server: &Server, queries: Vec<Query>, kind: ResponseKind) -> Response {
    let message = ReadRequest { queries, accepted: vec![kind.number()] }.encode();
    let mut body = Vec::new();
    snappy::encode(&message, &mut body).expect("a small message");
    post(server, &body)
}

/// The series of an answer to one query.
pub fn decode(response: &Response, kind: ResponseKind) -> Vec<SeriesChunks> {
    assert_eq!(response.status, 200, "{}", response.text());
    if kind == ResponseKind::Samples {
        let mut message = Vec::new();
        snappy::decode(&response.body, 1 << 30, &mut message).expect("a packed message");
        return decode_samples(&message).expect("an answer of samples");
    }
    let (mut framing, mut series) = (Framing::new(1 << 30), Vec::new());
    framing.push(&response.body);
    while let Some(frame) = framing.next_frame().expect("frames") {
        series.extend(decode_frame(frame).expect("a frame"));
    }
    framing.finish().expect("whole frames");
    series
}

pub fn values(series: &SeriesChunks) -> Vec<TimedValue> {
    let mut values = Vec::new();
    series.chunks.iter().for_each(|chunk| decode_values(chunk, &mut values).expect("a chunk"));
    values
}

/// Waits until a server answers a query with what is expected of it.
pub fn wait_for_answer(server: &Server, path: &str, parameters: &[(&str, &str)], expected: &str) {
    let url = http::url(&server.url, path, parameters);
    wait_for(&format!("{path} {parameters:?} of {}", server.url), Duration::from_secs(20), || {
        let text = http::get(&url).map_err(|e| e.to_string())?.text();
        if in_order(&text) == in_order(expected) { Ok(()) } else { Err(first_difference(&text, expected)) }
    });
}

/// An answer whose series are sorted: those of an instant come in the order of whoever stores them.
fn in_order(text: &str) -> Option<(serde_json::Value, Vec<String>)> {
    let mut answer: serde_json::Value = serde_json::from_str(text).ok()?;
    let series = answer["data"]["result"].take();
    let mut series: Vec<String> = series.as_array()?.iter().map(ToString::to_string).collect();
    series.sort();
    Some((answer, series))
}

/// Both texts from shortly before where they part.
fn first_difference(a: &str, b: &str) -> String {
    let at = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count().saturating_sub(150);
    let cut = |text: &str| {
        String::from_utf8_lossy(&text.as_bytes()[at.min(text.len())..]).chars().take(500).collect::<String>()
    };
    format!("\n  it has   {}\n  expected {}", cut(a), cut(b))
}
