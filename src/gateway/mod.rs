//! The gateway: one door to a cluster of Mimir's or Cortex's components.
//!
//! A request's path belongs to a component ([`Routes`]); its method, path, query, headers and body go on as they came, and
//! the answer comes back as it was. A backend is reached in one of two ways ([`BackendUrl`]): by HTTP/1.1, or, for
//! `dns:///`, by the gRPC call `httpgrpc.HTTP/Handle`, which carries the whole request. The laws:
//!
//! * **Every request is balanced anew.** A name's addresses take turns request by request, whatever connection the client
//!   keeps; so a client that sends for days over one connection loads all of them alike. Names are asked for
//!   again when their time to live ends and when an address fails.
//! * **Nothing is sent twice that might count twice.** A request that was not sent goes to another address; one that may
//!   have been is repeated only if its method is idempotent or it is a query.
//! * **An address that fails is out until it can be connected to**; while all are out, all are tried.
//! * **Lengths are ours.** Messages are framed anew on both sides, so that no length of a client or a backend reaches the
//!   other side, and a connection on which anything was amiss is closed and never used again.
//! * **Everything is bounded**: a request's time, its body, the bodies that are held until they are out, connections
//!   that are kept, tunnels and their silence. A client that goes away takes its request with it.
//! * **Nobody gets past the routes**: who decides what may be asked reads a path as the most lenient backend does ([`lenient`]), and
//!   of other protocols only WebSocket is passed on.
//!
//! What this does not do: decide who may ask (the web server's layer does, before this is reached), keep tenants
//! apart (their header goes on as it is), cache, or understand any body.

mod backend_url;
mod balance;
mod body;
mod config;
mod dns;
mod door;
mod grpc;
mod headers;
mod held;
mod http;
mod httpgrpc;
mod metrics;
mod reply;
mod routes;
#[cfg(test)]
mod tests;
mod tunnel;

use std::sync::Arc;

use axum::body::Body;
use hyper::header::HOST;
use hyper::{Method, Request, Response, Version};
use tokio::time::Instant;

pub use backend_url::{Authority, BackendUrl, Protocol};
pub use config::{BackendConfig, Component, DEFAULT, FIELDS, Field, FieldKind, GatewayConfig, Setting, settings};
#[doc(hidden)]
pub use door::read_answer;
pub use headers::Via;
pub use routes::{Lost, Reach, Route, Routes, lenient, plain};

use crate::net::ClientError;
use crate::runtime::Tasks;
use crate::telemetry::{Counter, Registry};
use grpc::GrpcProxy;
use held::Room;
use http::HttpProxy;
use metrics::{BackendMetrics, Exchange, LogLine};
use reply::Refusal;

/// What the gateway needs of the rest of the program.
#[derive(Clone)]
pub struct Deps {
    /// Counts its requests.
    pub registry: Registry,
    /// Own its connections.
    pub tasks: Tasks,
}

/// Why the gateway cannot work as configured.
#[derive(Debug, thiserror::Error)]
#[error("gateway.proxy.{component}: {source}")]
pub struct GatewayError {
    /// Whose backend.
    pub component: Component,
    /// Why.
    pub source: ClientError,
}

/// The door.
pub struct Gateway {
    routes: Routes,
    config: GatewayConfig,
    backends: Vec<Arc<Backend>>,
    room: Room,
    refused: Counter,
}

/// A component that can be reached.
struct Backend {
    component: Component,
    config: BackendConfig,
    proxy: Proxy,
    metrics: Arc<BackendMetrics>,
    tasks: Tasks,
}

/// Who ends the tasks of a backend.
struct Owners {
    /// Ends when the configuration has the backend no more.
    backend: Tasks,
    /// Ends with the gateway: connections outlive their backend until their requests are answered.
    connections: Tasks,
}

enum Proxy {
    Http(HttpProxy),
    Grpc(GrpcProxy),
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

impl Gateway {
    /// Begins to resolve the backends' names. Backends that `before` has and that have not changed are taken over with
    /// their connections; the others' connections end with the requests that are under way.
    pub fn new(config: GatewayConfig, deps: &Deps, before: Option<&Gateway>) -> Result<Gateway, GatewayError> {
        // Shared by all backends, also by those of another configuration that stay.
        let room = before.map_or_else(Room::new, |gateway| gateway.room.clone());
        let mut backends = Vec::new();
        for (component, backend) in &config.backends {
            let same = |b: &&Arc<Backend>| b.component == *component && b.config == *backend;
            let known = before.and_then(|gateway| gateway.backends.iter().find(same));
            backends.push(match known {
                Some(known) => known.clone(),
                None => Arc::new(Backend::new(*component, backend, deps, &room)?),
            });
        }
        let refused = deps.registry.counter(
            "watershed_gateway_requests_refused_total",
            "Requests for no component, or for one without a URL.",
            &[],
        );
        Ok(Gateway { routes: Routes::new(&config), config, backends, room, refused })
    }

    /// The table of routes.
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// Components that have no URL: what is meant for them is answered 404.
    pub fn unserved(&self) -> impl Iterator<Item = Component> {
        Component::ALL.into_iter().filter(|component| self.config.backend(*component).is_none())
    }

    /// Answers a request with what the backend of its path answers. Dropping the future gives up the request to
    /// the backend; so does dropping the answer's body.
    pub async fn answer(&self, request: Request<Body>, via: Via) -> Response<Body> {
        match self.backend(&request) {
            Ok(backend) => backend.answer(request, via, self.config.access_log).await,
            Err(refusal) => {
                self.refused.inc();
                if self.config.access_log {
                    LogLine::new(via.client, &request).refused(refusal.status());
                }
                refusal.respond()
            }
        }
    }

    fn backend(&self, request: &Request<Body>) -> Result<&Backend, Refusal> {
        if request.method() == Method::CONNECT {
            return Err(Refusal::NoConnect);
        }
        // RFC 9112, section 3.2: whoever takes one of two for the right one can be made to disagree with the next server.
        let hosts = request.headers().get_all(HOST).iter().count();
        if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
            return Err(Refusal::BadHost);
        }
        let component = self.routes.find(request.uri().path()).map_err(Refusal::of)?;
        let backend = self.backends.iter().find(|backend| backend.component == component);
        backend.map(Arc::as_ref).ok_or(Refusal::NoBackend(component))
    }
}

impl Backend {
    fn new(component: Component, config: &BackendConfig, deps: &Deps, room: &Room) -> Result<Backend, GatewayError> {
        let failed = |source| GatewayError { component, source };
        let url = config.url.clone().ok_or_else(|| failed(ClientError::Config("it has no URL".to_owned())))?;
        let owners = Owners { backend: deps.tasks.child(), connections: deps.tasks.clone() };
        let metrics = Arc::new(BackendMetrics::new(&deps.registry, component));
        let proxy = match url.protocol {
            Protocol::Http => HttpProxy::new(component, url, config, &owners, &metrics, room).map(Proxy::Http),
            Protocol::Grpc => GrpcProxy::new(component, url, config, &owners, &metrics, room).map(Proxy::Grpc),
        };
        Ok(Backend { component, config: config.clone(), proxy: proxy.map_err(failed)?, metrics, tasks: owners.backend })
    }

    async fn answer(&self, request: Request<Body>, via: Via, is_logged: bool) -> Response<Body> {
        let deadline = Instant::now() + self.config.timeout;
        let line = is_logged.then(|| LogLine::new(via.client, &request));
        let exchange = Exchange::new(self.metrics.clone(), line);
        let outcome = match &self.proxy {
            Proxy::Http(proxy) => proxy.forward(request, via, exchange, deadline).await,
            Proxy::Grpc(proxy) => proxy.forward(request, via, exchange, deadline).await,
        };
        outcome.unwrap_or_else(|(refusal, mut exchange)| {
            exchange.answered(refusal.status());
            refusal.respond()
        })
    }
}
