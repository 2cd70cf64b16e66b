//! Places and threads for what members are asked, apart from those for the local data.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::super::read::{Reads, begun};
use super::super::reply::{ApiError, ErrorKind};
use crate::promql::service::Service;
use crate::runtime::Tasks;
use crate::telemetry::Registry;
use crate::web::config::WebConfig;
use crate::web::stream::Streams;

/// Begins its work with the first question, so that who has no cluster has no threads for one.
pub(in crate::web) struct Desk {
    concurrency: usize,
    threads: usize,
    timeout: Duration,
    tasks: Tasks,
    queries: OnceLock<Service>,
    streams: OnceLock<Streams>,
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
            reads: Arc::new(Reads::new(config, registry, tasks)),
        }
    }

    /// Where queries over members are asked, beside where those over the local data are.
    pub(super) fn queries(&self, local: &Service) -> Result<Service, ApiError> {
        let begin = || local.beside("cluster", self.concurrency);
        let queries = begun(&self.queries, begin);
        queries.cloned().map_err(|error| ApiError::new(ErrorKind::Internal, format!("starting threads: {error}")))
    }

    /// The threads for streams of members' samples.
    pub(in crate::web) fn streams(&self) -> io::Result<&Streams> {
        begun(&self.streams, || Streams::new(self.threads, self.timeout, self.tasks.clone()))
    }
}
