//! Wiring only: build order, reload, drain.
//!
//! Ports are bound before anything runs; then the store is opened (the server answers 503 meanwhile), then targets are
//! scraped. A reload loads the whole file anew and is applied only if it is without a mistake; jobs that it did not change
//! go on undisturbed. Shutdown drains in reverse: no new scrapes, then no new requests, then the store is closed.

mod late;
mod reload;
mod targets;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::config::{Config, ConfigErrors};
use crate::disk::RealDisk;
use crate::model::{DurationMs, TimestampMs};
use crate::runtime::{Clock, CpuPool, Tasks};
use crate::scrape;
use crate::telemetry::{self, Registry};
use crate::tsdb::{OpenError, Tsdb, TsdbOptions};
use crate::web::{self, BindError, Readiness, ReadinessState, ReloadRequest, RuntimeFacts, Server, WebConfig};
use late::LateStore;
use reload::{FileWatch, Running};

/// How long tasks may take to end once they have been told to.
const GRACE: Duration = Duration::from_secs(10);
/// How often the store drops what is too old.
const UPKEEP: Duration = Duration::from_secs(60);
/// The longest time that samples are kept without blocks.
pub const WINDOW_MAX: DurationMs = DurationMs::from_secs(3 * 3600);

/// What the command line decides.
pub struct Options {
    /// The configuration file.
    pub config_file: PathBuf,
    /// How often it is looked at for changes; `None` never.
    pub auto_reload: Option<Duration>,
    /// Where to listen.
    pub listen: Vec<String>,
    /// How to serve.
    pub web: WebConfig,
    /// Whether to serve the host's own metrics.
    pub host_metrics: bool,
    /// Where samples are stored.
    pub storage_path: PathBuf,
    /// How long they are kept; more than [`WINDOW_MAX`] counts as that.
    pub retention: DurationMs,
    /// All flags as text, for the API.
    pub flags: BTreeMap<String, String>,
}

/// Why the server could not start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The configuration has mistakes.
    #[error("the configuration was refused\n{0}")]
    Config(#[from] ConfigErrors),
    /// An address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The system refused threads, signals or the like.
    #[error("starting: {0}")]
    System(#[from] std::io::Error),
    /// A component ended unexpectedly.
    #[error("{0} stopped unexpectedly; the log tells more")]
    Stopped(&'static str),
}

/// Runs until a signal or a request ends it, and drains.
pub async fn serve(options: Options) -> Result<(), AppError> {
    let config = crate::config::load(&options.config_file)?;
    for warning in &config.warnings {
        warn!("{warning}");
    }
    let mut signals = Signals::listen()?;
    let core = Core::new(&options, &config)?;
    let server = Server::bind(&options.listen, options.web.clone(), core.web_deps(&options)).await?;
    for address in server.addresses() {
        info!(%address, "listening");
    }
    let web_tasks = Tasks::new();
    let web_stop = web_tasks.stopping();
    web_tasks.spawn("web", server.run(web_stop.clone()));

    let opened = tokio::select! {
        opened = core.open_store(&options) => opened,
        () = signals.end() => {
            info!("stopping before the store was open");
            web_tasks.shutdown(GRACE).await;
            return Ok(());
        }
    };
    if let Err(failed) = opened {
        web_tasks.shutdown(GRACE).await;
        return Err(failed);
    }
    let mut running = Running::new(core.scrape.clone(), core.discovery_deps(), core.external_labels.clone());
    running.apply(config);
    core.publish(&running);
    core.readiness.set(ReadinessState::Ready);
    info!("ready");

    let outcome = core.steer(&options, &mut running, &mut signals, &web_stop).await;
    core.drain(running, web_tasks).await;
    outcome
}

/// The components that live as long as the process.
struct Core {
    registry: Registry,
    clock: Clock,
    pool: CpuPool,
    tasks: Tasks,
    store: Arc<LateStore>,
    scrape: scrape::Manager,
    readiness: Readiness,
    quit: CancellationToken,
    reload_sender: mpsc::Sender<ReloadRequest>,
    reload_requests: parking_lot::Mutex<Option<mpsc::Receiver<ReloadRequest>>>,
    external_labels: Arc<ArcSwap<crate::model::Labels>>,
    config_yaml: Arc<ArcSwap<String>>,
    facts: Arc<ArcSwap<RuntimeFacts>>,
    reload_metrics: ReloadMetrics,
    corruptions: Arc<AtomicU64>,
}
