//! One query over three servers: our frontend, promxy where it is found, and one Prometheus that holds everything.
//!
//! The three are Prometheus servers with data of the same shape; the one has all of it, with `__cluster__` as a real label.
//! Before anything is measured, our answers are compared with its. Clients take gzip, as dashboards do. What is on the wire is
//! counted by proxies before the members, which nothing passes while time is taken.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
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
use crate::promql;
use crate::report::{Budget, PROMXY, SERVERS, Table};
use crate::support::http;
use crate::support::peers::Peers;
use crate::support::process::{Home, Server};
use crate::support::proxy::Proxy;

/// The members' names.
const MEMBERS: [&str; 3] = ["home", "cabin", "boat"];
/// Seconds between samples, and of data.
const STEP: i64 = 15;
const SPAN: i64 = 2 * 3600;

const HOUR: Asked = Asked::Range(3600, 15);
const TWO_HOURS: Asked = Asked::Range(SPAN - 600, 30);

const QUERIES: &[(&str, Asked)] = &[
    ("count by (__cluster__) (up)", Asked::Instant),
    ("sum by (job) (rate(http_requests_total[5m]))", HOUR),
    ("sum by (__cluster__, code) (rate(http_requests_total[5m]))", TWO_HOURS),
    ("sum(rate(http_requests_total{code=~\"5..\"}[5m])) / sum(rate(http_requests_total[5m]))", HOUR),
    ("histogram_quantile(0.99, sum by (le) (rate(latency_seconds_bucket[5m])))", HOUR),
    ("topk(5, sum by (handler) (rate(http_requests_total[5m])))", HOUR),
    ("avg by (job) (memory_used_bytes)", TWO_HOURS),
    ("memory_used_bytes / memory_total_bytes * 100", HOUR),
    ("quantile(0.95, memory_used_bytes)", HOUR),
];

/// How often each query is measured.
const ROUNDS: usize = 15;
/// How slow the slow member is, and how long its query may take; what is allowed beyond that.
const SLOW: Duration = Duration::from_secs(5);
const ALLOWED: Duration = Duration::from_secs(1);
const LATE: Duration = Duration::from_millis(100);
const MIB: f64 = (1 << 20) as f64;

/// All of it.
pub fn cluster(size: Size, table: &mut Table) {
    let Some(peers) = Peers::find(&["prometheus"]) else { return };
    let data = Data::new(&peers, if size == Size::Full { 3 } else { 10 });
    let addresses: Vec<String> = data.members.iter().map(|member| member.server.address.clone()).collect();
    let proxies: Vec<Proxy> = addresses.iter().map(|address| Proxy::start(address)).collect();
    let wired: Vec<String> = proxies.iter().map(|proxy| proxy.address.clone()).collect();
    let exe = promxy_exe(&peers);
    let mut direct = vec![watershed(&addresses, false), data.single()];
    direct.extend(exe.iter().map(|exe| promxy(exe, &addresses)));
    let mut over_wire = vec![watershed(&wired, false)];
    over_wire.extend(exe.iter().map(|exe| promxy(exe, &wired)));

    latencies(&data, &direct, "", table);
    latencies(&data, &[watershed(&addresses, true), data.single()], " kept", table);
    moved(&data, &over_wire, &proxies, table);
    cold(&data, &addresses, exe.as_deref(), table);
    slow(&data, &over_wire, &proxies, table);
}

/// A server.
struct Running {
    server: Server,
    _home: Home,
}

/// Whom queries are asked.
struct Contender {
    name: &'static str,
    /// The prefix of its API.
    base: String,
    running: Option<Running>,
    /// It, and those that it asks.
    pids: Vec<u32>,
}

impl Contender {
    /// Asks, and tells how long it took.
    fn ask(&self, url: &str) -> (Duration, http::Response) {
        let started = Instant::now();
        let answer = http::request("GET", url, "Accept-Encoding: gzip\r\n").expect("an answer");
        (started.elapsed(), answer)
    }

    fn cpu(&self) -> Vec<Cpu> {
        self.pids.iter().map(|pid| Cpu::of(*pid)).collect()
    }

    /// The server that is asked first.
    fn server(&self) -> Option<&Server> {
        self.running.as_ref().map(|running| &running.server)
    }
}

/// A frontend, which keeps what members have evaluated or not.
fn watershed(members: &[String], keeps: bool) -> Contender {
    let mut yaml = format!(
        "target: federation-frontend\nfederation:\n  partial_response: true\n  cache: {keeps}\n  proxy_targets:\n"
    );
    for (name, address) in MEMBERS.iter().zip(members) {
        // Writing to a string cannot fail.
        let _ = writeln!(yaml, "  - {{name: {name}, url: 'http://{address}', policy: optional}}");
    }
    let home = Home::new();
    home.write_config(&yaml);
    let server = home.watershed(&["--log.level=warn"]);
    contender(SERVERS[0], format!("{}/prometheus", server.url), Running { server, _home: home })
}

fn promxy(exe: &Path, members: &[String]) -> Contender {
    let mut yaml = String::from("promxy:\n  server_groups:\n");
    for (name, address) in MEMBERS.iter().zip(members) {
        let _ = writeln!(yaml, "  - static_configs: [{{targets: ['{address}']}}]\n    labels: {{__cluster__: {name}}}");
        yaml.push_str("    anti_affinity: 10s\n    remote_read: true\n    ignore_error: true\n");
    }
    let home = Home::new();
    home.write_config(&yaml);
    let mut command = Command::new(exe);
    command
        .arg(format!("--config={}", home.config_path().display()))
        .arg(format!("--bind-addr={}", home.address()))
        .arg("--log-level=error")
        .current_dir(home.path());
    let server = Server::spawn(PROMXY, command, home.port, &home.path().join("log")).wait_ready("/-/ready");
    contender(PROMXY, server.url.clone(), Running { server, _home: home })
}

fn contender(name: &'static str, base: String, running: Running) -> Contender {
    Contender { name, base, pids: vec![running.server.pid()], running: Some(running) }
}

/// Beside the other peers, or where programs are.
fn promxy_exe(peers: &Peers) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).map(|folder| folder.join(PROMXY));
    let found = std::iter::once(peers.path(PROMXY)).chain(in_path).find(|exe| exe.is_file());
    if found.is_none() {
        println!("promxy is not found; its column stays empty");
    }
    found
}

/// The members' samples and those of all, with the servers that have them.
struct Data {
    /// The last sample, seconds.
    end: i64,
    members: Vec<Running>,
    whole: Running,
}

impl Data {
    fn new(peers: &Peers, divisor: usize) -> Data {
        let end = crate::support::now_ms() / 60_000 * 60;
        let series = promql::fine_series(divisor, 0);
        let of_member = |number: usize| -> Vec<(Labels, usize)> {
            series.iter().enumerate().map(|(i, labels)| (labels.clone(), i + number * series.len())).collect()
        };
        let members = (0..MEMBERS.len()).map(|number| prometheus(peers, &of_member(number), end)).collect();
        let all = MEMBERS.iter().enumerate().flat_map(|(number, name)| {
            of_member(number).into_iter().map(move |(labels, i)| {
                let pairs = labels.iter().chain([("__cluster__", *name)]);
                (Labels::from_pairs(pairs), i)
            })
        });
        let whole = prometheus(peers, &all.collect::<Vec<_>>(), end);
        Data { end, members, whole }
    }

    /// The server that has everything.
    fn single(&self) -> Contender {
        let server = &self.whole.server;
        Contender { name: SERVERS[1], base: server.url.clone(), pids: vec![server.pid()], running: None }
    }

    fn url(&self, contender: &Contender, query: &str, asked: Asked) -> String {
        asked.url(&contender.base, query, self.end, &[])
    }
}

/// A Prometheus with these series; with each goes which of all it is.
fn prometheus(peers: &Peers, series: &[(Labels, usize)], end: i64) -> Running {
    let home = Home::new();
    let clock = Clock::manual(TimestampMs(end * 1000));
    let deps = Deps { disk: Arc::new(RealDisk), clock, registry: Registry::new() };
    let (store, _) = Tsdb::open(&home.data_path(), Options::default(), deps).expect("opens");
    let mut refs: Vec<SeriesRef> = Vec::new();
    for t in (end - SPAN..=end).step_by(STEP as usize) {
        let mut appender = store.appender();
        if refs.is_empty() {
            refs.extend(series.iter().map(|(labels, _)| appender.series(labels).expect("a series")));
        }
        let sample = |((labels, i), series): (&(Labels, usize), &SeriesRef)| FloatSample {
            series: *series,
            t: TimestampMs(t * 1000),
            v: promql::value(labels, *i, t),
        };
        let samples: Vec<FloatSample> = series.iter().zip(&refs).map(sample).collect();
        assert!(appender.append(&samples).expect("taken").0.is_empty());
        appender.commit().expect("committed");
    }
    store.close().expect("closes");
    home.write_config("");
    let command = home.command(&peers.path("prometheus"), &["--log.level=warn"]);
    let server = Server::spawn("prometheus", command, home.port, &home.path().join("log")).wait_ready("/-/ready");
    Running { server, _home: home }
}

/// How long each query takes, and what all of them cost, members included. `kept` is said of a frontend that keeps results: it
/// asks members for the newest minutes only.
fn latencies(data: &Data, contenders: &[Contender], kept: &str, table: &mut Table) {
    let mut cpu: BTreeMap<&'static str, f64> = BTreeMap::new();
    let mut ratios = Vec::new();
    let member_pids: Vec<u32> = data.members.iter().map(|member| member.server.pid()).collect();
    let of_members = || -> Vec<Cpu> { member_pids.iter().map(|pid| Cpu::of(*pid)).collect() };
    let since = |before: Vec<Cpu>, after: Vec<Cpu>| -> f64 {
        after.into_iter().zip(before).map(|(after, before)| (after - before).as_secs_f64()).sum()
    };
    for (query, asked) in QUERIES {
        // Of sums that are the same but for their last bits, `topk` chooses any.
        let is_compared = !query.starts_with("topk");
        for contender in contenders.iter().filter(|c| c.name != PROMXY && is_compared) {
            let [ours, theirs] = [contender, &contenders[1]].map(|c| answers::answer(&data.url(c, query, *asked)));
            answers::assert_same(query, &ours, &theirs);
        }
        let mut times: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
        for _ in 0..ROUNDS {
            for contender in contenders {
                let url = data.url(contender, query, *asked);
                let (own, members) = (contender.cpu(), of_members());
                let (time, answer) = contender.ask(&url);
                assert_eq!(answer.status, 200, "{}: {query}: {}", contender.name, answer.text());
                let used = since(own, contender.cpu()) + since(members, of_members());
                *cpu.entry(contender.name).or_default() += used * 1e3 / ROUNDS as f64;
                times.entry(contender.name).or_default().push(time.as_secs_f64() * 1e3);
            }
        }
        let latency = medians(times);
        if let (Some(ours), Some(theirs)) = (latency.get(SERVERS[0]), latency.get(SERVERS[1])) {
            ratios.push(ours / theirs);
        }
        table.add(format!("cluster: `{query}` {}{kept}: ms", asked.shown()), latency, Budget::OneOver(1.0));
    }
    let mean = (ratios.iter().map(|r: &f64| r.ln()).sum::<f64>() / ratios.len() as f64).exp();
    let mean = [(SERVERS[0], mean), (SERVERS[1], 1.0)].into();
    table.add(
        format!("cluster: {} queries{kept}: geometric mean of latency", ratios.len()),
        mean,
        Budget::OneOver(1.0),
    );
    table.add(format!("cluster: the same{kept}: CPU of all servers, ms"), cpu, Budget::None);
    let peak = |c: &Contender| Some((c.name, c.server()?.status_bytes("VmHWM:") as f64 / MIB));
    let peaks = contenders.iter().filter_map(peak).collect();
    table.add(format!("cluster: the same{kept}: peak resident memory of the frontend, MiB"), peaks, Budget::None);
}

fn medians(times: BTreeMap<&'static str, Vec<f64>>) -> BTreeMap<&'static str, f64> {
    let median = |(name, mut all): (&'static str, Vec<f64>)| {
        all.sort_by(f64::total_cmp);
        (name, all[all.len() / 2])
    };
    times.into_iter().map(median).collect()
}

/// Bytes between frontend and members.
fn moved(data: &Data, contenders: &[Contender], proxies: &[Proxy], table: &mut Table) {
    let bytes = || proxies.iter().map(Proxy::bytes).sum::<u64>();
    for (query, asked) in QUERIES {
        let moved: BTreeMap<&'static str, f64> = contenders
            .iter()
            .map(|contender| {
                let url = data.url(contender, query, *asked);
                // What it asks before its first answer is not the query's.
                contender.ask(&url);
                let before = bytes();
                contender.ask(&url);
                (contender.name, (bytes() - before) as f64 / 1e3)
            })
            .collect();
        let budget = moved.get(PROMXY).map_or(Budget::None, |most| Budget::AtMost(*most));
        table.add(format!("cluster: `{query}` {}: kB moved", asked.shown()), moved, budget);
    }
}

/// The first answer of a new frontend, which knows nothing of its members.
fn cold(data: &Data, members: &[String], exe: Option<&Path>, table: &mut Table) {
    let (query, asked) = QUERIES[1];
    let mut times: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
    for _ in 0..5 {
        let mut new = vec![watershed(members, false)];
        new.extend(exe.map(|exe| promxy(exe, members)));
        for contender in &new {
            let (time, _) = contender.ask(&data.url(contender, query, asked));
            times.entry(contender.name).or_default().push(time.as_secs_f64() * 1e3);
        }
    }
    table.add(format!("cluster: `{query}`, the first answer of a new frontend: ms"), medians(times), Budget::None);
}

/// One member answers after five seconds; the query allows one.
fn slow(data: &Data, contenders: &[Contender], proxies: &[Proxy], table: &mut Table) {
    let (query, asked) = QUERIES[1];
    proxies[2].delay(SLOW);
    let allowed = ALLOWED.as_secs().to_string();
    let mut times: BTreeMap<&'static str, f64> = BTreeMap::new();
    for contender in contenders {
        let (time, answer) = contender.ask(&asked.url(&contender.base, query, data.end, &[("timeout", &allowed)]));
        println!("one slow member: {} answers {} after {time:?}", contender.name, answer.status);
        times.insert(contender.name, time.as_secs_f64() * 1e3);
    }
    let most = (ALLOWED + LATE).as_secs_f64() * 1e3;
    let what = format!("cluster: one member {} s slow, the query's timeout {allowed} s: ms", SLOW.as_secs());
    table.add(what, times, Budget::AtMost(most));
}
