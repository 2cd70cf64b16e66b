//! Serving one connection: the handshake, the protocol, and the watch over both.

use std::error::Error;
use std::future::poll_fn;
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
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::config::WebConfig;
use super::connection::{ClientAddress, Cut, Limits, RequestGuard, Upload, WatchedIo};
use super::places::Place;
use super::route_list::HttpService;
use super::routes::Web;
use super::tls::{self, Accepted, TlsServer};

/// Fields of a head.
const HEADERS_MAX: usize = 100;
/// Requests at the same time on one HTTP/2 connection.
const HTTP2_STREAMS_MAX: u32 = 64;
/// How long a connection without a request may take to hand over its last bytes once the server stops.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection that was accepted and has its place.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) client: ClientAddress,
    pub(super) service: HttpService,
    pub(super) web: Arc<Web>,
    pub(super) place: Place,
    pub(super) stop: CancellationToken,
}

/// Which protocols a connection may speak.
#[derive(Clone, Copy)]
enum Protocols {
    Both,
    Http1,
}

impl Connection {
    /// Serves requests until the peer or the server has had enough. Dropping the future cuts the connection.
    pub(super) async fn serve(self) {
        // Answers are written in large pieces; waiting to fill packets only delays their ends.
        drop(self.stream.set_nodelay(true));
        match self.web.deps.security.tls() {
            None => {
                let Connection { stream, client, service, web, place, stop } = self;
                let io = WatchedIo::new(stream, place.activity.clone());
                Http { client, service, web, place, stop, protocols: Protocols::Both }.serve(io).await;
            }
            Some(tls) => self.serve_encrypted(&tls).await,
        }
    }

    async fn serve_encrypted(self, tls: &TlsServer) {
        let Connection { stream, client, service, web, place, stop } = self;
        let activity = place.activity.clone();
        let shaking = tls::accept(stream, tls, |stream| WatchedIo::new(stream, activity));
        let accepted = tokio::select! {
            accepted = tokio::time::timeout(web.config.header_timeout, shaking) => accepted,
            () = stop.cancelled() => return,
            () = place.leave.cancelled() => return web.metrics.cut(Cut::Crowded),
        };
        match accepted {
            Ok(Accepted::Encrypted(stream)) => {
                place.activity.restart();
                let protocols = if tls.http2 { Protocols::Both } else { Protocols::Http1 };
                Http { client, service, web, place, stop, protocols }.serve(stream).await;
            }
            Ok(Accepted::Clear) => web.metrics.handshake_failed("not_encrypted"),
            Ok(Accepted::Failed(error)) => {
                tracing::debug!(client = %client.0, %error, "a TLS handshake failed");
                web.metrics.handshake_failed("refused");
            }
            Err(_) => web.metrics.handshake_failed("timeout"),
        }
    }
}

/// A connection on which HTTP is spoken.
struct Http {
    client: ClientAddress,
    service: HttpService,
    web: Arc<Web>,
    place: Place,
    stop: CancellationToken,
    protocols: Protocols,
}

impl Http {
    async fn serve(self, io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let Http { client, service, web, place, stop, protocols } = self;
        let activity = place.activity.clone();
        let service = service_fn(|mut request: Request<Incoming>| {
            request.extensions_mut().insert(client);
            let guard = activity.begin(request.version() == Version::HTTP_2);
            let answer = service.call(request.map(|body| Upload::new(body, &activity)));
            async move { answer.await.map(|response| response.map(|body| GuardedBody { body, _guard: guard })) }
        });
        let builder = http_builder(&web.config, protocols);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
        let limits = Limits::of(&web.config);
        let mut timer = pin!(tokio::time::sleep_until(Instant::now() + limits.header));
        let watch = |connection: Pin<&mut _>, timer: Pin<&mut _>, cx: &mut Context<'_>, latest| {
            let deadline = || activity.deadline(&limits).into_iter().chain(latest).min_by_key(|(at, _)| *at);
            poll_watched(connection, timer, cx, deadline)
        };
        let ended = tokio::select! {
            ended = poll_fn(|cx| watch(connection.as_mut(), timer.as_mut(), cx, None)) => ended,
            () = place.leave.cancelled() => Ended::Cut(Cut::Crowded),
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                let patience = if activity.requests() == 0 { FLUSH_TIMEOUT } else { web.config.drain_timeout };
                let latest = (Instant::now() + patience, Cut::Stopping);
                poll_fn(|cx| watch(connection.as_mut(), timer.as_mut(), cx, Some(latest))).await
            }
        };
        match ended {
            Ended::Closed => {}
            Ended::BadHead { too_large } => web.metrics.bad_head(too_large),
            Ended::Cut(why) => web.metrics.cut(why),
        }
    }
}

fn http_builder(config: &WebConfig, protocols: Protocols) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // Heads are timed by `connection`, for both protocols and for the bytes before the protocol is known.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None).max_headers(HEADERS_MAX);
    // The library's own minimum for its buffer.
    builder.http1().max_buf_size((config.max_header_bytes as usize).max(8192));
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(HTTP2_STREAMS_MAX);
    builder.http2().max_header_list_size(config.max_header_bytes);
    match protocols {
        Protocols::Both => builder,
        Protocols::Http1 => builder.http1_only(),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// By itself.
    Closed,
    /// By bytes that are no request's head.
    BadHead { too_large: bool },
    /// The peer was waited for too long.
    Cut(Cut),
}

impl Ended {
    /// How a connection broke does not matter to anyone here, except that it is counted what heads were refused; requests tell
    /// their own errors.
    fn of(outcome: Result<(), Box<dyn Error + Send + Sync>>) -> Ended {
        let error = outcome.err().and_then(|error| error.downcast::<hyper::Error>().ok());
        match error {
            Some(error) if error.is_parse() => Ended::BadHead { too_large: error.is_parse_too_large() },
            _ => Ended::Closed,
        }
    }
}

/// Drives a connection until it ends or its deadline passes. The deadline is asked for after every step, since each can
/// have changed it; the timer is only moved forward in time when it fires, which keeps busy connections off the timer wheel.
fn poll_watched<C>(
    connection: Pin<&mut C>,
    mut timer: Pin<&mut tokio::time::Sleep>,
    cx: &mut Context<'_>,
    deadline: impl Fn() -> Option<(Instant, Cut)>,
) -> Poll<Ended>
where
    C: Future<Output = Result<(), Box<dyn Error + Send + Sync>>>,
{
    if let Poll::Ready(outcome) = connection.poll(cx) {
        return Poll::Ready(Ended::of(outcome));
    }
    loop {
        // Without a deadline there is a request in flight, whose end polls again.
        let Some((deadline, why)) = deadline() else { return Poll::Pending };
        if deadline <= Instant::now() {
            return Poll::Ready(Ended::Cut(why));
        }
        if deadline < timer.deadline() || timer.is_elapsed() {
            timer.as_mut().reset(deadline);
        }
        if timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
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
