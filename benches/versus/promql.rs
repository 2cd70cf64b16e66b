//! Queries as dashboards ask them, over the same data everywhere: how long each takes, and what all of them cost.
//!
//! Watershed and Prometheus open copies of one data directory; VictoriaMetrics gets the same samples by remote write. Before
//! anything is measured, the answers of the first two are compared.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use watershed::disk::RealDisk;
use watershed::model::{Labels, TimestampMs};
use watershed::runtime::Clock;
use watershed::storage::{Appendable, FloatSample, SeriesRef};
use watershed::telemetry::Registry;
use watershed::tsdb::{Deps, Options, Tsdb};

use crate::Size;
use crate::answers::{self, Asked};
use crate::proc::Cpu;
use crate::report::{Budget, SERVERS, Table};
use crate::support::peers::Peers;
use crate::support::process::{Home, Server};
use crate::support::{http, remote_write};

/// Seconds between samples.
const STEP: i64 = 15;
/// Seconds of data: of the fine series, of the coarse ones.
const FINE: i64 = 2 * 3600;
const COARSE: i64 = 24 * 3600;

const TWO_HOURS: Asked = Asked::Range(FINE - 900, 15);
const TWO_HOURS_COARSE: Asked = Asked::Range(FINE - 900, 60);
const DAY: Asked = Asked::Range(COARSE - 3600, 60);

const QUERIES: &[(&str, Asked)] = &[
    ("sum by (job) (rate(http_requests_total[5m]))", TWO_HOURS),
    ("sum by (handler, code) (rate(http_requests_total[1m]))", TWO_HOURS_COARSE),
    ("sum(rate(http_requests_total{code=~\"5..\"}[5m])) / sum(rate(http_requests_total[5m]))", TWO_HOURS),
    ("histogram_quantile(0.99, sum by (le) (rate(latency_seconds_bucket[5m])))", TWO_HOURS),
    ("histogram_quantile(0.9, sum by (le, handler) (rate(latency_seconds_bucket[5m])))", TWO_HOURS_COARSE),
    ("topk(10, sum by (handler) (rate(http_requests_total[5m])))", TWO_HOURS),
    ("topk(5, http_requests_total)", Asked::Instant),
    ("http_requests_total{instance=~\"host-0[0-4]\",handler=~\".*/1.*\"}", TWO_HOURS_COARSE),
    ("{__name__=~\"memory_.*_bytes\",instance=~\"host-1.\"}", TWO_HOURS),
    ("memory_used_bytes / memory_total_bytes * 100", TWO_HOURS),
    ("sum by (version) (memory_used_bytes * on (instance) group_left (version) build_info)", TWO_HOURS_COARSE),
    ("memory_used_bytes and on (instance) (up == 1)", TWO_HOURS_COARSE),
    ("max_over_time(sum(rate(http_requests_total[5m]))[30m:1m])", TWO_HOURS_COARSE),
    ("absent(http_requests_total{job=\"nothing\"})", TWO_HOURS),
    ("count(up == 0) or vector(0)", TWO_HOURS),
    ("avg_over_time(memory_used_bytes[10m])", TWO_HOURS_COARSE),
    ("max by (instance) (max_over_time(memory_used_bytes[30m]))", TWO_HOURS),
    ("quantile(0.95, memory_used_bytes)", TWO_HOURS),
    ("count by (code) (http_requests_total)", Asked::Instant),
    ("sum(increase(http_requests_total[1h]))", Asked::Instant),
    ("sum by (job) (rate(daily_requests_total[5m]))", DAY),
    ("avg by (job) (daily_temperature)", DAY),
    ("predict_linear(daily_temperature[1h], 3600)", DAY),
    ("sum(rate(large_total[5m]))", TWO_HOURS_COARSE),
    ("count(large_total)", Asked::Instant),
    ("sum by (shard) (large_total)", TWO_HOURS),
];

/// Answers of range queries over all large series, for what they take of memory.
const LARGE: (&str, Asked) = ("rate(large_total[1m])", TWO_HOURS);

/// All of it.
pub fn promql(size: Size, table: &mut Table) {
    let data = Data::new(if size == Size::Full { 1 } else { 10 });
    let servers = data.servers();
    let mut ratios = Vec::new();
    let mut cpu: BTreeMap<&'static str, f64> = BTreeMap::new();
    for (query, asked) in QUERIES {
        data.compare(&servers, query, *asked);
        let latency = data.measure(&servers, query, *asked, &mut cpu);
        if let (Some(ours), Some(theirs)) = (latency.get(SERVERS[0]), latency.get(SERVERS[1])) {
            ratios.push(ours / theirs);
        }
        table.add(format!("`{query}` {}: ms", asked.shown()).replace('|', "\\|"), latency, Budget::OneOver(1.0));
    }
    let mean = (ratios.iter().map(|r: &f64| r.ln()).sum::<f64>() / ratios.len() as f64).exp();
    let mean = [(SERVERS[0], mean), (SERVERS[1], 1.0)].into();
    table.add(format!("{} queries: geometric mean of latency", ratios.len()), mean, Budget::OneOver(4.0));
    table.add("the same: CPU of all, s", cpu, Budget::OneOver(4.0));
    let decoded = (data.large * (FINE / STEP) as usize * 16) as f64 / MIB;
    let peaks = servers.iter().map(|(name, server)| (*name, data.peak(server))).collect();
    let what = format!("`{}` over {} series: growth of resident peak, MiB", LARGE.0, data.large);
    table.add(what, peaks, Budget::AtMost(2.0 * decoded));
}

const MIB: f64 = (1 << 20) as f64;

/// The samples, and the homes of the servers that have them.
struct Data {
    /// The last sample, seconds.
    end: i64,
    large: usize,
    fine: Vec<Labels>,
    coarse: Vec<Labels>,
    homes: [Home; 3],
}

type Servers = Vec<(&'static str, Server)>;

impl Data {
    fn new(divisor: usize) -> Data {
        let end = crate::support::now_ms() / 60_000 * 60;
        let large = 20_000 / divisor;
        let (fine, coarse) = (fine_series(divisor, large), coarse_series(divisor));
        let data = Data { end, large, fine, coarse, homes: [Home::new(), Home::new(), Home::new()] };
        data.write(&data.homes[0].data_path());
        let copied = Command::new("cp").arg("-a").args([data.homes[0].data_path(), data.homes[1].data_path()]).status();
        assert!(copied.expect("cp runs").success());
        data
    }

    /// Writes everything with Watershed's store.
    fn write(&self, dir: &Path) {
        let clock = Clock::manual(TimestampMs(self.end * 1000));
        let deps = Deps { disk: Arc::new(RealDisk), clock, registry: Registry::new() };
        let (store, _) = Tsdb::open(dir, Options::default(), deps).expect("opens");
        let mut refs: [Vec<SeriesRef>; 2] = Default::default();
        for t in (self.end - COARSE..=self.end).step_by(STEP as usize) {
            let mut appender = store.appender();
            for (which, labels, is_due) in [(0, &self.coarse, t % 60 == 0), (1, &self.fine, t > self.end - FINE)] {
                let refs = &mut refs[which];
                if !is_due {
                    continue;
                }
                if refs.is_empty() {
                    refs.extend(labels.iter().map(|labels| appender.series(labels).expect("a series")));
                }
                let sample = |(i, series): (usize, &SeriesRef)| FloatSample {
                    series: *series,
                    t: TimestampMs(t * 1000),
                    v: value(&labels[i], i, t),
                };
                let samples: Vec<FloatSample> = refs.iter().enumerate().map(sample).collect();
                assert!(appender.append(&samples).expect("taken").0.is_empty());
            }
            appender.commit().expect("committed");
            if t % 7200 == 0 {
                store.maintain().expect("maintained");
                // Series that went to a block may be gone.
                refs = Default::default();
            }
        }
        store.close().expect("closes");
    }

    fn servers(&self) -> Servers {
        let [ours, theirs, victoria] = &self.homes;
        ours.write_config("");
        theirs.write_config("");
        let mut servers = vec![(SERVERS[0], ours.watershed(&["--log.level=warn"]))];
        if let Some(peers) = Peers::find(&["prometheus"]) {
            let command = theirs.command(&peers.path("prometheus"), &["--log.level=warn"]);
            let log = theirs.path().join("log");
            servers.push((SERVERS[1], Server::spawn(SERVERS[1], command, theirs.port, &log).wait_ready("/-/ready")));
        }
        if let Some(peers) = Peers::find(&["victoria-metrics"]) {
            let mut command = Command::new(peers.path("victoria-metrics"));
            command
                .arg(format!("-httpListenAddr={}", victoria.address()))
                .arg(format!("-storageDataPath={}", victoria.data_path().display()))
                .args(["-retentionPeriod=1y", "-loggerLevel=ERROR", "-search.latencyOffset=0s"])
                .args(["-search.maxUniqueTimeseries=1000000", "-search.disableCache"]);
            let log = victoria.path().join("log");
            let server = Server::spawn(SERVERS[2], command, victoria.port, &log).wait_ready("/health");
            self.send(&server);
            servers.push((SERVERS[2], server));
        }
        servers
    }

    fn send(&self, server: &Server) {
        let times = |from: i64, step: i64| (self.end - from..=self.end).filter(move |t| t % step == 0);
        for (all, from, step) in [(&self.coarse, COARSE, 60), (&self.fine, FINE - 1, STEP)] {
            let series: Vec<remote_write::Series> = all
                .iter()
                .enumerate()
                .map(|(i, labels)| remote_write::Series {
                    labels: labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
                    samples: times(from, step)
                        .map(|t| (t * 1000, remote_write::Value::Float(value(labels, i, t))))
                        .collect(),
                })
                .collect();
            for part in series.chunks(500) {
                remote_write::send(&server.url, part).expect("taken");
            }
        }
        http::get(&format!("{}/internal/force_flush", server.url)).expect("flushed");
    }

    fn url(&self, server: &Server, query: &str, asked: Asked) -> String {
        asked.url(&server.url, query, self.end, &[])
    }

    /// Watershed's answer must be Prometheus's.
    fn compare(&self, servers: &Servers, query: &str, asked: Asked) {
        let answers: Vec<_> =
            servers.iter().take(2).map(|(_, s)| answers::answer(&self.url(s, query, asked))).collect();
        if let [ours, theirs] = &answers[..] {
            answers::assert_same(query, ours, theirs);
        }
    }

    /// Median milliseconds of a query by server. The servers take turns.
    fn measure(
        &self,
        servers: &Servers,
        query: &str,
        asked: Asked,
        cpu: &mut BTreeMap<&'static str, f64>,
    ) -> BTreeMap<&'static str, f64> {
        const ROUNDS: usize = 9;
        let mut times: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
        for _ in 0..ROUNDS {
            for (name, server) in servers {
                let url = self.url(server, query, asked);
                let (before, started) = (Cpu::of(server.pid()), Instant::now());
                let answer = http::get(&url).expect("an answer");
                let time = started.elapsed();
                assert_eq!(answer.status, 200, "{name}: {query}: {}", answer.text());
                *cpu.entry(name).or_default() += (Cpu::of(server.pid()) - before).as_secs_f64() / ROUNDS as f64;
                times.entry(name).or_default().push(time.as_secs_f64() * 1e3);
            }
        }
        times
            .into_iter()
            .map(|(name, mut all)| {
                all.sort_by(f64::total_cmp);
                (name, all[ROUNDS / 2])
            })
            .collect()
    }

    /// By how much a query over all large series raises the resident peak, MiB.
    fn peak(&self, server: &Server) -> f64 {
        std::fs::write(format!("/proc/{}/clear_refs", server.pid()), "5").expect("the peak can be reset");
        std::thread::sleep(Duration::from_millis(200));
        let before = server.status_bytes("VmRSS:") as f64;
        http::get(&self.url(server, LARGE.0, LARGE.1)).expect("an answer");
        (server.status_bytes("VmHWM:") as f64 - before).max(0.0) / MIB
    }
}

fn labels(name: &str, pairs: &[(&str, String)]) -> Labels {
    let pairs = pairs.iter().map(|(n, v)| (*n, v.as_str()));
    Labels::from_pairs(pairs.chain([("__name__", name)]))
}

fn host(i: usize) -> String {
    format!("host-{i:02}")
}

/// What a dashboard of services looks at: some 6,000 series and the large ones.
pub fn fine_series(divisor: usize, large: usize) -> Vec<Labels> {
    let mut all = Vec::new();
    let hosts = 50 / divisor.min(5);
    for h in 0..hosts {
        let (job, instance) = (format!("job-{}", h % 5), host(h));
        let of_host = |name: &str, more: &[(&str, String)]| {
            let own = [("job", job.clone()), ("instance", instance.clone())];
            labels(name, &[&own[..], more].concat())
        };
        for i in 0..80 {
            let (handler, code) = (format!("/api/{}", i / 4), [200, 204, 404, 500][i % 4]);
            all.push(of_host("http_requests_total", &[("handler", handler), ("code", code.to_string())]));
        }
        for i in 0..36 {
            let bound = ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"][i % 12];
            let handler = format!("/api/{}", i / 12);
            all.push(of_host("latency_seconds_bucket", &[("handler", handler), ("le", bound.to_owned())]));
        }
        all.push(of_host("memory_used_bytes", &[]));
        all.push(of_host("memory_total_bytes", &[]));
        all.push(of_host("up", &[]));
        all.push(of_host("build_info", &[("version", format!("1.{}", h % 3))]));
    }
    for i in 0..large {
        let own = [("instance", host(i % 100)), ("shard", (i % 10).to_string()), ("id", i.to_string())];
        all.push(labels("large_total", &own));
    }
    all
}

fn coarse_series(divisor: usize) -> Vec<Labels> {
    let of_kind = |name: &'static str| {
        (0..300 / divisor).map(move |i| labels(name, &[("job", format!("job-{}", i % 5)), ("instance", host(i))]))
    };
    of_kind("daily_requests_total").chain(of_kind("daily_temperature")).collect()
}

/// What a series is at `t` seconds: counters grow and now and then start again, gauges wander, the rest stands still.
pub fn value(labels: &Labels, i: usize, t: i64) -> f64 {
    let name = labels.metric_name().unwrap_or_default();
    let noise = |salt: i64| {
        let mut x =
            (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (salt as u64).wrapping_mul(0xff51_afd7_ed55_8ccd);
        x ^= x >> 29;
        x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((x ^ x >> 32) >> 11) as f64 / (1u64 << 53) as f64
    };
    match name {
        "up" => f64::from(u8::from(!(i.is_multiple_of(17) && t / 600 % 5 == 0))),
        "build_info" => 1.0,
        "memory_total_bytes" => 17_179_869_184.0,
        "memory_used_bytes" | "daily_temperature" => (4096.0 * (1e6 + 1e6 * noise(t / 60)).round()).abs(),
        "latency_seconds_bucket" => {
            let rank = (i % 12) as f64 + 1.0;
            (t % 100_000) as f64 * rank * (1.0 + (i / 12 % 7) as f64)
        }
        // Twelve hours, then from 0 again.
        _ => ((t + 977 * i as i64) % 43_200) as f64 * (1.0 + (i % 9) as f64) + (10.0 * noise(t)).floor(),
    }
}
