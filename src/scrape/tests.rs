//! Whole scrapes against a store in memory, with a target that answers what the test says.

mod histograms;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;
use crate::discovery::TargetGroup;
use crate::model::regex::Regex;
use crate::model::{DurationMs, Labels, MetricType, TimestampMs};
use crate::net::HttpClientConfig;
use crate::relabel::{Action, RuleConfig};
use crate::runtime::{Clock, CpuPool};
use crate::storage::memory::MemoryStore;
use crate::storage::{Appendable, FloatSample};
use crate::telemetry::Registry;

const TEXT: &str = "text/plain; version=0.0.4";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0";
const START: i64 = 1_700_000_000_000;

#[derive(Clone, Debug)]
enum Answer {
    Body(&'static str, String),
    Bytes(&'static str, Vec<u8>),
    Fail(FetchError),
    /// Never.
    Hang,
}

fn text(body: &str) -> Answer {
    Answer::Body(TEXT, body.to_owned())
}

/// Answers one after the other; the last one again and again. Remembers what it was asked.
struct Script {
    answers: Mutex<BTreeMap<String, Vec<Answer>>>,
    asked: Mutex<Vec<FetchRequest>>,
}

impl Fetcher for Arc<Script> {
    fn fetch<'a>(&'a self, request: &'a FetchRequest, body: &'a mut Vec<u8>) -> Fetching<'a> {
        Box::pin(async move {
            self.asked.lock().push(request.clone());
            let answer = {
                let mut all = self.answers.lock();
                let host = request.url.split('/').nth(2).unwrap_or_default().to_owned();
                let key = if all.contains_key(&host) { host } else { "*".to_owned() };
                let answers = all.get_mut(&key).expect("the script has answers");
                if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() }
            };
            match answer {
                Answer::Body(content_type, text) => {
                    body.extend_from_slice(text.as_bytes());
                    let wire_bytes = text.len() as u64;
                    Ok(FetchInfo { content_type: content_type.to_owned(), wire_bytes })
                }
                Answer::Bytes(content_type, bytes) => {
                    body.extend_from_slice(&bytes);
                    Ok(FetchInfo { content_type: content_type.to_owned(), wire_bytes: bytes.len() as u64 })
                }
                Answer::Fail(error) => Err(error),
                Answer::Hang => std::future::pending().await,
            }
        })
    }
}

impl Fetchers for Arc<Script> {
    fn fetcher(&self, _job: &JobConfig) -> Result<Arc<dyn Fetcher>, String> {
        Ok(Arc::new(self.clone()))
    }
}

fn job(name: &str) -> JobConfig {
    JobConfig {
        name: name.to_owned(),
        honor_labels: false,
        honor_timestamps: true,
        track_timestamps_staleness: false,
        params: Vec::new(),
        interval: DurationMs::from_secs(10),
        timeout: DurationMs::from_secs(5),
        protocols: vec![ScrapeProtocol::PrometheusText004],
        fallback_protocol: None,
        failure_log_file: None,
        metrics_path: "/metrics".to_owned(),
        scheme: Scheme::Http,
        enable_compression: true,
        body_size_limit: None,
        sample_limit: None,
        target_limit: None,
        label_limit: None,
        label_name_length_limit: None,
        label_value_length_limit: None,
        keep_dropped_targets: None,
        name_validation: NameValidation::Utf8,
        name_escaping: EscapingScheme::AllowUtf8,
        native_histograms: false,
        convert_classic_histograms: false,
        keep_classic_histograms: false,
        native_histogram_bucket_limit: None,
        native_histogram_min_bucket_factor: 0.0,
        start_timestamps: StartTimestamps::Ignore,
        extra_scrape_metrics: false,
        discovery: Vec::new(),
        client: HttpClientConfig::default(),
        relabel: Vec::new(),
        metric_relabel: Vec::new(),
        rendered: String::new(),
        fingerprint: name.to_owned(),
    }
}

fn group(addresses: &[&str]) -> Vec<TargetGroup> {
    let targets = addresses.iter().map(|a| Labels::from_pairs([("__address__", *a)])).collect();
    vec![TargetGroup { source: "0".to_owned(), targets, labels: Labels::empty() }]
}

struct World {
    manager: Manager,
    store: Arc<MemoryStore>,
    script: Arc<Script>,
    clock: Clock,
    began: tokio::time::Instant,
    registry: Registry,
    /// By how much the wall clock has been set forward since the beginning, in milliseconds.
    clock_set: Cell<i64>,
}

impl World {
    fn new(answers: Vec<Answer>) -> World {
        let store = Arc::new(MemoryStore::new());
        let script = Arc::new(Script {
            answers: Mutex::new(BTreeMap::from([("*".to_owned(), answers)])),
            asked: Mutex::default(),
        });
        let clock = Clock::manual(TimestampMs(START));
        let registry = Registry::new();
        let manager = Manager::new(Deps {
            storage: store.clone() as Arc<dyn Appendable>,
            registry: registry.clone(),
            pool: CpuPool::inline(),
            clock: clock.clone(),
            fetchers: Arc::new(script.clone()),
            offset_seed: 7,
        });
        World { manager, store, script, clock, began: tokio::time::Instant::now(), registry, clock_set: Cell::new(0) }
    }

    fn answers(&self, host: &str, answers: Vec<Answer>) {
        self.script.answers.lock().insert(host.to_owned(), answers);
    }

    /// Lets time go on, the wall clock with the timers.
    async fn pass(&self, seconds: u64) {
        for _ in 0..seconds * 20 {
            tokio::time::advance(Duration::from_millis(50)).await;
            let since = self.began.elapsed().as_millis() as i64;
            self.clock.set(TimestampMs(START + self.clock_set.get() + since));
            for _ in 0..8 {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Values of the series whose text begins with `prefix`, in order of time, `stale` for the marker.
    fn values(&self, prefix: &str) -> BTreeMap<String, String> {
        let dump = self.store.dump();
        let wanted = dump.iter().filter(|(labels, _)| labels.to_string().starts_with(prefix));
        wanted
            .map(|(labels, samples)| {
                let values: Vec<String> =
                    samples
                        .iter()
                        .map(|s| {
                            if s.value.is_stale() {
                                "stale".to_owned()
                            } else {
                                s.float().expect("a float").to_string()
                            }
                        })
                        .collect();
                (labels.to_string(), values.join(" "))
            })
            .collect()
    }

    fn value(&self, prefix: &str) -> String {
        let values = self.values(prefix);
        assert!(values.len() < 2, "{prefix} is not unique: {values:?}");
        values.into_values().next().unwrap_or_default()
    }

    fn metrics(&self) -> String {
        let mut metrics = String::new();
        self.registry.write_text(&mut metrics);
        metrics
    }

    fn status(&self) -> TargetStatus {
        self.manager.active(None).into_iter().next().expect("there is a target")
    }
}

/// One scrape of one body by one job; every series with its values, without the report unless asked.
async fn scrape_once(job: JobConfig, body: Answer) -> (World, Vec<String>) {
    let world = World::new(vec![body, Answer::Hang]);
    let name = job.name.clone();
    world.manager.apply(vec![job]).expect("the job is valid");
    world.manager.sync(&name, group(&["h:1"]));
    world.pass(11).await;
    let is_report = |s: &str| s.starts_with("up{") || s.starts_with("scrape_");
    let lines = world.values("").into_iter().filter(|(s, _)| !is_report(s));
    // The second scrape hangs, so that only its beginning can have ended series.
    let lines = lines.map(|(s, v)| format!("{s} {v}")).collect();
    (world, lines)
}

#[tokio::test(start_paused = true)]
async fn labels_come_out_as_the_reference_makes_them() {
    let honor = |honor_labels| JobConfig { honor_labels, ..job("j") };
    let own = r#"instance="h:1", job="j""#;
    let cases: Vec<(bool, &str, Vec<String>)> = vec![
        (false, "a 1\n", vec![format!("a{{{own}}} 1")]),
        (true, "a 1\n", vec![format!("a{{{own}}} 1")]),
        (false, "a{job=\"x\"} 1\n", vec![format!("a{{exported_job=\"x\", {own}}} 1")]),
        (true, "a{job=\"x\"} 1\n", vec![r#"a{instance="h:1", job="x"} 1"#.into()]),
        (true, "a{job=\"\"} 1\n", vec![r#"a{instance="h:1"} 1"#.into()]),
        (false, "a{job=\"\"} 1\n", vec![format!("a{{{own}}} 1")]),
        (
            false,
            "a{job=\"x\",exported_job=\"y\"} 1\n",
            vec![format!("a{{exported_exported_job=\"x\", exported_job=\"y\", {own}}} 1")],
        ),
        (
            false,
            "a{job=\"x\",instance=\"z\"} 1\n",
            vec![format!("a{{exported_instance=\"z\", exported_job=\"x\", {own}}} 1")],
        ),
        (false, "a{b=\"\"} 1\n", vec![format!("a{{{own}}} 1")]),
        (false, "a{b=\"x\"} 1\na{b=\"\"} 2\n", vec![format!("a{{b=\"x\", {own}}} 1"), format!("a{{{own}}} 2")]),
        (false, "a{__x=\"1\"} 1\n", vec![format!("a{{__x=\"1\", {own}}} 1")]),
        (false, "{\"a.b\",\"c d\"=\"e\"} 1\n", vec![format!("{{__name__=\"a.b\", \"c d\"=\"e\", {own}}} 1")]),
        (false, "a{b=\"q\\\"\\\\\\n\"} 1\n", vec![format!("a{{b=\"q\\\"\\\\\\n\", {own}}} 1")]),
        (false, "a{job=\"x\",job=\"y\"} 1\n", vec![format!("a{{exported_job=\"x\", {own}}} 1")]),
        (false, "a{b=\"x\",b=\"\"} 1\n", vec![format!("a{{{own}}} 1")]),
        (
            false,
            "a NaN\nb +Inf\nc -Inf\nd 1e3\n",
            vec![
                format!("a{{{own}}} NaN"),
                format!("b{{{own}}} inf"),
                format!("c{{{own}}} -inf"),
                format!("d{{{own}}} 1000"),
            ],
        ),
        // The second of two equal lines is refused, as is the second text of one series.
        (false, "a 1\na 2\n", vec![format!("a{{{own}}} 1")]),
        (false, "a{b=\"1\",c=\"2\"} 1\na{c=\"2\",b=\"1\"} 3\n", vec![format!("a{{b=\"1\", c=\"2\", {own}}} 1")]),
        (
            false,
            "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 1\nh_count 2\n",
            vec![
                format!("h_bucket{{{own}, le=\"+Inf\"}} 2"),
                format!("h_bucket{{{own}, le=\"1.0\"}} 1"),
                format!("h_count{{{own}}} 2"),
                format!("h_sum{{{own}}} 1"),
            ],
        ),
        (false, "# TYPE q summary\nq{quantile=\"0\"} 1\n", vec![format!("q{{{own}, quantile=\"0.0\"}} 1")]),
        (false, "", vec![]),
        (false, "\n\n", vec![]),
    ];
    for (honor_labels, body, expected) in cases {
        let (world, lines) = scrape_once(honor(honor_labels), text(body)).await;
        assert_eq!(lines, expected, "{body:?}, honor_labels {honor_labels}");
        assert!(world.value("up{").starts_with('1'), "{body:?} must be accepted: {:?}", world.status());
    }
}

fn rule(action: Action, source: &[&str], regex: &str, target: &str, replacement: &str) -> RuleConfig {
    RuleConfig {
        action,
        source_labels: source.iter().map(|s| (*s).to_owned()).collect(),
        separator: ";".to_owned(),
        regex: Regex::new(regex).expect("a valid expression"),
        modulus: 0,
        target_label: target.to_owned(),
        replacement: replacement.to_owned(),
        name_validation: NameValidation::Utf8,
    }
}

#[tokio::test(start_paused = true)]
async fn label_rules_of_samples_apply_after_the_target_labels() {
    let own = r#"instance="h:1", job="j""#;
    let drop_a = || rule(Action::Drop, &["__name__"], "a", "", "");
    let cases: Vec<(Vec<RuleConfig>, &str, Vec<String>)> = vec![
        (vec![drop_a()], "a 1\nb 2\n", vec![format!("b{{{own}}} 2")]),
        (vec![rule(Action::Drop, &["job"], "j", "", "")], "a 1\nb 2\n", vec![]),
        (
            vec![rule(Action::Replace, &["job"], "(.*)", "x", "$1-$1")],
            "a 1\n",
            vec![format!("a{{{own}, x=\"j-j\"}} 1")],
        ),
        (vec![rule(Action::LabelDrop, &[], "job|instance", "", "")], "a{b=\"c\"} 1\n", vec!["a{b=\"c\"} 1".into()]),
        // A name that appears twice does no harm if a rule takes it away.
        (vec![rule(Action::LabelDrop, &[], "b", "", "")], "a{b=\"1\",b=\"2\"} 1\n", vec![format!("a{{{own}}} 1")]),
        (vec![drop_a()], "a{b=\"1\",b=\"2\"} 1\nb 2\n", vec![format!("b{{{own}}} 2")]),
        // Two series that become one: the first sample stays.
        (
            vec![rule(Action::LabelDrop, &[], "n", "", "")],
            "a{n=\"1\"} 1\na{n=\"2\"} 2\n",
            vec![format!("a{{{own}}} 1")],
        ),
        (vec![rule(Action::Replace, &["__name__"], "a", "__name__", "z")], "a 1\n", vec![format!("z{{{own}}} 1")]),
    ];
    for (metric_relabel, body, expected) in cases {
        let asked = format!("{metric_relabel:?} {body:?}");
        let (world, lines) = scrape_once(JobConfig { metric_relabel, ..job("j") }, text(body)).await;
        assert_eq!(lines, expected, "{asked}: {:?}", world.status());
        assert!(world.value("up{").starts_with('1'), "{asked}");
        assert!(world.value("scrape_samples_scraped").starts_with(char::is_numeric), "the report is not relabelled");
    }
    let no_name = rule(Action::Replace, &[], "(.*)", "__name__", "");
    let (world, _) = scrape_once(JobConfig { metric_relabel: vec![no_name], ..job("j") }, text("a 1\n")).await;
    assert_eq!(world.status().last_error, "missing metric name (__name__ label)");
}

#[tokio::test(start_paused = true)]
async fn label_rules_of_targets_drop_and_rename_them() {
    let world = World::new(vec![text("a 1\n")]);
    let relabel = vec![
        rule(Action::Drop, &["__address__"], "drop.*", "", ""),
        rule(Action::Replace, &["__address__"], "slash:1", "__address__", "http://bad"),
        rule(Action::Replace, &["__address__"], "(h):1", "instance", "named-$1"),
        rule(Action::Replace, &["__address__"], "fast:1", "__scrape_interval__", "1s"),
        rule(Action::Replace, &["__address__"], "h:1", "__param_x", "y"),
    ];
    world.manager.apply(vec![JobConfig { relabel, keep_dropped_targets: Some(1), ..job("j") }]).expect("valid");
    world.manager.sync("j", group(&["h:1", "drop:1", "drop:2", "slash:1", "fast:1"]));
    let active = world.manager.active(None);
    assert_eq!(active.len(), 1, "the others are dropped or make no target");
    assert_eq!(active[0].labels.to_string(), r#"{instance="named-h", job="j"}"#);
    assert_eq!(active[0].scrape_url, "http://h:1/metrics?x=y");
    assert_eq!(world.manager.dropped(None).len(), 1, "as many as may be kept");
    assert_eq!(world.manager.dropped_counts(), [("j".to_owned(), 2)]);
    let mut metrics = String::new();
    world.registry.write_text(&mut metrics);
    // A URL for an address, and a timeout of 5 s over an interval of 1 s.
    assert!(metrics.contains("watershed_target_sync_failed_total{scrape_job=\"j\"} 2"), "{metrics}");
}

/// The warnings that are logged, each with its fields.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        tracing::subscriber::set_default(tracing_subscriber::registry().with(self.clone()))
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().clone()
    }
}

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Told {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        if *event.metadata().level() == tracing::Level::WARN {
            let mut text = String::new();
            event.record(&mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
                text.push_str(&format!("{}={value:?} ", field.name()));
            });
            self.0.lock().push(text);
        }
    }
}

/// Counts the errors that are logged.
struct Errors(Arc<AtomicUsize>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Errors {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        let is_error = *event.metadata().level() == tracing::Level::ERROR;
        self.0.fetch_add(usize::from(is_error), Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn targets_that_are_none_do_not_flood_the_log() {
    let errors = Arc::<AtomicUsize>::default();
    let log = tracing_subscriber::registry().with(Errors(errors.clone()));
    let world = World::new(vec![text("a 1\n")]);
    world.manager.apply(vec![job("j")]).expect("valid");
    let bad: Vec<String> = (0..1000).map(|i| format!("h/{i}")).collect();
    let bad: Vec<&str> = bad.iter().map(String::as_str).collect();
    tracing::subscriber::with_default(log, || world.manager.sync("j", group(&bad)));
    assert_eq!(errors.load(Ordering::Relaxed), 11, "ten of them, and how many more there are");
    let mut metrics = String::new();
    world.registry.write_text(&mut metrics);
    assert!(metrics.contains("watershed_target_sync_failed_total{scrape_job=\"j\"} 1000"), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_cannot_be_kept_whole_is_not_kept_at_all() {
    let plain = job("j");
    let limit = |n| JobConfig { sample_limit: Some(n), ..job("j") };
    let cases: Vec<(JobConfig, Answer, &str)> = vec![
        (plain.clone(), text("a 1\nb x\n"), "line 2, byte 6: parsing number"),
        (plain.clone(), text("a{b=\"1\",b=\"2\"} 1\n"), "label name \"b\" is not unique: invalid sample"),
        (plain.clone(), text("a{__name__=\"b\"} 1\n"), "label name \"__name__\" is not unique: invalid sample"),
        (plain.clone(), text("{\"\",b=\"x\"} 1\n"), "missing metric name (__name__ label)"),
        (plain.clone(), text("{\"a\",\"\"=\"x\"} 1\n"), "invalid metric name or label names: "),
        (
            JobConfig { name_validation: NameValidation::Legacy, ..plain.clone() },
            text("{\"a.b\"} 1\n"),
            "invalid metric name or label names: {__name__=\"a.b\"",
        ),
        (limit(2), text("a 1\nb 2\nc 3\n"), "sample limit exceeded"),
        (
            JobConfig { label_limit: Some(3), ..plain.clone() },
            text("a{b=\"1\"} 1\n"),
            "label_limit exceeded (metric: a, number of labels: 4, limit: 3)",
        ),
        (
            JobConfig { label_name_length_limit: Some(8), ..plain.clone() },
            text("a{bcdefghijk=\"1\"} 1\n"),
            "label_name_length_limit exceeded (metric: a, label name: bcdefghijk, length: 10, limit: 8)",
        ),
        (
            JobConfig { label_value_length_limit: Some(5), ..plain.clone() },
            text("a{b=\"123456\"} 1\n"),
            "label_value_length_limit exceeded (metric: a, label name: b, value: \"123456\", length: 6, limit: 5)",
        ),
        (plain.clone(), Answer::Body(OPENMETRICS, "a 1\n".into()), "line 2, byte 4: data does not end with # EOF"),
        (plain.clone(), Answer::Body("", "a 1\n".into()), "non-compliant scrape target sending blank Content-Type"),
        (plain.clone(), Answer::Body("text/html", "a 1\n".into()), "received unsupported Content-Type"),
        (
            plain.clone(),
            Answer::Body("application/vnd.google.protobuf", "x".into()),
            "message at byte 0: the message is cut off in field 0",
        ),
        (plain.clone(), Answer::Fail(FetchError::BodySizeLimit), "body size limit exceeded"),
        (plain.clone(), Answer::Fail(FetchError::Status("404 Not Found".into())), "server returned HTTP status 404"),
        (plain.clone(), Answer::Hang, "scrape timeout of 5s exceeded"),
    ];
    for (job, answer, error) in cases {
        let asked = format!("{answer:?}");
        let (world, lines) = scrape_once(job, answer).await;
        // Long enough for the timeout, wherever in the interval the scrape began.
        world.pass(5).await;
        assert_eq!(lines, Vec::<String>::new(), "{asked}");
        assert!(world.value("up{").starts_with('0'), "{asked}");
        let status = world.status();
        assert_eq!(status.health, TargetHealth::Down, "{asked}");
        assert!(status.last_error.starts_with(error), "{asked}: {}", status.last_error);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_in_bounded_space_whatever_the_target_said() {
    let (long, wide) = ("x".repeat(2_000_000), "\u{e9}".repeat(1_000_000));
    let legacy = JobConfig { name_validation: NameValidation::Legacy, ..job("j") };
    for (job, answer) in [
        (job("j"), text(&format!("a {long}\n"))),
        (job("j"), text(&format!("# TYPE a {long}\n"))),
        (job("j"), text(&format!("a{{{long}=\"1\",{long}=\"2\"}} 1\n"))),
        (legacy, text(&format!("{{\"a.b\",c=\"{wide}\"}} 1\n"))),
        (job("j"), Answer::Fail(FetchError::Transfer(wide.clone()))),
        (job("j"), Answer::Body(long.clone().leak(), "a 1\n".into())),
    ] {
        let (world, _) = scrape_once(job, answer).await;
        let status = world.status();
        assert_eq!(status.health, TargetHealth::Down);
        assert!((10..=1010).contains(&status.last_error.len()), "{} bytes", status.last_error.len());
    }
}

#[tokio::test(start_paused = true)]
async fn limits_that_are_just_kept_and_fallbacks_let_a_body_pass() {
    let cases = vec![
        (JobConfig { sample_limit: Some(2), ..job("j") }, text("a 1\nb 2\n")),
        (JobConfig { label_limit: Some(3), ..job("j") }, text("a 1\nb 2\n")),
        (JobConfig { label_name_length_limit: Some(8), ..job("j") }, text("a 1\nb 2\n")),
        (
            JobConfig { fallback_protocol: Some(ScrapeProtocol::PrometheusText004), ..job("j") },
            Answer::Body("text/html", "a 1\nb 2\n".into()),
        ),
        (
            JobConfig { fallback_protocol: Some(ScrapeProtocol::OpenMetricsText100), ..job("j") },
            Answer::Body("", "a 1\nb 2\n# EOF\n".into()),
        ),
        (job("j"), Answer::Body(OPENMETRICS, "a 1 # {x=\"y\"} 2\nb 2\n# EOF\n".into())),
    ];
    for (job, answer) in cases {
        let asked = format!("{answer:?}");
        let (world, lines) = scrape_once(job, answer).await;
        assert_eq!(lines.len(), 2, "{asked}: {:?}", world.status());
        assert!(world.value("scrape_samples_scraped").starts_with('2'));
        assert!(world.value("scrape_series_added").starts_with('2'));
    }
}

#[tokio::test(start_paused = true)]
async fn series_end_when_they_are_gone_and_when_the_scrape_fails() {
    let world = World::new(vec![
        text("a 1\nb 1\nc 1\n"),
        text("a 2\nc 2\n"),
        text("a 3\nb 3\nc 3\n"),
        Answer::Fail(FetchError::Transfer("connection refused".into())),
        Answer::Fail(FetchError::Transfer("connection refused".into())),
        text("a 6\n"),
        text(""),
        text("a 8\n"),
    ]);
    world.manager.apply(vec![job("j")]).expect("valid");
    world.manager.sync("j", group(&["h:1"]));
    world.pass(80).await;
    assert_eq!(world.value("a{"), "1 2 3 stale 6 stale 8");
    assert_eq!(world.value("b{"), "1 stale 3 stale");
    assert_eq!(world.value("c{"), "1 2 3 stale");
    assert_eq!(world.value("up{"), "1 1 1 0 0 1 1 1");
    assert_eq!(world.value("scrape_samples_scraped"), "3 2 3 0 0 1 0 1");
    assert_eq!(world.value("scrape_samples_post_metric_relabeling"), "3 2 3 0 0 1 0 1");
    // A series that was away counts as added again; a failed scrape in between changes nothing.
    assert_eq!(world.value("scrape_series_added"), "3 0 1 0 0 0 0 0");
    let times: Vec<i64> = world.store.dump().values().next().expect("a").iter().map(|s| s.t.0).collect();
    assert!(times.windows(2).all(|w| (w[1] - w[0]) % 10_000 == 0), "timestamps are aligned: {times:?}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_half_way_ends_only_what_it_did_not_show_before() {
    let world = World::new(vec![text("a 1\nb 1\n"), text("a 2\nb x\n"), text("a 3\nb 3\n")]);
    world.manager.apply(vec![job("j")]).expect("valid");
    world.manager.sync("j", group(&["h:1"]));
    world.pass(30).await;
    assert_eq!(world.value("a{"), "1 3");
    assert_eq!(world.value("b{"), "1 stale 3");
    assert_eq!(world.value("scrape_samples_scraped"), "2 1 2");
}

#[tokio::test(start_paused = true)]
async fn own_timestamps_keep_series_from_ending_unless_tracked() {
    for (track, honor, expected) in [(false, true, "1"), (true, true, "1 stale"), (false, false, "1 stale")] {
        let own = START - 1000;
        let world = World::new(vec![text(&format!("a 1 {own}\n")), text("b 1\n")]);
        let config = JobConfig { track_timestamps_staleness: track, honor_timestamps: honor, ..job("j") };
        world.manager.apply(vec![config]).expect("valid");
        world.manager.sync("j", group(&["h:1"]));
        world.pass(20).await;
        assert_eq!(world.value("a{"), expected, "track {track}, honor {honor}");
        let first = world.store.dump().into_iter().next().expect("a").1[0].clone();
        assert_eq!(first.t.0 == own, honor);
    }
}

#[tokio::test(start_paused = true)]
async fn samples_far_in_the_future_are_refused_and_counted() {
    let (far, near) = (START + 11 * 60_000 + 20_000, START + 9 * 60_000);
    let (world, lines) = scrape_once(job("j"), text(&format!("a 1 {far}\nb 1 {near}\n"))).await;
    assert_eq!(lines, [r#"b{instance="h:1", job="j"} 1"#]);
    assert!(world.value("scrape_samples_post_metric_relabeling").starts_with('2'));
    assert!(world.value("scrape_series_added").starts_with('1'));
    let mut metrics = String::new();
    world.registry.write_text(&mut metrics);
    let line = r#"watershed_scrape_samples_refused_total{scrape_job="j",reason="too_far_in_future"} 1"#;
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn a_new_line_that_the_store_refuses_stays_new() {
    // After a restart the store knows a newer sample than the one that the target still shows, and the cache knows no
    // line. Each scrape whose sample is refused adds no series; the first that is kept does, also if the line had been
    // there long before.
    let (old, new) = (START - 30_000, START - 20_000);
    let (refused, kept) = (text(&format!("a 1 {old}\n")), text(&format!("a 1 {new}\n")));
    let world = World::new(vec![
        refused.clone(),
        refused.clone(),
        kept.clone(),
        kept,
        text("b 1\n"),
        refused.clone(),
        refused,
        text("b 1\n"),
    ]);
    let mut appender = world.store.appender();
    let series = appender.series(&Labels::from_pairs([("__name__", "a"), ("instance", "h:1"), ("job", "j")]));
    let newest = FloatSample { series: series.expect("a series"), t: TimestampMs(START - 25_000), v: 7.0 };
    appender.append(&[newest]).expect("the store takes it");
    appender.commit().expect("the store takes it");
    world.manager.apply(vec![job("j")]).expect("valid");
    world.manager.sync("j", group(&["h:1"]));
    world.pass(80).await;
    assert_eq!(world.value("a{"), "7 1");
    assert_eq!(world.value("scrape_series_added"), "0 0 1 0 1 0 0 1");
    assert_eq!(world.value("scrape_samples_post_metric_relabeling"), "1 1 1 1 1 1 1 1");
    let metrics = world.metrics();
    let line = r#"watershed_scrape_samples_refused_total{scrape_job="j",reason="out_of_order"} 4"#;
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn an_end_that_comes_too_late_is_no_refused_sample() {
    // The first line is tracked, the second shows the same series ahead of the scrape, so that its end is refused.
    let ahead = START + 60_000;
    let world = World::new(vec![text("a 1\nb 1\n"), text(&format!("a 2 {ahead}\nb 2\n")), text("b 3\n")]);
    world.manager.apply(vec![job("j")]).expect("valid");
    world.manager.sync("j", group(&["h:1"]));
    let warnings = Told::default();
    let _log = warnings.listen();
    world.pass(30).await;
    assert_eq!(world.value("a{"), "1 2");
    assert_eq!(world.value("b{"), "1 2 3");
    let metrics = world.metrics();
    let line = r#"watershed_scrape_samples_refused_total{scrape_job="j",reason="out_of_order"} 0"#;
    assert!(metrics.contains(line), "{metrics}");
    assert_eq!(warnings.all(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_target_whose_clock_is_wrong_is_told_about_now_and_then() {
    let at = |offset_s: i64| text(&format!("a 1 {}\nb 1 {}\n", START + offset_s * 1000, START - 9_000_000));
    for (offset_s, sentence) in [(-3600, "behind"), (3600, "ahead"), (-200, "")] {
        let world = World::new(vec![at(offset_s), text("c 1\n")]);
        let warnings = Told::default();
        let _log = warnings.listen();
        world.manager.apply(vec![JobConfig { interval: DurationMs::from_secs(5), ..job("j") }]).expect("valid");
        world.manager.sync("j", group(&["h:1"]));
        world.pass(10).await;
        let told: Vec<String> = warnings.all().into_iter().filter(|w| w.contains("clock")).collect();
        assert_eq!(told.len(), usize::from(!sentence.is_empty()), "{offset_s}: {told:?}");
        assert!(told.iter().all(|w| w.contains(sentence) && w.contains("http://h:1/metrics")), "{told:?}");
        let metrics = world.metrics();
        let line = metrics.lines().find(|l| l.starts_with("watershed_scrape_newest_sample_age_seconds{"));
        let (name, age) = line.and_then(|l| l.rsplit_once(' ')).expect("the age is told");
        assert_eq!(name, r#"watershed_scrape_newest_sample_age_seconds{scrape_job="j"}"#);
        // Of the newest sample, when the first scrape came somewhere within its interval.
        let age: f64 = age.parse().expect("a number");
        assert!((0.0..6.0).contains(&(age + offset_s as f64)), "{offset_s}: {age}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_is_told_as_samples_out_of_order() {
    let world = World::new((0..40).map(|i| text(&format!("a {i}\na {i}\n"))).collect());
    let warnings = Told::default();
    let _log = warnings.listen();
    world.manager.apply(vec![job("j")]).expect("valid");
    world.manager.sync("j", group(&["h:1"]));
    world.pass(20).await;
    assert_eq!(warnings.all().len(), 1, "the line that comes twice: {:?}", warnings.all());
    world.clock_set.set(-3_600_000);
    world.pass(90).await;
    assert_eq!(world.value("a{"), "0 1");
    let metrics = world.metrics();
    let refused = |reason: &str| {
        let start = format!(r#"watershed_scrape_samples_refused_total{{scrape_job="j",reason="{reason}"}} "#);
        let line = metrics.lines().find_map(|l| l.strip_prefix(&start)).expect("it is counted");
        line.parse::<u64>().expect("a number")
    };
    assert!(refused("out_of_order") >= 9, "{metrics}");
    assert_eq!(refused("duplicate_timestamp"), 0, "{metrics}");
    assert_eq!(warnings.all().len(), 2, "and again, although less time seems to have passed: {:?}", warnings.all());
}

#[tokio::test(start_paused = true)]
async fn a_wrong_clock_is_told_again_after_ten_minutes_and_an_absent_one_never() {
    let world = World::new(vec![text(&format!("a 1 {}\n", START - 3_600_000))]);
    world.answers("plain:1", vec![text("a 1\n")]);
    let warnings = Told::default();
    let _log = warnings.listen();
    world.manager.apply(vec![job("j"), job("plain")]).expect("valid");
    world.manager.sync("j", group(&["h:1"]));
    world.manager.sync("plain", group(&["plain:1"]));
    world.pass(500).await;
    assert_eq!(warnings.all().len(), 1, "{:?}", warnings.all());
    world.pass(200).await;
    assert_eq!(warnings.all().len(), 2, "{:?}", warnings.all());
    let metrics = world.metrics();
    assert_eq!(metrics.matches("watershed_scrape_newest_sample_age_seconds{").count(), 1, "{metrics}");
    world.manager.apply(vec![job("plain")]).expect("valid");
    assert!(!world.metrics().contains("watershed_scrape_newest_sample_age_seconds{"), "it goes with the job");
}

#[tokio::test(start_paused = true)]
async fn a_target_that_goes_away_ends_its_series_after_two_intervals_and_a_bit() {
    let world = World::new(vec![text("a 1\n")]);
    world.manager.apply(vec![job("j")]).expect("valid");
    world.manager.sync("j", group(&["h:1"]));
    world.pass(15).await;
    world.manager.sync("j", Vec::new());
    world.pass(10).await;
    let before = world.value("a{");
    assert!(!before.contains("stale"), "too early: {before}");
    world.pass(12).await;
    assert!(world.value("a{").ends_with(" stale"), "{}", world.value("a{"));
    assert!(world.value("up{").ends_with(" stale"));
    assert!(world.value("scrape_duration_seconds").ends_with(" stale"));
}

#[tokio::test(start_paused = true)]
async fn a_target_that_comes_back_in_time_does_not_end() {
    let world = World::new(vec![text("a 1\n")]);
    world.manager.apply(vec![job("j")]).expect("valid");
    world.manager.sync("j", group(&["h:1"]));
    world.pass(15).await;
    world.manager.sync("j", Vec::new());
    world.pass(2).await;
    world.manager.sync("j", group(&["h:1"]));
    world.pass(60).await;
    assert!(!world.value("a{").contains("stale"), "{}", world.value("a{"));
    assert!(!world.value("up{").contains("stale"));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_no_series_and_cuts_what_hangs() {
    let world = World::new(vec![text("a 1\n"), Answer::Hang]);
    world.manager.apply(vec![JobConfig { timeout: DurationMs::from_secs(10), ..job("j") }]).expect("valid");
    world.manager.sync("j", group(&["h:1"]));
    world.pass(15).await;
    assert!(world.manager.shutdown(Duration::from_secs(1)).await);
    world.pass(60).await;
    assert!(!world.value("up{").contains("stale"));
}

#[tokio::test(start_paused = true)]
async fn a_reload_leaves_unchanged_jobs_alone_and_hands_caches_on() {
    let world = World::new(vec![text("a 1\nb 1\n")]);
    world.manager.apply(vec![job("same"), job("changed"), job("gone")]).expect("valid");
    for name in ["same", "changed", "gone"] {
        world.manager.sync(name, group(&["h:1"]));
    }
    world.pass(15).await;
    let changed = JobConfig { sample_limit: Some(100), fingerprint: "other".into(), ..job("changed") };
    world.manager.apply(vec![job("same"), changed]).expect("valid");
    assert_eq!(world.manager.pools(), ["changed", "same"]);
    world.pass(40).await;
    for name in ["same", "changed"] {
        let added = world.values("scrape_series_added").into_iter().find(|(s, _)| s.contains(name)).expect("there").1;
        assert!(added.starts_with("2 0"), "{name}: {added}");
        assert!(added.len() > 8, "{name} goes on: {added}");
        assert_eq!(added.matches('2').count(), 1, "{name} kept its cache: {added}");
        let values = world.values("a{").into_iter().find(|(s, _)| s.contains(name)).expect("there").1;
        assert!(!values.contains("stale"), "{name}: {values}");
    }
    let gone = world.values("a{").into_iter().find(|(s, _)| s.contains("gone")).expect("there").1;
    assert!(gone.ends_with("stale"), "{gone}");
    let mut metrics = String::new();
    world.registry.write_text(&mut metrics);
    assert!(!metrics.contains("scrape_job=\"gone\""), "the metrics of a job go with it");
}

#[tokio::test(start_paused = true)]
async fn too_many_targets_fail_all_of_them() {
    let world = World::new(vec![text("a 1\n")]);
    world.manager.apply(vec![JobConfig { target_limit: Some(1), ..job("j") }]).expect("valid");
    world.manager.sync("j", group(&["h:1", "h:2", "h:1"]));
    world.pass(11).await;
    assert!(world.values("up{").values().all(|v| v.starts_with('0')));
    for status in world.manager.active(Some("j")) {
        assert_eq!(status.last_error, "target_limit exceeded (number of targets: 2, limit: 1)");
    }
    assert!(world.script.asked.lock().is_empty(), "nobody is asked");
    world.manager.sync("j", group(&["h:1"]));
    world.pass(11).await;
    assert!(world.value(r#"up{instance="h:1""#).ends_with('1'));
}

#[tokio::test(start_paused = true)]
async fn one_slow_target_does_not_delay_another() {
    let world = World::new(vec![text("a 1\n")]);
    world.answers("slow:1", vec![Answer::Hang]);
    world.manager.apply(vec![job("j")]).expect("valid");
    world.manager.sync("j", group(&["slow:1", "h:1"]));
    world.pass(60).await;
    assert_eq!(world.value(r#"up{instance="h:1""#).matches('1').count(), 6);
    assert_eq!(
        world.value(r#"up{instance="slow:1""#),
        "0 0 0 0 0 0".get(..world.value(r#"up{instance="slow:1""#).len()).unwrap_or("")
    );
}

#[tokio::test(start_paused = true)]
async fn series_that_the_store_forgot_are_named_again() {
    let world = World::new(vec![
        text("a 1\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\n"),
        text("a 2\n# TYPE h histogram\nh_bucket{le=\"1\"} 2\n"),
    ]);
    world.manager.apply(vec![job("j")]).expect("valid");
    world.manager.sync("j", group(&["h:1"]));
    world.pass(11).await;
    world.store.drop_before(TimestampMs::MAX);
    world.pass(10).await;
    assert!(world.value("a{").starts_with('2'));
    assert!(world.value("up{").starts_with('1'));
    assert!(world.value("h_bucket{").starts_with('2'));
    assert!(world.values("h_bucket{").keys().all(|s| s.contains("le=\"1.0\"")));
}

#[tokio::test(start_paused = true)]
async fn extra_metrics_tell_timeout_limit_and_size() {
    let config = JobConfig { extra_scrape_metrics: true, sample_limit: Some(9), ..job("j") };
    let world = World::new(vec![
        text("a 1\n"),
        Answer::Fail(FetchError::BodySizeLimit),
        Answer::Fail(FetchError::Transfer("x".into())),
    ]);
    world.manager.apply(vec![config]).expect("valid");
    world.manager.sync("j", group(&["h:1"]));
    world.pass(30).await;
    assert_eq!(world.value("scrape_timeout_seconds"), "5 5 5");
    assert_eq!(world.value("scrape_sample_limit"), "9 9 9");
    assert_eq!(world.value("scrape_body_size_bytes"), "4 -1 0");
}

#[tokio::test(start_paused = true)]
async fn metadata_is_told_per_target_and_outlives_its_lines_for_a_while() {
    let mut answers = vec![
        Answer::Body(
            OPENMETRICS,
            "# HELP a_s what \\\"a\\\" is\n# TYPE a_s gauge\n# UNIT a_s s\na_s 1\n# EOF\n".into()
        );
        3
    ];
    answers.push(text("# TYPE b counter\nb 1\n"));
    let world = World::new(answers);
    world.manager.apply(vec![job("j")]).expect("valid");
    world.manager.sync("j", group(&["h:1"]));
    world.pass(21).await;
    let told = world.manager.metadata(Some("a_s"));
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].metadata.help, "what \"a\" is");
    assert_eq!((told[0].metadata.metric_type, told[0].metadata.unit.as_str()), (MetricType::Gauge, "s"));
    assert_eq!(world.manager.family("a_s").as_ref(), Some(&told[0].metadata));
    assert_eq!(world.manager.family("what \"a\" is"), None, "the help is no family");
    assert_eq!(world.manager.family("b"), None);
    assert_eq!(world.manager.try_family("a_s"), Some(Some(told[0].metadata.clone())));
    world.manager.while_scraped("j", || {
        assert_eq!(world.manager.try_family("a_s"), None, "it would have to wait");
        assert_eq!(world.manager.try_family("b"), Some(None), "nobody tells of it");
    });
    world.pass(60).await;
    assert_eq!(world.manager.metadata(None).len(), 2, "still remembered");
    world.pass(120).await;
    assert_eq!(world.manager.metadata(None).len(), 1, "forgotten");
    assert_eq!(world.manager.metadata(Some("b"))[0].metadata.metric_type, MetricType::Counter);
    assert_eq!(world.manager.family("a_s"), None);
    assert!(world.manager.family("b").is_some());
}

#[tokio::test(start_paused = true)]
async fn the_target_is_asked_with_its_labels_and_parameters() {
    let config = JobConfig {
        params: vec![("match[]".into(), vec!["{job=\"x y\"}".into(), "b".into()])],
        metrics_path: "/federate".into(),
        ..job("j")
    };
    let world = World::new(vec![text("a 1\n")]);
    world.manager.apply(vec![config]).expect("valid");
    let target = Labels::from_pairs([("__address__", "h:1"), ("__scrape_timeout__", "2s"), ("zone", "z")]);
    let labels = Labels::from_pairs([("zone", "weaker"), ("region", "r"), ("__meta_x", "y")]);
    world.manager.sync("j", vec![TargetGroup { source: "s".into(), targets: vec![target], labels }]);
    world.pass(11).await;
    let asked = world.script.asked.lock()[0].clone();
    assert_eq!(asked.url, "http://h:1/federate?match%5B%5D=%7Bjob%3D%22x+y%22%7D&match%5B%5D=b");
    assert_eq!(asked.timeout_header(), "2");
    let status = world.status();
    assert_eq!(status.labels.to_string(), r#"{instance="h:1", job="j", region="r", zone="z"}"#);
    assert_eq!(status.discovered_labels.get("__meta_x"), Some("y"));
    assert_eq!(status.discovered_labels.get("__param_match[]"), Some("{job=\"x y\"}"));
    assert_eq!((status.health, status.last_samples, status.last_body_bytes), (TargetHealth::Up, 1, 4));
    assert!(world.value("a{").starts_with('1'));
}

#[tokio::test(start_paused = true)]
async fn failures_are_written_to_the_failure_log() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("failures.log");
    let config = JobConfig { failure_log_file: Some(path.clone()), ..job("j") };
    let world = World::new(vec![Answer::Fail(FetchError::Transfer("connection refused".into()))]);
    world.manager.apply(vec![config]).expect("valid");
    world.manager.sync("j", group(&["h:1"]));
    world.pass(11).await;
    let log = std::fs::read_to_string(&path).expect("the log exists");
    let line: serde_json::Value = serde_json::from_str(log.lines().next().expect("a line")).expect("JSON");
    assert_eq!(line["msg"], "connection refused");
    assert_eq!(line["job_name"], "j");
    assert_eq!(line["target"], "http://h:1/metrics");
}

#[tokio::test(start_paused = true)]
async fn a_large_body_takes_the_same_way_over_the_cpu_pool() {
    let body: String = (0..5000).map(|i| format!("metric_with_a_long_name{{number=\"{i}\"}} {i}\n")).collect();
    let world = World::new(vec![text(&body), text(&body), text("")]);
    world.manager.apply(vec![job("j")]).expect("valid");
    world.manager.sync("j", group(&["h:1"]));
    world.pass(30).await;
    let values = world.values("metric_with");
    assert_eq!(values.len(), 5000);
    assert!(values.values().all(|v| v.ends_with(" stale") && v.matches(' ').count() == 2), "two samples and the end");
    assert_eq!(world.value("scrape_series_added"), "5000 0 0");
}

#[tokio::test(start_paused = true)]
async fn exemplars_reach_the_store_with_their_series_and_the_time_of_their_sample() {
    let body = |n: u32| {
        let text = format!("# TYPE c counter\nc_total {n} # {{trace_id=\"t{n}\"}} 0.5\nc_other 1\n# EOF\n");
        Answer::Body(OPENMETRICS, text)
    };
    let world = World::new(vec![body(1), body(2), body(3)]);
    world.manager.apply(vec![job("j")]).expect("valid");
    world.manager.sync("j", group(&["h:1"]));
    world.pass(15).await;
    // The next reference that the scrape knows is one that the store has forgotten.
    world.store.drop_before(TimestampMs::MAX);
    world.pass(15).await;
    let found = world.store.exemplars();
    let traces: Vec<_> = found.iter().map(|(_, _, e)| e.labels.get("trace_id").expect("a trace")).collect();
    assert_eq!(traces, ["t1", "t2", "t3"]);
    assert!(found.iter().all(|(series, ..)| series.metric_name() == Some("c_total")));
    assert!(found.windows(2).all(|w| w[1].1.0 - w[0].1.0 == 10_000 && w[1].2.t.is_none()));
}
