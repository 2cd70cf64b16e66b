//! The frontend over three real servers says what one server says that holds what all three hold.

use parking_lot::Mutex;
use watershed::cluster::{Frontend, Via};
use watershed::model::TimestampMs;
use watershed::promql::{Answer, Engine, Span};
use watershed::storage::memory::MemoryStore;

use crate::fleet::{self, Kind, Servers};
use crate::fuzz::data;
use crate::peer::Connection;
use crate::shown::{Shown, difference, shown};
use crate::support::peers::Peers;
use crate::{Ways, ask, compare, engine, over, variable};

struct Fleet {
    engine: Engine,
    union: MemoryStore,
    frontend: Frontend,
    /// A real Prometheus that holds everything, if it is what answers are compared with.
    reference: Option<Mutex<Connection>>,
    _servers: Servers,
}

impl Fleet {
    fn start(peers: &Peers, seed: u64, kinds: [Kind; 3], vias: [Via; 3], is_compared_with_prometheus: bool) -> Fleet {
        let mut servers = Servers::start(peers, seed, kinds);
        let union = MemoryStore::new();
        data::write(&servers.all, &union);
        let reference = is_compared_with_prometheus.then(|| Mutex::new(servers.start_reference(peers)));
        let frontend = servers.frontend(vias);
        Fleet { engine: engine(), union, frontend, reference, _servers: servers }
    }

    fn over_union(&self, text: &str, span: Span) -> Shown {
        shown(over(&self.union, &self.engine, text, span))
    }
}

impl Ways for Fleet {
    fn whole(&self, text: &str, span: Span) -> Shown {
        match &self.reference {
            Some(reference) => fleet::ask(&mut reference.lock(), text, span),
            None => self.over_union(text, span),
        }
    }

    fn by_parts(&self, text: &str, span: Span) -> Shown {
        let answer = ask(&self.frontend, &self.engine, text, span);
        let histograms_as_text = self.reference.is_some();
        if histograms_as_text { crate::shown::as_the_api_shows(answer) } else { shown(answer) }
    }

    /// The awkward metric has 1e300 and -1e300: what is left of a sum depends on its order.
    fn depends_on_order(&self, text: &str, _: Span, _: &Shown) -> bool {
        text.contains("awkward") && ["sum", "avg", "stddev", "stdvar"].iter().any(|op| text.contains(op))
    }

    /// The reference may be of another version than what the engine follows; the tests of the language list how they differ.
    fn is_of_language(&self, text: &str, span: Span, whole: &Shown) -> bool {
        self.reference.is_some() && difference(whole, &self.engine_as_shown(text, span)).is_some()
    }
}

impl Fleet {
    fn engine_as_shown(&self, text: &str, span: Span) -> Shown {
        crate::shown::as_the_api_shows(over(&self.union, &self.engine, text, span))
    }
}

/// How many expressions are compared with the engine, unless the environment says otherwise.
const COUNT: u64 = 300;
/// And with a server.
const COUNT_BESIDE_A_SERVER: u64 = 1500;

#[test]
fn what_members_evaluate_and_what_is_evaluated_here_are_the_whole() {
    let Some(peers) = Peers::find(&["prometheus"]) else { return };
    let seed = variable("WATERSHED_FUZZ_SEED", 1);
    let kinds = [Kind::Prometheus; 3];
    compare(seed, COUNT, &Fleet::start(&peers, seed, kinds, [Via::Pushdown; 3], false));
}

#[test]
fn what_is_evaluated_over_samples_of_members_is_the_whole() {
    let Some(peers) = Peers::find(&["prometheus"]) else { return };
    let seed = variable("WATERSHED_FUZZ_SEED", 1);
    let kinds = [Kind::Prometheus; 3];
    compare(seed, COUNT, &Fleet::start(&peers, seed, kinds, [Via::RemoteRead; 3], false));
}

/// Two Prometheus and a VictoriaMetrics, beside one Prometheus with everything.
fn beside_a_reference(vias: [Via; 3], has_histograms: bool) {
    let Some(peers) = Peers::find(&["prometheus", "victoria-metrics"]) else { return };
    let seed = variable("WATERSHED_FUZZ_SEED", 1);
    let first = if has_histograms { Kind::Prometheus } else { Kind::FloatsOnly };
    let fleet = Fleet::start(&peers, seed, [first, first, Kind::Victoria], vias, true);
    compare(seed, COUNT_BESIDE_A_SERVER, &fleet);
}

#[test]
fn a_prometheus_that_holds_everything_says_the_same_when_the_way_is_chosen() {
    beside_a_reference([Via::Auto; 3], true);
}

/// The VictoriaMetrics evaluates in a way of its own, so that it is not asked to.
#[test]
fn a_prometheus_that_holds_everything_says_the_same_of_what_is_pushed_down() {
    beside_a_reference([Via::Pushdown, Via::Pushdown, Via::Auto], true);
}

/// The VictoriaMetrics knows no remote read.
#[test]
fn a_prometheus_that_holds_everything_says_the_same_of_what_is_read_remotely() {
    beside_a_reference([Via::RemoteRead, Via::RemoteRead, Via::Auto], true);
}

/// A query API does not show native histograms as they are stored, so that there are none.
#[test]
fn a_prometheus_that_holds_everything_says_the_same_of_what_range_selectors_read() {
    beside_a_reference([Via::Query; 3], false);
}

/// The labels of an answer's series, in their order.
fn order(answer: Answer) -> Vec<String> {
    match answer {
        Answer::Vector(_, all) => all.iter().map(|series| format!("{:?}", series.labels)).collect(),
        Answer::Matrix(all) => all.iter().map(|series| format!("{:?}", series.labels)).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn answers_come_in_the_order_in_which_one_server_gives_them() {
    let Some(peers) = Peers::find(&["prometheus", "victoria-metrics"]) else { return };
    let kinds = [Kind::Prometheus, Kind::Prometheus, Kind::Victoria];
    let fleet = Fleet::start(&peers, 1, kinds, [Via::Auto; 3], true);
    let at = Span::Instant(TimestampMs(data::START + 1_800_000));
    let (start, end) = (TimestampMs(data::START + 600_000), TimestampMs(data::START + 1_800_000));
    let range = Span::Range { start, end, step: 60_000 };
    for (text, span) in [
        ("sort(seconds_total)", at),
        ("sort_desc(rate(seconds_total[5m]))", at),
        ("sort_by_label(seconds_total, \"instance\", \"__cluster__\", \"job\")", at),
        ("sort_by_label_desc(seconds_total, \"__cluster__\", \"job\", \"instance\")", at),
        ("topk(7, seconds_total)", at),
        ("bottomk(7, seconds_total)", at),
        ("sort_desc(sum by (__cluster__, job) (seconds_total))", at),
        ("seconds_total", range),
        ("topk(3, seconds_total)", range),
        ("sum by (job, __cluster__) (rate(seconds_total[5m]))", range),
        ("{__name__=~\"up|temperature|seconds_total\"}", range),
    ] {
        let found = order(ask(&fleet.frontend, &fleet.engine, text, span).expect("an answer"));
        let reference = fleet.reference.as_ref().expect("a reference");
        let wanted = fleet::order(&mut reference.lock(), text, span);
        assert!(wanted.len() > 2, "{text}: {wanted:?}");
        assert_eq!(found, wanted, "{text}");
    }
}
