//! The frontend over three real Prometheus servers says what one engine says that holds what all three hold.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use url::Url;
use watershed::cluster::{CLUSTER, FederationConfig, Frontend, Member, MemberConfig, MemberMetrics, Sender, Source};
use watershed::disk::RealDisk;
use watershed::model::{Labels, TimestampMs};
use watershed::promql::{Engine, EngineOptions, ParserOptions, Span};
use watershed::remote::read::{Deps, Endpoint, EndpointConfig};
use watershed::runtime::{Clock, Tasks};
use watershed::storage::memory::MemoryStore;
use watershed::storage::{Queryable, Scope};
use watershed::telemetry::Registry;
use watershed::tsdb::{self, Options, Tsdb};

use crate::fuzz::data::{self, Series};
use crate::fuzz::random::Random;
use crate::shown::{Shown, shown};
use crate::support::peers::Peers;
use crate::support::process::{Home, Server};
use crate::{MEMBERS, Ways, compare, variable};

const FEATURES: &str = "--enable-feature=promql-experimental-functions";

struct Fleet {
    engine: Engine,
    union: MemoryStore,
    frontend: Frontend,
    _runtime: Runtime,
    _servers: Vec<(Home, Server)>,
}

impl Fleet {
    /// Starts the servers. `is_pushed` says whether they evaluate, or only hand out samples.
    fn start(peers: &Peers, seed: u64, is_pushed: bool) -> Fleet {
        let mut all = Vec::new();
        let mut servers = Vec::new();
        for (number, (name, region)) in MEMBERS.iter().enumerate() {
            let series = data::series(&mut Random(seed * 10 + number as u64), true);
            let home = Home::new();
            let deps = tsdb::Deps {
                disk: Arc::new(RealDisk),
                clock: Clock::manual(TimestampMs(data::END)),
                registry: Registry::new(),
            };
            let store = Tsdb::open(&home.data_path(), Options::default(), deps).expect("the store opens").0;
            data::write(&series, &store);
            store.close().expect("the store closes");
            home.write_config("global: {scrape_interval: 1m}\n");
            let server = home.prometheus(peers, &[FEATURES, "--storage.tsdb.retention.time=100y"]);
            servers.push((home, server));
            let virtual_labels: Vec<_> =
                std::iter::once((CLUSTER, *name)).chain(region.iter().map(|region| ("region", *region))).collect();
            all.extend(series.into_iter().map(|s| {
                let labels = Labels::from_pairs(s.labels.iter().chain(virtual_labels.iter().copied()));
                Series { labels, samples: s.samples }
            }));
        }
        let union = MemoryStore::new();
        data::write(&all, &union);
        let runtime = Runtime::new().expect("a runtime starts");
        let frontend = {
            let _entered = runtime.enter();
            let sources = MEMBERS.iter().zip(&servers).map(|(member, (home, _))| source(*member, home, is_pushed));
            let config = FederationConfig::default();
            Frontend::new(&config, sources.collect(), Tasks::new()).expect("few labels")
        };
        let options = EngineOptions { parser: ParserOptions::ALL, ..EngineOptions::default() };
        Fleet { engine: Engine::new(options), union, frontend, _runtime: runtime, _servers: servers }
    }
}

impl Ways for Fleet {
    fn whole(&self, text: &str, span: Span) -> Shown {
        shown((|| {
            let expr = self.engine.parse(text).map_err(|e| e.to_string())?;
            let query = self.engine.query(text, &expr, span, None).map_err(|e| e.to_string())?;
            query.run(&self.union, &Scope::unbounded()).answer.map_err(|e| e.to_string())
        })())
    }

    fn by_parts(&self, text: &str, span: Span) -> Shown {
        let scope = Scope::new(Some(Instant::now() + Duration::from_secs(60)), u64::MAX, 1 << 30);
        let outcome = self.frontend.run(&self.engine, text, span, &Sender::default(), &scope);
        shown(outcome.map_err(|e| e.to_string()).and_then(|outcome| outcome.answer.map_err(|e| e.to_string())))
    }

    /// The awkward metric has 1e300 and -1e300: what is left of a sum depends on its order.
    fn depends_on_order(&self, text: &str, _: Span, _: &Shown) -> bool {
        text.contains("awkward") && ["sum", "avg", "stddev", "stdvar"].iter().any(|op| text.contains(op))
    }
}

fn source((name, region): (&str, Option<&str>), home: &Home, is_pushed: bool) -> Source {
    let url = |path: &str| Url::parse(&format!("http://{}{path}", home.address())).expect("a URL");
    let registry = Registry::new();
    let mut config = MemberConfig::new(name, url(""));
    config.labels = Labels::from_pairs(region.map(|region| ("region", region)));
    let member = Member::new(config, 3, 16, MemberMetrics::new(&registry, name)).expect("a member");
    let read = EndpointConfig { read_recent: true, ..EndpointConfig::new(url("/api/v1/read")) };
    let deps = Deps { registry, tasks: Tasks::new(), local_start: Arc::new(|| TimestampMs(0)) };
    let samples: Arc<dyn Queryable> = Arc::new(Endpoint::new(read, deps).expect("an endpoint"));
    Source { member: Arc::new(member), samples: Some(samples), is_pushed }
}

/// Compares the frontend over real servers with one engine.
fn over_servers(is_pushed: bool) {
    let Some(peers) = Peers::find(&["prometheus"]) else { return };
    let seed = variable("WATERSHED_FUZZ_SEED", 1);
    compare(seed, 300, &Fleet::start(&peers, seed, is_pushed));
}

#[test]
fn what_members_evaluate_and_what_is_evaluated_here_are_the_whole() {
    over_servers(true);
}

#[test]
fn what_is_evaluated_over_samples_of_members_is_the_whole() {
    over_servers(false);
}
