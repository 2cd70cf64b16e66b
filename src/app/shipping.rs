//! Shipping, begun and ended as the configuration says.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::disk::RealDisk;
use crate::model::Labels;
use crate::runtime::{Clock, Tasks};
use crate::telemetry::Registry;
use crate::tsdb::Tsdb;
use crate::tsdb::ship::{self, Config};

/// What is shipped to where now.
pub(super) struct Shipping {
    tasks: Tasks,
    clock: Clock,
    registry: Registry,
    labels: Arc<ArcSwap<Labels>>,
    now: Mutex<Option<(Config, Tasks)>>,
}

impl Shipping {
    pub(super) fn new(tasks: &Tasks, clock: Clock, registry: Registry, labels: Arc<ArcSwap<Labels>>) -> Shipping {
        Shipping { tasks: tasks.child(), clock, registry, labels, now: Mutex::new(None) }
    }

    /// Goes over to another configuration; one that is as before goes on undisturbed.
    pub(super) fn apply(&self, wanted: Option<&Config>, store: &Arc<Tsdb>, dir: &Path) -> io::Result<()> {
        let mut now = self.now.lock();
        if now.as_ref().map(|(config, _)| config) == wanted {
            return Ok(());
        }
        let next = wanted.map(|config| self.spawn(config, store, dir)).transpose()?;
        if let Some((_, before)) = std::mem::replace(&mut *now, next) {
            before.stop();
        }
        Ok(())
    }

    fn spawn(&self, config: &Config, store: &Arc<Tsdb>, dir: &Path) -> io::Result<(Config, Tasks)> {
        let tasks = self.tasks.child();
        let deps = ship::Deps {
            disk: Arc::new(RealDisk),
            dir: dir.to_owned(),
            clock: self.clock.clone(),
            registry: self.registry.clone(),
            gate: store.ship_gate(),
            stop: tasks.stopping(),
        };
        let (store, labels) = (store.clone(), self.labels.clone());
        ship::spawn(config, deps, Arc::new(move || store.blocks()), Arc::new(move || labels.load_full()), &tasks)?;
        Ok((config.clone(), tasks))
    }

    /// Ends it and waits, at most `grace`. False if it had not ended by then.
    pub(super) async fn stop(&self, grace: Duration) -> bool {
        let now = self.now.lock().take();
        match now {
            Some((_, tasks)) => tasks.shutdown(grace).await,
            None => true,
        }
    }
}
