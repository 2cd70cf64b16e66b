//! A synthetic exporter in a process of its own, made so that answering costs it almost nothing.
//!
//! `/NAME/load` and `/NAME/small` are scraped by the server NAME; `/stats` tells what each has taken; anything posted is
//! swallowed, which is what a remote-write sender needs. Bodies are computed beforehand, in several versions that
//! follow one another: counters grow, some gauges move, most values stay as they are, as on a real host.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::support::http;

/// The hidden argument that makes the benchmark's executable an exporter.
pub const ARGUMENT: &str = "--synthetic-exporter";

/// Versions of each body; one full cycle is longer than any warm-up.
const VERSIONS: usize = 12;

/// Series of `/NAME/small`.
pub const SMALL: usize = 1000;

/// What a server has taken so far.
#[derive(Clone, Copy, Default, Debug)]
pub struct Taken {
    /// Scrapes of `/load`.
    pub scrapes: u64,
    /// Samples of both paths.
    pub samples: u64,
    /// Bytes of both paths.
    pub bytes: u64,
}

/// A running exporter; killed when dropped.
pub struct Exporter {
    child: Child,
    _stdout: BufReader<ChildStdout>,
    /// `127.0.0.1:PORT`.
    pub address: String,
}

impl Exporter {
    /// Starts one whose `/load` has `series` series; a new version of the body begins every `targets` scrapes.
    pub fn start(series: usize, targets: usize) -> Exporter {
        let me = std::env::current_exe().expect("the path of this executable");
        let mut child = Command::new(me)
            .args([ARGUMENT, &series.to_string(), &targets.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the exporter starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut address = String::new();
        stdout.read_line(&mut address).expect("the exporter tells its address");
        Exporter { child, _stdout: stdout, address: address.trim().to_owned() }
    }

    /// What each server has taken.
    pub fn taken(&self) -> BTreeMap<String, Taken> {
        let text = http::get_text(&format!("http://{}/stats", self.address)).expect("the exporter answers");
        let line = |l: &str| {
            let mut words = l.split(' ');
            let name = words.next()?.to_owned();
            let mut number = || words.next()?.parse().ok();
            Some((name, Taken { scrapes: number()?, samples: number()?, bytes: number()? }))
        };
        text.lines().filter_map(line).collect()
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        // Fails only if it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The exporter's process.
pub fn run(args: &[String]) {
    let number = |at: usize| args.get(at).and_then(|a| a.parse::<usize>().ok()).expect("a number");
    let (series, targets) = (number(0), number(1));
    let state = Arc::new(State {
        load: versions(series),
        small: versions(SMALL),
        targets,
        series,
        taken: Mutex::new(BTreeMap::new()),
    });
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    println!("{}", listener.local_addr().expect("an address"));
    for stream in listener.incoming().flatten() {
        let state = Arc::clone(&state);
        std::thread::spawn(move || serve(stream, &state));
    }
}

struct State {
    load: Vec<Vec<u8>>,
    small: Vec<Vec<u8>>,
    targets: usize,
    series: usize,
    taken: Mutex<BTreeMap<String, Taken>>,
}

impl State {
    /// Books one scrape and gives its answer, head and body in one piece.
    fn answer(&self, name: &str, path: &str) -> &[u8] {
        let mut all = self.taken.lock().expect("no thread panicked");
        let taken = all.entry(name.to_owned()).or_default();
        let round = taken.scrapes as usize / self.targets;
        let (bodies, series) = if path == "small" { (&self.small, SMALL) } else { (&self.load, self.series) };
        let body = &bodies[round % VERSIONS];
        taken.scrapes += u64::from(path == "load");
        taken.samples += series as u64;
        taken.bytes += body.len() as u64;
        body
    }

    fn stats(&self) -> Vec<u8> {
        let mut text = String::new();
        for (name, t) in self.taken.lock().expect("no thread panicked").iter() {
            let _ = writeln!(text, "{name} {} {} {}", t.scrapes, t.samples, t.bytes);
        }
        with_head(text.as_bytes())
    }
}

/// Answers requests on one connection until the other side closes it.
fn serve(stream: TcpStream, state: &State) {
    let _ = stream.set_nodelay(true);
    let Ok(mut writer) = stream.try_clone() else { return };
    let mut reader = BufReader::new(stream);
    while let Some(Request { method, target, last }) = read_request(&mut reader) {
        let path = target.split('?').next().unwrap_or_default();
        let sent = match path.trim_start_matches('/').split_once('/') {
            _ if method == "POST" => writer.write_all(b"HTTP/1.1 204 No Content\r\n\r\n"),
            Some((name, path)) => writer.write_all(state.answer(name, path)),
            None => writer.write_all(&state.stats()),
        };
        if sent.is_err() || last {
            return;
        }
    }
}

struct Request {
    method: String,
    target: String,
    /// Whether the connection is to be closed behind the answer.
    last: bool,
}

/// The next request, its body passed over.
fn read_request(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut length, mut last) = (0, false);
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.split_once(':') {
            Some((key, value)) if key.eq_ignore_ascii_case("content-length") => length = value.trim().parse().ok()?,
            Some((key, value)) if key.eq_ignore_ascii_case("connection") => last = value.trim() == "close",
            None if line.trim().is_empty() => break,
            _ => {}
        }
    }
    std::io::copy(&mut reader.take(length), &mut std::io::sink()).ok()?;
    Some(Request { method, target, last })
}

fn with_head(body: &[u8]) -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8";
    let mut answer = format!("{head}\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    answer.extend_from_slice(body);
    answer
}

fn versions(series: usize) -> Vec<Vec<u8>> {
    (0..VERSIONS).map(|version| with_head(body(series, version).as_bytes())).collect()
}

const METHODS: [&str; 4] = ["GET", "POST", "PUT", "DELETE"];
const CODES: [&str; 5] = ["200", "204", "400", "404", "500"];
const BOUNDS: [&str; 10] = ["0.005", "0.01", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "10", "+Inf"];

/// A body of exactly `series` series with 6 to 8 labels; job and instance of the scraper come on top.
pub fn body(series: usize, version: usize) -> String {
    let mut text = String::with_capacity(series * 220);
    let (counters, gauges) = (series * 4 / 10, series * 3 / 10);
    let mut left = series;
    for i in 0..counters {
        family(&mut text, "http_requests_total", "counter", i, 200);
        // Two counters of five move between two scrapes.
        let grown = if i % 5 < 2 { version * (i % 17 + 1) } else { 0 };
        let labels = Common(i);
        let (method, code) = (METHODS[i % 4], CODES[i % 5]);
        let _ = writeln!(
            text,
            "http_requests_{}_total{{{labels},method=\"{method}\",code=\"{code}\",handler=\"/api/v1/resource/{}\"}} {}",
            i / 200,
            i % 200,
            i * 31 + grown
        );
    }
    left -= counters;
    for i in 0..gauges {
        family(&mut text, "process_memory_bytes", "gauge", i, 200);
        let moved = if i % 3 == 0 { version * 4096 } else { 0 };
        let value = (i as f64 * 1.25 + moved as f64) / 3.0;
        let _ = writeln!(
            text,
            "process_memory_{}_bytes{{{},kind=\"heap\",zone=\"zone-{}\"}} {value}",
            i / 200,
            Common(i),
            i % 200
        );
    }
    left -= gauges;
    let mut i = 0;
    while left > 0 {
        family(&mut text, "request_duration_seconds", "histogram", i, 20);
        let family = format!("request_duration_{}_seconds", i / 20);
        let labels = format!("{},handler=\"/api/v1/resource/{}\"", Common(i), i % 20);
        let grown = if i % 4 == 0 { version * 3 } else { 0 };
        for (n, bound) in BOUNDS.iter().enumerate().take(left) {
            let _ = writeln!(text, "{family}_bucket{{{labels},le=\"{bound}\"}} {}", (n + 1) * (i + 10) + grown);
        }
        left -= left.min(BOUNDS.len());
        let sum = i as f64 * 12.375 + grown as f64 * 0.25;
        for (suffix, value) in [("sum", sum), ("count", (10 * (i + 10) + grown) as f64)].into_iter().take(left) {
            let _ = writeln!(text, "{family}_{suffix}{{{labels}}} {value}");
        }
        left -= left.min(2);
        i += 1;
    }
    text
}

/// The labels that orchestrated workloads have in common.
struct Common(usize);

impl std::fmt::Display for Common {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let i = self.0;
        write!(
            f,
            "namespace=\"team-{}\",pod=\"service-{}-7d9f8b6c5d-{:05x}\",container=\"app\",node=\"worker-{:02}\"",
            i % 7,
            i % 23,
            i % 499,
            i % 12
        )
    }
}

/// Writes the metadata of a family at its first series.
fn family(text: &mut String, name: &str, kind: &str, i: usize, size: usize) {
    if i.is_multiple_of(size) {
        let (stem, suffix) = name.rsplit_once('_').expect("a name of several words");
        let name = format!("{stem}_{}_{suffix}", i / size);
        let _ = writeln!(text, "# HELP {name} What a service of this kind tells about itself.\n# TYPE {name} {kind}");
    }
}
