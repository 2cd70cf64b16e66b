//! One agent as a child process, and the directory that they share.

use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

/// A child that has not ended by then is killed.
const STOP_MAX: Duration = Duration::from_secs(10);
/// How much of a dead child's log is shown.
const LOG_LINES: usize = 10;

/// A directory that is removed when the value is dropped.
pub(super) struct TempDir(PathBuf);

impl TempDir {
    pub(super) fn create() -> io::Result<TempDir> {
        let path = std::env::temp_dir().join(format!("watershed-demo-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(TempDir(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{} could not be removed: {error}", self.0.display());
        }
    }
}

/// A running agent; killed when the value is dropped.
pub(super) struct Agent {
    pub(super) name: String,
    pub(super) address: String,
    pub(super) url: String,
    child: Child,
    log: PathBuf,
}

impl Agent {
    /// Starts this very program on a free port with the config that `config` makes for that port.
    pub(super) fn start(dir: &TempDir, name: &str, config: impl FnOnce(u16) -> String) -> Result<Agent, String> {
        let home = dir.path().join(name);
        let context = |e: io::Error| format!("starting {name}: {e}");
        fs::create_dir_all(&home).map_err(context)?;
        let port = free_port().map_err(context)?;
        let config_file = home.join("watershed.yml");
        fs::write(&config_file, config(port)).map_err(context)?;
        let log = home.join("log");
        let log_file = File::create(&log).map_err(context)?;
        let program = std::env::current_exe().map_err(context)?;
        let address = format!("127.0.0.1:{port}");
        let child = Command::new(program)
            .arg(format!("--config.file={}", config_file.display()))
            .arg(format!("--storage.tsdb.path={}", home.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--web.enable-host-metrics")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log_file)
            .kill_on_drop(true)
            // A Ctrl-C on the terminal must reach only the demo, which then stops its children in order.
            .process_group(0)
            .spawn()
            .map_err(context)?;
        Ok(Agent { name: name.to_owned(), url: format!("http://{address}"), address, child, log })
    }

    /// An error with the end of the log if the process has ended by itself.
    pub(super) fn check_alive(&mut self) -> Result<(), String> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                let lines: Vec<_> = log.lines().collect();
                let tail = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
                Err(format!("{} ended by itself ({status}); the end of its log:\n{tail}", self.name))
            }
            Err(error) => Err(format!("{}: {error}", self.name)),
        }
    }

    /// Asks the process to end and waits for it.
    pub(super) async fn stop(&mut self) -> Result<(), String> {
        self.check_alive()?;
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)
                .map_err(|e| format!("{}: {e}", self.name))?;
        }
        match tokio::time::timeout(STOP_MAX, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(format!("{} did not end cleanly: {status}", self.name)),
            Ok(Err(error)) => Err(format!("{}: {error}", self.name)),
            Err(_) => {
                Err(format!("{} did not stop within {}; killed", self.name, humantime::format_duration(STOP_MAX)))
            }
        }
    }
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
