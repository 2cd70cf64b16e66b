//! The running configuration: what is scraped, and where its targets come from.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::discovery;
use crate::runtime::Tasks;
use crate::scrape::{ApplyError, JobConfig, Manager};
use crate::telemetry::Registry;

/// The jobs at work.
pub(super) struct Running {
    scrape: Arc<Manager>,
    registry: Registry,
    tasks: Tasks,
    jobs: BTreeMap<String, Discovering>,
    watch: Option<FileWatch>,
}

/// The providers of one job.
struct Discovering {
    fingerprint: String,
    tasks: Tasks,
}

impl Running {
    pub(super) fn new(scrape: Arc<Manager>, registry: Registry, tasks: &Tasks, watch: Option<FileWatch>) -> Running {
        Running { scrape, registry, tasks: tasks.child(), jobs: BTreeMap::new(), watch }
    }

    /// Goes over to another configuration. Jobs that it did not change keep their loops, caches and targets. An error
    /// leaves everything as it was.
    pub(super) fn apply(&mut self, config: Config) -> Result<(), ApplyError> {
        self.scrape.apply(config.jobs.clone())?;
        if let Some(watch) = &mut self.watch {
            *watch = FileWatch::new(&config);
        }
        let mut before = std::mem::take(&mut self.jobs);
        for job in config.jobs {
            let unchanged = before.remove(&job.name).filter(|d| d.fingerprint == job.fingerprint);
            let name = job.name.clone();
            let discovering = unchanged.unwrap_or_else(|| self.discover(job));
            self.jobs.insert(name, discovering);
        }
        for gone in before.into_values() {
            gone.tasks.stop();
        }
        Ok(())
    }

    /// Whether a file of the configuration differs from what was loaded or tried last.
    pub(super) fn files_changed(&self) -> bool {
        self.watch.as_ref().is_some_and(FileWatch::changed)
    }

    /// Remembers the files as they are now, so that a refused configuration is tried once and not at every look.
    pub(super) fn note_files(&mut self, config_file: &Path) {
        if let Some(watch) = &mut self.watch {
            watch.note(config_file);
        }
    }

    /// Ends discovery and scraping; scrapes under way get `grace`.
    pub(super) async fn stop(self, grace: Duration) {
        self.tasks.stop();
        if !self.scrape.shutdown(grace).await {
            tracing::warn!("some scrapes had to be cut off");
        }
    }

    fn discover(&self, job: JobConfig) -> Discovering {
        let tasks = self.tasks.child();
        let deps = discovery::Deps { tasks: &tasks, registry: &self.registry };
        let mut groups = discovery::spawn(job.discovery, &job.name, &deps);
        let (scrape, name) = (self.scrape.clone(), job.name);
        tasks.spawn("targets", async move {
            while groups.changed().await.is_ok() {
                let now = groups.borrow_and_update().clone();
                scrape.sync(&name, now);
            }
        });
        Discovering { fingerprint: job.fingerprint, tasks }
    }
}

/// Tells whether the files that a configuration was read from have changed: by their content, because times lie after a
/// restored backup and over some network file systems.
pub(super) struct FileWatch {
    sources: Vec<PathBuf>,
    digest: u64,
}

impl FileWatch {
    pub(super) fn new(config: &Config) -> FileWatch {
        FileWatch { digest: digest(&config.sources), sources: config.sources.clone() }
    }

    fn changed(&self) -> bool {
        digest(&self.sources) != self.digest
    }

    fn note(&mut self, config_file: &Path) {
        if !self.sources.iter().any(|s| s == config_file) {
            self.sources.push(config_file.to_owned());
        }
        self.digest = digest(&self.sources);
    }
}

fn digest(files: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for file in files {
        std::fs::read(file).map_err(|e| e.kind()).hash(&mut hasher);
    }
    hasher.finish()
}
