//! The HTTP server: `/federate`, the management endpoints, Prometheus's `/api/v1`, and two pages for people.
//!
//! * **Binding comes first.** [`Server::bind`] takes the ports before anything else of the program runs, so that a taken
//!   port is told at once; [`Server::run`] serves until told to stop and then drains.
//! * **Every connection is bounded.** One watch per connection knows whether a request is being read, is
//!   being answered or whether the peer has stopped reading, and cuts what waits too long; no byte of a peer is waited
//!   for without a limit. The number of connections is limited over all listeners, and where all places are taken the
//!   connection that only waits gives way to the one that comes.
//! * **One layer decides who may ask** ([`Security`], the essay is in `auth`), before every route and every unknown path.
//! * **Every answer is bounded.** Forms have a size limit; small answers are built on the CPU pool; answers that grow with
//!   the data (`/federate`, `series`) are streamed through a short queue of chunks: what the head has in constant memory, what
//!   a cluster's members have within the bytes that one answer may hold. Threads of their own write them, except for
//!   questions of `/federate` that are known to have short answers (`stream`). A stream that
//!   fails before its first chunk becomes an error answer; one that fails later is cut off, so that no client takes half
//!   an answer for a whole one. A client that goes away cancels the read.
//! * **The wire is the reference's**: shapes, field order, status codes and content types. Where it differs on purpose the
//!   place says so.
//!
//! This module does not evaluate queries, parse selectors or write expositions; it asks `promql`, `federate` and `storage`.

mod api;
mod auth;
mod body;
mod config;
mod connection;
mod deps;
mod door;
mod encoding;
mod federate;
mod form;
mod gateway;
mod management;
mod metrics;
mod notifications;
mod pages;
mod places;
mod route_list;
mod routes;
mod serve;
mod server;
mod stream;
mod telemetry;
mod tls;

pub use auth::{ListenerConfig, PasswordHash, RateLimit, Security, SecurityError};
pub use config::{
    AdminApi, CorsOrigin, ExternalUrl, ExternalUrlError, Lifecycle, RemoteReadConfig, RoutePrefix, WebConfig,
};
pub use deps::{BuildInfo, Deps, HostMetrics, Readiness, ReadinessState, ReloadRequest, RuntimeFacts};
#[doc(hidden)]
pub use door::read_header;
#[doc(hidden)]
pub use form::check_parameter;
pub use notifications::{Notification, Notifications};
pub use server::{BindError, Server};
#[doc(hidden)]
pub use tls::certificate_names;
pub use tls::{ClientAuth, Named, TlsFault, TlsServer, TlsServerConfig, cipher_suite, curve};

#[cfg(test)]
mod tests;
