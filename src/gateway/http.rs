//! Backends that speak HTTP: the request goes on as it comes, over a connection that is used again.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, Response, StatusCode, Uri, Version};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

use super::Owners;
use super::backend_url::BackendUrl;
use super::balance::{Balancer, Endpoint, Join, Link};
use super::body::{Answer, FaultCell, Outgoing, Upload, Whole};
use super::config::{BackendConfig, Component};
use super::headers::{self, Via};
use super::held::{Held, Room};
use super::metrics::{BackendMetrics, Exchange};
use super::reply::Refusal;
use super::tunnel::Tunnels;
use crate::net::{ClientError, Dialer};
use crate::runtime::Tasks;

/// A connection takes so long at most.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Unused connections kept for an address: as many as clients may have here by default.
const IDLE_MAX: usize = 512;
/// So many connections are looked at for one that is ready.
const BUSY_MAX: usize = 4;
/// Unused ones are closed before the components, which wait for two minutes, close them under a request.
const IDLE_AGE: Duration = Duration::from_secs(55);
/// Of an answer's head.
const HEAD_BYTES: usize = 128 << 10;
/// A body up to this size is kept to be sent again, if the request may be.
const KEPT_BODY: usize = 64 << 10;

type Sender = SendRequest<Outgoing>;

/// Connections to one address.
pub(super) struct HttpLink {
    dialer: Arc<Dialer>,
    tasks: Tasks,
    keeps: bool,
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    sender: Sender,
    since: Instant,
}

impl Link for HttpLink {
    async fn probe(&self, address: SocketAddr) -> io::Result<()> {
        let sender = self.open(address).await?;
        self.give(sender);
        Ok(())
    }
}

impl HttpLink {
    async fn open(&self, address: SocketAddr) -> io::Result<Sender> {
        let stream = self.dialer.dial(address).await?;
        let mut builder = http1::Builder::new();
        builder.max_buf_size(HEAD_BYTES);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let stop = self.tasks.stopping().cancelled_owned();
        self.tasks.spawn("gateway-connection", async move {
            // Whoever uses the connection is told how it ended.
            tokio::select! { ended = connection.with_upgrades() => drop(ended), () = stop => {} }
        });
        Ok(sender)
    }

    /// A connection that waits for a request, the last used first.
    fn take(&self) -> Option<Sender> {
        let mut idle = self.idle.lock();
        let now = Instant::now();
        // Those whose answer has ended a moment ago, which the connection has not noticed yet. Few are; looking for more
        // than some is not worth it.
        let mut busy = Vec::new();
        let found = loop {
            let Some(last) = idle.pop() else { break None };
            if last.sender.is_closed() {
                continue;
            }
            if now.saturating_duration_since(last.since) > IDLE_AGE {
                // Those below are older.
                idle.clear();
                break None;
            }
            if last.sender.is_ready() {
                break Some(last.sender);
            }
            busy.push(last);
            if busy.len() == BUSY_MAX {
                break None;
            }
        };
        idle.extend(busy.into_iter().rev());
        found
    }

    fn give(&self, sender: Sender) {
        if !self.keeps || sender.is_closed() {
            return;
        }
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_MAX {
            idle.push(Idle { sender, since: Instant::now() });
        }
    }
}

/// A connection that an answer comes by.
pub(super) struct Lease {
    endpoint: Arc<Endpoint<HttpLink>>,
    sender: Sender,
}

impl Lease {
    /// The answer has ended; the next request may have the connection.
    pub(super) fn give_back(self) {
        self.endpoint.link.give(self.sender);
    }
}

/// The proxy to one component.
pub(super) struct HttpProxy {
    component: Component,
    url: BackendUrl,
    host: HeaderValue,
    keeps: bool,
    retries: u32,
    max_body: u64,
    pub(super) balancer: Balancer<HttpLink>,
    tunnels: Tunnels,
    room: Room,
}

/// What became of one attempt.
enum Attempt {
    /// The head of an answer.
    Answered(Response<hyper::body::Incoming>, Lease),
    /// No byte of it was sent.
    Unsent(Request<Outgoing>),
    /// Perhaps it was sent.
    Broken(Refusal),
    Late,
}

impl HttpProxy {
    pub(super) fn new(
        component: Component,
        url: BackendUrl,
        config: &BackendConfig,
        owners: &Owners,
        metrics: &Arc<BackendMetrics>,
        room: &Room,
    ) -> Result<HttpProxy, ClientError> {
        let dialer = match url.is_https || config.tls_enabled {
            true => Dialer::encrypted(&config.tls, &url.host, "http/1.1", CONNECT_TIMEOUT)?,
            false => Dialer::plain(CONNECT_TIMEOUT),
        };
        let host = HeaderValue::from_str(&url.authority_text())
            .map_err(|_| ClientError::Config(format!("{:?} cannot be a host", url.host)))?;
        let (dialer, keeps, tasks) = (Arc::new(dialer), config.enable_keepalive, owners.connections.clone());
        let link = move |_| HttpLink { dialer: dialer.clone(), tasks: tasks.clone(), keeps, idle: Mutex::default() };
        let balancer = Balancer::new(url.clone(), Join::AtOnce, &owners.backend, metrics.clone(), link);
        Ok(HttpProxy {
            component,
            host,
            keeps,
            retries: config.retries,
            max_body: config.max_body_bytes,
            balancer,
            tunnels: Tunnels::new(&owners.connections),
            room: room.clone(),
            url,
        })
    }

    /// Passes a request on and gives back what the backend says.
    pub(super) async fn forward(
        &self,
        mut request: Request<Body>,
        via: Via,
        mut exchange: Exchange,
        deadline: Instant,
    ) -> Result<Response<Body>, (Refusal, Exchange)> {
        let upgrade = headers::asks_for_websocket(request.headers()) && request.version() == Version::HTTP_11;
        let client_side = upgrade.then(|| hyper::upgrade::on(&mut request));
        let (parts, body) = request.into_parts();
        let repeatable = is_repeatable(&parts.method, self.component);
        let mut held = self.room.share();
        let (outgoing, fault) = match timeout_at(deadline, self.outgoing(body, repeatable, &mut held)).await {
            Ok(Ok(outgoing)) => outgoing,
            Ok(Err(refusal)) => return Err((refusal, exchange)),
            Err(_) => return Err((Refusal::SlowBody, exchange)),
        };
        let mut request = match self.request(parts, outgoing, via, upgrade) {
            Ok(request) => request,
            Err(refusal) => return Err((refusal, exchange)),
        };
        self.balancer.known(deadline).await;
        let (mut round, mut failure) = (self.balancer.round(self.retries), Refusal::NoAddress(self.component));
        while let Some(endpoint) = round.next(&mut exchange) {
            let copy = if repeatable { copy_of(&request) } else { None };
            match self.attempt(&endpoint, request, copy.as_ref(), deadline).await {
                Attempt::Answered(response, lease) => {
                    self.balancer.answered(&endpoint);
                    return Ok(self.answer(response, client_side, exchange, lease, deadline));
                }
                Attempt::Unsent(unsent) => {
                    self.balancer.unreachable(&endpoint);
                    failure = Refusal::Unreachable(self.component);
                    request = unsent;
                }
                Attempt::Broken(refusal) => {
                    if let Some(fault) = fault.get() {
                        return Err((Refusal::of_fault(fault, self.max_body), exchange));
                    }
                    self.balancer.failed(&endpoint);
                    failure = refusal;
                    let Some(copy) = copy else { break };
                    request = copy.map(Outgoing::Whole);
                }
                // A client that takes its time is no fault of the backend.
                Attempt::Late if fault.is_waited_for() => return Err((Refusal::SlowBody, exchange)),
                Attempt::Late => {
                    self.balancer.failed(&endpoint);
                    failure = Refusal::Late(self.component);
                    break;
                }
            }
        }
        Err((failure, exchange))
    }

    /// The body as it goes out: whole if there is none, or if it is small, may have to be sent again, and there is room.
    async fn outgoing(&self, body: Body, repeatable: bool, held: &mut Held) -> Result<(Outgoing, FaultCell), Refusal> {
        use http_body::Body as _;
        if body.is_end_stream() {
            return Ok((Outgoing::Whole(Whole::default()), FaultCell::default()));
        }
        let size = body.size_hint();
        if size.lower() > self.max_body {
            return Err(Refusal::TooLarge(self.max_body));
        }
        let mut upload = Upload::new(body, self.max_body);
        let fault = upload.fault();
        // A length that is told is kept to: the server cuts what is longer.
        let kept = size.upper().and_then(|bytes| usize::try_from(bytes).ok()).filter(|bytes| *bytes <= KEPT_BODY);
        if !repeatable || !kept.is_some_and(|bytes| held.take(bytes)) {
            return Ok((Outgoing::Stream(upload), fault));
        }
        let pieces = upload.gather(|_| true).await.map_err(|fault| Refusal::of_fault(fault, self.max_body))?;
        Ok((Outgoing::Whole(Whole::new(pieces)), fault))
    }

    fn request(&self, parts: Parts, body: Outgoing, via: Via, upgrade: bool) -> Result<Request<Outgoing>, Refusal> {
        let mut headers = parts.headers;
        let asked_host = parts.uri.authority().and_then(|a| HeaderValue::from_str(a.as_str()).ok());
        headers::forward(&mut headers, via, asked_host);
        headers.insert(HOST, self.host.clone());
        if upgrade {
            headers::upgrade(&mut headers);
        } else if !self.keeps {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let mut request = Request::new(body);
        *request.method_mut() = parts.method;
        *request.uri_mut() = below(&self.url.base_path, parts.uri).ok_or(Refusal::LongPath)?;
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// `copy` is the same request, if it may be sent twice.
    async fn attempt(
        &self,
        endpoint: &Arc<Endpoint<HttpLink>>,
        mut request: Request<Outgoing>,
        copy: Option<&Request<Whole>>,
        deadline: Instant,
    ) -> Attempt {
        let mut has_broken = false;
        loop {
            let idle = if has_broken { None } else { endpoint.link.take() };
            let (mut sender, was_idle) = match idle {
                Some(sender) => (sender, true),
                None => match timeout_at(deadline, endpoint.link.open(endpoint.address)).await {
                    Ok(Ok(sender)) => (sender, false),
                    Ok(Err(error)) => {
                        tracing::debug!(address = %endpoint.address, %error, "a backend cannot be connected to");
                        return Attempt::Unsent(request);
                    }
                    Err(_) => return Attempt::Late,
                },
            };
            let sent = timeout_at(deadline, sender.try_send_request(request)).await;
            let mut error = match sent {
                Err(_) => return Attempt::Late,
                Ok(Ok(response)) => return Attempt::Answered(response, Lease { endpoint: endpoint.clone(), sender }),
                Ok(Err(error)) => error,
            };
            request = match error.take_message() {
                // The backend had closed it; that says nothing of the backend.
                Some(request) if was_idle => request,
                Some(request) => return Attempt::Unsent(request),
                None => {
                    let error = error.into_error();
                    tracing::debug!(address = %endpoint.address, %error, "a backend broke off");
                    // It may have closed a connection that was kept at the moment when the request came; a new one tells.
                    match copy.filter(|_| was_idle) {
                        Some(copy) => {
                            has_broken = true;
                            copy.clone().map(Outgoing::Whole)
                        }
                        None if error.is_parse() => return Attempt::Broken(self.bad_answer("its head cannot be read")),
                        None => return Attempt::Broken(Refusal::Broken(self.component)),
                    }
                }
            };
        }
    }

    fn bad_answer(&self, why: &'static str) -> Refusal {
        Refusal::BadAnswer { component: self.component, why }
    }

    fn answer(
        &self,
        mut response: Response<hyper::body::Incoming>,
        client_side: Option<hyper::upgrade::OnUpgrade>,
        mut exchange: Exchange,
        lease: Lease,
        deadline: Instant,
    ) -> Response<Body> {
        if let Some(why) = badly_framed(response.headers()) {
            // The connection ends with the lease.
            let refusal = self.bad_answer(why);
            exchange.answered(refusal.status());
            return refusal.respond();
        }
        // It goes out by our version, whatever the backend's is: with that of 1.0 a body's end could not be told.
        *response.version_mut() = Version::HTTP_11;
        exchange.answered(response.status());
        let is_websocket = headers::asks_for_websocket(response.headers());
        let backend_side =
            (response.status() == StatusCode::SWITCHING_PROTOCOLS).then(|| hyper::upgrade::on(&mut response));
        headers::strip_hop_by_hop(response.headers_mut());
        match (client_side, backend_side) {
            (Some(client), Some(backend)) if is_websocket => {
                headers::upgrade(response.headers_mut());
                match self.tunnels.place() {
                    Some(place) => {
                        self.tunnels.join(place, client, backend, exchange);
                        response.map(|_| Body::empty())
                    }
                    None => {
                        exchange.answered(Refusal::NoTunnel.status());
                        Refusal::NoTunnel.respond()
                    }
                }
            }
            // Nobody asked for this protocol.
            (_, Some(_)) => {
                let refusal = self.bad_answer("it changes protocols");
                exchange.answered(refusal.status());
                refusal.respond()
            }
            _ => response.map(|body| Body::new(Answer::new(body, exchange, lease, deadline))),
        }
    }
}

/// Why nobody can know where an answer ends, or what its bytes are: RFC 9112, sections 6.1 and 6.3. We ask for no coding but chunks.
fn badly_framed(headers: &HeaderMap) -> Option<&'static str> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let is_chunks = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    match (codings.next(), codings.next()) {
        (None, _) => None,
        (Some(_), _) if headers.contains_key(CONTENT_LENGTH) => Some("it has both a length and chunks"),
        (Some(coding), None) if is_chunks(coding) => None,
        _ => Some("it is in a coding that was not asked for"),
    }
}

/// The same request once more; `None` if its body is only there once.
fn copy_of(request: &Request<Outgoing>) -> Option<Request<Whole>> {
    let Outgoing::Whole(body) = request.body() else { return None };
    let mut copy = Request::new(body.clone());
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    Some(copy)
}

/// Whether a request may be sent twice: by its method (RFC 9110, section 9.2.2), or since queries change nothing.
pub(super) fn is_repeatable(method: &Method, component: Component) -> bool {
    method.is_idempotent() || component == Component::QueryFrontend
}

/// The path and query below a base path; `None` if they are too long together.
fn below(base: &str, uri: Uri) -> Option<Uri> {
    let asked = uri.into_parts().path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
    match base.is_empty() {
        true => Some(Uri::from(asked)),
        // What is a path below nothing is one below another path, save for its length.
        false => format!("{base}{asked}").parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_go_below_the_base_as_they_are() {
        let uri: Uri = "http://door/a%2Fb/c?x=%20&y".parse().expect("a URI");
        assert_eq!(below("", uri.clone()).expect("a path"), "/a%2Fb/c?x=%20&y");
        assert_eq!(below("/base", uri).expect("a path"), "/base/a%2Fb/c?x=%20&y");
    }

    #[test]
    fn a_path_that_is_too_long_below_the_base_is_no_other_path() {
        let uri: Uri = format!("/{}", "a".repeat(65_530)).parse().expect("a URI");
        assert!(below("", uri.clone()).is_some());
        assert_eq!(below("/base", uri), None);
    }

    #[test]
    fn only_what_changes_nothing_or_the_same_is_sent_twice() {
        assert!(is_repeatable(&Method::DELETE, Component::Ruler));
        assert!(is_repeatable(&Method::POST, Component::QueryFrontend));
        assert!(!is_repeatable(&Method::POST, Component::Distributor));
    }
}
