//! The running configuration: what is scraped, and where its targets come from.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

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

/// The providers of one job; dropping it ends them, and from then on they change nothing any more.
struct Discovering {
    fingerprint: String,
    tasks: Tasks,
    /// Held while targets are handed over; false once they are not wanted any more.
    wanted: Arc<Mutex<bool>>,
}

impl Drop for Discovering {
    fn drop(&mut self) {
        *self.wanted.lock() = false;
        self.tasks.stop();
    }
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
            // A changed job's providers end here, before those of its new configuration begin.
            let unchanged = before.remove(&job.name).filter(|d| d.fingerprint == job.fingerprint);
            let name = job.name.clone();
            let discovering = unchanged.unwrap_or_else(|| self.discover(job));
            self.jobs.insert(name, discovering);
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
        let wanted = Arc::new(Mutex::new(true));
        let still_wanted = wanted.clone();
        tasks.spawn("targets", async move {
            while groups.changed().await.is_ok() {
                let now = groups.borrow_and_update().clone();
                let wanted = still_wanted.lock();
                if *wanted {
                    scrape.sync(&name, now);
                }
            }
        });
        Discovering { fingerprint: job.fingerprint, tasks, wanted }
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

/// Tells whether the content of any of the files is another.
pub(super) fn digest(files: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for file in files {
        std::fs::read(file).map_err(|e| e.kind()).hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::super::fetch::HttpFetchers;
    use super::*;
    use crate::runtime::{Clock, CpuPool};
    use crate::scrape;
    use crate::storage::memory::MemoryStore;

    fn config(jobs: &[(&str, &str)]) -> Config {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("c.yml");
        let job = |(name, file): &(&str, &str)| {
            format!("- {{job_name: {name}, file_sd_configs: [{{files: [/nowhere/{file}.json]}}]}}\n")
        };
        let yaml: String = jobs.iter().map(job).collect();
        std::fs::write(&path, format!("scrape_configs:\n{yaml}")).expect("a file");
        crate::config::load(&path).expect("a good config")
    }

    #[tokio::test]
    async fn discovery_of_changed_and_gone_jobs_ends_and_that_of_others_goes_on() {
        let (registry, tasks) = (Registry::new(), Tasks::new());
        let scrape = Manager::new(scrape::Deps {
            storage: Arc::new(MemoryStore::new()),
            registry: registry.clone(),
            pool: CpuPool::inline(),
            clock: Clock::system(),
            fetchers: Arc::new(HttpFetchers),
            offset_seed: 0,
        });
        let mut running = Running::new(Arc::new(scrape), registry, &tasks, None);
        running.apply(config(&[("same", "a"), ("changed", "b"), ("gone", "c")])).expect("applied");
        let before = ["same", "changed", "gone"].map(|name| running.jobs[name].tasks.stopping());
        running.apply(config(&[("same", "a"), ("changed", "other")])).expect("applied");
        assert_eq!(before.map(|stop| stop.is_cancelled()), [false, true, true]);
        assert!(running.jobs.values().all(|job| !job.tasks.stopping().is_cancelled()));
        tasks.stop();
    }
}
