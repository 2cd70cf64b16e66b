//! The components that live as long as the process, and the loop that steers them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::cluster::Cluster;
use super::fetch::HttpFetchers;
use super::gateway::Door;
use super::late::LateStore;
use super::listener::ListenerFile;
use super::reload::{FileWatch, Running};
use super::remote_read::RemoteRead;
use super::shipping::Shipping;
use super::signals::Signals;
use super::{AppError, GRACE, Options, storage};
use crate::config::{Config, GlobalConfig, Target};
use crate::disk::RealDisk;
use crate::model::Labels;
use crate::promql::service::{self, Service};
use crate::promql::{Engine, EngineOptions, Feature, ParserOptions};
use crate::remote::otlp;
use crate::runtime::{Clock, CpuPool, Tasks};
use crate::scrape;
use crate::telemetry::{self, Gauge, Registry};
use crate::tsdb::{self, Tsdb};
use crate::web::{self, BuildInfo, Notifications, Readiness, ReloadRequest, RuntimeFacts, Security};

/// How often files are looked at if nobody says; never, then.
const LOOK: Duration = Duration::from_secs(60);
/// What people are told while the store is being opened, if a reload has failed, and at the end.
const STARTING: &str = "Watershed is starting and replaying the write-ahead log (WAL).";
const RELOAD_FAILED: &str = "Configuration reload has failed.";
const STOPPING: &str = "Watershed is shutting down and gracefully stopping all operations.";
/// Where members of a cluster are asked, below the prefix.
const CLUSTER_API: &str = "/prometheus/api/v1/query";
/// Reload requests that wait for their turn; more wait in their connections.
const RELOADS_WAITING: usize = 8;

pub(super) struct Core {
    pub(super) readiness: Readiness,
    /// Who may ask the web server.
    pub(super) listener: Arc<ListenerFile>,
    registry: Registry,
    clock: Clock,
    pool: CpuPool,
    tasks: Tasks,
    store: Arc<LateStore>,
    reading: RemoteRead,
    queries: Service,
    cluster: Cluster,
    /// Where requests go through, if that is our role.
    door: Option<Door>,
    /// Receives OTLP, if it is enabled.
    otlp: Option<Arc<otlp::Receiver>>,
    scrape: Arc<scrape::Manager>,
    quit: CancellationToken,
    reload_sender: mpsc::Sender<ReloadRequest>,
    external_labels: Arc<ArcSwap<Labels>>,
    shipping: Shipping,
    notifications: Notifications,
    config_yaml: Arc<ArcSwap<String>>,
    facts: Arc<ArcSwap<RuntimeFacts>>,
    reload_ok: Gauge,
    reload_time: Gauge,
}

impl Core {
    /// Builds everything that does not depend on open files. The receiver yields reload requests of the web server.
    pub(super) fn new(options: &Options, config: &Config) -> Result<(Core, mpsc::Receiver<ReloadRequest>), AppError> {
        let registry = Registry::new();
        let clock = Clock::system();
        telemetry::process::register(&registry);
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let pool = CpuPool::new("compute", threads)?;
        let store = Arc::new(LateStore::default());
        let tasks = Tasks::new();
        let block = options.storage.chunk_range;
        let reading = RemoteRead::new(&store, clock.clone(), block, &tasks, registry.clone());
        let queries = Service::new(
            Engine::new(engine(options, &config.global)),
            options.queries.clone(),
            service::Deps { storage: reading.storage().clone(), clock: clock.clone(), registry: registry.clone() },
        )?;
        let cluster = Cluster::new(reading.storage().clone(), &tasks, registry.clone(), pool.clone());
        let door = (config.target == Target::Gateway).then(|| Door::new(&tasks, registry.clone()));
        let otlp = options.otlp.then(|| {
            let (lookback, has_type_labels) = (options.web.lookback, options.features.type_and_unit_labels);
            let deps = otlp::Deps { store: store.clone(), clock: clock.clone(), registry: registry.clone() };
            Arc::new(otlp::Receiver::new(otlp::Options { lookback, has_type_labels }, deps))
        });
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let scrape = scrape::Manager::new(scrape::Deps {
            storage: store.clone(),
            registry: registry.clone(),
            pool: pool.clone(),
            clock: clock.clone(),
            fetchers: Arc::new(HttpFetchers),
            offset_seed: scrape::offset_seed(&host, &config.global.external_labels),
        });
        let (reload_sender, reloads) = mpsc::channel(RELOADS_WAITING);
        let settings = storage::settings(&config.storage, options.retention, options.features);
        let facts =
            RuntimeFacts { storage_retention: storage::describe(&settings.retention), ..RuntimeFacts::default() };
        let listener = Arc::new(ListenerFile::load(options.web_config_file.as_deref(), Security::new(&registry))?);
        let external_labels = Arc::new(ArcSwap::from_pointee(Labels::empty()));
        let shipping = Shipping::new(&tasks, clock.clone(), registry.clone(), external_labels.clone());
        let notifications = Notifications::new(options.notification_followers, clock.clone(), &registry);
        notifications.add(STARTING);
        let core = Core {
            readiness: Readiness::new(),
            listener,
            clock,
            pool,
            tasks,
            store,
            reading,
            queries,
            cluster,
            door,
            otlp,
            scrape: Arc::new(scrape),
            quit: CancellationToken::new(),
            reload_sender,
            external_labels,
            shipping,
            notifications,
            config_yaml: Arc::default(),
            facts: Arc::new(ArcSwap::from_pointee(facts)),
            reload_ok: registry.gauge(
                "watershed_config_last_reload_successful",
                "Whether the last attempt to load the configuration succeeded.",
                &[],
            ),
            reload_time: registry.gauge(
                "watershed_config_last_reload_success_timestamp_seconds",
                "When the configuration was last loaded successfully.",
                &[],
            ),
            registry,
        };
        Ok((core, reloads))
    }

    /// What the web server asks of the others.
    pub(super) fn web_deps(&self, options: &Options) -> web::Deps {
        let (yaml, facts) = (self.config_yaml.clone(), self.facts.clone());
        let host: web::HostMetrics = Arc::new(telemetry::host::write_metrics);
        web::Deps {
            security: self.listener.security().clone(),
            storage: self.reading.storage().clone(),
            local: self.store.clone(),
            appendable: self.store.clone(),
            otlp: self.otlp.clone(),
            queries: self.queries.clone(),
            cluster: self.cluster.frontend().clone(),
            gateway: self.door.as_ref().map(|door| door.gateway().clone()),
            exemplars: self.store.clone(),
            admin: self.store.clone(),
            targets: self.scrape.clone(),
            registry: self.registry.clone(),
            clock: self.clock.clone(),
            pool: self.pool.clone(),
            external_labels: self.external_labels.clone(),
            readiness: self.readiness.clone(),
            reload: self.reload_sender.clone(),
            quit: self.quit.clone(),
            config_yaml: Arc::new(move || yaml.load().to_string()),
            flags: Arc::new(options.flags.clone()),
            build: BuildInfo::current(),
            runtime: Arc::new(move || (**facts.load()).clone()),
            features: Arc::new(features(options)),
            notifications: self.notifications.clone(),
            host_metrics: options.host_metrics.then_some(host),
        }
    }

    /// Opens what the role needs.
    pub(super) async fn open(&self, options: &Options, config: &Config) -> Result<(), AppError> {
        match self.door {
            // A gateway stores nothing.
            Some(_) => Ok(()),
            None => self.open_store(options, config).await,
        }
    }

    /// Reads the store's log, on the pool: it may be long.
    async fn open_store(&self, options: &Options, config: &Config) -> Result<(), AppError> {
        let store_options = storage::options(&options.storage, &config.storage, options.retention, options.features);
        let deps = tsdb::Deps { disk: Arc::new(RealDisk), clock: self.clock.clone(), registry: self.registry.clone() };
        let (path, progress) = (options.storage_path.clone(), self.store.progress().clone());
        let opened = self.pool.run(move || Tsdb::open_watched(&path, store_options, deps, &progress)).await?;
        let (store, report) = opened?;
        self.note(|facts| facts.corruptions = report.damage.len() as u64);
        let store = Arc::new(store);
        // Opening the store has taken the directory's lock.
        self.queries.keep_active_log(&RealDisk, &options.storage_path);
        self.store.open(store.clone());
        storage::spawn_upkeep(&store, &self.tasks)?;
        Ok(())
    }

    /// Puts the first configuration to work.
    pub(super) fn start(&self, options: &Options, config: Config) -> Result<Running, AppError> {
        let watch = options.auto_reload.map(|_| FileWatch::new(&config));
        self.listener.clone().watch(&self.pool, &self.tasks);
        let mut running = Running::new(self.scrape.clone(), self.registry.clone(), &self.tasks, watch);
        self.apply(options, &mut running, config)?;
        self.notifications.remove(STARTING);
        Ok(running)
    }

    /// Obeys signals and requests until one of them ends the process.
    pub(super) async fn steer(
        &self,
        options: &Options,
        running: &mut Running,
        signals: &mut Signals,
        reloads: &mut mpsc::Receiver<ReloadRequest>,
    ) -> Result<(), AppError> {
        let mut look = ticker(options.auto_reload.unwrap_or(LOOK));
        loop {
            tokio::select! {
                end = signals.next() => {
                    if end {
                        tracing::info!("told to stop by a signal");
                        return Ok(());
                    }
                    // The log has told why if it failed.
                    let _ = self.reload(options, running);
                }
                () = self.quit.cancelled() => {
                    tracing::info!("told to stop by a request");
                    return Ok(());
                }
                request = reloads.recv() => match request {
                    // The client may have gone away meanwhile.
                    Some(request) => drop(request.reply.send(self.reload(options, running))),
                    None => return Err(AppError::Stopped("web server")),
                },
                _ = look.tick(), if options.auto_reload.is_some() => {
                    if running.files_changed() {
                        tracing::info!("the configuration has changed");
                        let _ = self.reload(options, running);
                    }
                }
            }
        }
    }

    /// Stops serving, then closes the store.
    pub(super) async fn drain(self, web: Tasks) {
        self.notifications.add(STOPPING);
        self.notifications.close();
        if !web.shutdown(GRACE).await {
            tracing::warn!("some requests had not ended after {}", humantime::format_duration(GRACE));
        }
        if !self.shipping.stop(GRACE).await {
            tracing::warn!("shipping had not ended after {}", humantime::format_duration(GRACE));
        }
        if !self.tasks.shutdown(GRACE).await {
            tracing::warn!("some tasks had not ended after {}", humantime::format_duration(GRACE));
        }
        if let Some(store) = self.store.get()
            && let Err(error) = store.flush()
        {
            tracing::error!(%error, "the last samples may not survive a power cut");
        }
        tracing::info!("stopped");
    }

    /// Loads the file anew; the answer tells why it was refused.
    fn reload(&self, options: &Options, running: &mut Running) -> Result<(), String> {
        let outcome = self
            .listener
            .reload()
            .and_then(|()| Ok(options.load()?))
            .and_then(|config| self.apply(options, running, config))
            .map_err(|e| e.to_string());
        match &outcome {
            Ok(()) => {
                self.notifications.remove(RELOAD_FAILED);
                tracing::info!(file = %options.config_file.display(), "loaded the configuration");
            }
            Err(error) => {
                self.notifications.add(RELOAD_FAILED);
                self.reload_ok.set(0.0);
                self.note(|facts| facts.reload_succeeded = false);
                running.note_files(&options.config_file);
                tracing::error!(%error, "the configuration was not loaded; the one before goes on");
            }
        }
        outcome
    }

    fn apply(&self, options: &Options, running: &mut Running, config: Config) -> Result<(), AppError> {
        if self.door.is_some() != (config.target == Target::Gateway) {
            return Err(AppError::Target);
        }
        // What members are asked through, with credentials of ours.
        let is_open = !self.listener.security().asks_at(&options.web.route_prefix.join(CLUSTER_API));
        for warning in config.warnings.iter().filter(|warning| is_open || !warning.is_of_open_listener) {
            tracing::warn!("{warning}");
        }
        let labels = config.global.external_labels.clone();
        let rendered = config.rendered.clone();
        let settings = storage::settings(&config.storage, options.retention, options.features);
        let ship = config.storage.ship.clone();
        let (query_log, otlp) = (config.global.query_log_file.clone(), config.otlp.clone());
        let engine = Engine::new(engine(options, &config.global));
        let endpoints = self.reading.prepare(&config.remote_read)?;
        let frontend = self.cluster.prepare(config.federation.as_ref())?;
        let gateway = self.door.as_ref().map(|door| door.prepare(config.gateway.as_ref())).transpose()?;
        self.log_queries(query_log)?;
        running.apply(config)?;
        self.reading.put(endpoints);
        self.cluster.put(frontend);
        if let (Some(door), Some(gateway)) = (&self.door, gateway) {
            door.put(gateway);
        }
        self.queries.set_engine(engine);
        if let Some(receiver) = &self.otlp {
            receiver.set_config(otlp);
        }
        let retention = storage::describe(&settings.retention);
        self.external_labels.store(Arc::new(labels));
        if let Some(store) = self.store.get() {
            store.apply(settings);
            self.shipping.apply(ship.as_ref(), store, &options.storage_path)?;
        }
        self.config_yaml.store(Arc::new(rendered));
        let now = self.clock.now();
        self.reload_ok.set(1.0);
        self.reload_time.set(now.as_seconds());
        self.note(|facts| {
            facts.reload_succeeded = true;
            facts.storage_retention = retention;
            facts.config_loaded = Some(now);
        });
        Ok(())
    }

    fn log_queries(&self, path: Option<PathBuf>) -> Result<(), AppError> {
        self.queries.set_log(path.as_deref()).map_err(|source| {
            let path = path.unwrap_or_default();
            AppError::QueryLog { path, source }
        })
    }

    fn note(&self, change: impl FnOnce(&mut RuntimeFacts)) {
        let mut facts = (**self.facts.load()).clone();
        change(&mut facts);
        self.facts.store(Arc::new(facts));
    }
}

/// How queries are evaluated. A subquery that tells no step has that of the rules.
fn engine(options: &Options, global: &GlobalConfig) -> EngineOptions {
    let features = &options.features;
    EngineOptions {
        lookback: options.web.lookback.0,
        default_subquery_step: global.evaluation_interval.0,
        parser: ParserOptions {
            experimental_functions: features.promql_experimental_functions,
            duration_expr: true,
            extended_range_selectors: features.promql_extended_range_selectors,
            binop_fill_modifiers: features.promql_binop_fill_modifiers,
        },
        delays_name_removal: features.promql_delayed_name_removal,
        has_type_labels: features.type_and_unit_labels,
        uses_starts: features.use_start_timestamps,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
    }
}

/// What is told of the components to clients that adapt.
fn features(options: &Options) -> Vec<Feature> {
    let on = &options.features;
    vec![
        ("prometheus", "agent_mode", false),
        ("prometheus", "server_mode", true),
        ("prometheus", "auto_reload_config", options.auto_reload.is_some()),
        ("promql", "per_step_stats", on.promql_per_step_stats),
        ("scrape", "extra_scrape_metrics", true),
        ("scrape", "start_timestamp_zero_ingestion", false),
        ("scrape", "type_and_unit_labels", on.type_and_unit_labels),
        ("service_discovery_providers", "dns", true),
        ("service_discovery_providers", "file", true),
        ("service_discovery_providers", "http", true),
        ("service_discovery_providers", "static", true),
        ("tsdb", "delayed_compaction", false),
        ("tsdb", "exemplar_storage", on.exemplar_storage),
        ("tsdb", "histograms_st_encoding", on.histograms_st_encoding),
        ("tsdb", "isolation", true),
        ("tsdb", "native_histograms", true),
        ("tsdb", "st_storage", on.st_storage),
        ("tsdb", "use_uncached_io", false),
        ("tsdb", "xor2_encoding", on.xor2_encoding),
    ]
}

/// Ticks after one period for the first time, and does not make up for ticks that were missed.
fn ticker(period: Duration) -> tokio::time::Interval {
    let mut ticker = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticker
}
