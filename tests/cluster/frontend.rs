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
use crate::fuzz::expressions::Maker;
use crate::fuzz::random::Random;
use crate::shown::{Shown, difference, shown};
use crate::support::peers::Peers;
use crate::support::process::{Home, Server};
use crate::{MEMBERS, chooses, variable, with_virtual_labels};

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

    fn whole(&self, text: &str, span: Span) -> Shown {
        shown((|| {
            let expr = self.engine.parse(text).map_err(|e| e.to_string())?;
            let query = self.engine.query(text, &expr, span, None).map_err(|e| e.to_string())?;
            query.run(&self.union, &Scope::unbounded()).answer.map_err(|e| e.to_string())
        })())
    }

    fn by_members(&self, text: &str, span: Span) -> Shown {
        let scope = Scope::new(Some(Instant::now() + Duration::from_secs(60)), u64::MAX, 1 << 30);
        let outcome = self.frontend.run(&self.engine, text, span, &Sender::default(), &scope);
        shown(outcome.map_err(|e| e.to_string()).and_then(|outcome| outcome.answer.map_err(|e| e.to_string())))
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

fn compare(is_pushed: bool) {
    let Some(peers) = Peers::find(&["prometheus"]) else { return };
    let (seed, count) = (variable("WATERSHED_FUZZ_SEED", 1), variable("WATERSHED_FUZZ_COUNT", 300));
    let fleet = Fleet::start(&peers, seed, is_pushed);
    let (mut answered, mut failed, mut empty, mut unclear, mut differences) = (0, 0, 0, 0, Vec::new());
    for number in 0..count {
        let mut random = Random(seed.wrapping_mul(1_000_003).wrapping_add(number));
        let mut maker = Maker { random: Random(random.next()), is_recent: false };
        let text = with_virtual_labels(&maker.expression(), &mut random);
        let at = random.between(data::START - 60_000, data::END + 400_000);
        let start = TimestampMs(random.between(data::START - 300_000, data::END));
        let step = random.of(&[15_000, 37_000, 60_000, 300_000]);
        let end = TimestampMs(start.0 + step * random.between(0, 20) + random.between(0, 1000));
        for span in [Span::Instant(TimestampMs(at)), Span::Range { start, end, step }] {
            let (whole, parts) = (fleet.whole(&text, span), fleet.by_members(&text, span));
            match (&whole, difference(&whole, &parts)) {
                (_, Some(_)) if chooses(&text) || text.contains("awkward") => unclear += 1,
                (_, Some(difference)) => differences.push(format!("{text}\n  {span:?}\n  {difference}")),
                (Err(_), None) => failed += 1,
                (Ok(all), None) if all.is_empty() => empty += 1,
                (Ok(_), None) => answered += 1,
            }
        }
    }
    println!(
        "seed {seed}, {count} expressions: {answered} answers agree, {empty} are empty, {failed} fail both ways, {unclear} \
         have several answers, {} differ",
        differences.len()
    );
    assert!(answered > count / 2, "too few expressions have an answer");
    assert!(differences.is_empty(), "{}", differences[..differences.len().min(40)].join("\n"));
}

#[test]
fn what_members_evaluate_and_what_is_evaluated_here_are_the_whole() {
    compare(true);
}

#[test]
fn what_is_evaluated_over_samples_of_members_is_the_whole() {
    compare(false);
}
