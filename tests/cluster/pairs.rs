//! Members that are pairs of replicas, each of which misses scrapes.

use std::time::{Duration, Instant};

use watershed::cluster::{CLUSTER, Frontend, MemberConfig, Via};
use watershed::model::{Labels, STALE_NAN, TimestampMs, Value};
use watershed::promql::{Answer, Engine, Point, Span};
use watershed::storage::Scope;
use watershed::storage::memory::MemoryStore;

use crate::fleet::{self, Servers};
use crate::fuzz::data::{self, END, START, STEP, Series};
use crate::fuzz::random::Random;
use crate::hostile;
use crate::shown::{Shown, difference, shown};
use crate::support::peers::Peers;
use crate::{Ways, ask, compare, engine, over, variable};

struct Pairs {
    engine: Engine,
    /// What there is to know.
    union: MemoryStore,
    frontend: Frontend,
    _servers: Servers,
}

impl Ways for Pairs {
    fn whole(&self, text: &str, span: Span) -> Shown {
        shown(over(&self.union, &self.engine, text, span))
    }

    fn by_parts(&self, text: &str, span: Span) -> Shown {
        shown(ask(&self.frontend, &self.engine, text, span))
    }

    fn depends_on_order(&self, text: &str, _: Span, _: &Shown) -> bool {
        text.contains("awkward") && ["sum", "avg", "stddev", "stdvar"].iter().any(|op| text.contains(op))
    }
}

/// What two replicas that scrape at the same times have: every sample is missed by none or by one, often several in a row.
fn shared_out(series: &[Series], random: &mut Random) -> [Vec<Series>; 2] {
    let mut out = [Vec::new(), Vec::new()];
    for series in series {
        let mut samples = [Vec::new(), Vec::new()];
        let (mut missing, mut who) = (0, 0);
        for (t, value) in &series.samples {
            if missing == 0 && random.one_in(12) {
                (missing, who) = (random.of(&[1, 1, 2, 5, 30]), random.below(2) as usize);
            }
            for (replica, samples) in samples.iter_mut().enumerate() {
                // Both see the end of a series.
                if missing == 0 || replica != who || value.is_stale() {
                    samples.push((*t, value.clone()));
                }
            }
            missing = (missing - 1_i32).max(0);
        }
        for (replica, samples) in out.iter_mut().zip(samples) {
            replica.push(Series { labels: series.labels.clone(), samples });
        }
    }
    out
}

#[test]
fn replicas_that_each_miss_scrapes_say_what_one_would_that_misses_none() {
    let Some(peers) = Peers::find(&["prometheus"]) else { return };
    let seed = variable("WATERSHED_FUZZ_SEED", 1);
    let mut random = Random(seed);
    let servers = Servers::start_replicas(&peers, seed, |series| shared_out(series, &mut random));
    let union = MemoryStore::new();
    data::write(&servers.all, &union);
    let frontend = servers.frontend([Via::Auto; 3]);
    compare(seed, 300, &Pairs { engine: engine(), union, frontend, _servers: servers });
}

/// A counter that one second counts up by one, and a reset of it.
const RESET: i64 = START + 1_803_000;

fn count_at(t: i64) -> f64 {
    (if t < RESET { t - START + 500_000 } else { t - RESET }) as f64 / 1000.0
}

/// What a replica has that scrapes so much later than the full steps, and misses scrapes.
fn scraped(offset: i64, random: &mut Random) -> Vec<(i64, Value)> {
    let mut out = Vec::new();
    let mut missing = 0;
    for n in 0..data::COUNT {
        let t = START + n * STEP + offset;
        if missing > 0 {
            missing -= 1;
            continue;
        }
        if random.one_in(10) {
            missing = random.of(&[0, 1, 3, 10, 35]);
            if random.one_in(2) {
                // The scrape has failed.
                out.push((t, Value::Float(STALE_NAN)));
            }
            continue;
        }
        out.push((t, Value::Float(count_at(t))));
    }
    out
}

/// The floats of each series, by step.
fn floats(answer: Result<Answer, String>) -> Vec<(Labels, Vec<(i64, f64)>)> {
    let value = |point: Point| match point {
        Point::Float(v) => v,
        Point::Histogram(_) => panic!("there are none"),
    };
    match answer.expect("an answer") {
        Answer::Matrix(all) => {
            all.iter().map(|s| (s.labels.clone(), s.floats().map(|(t, v)| (t.0, v)).collect())).collect()
        }
        Answer::Vector(t, all) => all.into_iter().map(|s| (s.labels, vec![(t.0, value(s.value))])).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn pairs_have_no_value_of_nobody_no_negative_rate_and_no_gap_that_one_could_fill() {
    let Some(peers) = Peers::find(&["prometheus"]) else { return };
    let mut random = Random(variable("WATERSHED_FUZZ_SEED", 1));
    let engine = engine();
    for round in 0..3 {
        // Samples less than a tenth of an interval apart count as one.
        let offset = random.between(STEP / 10 + 1, STEP * 9 / 10);
        let one = |instance: usize, offset: i64, random: &mut Random| Series {
            labels: Labels::from_pairs([("__name__", "seconds_total"), ("instance", &*instance.to_string())]),
            samples: scraped(offset, random),
        };
        let replicas: [Vec<Series>; 2] =
            [0, offset].map(|offset| (0..20).map(|instance| one(instance, offset, &mut random)).collect());
        let servers: Vec<_> = replicas.iter().map(|series| fleet::prometheus(&peers, series)).collect();
        let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
        let frontend = {
            let _entered = runtime.enter();
            let urls = servers.iter().map(|(home, _)| fleet::url(&home.address(), "")).collect::<Vec<_>>();
            let config = MemberConfig { urls: urls.clone(), ..MemberConfig::new("home", urls[0].clone()) };
            fleet::over(vec![fleet::source(config)])
        };
        let alone: Vec<MemoryStore> = replicas
            .iter()
            .map(|series| {
                let store = MemoryStore::new();
                data::write(series, &store);
                store
            })
            .collect();
        let span = Span::Range { start: TimestampMs(START), end: TimestampMs(END), step: 7_000 };
        let of_one = |text: &str, store: &MemoryStore| {
            let query = engine.query(text, &engine.parse(text).expect("an expression"), span, None).expect("a query");
            floats(query.run(store, &Scope::unbounded()).answer.map_err(|e| e.to_string()))
        };
        let without_cluster = |labels: &Labels| labels.get("instance").map(str::to_owned);

        let values = floats(ask(&frontend, &engine, "seconds_total", span));
        assert_eq!(values.len(), 20);
        for (labels, merged) in &values {
            let instance: usize = labels.get("instance").expect("an instance").parse().expect("a number");
            let known: Vec<(i64, f64)> = replicas
                .iter()
                .flat_map(|all| &all[instance].samples)
                .filter_map(|(t, value)| match value {
                    Value::Float(v) if !value.is_stale() => Some((*t, *v)),
                    _ => None,
                })
                .collect();
            // When the value that is shown was scraped.
            let mut before = (i64::MIN, 0.0);
            for (t, v) in merged {
                let scraped = known.iter().filter(|(at, known)| at <= t && *at > t - 300_000 && known == v);
                let Some(at) = scraped.map(|(at, _)| *at).max() else {
                    panic!("round {round}: {labels:?} at {t}: {v} is nobody's")
                };
                let is_reset = before.0 < RESET && at >= RESET;
                assert!(at >= before.0, "round {round}: {labels:?} at {t} is older than before");
                assert!(*v >= before.1 || is_reset, "round {round}: {labels:?} falls at {t}: {before:?} {v}");
                before = (at, *v);
            }
        }
        for text in ["seconds_total", "rate(seconds_total[1m])", "increase(seconds_total[3m])"] {
            let merged = floats(ask(&frontend, &engine, text, span));
            for store in &alone {
                for (labels, wanted) in of_one(text, store) {
                    let (_, found) = merged
                        .iter()
                        .find(|(other, _)| without_cluster(other) == without_cluster(&labels))
                        .unwrap_or_else(|| panic!("round {round}: {text} misses {labels:?}"));
                    for (t, _) in wanted {
                        let is_there = found.iter().any(|(at, _)| *at == t);
                        let near = || {
                            let instance: usize = labels.get("instance").expect("one").parse().expect("a number");
                            let near = |(at, value): &(i64, Value)| {
                                (t - 90_000..=t).contains(at).then(|| (t - at, value.is_stale()))
                            };
                            replicas
                                .each_ref()
                                .map(|all| all[instance].samples.iter().filter_map(near).collect::<Vec<_>>())
                        };
                        assert!(
                            is_there,
                            "round {round}: {text}: {labels:?} at {t}: one replica has a value: {:?}",
                            near()
                        );
                    }
                }
            }
            if text == "rate(seconds_total[1m])" {
                for (labels, rates) in &merged {
                    // Of a counter that counts seconds.
                    let wrong = rates.iter().find(|(_, v)| *v < 0.0 || *v > 1.6);
                    assert_eq!(wrong, None, "round {round}: {labels:?}");
                }
            }
        }
    }
}

/// Only the first replica was asked what the pair can do, so that the pair was lost with it.
#[test]
fn a_pair_is_whole_while_its_first_replica_is_down_or_hangs() {
    let Some(peers) = Peers::find(&["prometheus"]) else { return };
    let samples: Vec<_> = (0..data::COUNT).map(|n| START + n * STEP).map(|t| (t, Value::Float(count_at(t)))).collect();
    let series = |virtual_labels: &[(&str, &str)]| Series {
        labels: Labels::from_pairs([("__name__", "seconds_total")].iter().chain(virtual_labels).copied()),
        samples: samples.clone(),
    };
    let whole = MemoryStore::new();
    data::write(&[series(&[(CLUSTER, "home")])], &whole);
    let (well, _server) = fleet::prometheus(&peers, &[series(&[])]);
    let (engine, runtime) = (engine(), tokio::runtime::Runtime::new().expect("a runtime starts"));
    let span = Span::Range { start: TimestampMs(START), end: TimestampMs(END), step: 60_000 };
    for via in [Via::Auto, Via::Pushdown, Via::RemoteRead, Via::Query] {
        for (what, ill) in [("is down", hostile::down()), ("hangs", hostile::silent())] {
            let frontend = {
                let _entered = runtime.enter();
                let urls = vec![fleet::url(&ill, ""), fleet::url(&well.address(), "")];
                fleet::over(vec![fleet::source(MemberConfig {
                    via,
                    urls: urls.clone(),
                    ..MemberConfig::new("home", urls[0].clone())
                })])
            };
            for text in ["seconds_total", "rate(seconds_total[5m])", "sum(seconds_total)"] {
                let started = Instant::now();
                let (wanted, found) = (over(&whole, &engine, text, span), ask(&frontend, &engine, text, span));
                let what = format!("{text}, {via:?}, the first replica {what}");
                assert!(
                    wanted.as_ref().is_ok_and(|answer| !floats(Ok(answer.clone())).is_empty()),
                    "{what}: {wanted:?}"
                );
                assert_eq!(difference(&shown(wanted), &shown(found)), None, "{what}");
                // Members have 30 seconds.
                assert!(started.elapsed() < Duration::from_secs(15), "{what}: {:?}", started.elapsed());
            }
        }
    }
}
