//! The work that is compared; budgets are those of the design.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::Size;
use crate::cluster;
use crate::fleet::{Fleet, Load, Member};
use crate::gateway;
use crate::proc::Cpu;
use crate::promql;
use crate::remote_read;
use crate::remote_write;
use crate::report::{Budget, SERVERS, Table};
use crate::storage;
use crate::support::http;

/// One comparison.
type Work = fn(Size, &mut Table);

/// By name.
pub const ALL: &[(&str, Work)] = &[
    ("scrape", scrape),
    ("federate", federate),
    ("idle", idle),
    ("memory", memory),
    ("restart", storage::restart),
    ("disk", storage::disk),
    ("ingest", storage::ingest),
    ("promql", promql::promql),
    ("remote-read", remote_read::remote_read),
    ("remote-write", remote_write::remote_write),
    ("gateway", gateway::gateway),
    ("cluster", cluster::cluster),
];

const MIB: f64 = (1 << 20) as f64;

/// Steady scraping of 20,000 samples a second.
fn scrape(size: Size, table: &mut Table) {
    let load = Load { targets: 20, series: 5000, interval_s: 5, small: false };
    let fleet = Fleet::start(load, &SERVERS);
    // The first scrapes build everything; steady state begins when nothing is new any more.
    fleet.wait_for_rounds(4);
    let seconds = if size == Size::Full { 60 } else { 30 };
    let usage = fleet.watch(Duration::from_secs(seconds));
    let of = |figure: fn(&crate::fleet::Usage) -> f64| usage.iter().map(|(name, u)| (*name, figure(u))).collect();
    table.add(
        "scrape 20k samples/s: CPU per sample, us",
        of(|u| u.cpu.as_secs_f64() * 1e6 / u.samples as f64),
        Budget::OneOver(5.0),
    );
    table.add("scrape 20k samples/s: samples taken, thousands", of(|u| u.samples as f64 / 1e3), Budget::None);
    table.add("scrape 20k samples/s: bytes taken, MB", of(|u| u.bytes as f64 / 1e6), Budget::None);
    let rss = fleet.each(|m| m.server.status_bytes("VmRSS:") as f64 / MIB);
    table.add("scrape 20k samples/s: resident memory of 100k series, MiB", rss, Budget::None);
}

/// Answers of `/federate` over 100,000 series.
fn federate(size: Size, table: &mut Table) {
    let load = Load { targets: 20, series: if size == Size::Full { 5000 } else { 1000 }, interval_s: 30, small: true };
    let fleet = Fleet::start(load, &SERVERS[..3]);
    fleet.wait_for_rounds(1);
    // The job `small` may be scraped up to an interval later.
    let small = "{job=\"small\",namespace!=\"\"}";
    crate::support::wait_for("the small job to be there", Duration::from_secs(60), || {
        let there = |m: &Member| fetch(m, small).lines >= crate::exporter::SMALL;
        if fleet.members.iter().all(there) { Ok(()) } else { Err("not yet") }
    });
    let series = load.total() / 1000;
    // The shorter an answer, the more of them it takes until its processor time shows above what else the server does.
    for (what, matcher, least, count, budget) in [
        (format!("/federate of {series}k series"), "{__name__=~\".+\"}", load.total(), 3, 15.0),
        (format!("/federate of 1k series among {series}k"), small, crate::exporter::SMALL, 100, 10.0),
    ] {
        let mut answers: BTreeMap<&'static str, Answers> = BTreeMap::new();
        for _ in 0..ROUNDS {
            for member in &fleet.members {
                answers.entry(member.name).or_default().ask(member, matcher, count, least);
            }
        }
        let of = |figure: fn(&Answers) -> f64| answers.iter().map(|(name, a)| (*name, figure(a))).collect();
        table.add(format!("{what}: time, ms"), of(|a| a.median().as_secs_f64() * 1e3), Budget::OneOver(budget));
        table.add(format!("{what}: CPU, ms"), of(|a| a.cpu().as_secs_f64() * 1e3), Budget::OneOver(budget));
        table.add(format!("{what}: bytes, MB"), of(|a| a.bytes as f64 / 1e6), Budget::None);
    }
    let peak = fleet.each(|m| m.server.status_bytes("VmHWM:") as f64 / MIB);
    table.add(format!("/federate of {series}k series: peak resident memory, MiB"), peak, Budget::None);
}

/// How often the servers take turns, so that a noisy moment is not all of one server's time.
const ROUNDS: usize = 5;

/// Several answers to one question.
#[derive(Default)]
struct Answers {
    times: Vec<Duration>,
    cpu: Duration,
    bytes: usize,
}

impl Answers {
    fn ask(&mut self, member: &Member, matcher: &str, count: usize, least_lines: usize) {
        // Once before, for pages and caches that the first one fills.
        let mut last = fetch(member, matcher);
        let before = Cpu::of(member.server.pid());
        for _ in 0..count {
            last = fetch(member, matcher);
            self.times.push(last.time);
        }
        self.cpu += Cpu::of(member.server.pid()) - before;
        assert!(last.lines >= least_lines, "{} answered {} lines of {least_lines}", member.name, last.lines);
        self.bytes = last.bytes;
    }

    fn median(&self) -> Duration {
        let mut times = self.times.clone();
        times.sort();
        times[times.len() / 2]
    }

    fn cpu(&self) -> Duration {
        self.cpu / self.times.len() as u32
    }
}

/// One answer, not kept.
struct Fetched {
    time: Duration,
    bytes: usize,
    lines: usize,
}

fn fetch(member: &Member, matcher: &str) -> Fetched {
    let url = http::url("", "/federate", &[("match[]", matcher)]);
    let start = Instant::now();
    let mut stream = TcpStream::connect(&member.server.address).expect("a connection");
    let head = format!("GET {url} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", member.server.address);
    stream.write_all(head.as_bytes()).expect("the request is sent");
    let mut buffer = vec![0; 256 * 1024];
    let (mut bytes, mut lines) = (0, 0);
    loop {
        let n = stream.read(&mut buffer).expect("the answer is read");
        if n == 0 {
            return Fetched { time: start.elapsed(), bytes, lines };
        }
        if bytes == 0 {
            let status = String::from_utf8_lossy(&buffer[..n.min(15)]).into_owned();
            assert!(status.contains("200"), "{} answered {status}", member.name);
        }
        bytes += n;
        lines += memchr::memchr_iter(b'\n', &buffer[..n]).count();
    }
}

/// An edge with next to nothing to do.
fn idle(size: Size, table: &mut Table) {
    let load = Load { targets: 1, series: 1000, interval_s: 15, small: false };
    let fleet = Fleet::start(load, &SERVERS);
    fleet.wait_for_rounds(3);
    let seconds = if size == Size::Full { 120 } else { 60 };
    let usage = fleet.watch(Duration::from_secs(seconds));
    let rss = fleet.each(|m| m.server.status_bytes("VmRSS:") as f64 / MIB);
    table.add("idle edge, 1k series every 15 s: resident memory, MiB", rss, Budget::AtMost(12.0));
    let cpu = usage.iter().map(|(name, u)| (*name, u.cpu.as_secs_f64() * 1e3 / seconds as f64)).collect();
    table.add("idle edge, 1k series every 15 s: CPU, ms per second", cpu, Budget::AtMost(0.3));
}

/// Many active series.
fn memory(size: Size, table: &mut Table) {
    let targets = if size == Size::Full { 50 } else { 10 };
    let load = Load { targets, series: 10_000, interval_s: 30, small: false };
    let fleet = Fleet::start(load, &SERVERS[..3]);
    fleet.wait_for_rounds(3);
    // The last scrape is still being worked on when its body has been taken.
    std::thread::sleep(Duration::from_secs(5));
    let thousands = load.total() / 1000;
    let per_series = |key: &'static str| fleet.each(|m| m.server.status_bytes(key) as f64 / load.total() as f64);
    table.add(
        format!("{thousands}k series: resident memory per series, B"),
        per_series("VmRSS:"),
        Budget::OneOver(5.0),
    );
    table.add(format!("{thousands}k series: the same at its peak, B"), per_series("VmHWM:"), Budget::None);
}
