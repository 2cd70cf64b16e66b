//! Who reads from whom: a real Prometheus and vmctl from Watershed, Watershed from a real Prometheus.

use std::process::Command;
use std::time::Duration;

use super::data::{STEPS, copy_dir, home_with_data, wait_for_answer};
use crate::support::peers::Peers;
use crate::support::process::{Home, Server};
use crate::support::{http, wait_for};

const EXPRESSIONS: &[&str] = &[
    "requests_total",
    "sum by (code) (rate(requests_total[2m]))",
    "special",
    "gaps",
    "absent(nothing)",
    "h_0",
    "rate(h_1[5m])",
    "histogram_quantile(0.9, h_2)",
    "h_3",
    "histogram_avg(h_4)",
    "requests_total offset 5m",
    "sited",
];

/// Asks a server directly, and expects the same answers of one that reads from it.
fn assert_reads_from(reader: &Server, source: &Server, (start, end): (i64, i64)) {
    let seconds = |ms: i64| (ms as f64 / 1000.0).to_string();
    for expression in EXPRESSIONS {
        let (from, to) = (seconds(start + 400_000), seconds(end));
        let range = [("query", *expression), ("start", &from), ("end", &to), ("step", "37")];
        let at = seconds(end - 600_000);
        let instant = [("query", *expression), ("time", &*at)];
        for (path, parameters) in [("/api/v1/query_range", &range[..]), ("/api/v1/query", &instant[..])] {
            let expected = http::get(&http::url(&source.url, path, parameters)).expect("an answer").text();
            assert!(expected.contains("\"result\":[{"), "{expression} has an answer: {expected:.300}");
            wait_for_answer(reader, path, parameters, &expected);
        }
    }
}

fn reading(url: &str, more: &str) -> String {
    format!("global: {{scrape_interval: 1h}}\nremote_read:\n- {{url: '{url}/api/v1/read', read_recent: true{more}}}\n")
}

#[test]
fn prometheus_reads_from_watershed() {
    let Some(peers) = Peers::find(&["prometheus"]) else { return };
    let (source_home, span) = home_with_data(&peers);
    let our_home = Home::new();
    our_home.write_config("global: {scrape_interval: 1h, external_labels: {site: edge}}\n");
    copy_dir(&source_home.data_path(), &our_home.data_path());
    let (source, ours) = (source_home.prometheus(&peers, &[]), our_home.watershed(&[]));
    let reader_home = Home::new();
    // The reader's own external labels are part of what it asks for, and are taken off what it gets.
    let config = reading(&ours.url, "").replace("1h}", "1h, external_labels: {site: edge}}");
    reader_home.write_config(&config);
    let reader = reader_home.prometheus(&peers, &["--enable-feature=native-histograms"]);
    let expressions_without_site = &source;
    assert_reads_from_but_sited(&reader, expressions_without_site, span);
    // Without them the labels are there.
    let plain_home = Home::new();
    plain_home.write_config(&reading(&ours.url, ""));
    let plain = plain_home.prometheus(&peers, &["--enable-feature=native-histograms"]);
    let time = (span.1 as f64 / 1000.0).to_string();
    let found =
        http::get_api(&http::url(&plain.url, "/api/v1/query", &[("query", "gaps offset 10m"), ("time", &time)]));
    let found = found.expect("an answer");
    assert_eq!(found["result"][0]["metric"]["site"], "edge", "{found}");
    let sent = http::get_text(&format!("{}/metrics", ours.url)).expect("metrics");
    let streams = "watershed_http_streams_total{handler=\"/api/v1/read\",outcome=\"complete\"}";
    let count = sent.lines().find_map(|l| l.strip_prefix(streams)).expect("streams were counted");
    assert!(count.trim().parse::<u64>().expect("a number") > 10, "{count}");
}

/// As [`assert_reads_from`], leaving out what has an external label stored.
fn assert_reads_from_but_sited(reader: &Server, source: &Server, span: (i64, i64)) {
    let seconds = |ms: i64| (ms as f64 / 1000.0).to_string();
    for expression in EXPRESSIONS.iter().filter(|e| !e.contains("sited")) {
        let (from, to) = (seconds(span.0 + 400_000), seconds(span.1));
        let parameters = [("query", *expression), ("start", &from), ("end", &to), ("step", "37")];
        let expected =
            http::get(&http::url(&source.url, "/api/v1/query_range", &parameters)).expect("an answer").text();
        wait_for_answer(reader, "/api/v1/query_range", &parameters, &expected);
    }
}

#[test]
fn watershed_reads_from_prometheus_in_everything_that_it_serves() {
    let Some(peers) = Peers::find(&["prometheus"]) else { return };
    let (source_home, span) = home_with_data(&peers);
    let source = source_home.prometheus(&peers, &[]);
    let reader_home = Home::new();
    reader_home.write_config(&reading(&source.url, ""));
    let reader = reader_home.watershed(&["--web.enable-lifecycle"]);
    assert_reads_from(&reader, &source, span);
    let everything = "{__name__=~\".+\"}";
    for (path, matchers) in [
        ("/api/v1/series", &["requests_total", "special"][..]),
        ("/api/v1/series", &[everything]),
        ("/api/v1/labels", &["requests_total"]),
        ("/api/v1/label/kind/values", &[everything]),
        ("/api/v1/label/__name__/values", &["{kind!=\"\"}", "gaps"]),
    ] {
        let parameters: Vec<(&str, &str)> = matchers.iter().map(|m| ("match[]", *m)).collect();
        let sorted = |server: &Server| {
            let data = http::get_api(&http::url(&server.url, path, &parameters)).expect("an answer");
            let mut items: Vec<String> = data.as_array().expect("a list").iter().map(ToString::to_string).collect();
            items.sort();
            items
        };
        assert_eq!(sorted(&reader), sorted(&source), "{path} {matchers:?}");
    }
    let federated =
        http::get_text(&http::url(&reader.url, "/federate", &[("match[]", "requests_total")])).expect("text");
    // As in Prometheus, `/federate` serves what is stored here: who federates the source gets nothing twice.
    assert_eq!(federated.lines().filter(|l| l.starts_with("requests_total{")).count(), 0, "{federated}");

    // A source that is not there is a warning that names it; what the others have is there.
    let dead = "\n- {url: 'http://127.0.0.1:1/api/v1/read', name: 'the cabin', read_recent: true}\n";
    reader_home.write_config(&(reading(&source.url, "") + dead.trim_start()));
    assert_eq!(http::post(&format!("{}/-/reload", reader.url)).expect("an answer").status, 200);
    let time = (span.1 as f64 / 1000.0).to_string();
    let url = http::url(&reader.url, "/api/v1/query", &[("query", "count(requests_total)"), ("time", &time)]);
    let answer = http::get_text(&url).expect("an answer");
    assert!(
        answer.contains("\"9\"") && answer.contains("the cabin: remote read failed: connection refused"),
        "{answer}"
    );
    reader_home.write_config("global: {scrape_interval: 1h}\n");
    assert_eq!(http::post(&format!("{}/-/reload", reader.url)).expect("an answer").status, 200);
    let answer = http::get_text(&url).expect("an answer");
    assert!(answer.contains("\"result\":[]") && !answer.contains("warnings"), "{answer}");
}

#[test]
fn a_source_that_does_not_serve_remote_read_is_a_warning() {
    let Some(peers) = Peers::find(&["victoria-metrics"]) else { return };
    let (victoria_home, reader_home) = (Home::new(), Home::new());
    let victoria = victoria_metrics(&peers, &victoria_home);
    reader_home.write_config(&reading(&victoria.url, ", name: victoria"));
    let reader = reader_home.watershed(&[]);
    let answer = http::get_text(&http::url(&reader.url, "/api/v1/query", &[("query", "up")])).expect("an answer");
    assert!(answer.contains("victoria: remote read failed: it answered 400"), "{answer}");
}

fn victoria_metrics(peers: &Peers, home: &Home) -> Server {
    let mut command = Command::new(peers.path("victoria-metrics"));
    command
        .arg(format!("-httpListenAddr={}", home.address()))
        .arg(format!("-storageDataPath={}", home.data_path().display()))
        .args(["-retentionPeriod=1d", "-loggerLevel=ERROR", "-search.latencyOffset=0s", "-search.disableCache"]);
    let port = home.address().rsplit_once(':').expect("a port").1.parse().expect("a port");
    Server::spawn("victoria-metrics", command, port, &home.config_path().with_extension("log")).wait_ready("/health")
}

#[test]
fn vmctl_copies_from_watershed_by_both_kinds_of_answers() {
    let Some(peers) = Peers::find(&["prometheus", "victoria-metrics", "vmctl"]) else { return };
    let (home, (start, end)) = home_with_data(&peers);
    let ours = home.watershed(&[]);
    for stream in [false, true] {
        let victoria_home = Home::new();
        let victoria = victoria_metrics(&peers, &victoria_home);
        let time = |ms: i64| {
            let instant = jiff::Timestamp::from_millisecond(ms).expect("a time");
            instant.to_string()
        };
        let mut command = Command::new(peers.path("vmctl"));
        command
            .arg("remote-read")
            .arg(format!("--remote-read-src-addr={}", ours.url))
            .arg(format!("--remote-read-filter-time-start={}", time(start)))
            .arg(format!("--remote-read-filter-time-end={}", time(end + 1)))
            .args(["--remote-read-filter-label=__name__", "--remote-read-filter-label-value=requests_total"])
            .args(["--remote-read-concurrency=2", "--remote-read-step-interval=hour"])
            .arg(format!("--vm-addr={}", victoria.url))
            .args(["-s", "--disable-progress-bar"]);
        if stream {
            command.arg("--remote-read-use-stream");
        }
        let output = command.output().expect("vmctl runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let export = http::url(&victoria.url, "/api/v1/export", &[("match[]", "requests_total")]);
        wait_for("everything to be copied", Duration::from_secs(30), || {
            drop(http::get(&format!("{}/internal/force_flush", victoria.url)));
            let text = http::get_text(&export).map_err(|e| e.to_string())?;
            let series: Vec<serde_json::Value> =
                text.lines().map(|l| serde_json::from_str(l).expect("a series")).collect();
            let samples: usize = series.iter().map(|s| s["values"].as_array().expect("values").len()).sum();
            let expected = (9, 9 * STEPS);
            if (series.len(), samples) == expected { Ok(()) } else { Err(format!("{} and {samples}", series.len())) }
        });
    }
}
