//! What the frontend has kept of earlier windows does not change what it says of others.

use watershed::cluster::{CacheConfig, Frontend, ResultCache, Via};
use watershed::model::TimestampMs;
use watershed::promql::{Engine, Span};
use watershed::runtime::Clock;
use watershed::storage::memory::MemoryStore;
use watershed::telemetry::Registry;

use crate::fleet::{Kind, Servers};
use crate::fuzz::data;
use crate::shown::{Shown, shown};
use crate::support::peers::Peers;
use crate::{Ways, ask, compare, over, variable};

/// How many expressions are compared, unless the environment says otherwise.
const COUNT: u64 = 200;

struct Keeping {
    engine: Engine,
    union: MemoryStore,
    frontend: Frontend,
    _servers: Servers,
}

impl Keeping {
    fn ask(&self, text: &str, span: Span) -> Shown {
        shown(ask(&self.frontend, &self.engine, text, span))
    }
}

impl Ways for Keeping {
    fn whole(&self, text: &str, span: Span) -> Shown {
        shown(over(&self.union, &self.engine, text, span))
    }

    /// After others: one that begins and ends earlier, one within the window, and one that ends later.
    fn by_parts(&self, text: &str, span: Span) -> Shown {
        if let Span::Range { start, end, step } = span {
            let moved = |from: i64, to: i64| {
                let (start, end) = (TimestampMs(start.0 + from * step), TimestampMs(end.0 + to * step));
                Span::Range { start, end: end.max(start), step }
            };
            for other in [moved(-5, -3), moved(6, -6), moved(9, 4)] {
                // Only what it leaves behind counts.
                drop(self.ask(text, other));
            }
        }
        self.ask(text, span)
    }

    /// The awkward metric has 1e300 and -1e300: what is left of a sum depends on its order.
    fn depends_on_order(&self, text: &str, _: Span, _: &Shown) -> bool {
        text.contains("awkward") && ["sum", "avg", "stddev", "stdvar"].iter().any(|op| text.contains(op))
    }
}

fn keeping(peers: &Peers, seed: u64, max_bytes: u64) -> (Keeping, Registry) {
    let servers = Servers::start(peers, seed, [Kind::Prometheus, Kind::Prometheus, Kind::FloatsOnly]);
    let union = MemoryStore::new();
    data::write(&servers.all, &union);
    let registry = Registry::new();
    let cache = ResultCache::new(&CacheConfig { max_bytes, ..CacheConfig::default() }, Clock::system(), &registry);
    let frontend = servers.frontend([Via::Pushdown, Via::Pushdown, Via::Query]).caching(cache);
    let engine = crate::engine();
    (Keeping { engine, union, frontend, _servers: servers }, registry)
}

fn counted(registry: &Registry, name: &str) -> f64 {
    let mut text = String::new();
    registry.write_text(&mut text);
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}: {text}"));
    line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
}

#[test]
fn windows_that_move_over_what_was_kept_say_what_they_said_without_it() {
    let Some(peers) = Peers::find(&["prometheus"]) else { return };
    let seed = variable("WATERSHED_FUZZ_SEED", 1);
    let (keeping, registry) = keeping(&peers, seed, 512 << 10);
    compare(seed, COUNT, &keeping);
    let requests =
        |result: &str| counted(&registry, &format!("watershed_federation_cache_requests_total{{result=\"{result}\"}}"));
    let [hits, parts, misses] = ["hit", "partial_hit", "miss"].map(requests);
    let evicted = counted(&registry, "watershed_federation_cache_evicted_bytes_total");
    println!("{hits} hits, {parts} in part, {misses} misses, {evicted} bytes gave way");
    assert!(hits > COUNT as f64 / 2.0 && parts > COUNT as f64, "little of it came out of the cache");
    assert!(counted(&registry, "watershed_federation_cache_bytes") <= f64::from(512 << 10));
}
