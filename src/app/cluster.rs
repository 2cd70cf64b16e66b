//! The members of the cluster frontend, as the configuration says.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use url::Url;

use super::AppError;
use crate::cluster::{
    FederationConfig, Frontend, FrontendMetrics, Greeting, ListCache, Member, MemberConfig, MemberMetrics, Policy,
    Reads, RemoteSamples, ResultCache, Source,
};
use crate::model::TimestampMs;
use crate::net::ClientError;
use crate::net::header::HeaderMap;
use crate::remote::read::{Deps, Endpoint, EndpointConfig};
use crate::runtime::{Clock, CpuPool, Tasks};
use crate::storage::Queryable;
use crate::telemetry::Registry;

/// How long a member may take to say who it is.
const GREETING: Duration = Duration::from_secs(10);
/// After such pauses those who have not said so are asked again.
const AGAIN: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(5)];

/// The frontend that is asked now, if there is one.
pub(super) struct Cluster {
    frontend: Arc<ArcSwapOption<Frontend>>,
    /// This node's own data.
    store: Arc<dyn Queryable>,
    tasks: Tasks,
    registry: Registry,
    pool: CpuPool,
}

impl RemoteSamples for Endpoint {
    fn asked(&self, headers: Arc<HeaderMap>, meter: Option<Arc<AtomicU64>>) -> Box<dyn Queryable> {
        Box::new(self.with_headers(headers).with_meter(meter))
    }
}

impl Cluster {
    /// No members yet.
    pub(super) fn new(store: Arc<dyn Queryable>, tasks: &Tasks, registry: Registry, pool: CpuPool) -> Cluster {
        Cluster { frontend: Arc::default(), store, tasks: tasks.child(), registry, pool }
    }

    /// What is asked.
    pub(super) fn frontend(&self) -> &Arc<ArcSwapOption<Frontend>> {
        &self.frontend
    }

    /// Makes the frontend of a configuration; nothing is sent.
    pub(super) fn prepare(&self, config: Option<&FederationConfig>) -> Result<Option<Arc<Frontend>>, AppError> {
        let Some(config) = config else { return Ok(None) };
        // What it knows of its members, and what it has kept of them, it keeps.
        if let Some(same) = self.frontend.load_full().filter(|frontend| frontend.config() == config) {
            return Ok(Some(same));
        }
        let sources = config.members.iter().map(|member| self.source(member, config));
        let mut sources = sources.collect::<Result<Vec<_>, _>>()?;
        if let Some((name, labels)) = &config.local {
            let metrics = MemberMetrics::new(&self.registry, name);
            let member = Arc::new(Member::local(name, labels, metrics).map_err(failed(name))?);
            sources.push(Source { member, reads: Reads::Local(self.store.clone()) });
        }
        let frontend = Frontend::new(config, sources, self.tasks.clone()).map_err(AppError::VirtualLabels)?;
        let (lists, metrics) = (ListCache::new(&self.registry), FrontendMetrics::new(&self.registry));
        let mut frontend = frontend.computing_on(self.pool.clone()).keeping_lists(lists).measured(metrics);
        if let Some(cache) = &config.cache {
            frontend = frontend.caching(ResultCache::new(cache, Clock::system(), &self.registry));
        }
        Ok(Some(Arc::new(frontend)))
    }

    /// Goes over to another frontend. Queries under way go on with the earlier one. Nobody waits for its members; what they say
    /// when they are greeted stands in the log.
    pub(super) fn put(&self, frontend: Option<Arc<Frontend>>) {
        let before = self.frontend.swap(frontend.clone());
        let is_same = |new: &Arc<Frontend>| before.as_ref().is_some_and(|before| Arc::ptr_eq(before, new));
        let Some(frontend) = frontend.filter(|new| !is_same(new)) else { return };
        for member in frontend.members() {
            let member = member.clone();
            let stop = self.tasks.stopping();
            self.tasks.spawn("member-greeting", async move {
                // If the process ends meanwhile, nobody needs to know.
                let _ended = stop.run_until_cancelled(greet(&member)).await;
            });
        }
    }

    fn source(&self, config: &MemberConfig, federation: &FederationConfig) -> Result<Source, AppError> {
        let metrics = MemberMetrics::new(&self.registry, &config.name);
        let member = Member::new(config.clone(), federation.max_attempts, federation.max_concurrency, metrics);
        let member = member.map_err(failed(&config.name))?.computing_on(self.pool.clone());
        let member = Arc::new(member.taking(&federation.propagated_headers));
        let endpoints = config.urls.iter().map(|url| self.endpoint(config, url)).collect::<Result<_, _>>();
        Ok(Source { member, reads: Reads::Remote(endpoints.map_err(failed(&config.name))?) })
    }

    /// A replica's samples by remote read.
    fn endpoint(&self, config: &MemberConfig, url: &Url) -> Result<Box<dyn RemoteSamples>, ClientError> {
        let mut url = url.clone();
        url.set_path(&format!("{}/api/v1/read", url.path().trim_end_matches('/')));
        let read = EndpointConfig {
            name: config.name.clone(),
            timeout: config.timeout,
            read_recent: true,
            client: config.client.clone(),
            ..EndpointConfig::new(url)
        };
        let local_start = Arc::new(|| TimestampMs::MIN);
        let deps = Deps { registry: self.registry.clone(), tasks: self.tasks.clone(), local_start };
        Ok(Box::new(Endpoint::new(read, deps)?))
    }
}

/// Tells in the log what members are not as they should be.
async fn greet(member: &Member) {
    let name = &member.config().name;
    let mut greetings = greetings_of(member).await;
    // Who starts at the same time as we do, or is ourselves, may not be ready yet.
    for pause in AGAIN {
        if greetings.iter().all(|greeting| greeting.version.is_ok()) {
            break;
        }
        tokio::time::sleep(pause).await;
        greetings = greetings_of(member).await;
    }
    for Greeting { url, version, is_self } in greetings {
        if is_self {
            tracing::warn!(
                member = %name,
                %url,
                "a member of the cluster is this server itself; federation.local makes its data a member without asking it"
            );
        }
        match version {
            Ok(version) => tracing::info!(member = %name, %url, %version, "a member of the cluster answers"),
            Err(error) if member.config().policy == Policy::Required => {
                tracing::warn!(member = %name, %url, %error, "a required member of the cluster does not answer");
            }
            Err(error) => {
                tracing::info!(member = %name, %url, %error, "an optional member of the cluster does not answer")
            }
        }
    }
}

async fn greetings_of(member: &Member) -> Vec<Greeting> {
    match Instant::now().checked_add(GREETING) {
        Some(deadline) => member.greet(deadline).await,
        None => Vec::new(),
    }
}

fn failed(name: &str) -> impl FnOnce(ClientError) -> AppError {
    move |source| AppError::Member { name: name.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::memory::MemoryStore;

    #[tokio::test]
    async fn a_reload_keeps_the_frontend_of_the_same_members_and_what_it_has_kept_of_no_others() {
        let cluster = Cluster::new(Arc::new(MemoryStore::new()), &Tasks::new(), Registry::new(), CpuPool::inline());
        let member = MemberConfig::new("home", Url::parse("http://127.0.0.1:1").unwrap());
        let config = FederationConfig { members: vec![member], ..FederationConfig::default() };
        let prepared = |config: &FederationConfig| cluster.prepare(Some(config)).unwrap().unwrap();
        let first = prepared(&config);
        cluster.put(Some(first.clone()));
        assert!(Arc::ptr_eq(&first, &prepared(&config.clone())));
        let mut other = config.clone();
        other.members[0].tenant = Some("t".to_owned());
        assert!(!Arc::ptr_eq(&first, &prepared(&other)));
        assert!(Arc::ptr_eq(&first, &prepared(&config)), "what was only prepared changes nothing");
    }
}
