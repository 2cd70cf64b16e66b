//! The HTTP API against a real Prometheus: the same requests on the same data must give the same status and the same JSON,
//! and `/federate` the same text, byte by byte where nothing is known of the families.
//!
//! `/federate` differs on purpose where types are known, since Watershed keeps them: then the same lines must come, the
//! comments apart, and those of one histogram together.
//!
//! Prometheus scrapes two scripted targets and is then restarted with nothing to scrape, so that its data stands still. What
//! it stored is copied into a store in memory, what it said of its targets into a made-up target source, and Watershed's
//! web server is put before both.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking"
)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustix::process::Signal;
use serde_json::Value;
use support::peers::Peers;
use support::process::{Home, Server as Peer};
use support::target::{Request, TEXT, Target, reply};
use support::{http, wait_for};
use tokio_util::sync::CancellationToken;

use watershed::model::{Labels, Metadata, MetricType, TimestampMs};
use watershed::promql::Engine;
use watershed::promql::service::{self, Limits, Service};
use watershed::runtime::{Clock, CpuPool};
use watershed::scrape::{DroppedTarget, JobConfig, TargetHealth, TargetMetadata, TargetSource, TargetStatus};
use watershed::storage::memory::MemoryStore;
use watershed::storage::{Appendable, FloatSample};
use watershed::telemetry::Registry;
use watershed::web::{
    BuildInfo, Deps, ExternalUrl, Notifications, Readiness, ReadinessState, RuntimeFacts, Security, Server, WebConfig,
};

const LIMIT: Duration = Duration::from_secs(60);

/// Names and labels that are awkward, all the special values, types that are told and types that are not.
const FIRST: &str = r#"# HELP requests_total All requests.
# TYPE requests_total counter
requests_total{code="200",path="/"} 1027
requests_total{code="500",path="/a\"b\\c\nd"} 3
# TYPE temperature gauge
temperature{room="k\u00fcche"} -0.5
temperature{room=""} 21
# HELP latency_seconds Latency.
# TYPE latency_seconds histogram
latency_seconds_bucket{le="0.1"} 5
latency_seconds_bucket{le="+Inf"} 9
latency_seconds_sum 1.25e-7
latency_seconds_count 9
special{kind="nan"} NaN
special{kind="inf"} +Inf
special{kind="-inf"} -Inf
special{kind="big"} 1.7976931348623157e+308
special{kind="million"} 1e+06
special{kind="million and a bit"} 1234567.5
own_site{site="native"} 1
no_instance{instance=""} 1
"#;

const SECOND: &str = r#"# HELP temperature Another help.
# TYPE temperature gauge
temperature{room="bad",floor="1"} 19.5
{"dotted.name",region="eu",site="home2"} 1
{"with space","my.label"="x","\u00e9"="y"} 2
UPPER_case 3
_underscore:colon 4
"#;

fn config(first: &str, second: &str, external_labels: &str) -> String {
    format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, external_labels: {external_labels}}}\nscrape_configs:\n\
         - job_name: first\n  static_configs: [{{targets: ['{first}']}}]\n\
         - job_name: second\n  metrics_path: /m\n  params: {{q: [a b]}}\n  static_configs:\n\
         \x20 - targets: ['{second}', 'dropped.example:1', '127.0.0.1:9']\n    labels: {{rack: 'r<1>&'}}\n\
         \x20 relabel_configs: [{{source_labels: [__address__], regex: 'dropped.*', action: drop}}]\n"
    )
}

const EXTERNAL: &str = "{site: home, zone: z}";

/// What a Prometheus told of its targets, told again.
struct ToldTargets {
    targets: Value,
    metadata: Vec<TargetMetadata>,
    pools: Vec<String>,
}

impl ToldTargets {
    fn of(prometheus: &Peer) -> ToldTargets {
        let ask = |path: &str| http::get_api(&format!("{}/api/v1/{path}", prometheus.url)).unwrap();
        let pools = ask("scrape_pools")["scrapePools"].as_array().unwrap().iter().map(text).collect();
        let told = ask("targets/metadata");
        let metadata = told.as_array().unwrap().iter().map(|told| TargetMetadata {
            target: labels(&told["target"]),
            metric: text(&told["metric"]),
            metadata: Metadata {
                metric_type: match text(&told["type"]).as_str() {
                    "counter" => MetricType::Counter,
                    "gauge" => MetricType::Gauge,
                    "histogram" => MetricType::Histogram,
                    "unknown" => MetricType::Unknown,
                    other => panic!("a type that no target told: {other}"),
                },
                unit: text(&told["unit"]),
                help: text(&told["help"]),
            },
        });
        ToldTargets { metadata: metadata.collect(), targets: ask("targets"), pools }
    }
}

impl TargetSource for ToldTargets {
    fn config(&self, _: &str) -> Option<JobConfig> {
        None
    }

    fn pools(&self) -> Vec<String> {
        self.pools.clone()
    }

    fn active(&self, pool: Option<&str>) -> Vec<TargetStatus> {
        let all = self.targets["activeTargets"].as_array().unwrap().iter().map(|t| TargetStatus {
            scrape_pool: text(&t["scrapePool"]),
            discovered_labels: labels(&t["discoveredLabels"]),
            labels: labels(&t["labels"]),
            scrape_url: text(&t["scrapeUrl"]),
            health: match text(&t["health"]).as_str() {
                "up" => TargetHealth::Up,
                "down" => TargetHealth::Down,
                _ => TargetHealth::Unknown,
            },
            last_error: text(&t["lastError"]),
            last_scrape: Some(millis(&text(&t["lastScrape"]))),
            last_scrape_duration_s: t["lastScrapeDuration"].as_f64().unwrap(),
            interval: text(&t["scrapeInterval"]).parse().unwrap(),
            timeout: text(&t["scrapeTimeout"]).parse().unwrap(),
            last_samples: 0,
            last_body_bytes: 0,
        });
        all.filter(|t| pool.is_none_or(|p| p == t.scrape_pool)).collect()
    }

    fn dropped(&self, pool: Option<&str>) -> Vec<DroppedTarget> {
        let all = self.targets["droppedTargets"].as_array().unwrap().iter().map(|t| DroppedTarget {
            scrape_pool: text(&t["scrapePool"]),
            discovered_labels: labels(&t["discoveredLabels"]),
        });
        all.filter(|t| pool.is_none_or(|p| p == t.scrape_pool)).collect()
    }

    fn dropped_counts(&self) -> Vec<(String, u64)> {
        let counts = self.targets["droppedTargetCounts"].as_object().unwrap();
        counts.iter().map(|(pool, n)| (pool.clone(), n.as_u64().unwrap())).collect()
    }

    fn metadata(&self, metric: Option<&str>) -> Vec<TargetMetadata> {
        self.metadata.iter().filter(|m| metric.is_none_or(|wanted| wanted == m.metric)).cloned().collect()
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn labels(object: &Value) -> Labels {
    Labels::from_pairs(object.as_object().unwrap().iter().map(|(n, v)| (n.as_str(), v.as_str().unwrap())))
}

fn millis(rfc3339: &str) -> TimestampMs {
    TimestampMs(rfc3339.parse::<jiff::Timestamp>().unwrap().as_millisecond())
}

/// Copies every sample of the last minutes, except staleness markers, which no query shows.
fn copy_samples(prometheus: &Peer) -> MemoryStore {
    let query = [("query", r#"{__name__=~".+"}[10m]"#)];
    let matrix = http::get_api(&http::url(&prometheus.url, "/api/v1/query", &query)).unwrap();
    let store = MemoryStore::new();
    let mut appender = store.appender();
    for one in matrix["result"].as_array().unwrap() {
        let series = appender.series(&labels(&one["metric"])).unwrap();
        for point in one["values"].as_array().unwrap() {
            let t = TimestampMs((point[0].as_f64().unwrap() * 1000.0).round() as i64);
            let v = match point[1].as_str().unwrap() {
                "+Inf" => f64::INFINITY,
                "-Inf" => f64::NEG_INFINITY,
                other => other.parse().unwrap(),
            };
            appender.append(&[FloatSample { series, t, v }]).unwrap();
        }
    }
    assert!(appender.commit().unwrap().appended > 100);
    store
}

/// Watershed's web server in this process, on a runtime of its own.
struct Ours {
    url: String,
    stop: CancellationToken,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Ours {
    fn start(store: MemoryStore, targets: ToldTargets, own_port_of: &Peer) -> Ours {
        let readiness = Readiness::new();
        readiness.set(ReadinessState::Ready);
        let store = Arc::new(store);
        let registry = Registry::new();
        let desk = service::Deps { storage: store.clone(), clock: Clock::system(), registry: registry.clone() };
        let deps = Deps {
            security: Security::new(&registry),
            storage: store.clone(),
            local: store.clone(),
            cluster_samples: None,
            gateway: None,
            features: Arc::default(),
            notifications: Notifications::new(1, Clock::system(), &registry),
            otlp: None,
            appendable: store.clone(),
            cluster: Arc::default(),
            queries: Service::new(Engine::default(), Limits::default(), desk).unwrap(),
            exemplars: store.clone(),
            admin: store,
            targets: Arc::new(targets),
            registry,
            clock: Clock::system(),
            pool: CpuPool::new("test", 1).unwrap(),
            external_labels: Arc::new(ArcSwap::from_pointee(Labels::from_pairs([("site", "home"), ("zone", "z")]))),
            readiness,
            reload: tokio::sync::mpsc::channel(1).0,
            quit: CancellationToken::new(),
            config_yaml: Arc::new(String::new),
            flags: Arc::new(BTreeMap::new()),
            build: BuildInfo::current(),
            runtime: Arc::new(RuntimeFacts::default),
            host_metrics: None,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let external = ExternalUrl::parse("http://people.example:80/", &own_port_of.address).unwrap();
        let any_port = ["127.0.0.1:0".to_owned()];
        let server = runtime.block_on(Server::bind(&any_port, WebConfig::new(external), deps)).unwrap();
        let url = format!("http://{}", server.addresses()[0]);
        let stop = CancellationToken::new();
        runtime.spawn(server.run(stop.clone()));
        Ours { url, stop, runtime: Some(runtime) }
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }
}

fn start_target(body: &'static str) -> Target {
    let body = body.replace("\\u00fc", "\u{fc}").replace("\\u00e9", "\u{e9}");
    Target::start(move |_: &Request, stream| reply(stream, 200, TEXT, body.as_bytes()))
}

/// Waits until every target was scraped a few times, the dead one in vain.
fn wait_for_scrapes(prometheus: &Peer) {
    let query = [("query", r#"min(count_over_time(up[5m])) > 2"#)];
    let url = http::url(&prometheus.url, "/api/v1/query", &query);
    wait_for("all targets to be scraped", LIMIT, || match http::get_api(&url) {
        Ok(data) if data["result"].as_array().is_some_and(|r| !r.is_empty()) => match scraped_targets(prometheus) {
            3 => Ok(()),
            n => Err(format!("{n} targets of 3 were scraped")),
        },
        Ok(data) => Err(data.to_string()),
        Err(error) => Err(error.to_string()),
    });
}

fn scraped_targets(prometheus: &Peer) -> usize {
    let targets = http::get_api(&format!("{}/api/v1/targets", prometheus.url)).unwrap();
    let active = targets["activeTargets"].as_array().unwrap();
    active.iter().filter(|t| t["health"] != "unknown").count()
}

#[derive(Debug, PartialEq)]
struct Observed {
    status: u16,
    content_type: String,
    body: Value,
}

/// Asks, and normalises what may differ: the sentence of an error (each engine explains itself), the order of a set.
fn observe(base: &str, method: &str, request: &str) -> Observed {
    let (path, form) = request.split_once(" BODY ").unwrap_or((request, ""));
    let reply = match method {
        "POST" => http::post_form(&format!("{base}{path}"), form),
        _ => http::request(method, &format!("{base}{path}"), ""),
    };
    let reply = reply.unwrap_or_else(|e| panic!("{method} {base}{path}: {e}"));
    let content_type = reply.header("content-type").unwrap_or("").to_owned();
    let mut body: Value = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
    if let Some(error) = body.get_mut("error") {
        assert!(error.as_str().is_some_and(|e| !e.is_empty()), "{request}: an error must be explained");
        *error = Value::Null;
    }
    if path.contains("/series")
        && let Some(set) = body["data"].as_array_mut()
    {
        set.sort_by_key(Value::to_string);
    }
    Observed { status: reply.status, content_type, body }
}

/// Everything that stored data answers.
const DATA_REQUESTS: &[&str] = &[
    "/api/v1/labels",
    "/api/v1/labels?match[]=up",
    "/api/v1/labels?match[]=up&match[]=special",
    "/api/v1/labels?match[]={job=\"second\"}",
    "/api/v1/labels?match[]=nothing",
    "/api/v1/labels?start=0&end=1",
    "/api/v1/labels?limit=3",
    "/api/v1/labels?limit=0",
    "/api/v1/labels?limit=1000",
    "/api/v1/labels?limit=x",
    "/api/v1/labels?limit=-1",
    "/api/v1/labels?start=yesterday",
    "/api/v1/labels?end=2020-01-01T00:00:00",
    "/api/v1/labels?end=2020-01-01T00:00:00Z",
    "/api/v1/labels?end=2020-01-01T00:00:00.5%2B01:00",
    "/api/v1/labels?start=-292273086-05-16T16:47:06Z&end=292277025-08-18T07:12:54.999999999Z",
    "/api/v1/labels?match[]={job=~\".*\"}",
    "/api/v1/labels?match[]={job!=\"x\"}",
    "/api/v1/labels?match[]={job!=\"\"}",
    "/api/v1/labels?match[]={job=~\"(\"}",
    "/api/v1/labels?match[]=up{",
    "/api/v1/label/job/values",
    "/api/v1/label/__name__/values",
    "/api/v1/label/__name__/values?match[]={job=\"second\"}",
    "/api/v1/label/instance/values?match[]=up&match[]=special",
    "/api/v1/label/room/values",
    "/api/v1/label/path/values",
    "/api/v1/label/nothing/values",
    "/api/v1/label/job/values?limit=1",
    "/api/v1/label/job/values?limit=2",
    "/api/v1/label/job/values?limit=1.5",
    "/api/v1/label/job/values?match[]=up&start=0&end=1",
    "/api/v1/label/job/values?start=abc",
    "/api/v1/label/my.label/values",
    "/api/v1/label/U__my_2e_label/values",
    "/api/v1/label/U___e9_/values",
    "/api/v1/label/U__my_2e/values",
    "/api/v1/label/U__site/values",
    "/api/v1/label/%C3%A9/values",
    "/api/v1/label/with%20space/values",
    "/api/v1/series",
    "/api/v1/series?match[]=",
    "/api/v1/series?match[]=up",
    "/api/v1/series?match[]=up&match[]=up",
    "/api/v1/series?match[]=up&match[]=special{kind!=\"nan\"}",
    "/api/v1/series?match[]={__name__=~\"latency_.*\",le!=\"\"}",
    "/api/v1/series?match[]={__name__=~\"(requests|latency).*|up\"}",
    "/api/v1/series?match[]={__name__!~\"s.*\",job=\"first\"}",
    "/api/v1/series?match[]={\"dotted.name\"}",
    "/api/v1/series?match[]={\"with space\",\"my.label\"=\"x\"}",
    "/api/v1/series?match[]={room=\"k%C3%BCche\"}",
    "/api/v1/series?match[]={path=~\".*b.*d\"}",
    "/api/v1/series?match[]={path='/a\"b\\\\c\\nd'}",
    "/api/v1/series?match[]=temperature{room=\"\"}",
    "/api/v1/series?match[]=temperature{floor=\"\"}",
    "/api/v1/series?match[]={job=\"first\"}&start=0&end=10",
    "/api/v1/series?match[]={job=\"first\"}&end=4102444800",
    "/api/v1/series?match[]={job=\"first\"}&limit=100",
    "/api/v1/series?match[]=nothing",
    "/api/v1/series?match[]={}",
    "/api/v1/series?match[]={job=~\".*\"}",
    "/api/v1/series?match[]={job=\"\"}",
    "/api/v1/series?match[]=rate(up[5m])",
    "/api/v1/series?match[]=up[5m]",
    "/api/v1/series?match[]=up%20offset%205m",
    "/api/v1/series?match[]=up{job=first}",
    "/api/v1/series?match[]=%zz",
    "/api/v1/series?match[]=up&limit=x",
    "/api/v1/series?match[]=up&start=x",
    "/api/v1/series?match[]=up&start=NaN1",
    "/api/v1/series?match[]=up&end=2020-13-01T00:00:00Z",
];

const POST_REQUESTS: &[&str] = &[
    "/api/v1/series BODY match[]=up",
    "/api/v1/series?match[]=special BODY match%5B%5D=up&limit=100",
    "/api/v1/series BODY limit=1",
    "/api/v1/labels BODY match[]=special&limit=2",
    "/api/v1/labels?limit=1 BODY limit=2",
    "/api/v1/labels BODY ",
];

/// Everything that targets answer.
const TARGET_REQUESTS: &[&str] = &[
    "/api/v1/targets",
    "/api/v1/targets?state=active",
    "/api/v1/targets?state=dropped",
    "/api/v1/targets?state=any",
    "/api/v1/targets?state=ACTIVE",
    "/api/v1/targets?state=nonsense",
    "/api/v1/targets?scrapePool=second",
    "/api/v1/targets?scrapePool=nothing",
    "/api/v1/targets?scrapePool=first&state=dropped",
    "/api/v1/scrape_pools",
    "/api/v1/metadata",
    "/api/v1/metadata?metric=requests_total",
    "/api/v1/metadata?metric=nothing",
    "/api/v1/metadata?limit=0",
    "/api/v1/metadata?limit=x",
    "/api/v1/metadata?limit=-1",
    "/api/v1/metadata?limit_per_metric=x",
    "/api/v1/metadata?metric=requests_total&limit_per_metric=1",
    "/api/v1/targets/metadata",
    "/api/v1/targets/metadata?metric=temperature",
    "/api/v1/targets/metadata?metric=nothing",
    "/api/v1/targets/metadata?match_target={job=\"first\"}",
    "/api/v1/targets/metadata?match_target={job=\"first\"}&metric=requests_total",
    "/api/v1/targets/metadata?match_target={job=\"x\"}",
    "/api/v1/targets/metadata?match_target={",
    "/api/v1/targets/metadata?limit=x",
    "/api/v1/targets/metadata?limit=0",
];

const FEDERATE_REQUESTS: &[&str] = &[
    "/federate?match[]={__name__=~\".%2B\"}",
    "/federate?match[]={job=\"first\"}",
    "/federate?match[]={job=\"first\"}&match[]={job=\"second\"}",
    "/federate?match[]=up&match[]=special&match[]=up",
    "/federate?match[]=temperature&match[]={__name__=~\"temp.*\",room=\"bad\"}",
    "/federate?match[]={job=~\".*\"}",
    "/federate?match[]={\"dotted.name\"}",
    "/federate?match[]=nothing",
];

/// Requests to `/federate` that are refused, or answered with nothing.
const FEDERATE_ERRORS: &[&str] =
    &["/federate?match[]=up{", "/federate?match[]={}", "/federate?match[]=%zz", "/federate?match[]=sum(up)"];

/// Characters that a URL cannot hold as they are, so that the lists above stay readable.
fn encode(request: &str) -> String {
    let mut out = String::new();
    for c in request.chars() {
        match c {
            '{' | '}' | '"' | '<' | '>' | '\\' | '^' | '`' | '|' | ' ' => {
                out.push_str(&format!("%{:02X}", u32::from(c)))
            }
            c => out.push(c),
        }
    }
    out
}

/// Times are compared to the millisecond, targets and metadata as sets per pool: the reference keeps them in hash maps.
fn normalise_targets(body: &mut Value) {
    if let Some(active) = body.pointer_mut("/data/activeTargets").and_then(Value::as_array_mut) {
        for target in active.iter_mut() {
            target["lastScrape"] = millis(&text(&target["lastScrape"])).0.into();
        }
    }
    for list in ["/data", "/data/activeTargets", "/data/droppedTargets"] {
        if let Some(list) = body.pointer_mut(list).and_then(Value::as_array_mut) {
            list.sort_by_key(Value::to_string);
        }
    }
    if let Some(by_metric) = body.pointer_mut("/data").and_then(Value::as_object_mut) {
        by_metric.values_mut().filter_map(Value::as_array_mut).for_each(|list| list.sort_by_key(Value::to_string));
    }
}

fn compare(differences: &mut Vec<String>, request: &str, ours: &Observed, theirs: &Observed) {
    if ours != theirs {
        differences.push(format!("{request}\n  watershed:  {ours:?}\n  prometheus: {theirs:?}"));
    }
}

fn compare_targets(prometheus: &Peer, differences: &mut Vec<String>) {
    // Targets change with every scrape: both sides are asked until the peer stands still in between.
    for request in TARGET_REQUESTS {
        let path = encode(request);
        let (ours, theirs) = wait_for("the targets to stand still", LIMIT, || {
            let told = ToldTargets::of(prometheus);
            let before = told.targets.clone();
            let ours = Ours::start(MemoryStore::new(), told, prometheus);
            let pair = (observe(&ours.url, "GET", &path), observe(&prometheus.url, "GET", &path));
            if ToldTargets::of(prometheus).targets == before { Ok(pair) } else { Err("they were scraped again") }
        });
        let (mut ours, mut theirs) = (ours, theirs);
        normalise_targets(&mut ours.body);
        normalise_targets(&mut theirs.body);
        compare(differences, request, &ours, &theirs);
    }
}

fn compare_data(ours: &Ours, prometheus: &Peer, differences: &mut Vec<String>) {
    for (method, requests) in [("GET", DATA_REQUESTS), ("POST", POST_REQUESTS)] {
        for request in requests {
            let path = encode(request).replace("%20BODY%20", " BODY ");
            let (a, b) = (observe(&ours.url, method, &path), observe(&prometheus.url, method, &path));
            compare(differences, &format!("{method} {request}"), &a, &b);
        }
    }
}

/// The lines that are no comments, in an order that does not depend on how they are grouped.
fn sample_lines(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().filter(|l| !l.starts_with('#')).collect();
    lines.sort_unstable();
    lines
}

/// Where types are known: the samples are the same, and the types are those that targets told.
fn compare_federated_samples(ours: &Ours, prometheus: &Peer, differences: &mut Vec<String>) {
    for request in FEDERATE_REQUESTS {
        let ask = |base: &str| http::get(&format!("{base}{}", encode(request))).unwrap().text();
        let (a, b) = (ask(&ours.url), ask(&prometheus.url));
        if sample_lines(&a) != sample_lines(&b) {
            differences.push(format!("{request}: other samples\n{a}\n{b}"));
        }
    }
    let request = encode(FEDERATE_REQUESTS[0]);
    let all = http::get(&format!("{}{request}", ours.url)).unwrap().text();
    for head in [
        "# HELP requests_total All requests.\n# TYPE requests_total counter\nrequests_total{",
        " gauge\ntemperature{",
        "# HELP latency_seconds Latency.\n# TYPE latency_seconds histogram\nlatency_seconds_bucket{",
        "# TYPE special untyped\nspecial{",
    ] {
        assert!(all.contains(head), "{head}\nis not in\n{all}");
    }
}

fn compare_federate(ours: &Ours, prometheus: &Peer, differences: &mut Vec<String>) {
    for request in FEDERATE_REQUESTS {
        let ask = |base: &str| http::get(&format!("{base}{}", encode(request))).unwrap();
        let (a, b) = (ask(&ours.url), ask(&prometheus.url));
        assert_eq!(b.status, 200, "{request}: {}", b.text());
        let types = (a.header("content-type"), b.header("content-type"));
        if types.0 != types.1 {
            differences.push(format!("{request}: content types {types:?}"));
        }
        if a.text() != b.text() {
            let (a, b) = (a.text(), b.text());
            let first = a.lines().zip(b.lines()).find(|(a, b)| a != b);
            let counts = (a.lines().count(), b.lines().count());
            differences.push(format!("{request}: lines {counts:?}, first difference {first:?}"));
        }
        let lines = b.text().lines().filter(|l| !l.starts_with('#')).count();
        assert!(lines > 0 || request.ends_with("nothing"), "{request} must find something to compare");
    }
    for request in FEDERATE_ERRORS {
        let ask = |base: &str| http::get(&format!("{base}{}", encode(request))).unwrap().status;
        let (a, b) = (ask(&ours.url), ask(&prometheus.url));
        if a != b {
            differences.push(format!("{request}: status {a}, {b}"));
        }
    }
    // The one difference on purpose: a request that selects nothing by mistake is not answered with an empty success.
    let ask = |base: &str| http::get(&format!("{base}/federate")).unwrap().status;
    assert_eq!((ask(&ours.url), ask(&prometheus.url)), (400, 200));
}

#[test]
fn the_api_cannot_be_told_from_prometheus() {
    let Some(peers) = Peers::find(&["prometheus"]) else { return };
    let (first, second) = (start_target(FIRST), start_target(SECOND));
    let home = Home::new();
    home.write_config(&config(&first.address(), &second.address(), EXTERNAL));
    let flags = ["--web.external-url=http://people.example:80/", "--web.route-prefix=/"];
    let mut prometheus = home.prometheus(&peers, &flags);
    wait_for_scrapes(&prometheus);
    let mut differences = Vec::new();
    compare_targets(&prometheus, &mut differences);

    // Nobody tells it afterwards.
    let told = ToldTargets::of(&prometheus);
    // Restarted with nothing to scrape: a reload would write staleness markers, a stop does not.
    prometheus.signal(Signal::TERM);
    assert!(prometheus.wait_exit(LIMIT).success());
    home.write_config(&format!("global: {{external_labels: {EXTERNAL}}}\n"));
    let prometheus = home.prometheus(&peers, &flags);
    let ours = Ours::start(copy_samples(&prometheus), ToldTargets::of(&prometheus), &prometheus);
    compare_data(&ours, &prometheus, &mut differences);
    compare_federate(&ours, &prometheus, &mut differences);
    let ours = Ours::start(copy_samples(&prometheus), told, &prometheus);
    compare_federated_samples(&ours, &prometheus, &mut differences);
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}
