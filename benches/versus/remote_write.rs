//! What receiving remote write costs: the same requests to all, of both messages, as Prometheus's own sender makes them.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use watershed::net::protobuf::Writer;

use crate::Size;
use crate::proc::Cpu;
use crate::report::{Budget, SERVERS, Table};
use crate::support::now_ms;
use crate::support::peers::Peers;
use crate::support::process::{Home, Server};

/// Samples of one request, as Prometheus sends by default.
const PER_REQUEST: usize = 2000;
/// Rounds before anything is measured: series are created, pages and caches filled.
const WARM_UP: i64 = 4;
const STEP_MS: i64 = 15_000;
/// What is done after an answer counts, too.
const AFTER: Duration = Duration::from_secs(3);

/// The messages of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Message {
    V1,
    V2,
}

impl Message {
    fn content_type(self) -> &'static str {
        match self {
            Message::V1 => "application/x-protobuf",
            Message::V2 => "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        }
    }
}

/// Steady writing of many series, one sample of each a round.
pub fn remote_write(size: Size, table: &mut Table) {
    let (series, rounds) = if size == Size::Full { (100_000, 60) } else { (20_000, 30) };
    for (name, message) in [("1.0", Message::V1), ("2.0", Message::V2)] {
        let (cpu, bytes) = run(message, series, rounds);
        let what = format!("remote write {name} received, {}k series", series / 1000);
        table.add(format!("{what}: CPU per sample, us"), cpu, Budget::OneOver(3.0));
        table.add(format!("{what}: bytes per sample"), bytes, Budget::None);
    }
}

type Figures = BTreeMap<&'static str, f64>;

fn run(message: Message, series: usize, rounds: i64) -> (Figures, Figures) {
    let mut servers: Vec<Receiver> = SERVERS[..3].iter().filter_map(|name| Receiver::start(name)).collect();
    let labels: Vec<Vec<(String, String)>> = (0..series).map(labels).collect();
    let start = now_ms() - (rounds + WARM_UP) * STEP_MS;
    let mut before = Vec::new();
    let mut bytes = 0;
    for round in 0..WARM_UP + rounds {
        if round == WARM_UP {
            std::thread::sleep(AFTER);
            before = servers.iter().map(|s| Cpu::of(s.server.pid())).collect();
        }
        for (n, part) in labels.chunks(PER_REQUEST).enumerate() {
            let body = request(message, part, start + round * STEP_MS, round * 7 + n as i64);
            bytes += if round < WARM_UP { 0 } else { body.len() };
            servers.retain_mut(|server| server.send(message, &body));
        }
    }
    std::thread::sleep(AFTER);
    let samples = (series as i64 * rounds) as f64;
    let cpu =
        |(s, before): (&Receiver, &Cpu)| (s.name, (Cpu::of(s.server.pid()) - *before).as_secs_f64() * 1e6 / samples);
    let figures = servers.iter().zip(&before).map(cpu).collect();
    (figures, BTreeMap::from([(SERVERS[0], bytes as f64 / samples)]))
}

/// Ten labels, as a service in an orchestrator has them.
fn labels(i: usize) -> Vec<(String, String)> {
    let pairs = [
        ("__name__", format!("http_requests_{}_total", i / 500)),
        ("cluster", "eu-west-1-production".to_owned()),
        ("code", (200 + i % 5).to_string()),
        ("container", "server".to_owned()),
        ("handler", format!("/api/v1/resource/{}", i % 50)),
        ("instance", format!("10.{}.{}.{}:8080", i / 65_536, i / 256 % 256, i % 256)),
        ("job", format!("team-{}/service-{}", i % 7, i % 40)),
        ("method", if i.is_multiple_of(3) { "POST" } else { "GET" }.to_owned()),
        ("namespace", format!("team-{}", i % 7)),
        ("pod", format!("service-{}-7d9f8b6c5-{:05x}", i % 40, i)),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

fn request(message: Message, series: &[Vec<(String, String)>], t: i64, v: i64) -> Vec<u8> {
    let mut out = Vec::new();
    let sample = |w: &mut Writer<'_>, i: usize| {
        w.message(2, |w| {
            w.double(1, (v * 100 + i as i64 % 17 * v) as f64);
            w.int(2, t);
        });
    };
    let mut w = Writer::new(&mut out);
    match message {
        Message::V1 => {
            for (i, labels) in series.iter().enumerate() {
                w.message(1, |w| {
                    for (name, value) in labels {
                        w.message(1, |w| {
                            w.bytes(1, name.as_bytes());
                            w.bytes(2, value.as_bytes());
                        });
                    }
                    sample(w, i);
                });
            }
        }
        Message::V2 => {
            let mut symbols: Vec<&str> = vec![""];
            let mut places: BTreeMap<&str, u64> = BTreeMap::from([("", 0)]);
            for text in series.iter().flatten().flat_map(|(name, value)| [name, value]) {
                places.entry(text).or_insert_with(|| {
                    symbols.push(text);
                    symbols.len() as u64 - 1
                });
            }
            symbols.iter().for_each(|symbol| w.bytes(4, symbol.as_bytes()));
            for (i, labels) in series.iter().enumerate() {
                w.message(5, |w| {
                    w.packed(1, labels.iter().flat_map(|(n, v)| [places[n.as_str()], places[v.as_str()]]));
                    sample(w, i);
                    w.message(5, |w| w.varint(1, 1));
                });
            }
        }
    }
    snap::raw::Encoder::new().compress_vec(&out).expect("packed")
}

/// A server that receives, and a connection to it.
struct Receiver {
    name: &'static str,
    server: Server,
    stream: BufReader<TcpStream>,
    _home: Home,
}

impl Receiver {
    fn start(name: &'static str) -> Option<Receiver> {
        let home = Home::new();
        home.write_config("{}");
        let flags = ["--web.enable-remote-write-receiver", "--log.level=warn"];
        let (command, ready) = match name {
            "watershed" => (home.command(Path::new(env!("CARGO_BIN_EXE_watershed")), &flags), "/-/ready"),
            "prometheus" => (home.command(&Peers::find(&["prometheus"])?.path("prometheus"), &flags), "/-/ready"),
            _ => {
                let mut command = Command::new(Peers::find(&["victoria-metrics"])?.path("victoria-metrics"));
                command
                    .arg(format!("-httpListenAddr={}", home.address()))
                    .arg(format!("-storageDataPath={}", home.data_path().display()))
                    .args(["-retentionPeriod=1d", "-loggerLevel=ERROR"]);
                (command, "/health")
            }
        };
        let server = Server::spawn(name, command, home.port, &home.path().join("log")).wait_ready(ready);
        let stream = BufReader::new(TcpStream::connect(&server.address).expect("a connection"));
        Some(Receiver { name, server, stream, _home: home })
    }

    /// False if it does not take that message at all.
    fn send(&mut self, message: Message, body: &[u8]) -> bool {
        let head = format!(
            "POST /api/v1/write HTTP/1.1\r\nHost: x\r\nContent-Encoding: snappy\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n",
            message.content_type(),
            body.len()
        );
        let stream = self.stream.get_mut();
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).expect("sent");
        let (mut first, mut line) = (String::new(), String::new());
        self.stream.read_line(&mut first).expect("an answer");
        let mut tells_written = false;
        while line != "\r\n" {
            line.clear();
            self.stream.read_line(&mut line).expect("an answer");
            tells_written |= line.to_ascii_lowercase().starts_with("x-prometheus-remote-write-samples-written");
        }
        let status = first.split(' ').nth(1).unwrap_or_default();
        // Who does not know 2.0 may read an empty message and say that all is well.
        if status.starts_with('2') && (message == Message::V1 || tells_written) {
            return true;
        }
        assert_eq!(message, Message::V2, "{} answered {first}", self.name);
        println!("{} does not take 2.0: {status}", self.name);
        false
    }
}
