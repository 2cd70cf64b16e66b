//! All jobs.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::config::JobConfig;
use super::failure_log::FailureLog;
use super::families::Texts;
use super::fetch::Fetchers;
use super::job::{Bodies, Env, Job};
use super::pool::Pool;
use super::status::{DroppedTarget, TargetMetadata, TargetSource, TargetStatus};
use crate::discovery::TargetGroup;
use crate::model::{Labels, Metadata};
use crate::runtime::{Clock, CpuPool, Tasks};
use crate::storage::Appendable;
use crate::telemetry::Registry;

/// After the grace period loops get this long to write what they have.
const CUT_GRACE: Duration = Duration::from_secs(2);

/// What scraping needs from others.
pub struct Deps {
    /// Where samples go.
    pub storage: Arc<dyn Appendable>,
    /// Where scraping counts.
    pub registry: Registry,
    /// Where large bodies are worked off.
    pub pool: CpuPool,
    /// What time it is.
    pub clock: Clock,
    /// How targets are asked.
    pub fetchers: Arc<dyn Fetchers>,
    /// Moves this server's scrapes against those of others; see [`offset_seed`].
    pub offset_seed: u64,
}

/// A seed that differs between servers and between replicas told apart by their external labels.
pub fn offset_seed(host_name: &str, external_labels: &Labels) -> u64 {
    xxhash_rust::xxh64::xxh64(host_name.as_bytes(), external_labels.stable_hash())
}

/// Why a configuration could not be applied. Nothing of it was.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("scrape job {job:?}: {reason}")]
pub struct ApplyError {
    /// The job.
    pub job: String,
    /// What is wrong.
    pub reason: String,
}

/// Scrapes the targets of all jobs. Dropping it does not stop its tasks; [`shutdown`](Manager::shutdown) does.
pub struct Manager {
    env: Arc<Env>,
    fetchers: Arc<dyn Fetchers>,
    pools: Mutex<BTreeMap<String, Pool>>,
}

impl Manager {
    /// Without jobs.
    pub fn new(deps: Deps) -> Manager {
        let env = Env {
            storage: deps.storage,
            registry: deps.registry,
            pool: deps.pool,
            clock: deps.clock,
            offset_seed: deps.offset_seed,
            tasks: Tasks::new(),
            cut: CancellationToken::new(),
            bodies: Bodies::default(),
        };
        Manager { env: Arc::new(env), fetchers: deps.fetchers, pools: Mutex::default() }
    }

    /// Replaces the set of jobs. A job whose fingerprint is the same goes on undisturbed; one that has changed goes on
    /// with its last targets; one that is not there any more stops. Must be called within a tokio runtime.
    pub fn apply(&self, configs: Vec<JobConfig>) -> Result<(), ApplyError> {
        let mut pools = self.pools.lock();
        let unchanged = |c: &JobConfig| pools.get(&c.name).is_some_and(|p| p.job().config.fingerprint == c.fingerprint);
        let names: Vec<String> = configs.iter().map(|c| c.name.clone()).collect();
        // Jobs are built before anything is touched, so that an error leaves everything as it was.
        let mut logs: HashMap<PathBuf, Arc<FailureLog>> = HashMap::new();
        let mut changed = Vec::new();
        for config in configs.into_iter().filter(|c| !unchanged(c)) {
            let texts = pools.get(&config.name).map_or_else(Arc::<Texts>::default, |p| p.job().texts.clone());
            changed.push(Arc::new(self.build(config, &mut logs, texts)?));
        }
        let gone: Vec<String> = pools.keys().filter(|name| !names.contains(name)).cloned().collect();
        for pool in gone.iter().filter_map(|name| pools.remove(name)).collect::<Vec<_>>() {
            pool.stop();
        }
        for job in changed {
            match pools.get_mut(&job.config.name) {
                Some(pool) => pool.reconfigure(job),
                None => {
                    pools.insert(job.config.name.clone(), Pool::new(self.env.clone(), job));
                }
            }
        }
        Ok(())
    }

    fn build(
        &self,
        config: JobConfig,
        logs: &mut HashMap<PathBuf, Arc<FailureLog>>,
        texts: Arc<Texts>,
    ) -> Result<Job, ApplyError> {
        let fail = |reason: String| ApplyError { job: config.name.clone(), reason };
        let fetcher = self.fetchers.fetcher(&config).map_err(fail)?;
        let log = match &config.failure_log_file {
            None => None,
            Some(path) => Some(match logs.get(path) {
                Some(log) => log.clone(),
                None => {
                    let opened = FailureLog::open(path)
                        .map_err(|e| fail(format!("opening scrape_failure_log_file {}: {e}", path.display())))?;
                    logs.entry(path.clone()).or_insert(Arc::new(opened)).clone()
                }
            }),
        };
        Ok(Job::new(config, fetcher, log, &self.env.registry, texts))
    }

    /// Takes the complete set of a job's target groups. A job that is not configured (any more) is left alone.
    pub fn sync(&self, job: &str, groups: Vec<TargetGroup>) {
        match self.pools.lock().get_mut(job) {
            Some(pool) => pool.sync(groups),
            None => tracing::debug!(job, "targets for a job that is not configured"),
        }
    }

    /// Stops all loops. Scrapes under way may end within `grace`; then they are cut. Series do not end by this: the next
    /// start goes on where this one stopped. False if a loop was still busy after all.
    pub async fn shutdown(&self, grace: Duration) -> bool {
        if self.env.tasks.shutdown(grace).await {
            return true;
        }
        self.env.cut.cancel();
        self.env.tasks.shutdown(CUT_GRACE).await
    }

    fn collect<T>(&self, pool: Option<&str>, mut add: impl FnMut(&Pool, &mut Vec<T>)) -> Vec<T> {
        let pools = self.pools.lock();
        let mut all = Vec::new();
        for (name, p) in pools.iter() {
            if pool.is_none_or(|wanted| wanted == name) {
                add(p, &mut all);
            }
        }
        all
    }
}

#[cfg(test)]
impl Manager {
    /// Runs `then` while the targets of a job are as if they were just being scraped.
    pub(super) fn while_scraped(&self, job: &str, then: impl FnOnce()) {
        let caches = self.pools.lock()[job].caches();
        let _held: Vec<_> = caches.iter().map(|cache| cache.lock()).collect();
        then();
    }
}

impl TargetSource for Manager {
    fn pools(&self) -> Vec<String> {
        self.pools.lock().keys().cloned().collect()
    }

    fn active(&self, pool: Option<&str>) -> Vec<TargetStatus> {
        self.collect(pool, |p, all| all.extend(p.active()))
    }

    fn dropped(&self, pool: Option<&str>) -> Vec<DroppedTarget> {
        self.collect(pool, |p, all| all.extend(p.dropped()))
    }

    fn dropped_counts(&self) -> Vec<(String, u64)> {
        self.collect(None, |p, all| all.push((p.job().config.name.clone(), p.dropped_count())))
    }

    fn config(&self, pool: &str) -> Option<JobConfig> {
        self.pools.lock().get(pool).map(|p| p.job().config.clone())
    }

    fn metadata(&self, metric: Option<&str>) -> Vec<TargetMetadata> {
        self.collect(None, |p, all| all.extend(p.metadata(metric)))
    }

    fn family(&self, name: &str) -> Option<Metadata> {
        self.pools.lock().values().find_map(|pool| pool.family(name))
    }

    fn try_family(&self, name: &str) -> Option<Option<Metadata>> {
        for pool in self.pools.try_lock()?.values() {
            if let Some(found) = pool.try_family(name)? {
                return Some(Some(found));
            }
        }
        Some(None)
    }
}
