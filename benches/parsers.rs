//! How many bytes of exposition text does one core read a second?
//!
//! `cargo bench --bench parsers` prints MB/s for a body of 10 MB as exporters of orchestrated workloads write it: *cold*
//! with every label decoded, as at a target's first scrape; *repeated* with the series parts predicted from the scrape
//! before, as at every later one. Aims: 400 MB/s cold, 1 GB/s repeated. A parser that works with a regular expression per
//! line stands beside it for scale.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a benchmark ends where it cannot measure")]

use std::fmt::Write as _;
use std::hash::BuildHasher;
use std::hint::black_box;
use std::time::{Duration, Instant};

use rapidhash::fast::RandomState;
use watershed::exposition::{Event, Format, Parser, SeriesLabels};
use watershed::model::MetricType;

/// Rounds of each measurement; the best one counts, because everything that disturbs only makes it slower.
const ROUNDS: usize = 15;

fn main() {
    let body = body(10_000_000);
    println!("body: {:.1} MB, {} lines\n", body.len() as f64 / 1e6, body.lines().count());
    println!("| parser | MB/s | ns per sample | aim, MB/s | |\n|---|--:|--:|--:|---|");
    let samples = walk(body.as_bytes(), |_| {});
    let row = |name: &str, time: Duration, bytes: usize, samples: usize, aim: Option<f64>| {
        let speed = bytes as f64 / 1e6 / time.as_secs_f64();
        let verdict = aim.map_or("", |aim| if speed >= aim { "met" } else { "not met" });
        let aim = aim.map_or(String::new(), |aim| aim.to_string());
        println!("| {name} | {speed:.0} | {:.1} | {aim} | {verdict} |", time.as_secs_f64() * 1e9 / samples as f64);
    };

    let cold = best(ROUNDS, || {
        walk(body.as_bytes(), |series| {
            black_box(series);
        })
    });
    row("cold, series parts only", cold, body.len(), samples, None);
    let decoded = best(ROUNDS, || decode_all(body.as_bytes()));
    row("cold, all labels decoded", decoded, body.len(), samples, Some(400.0));
    let memory = Memory::of(body.as_bytes());
    let next_scrape = other_values(&body);
    let repeated = best(ROUNDS, || assert_eq!(memory.read(next_scrape.as_bytes()), samples));
    row("repeated, series parts predicted", repeated, next_scrape.len(), samples, Some(1000.0));

    let part: Vec<&str> = body.lines().take(5000).collect();
    let (lines, bytes) = (part.iter().filter(|l| !l.starts_with('#')).count(), part.iter().map(|l| l.len() + 1).sum());
    let scale = best(3, || {
        let lines = part.iter().map(|l| Ok((*l).to_owned()));
        drop(black_box(prometheus_parse::Scrape::parse(lines)));
    });
    row("for scale: prometheus-parse", scale, bytes, lines, None);
}

fn best<T>(rounds: usize, mut work: impl FnMut() -> T) -> Duration {
    let mut shortest = Duration::MAX;
    for _ in 0..rounds {
        let start = Instant::now();
        black_box(work());
        shortest = shortest.min(start.elapsed());
    }
    shortest
}

/// Reads a body and gives every series part to `visit`; says how many there were.
fn walk(body: &[u8], mut visit: impl FnMut(&[u8])) -> usize {
    let mut parser = Parser::new(body, Format::Text);
    let mut samples = 0;
    while let Some(event) = parser.next().expect("a good body") {
        if let Event::Series(sample) = event {
            black_box(sample.value);
            visit(sample.series);
            samples += 1;
        }
    }
    samples
}

/// As at the first scrape: every series part is decoded into labels.
fn decode_all(body: &[u8]) -> usize {
    let mut parser = Parser::new(body, Format::Text);
    let (mut labels, mut names) = (SeriesLabels::new(), 0);
    while let Some(event) = parser.next().expect("a good body") {
        if let Event::Series(sample) = event {
            labels.decode(sample.series, Format::Text, parser.family_type()).expect("good labels");
            names += black_box(&labels).iter().count();
        }
    }
    names
}

/// What a target keeps of its last scrape: for each line its length, a hash, and the type that a metadata line set.
struct Memory {
    seed: RandomState,
    lines: Vec<Line>,
}

struct Line {
    length: usize,
    hash: u64,
    kind: Kind,
}

enum Kind {
    Series,
    Comment(Option<MetricType>),
}

impl Memory {
    fn of(body: &[u8]) -> Memory {
        let seed = RandomState::default();
        let (mut parser, mut lines) = (Parser::new(body, Format::Text), Vec::new());
        while let Some(event) = parser.next().expect("a good body") {
            let (bytes, kind) = match event {
                Event::Series(sample) => (sample.series, Kind::Series),
                Event::Type(..) => (parser.last_line(), Kind::Comment(Some(parser.family_type()))),
                _ => (parser.last_line(), Kind::Comment(None)),
            };
            lines.push(Line { length: bytes.len(), hash: seed.hash_one(bytes), kind });
        }
        Memory { seed, lines }
    }

    /// Reads a body whose lines come as they came before; says how many samples there were.
    fn read(&self, body: &[u8]) -> usize {
        let mut parser = Parser::new(body, Format::Text);
        let mut samples = 0;
        for line in &self.lines {
            let expected = &parser.rest()[..line.length];
            assert_eq!(self.seed.hash_one(expected), line.hash, "the benchmark's body has the same lines");
            match &line.kind {
                Kind::Series => {
                    let sample = parser.accept_series(line.length).expect("a good body").expect("a series");
                    black_box(sample.value);
                    samples += 1;
                }
                Kind::Comment(family) => {
                    assert!(parser.accept_line(line.length));
                    if let Some(family) = family {
                        parser.set_family_type(*family);
                    }
                }
            }
        }
        samples
    }
}

/// The same lines with other numbers.
fn other_values(body: &str) -> String {
    let mut text = String::with_capacity(body.len());
    for line in body.lines() {
        match line.rsplit_once(' ') {
            Some((series, value)) if !line.starts_with('#') => {
                let value: f64 = value.parse().expect("a number");
                let _ = writeln!(text, "{series} {}", value + 1.0);
            }
            _ => text.extend([line, "\n"]),
        }
    }
    text
}

fn body(bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 1000);
    let mut i = 0_usize;
    while text.len() < bytes {
        if i.is_multiple_of(100) {
            let name = format!("http_server_request_{}_seconds", i / 100);
            let _ = writeln!(
                text,
                "# HELP {name} Time from a request's first byte to its answer's last.\n# TYPE {name} gauge"
            );
        }
        let value = (i as f64) * 1.37 + 0.000_21 * (i % 7) as f64;
        let _ = writeln!(
            text,
            "http_server_request_{}_seconds{{namespace=\"team-{}\",pod=\"service-{}-7d9f8b6c5d-{:05x}\",container=\"app\",node=\"worker-{:02}\",method=\"GET\",code=\"200\",handler=\"/api/v1/resource/{}\"}} {value}",
            i / 100,
            i % 7,
            i % 23,
            i % 499,
            i % 12,
            i % 100,
        );
        i += 1;
    }
    text
}
