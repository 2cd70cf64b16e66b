//! Ports, connections, and the end.

use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Version};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::api::v1::Reads;
use super::config::WebConfig;
use super::connection::{Activity, ClientAddress, Limits, RequestGuard, WatchedIo};
use super::deps::Deps;
use super::routes::{Web, router};
use super::stream::Streams;
use super::telemetry::WebMetrics;
use crate::remote::write;
use crate::runtime::Tasks;

/// Bytes of a request's head: a URL of 64 KiB (the parser's own limit) and as much again for headers.
const HEAD_MAX: u32 = 128 << 10;
/// Fields of a head.
const HEADERS_MAX: usize = 100;
/// Requests at the same time on one HTTP/2 connection.
const HTTP2_STREAMS_MAX: u32 = 64;
/// How long a connection without a request may take to hand over its last bytes once the server stops.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// Pause after the system refused to give a connection, mostly for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// A server that holds its ports and does not serve yet.
pub struct Server {
    listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
    service: TowerToHyperService<axum::Router>,
    web: Arc<Web>,
    tasks: Tasks,
}

/// The receiver of remote write, if it is enabled.
pub(super) fn remote_write(config: &WebConfig, deps: &Deps) -> Option<Arc<write::Receiver>> {
    let config = config.remote_write?;
    let (store, clock, registry) = (deps.appendable.clone(), deps.clock.clone(), deps.registry.clone());
    Some(Arc::new(write::Receiver::new(config, write::Deps { store, clock, registry })))
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
            birth: deps.clock.now(),
            runtime: Handle::current().metrics(),
            own_port,
            config,
            deps,
        });
        Ok(Server { service: TowerToHyperService::new(router(&web)), listeners, addresses, web, tasks })
    }

    /// The addresses that are listened on, with their real ports.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Serves until `stop`, then drains: no new connections, idle ones are closed, requests in flight go on for at most
    /// the drain timeout. Dropping the future closes the ports and leaves open connections to themselves.
    pub async fn run(self, stop: CancellationToken) {
        let permits = Arc::new(Semaphore::new(self.web.config.max_connections.max(1)));
        for listener in self.listeners {
            let acceptor = Acceptor {
                listener,
                permits: permits.clone(),
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
    permits: Arc<Semaphore>,
    service: TowerToHyperService<axum::Router>,
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
            // The permit comes first: what is over the limit waits in the backlog instead of costing memory.
            let Ok(permit) = self.permits.clone().acquire_owned().await else { return };
            let (stream, peer) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.web.metrics.accept_errors.inc();
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // A client over IPv4 is told as such, even if the socket is one for both.
            let client = ClientAddress(peer.ip().to_canonical());
            let connection = serve(stream, client, self.service.clone(), self.web.clone(), self.tasks.stopping());
            self.tasks.spawn("web-connection", async move {
                let _permit = permit;
                connection.await;
            });
        }
    }
}

async fn serve(
    stream: TcpStream,
    client: ClientAddress,
    service: TowerToHyperService<axum::Router>,
    web: Arc<Web>,
    stop: CancellationToken,
) {
    let _open = OpenConnection::new(&web);
    // Answers are written in large pieces; waiting to fill packets only delays their ends.
    drop(stream.set_nodelay(true));
    let activity = Activity::new();
    let io = TokioIo::new(WatchedIo::new(stream, activity.clone()));
    let service = service_fn(|mut request: Request<Incoming>| {
        request.extensions_mut().insert(client);
        let guard = activity.begin(request.version() == Version::HTTP_2);
        let answer = service.call(request);
        async move { answer.await.map(|response| response.map(|body| GuardedBody { body, _guard: guard })) }
    });
    let builder = http_builder();
    let mut connection = pin!(builder.serve_connection(io, service));
    let limits = Limits::of(&web.config);
    let mut timer = pin!(tokio::time::sleep_until(Instant::now() + limits.header));
    let watch = |connection: Pin<&mut _>, timer: Pin<&mut _>, cx: &mut Context<'_>, latest| {
        poll_watched(connection, timer, cx, || activity.deadline(&limits).into_iter().chain(latest).min())
    };
    let ended = tokio::select! {
        ended = poll_fn(|cx| watch(connection.as_mut(), timer.as_mut(), cx, None)) => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let patience = if activity.requests() == 0 { FLUSH_TIMEOUT } else { web.config.drain_timeout };
            let latest = Instant::now() + patience;
            poll_fn(|cx| watch(connection.as_mut(), timer.as_mut(), cx, Some(latest))).await
        }
    };
    if ended == Ended::Cut {
        web.metrics.cut.inc();
    }
}

fn http_builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // Heads are timed by `connection`, for both protocols and for the bytes before the protocol is known.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None).max_headers(HEADERS_MAX);
    builder.http1().max_buf_size(HEAD_MAX as usize);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(HTTP2_STREAMS_MAX).max_header_list_size(HEAD_MAX);
    builder
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// By itself.
    Closed,
    /// The peer was waited for too long.
    Cut,
}

/// Drives a connection until it ends or its deadline passes. The deadline is asked for after every step, since each can
/// have changed it; the timer is only moved forward in time when it fires, which keeps busy connections off the timer wheel.
fn poll_watched<C, E>(
    connection: Pin<&mut C>,
    mut timer: Pin<&mut tokio::time::Sleep>,
    cx: &mut Context<'_>,
    deadline: impl Fn() -> Option<Instant>,
) -> Poll<Ended>
where
    C: Future<Output = Result<(), E>>,
{
    // How a connection broke does not matter to anyone here; requests tell their own errors.
    if connection.poll(cx).is_ready() {
        return Poll::Ready(Ended::Closed);
    }
    loop {
        // Without a deadline there is a request in flight, whose end polls again.
        let Some(deadline) = deadline() else { return Poll::Pending };
        if deadline <= Instant::now() {
            return Poll::Ready(Ended::Cut);
        }
        if deadline < timer.deadline() || timer.is_elapsed() {
            timer.as_mut().reset(deadline);
        }
        if timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
    }
}

/// Counts a connection while it is open.
struct OpenConnection<'a>(&'a Web);

impl<'a> OpenConnection<'a> {
    fn new(web: &'a Web) -> OpenConnection<'a> {
        web.metrics.connections.add(1.0);
        OpenConnection(web)
    }
}

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        self.0.metrics.connections.add(-1.0);
    }
}

/// An answer's body that keeps its request in flight.
struct GuardedBody {
    body: Body,
    _guard: RequestGuard,
}

impl http_body::Body for GuardedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
