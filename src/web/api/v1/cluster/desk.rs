//! Places and threads for what members are asked, apart from those for the local data.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::super::read::{Reads, begun};
use super::super::reply::{ApiError, ErrorKind};
use crate::cluster::LISTS_MAX_BYTES;
use crate::promql::service::{QueryFailure, Service};
use crate::runtime::Tasks;
use crate::storage::Scope;
use crate::telemetry::Registry;
use crate::web::config::WebConfig;
use crate::web::stream::{CancelOnDrop, Streams};

/// Begins its work with the first question, so that who has no cluster has no threads for one.
pub(in crate::web) struct Desk {
    concurrency: usize,
    threads: usize,
    timeout: Duration,
    tasks: Tasks,
    queries: OnceLock<Service>,
    streams: OnceLock<Streams>,
    /// Places of what is neither a query nor a stream: lists, metadata, exemplars, rules, alerts.
    lists: Arc<Semaphore>,
    /// Where remote reads wait.
    pub(in crate::web) reads: Arc<Reads>,
}

impl Desk {
    /// A desk that has not begun.
    pub(in crate::web) fn new(config: &WebConfig, registry: &Registry, tasks: &Tasks) -> Desk {
        Desk {
            concurrency: config.cluster_concurrency,
            threads: config.max_streams,
            timeout: config.answer_timeout,
            tasks: tasks.clone(),
            queries: OnceLock::new(),
            streams: OnceLock::new(),
            lists: Arc::new(Semaphore::new(config.cluster_concurrency.clamp(1, Semaphore::MAX_PERMITS))),
            reads: Arc::new(Reads::new(config, registry, tasks)),
        }
    }

    /// Where queries over members are asked, beside where those over the local data are.
    pub(super) fn queries(&self, local: &Service) -> Result<Service, ApiError> {
        let begin = || local.beside("cluster", self.concurrency);
        let queries = begun(&self.queries, begin);
        queries.cloned().map_err(|error| ApiError::new(ErrorKind::Internal, format!("starting threads: {error}")))
    }

    /// Waits for a place to ask members for lists. What they hold counts among the bytes of all queries.
    pub(super) async fn admit(&self, queries: &Service) -> Result<Admitted, ApiError> {
        let deadline = Instant::now() + self.timeout;
        match tokio::time::timeout_at(deadline, self.lists.clone().acquire_owned()).await {
            Ok(Ok(place)) => {
                let scope = queries.scope(deadline.into_std(), LISTS_MAX_BYTES);
                Ok(Admitted { cancel: CancelOnDrop(scope), _place: place })
            }
            _ => Err(QueryFailure::Timeout("list queue").into()),
        }
    }

    /// The threads for streams of members' samples.
    pub(in crate::web) fn streams(&self) -> io::Result<&Streams> {
        begun(&self.streams, || Streams::new(self.threads, self.timeout, self.tasks.clone()))
    }
}

/// A request for lists that has a place, until this is dropped.
pub(super) struct Admitted {
    cancel: CancelOnDrop,
    _place: OwnedSemaphorePermit,
}

impl Admitted {
    /// Its bounds.
    pub(super) fn scope(&self) -> &Scope {
        &self.cancel.0
    }
}
