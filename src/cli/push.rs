//! `watershed push metrics`: metrics of files or of standard input, sent by remote write. For trying things out.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::families::{self, Family, Value};
use super::{http, say};
use crate::exposition::format_go_float;
use crate::model::{DurationMs, METRIC_NAME, MetricType, TimestampMs};
use crate::net::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use crate::net::protobuf::Writer;
use crate::net::{Client, Method, Request};
use crate::remote::snappy;
use crate::runtime::Clock;

/// What to send where.
#[derive(Args, Debug)]
pub(super) struct Push {
    /// Where to: a server, or the whole URL of its receiver.
    remote_write_url: String,
    /// Files in the text format; standard input without any.
    files: Vec<PathBuf>,
    /// Credentials and TLS of the connection, as a YAML file.
    #[arg(long = "http.config.file", value_name = "FILE")]
    http_config: Option<PathBuf>,
    /// A label for every series; may be given several times.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = pair, default_value = "job=promtool")]
    labels: Vec<(String, String)>,
    /// Time allowed for one file.
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    timeout: DurationMs,
    /// A header of the request; may be given several times.
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = pair)]
    headers: Vec<(String, String)>,
    /// The message to send: prometheus.WriteRequest (version 1) or io.prometheus.write.v2.Request.
    #[arg(long = "protobuf_message", value_name = "NAME", default_value = V1)]
    message: String,
    /// The receiver's path below the server.
    #[arg(long = "remote-write.path", value_name = "PATH", default_value = "/api/v1/write")]
    path: String,
}

const V1: &str = "prometheus.WriteRequest";
const V2: &str = "io.prometheus.write.v2.Request";
/// How much of a refusal is shown.
const DETAIL_MAX: usize = 500;

fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    pair.ok_or_else(|| format!("expected KEY=VALUE got '{text}'"))
}

/// Sends everything, and says of each file what became of it.
pub(super) fn run(push: Push) -> ExitCode {
    match Pusher::new(&push) {
        Ok(pusher) => pusher.run(&push.files),
        Err(why) => {
            eprintln!("  FAILED: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Makes a message.
type Encode = fn(&[Sent], &[Family]) -> Vec<u8>;

struct Pusher<'a> {
    push: &'a Push,
    client: Client,
    url: url::Url,
    headers: HeaderMap,
    encode: Encode,
    runtime: tokio::runtime::Runtime,
}

impl<'a> Pusher<'a> {
    fn new(push: &'a Push) -> Result<Pusher<'a>, String> {
        let (encode, version, content_type): (Encode, _, _) = match push.message.as_str() {
            V1 => (version_1, "0.1.0", "application/x-protobuf"),
            V2 => (version_2, "2.0.0", "application/x-protobuf;proto=io.prometheus.write.v2.Request"),
            other => return Err(format!("invalid protobuf message {other:?}, must be {V1} or {V2}")),
        };
        let has_path = push.remote_write_url.trim_end_matches('/').ends_with(push.path.trim_end_matches('/'));
        let url = http::below(&push.remote_write_url, if has_path { "" } else { &push.path })?;
        let mut headers = HeaderMap::new();
        let fixed = [
            (CONTENT_ENCODING, "snappy"),
            (CONTENT_TYPE, content_type),
            (HeaderName::from_static("x-prometheus-remote-write-version"), version),
        ];
        headers.extend(fixed.map(|(name, value)| (name, HeaderValue::from_static(value))));
        headers.extend(http::headers(&push.headers)?);
        let client = http::client(push.http_config.as_deref())?;
        let runtime = http::runtime().map_err(|e| e.to_string())?;
        Ok(Pusher { push, client, url, headers, encode, runtime })
    }

    fn run(&self, files: &[PathBuf]) -> ExitCode {
        if files.is_empty() {
            say("Parsing standard input");
            let mut text = Vec::new();
            let read = std::io::stdin().read_to_end(&mut text).map_err(|e| e.to_string());
            return self.tell(read.and_then(|_| self.send(&text)), "metrics pushed to remote write.");
        }
        let mut all = ExitCode::SUCCESS;
        for file in files {
            say(format_args!("Parsing metrics file {}", file.display()));
            let read = std::fs::read(file).map_err(|e| format!("open {}: {e}", file.display()));
            let success = format!("metrics file {} pushed to remote write.", file.display());
            let one = self.tell(read.and_then(|text| self.send(&text)), &success);
            if one != ExitCode::SUCCESS {
                all = one;
            }
        }
        all
    }

    fn tell(&self, outcome: Result<(), String>, success: &str) -> ExitCode {
        match outcome {
            Ok(()) => {
                say(format_args!("  SUCCESS: {success}"));
                ExitCode::SUCCESS
            }
            Err(why) => {
                eprintln!("  FAILED: {why}");
                ExitCode::FAILURE
            }
        }
    }

    fn send(&self, text: &[u8]) -> Result<(), String> {
        let families = families::read(text).map_err(|e| e.to_string())?;
        let labels: BTreeMap<&str, &str> = self.push.labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let message = (self.encode)(&series(&families, &labels, Clock::system().now()), &families);
        let mut body = Vec::new();
        snappy::encode(&message, &mut body).map_err(|e| e.to_string())?;
        let mut request = Request::get(self.url.clone()).timeout(self.push.timeout.to_std());
        request.method = Method::POST;
        request.headers = self.headers.clone();
        request.body = body.into();
        let (status, body) = self.runtime.block_on(http::ask(&self.client, request))?;
        if status.is_success() {
            return Ok(());
        }
        let detail: String = String::from_utf8_lossy(&body).trim().chars().take(DETAIL_MAX).collect();
        Err(format!("server returned HTTP status {status}: {detail}"))
    }
}

/// What both messages would say of a text, and what is unusual about it. A door for fuzzing.
#[doc(hidden)]
pub fn messages(text: &[u8]) -> Option<[Vec<u8>; 2]> {
    let families = families::read(text).ok()?;
    drop(super::lint::lint(&families));
    let sent = series(&families, &BTreeMap::from([("job", "test")]), TimestampMs(1_700_000_000_000));
    Some([version_1(&sent, &families), version_2(&sent, &families)])
}

/// One series with its one sample.
struct Sent {
    labels: BTreeMap<String, String>,
    timestamp: TimestampMs,
    value: f64,
    /// Which family it is of.
    family: usize,
}

fn series(families: &[Family], extra: &BTreeMap<&str, &str>, now: TimestampMs) -> Vec<Sent> {
    let mut all = Vec::new();
    for (index, family) in families.iter().enumerate() {
        for metric in &family.metrics {
            let mut labels: BTreeMap<String, String> =
                extra.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            for (name, value) in &metric.labels {
                // The pushed job is that of the flag.
                let name = if name == "job" { "exported_job" } else { name };
                labels.insert(name.to_owned(), value.clone());
            }
            // The reference takes a timestamp of 0 for none.
            let timestamp = metric.timestamp.filter(|t| t.0 != 0).unwrap_or(now);
            let mut add = |suffix: &str, bound: Option<(&str, f64)>, value: f64| {
                let mut labels = labels.clone();
                labels.insert(METRIC_NAME.to_owned(), format!("{}{suffix}", family.name));
                labels.extend(bound.map(|(name, bound)| (name.to_owned(), format_go_float(bound))));
                all.push(Sent { labels, timestamp, value, family: index });
            };
            match &metric.value {
                Value::Number(value) => add("", None, *value),
                Value::Parts(parts) => {
                    let (suffix, label) =
                        if family.kind == MetricType::Histogram { ("_bucket", "le") } else { ("", "quantile") };
                    let is_complete = parts.bounds.iter().any(|(bound, _)| *bound == f64::INFINITY);
                    parts.bounds.iter().for_each(|(bound, value)| add(suffix, Some((label, *bound)), *value));
                    if family.kind == MetricType::Histogram && !is_complete {
                        add(suffix, Some((label, f64::INFINITY)), parts.count);
                    }
                    add("_sum", None, parts.sum);
                    add("_count", None, parts.count);
                }
            }
        }
    }
    all
}

/// The number of a type in both messages.
fn type_number(kind: MetricType) -> u64 {
    match kind {
        MetricType::Counter => 1,
        MetricType::Gauge => 2,
        MetricType::Histogram => 3,
        MetricType::GaugeHistogram => 4,
        MetricType::Summary => 5,
        MetricType::Info => 6,
        MetricType::StateSet => 7,
        MetricType::Unknown => 0,
    }
}

/// `prometheus.WriteRequest`: series in field 1, metadata in field 3.
fn version_1(series: &[Sent], families: &[Family]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut message = Writer::new(&mut out);
    for one in series {
        message.message(1, |m| {
            for (name, value) in &one.labels {
                m.message(1, |label| {
                    label.bytes(1, name.as_bytes());
                    label.bytes(2, value.as_bytes());
                });
            }
            m.message(2, |sample| {
                sample.double(1, one.value);
                sample.int(2, one.timestamp.0);
            });
        });
    }
    for family in families {
        message.message(3, |m| {
            m.varint(1, type_number(family.kind));
            m.bytes(2, family.name.as_bytes());
            m.bytes(4, family.help.as_deref().unwrap_or("").as_bytes());
        });
    }
    out
}

/// `io.prometheus.write.v2.Request`: symbols in field 4, series in field 5, each with its metadata in field 5.
fn version_2(series: &[Sent], families: &[Family]) -> Vec<u8> {
    let mut symbols = Symbols::default();
    let mut body = Vec::new();
    let mut message = Writer::new(&mut body);
    symbols.of("");
    for one in series {
        let references: Vec<u64> = one.labels.iter().flat_map(|(n, v)| [symbols.of(n), symbols.of(v)]).collect();
        let family = &families[one.family];
        let help = symbols.of(family.help.as_deref().unwrap_or(""));
        message.message(5, |m| {
            m.packed(1, references.into_iter());
            m.message(2, |sample| {
                sample.double(1, one.value);
                sample.int(2, one.timestamp.0);
            });
            m.message(5, |metadata| {
                metadata.varint(1, type_number(family.kind));
                metadata.varint(3, help);
            });
        });
    }
    let mut out = Vec::new();
    let mut message = Writer::new(&mut out);
    symbols.texts.iter().for_each(|text| message.bytes(4, text.as_bytes()));
    out.extend_from_slice(&body);
    out
}

/// Texts by number, each once.
#[derive(Default)]
struct Symbols {
    texts: Vec<String>,
    numbers: BTreeMap<String, u64>,
}

impl Symbols {
    fn of(&mut self, text: &str) -> u64 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = self.texts.len() as u64;
        self.texts.push(text.to_owned());
        self.numbers.insert(text.to_owned(), number);
        number
    }
}
