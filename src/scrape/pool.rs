//! The targets of one job.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::job::{Env, Job};
use super::status::{DroppedTarget, TargetMetadata, TargetStatus};
use super::target::{Target, discovered_labels, populate};
use super::target_loop::{Heritage, TargetLoop};
use crate::discovery::TargetGroup;
use crate::model::{Labels, Metadata};

/// Of the targets that are no targets so many are told one by one at each sync; what discovers them may hand over any
/// number, and a log is no place for all of them.
const UNUSABLE_TOLD: u64 = 10;

/// One job's loops, by the hash of their targets.
pub(super) struct Pool {
    env: Arc<Env>,
    job: Arc<Job>,
    groups: Vec<TargetGroup>,
    loops: HashMap<u64, Arc<TargetLoop>>,
    dropped: Vec<Labels>,
    dropped_count: u64,
}

impl Pool {
    pub(super) fn new(env: Arc<Env>, job: Arc<Job>) -> Pool {
        Pool { env, job, groups: Vec::new(), loops: HashMap::new(), dropped: Vec::new(), dropped_count: 0 }
    }

    pub(super) fn job(&self) -> &Job {
        &self.job
    }

    /// Takes the complete set of the job's target groups.
    pub(super) fn sync(&mut self, groups: Vec<TargetGroup>) {
        self.groups = groups;
        self.refresh(&HashMap::new());
    }

    /// Goes on with another configuration. Loops whose targets stay hand over what they know.
    pub(super) fn reconfigure(&mut self, job: Arc<Job>) {
        let same_series = self.job.makes_same_series(&job);
        self.job = job;
        let stayed = self.loops.drain().map(|(hash, old)| {
            old.stop();
            (hash, old)
        });
        let old: Vec<(u64, Arc<TargetLoop>)> = stayed.collect();
        let targets = self.targets();
        // Only a loop that has a successor leaves the end of its series to it.
        let takes_over = |hash: &u64| same_series && targets.contains_key(hash);
        let heritage = old.iter().map(|(hash, old)| (*hash, old.bequeath(takes_over(hash)))).collect();
        self.refresh(&heritage);
    }

    /// Stops all loops. Their series end after the usual delay, unless the process ends first.
    pub(super) fn stop(self) {
        for target in self.loops.values() {
            target.stop();
        }
        self.job.metrics.forget();
    }

    fn refresh(&mut self, heritage: &HashMap<u64, Heritage>) {
        let started = Instant::now();
        let targets = self.targets();
        let gone: Vec<u64> = self.loops.keys().copied().filter(|hash| !targets.contains_key(hash)).collect();
        for hash in gone {
            if let Some(old) = self.loops.remove(&hash) {
                old.stop();
            }
        }
        let mut fresh = Vec::new();
        for (hash, (target, discovered)) in targets {
            match self.loops.get(&hash) {
                Some(known) => known.set_discovered(discovered),
                None => {
                    let before = heritage.get(&hash);
                    let new = TargetLoop::new(self.env.clone(), self.job.clone(), target, discovered, before);
                    let new = Arc::new(new);
                    self.loops.insert(hash, new.clone());
                    fresh.push((new, before.map(|h| h.stopped.clone())));
                }
            }
        }
        self.enforce_target_limit();
        for (new, after) in fresh {
            self.env.tasks.spawn("scrape loop", new.run(after));
        }
        self.job.texts.prune();
        let metrics = &self.job.metrics;
        metrics.targets.set(self.loops.len() as f64);
        metrics.targets_dropped.set(self.dropped_count as f64);
        metrics.sync_seconds.observe(started.elapsed().as_secs_f64());
    }

    /// The job's targets by hash; equal ones are one. Remembers those that the rules drop.
    fn targets(&mut self) -> HashMap<u64, (Target, Labels)> {
        let mut targets = HashMap::new();
        self.dropped.clear();
        self.dropped_count = 0;
        let keep = self.job.config.keep_dropped_targets.unwrap_or(u64::MAX);
        let mut unusable = 0u64;
        for group in &self.groups {
            for own in &group.targets {
                let discovered = discovered_labels(&self.job.config, own, &group.labels);
                match populate(&self.job.config, &self.job.target_rules, &discovered) {
                    Ok(Some(target)) => {
                        targets.insert(target.hash, (target, discovered));
                    }
                    Ok(None) => {
                        if self.dropped_count < keep {
                            self.dropped.push(discovered);
                        }
                        self.dropped_count += 1;
                    }
                    Err(error) => {
                        self.job.metrics.syncs_failed.inc();
                        unusable += 1;
                        if unusable <= UNUSABLE_TOLD {
                            let (job, group) = (&self.job.config.name, &group.source);
                            tracing::error!(job, group, labels = %discovered, %error, "no target can be made of this");
                        }
                    }
                }
            }
        }
        if unusable > UNUSABLE_TOLD {
            let untold = unusable - UNUSABLE_TOLD;
            tracing::error!(job = self.job.config.name, untold, "no target can be made of more than those told before");
        }
        targets
    }

    fn enforce_target_limit(&self) {
        let count = self.loops.len() as u64;
        let over = self.job.config.target_limit.filter(|&limit| count > limit);
        let error: Option<Arc<str>> =
            over.map(|limit| format!("target_limit exceeded (number of targets: {count}, limit: {limit})").into());
        for target in self.loops.values() {
            target.force_error(error.clone());
        }
    }

    /// Active targets, by labels.
    pub(super) fn active(&self) -> Vec<TargetStatus> {
        self.sorted().into_iter().map(|target| target.status()).collect()
    }

    pub(super) fn dropped(&self) -> impl Iterator<Item = DroppedTarget> {
        self.dropped.iter().map(|labels| DroppedTarget {
            scrape_pool: self.job.config.name.clone(),
            discovered_labels: labels.clone(),
        })
    }

    pub(super) fn dropped_count(&self) -> u64 {
        self.dropped_count
    }

    pub(super) fn metadata(&self, metric: Option<&str>) -> Vec<TargetMetadata> {
        let mut all = Vec::new();
        for target in self.sorted() {
            for (name, metadata) in target.metadata(metric) {
                all.push(TargetMetadata { target: target.labels().clone(), metric: name, metadata });
            }
        }
        all
    }

    /// What some target says of a family. For a name of which nobody tells anything no target is asked, and a target that is
    /// just being scraped is asked last, since that means to wait for it.
    pub(super) fn family(&self, name: &str) -> Option<Metadata> {
        let (found, busy) = self.ask(name);
        found.or_else(|| busy.into_iter().find_map(|target| target.family(name)))
    }

    /// As [`family`](Pool::family), but `None` if that had to wait for a scrape.
    pub(super) fn try_family(&self, name: &str) -> Option<Option<Metadata>> {
        let (found, busy) = self.ask(name);
        (found.is_some() || busy.is_empty()).then_some(found)
    }

    /// What some target says of a family, or else the targets that are just being scraped.
    fn ask(&self, name: &str) -> (Option<Metadata>, Vec<&Arc<TargetLoop>>) {
        let mut busy = Vec::new();
        if self.job.texts.has(name) {
            for target in self.loops.values() {
                match target.try_family(name) {
                    Some(Some(found)) => return (Some(found), Vec::new()),
                    Some(None) => {}
                    None => busy.push(target),
                }
            }
        }
        (None, busy)
    }

    /// What each target's scrapes hold while they are worked on.
    #[cfg(test)]
    pub(super) fn caches(&self) -> Vec<Arc<parking_lot::Mutex<super::cache::Cache>>> {
        self.loops.values().map(|target| target.cache()).collect()
    }

    fn sorted(&self) -> Vec<&Arc<TargetLoop>> {
        let mut all: Vec<&Arc<TargetLoop>> = self.loops.values().collect();
        all.sort_by(|a, b| a.labels().cmp(b.labels()));
        all
    }
}
