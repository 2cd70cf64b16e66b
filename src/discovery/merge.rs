//! The providers of one job side by side, and their groups as one list.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::providers::{dns, file, http};
use super::{DiscoveryConfig, TargetGroup};
use crate::runtime::Tasks;
use crate::telemetry::{Counter, Registry};

/// How far apart two updates of one job are at least.
pub const MIN_UPDATE_INTERVAL: Duration = Duration::from_secs(5);

/// What discovery runs on.
#[derive(Clone, Copy)]
pub struct Deps<'a> {
    /// Owns the providers' tasks; they end when it is told to stop.
    pub tasks: &'a Tasks,
    /// Counts refreshes, failures and updates.
    pub registry: &'a Registry,
}

/// Starts the providers of `job`. The channel's value is the complete set of groups of all providers, without empty
/// ones, in the order of `configs`. It starts with the static groups, marked as not seen yet, and is closed once
/// `deps.tasks` is told to stop. Must be called on a tokio runtime.
pub fn spawn(configs: Vec<DiscoveryConfig>, job: &str, deps: &Deps<'_>) -> watch::Receiver<Vec<TargetGroup>> {
    let board = Arc::new(Board { slots: Mutex::new(vec![Vec::new(); configs.len()]), changed: Notify::new() });
    for (slot, config) in configs.into_iter().enumerate() {
        let context = |mechanism| Context::new(Sink { board: board.clone(), slot }, job, mechanism, deps);
        match config {
            DiscoveryConfig::Static(config) => board.slots.lock()[slot] = config.groups,
            DiscoveryConfig::File(config) => deps.tasks.spawn("file discovery", file::run(config, context("file"))),
            DiscoveryConfig::Http(config) => deps.tasks.spawn("http discovery", http::run(config, context("http"))),
            DiscoveryConfig::Dns(config) => deps.tasks.spawn("dns discovery", dns::run(config, context("dns"))),
        }
    }
    let (sender, mut receiver) = watch::channel(board.merged());
    receiver.mark_changed();
    let updates = deps.registry.counter(
        "watershed_discovery_updates_total",
        "Changed sets of target groups handed to the scrape pool of a job.",
        &[("job", job)],
    );
    deps.tasks.spawn("discovery", forward(board, sender, updates, MIN_UPDATE_INTERVAL, deps.tasks.stopping()));
    receiver
}

/// What every provider last published, by its place in the config.
struct Board {
    slots: Mutex<Vec<Vec<TargetGroup>>>,
    changed: Notify,
}

impl Board {
    fn merged(&self) -> Vec<TargetGroup> {
        self.slots.lock().iter().flatten().filter(|group| !group.targets.is_empty()).cloned().collect()
    }
}

/// Where a provider publishes its complete set of groups.
pub(super) struct Sink {
    board: Arc<Board>,
    slot: usize,
}

impl Sink {
    /// Replaces what this provider published before; an equal set changes nothing.
    pub(super) fn publish(&self, groups: Vec<TargetGroup>) {
        let mut slots = self.board.slots.lock();
        if slots[self.slot] != groups {
            slots[self.slot] = groups;
            self.board.changed.notify_one();
        }
    }
}

/// What every provider has besides its own config.
pub(super) struct Context {
    pub(super) sink: Sink,
    pub(super) job: String,
    pub(super) stop: CancellationToken,
    pub(super) refreshes: Counter,
    pub(super) failures: Counter,
}

impl Context {
    fn new(sink: Sink, job: &str, mechanism: &str, deps: &Deps<'_>) -> Context {
        let labels = [("job", job), ("mechanism", mechanism)];
        Context {
            sink,
            job: job.to_owned(),
            stop: deps.tasks.stopping(),
            refreshes: deps.registry.counter(
                "watershed_discovery_refreshes_total",
                "Times a provider asked its source for targets.",
                &labels,
            ),
            failures: deps.registry.counter(
                "watershed_discovery_failures_total",
                "Sources that could not be read or asked; their last known targets stay.",
                &labels,
            ),
        }
    }

    /// A context on its own with the receiver of what is published, for tests of a provider.
    #[cfg(test)]
    pub(super) fn test(tasks: &Tasks, registry: &Registry) -> (Context, impl Fn() -> Vec<TargetGroup> + use<>) {
        let board = Arc::new(Board { slots: Mutex::new(vec![Vec::new()]), changed: Notify::new() });
        let sink = Sink { board: board.clone(), slot: 0 };
        let context = Context::new(sink, "test", "test", &Deps { tasks, registry });
        (context, move || board.slots.lock()[0].clone())
    }
}

/// Hands changes on: at once if the last one is long ago, else when the pause is over.
async fn forward(
    board: Arc<Board>,
    sender: watch::Sender<Vec<TargetGroup>>,
    updates: Counter,
    pause: Duration,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = board.changed.notified() => {}
            () = stop.cancelled() => return,
        }
        let groups = board.merged();
        let changed = sender.send_if_modified(|current| {
            let differs = *current != groups;
            *current = groups;
            differs
        });
        if !changed {
            continue;
        }
        updates.inc();
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::StaticConfig;
    use crate::model::Labels;

    fn group(source: &str, address: &str) -> TargetGroup {
        let targets = vec![Labels::from_pairs([("__address__", address)])];
        TargetGroup { source: source.into(), targets, labels: Labels::empty() }
    }

    #[tokio::test]
    async fn static_groups_are_there_at_once_and_the_channel_stays_open_until_the_stop() {
        let (tasks, registry) = (Tasks::new(), Registry::new());
        let empty = TargetGroup { source: "1".into(), ..TargetGroup::default() };
        let config = StaticConfig { groups: vec![group("0", "a:1"), empty] };
        let mut groups =
            spawn(vec![DiscoveryConfig::Static(config)], "j", &Deps { tasks: &tasks, registry: &registry });
        assert!(groups.has_changed().expect("open"));
        assert_eq!(*groups.borrow_and_update(), [group("0", "a:1")]);
        assert!(!groups.has_changed().expect("open"));
        assert!(tasks.shutdown(Duration::from_secs(5)).await);
        assert!(groups.changed().await.is_err());
    }

    fn forwarding(pause: Duration) -> ([Sink; 2], watch::Receiver<Vec<TargetGroup>>, Counter, Tasks) {
        let board = Arc::new(Board { slots: Mutex::new(vec![Vec::new(), Vec::new()]), changed: Notify::new() });
        let sinks = [0, 1].map(|slot| Sink { board: board.clone(), slot });
        let (sender, groups) = watch::channel(Vec::new());
        let (tasks, updates) = (Tasks::new(), Counter::default());
        tasks.spawn("forward", forward(board, sender, updates.clone(), pause, tasks.stopping()));
        (sinks, groups, updates, tasks)
    }

    #[tokio::test]
    async fn the_first_change_does_not_wait_and_the_second_does() {
        let (sinks, mut groups, updates, tasks) = forwarding(Duration::from_secs(3600));
        sinks[0].publish(vec![group("a", "a:1")]);
        groups.changed().await.expect("open");
        assert_eq!(*groups.borrow_and_update(), [group("a", "a:1")]);
        sinks[0].publish(vec![group("a", "a:2")]);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!groups.has_changed().expect("open"));
        assert_eq!(updates.get(), 1);
        assert!(tasks.shutdown(Duration::from_secs(10)).await);
    }

    #[tokio::test]
    async fn the_newest_groups_of_all_providers_arrive_in_the_end() {
        let (sinks, mut groups, _, tasks) = forwarding(Duration::from_millis(1));
        sinks[1].publish(vec![group("b", "b:0")]);
        for i in 0..100 {
            sinks[0].publish(vec![group("a", &format!("a:{i}"))]);
            tokio::task::yield_now().await;
        }
        groups.wait_for(|g| *g == [group("a", "a:99"), group("b", "b:0")]).await.expect("open");
        sinks[0].publish(vec![]);
        groups.wait_for(|g| *g == [group("b", "b:0")]).await.expect("open");
        assert!(tasks.shutdown(Duration::from_secs(10)).await);
    }
}
