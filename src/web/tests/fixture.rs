//! A server without the rest of the program.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use hyper::service::Service as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cluster::{self, FederationConfig, Frontend, Member, MemberMetrics, Source};
use crate::model::{DurationMs, Exemplar, Labels, Metadata, MetricType, TimestampMs};
use crate::promql::service::{self, Limits, Service};
use crate::promql::{Engine, EngineOptions, ParserOptions};
use crate::runtime::{Clock, CpuPool, Tasks};
use crate::scrape::{DroppedTarget, JobConfig, TargetHealth, TargetMetadata, TargetSource, TargetStatus};
use crate::storage::memory::MemoryStore;
use crate::storage::{Appendable as _, FloatSample, Queryable};
use crate::telemetry::Registry;
use crate::web::api::v1::{Desk, Reads};
use crate::web::route_list::HttpService;
use crate::web::routes::{Web, routes};
use crate::web::server::remote_write;
use crate::web::stream::Streams;
use crate::web::telemetry::WebMetrics;
use crate::web::{
    BuildInfo, Deps, ExternalUrl, Notifications, Readiness, ReadinessState, ReloadRequest, RoutePrefix, RuntimeFacts,
    Security, Server, WebConfig,
};

/// What the manual clock of every fixture shows: 2023-11-14T22:13:20Z.
pub(in crate::web) const NOW: TimestampMs = TimestampMs(1_700_000_000_000);

/// A cluster of one member, whose samples a store has.
pub(in crate::web) fn local_cluster(name: &str, store: Arc<dyn Queryable>) -> Frontend {
    let member = Member::local(name, &Labels::empty(), MemberMetrics::new(&Registry::new(), name)).expect("a member");
    let source = Source { member: Arc::new(member), reads: cluster::Reads::Local(store) };
    Frontend::new(&FederationConfig::default(), vec![source], Tasks::new()).expect("few labels")
}

/// Builds servers; every part can be replaced before.
pub(in crate::web) struct Fixture {
    pub(in crate::web) config: WebConfig,
    pub(in crate::web) deps: Deps,
    pub(in crate::web) store: Arc<MemoryStore>,
    pub(in crate::web) limits: Limits,
    pub(in crate::web) reloads: mpsc::Receiver<ReloadRequest>,
}

impl Fixture {
    pub(in crate::web) fn new() -> Fixture {
        let store = Arc::new(MemoryStore::new());
        let (reload, reloads) = mpsc::channel(1);
        let readiness = Readiness::new();
        readiness.set(ReadinessState::Ready);
        let (registry, clock) = (Registry::new(), Clock::manual(NOW));
        let notifications = Notifications::new(1, clock.clone(), &registry);
        let deps = Deps {
            security: Security::new(&registry),
            storage: store.clone(),
            local: store.clone(),
            appendable: store.clone(),
            cluster: Arc::default(),
            gateway: None,
            otlp: None,
            queries: queries(store.clone(), &Limits::default(), &registry),
            exemplars: store.clone(),
            admin: store.clone(),
            targets: Arc::new(FakeTargets::default()),
            registry,
            clock,
            pool: CpuPool::inline(),
            external_labels: Arc::new(ArcSwap::from_pointee(Labels::empty())),
            readiness,
            reload,
            quit: CancellationToken::new(),
            config_yaml: Arc::new(|| "global: {}\n".to_owned()),
            flags: Arc::new(BTreeMap::from([("web.listen-address".to_owned(), "0.0.0.0:9090".to_owned())])),
            build: BuildInfo::current(),
            runtime: Arc::new(|| RuntimeFacts {
                reload_succeeded: true,
                config_loaded: Some(TimestampMs(1_699_999_999_000)),
                corruptions: 2,
                storage_retention: "3h".to_owned(),
            }),
            features: Arc::new(vec![("tsdb", "native_histograms", true)]),
            notifications,
            host_metrics: None,
        };
        let url = ExternalUrl::parse("http://home.example:9090/", "").expect("valid");
        Fixture { config: WebConfig::new(url), deps, store, limits: Limits::default(), reloads }
    }

    pub(in crate::web) fn external_url(mut self, url: &str) -> Fixture {
        self.config.external_url = ExternalUrl::parse(url, "").expect("valid");
        self.config.route_prefix = RoutePrefix::new(self.config.external_url.path());
        self
    }

    pub(in crate::web) fn storage(mut self, storage: Arc<dyn Queryable>) -> Fixture {
        self.deps.queries = queries(storage.clone(), &self.limits, &self.deps.registry);
        self.deps.local = storage.clone();
        self.deps.storage = storage;
        self
    }

    pub(in crate::web) fn limits(mut self, limits: Limits) -> Fixture {
        self.deps.queries = queries(self.deps.storage.clone(), &limits, &self.deps.registry);
        self.limits = limits;
        self
    }

    /// Adds samples of one series: its age in seconds and its value.
    pub(in crate::web) fn series(self, labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Fixture {
        let mut appender = self.store.appender();
        let series = appender.series(&Labels::from_pairs(labels.iter().copied())).expect("a store in memory");
        for (age_s, v) in samples {
            let t = NOW - DurationMs::from_secs(*age_s);
            appender.append(&[FloatSample { series, t, v: *v }]).expect("a store in memory");
        }
        appender.commit().expect("a store in memory");
        self
    }

    /// Adds an exemplar of a series, `age_s` seconds old.
    pub(in crate::web) fn exemplar(self, labels: &[(&str, &str)], trace: &str, value: f64, age_s: i64) -> Fixture {
        let mut appender = self.store.appender();
        let series = appender.series(&Labels::from_pairs(labels.iter().copied())).expect("a store in memory");
        let t = NOW - DurationMs::from_secs(age_s);
        appender.append(&[FloatSample { series, t, v: 1.0 }]).expect("a store in memory");
        let exemplar = Exemplar { labels: Labels::from_pairs([("trace_id", trace)]), value, t: Some(t) };
        appender.append_exemplars(series, t, &[exemplar]).expect("a store in memory");
        appender.commit().expect("a store in memory");
        self
    }

    /// Three series of two jobs.
    pub(in crate::web) fn with_series(self) -> Fixture {
        self.series(&[("__name__", "up"), ("instance", "a:1"), ("job", "node")], &[(10, 1.0)])
            .series(&[("__name__", "up"), ("instance", "b:1"), ("job", "db")], &[(60, 0.0)])
            .series(&[("__name__", "load"), ("instance", "a:1"), ("job", "node"), ("my.label", "x")], &[(10, 0.5)])
    }

    pub(in crate::web) fn web(self) -> Arc<Web> {
        let tasks = Tasks::new();
        Arc::new(Web {
            metrics: WebMetrics::new(&self.deps.registry),
            reads: Reads::new(&self.config, &self.deps.registry, &tasks),
            cluster: Desk::new(&self.config, &self.deps.registry, &tasks),
            streams: Streams::new(2, Duration::from_secs(60), tasks).expect("threads"),
            remote_write: remote_write(&self.config, &self.deps),
            own_port: 9090,
            birth: NOW,
            runtime: Handle::current().metrics(),
            config: self.config,
            deps: self.deps,
        })
    }

    /// The routes without sockets.
    pub(in crate::web) fn app(self) -> App {
        let web = self.web();
        App(routes(&web).into_service(&web))
    }

    /// A server on a free port.
    pub(in crate::web) async fn serve(self) -> Running {
        let server = Server::bind(&["127.0.0.1:0".to_owned()], self.config, self.deps.clone()).await;
        let server = server.expect("a free port");
        let address = server.addresses()[0];
        let stop = CancellationToken::new();
        #[expect(clippy::disallowed_methods, reason = "the test itself waits for the server's end")]
        let task = tokio::spawn(server.run(stop.clone()));
        Running { address, stop, task, deps: self.deps }
    }
}

fn queries(storage: Arc<dyn Queryable>, limits: &Limits, registry: &Registry) -> Service {
    let engine = Engine::new(EngineOptions { parser: ParserOptions::ALL, ..EngineOptions::default() });
    let deps = service::Deps { storage, clock: Clock::manual(NOW), registry: registry.clone() };
    Service::new(engine, limits.clone(), deps).expect("threads")
}

/// A running server.
pub(in crate::web) struct Running {
    pub(in crate::web) address: SocketAddr,
    pub(in crate::web) stop: CancellationToken,
    pub(in crate::web) task: JoinHandle<()>,
    pub(in crate::web) deps: Deps,
}

impl Running {
    pub(in crate::web) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("the server listens")
    }

    /// Sends bytes on a connection of their own and reads until the server closes it.
    pub(in crate::web) async fn exchange(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect().await;
        // The server may answer and close before it has taken everything.
        drop(stream.write_all(bytes.as_ref()).await);
        read_all(&mut stream).await
    }

    pub(in crate::web) async fn get(&self, path: &str) -> String {
        self.exchange(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await
    }

    pub(in crate::web) fn metric(&self, line_start: &str) -> f64 {
        let mut text = String::new();
        self.deps.registry.write_text(&mut text);
        let line = text.lines().find(|l| l.starts_with(line_start)).unwrap_or("absent 0");
        line.rsplit_once(' ').expect("a sample").1.parse().expect("a number")
    }
}

/// Reads until the end or a reset.
pub(in crate::web) async fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    drop(stream.read_to_end(&mut bytes).await);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The routes without sockets.
pub(in crate::web) struct App(HttpService);

/// A whole answer.
pub(in crate::web) struct Answered {
    pub(in crate::web) status: StatusCode,
    pub(in crate::web) headers: HeaderMap,
    pub(in crate::web) body: Vec<u8>,
}

impl Answered {
    pub(in crate::web) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    pub(in crate::web) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    pub(in crate::web) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().expect("ASCII"))
    }
}

impl App {
    pub(in crate::web) async fn send(&self, request: Request<Body>) -> Answered {
        let response = self.0.call(request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.expect("a whole body").to_vec();
        Answered { status: parts.status, headers: parts.headers, body }
    }

    /// The status alone: some answers have no end.
    pub(in crate::web) async fn status(&self, request: Request<Body>) -> StatusCode {
        self.0.call(request).await.expect("infallible").status()
    }

    pub(in crate::web) async fn get(&self, path: &str) -> Answered {
        self.method(Method::GET, path).await
    }

    pub(in crate::web) async fn method(&self, method: Method, path: &str) -> Answered {
        let request = Request::builder().method(method).uri(path).body(Body::empty());
        self.send(request.expect("a valid request")).await
    }

    pub(in crate::web) async fn get_gzip(&self, path: &str) -> Answered {
        self.get_encoded(path, "gzip").await
    }

    pub(in crate::web) async fn get_encoded(&self, path: &str, accepted: &str) -> Answered {
        let request = Request::builder().uri(path).header("accept-encoding", accepted).body(Body::empty());
        self.send(request.expect("a valid request")).await
    }

    pub(in crate::web) async fn post_form(&self, path: &str, form: impl Into<String>) -> Answered {
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header("content-type", "application/x-www-form-urlencoded; charset=utf-8")
            .body(Body::from(form.into()));
        self.send(request.expect("a valid request")).await
    }
}

/// Two active targets of two jobs and a dropped one.
#[derive(Default)]
pub(in crate::web) struct FakeTargets {
    /// Whether they are just being scraped.
    pub(in crate::web) are_busy: AtomicBool,
    /// How often somebody did not wait for that.
    pub(in crate::web) avoided: AtomicUsize,
}

impl TargetSource for FakeTargets {
    fn pools(&self) -> Vec<String> {
        vec!["db".to_owned(), "node".to_owned()]
    }

    fn active(&self, pool: Option<&str>) -> Vec<TargetStatus> {
        let target = |job: &str, host: &str| TargetStatus {
            scrape_pool: job.to_owned(),
            discovered_labels: Labels::from_pairs([("__address__", host), ("job", job)]),
            labels: Labels::from_pairs([("instance", host), ("job", job)]),
            scrape_url: format!("http://{host}/metrics"),
            health: TargetHealth::Unknown,
            last_error: String::new(),
            last_scrape: None,
            last_scrape_duration_s: 0.0,
            interval: DurationMs::from_secs(15),
            timeout: DurationMs::from_secs(10),
            last_samples: 0,
            last_body_bytes: 0,
        };
        let db = TargetStatus {
            health: TargetHealth::Down,
            last_error: "<script>alert('x')</script>".to_owned(),
            last_scrape: Some(NOW - DurationMs(1500)),
            last_scrape_duration_s: 0.25,
            ..target("db", "b:1")
        };
        let all = vec![db, target("node", "localhost:9090")];
        all.into_iter().filter(|t| pool.is_none_or(|p| p == t.scrape_pool)).collect()
    }

    fn dropped(&self, pool: Option<&str>) -> Vec<DroppedTarget> {
        let dropped = DroppedTarget {
            scrape_pool: "node".to_owned(),
            discovered_labels: Labels::from_pairs([("__address__", "c:1")]),
        };
        if pool.is_none_or(|p| p == "node") { vec![dropped] } else { Vec::new() }
    }

    fn dropped_counts(&self) -> Vec<(String, u64)> {
        vec![("db".to_owned(), 0), ("node".to_owned(), 7)]
    }

    fn config(&self, _: &str) -> Option<JobConfig> {
        None
    }

    fn metadata(&self, metric: Option<&str>) -> Vec<TargetMetadata> {
        let told = |job: &str, host: &str, metric: &str, help: &str| TargetMetadata {
            target: Labels::from_pairs([("instance", host), ("job", job)]),
            metric: metric.to_owned(),
            metadata: Metadata { metric_type: MetricType::Gauge, unit: String::new(), help: help.to_owned() },
        };
        let all = vec![
            told("db", "b:1", "load", "Load."),
            told("db", "b:1", "size_bytes", "Size."),
            told("node", "a:1", "load", "Load."),
            told("node", "c:1", "load", "Another load."),
        ];
        all.into_iter().filter(|t| metric.is_none_or(|m| m == t.metric)).collect()
    }

    fn try_family(&self, name: &str) -> Option<Option<Metadata>> {
        if self.are_busy.load(Ordering::Relaxed) {
            self.avoided.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.family(name))
    }
}
