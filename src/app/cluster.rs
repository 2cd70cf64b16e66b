//! The members of the cluster frontend, as the configuration says.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::AppError;
use crate::cluster::{FederationConfig, Frontend, Member, MemberConfig, MemberMetrics, Source};
use crate::model::TimestampMs;
use crate::remote::read::{Deps, Endpoint, EndpointConfig};
use crate::runtime::Tasks;
use crate::storage::Queryable;
use crate::telemetry::Registry;

/// The frontend that is asked now, if there is one.
pub(super) struct Cluster {
    frontend: Arc<ArcSwapOption<Frontend>>,
    tasks: Tasks,
    registry: Registry,
}

impl Cluster {
    /// No members yet.
    pub(super) fn new(tasks: &Tasks, registry: Registry) -> Cluster {
        Cluster { frontend: Arc::default(), tasks: tasks.child(), registry }
    }

    /// What is asked.
    pub(super) fn frontend(&self) -> &Arc<ArcSwapOption<Frontend>> {
        &self.frontend
    }

    /// Makes the frontend of a configuration; nothing is sent.
    pub(super) fn prepare(&self, config: Option<&FederationConfig>) -> Result<Option<Arc<Frontend>>, AppError> {
        let Some(config) = config else { return Ok(None) };
        let sources = config.members.iter().map(|member| self.source(member, config)).collect::<Result<_, _>>()?;
        let frontend = Frontend::new(config, sources, self.tasks.clone());
        frontend.map(|frontend| Some(Arc::new(frontend))).map_err(AppError::VirtualLabels)
    }

    /// Goes over to another frontend. Queries under way go on with the earlier one.
    pub(super) fn put(&self, frontend: Option<Arc<Frontend>>) {
        self.frontend.store(frontend);
    }

    fn source(&self, config: &MemberConfig, federation: &FederationConfig) -> Result<Source, AppError> {
        let failed = |source| AppError::Member { name: config.name.clone(), source };
        let metrics = MemberMetrics::new(&self.registry, &config.name);
        let member = Member::new(config.clone(), federation.max_attempts, federation.max_concurrency, metrics);
        let samples = self.samples(config).map_err(failed)?;
        Ok(Source { member: Arc::new(member.map_err(failed)?), samples, is_pushed: true })
    }

    /// The member's samples by remote read, from its first replica.
    fn samples(&self, config: &MemberConfig) -> Result<Option<Arc<dyn Queryable>>, crate::net::ClientError> {
        let Some(url) = config.urls.first() else { return Ok(None) };
        let mut url = url.clone();
        url.set_path(&format!("{}/api/v1/read", url.path().trim_end_matches('/')));
        let mut read = EndpointConfig {
            name: config.name.clone(),
            timeout: config.timeout,
            read_recent: true,
            client: config.client.clone(),
            ..EndpointConfig::new(url)
        };
        read.headers.extend(config.tenant.iter().map(|tenant| ("X-Scope-OrgID".to_owned(), tenant.clone())));
        let local_start = Arc::new(|| TimestampMs::MIN);
        let deps = Deps { registry: self.registry.clone(), tasks: self.tasks.clone(), local_start };
        Ok(Some(Arc::new(Endpoint::new(read, deps)?)))
    }
}
