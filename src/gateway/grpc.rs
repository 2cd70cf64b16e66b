//! Backends that speak gRPC: a whole HTTP request is one unary call, over the one HTTP/2 connection that each address has.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE};
use hyper::http::uri::{PathAndQuery, Uri};
use hyper::{Method, Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::Owners;
use super::backend_url::BackendUrl;
use super::balance::{Balancer, Endpoint, Join, Link};
use super::body::{Upload, Whole};
use super::config::{BackendConfig, Component};
use super::headers::{self, Via};
use super::http::is_repeatable;
use super::httpgrpc::{self, GrpcStatus, HttpResponse, PREFIX};
use super::metrics::{BackendMetrics, Exchange};
use super::reply::Refusal;
use crate::net::{ClientError, Dialer};
use crate::runtime::Tasks;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A silent connection is asked whether it is alive, and given up without an answer: an address that vanished without a
/// word would otherwise be noticed by the requests that it swallows.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// Windows of flow control: large enough that a request of a megabyte needs no leave on the way.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;
/// Of an answer; what Mimir's own clients take.
const MESSAGE_MAX: usize = 100 << 20;
/// Requests and answers are held whole while they are one message. So much of them, of all backends together, is held at the
/// same time; beyond that the answer is 503.
const HELD_BYTES: usize = 256 << 20;
const HELD_UNIT: usize = 1 << 10;
/// [`HELD_BYTES`] in units.
pub(super) const HELD_UNITS: usize = HELD_BYTES / HELD_UNIT;

const HANDLE: &str = "/httpgrpc.HTTP/Handle";
static ORG_ID: HeaderName = HeaderName::from_static("x-scope-orgid");
static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

type Sender = SendRequest<Whole>;

/// The connection to one address.
pub(super) struct Channel {
    dialer: Arc<Dialer>,
    tasks: Tasks,
    current: Mutex<Option<Sender>>,
    /// Held while connecting, so that many requests open one connection.
    connecting: tokio::sync::Mutex<()>,
}

impl Link for Channel {
    async fn probe(&self, address: SocketAddr) -> io::Result<()> {
        self.sender(address).await.map(drop)
    }
}

impl Channel {
    fn current(&self) -> Option<Sender> {
        self.current.lock().as_ref().filter(|sender| !sender.is_closed()).cloned()
    }

    async fn sender(&self, address: SocketAddr) -> io::Result<Sender> {
        if let Some(sender) = self.current() {
            return Ok(sender);
        }
        let _one_at_a_time = self.connecting.lock().await;
        if let Some(sender) = self.current() {
            return Ok(sender);
        }
        let stream = self.dialer.dial(address).await?;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let stop = self.tasks.stopping().cancelled_owned();
        self.tasks.spawn("gateway-channel", async move {
            // Its requests are told how it ended.
            tokio::select! { ended = connection => drop(ended), () = stop => {} }
        });
        *self.current.lock() = Some(sender.clone());
        Ok(sender)
    }
}

/// The proxy to one component.
pub(super) struct GrpcProxy {
    component: Component,
    uri: Uri,
    retries: u32,
    max_body: u64,
    balancer: Balancer<Channel>,
    held: Arc<Semaphore>,
}

/// What became of one attempt.
enum Attempt {
    /// The component's answer.
    Answered(HttpResponse),
    /// The call ended without one.
    Status(GrpcStatus),
    /// The backend did not begin with it.
    Unsent,
    /// Perhaps it did.
    Broken,
    Late,
    /// An answer that is none.
    Bad(&'static str),
    /// No room for the answer.
    Full,
}

/// Shares of [`HELD_BYTES`].
struct Held {
    all: Arc<Semaphore>,
    permits: Vec<OwnedSemaphorePermit>,
}

impl Held {
    fn new(all: &Arc<Semaphore>) -> Held {
        Held { all: all.clone(), permits: Vec::new() }
    }

    /// False if there is no room for so many bytes more.
    fn take(&mut self, bytes: usize) -> bool {
        let units = u32::try_from(bytes.div_ceil(HELD_UNIT)).unwrap_or(u32::MAX);
        match self.all.clone().try_acquire_many_owned(units) {
            Ok(permit) => {
                match self.permits.first_mut() {
                    Some(first) => first.merge(permit),
                    None => self.permits.push(permit),
                }
                true
            }
            Err(_) => false,
        }
    }
}

impl GrpcProxy {
    pub(super) fn new(
        component: Component,
        url: BackendUrl,
        config: &BackendConfig,
        owners: &Owners,
        metrics: &Arc<BackendMetrics>,
        held: &Arc<Semaphore>,
    ) -> Result<GrpcProxy, ClientError> {
        let dialer = match config.tls_enabled {
            true => Dialer::encrypted(&config.tls, &url.host, "h2", CONNECT_TIMEOUT)?,
            false => Dialer::plain(CONNECT_TIMEOUT),
        };
        let scheme = if config.tls_enabled { "https" } else { "http" };
        let uri = Uri::builder().scheme(scheme).authority(url.authority_text()).path_and_query(HANDLE).build();
        let uri = uri.map_err(|_| ClientError::Config(format!("{:?} cannot be a host", url.host)))?;
        let (dialer, tasks) = (Arc::new(dialer), owners.connections.clone());
        let channel = move |_| Channel {
            dialer: dialer.clone(),
            tasks: tasks.clone(),
            current: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
        };
        let balancer = Balancer::new(url, Join::Connected, &owners.backend, metrics.clone(), channel);
        Ok(GrpcProxy {
            component,
            uri,
            retries: config.retries,
            max_body: config.max_body_bytes,
            balancer,
            held: held.clone(),
        })
    }

    /// Carries a request to a backend and gives back what it says.
    pub(super) async fn forward(
        &self,
        request: Request<Body>,
        via: Via,
        mut exchange: Exchange,
        deadline: Instant,
    ) -> Result<Response<Body>, (Refusal, Exchange)> {
        if headers::upgrade(request.headers()).is_some() && request.version() == Version::HTTP_11 {
            return Err((Refusal::NoUpgrade(self.component), exchange));
        }
        let (method, mut held) = (request.method().clone(), Held::new(&self.held));
        let call = match tokio::time::timeout_at(deadline, self.call(request, via, &mut held)).await {
            Ok(Ok(call)) => call,
            Ok(Err(refusal)) => return Err((refusal, exchange)),
            // It was the client that was waited for.
            Err(_) => return Err((Refusal::SlowBody, exchange)),
        };
        match self.ask(&call, is_repeatable(&method, self.component), &mut held, &mut exchange, deadline).await {
            Ok(answer) => Ok(respond(answer, &method, held, exchange)),
            Err(refusal) => Err((refusal, exchange)),
        }
    }

    /// The request as one message.
    async fn call(&self, request: Request<Body>, via: Via, held: &mut Held) -> Result<Call, Refusal> {
        use http_body::Body as _;
        let (parts, body) = request.into_parts();
        if body.size_hint().lower() > self.max_body {
            return Err(Refusal::TooLarge(self.max_body));
        }
        let mut upload = Upload::new(body, self.max_body);
        let (mut pieces, mut length) = (vec![Bytes::new()], 0_usize);
        while let Some(piece) = upload.next().await {
            let piece = piece.map_err(|fault| Refusal::of_fault(fault, self.max_body))?;
            if !held.take(piece.len()) {
                return Err(Refusal::Full);
            }
            // The upload's limit is far below what could overflow.
            length = length.saturating_add(piece.len());
            pieces.push(piece);
        }
        let mut headers = parts.headers;
        let asked_host = parts.uri.authority().and_then(|a| HeaderValue::from_str(a.as_str()).ok());
        headers::forward(&mut headers, via, asked_host);
        let url = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let head = httpgrpc::request(&parts.method, url, &headers, length);
        let head = head.ok_or(Refusal::TooLarge(self.max_body))?;
        if let Some(first) = pieces.first_mut() {
            *first = head;
        }
        Ok(Call { message: Whole::new(pieces), tenant: headers.remove(&ORG_ID) })
    }

    async fn ask(
        &self,
        call: &Call,
        repeatable: bool,
        held: &mut Held,
        exchange: &mut Exchange,
        deadline: Instant,
    ) -> Result<HttpResponse, Refusal> {
        self.balancer.known(deadline).await;
        let (mut round, mut failure) = (self.balancer.round(self.retries), Refusal::NoAddress(self.component));
        while let Some(endpoint) = round.next(exchange) {
            match self.attempt(&endpoint, call, held, deadline).await {
                Attempt::Answered(answer) => {
                    self.balancer.answered(&endpoint);
                    return Ok(answer);
                }
                Attempt::Status(status) => {
                    self.balancer.answered(&endpoint);
                    return told(status);
                }
                Attempt::Unsent => {
                    self.balancer.unreachable(&endpoint);
                    failure = Refusal::Unreachable(self.component);
                }
                Attempt::Broken => {
                    self.balancer.failed(&endpoint);
                    failure = Refusal::Broken(self.component);
                    if !repeatable {
                        break;
                    }
                }
                Attempt::Late => {
                    self.balancer.failed(&endpoint);
                    return Err(Refusal::Late(self.component));
                }
                Attempt::Bad(why) => return Err(Refusal::BadAnswer { component: self.component, why }),
                Attempt::Full => return Err(Refusal::Full),
            }
        }
        Err(failure)
    }

    async fn attempt(&self, endpoint: &Endpoint<Channel>, call: &Call, held: &mut Held, deadline: Instant) -> Attempt {
        let connecting = endpoint.link.sender(endpoint.address);
        let mut sender = match tokio::time::timeout_at(deadline, connecting).await {
            Ok(Ok(sender)) => sender,
            Ok(Err(error)) => {
                tracing::debug!(address = %endpoint.address, %error, "a backend cannot be connected to");
                return Attempt::Unsent;
            }
            Err(_) => return Attempt::Late,
        };
        let answering = async {
            let response = match sender.try_send_request(self.request(call, deadline)).await {
                Ok(response) => response,
                Err(mut error) if error.message().is_some() => {
                    drop(error.take_message());
                    return Attempt::Unsent;
                }
                Err(error) => return unanswered(&error.into_error()),
            };
            read(response, held).await
        };
        tokio::time::timeout_at(deadline, answering).await.unwrap_or(Attempt::Late)
    }

    fn request(&self, call: &Call, deadline: Instant) -> Request<Whole> {
        let mut request = Request::new(call.message.clone());
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        // Whole milliseconds, of at most eight digits, as the protocol wants; at least one.
        let left = deadline.saturating_duration_since(Instant::now()).as_millis().clamp(1, 99_999_999);
        if let Ok(timeout) = HeaderValue::from_str(&format!("{left}m")) {
            headers.insert(&GRPC_TIMEOUT, timeout);
        }
        // Components that know tenants look for them here, before they look into the message.
        if let Some(tenant) = &call.tenant {
            headers.insert(&ORG_ID, tenant.clone());
        }
        request
    }
}

/// A request, ready to be sent as often as needed.
struct Call {
    message: Whole,
    tenant: Option<HeaderValue>,
}

/// Whether a backend can have begun with a request whose stream failed before an answer: streams that it refused, or that its farewell does
/// not name, were not begun (RFC 9113, sections 6.8 and 8.7).
fn unanswered(error: &hyper::Error) -> Attempt {
    tracing::debug!(%error, "a call broke off");
    let cause = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>());
    let unbegun =
        cause.is_some_and(|e| e.is_remote() && (e.is_go_away() || e.reason() == Some(h2::Reason::REFUSED_STREAM)));
    if unbegun { Attempt::Unsent } else { Attempt::Broken }
}

/// Reads an answer: its message, then its status.
async fn read(response: Response<Incoming>, held: &mut Held) -> Attempt {
    let (parts, mut body) = response.into_parts();
    let is_grpc = parts.headers.get(CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(b"application/grpc"));
    if !parts.status.is_success() || !is_grpc {
        return Attempt::Bad("it does not speak gRPC");
    }
    if let Some(status) = GrpcStatus::of(&parts.headers) {
        return ended(status, Bytes::new());
    }
    let (mut message, mut expected) = (BytesMut::new(), None);
    let mut status = None;
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => {
                tracing::debug!(%error, "an answer broke off");
                return Attempt::Broken;
            }
        };
        let piece = match frame.into_data() {
            Ok(piece) => piece,
            Err(frame) => {
                status = frame.trailers_ref().and_then(GrpcStatus::of);
                continue;
            }
        };
        message.extend_from_slice(&piece);
        if expected.is_none() {
            expected = match length(&message) {
                Ok(length) => length,
                Err(why) => return Attempt::Bad(why),
            };
            let Some(length) = expected else { continue };
            if !held.take(length) {
                return Attempt::Full;
            }
        }
        if expected.is_some_and(|length| message.len() > length) {
            return Attempt::Bad("it has more than one message");
        }
    }
    match status {
        None => Attempt::Bad("it has no status"),
        Some(status) if status.code == 0 && expected != Some(message.len()) => Attempt::Bad("its message is cut off"),
        Some(status) => ended(status, message.freeze()),
    }
}

/// The length of a message with its prefix, as the prefix says; `None` while that is not there.
fn length(start: &[u8]) -> Result<Option<usize>, &'static str> {
    let Some((prefix, _)) = start.split_first_chunk::<PREFIX>() else { return Ok(None) };
    let [compressed, length @ ..] = *prefix;
    if compressed != 0 {
        return Err("its message is compressed, which was not asked for");
    }
    let length = usize::try_from(u32::from_be_bytes(length)).ok().filter(|length| *length <= MESSAGE_MAX);
    length.map(|length| Some(length + PREFIX)).ok_or("its message is too large")
}

fn ended(status: GrpcStatus, framed: Bytes) -> Attempt {
    if status.code != 0 {
        return Attempt::Status(status);
    }
    if framed.len() < PREFIX {
        return Attempt::Bad("it has no message");
    }
    match HttpResponse::parse(&framed.slice(PREFIX..)) {
        Ok(response) => Attempt::Answered(response),
        Err(error) => {
            tracing::debug!(%error, "an answer cannot be read");
            Attempt::Bad("its message is no HTTPResponse")
        }
    }
}

/// What an error of gRPC is to a client that speaks HTTP.
fn told(status: GrpcStatus) -> Result<HttpResponse, Refusal> {
    let refusal = Refusal::Told { status: status.http_status(), text: status.message };
    status.response.ok_or(refusal)
}

fn respond(answer: HttpResponse, method: &Method, held: Held, mut exchange: Exchange) -> Response<Body> {
    exchange.answered(answer.status);
    exchange.sent(answer.body.len());
    let mut response = Response::new(Body::new(HeldBody { body: Some(answer.body), _held: held, _exchange: exchange }));
    *response.status_mut() = answer.status;
    let headers: &mut HeaderMap = response.headers_mut();
    *headers = answer.headers;
    headers::strip_hop_by_hop(headers);
    if method != Method::HEAD {
        // The message has its own length; only without a body there is none to count.
        headers.remove(CONTENT_LENGTH);
    }
    response
}

/// An answer's body, and what is freed and counted once it is out.
struct HeldBody {
    body: Option<Bytes>,
    _held: Held,
    _exchange: Exchange,
}

impl http_body::Body for HeldBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, std::convert::Infallible>>> {
        let body = self.body.take().filter(|body| !body.is_empty());
        std::task::Poll::Ready(body.map(|body| Ok(http_body::Frame::data(body))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Bytes::is_empty)
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.body.as_ref().map_or(0, |body| body.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_length_is_believed_before_it_was_measured() {
        assert_eq!(length(&[0, 0, 0, 0]), Ok(None));
        assert_eq!(length(&[0, 0, 0, 1, 2, 9]), Ok(Some(258 + PREFIX)));
        length(&[0, 255, 255, 255, 255]).expect_err("too large");
        length(&[1, 0, 0, 0, 1]).expect_err("compressed");
    }

    #[test]
    fn what_is_held_is_bounded_and_freed() {
        let all = Arc::new(Semaphore::new(3));
        let (mut one, mut other) = (Held::new(&all), Held::new(&all));
        assert!(one.take(1) && one.take(HELD_UNIT) && !one.take(HELD_UNIT + 1));
        assert!(other.take(1) && !other.take(1));
        drop(one);
        assert!(other.take(2 * HELD_UNIT));
        drop(other);
        assert_eq!(all.available_permits(), 3);
    }
}
