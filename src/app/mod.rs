//! Wiring only: build order, reload, drain.
//!
//! Ports are bound before anything runs; then the store is opened (the server answers 503 meanwhile), then targets are
//! scraped. A reload loads the whole file anew and is applied only if it is without a mistake; jobs that it did not
//! change go on undisturbed. Shutdown drains in reverse: no new scrapes, then no new requests, then the store closes.

mod cluster;
mod core;
mod fetch;
mod gateway;
mod late;
mod listener;
mod reload;
mod remote_read;
mod shipping;
mod signals;
mod storage;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::cluster::TooManyLabels;
use crate::config::{Config, ConfigErrors, Features, Settings};
use crate::gateway::GatewayError;
use crate::net::ClientError;
use crate::promql::service::Limits;
use crate::runtime::{PoolError, Tasks};
use crate::scrape::ApplyError;
use crate::tsdb::{self, OpenError};
use crate::web::{BindError, ReadinessState, SecurityError, Server, WebConfig};
use core::Core;
use signals::Signals;

/// How long tasks may take to end once they have been told to.
const GRACE: Duration = Duration::from_secs(10);

/// What the command line decides.
pub struct Options {
    /// The configuration file.
    pub config_file: PathBuf,
    /// Whether it may be missing, because the command line says enough.
    pub config_may_be_missing: bool,
    /// What the command line says in its place.
    pub settings: Settings,
    /// How often it is looked at for changes; `None` never.
    pub auto_reload: Option<Duration>,
    /// The web config file: who may ask, and how connections are encrypted; `None` for everybody, in clear.
    pub web_config_file: Option<PathBuf>,
    /// Where to listen.
    pub listen: Vec<String>,
    /// How to serve.
    pub web: WebConfig,
    /// Whether to serve the host's own metrics.
    pub host_metrics: bool,
    /// Whether to receive OTLP.
    pub otlp: bool,
    /// Where samples are stored.
    pub storage_path: PathBuf,
    /// How the store works; the config adds what it says of it.
    pub storage: tsdb::Options,
    /// How long samples are kept unless the config says.
    pub retention: tsdb::Retention,
    /// What `--enable-feature` names.
    pub features: Features,
    /// What bounds queries.
    pub queries: Limits,
    /// Clients that may follow notifications live.
    pub notification_followers: usize,
    /// All flags as text, for the API.
    pub flags: BTreeMap<String, String>,
}

/// Why the server could not start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The configuration has mistakes.
    #[error("the configuration was refused:\n{0}")]
    Config(#[from] ConfigErrors),
    /// The web config file has mistakes.
    #[error("the web config file was refused:\n{0}")]
    WebConfig(ConfigErrors),
    /// The web config file cannot be put to work.
    #[error(transparent)]
    Security(#[from] SecurityError),
    /// The configuration cannot be put to work.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The file that queries are to be logged to cannot be opened.
    #[error("opening query_log_file {path}: {source}")]
    QueryLog {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A server cannot be read from as configured.
    #[error("remote_read {name}: {source}")]
    RemoteRead {
        /// The server.
        name: String,
        /// Why.
        source: ClientError,
    },
    /// A member of the cluster cannot be asked as configured.
    #[error("member {name} of the federation: {source}")]
    Member {
        /// The member.
        name: String,
        /// Why.
        source: ClientError,
    },
    /// The members have too many labels.
    #[error("federation: {0}")]
    VirtualLabels(TooManyLabels),
    /// A backend of the gateway cannot be reached as configured.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// The role was changed to or from that of a gateway, which needs other parts.
    #[error("target cannot become or cease to be gateway while the server runs; it has to be started anew")]
    Target,
    /// An address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The system refused threads, signals or the like.
    #[error("starting: {0}")]
    System(#[from] std::io::Error),
    /// A computation could not be run.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// A component ended unexpectedly.
    #[error("the {0} stopped unexpectedly; the log tells more")]
    Stopped(&'static str),
}

impl Options {
    /// Reads the configuration.
    fn load(&self) -> Result<Config, ConfigErrors> {
        crate::config::load_set(&self.config_file, &self.features, &self.settings, self.config_may_be_missing)
    }
}

/// Runs until a signal or a request ends it, and drains. Dropping the future leaves the store's log as a crash would.
pub async fn serve(options: Options) -> Result<(), AppError> {
    let config = options.load()?;
    let mut signals = Signals::listen()?;
    let (core, mut reloads) = Core::new(&options, &config)?;
    let server = Server::bind(&options.listen, options.web.clone(), core.web_deps(&options)).await?;
    for address in server.addresses() {
        tracing::info!(%address, "listening");
    }
    let web = Tasks::new();
    let stop_web = web.stopping();
    web.spawn("web", async move { server.run(stop_web).await });

    // The signal's branch only matters until the store is open; then the steering loop listens.
    let opened = tokio::select! {
        opened = core.open(&options, &config) => opened.map(|()| true),
        () = signals.end() => Ok(false),
    };
    let outcome = match opened {
        Ok(true) => match core.start(&options, config) {
            Ok(mut running) => {
                core.readiness.set(ReadinessState::Ready);
                tracing::info!("ready");
                let outcome = core.steer(&options, &mut running, &mut signals, &mut reloads).await;
                running.stop(GRACE).await;
                outcome
            }
            Err(error) => Err(error),
        },
        Ok(false) => {
            tracing::info!("stopping before the store was open");
            Ok(())
        }
        Err(error) => Err(error),
    };
    core.readiness.set(ReadinessState::Stopping);
    core.drain(web).await;
    outcome
}
