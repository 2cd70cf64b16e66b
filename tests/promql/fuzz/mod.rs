//! Expressions at random, evaluated by a real Prometheus and by us, over the same directory of data.
//!
//! `WATERSHED_FUZZ_SEED` and `WATERSHED_FUZZ_COUNT` choose the expressions; each depends on the seed and its number only.
//! Who changes data or grammar changes what the seed means, and nothing else.

mod compare;
pub mod data;
mod expressions;
mod known;
mod peer;
mod random;
mod recent;

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use watershed::disk::RealDisk;
use watershed::model::TimestampMs;
use watershed::runtime::Clock;
use watershed::telemetry::Registry;
use watershed::tsdb::{Deps, Options, Tsdb};

use self::compare::{Shown, difference, ours, theirs};
pub use self::expressions::Maker;
use self::known::{Known, Peer};
use self::peer::Connection;
pub use self::random::Random;
use crate::engine::Engine;
use crate::script::When;
use crate::support::peers::Peers;
use crate::support::process::Home;

/// What the tests run by default: no difference is left in it that is not known.
const SEED: u64 = 1;
const COUNT: u64 = 2000;
/// Features of every peer that our engine has on, too.
const FEATURES: &str = "--enable-feature=promql-experimental-functions,promql-duration-expr";
/// Those that peers of some age do not have.
const RECENT_FEATURES: &str = ",promql-extended-range-selectors,promql-binop-fill-modifiers";
/// Switched on for every other seed.
const DELAYED: &str = ",promql-delayed-name-removal";

/// One query.
pub struct Case {
    /// The expression.
    pub expr: String,
    /// When it is evaluated.
    pub when: When,
}

impl Case {
    fn number(seed: u64, number: u64, peer: &Peer) -> [Case; 2] {
        let mut random = Random(seed.wrapping_mul(1_000_003).wrapping_add(number));
        // Neighbouring seeds must not give neighbouring numbers.
        let mut maker = Maker { random: Random(random.next()), is_recent: !peer.is_old() };
        let expr = peer.dialect(maker.expression());
        let at = random.between(data::START - 60_000, data::END + 400_000);
        let start = random.between(data::START - 300_000, data::END);
        let step = random.of(&[15_000, 37_000, 60_000, 300_000]);
        let end = start + step * random.between(0, 40) + random.between(0, 1000);
        let range = When::Range { start, end, step };
        [Case { expr: expr.clone(), when: When::Instant(at) }, Case { expr, when: range }]
    }

    fn ask_peer(&self, connection: &mut Connection) -> std::io::Result<Shown> {
        let seconds = |ms: i64| format!("{}.{:03}", ms / 1000, ms % 1000);
        let query = ("query", self.expr.as_str());
        let reply = match self.when {
            When::Instant(at) => connection.ask("/api/v1/query", &[query, ("time", &seconds(at))]),
            When::Range { start, end, step } => {
                let (start, end, step) = (seconds(start), seconds(end), seconds(step));
                let form = [query, ("start", &start), ("end", &end), ("step", &step)];
                connection.ask("/api/v1/query_range", &form)
            }
        };
        Ok(theirs(&reply?))
    }

    fn ask_us(&self, engine: &Engine, store: &Tsdb) -> Shown {
        match self.when {
            When::Instant(at) => ours(engine.instant(store, &self.expr, at), at),
            When::Range { start, end, step } => ours(engine.range(store, &self.expr, start, end, step), start),
        }
    }
}

#[derive(Default)]
struct Tally {
    /// Queries that gave something on both sides.
    answered: u64,
    empty: u64,
    failed: u64,
    /// Queries to which the peer has several answers.
    undecided: u64,
    /// By the place in the list of known differences.
    known: Vec<u64>,
    /// New ones.
    differences: Vec<String>,
}

/// Both sides, over the same data.
struct Sides<'a> {
    engine: &'a Engine,
    store: &'a Tsdb,
    address: &'a str,
    peer: Peer,
    known: Vec<Known>,
}

impl Sides<'_> {
    fn compare(&self, case: &Case, connection: &mut Connection, tally: &Mutex<Tally>) {
        let theirs = case.ask_peer(connection).expect("the peer answers");
        let ours = case.ask_us(self.engine, self.store);
        let difference = difference(&ours, &theirs, &self.peer);
        if difference.is_some() && self.peer_is_undecided(case, connection, &theirs) {
            tally.lock().undecided += 1;
            return;
        }
        let mut tally = tally.lock();
        match (&theirs, difference) {
            (_, Some(difference)) => {
                let applies = |known: &Known| known.applies(&self.peer, &case.expr, &difference);
                match self.known.iter().position(applies) {
                    Some(known) => tally.known[known] += 1,
                    None => tally.differences.push(format!("{} {:?}\n    {difference}", case.expr, case.when)),
                }
            }
            (Shown::Failed(_), None) => tally.failed += 1,
            (Shown::Answered { values, .. }, None) if values.is_empty() => tally.empty += 1,
            (Shown::Answered { .. }, None) => tally.answered += 1,
        }
    }

    /// Whether the peer answers now so and now so: of equal series in no order, `topk` and its like choose any, and what
    /// operators give over a range is added up in any order, which shows where almost nothing is left.
    fn peer_is_undecided(&self, case: &Case, connection: &mut Connection, first: &Shown) -> bool {
        let mut again = || case.ask_peer(connection).expect("the peer answers");
        (0..10).any(|_| difference(first, &again(), &self.peer).is_some())
    }

    /// Runs all expressions on as many threads as help: one for the peer, one for us.
    fn run(&self, seed: u64, count: u64) -> Tally {
        let tally = Mutex::new(Tally { known: vec![0; self.known.len()], ..Tally::default() });
        let next = AtomicU64::new(0);
        let work = || {
            let mut connection = Connection::open(self.address).expect("the peer takes connections");
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    break;
                }
                for case in Case::number(seed, number, &self.peer) {
                    self.compare(&case, &mut connection, &tally);
                }
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(work);
            scope.spawn(work);
        });
        tally.into_inner()
    }
}

fn open(dir: &Path) -> Tsdb {
    let clock = Clock::manual(TimestampMs(data::END));
    let deps = Deps { disk: Arc::new(RealDisk), clock, registry: Registry::new() };
    Tsdb::open(dir, Options::default(), deps).expect("the store opens").0
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder can be made");
    for entry in std::fs::read_dir(from).expect("a folder can be read") {
        let entry = entry.expect("a folder can be read");
        let to = to.join(entry.file_name());
        match entry.file_type().expect("a file has a type").is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).expect("a file can be copied")),
        }
    }
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|e| panic!("{name}={text}: {e}")))
}

#[test]
fn prometheus_and_we_say_the_same_about_expressions_at_random() {
    let Some(peers) = Peers::find(&["prometheus"]) else { return };
    let (seed, count) = (variable("WATERSHED_FUZZ_SEED", SEED), variable("WATERSHED_FUZZ_COUNT", COUNT));
    let (home, peer) = (Home::new(), Peer::of(&peers));
    let store = open(&home.data_path());
    data::write(&data::series(&mut Random(seed), peer.is_old()), &store);
    store.close().expect("the store closes");
    let twin = home.path().join("twin");
    copy(&home.data_path(), &twin);
    home.write_config("global: {scrape_interval: 1m}\n");
    let delays_name_removal = !peer.is_old() && seed.is_multiple_of(2);
    let mut features = FEATURES.to_owned();
    features.push_str(if peer.is_old() { "" } else { RECENT_FEATURES });
    features.push_str(if delays_name_removal { DELAYED } else { "" });
    let prometheus = home.prometheus(&peers, &[&features, "--storage.tsdb.retention.time=100y"]);
    let (engine, store) = (Engine::of_the_peer(delays_name_removal), open(&twin));
    let sides = Sides { engine: &engine, store: &store, address: &prometheus.address, peer, known: Known::list() };
    let tally = sides.run(seed, count);
    for (known, count) in sides.known.iter().zip(&tally.known).filter(|(_, count)| **count > 0) {
        println!("{count} differ: {}", known.reason);
    }
    let known: u64 = tally.known.iter().sum();
    let said = format!(
        "seed {seed}, {count} expressions at an instant and over a range: {} answers agree, {} are empty, {} fail on both \
         sides, {} have several answers, {known} differ as is known, {} differ\n",
        tally.answered,
        tally.empty,
        tally.failed,
        tally.undecided,
        tally.differences.len()
    );
    // Past the capture of output: the seed is to be seen.
    let _ = std::io::stdout().write_all(said.as_bytes());
    let shown: Vec<&str> = tally.differences.iter().map(String::as_str).take(50).collect();
    assert!(shown.is_empty(), "{said}{}", shown.join("\n"));
}
