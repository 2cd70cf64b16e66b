//! Parts of queries that a real member would refuse, or evaluate otherwise, as they stand.

use watershed::cluster::{Credentials, Frontend, MemberConfig, Via};
use watershed::model::{Labels, Matcher, TimestampMs, Value};
use watershed::promql::Span;
use watershed::storage::memory::MemoryStore;
use watershed::storage::{Scope, SelectRequest, SeriesBatch, StreamStep, TimeRange};

use crate::fleet;
use crate::fuzz::data::{self, Series};
use crate::shown::{difference, shown};
use crate::support::peers::Peers;
use crate::support::process::{Home, Server};
use crate::{ask, engine, over};

/// What each member has of the metric `x`: one series for each list of values.
fn series(values: &[&[f64]]) -> Vec<Series> {
    let one = |(number, values): (usize, &&[f64])| Series {
        labels: Labels::from_pairs([("__name__", "x"), ("n", &*number.to_string())]),
        samples: (0_i64..).zip(*values).map(|(n, v)| (data::START + n * data::STEP, Value::Float(*v))).collect(),
    };
    values.iter().enumerate().map(one).collect()
}

/// Two members on real servers, and all that they hold.
struct Two {
    frontend: Frontend,
    union: MemoryStore,
    _servers: Vec<(Home, Server)>,
    _runtime: tokio::runtime::Runtime,
}

impl Two {
    fn start(peers: &Peers, via: Via, flags: &[&str], held: [Vec<Series>; 2]) -> Two {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
        let _entered = runtime.enter();
        let (mut servers, mut sources, mut all) = (Vec::new(), Vec::new(), Vec::new());
        for (name, series) in ["home", "cabin"].into_iter().zip(held) {
            let server = fleet::prometheus_with(peers, &series, flags);
            let config = MemberConfig { via, ..MemberConfig::new(name, fleet::url(&server.0.address(), "")) };
            sources.push(fleet::source(config));
            servers.push(server);
            all.extend(series.into_iter().map(|series| {
                let labels = Labels::from_pairs(series.labels.iter().chain([("__cluster__", name)]));
                Series { labels, ..series }
            }));
        }
        let union = MemoryStore::new();
        data::write(&all, &union);
        Two { frontend: fleet::over(sources), union, _servers: servers, _runtime: runtime }
    }

    /// The members' answer is that of all that they hold.
    fn check(&self, text: &str, span: Span) {
        let engine = engine();
        let (whole, parts) =
            (shown(over(&self.union, &engine, text, span)), shown(ask(&self.frontend, &engine, text, span)));
        assert!(whole.as_ref().is_ok_and(|whole| !whole.is_empty()), "{text}: {whole:?}");
        assert_eq!(difference(&whole, &parts), None, "{text}");
    }
}

fn at(seconds: i64) -> Span {
    Span::Instant(TimestampMs(data::START + 1000 * seconds))
}

#[test]
fn subqueries_of_more_steps_than_servers_answer_are_asked_for_in_pieces() {
    let Some(peers) = Peers::find(&["prometheus"]) else { return };
    let rising: Vec<f64> = (0..data::COUNT).map(|n| n as f64 * 1.5).collect();
    let falling: Vec<f64> = rising.iter().map(|v| 500.0 - v).collect();
    let held = [series(&[&rising, &falling]), series(&[&falling])];
    let two = Two::start(&peers, Via::Pushdown, &[], held);
    // 36,000 steps, and one more than are answered at once.
    for text in [
        "sum_over_time(sum(x)[1h:100ms])",
        "avg_over_time(max by (n) (x)[1h:100ms])",
        "count_over_time(sum(x)[11001s:1s])",
    ] {
        two.check(text, at(3590));
    }
    two.check(
        "sum_over_time(sum(x)[1h:100ms])",
        Span::Range {
            start: TimestampMs(data::START + 3_000_000),
            end: TimestampMs(data::START + 3_600_000),
            step: 60_000,
        },
    );
}

#[test]
fn members_look_back_as_far_as_the_frontend_does() {
    let Some(peers) = Peers::find(&["prometheus"]) else { return };
    let held = [series(&[&[1.0, 2.0, 3.0]]), series(&[&[4.0, 5.0]])];
    let two = Two::start(&peers, Via::Pushdown, &["--query.lookback-delta=20s"], held);
    two.check("x", at(240));
    two.check("count(x)", Span::Range { start: TimestampMs(data::START), end: TimestampMs(data::END), step: 15_000 });
}

#[test]
fn a_mean_of_numbers_whose_sum_is_too_large_is_their_mean() {
    let Some(peers) = Peers::find(&["prometheus"]) else { return };
    let large = [1.5e308; 3];
    // The sum is too large for a member with two of them, and only the sum of sums for those with one.
    let held = [series(&[&large, &large]), series(&[&large])];
    let two = Two::start(&peers, Via::Pushdown, &[], held);
    for text in ["avg(x)", "avg by (n) (x)", "sum(x{n=\"1\"}) + avg(x)"] {
        two.check(text, at(30));
    }
}

#[test]
fn all_of_time_can_be_read_by_range_selectors() {
    let Some(peers) = Peers::find(&["prometheus"]) else { return };
    let two = Two::start(&peers, Via::Query, &[], [series(&[&[1.0, 2.0]]), series(&[&[3.0]])]);
    let (scope, selectors) = (Scope::unbounded(), [vec![Matcher::equal("__name__", "x")]]);
    for range in [TimeRange::ALL, TimeRange { min: TimestampMs(data::START), max: TimestampMs::MAX }] {
        let request = SelectRequest { selectors: &selectors, range, sorted: true, limit: None };
        let samples = two.frontend.read(&Credentials::new(), &scope, |store| {
            let (mut stream, mut batch, mut samples) = (store.select(&scope, &request)?, SeriesBatch::default(), 0);
            while let StreamStep::Batch = stream.next(&mut batch)? {
                samples += batch.size().samples;
            }
            Ok::<u64, watershed::storage::QueryError>(samples)
        });
        assert_eq!(samples.map_err(|e| e.to_string()), Ok(3), "{range:?}");
    }
}
