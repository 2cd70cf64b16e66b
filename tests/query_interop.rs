//! The query API beside a real Prometheus on copies of one data directory: the same requests must give the same status and
//! the same bytes.
//!
//! Only the order of remarks is free: the reference has it from a map. The peer is an older release, so questions about what
//! came later, and the few whose wording changed, are not asked here.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests fail by panicking and tell what they did"
)]

mod interop;
mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use interop::copy_dir;
use rustix::process::Signal;
use support::peers::Peers;
use support::process::{Home, Server};
use support::remote_write::{self, Series, Value, histograms};
use support::{http, now_ms};

const STEP: i64 = 15_000;
const STEPS: usize = 240;

/// Labels and, for each step, a value; `None` where there is no sample.
fn series(labels: &[(&str, &str)], start: i64, value: impl Fn(usize) -> Option<Value>) -> Series {
    let samples = (0..STEPS).filter_map(|i| Some((start + i as i64 * STEP, value(i)?))).collect();
    Series { labels: labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(), samples }
}

fn floats(labels: &[(&str, &str)], start: i64, value: impl Fn(usize) -> f64) -> Series {
    series(labels, start, |i| Some(Value::Float(value(i))))
}

fn all_series(start: i64) -> Vec<Series> {
    let mut all = Vec::new();
    for (n, instance) in ["a:1", "b:1", "c<>&\u{2028}\u{e9}\u{8}\u{7f}\"\\"].into_iter().enumerate() {
        for (m, code) in ["200", "404", "500"].into_iter().enumerate() {
            let labels = [("__name__", "requests_total"), ("code", code), ("instance", instance)];
            all.push(floats(&labels, start, move |i| ((i % 97) * (n + 1) * (m + 1)) as f64 * 0.1));
        }
        for (m, le) in ["0.1", "0.5", "+Inf"].into_iter().enumerate() {
            let labels = [("__name__", "latency_bucket"), ("instance", instance), ("le", le)];
            all.push(floats(&labels, start, move |i| (i * (n + 1) * (m + 1)) as f64));
        }
    }
    let special =
        [0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 5e-324, 1e300, 1e21, 1e20, 1e-6, 9.9e-7, 1234567.5];
    for (n, v) in special.into_iter().enumerate() {
        let kind = n.to_string();
        all.push(floats(&[("__name__", "special"), ("kind", &kind)], start, move |_| v));
    }
    all.push(series(&[("__name__", "gaps")], start, |i| ((i / 40) % 2 == 0).then_some(Value::Float(i as f64))));
    for kind in 0..5 {
        let values = histograms(kind, STEPS);
        let name = format!("h_{kind}");
        all.push(series(&[("__name__", &name), ("kind", "h")], start, |i| Some(Value::Histogram(values[i].clone()))));
    }
    all
}

/// A body as it must be the same: everything up to the remarks, and those in order.
fn normalised(body: &str) -> (String, Vec<String>) {
    let end = [",\"warnings\":[", ",\"infos\":["].iter().filter_map(|mark| body.find(mark)).min();
    let Some(end) = end else { return (body.to_owned(), Vec::new()) };
    let whole: serde_json::Value = serde_json::from_str(body).unwrap();
    let remarks = ["warnings", "infos"].iter().flat_map(|kind| whole[kind].as_array().into_iter().flatten());
    let mut remarks: Vec<String> = remarks.map(ToString::to_string).collect();
    remarks.sort();
    (body[..end].to_owned(), remarks)
}

struct Both {
    ours: Server,
    theirs: Server,
    asked: usize,
    differences: Vec<String>,
}

impl Both {
    fn ask(&mut self, endpoint: &str, parameters: &[(&str, &str)]) {
        self.asked += 1;
        let path = format!("/api/v1/{endpoint}");
        let (ours, theirs) = if self.asked.is_multiple_of(2) {
            let form = http::url("", "", parameters);
            let post = |server: &Server| http::post_form(&format!("{}{path}", server.url), &form[1..]).unwrap();
            (post(&self.ours), post(&self.theirs))
        } else {
            let get = |server: &Server| http::get(&http::url(&server.url, &path, parameters)).unwrap();
            (get(&self.ours), get(&self.theirs))
        };
        let same = ours.status == theirs.status
            && normalised(&ours.text()) == normalised(&theirs.text())
            && ours.header("content-type") == theirs.header("content-type");
        if !same {
            let difference = first_difference(&ours.text(), &theirs.text());
            self.differences.push(format!(
                "{endpoint} {parameters:?}\n  ours   {} {}\n  theirs {} {}\n",
                ours.status, difference.0, theirs.status, difference.1
            ));
        }
    }
}

/// Both texts from shortly before where they part.
fn first_difference(a: &str, b: &str) -> (String, String) {
    let at = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count().saturating_sub(150);
    let cut = |text: &str| String::from_utf8_lossy(&text.as_bytes()[at.min(text.len())..]).chars().take(700).collect();
    (cut(a), cut(b))
}

/// Expressions that are evaluated once and over a range.
const EXPRESSIONS: &[&str] = &[
    "requests_total",
    "special",
    "-special",
    "gaps",
    "latency_bucket{le=\"+Inf\"}",
    "h_0",
    "h_1",
    "h_2",
    "h_3",
    "h_4",
    "sum by (code) (rate(requests_total[5m]))",
    "sum without (code) (increase(requests_total[2m]))",
    "histogram_quantile(0.9, sum by (le) (rate(latency_bucket[5m])))",
    "histogram_quantile(0.5, h_1)",
    "histogram_avg(h_2)",
    "rate(gaps[5m])",
    "irate(requests_total{code=~\"4..|5..\"}[1m])",
    "avg_over_time(special[3m])",
    "max(special)",
    "topk(2, sum by (instance) (requests_total))",
    "quantile(2, special)",
    "requests_total / on(instance, code) requests_total",
    "requests_total > 10",
    "requests_total > bool 10",
    "absent(nothing{a=\"b<\"})",
    "label_replace(gaps, \"x\", \"<$0>\", \"__name__\", \".*\")",
    "time()",
    "scalar(gaps)",
    "vector(1e21)",
    "1 / 0",
    "0 / 0",
    "-0",
    "1e300 * 10",
    "5e-7",
    "max_over_time(rate(requests_total{code=\"200\"}[1m])[5m:30s])",
    "gaps offset 10m",
    "changes(gaps[10m]) + resets(gaps[10m])",
    "sum(h_1)",
    "h_1 * 2",
    "rate(h_0[2m])",
    "{__name__=~\"special|gaps\", kind!=\"3\"}",
    "requests_total and on(code) requests_total{code=\"200\"}",
    "requests_total or special",
    "requests_total unless on(code) requests_total{code=\"200\"}",
    "day_of_week() + hour()",
    "clamp_max(special, 5)",
    "round(requests_total, 0.5)",
    "group by (instance) (requests_total)",
    "stddev(requests_total)",
    "predict_linear(gaps[5m], 60)",
];

/// Questions that have no answer, and such with a few parameters each.
const ODD: &[(&str, &[(&str, &str)])] = &[
    ("query", &[]),
    ("query", &[("query", "up{")]),
    ("query", &[("query", "sum(up) + bla(up) < 3")]),
    ("query", &[("query", "up + on() group_left() x<y&")]),
    ("query", &[("query", "rate(up)")]),
    ("query", &[("query", "1 + \"a\"")]),
    ("query", &[("query", "{}")]),
    ("query", &[("query", "up{a=~\"(\"}")]),
    ("query", &[("query", "up"), ("time", "foo")]),
    ("query", &[("query", "up"), ("limit", "x")]),
    ("query", &[("query", "up"), ("limit", "-1")]),
    ("query", &[("query", "up"), ("timeout", "1x")]),
    ("query", &[("query", "up"), ("lookback_delta", "x")]),
    ("query", &[("query", "\"a<b>&\u{2028}\u{e9}\u{8}\u{c}\u{1}\""), ("time", "1.5")]),
    ("query", &[("query", "1e25"), ("time", "1.25")]),
    ("query", &[("query", "5e-9"), ("time", "-1.5")]),
    ("query", &[("query", "up"), ("time", "2015-07-01T20:10:51.781Z")]),
    ("query_range", &[("query", "up")]),
    ("query_range", &[("query", "up"), ("start", "0"), ("end", "x"), ("step", "1")]),
    ("query_range", &[("query", "up"), ("start", "10"), ("end", "1"), ("step", "1")]),
    ("query_range", &[("query", "up"), ("start", "0"), ("end", "1"), ("step", "0")]),
    ("query_range", &[("query", "up"), ("start", "0"), ("end", "1"), ("step", "-1")]),
    ("query_range", &[("query", "up"), ("start", "0"), ("end", "1"), ("step", "1e300")]),
    ("query_range", &[("query", "up"), ("start", "0"), ("end", "11001"), ("step", "1")]),
    ("query_range", &[("query", "1"), ("start", "0"), ("end", "11000"), ("step", "1")]),
    ("query_range", &[("query", "1"), ("start", "-3.5"), ("end", "3.25"), ("step", "0.75")]),
    ("query_range", &[("query", "up[5m]"), ("start", "0"), ("end", "1"), ("step", "1")]),
    ("query_range", &[("query", "\"a\""), ("start", "0"), ("end", "1"), ("step", "1")]),
    ("query_exemplars", &[("query", "up")]),
    ("query_exemplars", &[("query", "1")]),
    ("query_exemplars", &[("query", "up{")]),
    ("query_exemplars", &[("query", "up"), ("start", "x")]),
    ("query_exemplars", &[("query", "up"), ("start", "2"), ("end", "1")]),
    ("format_query", &[("query", "sum by(a,b)(rate(foo{x=\"<y>\"}[5m]))/on(a) group_left(c) bar>bool 3 offset 5m")]),
    ("format_query", &[("query", "sum by(a,b)(rate(foo{x=\"<y>\"}[5m] offset 5m))/on(a) group_left(c) bar>bool 3")]),
    ("format_query", &[("query", "foo{")]),
    ("format_query", &[]),
    ("parse_query", &[("query", "foo{")]),
    ("labels", &[("limit", "x")]),
    ("labels", &[("start", "x")]),
    ("series", &[("match[]", "{__name__=~\"requests.*\"}")]),
];

/// A home with all series in its data directory, and the time of the last samples.
fn home_with_data(peers: &Peers) -> (Home, i64) {
    let home = Home::new();
    home.write_config("global: {scrape_interval: 1h}\n");
    let end = now_ms() / STEP * STEP - 60_000;
    let receives = ["--web.enable-remote-write-receiver", "--enable-feature=native-histograms"];
    let mut writer = home.prometheus(peers, &receives);
    remote_write::send(&writer.url, &all_series(start_of(end))).unwrap();
    writer.signal(Signal::TERM);
    writer.wait_exit(Duration::from_secs(60));
    (home, end)
}

fn start_of(end: i64) -> i64 {
    end - (STEPS as i64 - 1) * STEP
}

fn seconds(ms: i64) -> String {
    format!("{}", ms as f64 / 1000.0)
}

#[test]
fn answers_are_byte_for_byte_those_of_the_reference() {
    let Some(peers) = Peers::find(&["prometheus"]) else { return };
    let (their_home, end) = home_with_data(&peers);
    let (our_home, start) = (Home::new(), start_of(end));
    our_home.write_config("global: {scrape_interval: 1h}\n");
    copy_dir(&their_home.data_path(), &our_home.data_path());
    let mut both = Both {
        theirs: their_home.prometheus(&peers, &[]),
        ours: our_home.watershed(&[]),
        asked: 0,
        differences: Vec::new(),
    };
    let (at, from, to) = (seconds(end - 7_300), seconds(start + 600_000), seconds(end - 60_500));
    for expression in EXPRESSIONS {
        both.ask("query", &[("query", expression), ("time", &at)]);
        both.ask("query_range", &[("query", expression), ("start", &from), ("end", &to), ("step", "47")]);
    }
    // In an instant answer the reference's order of these values is that of a map.
    both.ask(
        "query_range",
        &[("query", "count_values(\"v\", special)"), ("start", &from), ("end", &to), ("step", "47")],
    );
    // Over a range the later release remarks that sorting does nothing.
    both.ask("query", &[("query", "sort_desc(sum by (code) (requests_total))"), ("time", &at)]);
    for (expression, limit) in [("requests_total", "2"), ("requests_total", "9"), ("time()", "1"), ("gaps[5m]", "1")] {
        both.ask("query", &[("query", expression), ("time", &at), ("limit", limit)]);
    }
    both.ask("query", &[("query", "{__name__=~\"gaps|special\"}[7m]"), ("time", &at)]);
    both.ask("query", &[("query", "requests_total"), ("time", &seconds(end + 90_000)), ("lookback_delta", "1m")]);
    both.ask("query", &[("query", "requests_total"), ("time", &seconds(end + 30_000)), ("lookback_delta", "60")]);
    // Long enough to be streamed.
    both.ask("query_range", &[("query", "requests_total"), ("start", &from), ("end", &to), ("step", "1")]);
    ODD.iter().for_each(|(endpoint, parameters)| both.ask(endpoint, parameters));
    let Both { asked, differences, .. } = both;
    assert!(differences.is_empty(), "{} of {asked} answers differ:\n{}", differences.len(), differences.join("\n"));
    println!("{asked} answers are the same");
}

/// What a program prints, on both outputs, and how it ends.
fn run(program: &Path, arguments: &[&str]) -> (String, String, Option<i32>) {
    let output = Command::new(program).arg("query").args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr), output.status.code())
}

#[test]
fn the_command_line_prints_what_promtool_prints() {
    let Some(peers) = Peers::find(&["prometheus", "promtool"]) else { return };
    let (home, end) = home_with_data(&peers);
    let server = home.prometheus(&peers, &[]);
    let (url, at, from, to) = (&server.url, seconds(end - 7_300), seconds(end - 600_000), seconds(end));
    let time = format!("--time={at}");
    let span = [format!("--start={from}"), format!("--end={to}")];
    let [start, end] = span.each_ref().map(String::as_str);
    for arguments in [
        &["instant", &time, url, "requests_total"][..],
        &["instant", &time, url, "special"],
        &["instant", &time, url, "h_1"],
        &["instant", &time, url, "h_4"],
        &["instant", &time, url, "sum(requests_total)"],
        &["instant", &time, url, "gaps[2m]"],
        &["instant", &time, url, "nothing"],
        &["instant", &time, url, "1e25"],
        &["instant", &time, "-o", "json", url, "special"],
        &["instant", &time, "-o", "json", url, "h_0"],
        &["instant", &time, "-o", "json", url, "1e25"],
        &["instant", &time, url, "up{"],
        &["range", start, end, "--step=45s", url, "requests_total"],
        &["range", start, end, url, "h_2"],
        &["range", start, end, "-o", "json", "--step=1m", url, "special"],
        &["range", end, start, "--step=1s", url, "rate(gaps[1m])"],
        &["range", "--start=5", "--end=4", url, "up"],
        &["series", "--match=gaps", "--match=special", url],
        &["series", "--match=gaps", "-o", "json", url],
        &["labels", url, "instance"],
        &["labels", "--match=special", "-o", "json", url, "kind"],
    ] {
        let theirs = run(&peers.path("promtool"), arguments);
        let ours = run(Path::new(env!("CARGO_BIN_EXE_watershed")), arguments);
        assert_eq!(ours.0, theirs.0, "{arguments:?}: {}", ours.1);
        assert_eq!(ours.2, theirs.2, "{arguments:?}: {}", ours.1);
        // What is remarked about an answer is shown here and not there.
        if !theirs.1.is_empty() {
            assert_eq!(ours.1, theirs.1, "{arguments:?}");
        }
    }
    let chart = run(
        Path::new(env!("CARGO_BIN_EXE_watershed")),
        &["range", start, end, "-o", "chart", url, "rate(requests_total[2m])"],
    );
    assert!(
        chart.2 == Some(0) && chart.0.contains("last ") && chart.0.lines().count() > 20,
        "{}\n{}",
        chart.0,
        chart.1
    );
    let dead = run(Path::new(env!("CARGO_BIN_EXE_watershed")), &["instant", "http://127.0.0.1:1", "up"]);
    assert!(dead.2 == Some(1) && dead.1.starts_with("query error: ") && dead.1.lines().count() == 1, "{}", dead.1);
}
