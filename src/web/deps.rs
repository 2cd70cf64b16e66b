//! What the server asks of the rest of the program.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::auth::Security;
use super::notifications::Notifications;
use crate::cluster::Frontend;
use crate::gateway::Gateway;
use crate::model::{Labels, TimestampMs};
use crate::promql::Feature;
use crate::promql::service::Service;
use crate::remote::otlp;
use crate::runtime::{Clock, CpuPool};
use crate::scrape::TargetSource;
use crate::storage::{Administrable, Appendable, ExemplarQueryable, Queryable};
use crate::telemetry::Registry;

/// Appends the host's metrics in text format 0.0.4.
pub type HostMetrics = Arc<dyn Fn(&mut String) + Send + Sync>;

/// Everything that the server reads from or asks of other components.
#[derive(Clone)]
pub struct Deps {
    /// The local store.
    pub storage: Arc<dyn Queryable>,
    /// Our own store alone, whatever else `storage` reads beside it; what `/federate` serves, as in the reference.
    pub local: Arc<dyn Queryable>,
    /// The same store, as far as it can be written to.
    pub appendable: Arc<dyn Appendable>,
    /// Takes OTLP into it; `None` unless that is enabled.
    pub otlp: Option<Arc<otlp::Receiver>>,
    /// Where queries are asked.
    pub queries: Service,
    /// The members of the cluster view; `None` while no cluster is configured.
    pub cluster: Arc<ArcSwapOption<Frontend>>,
    /// Where everything but our own pages goes, if this server is a gateway.
    pub gateway: Option<Arc<ArcSwapOption<Gateway>>>,
    /// The same store, as far as it has exemplars.
    pub exemplars: Arc<dyn ExemplarQueryable>,
    /// The same store, as far as it can be administered.
    pub admin: Arc<dyn Administrable>,
    /// The scrape manager.
    pub targets: Arc<dyn TargetSource>,
    /// Own metrics, served at `/metrics`.
    pub registry: Registry,
    /// The wall clock.
    pub clock: Clock,
    /// Where answers are computed.
    pub pool: CpuPool,
    /// Labels that `/federate` adds where they are absent; replaced on reload.
    pub external_labels: Arc<ArcSwap<Labels>>,
    /// Whether data can be served.
    pub readiness: Readiness,
    /// Takes requests to reload the configuration.
    pub reload: mpsc::Sender<ReloadRequest>,
    /// Cancelled to end the program.
    pub quit: CancellationToken,
    /// The running configuration as YAML, secrets masked.
    pub config_yaml: Arc<dyn Fn() -> String + Send + Sync>,
    /// All flags with their values, secrets masked.
    pub flags: Arc<BTreeMap<String, String>>,
    /// What was built.
    pub build: BuildInfo,
    /// Facts that change while the program runs.
    pub runtime: Arc<dyn Fn() -> RuntimeFacts + Send + Sync>,
    /// What the other components can do, by category and name; the server adds its own and the query language's.
    pub features: Arc<Vec<Feature>>,
    /// What people should know now.
    pub notifications: Notifications,
    /// Who may ask, and how connections are encrypted; its rules are replaced when the web config file changes.
    pub security: Security,
    /// The built-in host exporter, if it is enabled.
    pub host_metrics: Option<HostMetrics>,
}

/// A request to reload; the answer says why it failed.
#[derive(Debug)]
pub struct ReloadRequest {
    /// Takes the outcome.
    pub reply: oneshot::Sender<Result<(), String>>,
}

/// Whether data can be served.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ReadinessState {
    /// The store is still being opened.
    #[default]
    Starting,
    /// Everything is served.
    Ready,
    /// The program is about to end.
    Stopping,
}

/// A switch that `app` turns and the server reads; clones share it.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<watch::Sender<ReadinessState>>);

impl Default for Readiness {
    fn default() -> Readiness {
        Readiness(Arc::new(watch::Sender::new(ReadinessState::Starting)))
    }
}

impl Readiness {
    /// A switch that stands at [`ReadinessState::Starting`].
    pub fn new() -> Readiness {
        Readiness::default()
    }

    /// Turns the switch.
    pub fn set(&self, state: ReadinessState) {
        self.0.send_replace(state);
    }

    /// Where it stands.
    pub fn get(&self) -> ReadinessState {
        *self.0.borrow()
    }
}

/// What `status/buildinfo` tells, in the reference's shape; clients read `version` as that of the server's API.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildInfo {
    /// Watershed's version.
    pub version: String,
    /// Commit that was built; empty if unknown.
    pub revision: String,
    /// Branch that was built; empty if unknown.
    pub branch: String,
    /// Who built; empty if unknown.
    pub build_user: String,
    /// When; empty if unknown.
    pub build_date: String,
    /// The compiler: here that of Rust.
    pub go_version: String,
    /// Tells apart servers of the same API.
    pub application: &'static str,
}

impl BuildInfo {
    /// What the build environment told: `WATERSHED_REVISION`, `_BRANCH`, `_BUILD_USER`, `_BUILD_DATE`, `_RUSTC`.
    pub fn current() -> BuildInfo {
        let or = |told: Option<&str>, else_: &str| told.unwrap_or(else_).to_owned();
        BuildInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: or(option_env!("WATERSHED_REVISION"), ""),
            branch: or(option_env!("WATERSHED_BRANCH"), ""),
            build_user: or(option_env!("WATERSHED_BUILD_USER"), ""),
            build_date: or(option_env!("WATERSHED_BUILD_DATE"), ""),
            go_version: or(option_env!("WATERSHED_RUSTC"), concat!("rustc ", env!("CARGO_PKG_RUST_VERSION"), "+")),
            application: "Watershed",
        }
    }
}

/// Facts that only `app` knows, for `status/runtimeinfo`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RuntimeFacts {
    /// Whether the last reload succeeded.
    pub reload_succeeded: bool,
    /// When the running configuration was loaded; `None` before the first.
    pub config_loaded: Option<TimestampMs>,
    /// Damages found in the log on start.
    pub corruptions: u64,
    /// How long data is kept, as text: `15d`, `15d or 10GB`.
    pub storage_retention: String,
}
