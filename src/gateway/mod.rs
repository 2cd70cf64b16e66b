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
//! * **Everything is bounded**: a request's time, its body, the bodies that are held for gRPC together, connections that are
//!   kept, tunnels. A client that goes away takes its request with it.
//!
//! What this does not do: decide who may ask (the web server's layer does, before this is reached), keep tenants
//! apart (their header goes on as it is), cache, or understand any body.

mod balance;
mod body;
mod config;
mod dns;
mod door;
mod grpc;
mod headers;
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
use hyper::{Request, Response};
use tokio::sync::Semaphore;
use tokio::time::Instant;

pub use config::{
    Authority, BackendConfig, BackendUrl, Component, DEFAULT, FIELDS, Field, FieldKind, GatewayConfig, Protocol,
    Setting, settings,
};
#[doc(hidden)]
pub use door::read_answer;
pub use headers::Via;
pub use routes::{Lost, Reach, Route, Routes, plain};

use crate::net::ClientError;
use crate::runtime::Tasks;
use crate::telemetry::Registry;
use grpc::GrpcProxy;
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
        // Shared by all backends, old and new, of one configuration.
        let held = Arc::new(Semaphore::new(grpc::HELD_UNITS));
        let mut backends = Vec::new();
        for (component, backend) in &config.backends {
            let same = |b: &&Arc<Backend>| b.component == *component && b.config == *backend;
            let known = before.and_then(|gateway| gateway.backends.iter().find(same));
            backends.push(match known {
                Some(known) => known.clone(),
                None => Arc::new(Backend::new(*component, backend, deps, &held)?),
            });
        }
        Ok(Gateway { routes: Routes::new(&config), config, backends })
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
        let component = match self.routes.find(request.uri().path()) {
            Ok(component) => component,
            Err(lost) => return Refusal::of(lost).respond(),
        };
        match self.backends.iter().find(|backend| backend.component == component) {
            Some(backend) => backend.answer(request, via, self.config.access_log).await,
            None => Refusal::NoBackend(component).respond(),
        }
    }
}

impl Backend {
    fn new(
        component: Component,
        config: &BackendConfig,
        deps: &Deps,
        held: &Arc<Semaphore>,
    ) -> Result<Backend, GatewayError> {
        let failed = |source| GatewayError { component, source };
        let url = config.url.clone().ok_or_else(|| failed(ClientError::Config("it has no URL".to_owned())))?;
        let owners = Owners { backend: deps.tasks.child(), connections: deps.tasks.clone() };
        let metrics = Arc::new(BackendMetrics::new(&deps.registry, component));
        let proxy = match url.protocol {
            Protocol::Http => HttpProxy::new(component, url, config, &owners, &metrics).map(Proxy::Http),
            Protocol::Grpc => GrpcProxy::new(component, url, config, &owners, &metrics, held).map(Proxy::Grpc),
        };
        Ok(Backend { component, config: config.clone(), proxy: proxy.map_err(failed)?, metrics, tasks: owners.backend })
    }

    async fn answer(&self, request: Request<Body>, via: Via, is_logged: bool) -> Response<Body> {
        let deadline = Instant::now() + self.config.timeout;
        let line =
            is_logged.then(|| LogLine::new(via.client, request.method(), request.uri().path(), request.headers()));
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
