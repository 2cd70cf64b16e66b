//! All servers side by side on one exporter.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::exporter::{Exporter, Taken};
use crate::proc::Cpu;
use crate::report::SERVERS;
use crate::support::peers::Peers;
use crate::support::process::{Home, Server};

/// Long enough for the slowest server's first scrapes.
const LIMIT: Duration = Duration::from_secs(300);

/// What is scraped.
#[derive(Clone, Copy)]
pub struct Load {
    /// Targets of the job `load`, each with all series of the body.
    pub targets: usize,
    /// Series of each.
    pub series: usize,
    /// Time between scrapes in seconds.
    pub interval_s: u64,
    /// Whether the job `small` with one target of a thousand series is scraped too.
    pub small: bool,
}

impl Load {
    /// Series altogether.
    pub fn total(self) -> usize {
        self.targets * self.series + if self.small { crate::exporter::SMALL } else { 0 }
    }

    fn config(self, server: &str, exporter: &str) -> String {
        let mut yaml =
            format!("global: {{scrape_interval: {0}s, scrape_timeout: {0}s}}\nscrape_configs:\n", self.interval_s);
        let mut job = |name: &str, targets: usize| {
            let _ = write!(yaml, "- job_name: {name}\n  metrics_path: /{server}/{name}\n  static_configs:\n");
            for target in 0..targets {
                let _ =
                    writeln!(yaml, "  - {{targets: ['{exporter}'], labels: {{instance: 'host-{target:03}:9100'}}}}");
            }
        };
        if self.targets > 0 {
            job("load", self.targets);
        }
        if self.small {
            job("small", 1);
        }
        yaml
    }
}

/// A server with its folder.
pub struct Member {
    /// One of [`SERVERS`].
    pub name: &'static str,
    /// Its process.
    pub server: Server,
    home: Home,
    load: Load,
    exporter: String,
}

/// The running servers and their exporter.
pub struct Fleet {
    /// Those whose executables were found, in the order of [`SERVERS`].
    pub members: Vec<Member>,
    exporter: Exporter,
    load: Load,
}

/// Processor time and what was scraped meanwhile, of one server.
pub struct Usage {
    /// Processor time.
    pub cpu: Duration,
    /// Samples scraped.
    pub samples: u64,
    /// Bytes scraped.
    pub bytes: u64,
}

impl Fleet {
    /// Starts those of `names` that can be found, and waits until each is ready.
    pub fn start(load: Load, names: &[&'static str]) -> Fleet {
        let exporter = Exporter::start(load.series.max(1), load.targets.max(1));
        let members = SERVERS.iter().filter(|n| names.contains(n));
        let members = members.filter_map(|name| Member::start(name, load, &exporter.address)).collect();
        Fleet { members, exporter, load }
    }

    /// Waits until every server has scraped every target so many times.
    pub fn wait_for_rounds(&self, rounds: usize) {
        let scrapes = (self.load.targets * rounds) as u64;
        crate::support::wait_for("all servers to have scraped all targets", LIMIT, || {
            let taken = self.exporter.taken();
            let late = self.members.iter().find(|m| taken.get(m.name).is_none_or(|t| t.scrapes < scrapes));
            late.map_or(Ok(()), |m| Err(format!("{} has {:?} of {scrapes} scrapes", m.name, taken.get(m.name))))
        });
    }

    /// What each server uses while all of them go on for `time`.
    pub fn watch(&self, time: Duration) -> BTreeMap<&'static str, Usage> {
        let state = || -> Vec<(Cpu, Taken)> {
            let taken = self.exporter.taken();
            let of = |m: &Member| (Cpu::of(m.server.pid()), taken.get(m.name).copied().unwrap_or_default());
            self.members.iter().map(of).collect()
        };
        let (before, start) = (state(), Instant::now());
        std::thread::sleep(time.saturating_sub(start.elapsed()));
        let pairs = before.into_iter().zip(state());
        let usages = pairs.map(|((cpu, taken), (cpu_after, taken_after))| Usage {
            cpu: cpu_after - cpu,
            samples: taken_after.samples - taken.samples,
            bytes: taken_after.bytes - taken.bytes,
        });
        self.members.iter().map(|m| m.name).zip(usages).collect()
    }

    /// A figure of each server.
    pub fn each(&self, mut figure: impl FnMut(&Member) -> f64) -> BTreeMap<&'static str, f64> {
        self.members.iter().map(|m| (m.name, figure(m))).collect()
    }
}

impl Member {
    fn start(name: &'static str, load: Load, exporter: &str) -> Option<Member> {
        let home = Home::new();
        home.write_config(&load.config(name, exporter));
        let (command, ready) = command(name, &home, exporter)?;
        let server = Server::spawn(name, command, home.port, &home.path().join("log")).wait_ready(ready);
        Some(Member { name, server, home, load, exporter: exporter.to_owned() })
    }

    /// Kills the server as a power cut of its process would, and starts it again on what it left. Returns how long it took
    /// to answer that it is ready, and the processor time until then.
    pub fn kill_and_restart(self) -> (Duration, Duration) {
        let Member { name, server, home, load, exporter } = self;
        drop(server);
        // Nothing to scrape: only what was on disk is to be worked on.
        home.write_config(&Load { targets: 0, small: false, ..load }.config(name, &exporter));
        let (command, ready) = command(name, &home, &exporter).expect("it was found before");
        let start = Instant::now();
        let server = Server::spawn(name, command, home.port, &home.path().join("log"));
        let url = format!("{}{ready}", server.url);
        while !crate::support::http::get(&url).is_ok_and(|answer| answer.status == 200) {
            assert!(start.elapsed() < LIMIT, "{name} does not become ready");
            std::thread::sleep(Duration::from_millis(2));
        }
        let time = start.elapsed();
        (time, Cpu::of(server.pid()).total())
    }
}

/// How a server is started on a folder, and which path says that it is ready; `None` if it is not to be found.
fn command(name: &str, home: &Home, exporter: &str) -> Option<(Command, &'static str)> {
    Some(match name {
        "watershed" => {
            let exe = Path::new(env!("CARGO_BIN_EXE_watershed"));
            (home.command(exe, &["--log.level=warn"]), "/-/ready")
        }
        "prometheus" => {
            let exe = Peers::find(&["prometheus"])?.path("prometheus");
            (home.command(&exe, &["--log.level=warn"]), "/-/ready")
        }
        "victoriametrics" => {
            let exe = Peers::find(&["victoria-metrics"])?.path("victoria-metrics");
            let mut command = victoria(&exe, home);
            command.arg(format!("-storageDataPath={}", home.data_path().display())).arg("-retentionPeriod=1d");
            (command, "/health")
        }
        _ => {
            let mut command = victoria(&Peers::find(&["vmagent"])?.path("vmagent"), home);
            command
                .arg(format!("-remoteWrite.url=http://{exporter}/write"))
                .arg(format!("-remoteWrite.tmpDataPath={}", home.data_path().display()));
            (command, "/health")
        }
    })
}

fn victoria(exe: &Path, home: &Home) -> Command {
    let mut command = Command::new(exe);
    command
        .arg(format!("-promscrape.config={}", home.config_path().display()))
        .arg(format!("-httpListenAddr={}", home.address()))
        // Its default of 16 MiB is below the body of a large target.
        .arg("-promscrape.maxScrapeSize=256MB")
        .arg("-loggerLevel=ERROR");
    command
}
