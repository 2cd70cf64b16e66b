//! The gateway, as the configuration says.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::AppError;
use crate::gateway::{Deps, Gateway, GatewayConfig};
use crate::runtime::Tasks;
use crate::telemetry::Registry;

/// The gateway that requests go through now, if there is one.
pub(super) struct Door {
    gateway: Arc<ArcSwapOption<Gateway>>,
    deps: Deps,
}

impl Door {
    /// No backends yet.
    pub(super) fn new(tasks: &Tasks, registry: Registry) -> Door {
        Door { gateway: Arc::default(), deps: Deps { registry, tasks: tasks.child() } }
    }

    /// What requests go through.
    pub(super) fn gateway(&self) -> &Arc<ArcSwapOption<Gateway>> {
        &self.gateway
    }

    /// Makes the gateway of a configuration; what has not changed is that of the one before.
    pub(super) fn prepare(&self, config: Option<&GatewayConfig>) -> Result<Option<Arc<Gateway>>, AppError> {
        let Some(config) = config else { return Ok(None) };
        let before = self.gateway.load_full();
        Ok(Some(Arc::new(Gateway::new(config.clone(), &self.deps, before.as_deref())?)))
    }

    /// Goes over to another gateway. Requests under way end with the earlier one.
    pub(super) fn put(&self, gateway: Option<Arc<Gateway>>) {
        for component in gateway.iter().flat_map(|gateway| gateway.unserved()) {
            tracing::warn!(
                component = component.name(),
                "the gateway has no URL for a component; its routes are answered 404"
            );
        }
        self.gateway.store(gateway);
    }
}
