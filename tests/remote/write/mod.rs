//! The remote write receiver.

mod hostile;
mod peers;
mod rules;

use crate::support::http::{self, Response};
use crate::support::now_ms;
use crate::support::process::{Home, Server};
use crate::support::remote_write::Message;

const V1: &str = "application/x-protobuf";
const V2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

/// A running receiver.
pub struct Receiver {
    pub server: Server,
    _home: Home,
}

impl Receiver {
    pub fn start(extra: &[&str]) -> Receiver {
        Receiver::with_config("{}", extra)
    }

    pub fn with_config(config: &str, extra: &[&str]) -> Receiver {
        let home = Home::new();
        home.write_config(config);
        let mut flags = vec!["--web.enable-remote-write-receiver"];
        flags.extend_from_slice(extra);
        let server = home.watershed(&flags);
        Receiver { server, _home: home }
    }

    pub fn url(&self) -> String {
        format!("{}/api/v1/write", self.server.url)
    }

    /// Posts a body as it is.
    pub fn post(&self, content_type: &str, encoding: &str, body: &[u8]) -> Response {
        let headers = format!("Content-Encoding: {encoding}\r\nContent-Type: {content_type}\r\n");
        http::post_bytes(&self.url(), &headers, body).expect("an answer")
    }

    /// Posts a message packed by snappy.
    pub fn send(&self, content_type: &str, message: &Message) -> Response {
        self.post(content_type, "snappy", &packed(message))
    }

    /// The samples of one series of the last minutes: milliseconds and values as text.
    pub fn samples(&self, selector: &str) -> Vec<(i64, String)> {
        let time = (now_ms() / 1000 + 60).to_string();
        let query = format!("{selector}[10m]");
        let url = http::url(&self.server.url, "/api/v1/query", &[("query", &query), ("time", &time)]);
        let data = http::get_api(&url).expect("an answer");
        let row = &data["result"][0]["values"];
        let rows = row.as_array().cloned().unwrap_or_default();
        let ms = |t: &serde_json::Value| (t.as_f64().expect("a time") * 1000.0).round() as i64;
        rows.iter().map(|pair| (ms(&pair[0]), pair[1].as_str().expect("a value").to_owned())).collect()
    }

    /// The value of an own metric.
    pub fn metric(&self, start: &str) -> f64 {
        let text = http::get_text(&format!("{}/metrics", self.server.url)).expect("metrics");
        let line = text.lines().find(|line| line.starts_with(start)).unwrap_or("absent 0");
        line.rsplit_once(' ').expect("a sample").1.parse().expect("a number")
    }
}

pub fn packed(message: &Message) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(&message.0).expect("packed")
}

/// A request of 2.0 over a table of symbols that begins with the empty one.
#[derive(Clone, Default)]
pub struct Request {
    symbols: Vec<String>,
    series: Message,
}

impl Request {
    pub fn new() -> Request {
        Request { symbols: vec![String::new()], series: Message::default() }
    }

    pub fn symbol(&mut self, text: &str) -> i64 {
        let known = self.symbols.iter().position(|s| s == text);
        let at = known.unwrap_or_else(|| {
            self.symbols.push(text.to_owned());
            self.symbols.len() - 1
        });
        i64::try_from(at).expect("a small table")
    }

    pub fn refs(&mut self, labels: &[(&str, &str)]) -> Vec<u8> {
        let mut packed = Vec::new();
        for (name, value) in labels {
            for text in [name, value] {
                packed.push(u8::try_from(self.symbol(text)).ok().filter(|n| *n < 128).expect("a small table"));
            }
        }
        packed
    }

    /// Adds a series; `rest` are its fields behind the labels.
    pub fn series(mut self, labels: &[(&str, &str)], rest: &Message) -> Request {
        let refs = self.refs(labels);
        let mut series = Message::default().bytes(1, &refs);
        series.0.extend_from_slice(&rest.0);
        self.series = self.series.bytes(5, &series.0);
        self
    }

    pub fn message(&self) -> Message {
        let symbols = self.symbols.iter().fold(Message::default(), |m, s| m.bytes(4, s.as_bytes()));
        Message([symbols.0, self.series.0.clone()].concat())
    }
}

pub fn sample(t: i64, v: f64) -> Message {
    Message::default().bytes(2, &Message::default().double(1, v).int(2, t).0)
}

/// A histogram that has `count` observations in its zero bucket.
pub fn histogram(t: i64, count: i64) -> Message {
    Message::default().bytes(3, &Message::default().int(1, count).int(6, count).int(15, t).0)
}

/// Labels and samples of one series.
pub type Series<'a> = (&'a [(&'a str, &'a str)], &'a [(i64, f64)]);

/// Series of 1.0.
pub fn v1(series: &[Series<'_>]) -> Message {
    series.iter().fold(Message::default(), |message, (labels, samples)| {
        let label = |m: Message, (name, value): &(&str, &str)| {
            m.bytes(1, &Message::default().bytes(1, name.as_bytes()).bytes(2, value.as_bytes()).0)
        };
        let series = labels.iter().fold(Message::default(), label);
        let sample = |m: Message, (t, v): &(i64, f64)| m.bytes(2, &Message::default().double(1, *v).int(2, *t).0);
        message.bytes(1, &samples.iter().fold(series, sample).0)
    })
}

/// The three counts that an answer tells, and -1 for one that it does not.
pub fn written(response: &Response) -> [i64; 3] {
    ["Samples", "Histograms", "Exemplars"].map(|kind| {
        let header = response.header(&format!("X-Prometheus-Remote-Write-{kind}-Written"));
        header.map_or(-1, |value| value.parse().expect("a 64-bit integer"))
    })
}

#[test]
fn the_receiver_is_off_unless_it_is_asked_for() {
    let home = Home::new();
    home.write_config("{}");
    let server = home.watershed(&[]);
    let headers = format!("Content-Encoding: snappy\r\nContent-Type: {V1}\r\n");
    let reply = http::post_bytes(&format!("{}/api/v1/write", server.url), &headers, &[0]).expect("an answer");
    assert_eq!(reply.status, 404);
    assert!(reply.text().contains("--web.enable-remote-write-receiver"), "{}", reply.text());
}

#[test]
fn only_the_accepted_messages_are_taken() {
    let flag = "--web.remote-write-receiver.accepted-protobuf-messages=io.prometheus.write.v2.Request";
    let receiver = Receiver::start(&[flag]);
    let t = now_ms();
    assert_eq!(receiver.send(V1, &v1(&[(&[("__name__", "a")], &[(t, 1.0)])])).status, 415);
    let request = Request::new().series(&[("__name__", "a")], &sample(t, 1.0));
    assert_eq!(receiver.send(V2, &request.message()).status, 204);
}

#[test]
fn zstd_is_taken_as_well_as_snappy() {
    let receiver = Receiver::start(&[]);
    let t = now_ms();
    let message = v1(&[(&[("__name__", "a")], &[(t, 1.5)])]);
    let body = zstd::encode_all(&message.0[..], 1).expect("packed");
    assert_eq!(receiver.post(V1, "zstd", &body).status, 204);
    assert_eq!(receiver.samples("a"), [(t, "1.5".to_owned())]);
}
