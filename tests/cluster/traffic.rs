//! How much goes between the frontend and its members for a query, pushed down and read as samples.

use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use url::Url;
use watershed::cluster::{FederationConfig, Frontend, MemberConfig, Sender, Via};
use watershed::model::{Labels, TimestampMs, Value};
use watershed::promql::{Engine, Span};
use watershed::runtime::Tasks;
use watershed::storage::Scope;

use crate::MEMBERS;
use crate::fleet;
use crate::fuzz::data::{self, Series};
use crate::fuzz::random::Random;
use crate::shown::{Shown, difference, shown};
use crate::support::peers::Peers;
use crate::support::process::{Home, Server};
use crate::support::proxy::Proxy;

/// An hour at the interval of the samples.
const HOUR: Span = Span::Range { start: TimestampMs(data::START), end: TimestampMs(data::END), step: data::STEP };
const NOW: Span = Span::Instant(TimestampMs(data::END - data::STEP));

/// What a dashboard of services asks.
const AGGREGATIONS: [(&str, Span); 12] = [
    ("sum by (job) (rate(http_requests_total[5m]))", HOUR),
    ("sum by (__cluster__, job) (rate(http_requests_total[5m]))", HOUR),
    ("sum(rate(http_requests_total{code=\"500\"}[5m])) / sum(rate(http_requests_total[5m]))", HOUR),
    ("topk(3, sum by (handler) (rate(http_requests_total[5m])))", HOUR),
    ("histogram_quantile(0.99, sum by (le) (rate(latency_seconds_bucket[5m])))", HOUR),
    ("count by (code) (http_requests_total)", HOUR),
    ("max by (job) (http_requests_total)", HOUR),
    ("avg by (job) (http_requests_total)", HOUR),
    ("group by (handler) (http_requests_total)", HOUR),
    ("count_values(\"v\", http_requests_total >= bool 1000)", HOUR),
    ("topk(10, http_requests_total)", NOW),
    ("sum by (job) (increase(http_requests_total[30m]))", NOW),
];

/// What only the samples of all members tell, or what is as much as the samples.
const OTHERS: [(&str, Span); 3] = [
    ("quantile by (job) (0.95, rate(http_requests_total[5m]))", HOUR),
    ("stddev by (job) (http_requests_total)", HOUR),
    ("rate(http_requests_total{job=\"job-1\",handler=\"/api/1\"}[5m])", HOUR),
];

/// An aggregation's answer is so many times smaller than what it is made of.
const LEAST: f64 = 20.0;

/// Requests and latencies of one member's servers.
fn series(random: &mut Random) -> Vec<Series> {
    let mut all = Vec::new();
    for instance in 0..24 {
        for handler in 0..6 {
            let own = [
                ("job", format!("job-{}", instance % 3)),
                ("instance", format!("host-{instance:02}:9100")),
                ("handler", format!("/api/{handler}")),
            ];
            for code in ["200", "404", "500"] {
                all.push(counter(random, "http_requests_total", &own, ("code", code)));
            }
            for le in ["0.01", "0.05", "0.1", "0.5", "1", "5", "+Inf"] {
                all.push(counter(random, "latency_seconds_bucket", &own, ("le", le)));
            }
        }
    }
    all
}

fn counter(random: &mut Random, name: &str, own: &[(&str, String)], further: (&str, &str)) -> Series {
    let own = own.iter().map(|(name, value)| (*name, value.as_str()));
    let labels = Labels::from_pairs(own.chain([further, ("__name__", name)]));
    let (mut v, most) = (0.0, random.of(&[20, 100, 1000]));
    let sample = |n: i64| {
        v += random.below(most) as f64;
        (data::START + n * data::STEP, Value::Float(v))
    };
    Series { labels, samples: (0..data::COUNT).map(sample).collect() }
}

/// Members, and a frontend over them that every byte to and from them passes a proxy.
struct Wired {
    frontend: Frontend,
    proxies: Vec<Proxy>,
}

impl Wired {
    fn new(servers: &[(Home, Server)], via: Via) -> Wired {
        let proxies: Vec<Proxy> = servers.iter().map(|(home, _)| Proxy::start(&home.address())).collect();
        let sources = MEMBERS.iter().zip(&proxies).map(|((name, _), proxy)| {
            let url = Url::parse(&format!("http://{}", proxy.address)).expect("a URL");
            fleet::source(MemberConfig { via, ..MemberConfig::new(*name, url) })
        });
        let frontend = Frontend::new(&FederationConfig::default(), sources.collect(), Tasks::new());
        Wired { frontend: frontend.expect("few labels"), proxies }
    }

    /// The answer, and how many bytes it took.
    fn ask(&self, engine: &Engine, text: &str, span: Span) -> (Shown, u64) {
        let bytes = || self.proxies.iter().map(Proxy::bytes).sum::<u64>();
        let before = bytes();
        let scope = Scope::new(Some(Instant::now() + Duration::from_secs(60)), u64::MAX, 1 << 30);
        let outcome = self.frontend.run(engine, text, span, &Sender::default(), &scope);
        let answer = outcome.map_err(|e| e.to_string()).and_then(|outcome| outcome.answer.map_err(|e| e.to_string()));
        (shown(answer), bytes() - before)
    }
}

#[test]
fn aggregations_that_are_pushed_down_move_twenty_times_fewer_bytes_than_samples() {
    let Some(peers) = Peers::find(&["prometheus"]) else { return };
    let runtime = Runtime::new().expect("a runtime starts");
    let _entered = runtime.enter();
    let servers: Vec<_> =
        (0..MEMBERS.len() as u64).map(|number| fleet::prometheus(&peers, &series(&mut Random(number + 1)))).collect();
    let engine = crate::engine();
    let (pushed, raw) = (Wired::new(&servers, Via::Pushdown), Wired::new(&servers, Via::RemoteRead));
    for wired in [&pushed, &raw] {
        // The first question also asks what members can do.
        let (answer, _) = wired.ask(&engine, "count(http_requests_total) + quantile(0.5, http_requests_total)", NOW);
        assert!(answer.is_ok(), "{answer:?}");
    }
    println!("| query | pushed, bytes | as samples, bytes | times fewer |\n|---|--:|--:|--:|");
    let mut worst = f64::INFINITY;
    for (list, is_bounded) in [(&AGGREGATIONS[..], true), (&OTHERS[..], false)] {
        for (text, span) in list {
            let (answer, few) = pushed.ask(&engine, text, *span);
            let (over_samples, many) = raw.ask(&engine, text, *span);
            assert!(over_samples.as_ref().is_ok_and(|answer| !answer.is_empty()), "{text}: {over_samples:?}");
            assert_eq!(difference(&over_samples, &answer), None, "{text}");
            let ratio = many as f64 / few as f64;
            println!("| `{text}` | {few} | {many} | {ratio:.1} |");
            if is_bounded {
                worst = worst.min(ratio);
            }
        }
    }
    assert!(worst >= LEAST, "one aggregation moves only {worst:.1} times fewer bytes");
}
