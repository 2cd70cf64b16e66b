//! Real servers with data, and a frontend over them.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;

use serde_json::Value as Json;
use tokio::runtime::Runtime;
use url::Url;
use watershed::cluster::{
    CLUSTER, FederationConfig, Frontend, Member, MemberConfig, MemberMetrics, Reads, RemoteSamples, Source, Via,
};
use watershed::disk::RealDisk;
use watershed::model::{Labels, TimestampMs, Value};
use watershed::promql::Span;
use watershed::remote::read::{Deps, Endpoint, EndpointConfig};
use watershed::runtime::{Clock, Tasks};
use watershed::telemetry::Registry;
use watershed::tsdb::{self, Options, Tsdb};

use crate::MEMBERS;
use crate::fuzz::data::{self, Series};
use crate::fuzz::random::Random;
use crate::peer::Connection;
use crate::shown::{self, Shown};
use crate::support::peers::Peers;
use crate::support::process::{Home, Server};
use crate::support::{http, remote_write, wait_for};

const FEATURES: &str = "--enable-feature=promql-experimental-functions,native-histograms";
const LIMIT: std::time::Duration = std::time::Duration::from_secs(60);

/// What a member is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A Prometheus with everything.
    Prometheus,
    /// A Prometheus without native histograms.
    FloatsOnly,
    /// A VictoriaMetrics, without what it cannot hold.
    Victoria,
}

/// Servers of three members.
pub struct Servers {
    /// What all of them hold, with virtual labels.
    pub all: Vec<Series>,
    pub runtime: Runtime,
    servers: Vec<(Home, Server)>,
    /// Which of them are each member's.
    members: Vec<Vec<usize>>,
}

impl Servers {
    /// Starts the members' servers.
    pub fn start(peers: &Peers, seed: u64, kinds: [Kind; 3]) -> Servers {
        let mut out = Servers::none();
        for (number, kind) in kinds.into_iter().enumerate() {
            let mut series = data::series(&mut Random(seed * 10 + number as u64), true);
            series.retain(|series| kind.holds(series));
            if kind == Kind::Victoria {
                series.iter_mut().flat_map(|series| &mut series.samples).for_each(|(_, value)| round(value));
            }
            out.members.push(vec![out.servers.len()]);
            out.servers.push(match kind {
                Kind::Victoria => victoria(peers, &series),
                _ => prometheus(peers, &series),
            });
            out.know(number, series);
        }
        out
    }

    /// Where the members' servers are.
    pub fn addresses(&self) -> impl Iterator<Item = String> {
        self.servers.iter().map(|(home, _)| home.address())
    }

    /// Starts a pair of servers for every member, which have what `share_out` gives them of its series.
    pub fn start_replicas(
        peers: &Peers,
        seed: u64,
        mut share_out: impl FnMut(&[Series]) -> [Vec<Series>; 2],
    ) -> Servers {
        let mut out = Servers::none();
        for number in 0..MEMBERS.len() {
            let series = data::series(&mut Random(seed * 10 + number as u64), true);
            out.members.push(vec![out.servers.len(), out.servers.len() + 1]);
            for share in share_out(&series) {
                out.servers.push(prometheus(peers, &share));
            }
            out.know(number, series);
        }
        out
    }

    fn none() -> Servers {
        let runtime = Runtime::new().expect("a runtime starts");
        Servers { all: Vec::new(), runtime, servers: Vec::new(), members: Vec::new() }
    }

    fn know(&mut self, number: usize, series: Vec<Series>) {
        let (name, region) = MEMBERS[number];
        let virtual_labels: Vec<_> =
            std::iter::once((CLUSTER, name)).chain(region.map(|region| ("region", region))).collect();
        self.all.extend(series.into_iter().map(|s| {
            let labels = Labels::from_pairs(s.labels.iter().chain(virtual_labels.iter().copied()));
            Series { labels, samples: s.samples }
        }));
    }

    /// Starts a Prometheus that holds everything.
    pub fn start_reference(&mut self, peers: &Peers) -> Connection {
        let (home, server) = prometheus(peers, &self.all);
        let connection = Connection::open(&home.address()).expect("the reference takes connections");
        self.servers.push((home, server));
        connection
    }

    /// A frontend over the members.
    pub fn frontend(&self, vias: [Via; 3]) -> Frontend {
        let _entered = self.runtime.enter();
        let sources = MEMBERS.iter().zip(&self.members).zip(vias).map(|(((name, region), servers), via)| {
            let urls: Vec<Url> = servers.iter().map(|at| url(&self.servers[*at].0.address(), "")).collect();
            let mut config = MemberConfig { urls: urls.clone(), ..MemberConfig::new(*name, urls[0].clone()) };
            config.labels = Labels::from_pairs(region.map(|region| ("region", region)));
            config.via = via;
            source(config)
        });
        over(sources.collect())
    }
}

/// A frontend over members.
pub fn over(sources: Vec<Source>) -> Frontend {
    Frontend::new(&FederationConfig::default(), sources, Tasks::new()).expect("few labels")
}

impl Kind {
    fn holds(self, series: &Series) -> bool {
        let is_float = series.samples.iter().all(|(_, value)| matches!(value, Value::Float(_)));
        match self {
            Kind::Prometheus => true,
            Kind::FloatsOnly => is_float,
            // It keeps neither NaN nor the digits of numbers beside others that are far greater.
            Kind::Victoria => is_float && series.labels.metric_name() != Some("awkward"),
        }
    }
}

/// It keeps about fifteen digits, fewer than a float has.
fn round(value: &mut Value) {
    if let Value::Float(v) = value
        && !v.is_nan()
    {
        *v = (*v * 1000.0).round() / 1000.0;
    }
}

pub fn url(address: &str, path: &str) -> Url {
    Url::parse(&format!("http://{address}{path}")).expect("a URL")
}

/// A member as it is configured.
pub fn source(config: MemberConfig) -> Source {
    let registry = Registry::new();
    let endpoints = config.urls.iter().map(|url| {
        let mut url = url.clone();
        url.set_path("/api/v1/read");
        let read = EndpointConfig { name: config.name.clone(), read_recent: true, ..EndpointConfig::new(url) };
        let local_start = Arc::new(|| TimestampMs(0));
        let deps = Deps { registry: registry.clone(), tasks: Tasks::new(), local_start };
        Box::new(Endpoint::new(read, deps).expect("an endpoint")) as Box<dyn RemoteSamples>
    });
    let reads = Reads::Remote(endpoints.collect());
    let metrics = MemberMetrics::new(&registry, &config.name);
    Source { member: Arc::new(Member::new(config, 3, 16, metrics).expect("a member")), reads }
}

/// A Prometheus with data.
pub fn prometheus(peers: &Peers, series: &[Series]) -> (Home, Server) {
    prometheus_with(peers, series, &[])
}

/// A Prometheus with data and further flags.
pub fn prometheus_with(peers: &Peers, series: &[Series], flags: &[&str]) -> (Home, Server) {
    let home = Home::new();
    let deps = tsdb::Deps {
        disk: Arc::new(RealDisk),
        clock: Clock::manual(TimestampMs(data::END)),
        registry: Registry::new(),
    };
    let store = Tsdb::open(&home.data_path(), Options::default(), deps).expect("the store opens").0;
    data::write(series, &store);
    store.close().expect("the store closes");
    home.write_config("global: {scrape_interval: 1m, external_labels: {site: outside}}\n");
    let flags = [&[FEATURES, "--storage.tsdb.retention.time=100y"], flags].concat();
    let server = home.prometheus(peers, &flags);
    (home, server)
}

/// A VictoriaMetrics with data.
fn victoria(peers: &Peers, series: &[Series]) -> (Home, Server) {
    let home = Home::new();
    let mut command = Command::new(peers.path("victoria-metrics"));
    command
        .arg(format!("-storageDataPath={}", home.data_path().display()))
        .arg(format!("-httpListenAddr={}", home.address()))
        .args(["-retentionPeriod=100y", "-loggerLevel=ERROR"]);
    let log = home.path().join("victoria.log");
    let server = Server::spawn("victoria-metrics", command, home.port, &log).wait_ready("/health");
    let sent: Vec<remote_write::Series> = series.iter().map(as_sent).collect();
    let samples: usize = series.iter().map(|s| s.samples.len()).sum();
    for some in sent.chunks(50) {
        remote_write::send(&server.url, some).expect("it takes samples");
    }
    wait_for("all samples to be found", LIMIT, || {
        http::get(&format!("{}/internal/force_flush", server.url)).map_err(|e| e.to_string())?;
        let all = http::url(&server.url, "/api/v1/export", &[("match[]", "{__name__!=\"\"}"), ("start", "0")]);
        let found: usize = http::get_text(&all)
            .map_err(|e| e.to_string())?
            .lines()
            .map(|line| serde_json::from_str::<Json>(line).expect("JSON")["values"].as_array().map_or(0, Vec::len))
            .sum();
        if found == samples { Ok(()) } else { Err(format!("{found} of {samples}")) }
    });
    (home, server)
}

fn as_sent(series: &Series) -> remote_write::Series {
    let labels = series.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let samples = series.samples.iter().map(|(t, value)| match value {
        Value::Float(v) => (*t, remote_write::Value::Float(*v)),
        other => panic!("only floats are sent, and no {other:?}"),
    });
    remote_write::Series { labels, samples: samples.collect() }
}

/// What a real server says.
pub fn ask(server: &mut Connection, text: &str, span: Span) -> Shown {
    shown::of_json(&reply(server, text, span))
}

/// The labels of what a real server says, in their order.
pub fn order(server: &mut Connection, text: &str, span: Span) -> Vec<String> {
    let reply = reply(server, text, span);
    let labels = |series: &Json| {
        let pairs = series["metric"].as_object().into_iter().flatten();
        let pairs = pairs.map(|(name, value)| (name.as_str(), value.as_str().expect("a text")));
        format!("{:?}", Labels::from_pairs(pairs))
    };
    reply["data"]["result"].as_array().expect("a list").iter().map(labels).collect()
}

fn reply(server: &mut Connection, text: &str, span: Span) -> Json {
    let seconds = |t: i64| format!("{}.{:03}", t / 1000, t % 1000);
    let mut form = BTreeMap::from([("query", text.to_owned())]);
    let path = match span {
        Span::Instant(t) => {
            form.insert("time", seconds(t.0));
            "/api/v1/query"
        }
        Span::Range { start, end, step } => {
            form.extend([("start", seconds(start.0)), ("end", seconds(end.0)), ("step", seconds(step))]);
            "/api/v1/query_range"
        }
    };
    let form: Vec<(&str, &str)> = form.iter().map(|(key, value)| (*key, value.as_str())).collect();
    server.ask(path, &form).expect("the reference answers")
}
