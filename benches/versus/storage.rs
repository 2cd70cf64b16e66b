//! What storing costs: getting ready again, bytes on disk, appending.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use watershed::disk::RealDisk;
use watershed::model::{Labels, TimestampMs};
use watershed::runtime::Clock;
use watershed::storage::{Appendable as _, FloatSample, SeriesRef};
use watershed::telemetry::Registry;
use watershed::tsdb::{Deps, Options, Tsdb};

use crate::Size;
use crate::fleet::{Fleet, Load};
use crate::proc::Cpu;
use crate::report::{Budget, SERVERS, Table};
use crate::support::http;
use crate::support::peers::Peers;
use crate::support::process::{Home, Server};

/// The hidden argument that makes the benchmark's executable write samples.
pub const WRITER: &str = "--write-samples";

type Figures = BTreeMap<&'static str, f64>;

/// Killed with many series in the log, and started again, one after the other.
pub fn restart(size: Size, table: &mut Table) {
    let (series, rounds) = if size == Size::Full { (10_000, 40) } else { (2_000, 20) };
    let load = Load { targets: 20, series, interval_s: 2, small: false };
    let fleet = Fleet::start(load, &SERVERS[..3]);
    fleet.wait_for_rounds(rounds);
    let (mut seconds, mut cpu) = (Figures::new(), Figures::new());
    let mut members = fleet.members;
    // The others must not take the processor from the one that is measured.
    while let Some(member) = members.pop() {
        let name = member.name;
        for other in &members {
            other.server.signal(rustix::process::Signal::STOP);
        }
        let (time, used) = member.kill_and_restart();
        for other in &members {
            other.server.signal(rustix::process::Signal::CONT);
        }
        seconds.insert(name, time.as_secs_f64());
        cpu.insert(name, used.as_secs_f64());
    }
    let what = format!("kill -9 with {}k series x {rounds} in the log", load.total() / 1000);
    table.add(format!("{what}: ready again, s"), seconds, Budget::OneOver(4.0));
    table.add(format!("{what}: CPU until then, s"), cpu, Budget::None);
}

/// Six hours of mixed data as blocks.
pub fn disk(size: Size, table: &mut Table) {
    let series = if size == Size::Full { 1000 } else { 200 };
    let home = Home::new();
    let text = home.path().join("samples.txt");
    let samples = write_mixed(&text, series, 1_000);
    let mut bytes = Figures::new();
    let import = |exe: &Path, out: &Path| {
        let mut command = Command::new(exe);
        command.args(["tsdb", "create-blocks-from", "openmetrics"]).arg(&text).arg(out);
        let status = command.stdout(Stdio::null()).status().expect("the import runs");
        assert!(status.success(), "{} could not import", exe.display());
        size_of(out) as f64 / samples as f64
    };
    bytes.insert(SERVERS[0], import(Path::new(env!("CARGO_BIN_EXE_watershed")), &home.path().join("ours")));
    if let Some(peers) = Peers::find(&["promtool"]) {
        bytes.insert(SERVERS[1], import(&peers.path("promtool"), &home.path().join("theirs")));
    }
    if let Some(peers) = Peers::find(&["victoria-metrics"]) {
        // It reads the same text with times in milliseconds.
        write_mixed(&text, series, 1);
        bytes.insert(SERVERS[2], victoria(&peers, &home, &text) as f64 / samples as f64);
    }
    table.add(format!("6 h of {series} mixed series as blocks: bytes a sample"), bytes, Budget::OneOver(1.0));
}

/// What VictoriaMetrics keeps of a text, in bytes.
fn victoria(peers: &Peers, home: &Home, text: &Path) -> u64 {
    let mut command = Command::new(peers.path("victoria-metrics"));
    command
        .arg(format!("-httpListenAddr={}", home.address()))
        .arg(format!("-storageDataPath={}", home.data_path().display()))
        .args(["-retentionPeriod=1y", "-loggerLevel=ERROR"]);
    let mut server =
        Server::spawn("victoriametrics", command, home.port, &home.path().join("log")).wait_ready("/health");
    let body = std::fs::read_to_string(text).expect("the text that was written");
    for piece in pieces(&body, 8 << 20) {
        let url = format!("{}/api/v1/import/prometheus", server.url);
        let answer = http::post_text(&url, piece).expect("imported");
        assert!(answer.status < 300, "{}", answer.status);
    }
    http::get(&format!("{}/internal/force_flush", server.url)).expect("flushed");
    http::get(&format!("{}/internal/force_merge", server.url)).expect("merged");
    server.signal(rustix::process::Signal::TERM);
    server.wait_exit(std::time::Duration::from_secs(60));
    size_of(&home.data_path())
}

/// A text in pieces of whole lines.
fn pieces(body: &str, len: usize) -> impl Iterator<Item = &str> {
    let mut rest = body;
    std::iter::from_fn(move || {
        let cut = memchr::memrchr(b'\n', &rest.as_bytes()[..len.min(rest.len())])? + 1;
        let (piece, tail) = rest.split_at(cut);
        rest = tail;
        Some(piece)
    })
}

/// Writes six hours of samples every 15 s, ending a day ago; returns how many. Counters and gauges, integers and
/// fractions, still and restless ones, in about the shares that hosts and services have.
fn write_mixed(path: &Path, series: usize, ms_per_unit: i64) -> usize {
    let mut out = BufWriter::new(File::create(path).expect("a file"));
    let now = crate::support::now_ms() / 1000;
    let start = (now - 30 * 3600) / 7200 * 7200;
    let steps = 6 * 3600 / 15;
    let mut line = String::new();
    for i in 0..series {
        let mut random = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut value = 1000.0 * i as f64;
        let kind = i % 10;
        for step in 0..steps {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let noise = (random >> 11) as f64 / (1u64 << 53) as f64;
            value = match kind {
                // Counters: of requests, of bytes, of seconds, and one that hardly moves.
                0 | 1 => value + (noise * 20.0).floor(),
                2 => value + (noise * 150_000.0).floor(),
                3 => ((value + noise * 15.0) * 100.0).round() / 100.0,
                4 => value + if noise > 0.98 { 1.0 } else { 0.0 },
                // Gauges: constant, of memory pages, of temperatures, of a ratio.
                5 | 6 => value,
                7 => (value + ((noise - 0.5) * 200.0).round() * 4096.0).abs(),
                8 => ((20.0 + 10.0 * noise) * 10.0).round() / 10.0,
                _ => noise,
            };
            line.clear();
            let t = (start + step * 15) * 1000;
            let family = ["requests_total", "bytes", "seconds", "temperature"][i % 4];
            let _ = write!(line, "mixed_{family}_{}{{{}}} {value} ", i / 40, Instance(i));
            let _ = if ms_per_unit == 1 { writeln!(line, "{t}") } else { writeln!(line, "{}", t / ms_per_unit) };
            out.write_all(line.as_bytes()).expect("written");
        }
    }
    out.write_all(b"# EOF\n").expect("written");
    out.flush().expect("written");
    series * steps as usize
}

/// Labels as hosts of an orchestrator have them.
struct Instance(usize);

impl std::fmt::Display for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let i = self.0;
        write!(
            f,
            "job=\"mixed\",instance=\"host-{:03}:9100\",namespace=\"team-{}\",handler=\"/api/{i}\"",
            i % 40,
            i % 7
        )
    }
}

/// Bytes of all files below a directory.
fn size_of(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).expect("a directory").flatten();
    entries.map(|e| if e.path().is_dir() { size_of(&e.path()) } else { e.metadata().map_or(0, |m| m.len()) }).sum()
}

/// Appending to the store without a server around it: promtool's own benchmark, and the same work here. VictoriaMetrics
/// has no such entry; its column stays empty, and `scrape` compares all of them.
pub fn ingest(size: Size, table: &mut Table) {
    let (series, scrapes) = if size == Size::Full { (20_000, 600) } else { (5_000, 200) };
    let home = Home::new();
    let file = home.path().join("series.json");
    std::fs::write(&file, series_file(series)).expect("a file");
    let samples = (series * scrapes) as f64;
    let (series, scrapes) = (series.to_string(), scrapes.to_string());
    let mut figures = Figures::new();
    let mut run = |name, command: &mut Command| {
        let before = Cpu::of_ended_children();
        let status = command.current_dir(home.path()).stdout(Stdio::null()).status().expect("it runs");
        assert!(status.success(), "{name}: {status}");
        figures.insert(name, (Cpu::of_ended_children() - before).as_secs_f64() * 1e6 / samples);
    };
    let mut ours = Command::new(std::env::current_exe().expect("this executable"));
    ours.arg(WRITER).arg(home.path().join("ours")).args([&file.display().to_string(), &scrapes]);
    run(SERVERS[0], &mut ours);
    if let Some(peers) = Peers::find(&["promtool"]) {
        let mut theirs = Command::new(peers.path("promtool"));
        theirs.args(["tsdb", "bench", "write", "--out=theirs", "--metrics", &series, "--scrapes", &scrapes]).arg(&file);
        run(SERVERS[1], &mut theirs);
    }
    table.add("appending to the store alone: CPU per sample, us", figures, Budget::None);
}

/// Series as promtool's benchmark reads them: one a line, as a flat JSON object.
fn series_file(series: usize) -> String {
    let mut text = String::new();
    for i in 0..series {
        let _ = writeln!(
            text,
            "{{\"__name__\":\"http_requests_{}_total\",\"instance\":\"host-{:03}\",\"job\":\"api\",\"namespace\":\"team-{}\",\
             \"method\":\"GET\",\"code\":\"{}\",\"handler\":\"/resource/{}\",\"pod\":\"service-{i}\"}}",
            i / 200,
            i % 100,
            i % 7,
            200 + i % 5,
            i % 200,
        );
    }
    text
}

/// The writer's process: what promtool's benchmark does. A hundred scrapes of each thousand series by a thread of their
/// own, then the next hundred.
pub fn write(args: &[String]) {
    const SHARD: usize = 1000;
    const ROUND: i64 = 100;
    const STEP_MS: i64 = 30_000;
    let [dir, file, scrapes] = args else { panic!("a directory, a file and a number are needed") };
    let scrapes: i64 = scrapes.parse().expect("a number");
    let text = std::fs::read_to_string(file).expect("a file");
    let labels: Vec<Labels> = text.lines().map(labels).collect();
    let clock = Clock::manual(TimestampMs(scrapes * STEP_MS));
    let deps = Deps { disk: Arc::new(RealDisk), clock, registry: Registry::new() };
    let (store, _) = Tsdb::open(Path::new(dir), Options::default(), deps).expect("opens");
    for base in (0..scrapes).step_by(ROUND as usize) {
        std::thread::scope(|scope| {
            for shard in labels.chunks(SHARD) {
                scope.spawn(|| scrape(&store, shard, base * STEP_MS, ROUND, STEP_MS));
            }
        });
    }
    store.close().expect("closes");
}

fn scrape(store: &Tsdb, shard: &[Labels], base: i64, rounds: i64, step: i64) {
    let mut refs: Vec<SeriesRef> = Vec::with_capacity(shard.len());
    let mut samples = Vec::with_capacity(shard.len());
    for round in 0..rounds {
        let mut appender = store.appender();
        if refs.is_empty() {
            refs.extend(shard.iter().map(|labels| appender.series(labels).expect("a series")));
        }
        let (t, v) = (TimestampMs(base + (round + 1) * step), (123_456_789 + (round + 1) * 1000) as f64);
        samples.clear();
        samples.extend(refs.iter().map(|&series| FloatSample { series, t, v }));
        assert!(appender.append(&samples).expect("taken").0.is_empty());
        let report = appender.commit().expect("committed");
        assert_eq!(report.appended, shard.len() as u64);
    }
}

fn labels(line: &str) -> Labels {
    let pairs = line.trim_matches(['{', '}']).split(',').filter_map(|pair| pair.split_once(':'));
    Labels::from_pairs(pairs.map(|(name, value)| (name.trim_matches('"'), value.trim_matches('"'))))
}
