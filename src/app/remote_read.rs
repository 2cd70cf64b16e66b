//! The servers that are read beside the local store, as the configuration says.

use std::sync::Arc;

use parking_lot::Mutex;

use super::AppError;
use super::late::LateStore;
use crate::model::{DurationMs, TimestampMs};
use crate::remote::read::{Deps, Endpoint, EndpointConfig};
use crate::runtime::{Clock, Tasks};
use crate::storage::{Fanout, Secondary};
use crate::telemetry::Registry;

/// The store with those servers.
pub(super) struct RemoteRead {
    storage: Arc<Fanout>,
    deps: Deps,
    now: Mutex<Vec<Endpoint>>,
}

/// Endpoints that are ready to be put to work.
pub(super) struct Prepared(Vec<Endpoint>);

impl RemoteRead {
    /// The store alone. `block` is the time span of its shortest blocks.
    pub(super) fn new(
        store: &Arc<LateStore>,
        clock: Clock,
        block: DurationMs,
        tasks: &Tasks,
        registry: Registry,
    ) -> RemoteRead {
        let storage = Arc::new(Fanout::new(store.clone()));
        let store = store.clone();
        let local_start = Arc::new(move || local_start(&store, clock.now(), block));
        let deps = Deps { registry, tasks: tasks.child(), local_start };
        RemoteRead { storage, deps, now: Mutex::default() }
    }

    /// Everything that can be read.
    pub(super) fn storage(&self) -> &Arc<Fanout> {
        &self.storage
    }

    /// Makes endpoints of a configuration; those that it did not change are kept, with their connections and what is known
    /// of their failures.
    pub(super) fn prepare(&self, configs: &[EndpointConfig]) -> Result<Prepared, AppError> {
        let now = self.now.lock();
        let endpoint = |config: &EndpointConfig| match now.iter().find(|endpoint| endpoint.config() == config) {
            Some(endpoint) => Ok(endpoint.clone()),
            None => Endpoint::new(config.clone(), self.deps.clone())
                .map_err(|source| AppError::RemoteRead { name: config.name.clone(), source }),
        };
        configs.iter().map(endpoint).collect::<Result<_, _>>().map(Prepared)
    }

    /// Goes over to other endpoints. Reads under way go on with the earlier ones.
    pub(super) fn put(&self, Prepared(endpoints): Prepared) {
        let secondary = |endpoint: &Endpoint| Arc::new(endpoint.clone()) as Arc<dyn Secondary>;
        self.storage.set_secondaries(endpoints.iter().map(secondary).collect());
        *self.now.lock() = endpoints;
    }
}

/// From when on the store has everything, as the reference reckons it: from the beginning of its oldest block on, or from
/// now on if there is none, and some time later, since a server that starts anew has gaps at first.
fn local_start(store: &LateStore, now: TimestampMs, block: DurationMs) -> TimestampMs {
    let blocks = store.get().map(|store| store.blocks());
    let oldest = blocks.as_ref().and_then(|blocks| blocks.first());
    oldest.map_or(now, |block| TimestampMs(block.meta().min_time)) + DurationMs(block.0.saturating_mul(2))
}
