//! Backends that speak gRPC: a whole HTTP request is one unary call, over the one HTTP/2 connection that each address has.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, TE};
use hyper::http::uri::{PathAndQuery, Uri};
use hyper::{Method, Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::Owners;
use super::backend_url::BackendUrl;
use super::balance::{Balancer, Endpoint, Join, Link};
use super::body::{Message, Upload, Whole};
use super::config::{BackendConfig, Component};
use super::headers::{self, Via};
use super::held::{Held, Room};
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
/// Of an answer's headers or trailers: errors bring whole answers in them.
const HEAD_BYTES: u32 = 1 << 20;

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
    /// Connections that could not be opened.
    failures: AtomicU64,
}

impl Link for Channel {
    async fn probe(&self, address: SocketAddr) -> io::Result<()> {
        self.sender(address).await.map(drop)
    }
}

impl Channel {
    fn new(dialer: Arc<Dialer>, tasks: Tasks) -> Channel {
        let (current, connecting) = (Mutex::default(), tokio::sync::Mutex::default());
        Channel { dialer, tasks, current, connecting, failures: AtomicU64::new(0) }
    }

    fn current(&self) -> Option<Sender> {
        self.current.lock().as_ref().filter(|sender| !sender.is_closed()).cloned()
    }

    async fn sender(&self, address: SocketAddr) -> io::Result<Sender> {
        if let Some(sender) = self.current() {
            return Ok(sender);
        }
        let failures = self.failures.load(Ordering::Acquire);
        let _one_at_a_time = self.connecting.lock().await;
        if let Some(sender) = self.current() {
            return Ok(sender);
        }
        // Who has waited for an attempt shares how it ended. Trying one after another, each for its seconds, the last would never
        // come to another address.
        if self.failures.load(Ordering::Acquire) != failures {
            return Err(io::Error::other("it could not be connected to a moment ago"));
        }
        let opened = self.open(address).await;
        match &opened {
            Ok(sender) => *self.current.lock() = Some(sender.clone()),
            Err(_) => drop(self.failures.fetch_add(1, Ordering::Release)),
        }
        opened
    }

    async fn open(&self, address: SocketAddr) -> io::Result<Sender> {
        let stream = self.dialer.dial(address).await?;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(HEAD_BYTES);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let stop = self.tasks.stopping().cancelled_owned();
        self.tasks.spawn("gateway-channel", async move {
            // Its requests are told how it ended.
            tokio::select! { ended = connection => drop(ended), () = stop => {} }
        });
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
    room: Room,
}

/// What became of one attempt.
enum Attempt {
    /// The component's answer, and what is held of it.
    Answered(HttpResponse, Held),
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

impl GrpcProxy {
    pub(super) fn new(
        component: Component,
        url: BackendUrl,
        config: &BackendConfig,
        owners: &Owners,
        metrics: &Arc<BackendMetrics>,
        room: &Room,
    ) -> Result<GrpcProxy, ClientError> {
        let dialer = match config.tls_enabled {
            true => Dialer::encrypted(&config.tls, &url.host, "h2", CONNECT_TIMEOUT)?,
            false => Dialer::plain(CONNECT_TIMEOUT),
        };
        let scheme = if config.tls_enabled { "https" } else { "http" };
        let uri = Uri::builder().scheme(scheme).authority(url.authority_text()).path_and_query(HANDLE).build();
        let uri = uri.map_err(|_| ClientError::Config(format!("{:?} cannot be a host", url.host)))?;
        let (dialer, tasks) = (Arc::new(dialer), owners.connections.clone());
        let channel = move |_| Channel::new(dialer.clone(), tasks.clone());
        let balancer = Balancer::new(url, Join::Connected, &owners.backend, metrics.clone(), channel);
        Ok(GrpcProxy {
            component,
            uri,
            retries: config.retries,
            max_body: config.max_body_bytes,
            balancer,
            room: room.clone(),
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
        if headers::asks_for_websocket(request.headers()) && request.version() == Version::HTTP_11 {
            return Err((Refusal::NoUpgrade(self.component), exchange));
        }
        let (method, mut held) = (request.method().clone(), self.room.share());
        let call = match tokio::time::timeout_at(deadline, self.call(request, via, &mut held)).await {
            Ok(Ok(call)) => call,
            Ok(Err(refusal)) => return Err((refusal, exchange)),
            // It was the client that was waited for.
            Err(_) => return Err((Refusal::SlowBody, exchange)),
        };
        match self.ask(&call, is_repeatable(&method, self.component), &mut exchange, deadline).await {
            Ok((answer, held)) => Ok(respond(answer, &method, held, exchange, deadline)),
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
        let gathered = upload.gather(|bytes| held.take(bytes)).await;
        let mut pieces = gathered.map_err(|fault| Refusal::of_fault(fault, self.max_body))?;
        let mut headers = parts.headers;
        let asked_host = parts.uri.authority().and_then(|a| HeaderValue::from_str(a.as_str()).ok());
        headers::forward(&mut headers, via, asked_host);
        let url = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let length = pieces.iter().map(Bytes::len).sum();
        let head = httpgrpc::request(&parts.method, url, &headers, length);
        pieces.insert(0, head.ok_or(Refusal::TooLarge(self.max_body))?);
        Ok(Call { message: Whole::new(pieces), tenant: headers.remove(&ORG_ID) })
    }

    async fn ask(
        &self,
        call: &Call,
        repeatable: bool,
        exchange: &mut Exchange,
        deadline: Instant,
    ) -> Result<(HttpResponse, Held), Refusal> {
        self.balancer.known(deadline).await;
        let (mut round, mut failure) = (self.balancer.round(self.retries), Refusal::NoAddress(self.component));
        while let Some(endpoint) = round.next(exchange) {
            match self.attempt(&endpoint, call, deadline).await {
                Attempt::Answered(answer, held) => {
                    self.balancer.answered(&endpoint);
                    return Ok((answer, held));
                }
                Attempt::Status(status) => {
                    self.balancer.answered(&endpoint);
                    return told(status).map(|answer| (answer, self.room.share()));
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
                Attempt::Bad(why) => {
                    self.balancer.failed(&endpoint);
                    return Err(Refusal::BadAnswer { component: self.component, why });
                }
                Attempt::Full => return Err(Refusal::Full),
            }
        }
        Err(failure)
    }

    async fn attempt(&self, endpoint: &Endpoint<Channel>, call: &Call, deadline: Instant) -> Attempt {
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
            read(response, self.room.share()).await
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
async fn read(response: Response<Incoming>, mut held: Held) -> Attempt {
    let (parts, mut body) = response.into_parts();
    let is_grpc = parts.headers.get(CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(b"application/grpc"));
    if !parts.status.is_success() || !is_grpc {
        return Attempt::Bad("it does not speak gRPC");
    }
    if let Some(status) = GrpcStatus::of(&parts.headers) {
        return ended(status, Bytes::new(), held);
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
        // As it comes: what is only announced takes no room from others.
        if !held.take(piece.len()) {
            return Attempt::Full;
        }
        message.extend_from_slice(&piece);
        if expected.is_none() {
            expected = match length(&message) {
                Ok(length) => length,
                Err(why) => return Attempt::Bad(why),
            };
        }
        if expected.is_some_and(|length| message.len() > length) {
            return Attempt::Bad("it has more than one message");
        }
    }
    match status {
        None => Attempt::Bad("it has no status"),
        Some(status) if status.code == 0 && expected != Some(message.len()) => Attempt::Bad("its message is cut off"),
        Some(status) => ended(status, message.freeze(), held),
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

fn ended(status: GrpcStatus, framed: Bytes, held: Held) -> Attempt {
    if status.code != 0 {
        return Attempt::Status(status);
    }
    if framed.len() < PREFIX {
        return Attempt::Bad("it has no message");
    }
    match HttpResponse::parse(&framed.slice(PREFIX..)) {
        Ok(response) => Attempt::Answered(response, held),
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

fn respond(
    answer: HttpResponse,
    method: &Method,
    held: Held,
    mut exchange: Exchange,
    deadline: Instant,
) -> Response<Body> {
    let HttpResponse { status, headers, body } = answer;
    exchange.answered(status);
    let mut response = Response::new(Body::new(Message::new(held.bytes(body), exchange, deadline)));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    headers::strip_hop_by_hop(response.headers_mut());
    if method != Method::HEAD {
        // The message has its own length; only without a body there is none to count.
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    response
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

    /// A backend that vanished: it takes connections, and says nothing to whoever wants to shake hands.
    #[tokio::test(start_paused = true)]
    async fn many_who_wait_for_one_connection_fail_with_it_and_do_not_try_one_after_another() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = silent.local_addr().expect("an address");
        let tls = crate::net::TlsConfig { insecure_skip_verify: true, ..Default::default() };
        let dialer = Dialer::encrypted(&tls, "silent", "h2", CONNECT_TIMEOUT).expect("a dialer");
        let channel = Arc::new(Channel::new(Arc::new(dialer), Tasks::new()));
        let start = Instant::now();
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let channel = channel.clone();
            waiting.spawn(async move { channel.sender(address).await.is_err() });
        }
        assert_eq!(waiting.join_all().await, [true; 20]);
        assert!(start.elapsed() < 2 * CONNECT_TIMEOUT, "{:?}", start.elapsed());
        // The next one tries anew.
        assert!(channel.sender(address).await.is_err());
        assert!(start.elapsed() >= 2 * CONNECT_TIMEOUT, "{:?}", start.elapsed());
    }
}
