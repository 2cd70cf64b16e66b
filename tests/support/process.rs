//! Servers as child processes: started on free loopback ports with folders of their own, killed when dropped.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::peers::Peers;
use super::{http, wait_for};

/// How long a server may take to become ready; generous, because tests share few cores.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// A loopback port that nothing listens on.
///
/// Ports come from below the range that the kernel gives to outgoing connections, so that none of those takes the port
/// between this check and the server's start; each test process begins elsewhere.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 10_000 + (std::process::id().wrapping_mul(97).wrapping_add(step)) % 20_000;
        let port = u16::try_from(port).expect("a port below 30000");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A running server. Dropping it kills it; dropping it while a test fails shows the end of its log.
pub struct Server {
    name: String,
    child: Child,
    log: PathBuf,
    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub url: String,
    /// `127.0.0.1:PORT`.
    pub address: String,
}

impl Server {
    /// Starts `command` with its output going to `log`. Nothing is awaited.
    pub fn spawn(name: &str, mut command: Command, port: u16, log: &Path) -> Server {
        let file = File::options().create(true).append(true).open(log).expect("the log can be written");
        command.stdin(Stdio::null()).stdout(file.try_clone().expect("a second handle")).stderr(file);
        let child = command.spawn().unwrap_or_else(|e| panic!("{name} does not start: {e}"));
        let address = format!("127.0.0.1:{port}");
        Server { name: name.into(), child, log: log.into(), url: format!("http://{address}"), address }
    }

    /// Waits until `path` answers 200.
    pub fn wait_ready(mut self, path: &str) -> Server {
        let url = format!("{}{path}", self.url);
        let name = self.name.clone();
        wait_for(&format!("{name} to answer {path}"), READY_LIMIT, || {
            if let Some(status) = self.child.try_wait().expect("the child can be waited for") {
                panic!("{name} ended by itself: {status}\n{}", self.log_tail());
            }
            http::get_text(&url).map(drop)
        });
        self
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().expect("a pid")).expect("a pid above 0");
        kill_process(pid, signal).expect("the process is ours");
    }

    /// Waits for its end.
    pub fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        let name = self.name.clone();
        wait_for(&format!("{name} to end"), limit, || {
            self.child.try_wait().expect("the child can be waited for").ok_or("still running")
        })
    }

    /// Kills it without any chance to write something (`kill -9`) and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().expect("the process is ours");
        self.child.wait().expect("the child can be waited for");
    }

    /// A line of `/proc/PID/status` in bytes, such as `VmHWM`, the largest resident size so far.
    pub fn status_bytes(&self, key: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a living process");
        let line = status.lines().find_map(|l| l.strip_prefix(key)).expect("the key is there");
        let kib: u64 = line.trim_matches(|c: char| !c.is_ascii_digit()).parse().expect("a number of kB");
        kib * 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it is gone already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- end of the log of {} ---\n{}\n---", self.name, self.log_tail());
        }
    }
}

/// A folder for one server: its configuration, its data, its log.
pub struct Home {
    dir: TempDir,
    /// The port that its server listens on.
    pub port: u16,
}

impl Default for Home {
    fn default() -> Home {
        Home::new()
    }
}

impl Home {
    /// An empty folder and a free port.
    pub fn new() -> Home {
        Home { dir: tempfile::tempdir().expect("a temporary folder"), port: free_port() }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The configuration file.
    pub fn config_path(&self) -> PathBuf {
        self.dir.path().join("config.yml")
    }

    /// The data folder.
    pub fn data_path(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Replaces the configuration file.
    pub fn write_config(&self, yaml: &str) {
        std::fs::write(self.config_path(), yaml).expect("the configuration can be written");
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A server of this folder with the flags that Prometheus and Watershed have in common.
    pub fn command(&self, exe: &Path, extra: &[&str]) -> Command {
        let mut command = Command::new(exe);
        command
            .arg(format!("--config.file={}", self.config_path().display()))
            .arg(format!("--storage.tsdb.path={}", self.data_path().display()))
            .arg(format!("--web.listen-address={}", self.address()))
            .args(extra)
            .current_dir(self.dir.path());
        command
    }

    /// Starts Watershed on this folder and waits until it is ready.
    pub fn watershed(&self, extra: &[&str]) -> Server {
        self.watershed_unready(extra).wait_ready("/-/ready")
    }

    /// Starts Watershed on this folder without waiting.
    pub fn watershed_unready(&self, extra: &[&str]) -> Server {
        let command = self.command(Path::new(env!("CARGO_BIN_EXE_watershed")), extra);
        Server::spawn("watershed", command, self.port, &self.dir.path().join("watershed.log"))
    }

    /// Starts a real Prometheus on this folder and waits until it is ready.
    pub fn prometheus(&self, peers: &Peers, extra: &[&str]) -> Server {
        let mut command = self.command(&peers.path("prometheus"), extra);
        command.env("GOMAXPROCS", "1");
        Server::spawn("prometheus", command, self.port, &self.dir.path().join("prometheus.log")).wait_ready("/-/ready")
    }

    /// Starts a real node exporter and waits until it is ready.
    pub fn node_exporter(&self, peers: &Peers) -> Server {
        let mut command = Command::new(peers.path("prometheus-node-exporter"));
        command.arg(format!("--web.listen-address={}", self.address())).arg("--log.level=error");
        Server::spawn("node exporter", command, self.port, &self.dir.path().join("node.log")).wait_ready("/metrics")
    }
}
