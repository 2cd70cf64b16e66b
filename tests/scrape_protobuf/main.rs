//! A real Prometheus and Watershed scrape one scripted target, which speaks protobuf, OpenMetrics and text, with every
//! option that says what becomes of histograms. What both have stored afterwards must be the same: series, values and
//! histograms to the bit, exemplars, metadata.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "helpers of tests fail by panicking")]
#![allow(dropping_references, reason = "closures that end without a value read better with their chain dropped")]
#![allow(missing_docs, reason = "a test's helpers are read with it")]

mod bodies;
mod message;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use message::PROTOBUF;
use serde_json::Value;
use support::peers::Peers;
use support::process::{Home, Server};
use support::target::{OPEN_METRICS, TEXT, Target, reply};
use support::{http, now_ms, wait_for};

const LIMIT: Duration = Duration::from_secs(90);
const FEATURES: &str = "--enable-feature=exemplar-storage";

/// One job: its name, the path that it scrapes, its own settings, and whether it wants native histograms, which
/// Prometheus 3.5 is asked for by a feature and later versions by the config.
struct Job {
    name: &'static str,
    path: &'static str,
    settings: &'static str,
    native: bool,
}

const fn job(name: &'static str, path: &'static str, settings: &'static str, native: bool) -> Job {
    Job { name, path, settings, native }
}

const CONVERT: &str = "convert_classic_histograms_to_nhcb: true";
const KEEP: &str = "always_scrape_classic_histograms: true";
const CONVERT_AND_KEEP: &str = "convert_classic_histograms_to_nhcb: true, always_scrape_classic_histograms: true";

/// Of what Prometheus 3.5 does otherwise than later versions nothing is shown here: without the feature of native histograms
/// it takes nothing of families that have some, and converting OpenMetrics it leaves `_created` lines out.
const JOBS: [Job; 22] = [
    job("pb-classic", "/pb-classic", "honor_labels: false", false),
    job("pb-classic-keep", "/pb-classic", KEEP, false),
    job("pb-native", "/pb", "honor_timestamps: true", true),
    job("pb-keep", "/pb", KEEP, true),
    job("pb-convert", "/pb", CONVERT, true),
    job("pb-convert-keep", "/pb", CONVERT_AND_KEEP, true),
    job("pb-plain-convert", "/pb-classic", CONVERT, true),
    job("pb-now", "/pb", "honor_timestamps: false", true),
    job("pb-track", "/pb", "track_timestamps_staleness: true", true),
    job("pb-factor", "/pb", "native_histogram_min_bucket_factor: 1.5", true),
    job("pb-buckets", "/pb", "native_histogram_bucket_limit: 4", true),
    job("pb-wide", "/pb-wide", "native_histogram_bucket_limit: 2", true),
    job("pb-odd", "/pb-odd", "honor_labels: false", true),
    job("pb-samples", "/pb", "sample_limit: 20", true),
    job(
        "pb-dropped",
        "/pb",
        "metric_relabel_configs: [{source_labels: [__name__], regex: 'native.*|requests.*', action: drop}, {source_labels: [path], target_label: way}]",
        true,
    ),
    job("pb-real", "/real", "honor_labels: false", true),
    job("om", "/om", "honor_labels: false", false),
    job("om-convert", "/om-bare", CONVERT, true),
    job("om-convert-keep", "/om-bare", CONVERT_AND_KEEP, true),
    job("text", "/text", "honor_labels: false", false),
    job("text-convert", "/text", CONVERT, true),
    job("text-convert-keep", "/text", CONVERT_AND_KEEP, true),
];

#[derive(Clone, Copy, PartialEq)]
enum For {
    Watershed,
    Prometheus,
}

fn config<'j>(target: &str, jobs: impl Iterator<Item = &'j Job>, reader: For) -> String {
    let mut yaml = "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n".to_owned();
    for job in jobs {
        let native = if reader == For::Watershed {
            format!("scrape_native_histograms: {}, ", job.native)
        } else {
            String::new()
        };
        let _ = writeln!(
            yaml,
            "- {{job_name: {}, metrics_path: {}, {native}{}, static_configs: [{{targets: ['{target}']}}]}}",
            job.name, job.path, job.settings
        );
    }
    yaml
}

/// Answers by path; the step moves what it says.
fn start_target(now: i64, step: Arc<AtomicI64>, real: Vec<u8>) -> Target {
    Target::start(move |request, stream| {
        let step = step.load(Ordering::Relaxed);
        let ended = step > 1;
        let path = request.target.split('?').next().unwrap_or_default();
        let (content_type, body) = match path {
            "/pb" if ended => (PROTOBUF, bodies::shorter(now)),
            "/pb" => (PROTOBUF, bodies::everything(now, step)),
            "/pb-classic" => (PROTOBUF, bodies::without_native(now, step)),
            "/pb-wide" => (PROTOBUF, bodies::wide()),
            "/pb-odd" => (PROTOBUF, bodies::contradiction()),
            "/om" | "/om-bare" if ended => (OPEN_METRICS, b"# EOF\n".to_vec()),
            "/om" => (OPEN_METRICS, bodies::open_metrics(now, step)),
            "/om-bare" => (OPEN_METRICS, bodies::bare_open_metrics(now, step)),
            "/text" => (TEXT, bodies::text(now, step)),
            "/real" => (PROTOBUF, real.clone()),
            _ => return reply(stream, 404, TEXT, b""),
        };
        reply(stream, 200, content_type, &body);
    })
}

/// What `/metrics` of a real Prometheus says in protobuf, native histograms included.
fn recorded(server: &Server) -> Vec<u8> {
    let accept =
        "Accept: application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited\r\n";
    let reply = http::request("GET", &format!("{}/metrics", server.url), accept).expect("a body");
    assert!(reply.header("content-type").is_some_and(|t| t.starts_with("application/vnd.google.protobuf")));
    reply.body
}

/// The newest value of each series of a job, as the API writes it, without its time.
fn values(server: &Server, job: &str) -> BTreeMap<String, String> {
    let selector = format!("{{job=\"{job}\", __name__!=\"scrape_duration_seconds\"}}");
    let data = http::get_api(&http::url(&server.url, "/api/v1/query", &[("query", &selector)])).expect("an answer");
    let of = |series: &Value| {
        let value = if series["value"].is_null() { &series["histogram"][1] } else { &series["value"][1] };
        (series["metric"].to_string(), value.to_string())
    };
    data["result"].as_array().expect("a vector").iter().map(of).collect()
}

/// Exemplars of a job; the times of those that have none of their own differ from server to server.
fn exemplars(server: &Server, job: &str, since: i64) -> Vec<String> {
    let selector = format!("{{job=\"{job}\"}}");
    let (start, end) = ((since / 1000 - 600).to_string(), (since / 1000 + 600).to_string());
    let query = [("query", selector.as_str()), ("start", &start), ("end", &end)];
    let data = http::get_api(&http::url(&server.url, "/api/v1/query_exemplars", &query)).expect("an answer");
    let mut all = Vec::new();
    for series in data.as_array().expect("a list") {
        for exemplar in series["exemplars"].as_array().expect("a list") {
            // Converting, Prometheus 3.5 loses the exemplars of buckets that it keeps; later versions do not.
            if job == "pb-convert-keep" && series["seriesLabels"]["__name__"] == "classic_seconds_bucket" {
                continue;
            }
            let is_untimed = exemplar["labels"]["trace_id"] == "untimed" || exemplar["labels"]["trace_id"] == "404";
            let t = if is_untimed { "later".to_owned() } else { exemplar["timestamp"].to_string() };
            all.push(format!("{} {} {} {t}", series["seriesLabels"], exemplar["labels"], exemplar["value"]));
        }
    }
    all.sort();
    all.dedup();
    all
}

fn metadata(server: &Server) -> Value {
    let mut all = http::get_api(&format!("{}/api/v1/metadata", server.url)).expect("an answer");
    // Several targets may say different things of one family; which comes first is left to chance.
    for list in all.as_object_mut().expect("a map").values_mut() {
        list.as_array_mut().expect("a list").sort_by_key(Value::to_string);
    }
    all
}

fn difference<V: PartialEq + std::fmt::Debug>(ours: &BTreeMap<String, V>, theirs: &BTreeMap<String, V>) -> String {
    let mut text = String::new();
    let keys: std::collections::BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    for key in keys.into_iter().filter(|key| ours.get(*key) != theirs.get(*key)).take(12) {
        let _ = writeln!(text, "{key}\n  watershed  {:?}\n  prometheus {:?}", ours.get(key), theirs.get(key));
    }
    text
}

/// Waits until a job's values are the same on both sides, and says how many there are.
fn compare(job: &Job, ours: &Server, theirs: &Server) -> usize {
    wait_for(&format!("both to have the same of {}", job.name), LIMIT, || {
        let (a, b) = (values(ours, job.name), values(theirs, job.name));
        let told = difference(&a, &b);
        if told.is_empty() && a.len() > 3 {
            Ok(a.len())
        } else {
            Err(format!("{} series\n{told}{} {}", a.len(), last_error(ours, job.name), last_error(theirs, job.name)))
        }
    })
}

/// The newest of some series of a job, in a short form.
fn last_error(server: &Server, job: &str) -> String {
    let targets = http::get_api(&format!("{}/api/v1/targets", server.url)).expect("an answer");
    let all = targets["activeTargets"].as_array().expect("a list");
    all.iter().find(|t| t["scrapePool"] == job).map(|t| t["lastError"].to_string()).unwrap_or_default()
}

fn find<'v>(values: &'v BTreeMap<String, String>, part: &str) -> Option<&'v str> {
    values.iter().find(|(labels, _)| labels.contains(part)).map(|(_, value)| value.as_str())
}

#[test]
fn what_is_stored_of_a_target_is_what_prometheus_stores() {
    let Some(peers) = Peers::find(&["prometheus"]) else { return };
    let (native_home, classic_home, our_home) = (Home::new(), Home::new(), Home::new());
    let native = "--enable-feature=native-histograms,exemplar-storage";
    native_home.write_config("scrape_configs: []\n");
    let recorder = native_home.prometheus(&peers, &[native]);
    let real = recorded(&recorder);
    recorder.kill();

    let (now, step) = (now_ms() - 2000, Arc::new(AtomicI64::new(0)));
    let target = start_target(now, step.clone(), real);
    let address = target.address();
    native_home.write_config(&config(&address, JOBS.iter().filter(|job| job.native), For::Prometheus));
    classic_home.write_config(&config(&address, JOBS.iter().filter(|job| !job.native), For::Prometheus));
    our_home.write_config(&config(&address, JOBS.iter(), For::Watershed));
    let with_native = native_home.prometheus(&peers, &[native]);
    let without = classic_home.prometheus(&peers, &[FEATURES]);
    let ours = our_home.watershed(&[FEATURES]);
    let theirs = |job: &Job| if job.native { &with_native } else { &without };

    let mut wrong = String::new();
    for job in &JOBS {
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            println!("{}: {} series", job.name, compare(job, &ours, theirs(job)));
            let (a, b) = (exemplars(&ours, job.name, now), exemplars(theirs(job), job.name, now));
            assert_eq!(a, b, "exemplars of {}", job.name);
        }));
        if let Err(panic) = checked {
            let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            let _ = writeln!(wrong, "--- {}: {text}", job.name);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");

    // What only looks equal because both have nothing would prove nothing.
    let of = |name: &str| values(&ours, name);
    let has_buckets = |job: &str, name: &str| {
        let all = of(job);
        assert!(
            all.iter().any(|(series, v)| series.contains(name) && v.contains("buckets")),
            "{name} of {job}: {all:?}"
        );
    };
    has_buckets("pb-native", "native_seconds");
    has_buckets("om-convert", "om_seconds");
    assert!(find(&of("text-convert-keep"), "t_seconds_bucket").is_some());
    assert_eq!(find(&of("pb-wide"), "\"up\""), Some("\"0\""));
    assert_eq!(find(&of("pb-odd"), "\"up\""), Some("\"0\""));
    assert_eq!(find(&of("pb-samples"), "\"up\""), Some("\"0\""));
    assert!(of("pb-real").len() > 100 && find(&of("pb-real"), "http_request_duration").is_some());
    assert!(exemplars(&ours, "pb-native", now).len() > 5);

    let (a, b) = (metadata(&ours), metadata(&with_native));
    for family in
        ["requests_total", "temperature_celsius", "native_seconds", "level", "latency", "said.in.utf8 ü", "om_seconds"]
    {
        assert!(!a[family].is_null(), "{family}");
        assert_eq!(a[family], b[family], "metadata of {family}");
    }

    // Everything moves on, then most of it ends.
    let has_ended = |server: &Server| {
        let all = values(server, "pb-native");
        match find(&all, "\"native_seconds").is_none() && find(&all, "requests_total").is_some() {
            true => Ok(()),
            false => Err(format!("{all:?}")),
        }
    };
    for next in 1..=2 {
        step.store(next, Ordering::Relaxed);
        if next == 2 {
            wait_for("most of it to end here", LIMIT, || has_ended(&ours));
            wait_for("most of it to end there", LIMIT, || has_ended(&with_native));
        }
        for job in JOBS.iter().filter(|job| !matches!(job.name, "pb-wide" | "pb-odd" | "pb-samples")) {
            compare(job, &ours, theirs(job));
        }
    }
}

/// All samples of a job with their times, but for those that depend on when it was scraped.
fn zeros(server: &Server, job: &str, before: i64) -> BTreeMap<String, Vec<String>> {
    let query = format!("{{job=\"{job}\"}}[5m]");
    let data = http::get_api(&http::url(&server.url, "/api/v1/query", &[("query", &query)])).expect("an answer");
    let mut all = BTreeMap::new();
    for series in data["result"].as_array().expect("a matrix") {
        let points = [&series["values"], &series["histograms"]].into_iter().filter_map(Value::as_array).flatten();
        let early = points.filter(|point| point[0].as_f64().is_some_and(|t| t * 1000.0 < before as f64));
        let early: Vec<String> = early.map(Value::to_string).collect();
        if !early.is_empty() {
            all.insert(series["metric"].to_string(), early);
        }
    }
    all
}

#[test]
fn zeros_are_put_where_counting_began_as_prometheus_puts_them() {
    let Some(peers) = Peers::find(&["prometheus"]) else { return };
    let (now, step) = (now_ms() - 5000, Arc::new(AtomicI64::new(0)));
    let target = start_target(now, step, Vec::new());
    let jobs = [job("pb-native", "/pb", "honor_labels: false", true), job("om", "/om", "honor_labels: false", true)];
    let (their_home, our_home) = (Home::new(), Home::new());
    their_home.write_config(&config(&target.address(), jobs.iter(), For::Prometheus));
    our_home.write_config(&config(&target.address(), jobs.iter(), For::Watershed));
    let theirs =
        their_home.prometheus(&peers, &["--enable-feature=native-histograms,created-timestamp-zero-ingestion"]);
    let ours = our_home.watershed(&["--enable-feature=created-timestamp-zero-ingestion"]);
    for job in &jobs {
        compare(job, &ours, &theirs);
        let (a, b) = (zeros(&ours, job.name, now), zeros(&theirs, job.name, now));
        let told = difference(&a, &b);
        assert!(told.is_empty(), "{}:\n{told}", job.name);
        println!("{}: {} series began with a zero", job.name, a.len());
        assert!(a.len() > 5);
    }
}
