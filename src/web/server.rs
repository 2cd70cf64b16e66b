//! Ports, connections, and the end.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::api::v1::{Desk, Reads, RemoteWrite};
use super::config::WebConfig;
use super::connection::ClientAddress;
use super::deps::Deps;
use super::places::Places;
use super::route_list::HttpService;
use super::routes::{Web, routes};
use super::serve::Connection;
use super::stream::Streams;
use super::telemetry::WebMetrics;
use crate::remote::write;
use crate::runtime::Tasks;

/// Pause after the system refused to give a connection, mostly for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// A server that holds its ports and does not serve yet.
pub struct Server {
    listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
    service: HttpService,
    web: Arc<Web>,
    tasks: Tasks,
}

/// The receiver of remote write, if it is enabled.
pub(super) fn remote_write(config: &WebConfig, deps: &Deps) -> Option<RemoteWrite> {
    let config = config.remote_write?;
    let (store, clock, registry) = (deps.appendable.clone(), deps.clock.clone(), deps.registry.clone());
    Some(RemoteWrite::new(config, write::Deps { store, clock, registry }))
}

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// No address was given.
    #[error("no address to listen on")]
    NoAddress,
    /// A port is taken, forbidden, or the address is not ours.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// As given.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// No threads.
    #[error("cannot start threads: {0}")]
    Threads(io::Error),
}

impl Server {
    /// Takes the ports of `addresses` (`host:port`, `:port`, port 0 for any free one). Nothing is served before
    /// [`run`](Server::run); clients that connect meanwhile wait.
    pub async fn bind(addresses: &[String], config: WebConfig, deps: Deps) -> Result<Server, BindError> {
        let mut listeners = Vec::with_capacity(addresses.len());
        for address in addresses {
            let listener = listen(address).await;
            listeners.push(listener.map_err(|source| BindError::Listen { address: address.clone(), source })?);
        }
        let addresses: Vec<_> = listeners.iter().filter_map(|l| l.local_addr().ok()).collect();
        let own_port = addresses.first().ok_or(BindError::NoAddress)?.port();
        let tasks = Tasks::new();
        let streams = Streams::new(config.max_streams, config.answer_timeout, tasks.clone());
        let web = Arc::new(Web {
            metrics: WebMetrics::new(&deps.registry),
            streams: streams.map_err(BindError::Threads)?,
            remote_write: remote_write(&config, &deps),
            reads: Reads::new(&config, &deps.registry, &tasks),
            cluster: Desk::new(&config, &deps.registry, &tasks),
            birth: deps.clock.now(),
            runtime: Handle::current().metrics(),
            own_port,
            config,
            deps,
        });
        Ok(Server { service: routes(&web).into_service(&web), listeners, addresses, web, tasks })
    }

    /// The addresses that are listened on, with their real ports.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Serves until `stop`, then drains: no new connections, idle ones are closed, requests in flight go on for at most
    /// the drain timeout. Dropping the future closes the ports and leaves open connections to themselves.
    pub async fn run(self, stop: CancellationToken) {
        let places = Places::new(self.web.config.max_connections, &self.web.metrics);
        for listener in self.listeners {
            let acceptor = Acceptor {
                listener,
                places: places.clone(),
                service: self.service.clone(),
                web: self.web.clone(),
                tasks: self.tasks.clone(),
            };
            self.tasks.spawn("web-accept", acceptor.run());
        }
        stop.cancelled().await;
        if !self.tasks.shutdown(self.web.config.drain_timeout).await {
            tracing::warn!("some requests were still being answered when the time to drain was over");
        }
    }
}

async fn listen(address: &str) -> io::Result<TcpListener> {
    match address.strip_prefix(':') {
        None => TcpListener::bind(address).await,
        // Every address of the machine; a system without IPv6 has only the others.
        Some(_) => match TcpListener::bind(format!("[::]{address}")).await {
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                TcpListener::bind(format!("{}{address}", Ipv4Addr::UNSPECIFIED)).await
            }
            outcome => outcome,
        },
    }
}

struct Acceptor {
    listener: TcpListener,
    places: Arc<Places>,
    service: HttpService,
    web: Arc<Web>,
    tasks: Tasks,
}

impl Acceptor {
    async fn run(self) {
        let stop = self.tasks.stopping();
        stop.run_until_cancelled(self.accept()).await;
    }

    async fn accept(&self) {
        loop {
            let (stream, peer) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.web.metrics.accept_errors.inc();
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // One connection waits here for its place; all others wait in the backlog, where they cost us nothing.
            let place = self.places.take().await;
            let connection = Connection {
                stream,
                // A client over IPv4 is told as such, even if the socket is one for both.
                client: ClientAddress(peer.ip().to_canonical()),
                service: self.service.clone(),
                web: self.web.clone(),
                place,
                stop: self.tasks.stopping(),
            };
            self.tasks.spawn("web-connection", connection.serve());
        }
    }
}
