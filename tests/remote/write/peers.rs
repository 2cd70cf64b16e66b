//! Real senders write to Watershed, and both sides hold the same.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value as Json;

use super::Receiver;
use crate::support::peers::Peers;
use crate::support::process::{Home, Server};
use crate::support::remote_write::{self, Series, Value};
use crate::support::target::{self, Target};
use crate::support::{http, now_ms, wait_for};

const LIMIT: Duration = Duration::from_secs(60);
const CUSTOM: usize = 4;

/// An application with a counter that has exemplars, and a gauge.
fn application() -> Target {
    let scrapes = AtomicU64::new(0);
    Target::start(move |_, stream| {
        let n = scrapes.fetch_add(1, Ordering::Relaxed);
        let mut text = String::from("# TYPE app_requests counter\n# HELP app_requests Requests.\n");
        for code in [200, 404, 500] {
            let _ = writeln!(
                text,
                "app_requests_total{{code=\"{code}\",path=\"/ä \\\"x\\\"\"}} {} # {{trace_id=\"t{n}c{code}\"}} {n}.5",
                n * code
            );
        }
        let _ = writeln!(text, "# TYPE app_level gauge\napp_level {}\n# EOF", (n * 7919 % 13) as f64 / 4.0);
        target::reply(stream, 200, target::OPEN_METRICS, text.as_bytes());
    })
}

/// Everything that a selector finds in a window that has passed, series by series.
fn matrix(base: &str, selector: &str, window: &str, at_ms: i64) -> BTreeMap<String, Json> {
    let time = format!("{:.3}", at_ms as f64 / 1000.0);
    let query = format!("{selector}[{window}]");
    let data =
        http::get_api(&http::url(base, "/api/v1/query", &[("query", &query), ("time", &time)])).expect("an answer");
    let rows = data["result"].as_array().cloned().unwrap_or_default();
    let row = |row: Json| (row["metric"].to_string(), serde_json::json!([row["values"], row["histograms"]]));
    rows.into_iter().map(row).collect()
}

fn exemplars(base: &str, at_ms: i64) -> BTreeMap<String, Json> {
    let (start, end) = ((at_ms / 1000 - 600).to_string(), format!("{:.3}", at_ms as f64 / 1000.0));
    let parameters = [("query", "app_requests_total"), ("start", &start), ("end", &end)];
    let data = http::get_api(&http::url(base, "/api/v1/query_exemplars", &parameters)).expect("an answer");
    let rows = data.as_array().cloned().unwrap_or_default();
    rows.into_iter().map(|row| (row["seriesLabels"].to_string(), row["exemplars"].clone())).collect()
}

fn wait_for_same(what: &str, get: impl Fn(&str) -> BTreeMap<String, Json>, theirs: &str, ours: &str) -> usize {
    wait_for(what, LIMIT, || {
        let (theirs, ours) = (get(theirs), get(ours));
        if theirs == ours && !theirs.is_empty() {
            return Ok(theirs.len());
        }
        let differing = theirs.iter().find(|(key, row)| ours.get(*key) != Some(row));
        Err(format!("{} and {} series, the first difference: {differing:.300?}", theirs.len(), ours.len()))
    })
}

/// Prometheus scrapes an application and receives all kinds of samples itself; it writes everything on.
fn prometheus_writes(message: &str) {
    let Some(peers) = Peers::find(&["prometheus"]) else { return };
    let receiver = Receiver::start(&["--enable-feature=exemplar-storage"]);
    let (target, home) = (application(), Home::new());
    home.write_config(&format!(
        "global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}\n\
         scrape_configs:\n- job_name: app\n  static_configs: [{{targets: ['{}']}}]\n\
         remote_write:\n- url: {}\n  protobuf_message: {message}\n  send_exemplars: true\n  send_native_histograms: true\n\
         \x20 queue_config: {{batch_send_deadline: 200ms}}\n",
        target.address(),
        receiver.url()
    ));
    let features = "--enable-feature=exemplar-storage,native-histograms,metadata-wal-records";
    let sender = home.prometheus(&peers, &["--web.enable-remote-write-receiver", features]);
    // Only what is newer than the sender itself is written on.
    let start = now_ms() + 1000;
    let is_v1 = message == "prometheus.WriteRequest";
    // Custom bounds are no part of 1.0; Prometheus does not send them.
    let kinds = (0..10).filter(|kind| !(is_v1 && kind % 5 == CUSTOM));
    let series: Vec<Series> = kinds
        .map(|kind| {
            let labels = vec![("__name__".into(), format!("pushed_{kind}")), ("kind".into(), kind.to_string())];
            let histograms = remote_write::histograms(kind, 60);
            let at = |(i, h)| (start + i as i64 * 20, Value::Histogram(h));
            Series { labels, samples: histograms.into_iter().enumerate().map(at).collect() }
        })
        .collect();
    remote_write::send(&sender.url, &series).expect("the sender takes them");
    let pushed = |base: &str| matrix(base, "{__name__=~\"pushed_.*\"}", "5m", start + 60_000);
    let count = wait_for_same("all histograms to be on both sides", pushed, &sender.url, &receiver.server.url);
    assert_eq!(count, series.len());
    wait_for("some scrapes", LIMIT, || {
        let rows = matrix(&sender.url, "up{job=\"app\"}", "2m", now_ms() + 1000);
        let scrapes = rows.values().filter_map(|row| Some(row[0].as_array()?.len())).sum::<usize>();
        if scrapes >= 8 { Ok(()) } else { Err(format!("{scrapes} scrapes")) }
    });
    // A window of scrapes that is over: it has ended before the newest scrape that has come.
    let end = now_ms();
    wait_for("a scrape after the window", LIMIT, || {
        let rows = matrix(&receiver.server.url, "up{job=\"app\"}", "1m", now_ms() + 1000);
        let newest = rows.values().filter_map(|row| row[0].as_array()?.last()?[0].as_f64()).fold(0.0, f64::max);
        if newest * 1000.0 > end as f64 { Ok(()) } else { Err(format!("the newest is of {newest}")) }
    });
    let scraped = |base: &str| matrix(base, "{job=\"app\"}", "2m", end);
    let count = wait_for_same("all scrapes to be on both sides", scraped, &sender.url, &receiver.server.url);
    assert!(count >= 4 + 5, "{count} series");
    wait_for_same("all exemplars to be on both sides", |base| exemplars(base, end), &sender.url, &receiver.server.url);
    let metrics = http::get_text(&format!("{}/metrics", sender.url)).expect("metrics");
    let failed = |kind: &str| {
        let name = format!("prometheus_remote_storage_{kind}_failed_total{{");
        let line = metrics.lines().find(|line| line.starts_with(&name)).unwrap_or_else(|| panic!("{name} is there"));
        line.rsplit_once(' ').expect("a sample").1.to_owned()
    };
    assert_eq!((failed("samples"), failed("histograms"), failed("exemplars")), ("0".into(), "0".into(), "0".into()));
}

#[test]
fn prometheus_writes_1_0_and_both_hold_the_same() {
    prometheus_writes("prometheus.WriteRequest");
}

#[test]
fn prometheus_writes_2_0_and_both_hold_the_same() {
    prometheus_writes("io.prometheus.write.v2.Request");
}

fn victoria(peers: &Peers, home: &Home) -> Server {
    let mut command = Command::new(peers.path("victoria-metrics"));
    command
        .arg(format!("-httpListenAddr={}", home.address()))
        .arg(format!("-storageDataPath={}", home.data_path().display()))
        .arg("-loggerLevel=ERROR");
    Server::spawn("victoriametrics", command, home.port, &home.path().join("log")).wait_ready("/health")
}

/// Series with their samples: milliseconds and values.
type Samples = BTreeMap<String, BTreeMap<i64, f64>>;

fn victoria_samples(base: &str, until: i64) -> Samples {
    drop(http::get(&format!("{base}/internal/force_flush")));
    let text = http::get_text(&http::url(base, "/api/v1/export", &[("match[]", "{job=\"app\"}")])).expect("an export");
    let series = text.lines().map(|line| serde_json::from_str::<Json>(line).expect("JSON"));
    let samples = |row: &Json| {
        let (times, values) = (row["timestamps"].as_array().expect("times"), row["values"].as_array().expect("values"));
        let pairs = times.iter().zip(values).map(|(t, v)| (t.as_i64().expect("a time"), v.as_f64().expect("a value")));
        pairs.filter(|(t, _)| *t <= until).collect()
    };
    series.map(|row| (row["metric"].to_string(), samples(&row))).collect()
}

fn our_samples(base: &str, until: i64) -> Samples {
    let samples = |row: &Json| {
        let rows = row[0].as_array().cloned().unwrap_or_default();
        let ms = |t: &Json| (t.as_f64().expect("a time") * 1000.0).round() as i64;
        let pairs = rows.iter().map(|p| (ms(&p[0]), p[1].as_str().expect("a value").parse().expect("a number")));
        pairs.filter(|(t, _)| *t <= until).collect()
    };
    matrix(base, "{job=\"app\"}", "5m", until).iter().map(|(key, row)| (key.clone(), samples(row))).collect()
}

#[test]
fn vmagent_writes_with_both_of_its_protocols_and_all_hold_the_same() {
    let Some(peers) = Peers::find(&["vmagent", "victoria-metrics"]) else { return };
    let (zstd, snappy) = (Receiver::start(&[]), Receiver::start(&[]));
    let (home, agent_home, target) = (Home::new(), Home::new(), application());
    let theirs = victoria(&peers, &home);
    agent_home.write_config(&format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
         scrape_configs:\n- job_name: app\n  static_configs: [{{targets: ['{}']}}]\n",
        target.address()
    ));
    let mut command = Command::new(peers.path("vmagent"));
    command
        .arg(format!("-promscrape.config={}", agent_home.config_path().display()))
        .arg(format!("-httpListenAddr={}", agent_home.address()))
        .arg(format!("-remoteWrite.tmpDataPath={}", agent_home.data_path().display()))
        .arg(format!("-remoteWrite.url={}/api/v1/write", theirs.url))
        .arg(format!("-remoteWrite.url={}", zstd.url()))
        .arg(format!("-remoteWrite.url={}", snappy.url()))
        .args(["-remoteWrite.forceVMProto=false,true,false", "-remoteWrite.forcePromProto=false,false,true"])
        .args(["-remoteWrite.flushInterval=200ms", "-loggerLevel=ERROR"]);
    let _agent =
        Server::spawn("vmagent", command, agent_home.port, &agent_home.path().join("log")).wait_ready("/health");
    let enough = |base: &str| our_samples(base, now_ms()).values().map(BTreeMap::len).min().unwrap_or(0);
    for receiver in [&zstd, &snappy] {
        wait_for("some scrapes to have come", LIMIT, || {
            let least = enough(&receiver.server.url);
            if least >= 6 { Ok(()) } else { Err(format!("{least} samples of a series")) }
        });
    }
    // The window ends before the newest scrape, which may be on its way to one and have reached another.
    let until = now_ms() - 2500;
    for receiver in [&zstd, &snappy] {
        wait_for("all sides to hold the same", LIMIT, || {
            let (theirs, ours) = (victoria_samples(&theirs.url, until), our_samples(&receiver.server.url, until));
            if theirs == ours && theirs.len() >= 4 + 5 {
                return Ok(());
            }
            let differing = theirs.iter().find(|(key, row)| ours.get(*key) != Some(row));
            Err(format!("{} and {} series, the first difference: {differing:.300?}", theirs.len(), ours.len()))
        });
    }
}
