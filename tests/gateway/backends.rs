//! Backends that remember what they were asked, and answer with what they are told to.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::RUNTIME;

/// What a backend was asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case, sorted; values in their order.
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

/// What it answers.
#[derive(Clone, Debug)]
pub struct Told {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Bytes,
    pub trailers: Vec<(&'static str, &'static str)>,
    /// How long it thinks.
    pub pause: Duration,
}

impl Default for Told {
    fn default() -> Told {
        Told { status: 200, headers: Vec::new(), body: Bytes::new(), trailers: Vec::new(), pause: Duration::ZERO }
    }
}

/// What is common to both kinds.
struct State {
    asked: Mutex<Vec<Asked>>,
    keeps: bool,
    count: AtomicU64,
    /// Requests that were given up while it thought.
    abandoned: AtomicU64,
    told: Told,
    /// What gRPC ends calls with, in place of an answer.
    fails: Option<GrpcFailure>,
    framed: Option<Bytes>,
}

/// A call that ends with an error.
#[derive(Clone, Debug)]
pub struct GrpcFailure {
    pub code: u32,
    pub message: &'static str,
    /// An `HTTPResponse` among the details.
    pub details: Option<Told>,
}

/// A running backend; dropping it cuts its connections.
pub struct Backend {
    pub address: SocketAddr,
    state: Arc<State>,
    stop: CancellationToken,
    graceful: CancellationToken,
    tracker: TaskTracker,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Http,
    Grpc,
}

/// How to start one.
pub struct Start {
    pub kind: Kind,
    pub address: SocketAddr,
    pub told: Told,
    pub fails: Option<GrpcFailure>,
    /// What gRPC sends in place of a framed message.
    pub framed: Option<Bytes>,
    /// How connections are encrypted, if they are.
    pub tls: Option<rustls::ServerConfig>,
    /// Whether it remembers requests, or only counts them.
    pub keeps: bool,
}

impl Start {
    pub fn new(kind: Kind) -> Start {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        Start { kind, address, told: Told::default(), fails: None, framed: None, tls: None, keeps: true }
    }

    pub async fn start(self) -> Backend {
        let Start { kind, address, told, fails, framed, tls, keeps } = self;
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("a socket");
        socket.bind(address).expect("the address is free");
        let listener = socket.listen(1024).expect("the address is free");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State {
            asked: Mutex::default(),
            keeps,
            count: AtomicU64::new(0),
            abandoned: AtomicU64::new(0),
            told,
            fails,
            framed,
        });
        let backend = Backend {
            address,
            state: state.clone(),
            stop: CancellationToken::new(),
            graceful: CancellationToken::new(),
            tracker: TaskTracker::new(),
        };
        let tls = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        let (stop, graceful, tracker) = (backend.stop.clone(), backend.graceful.clone(), backend.tracker.clone());
        RUNTIME.spawn(backend.tracker.track_future(accept(kind, listener, tls, state, stop, graceful, tracker)));
        backend
    }
}

impl Backend {
    /// `http://...` or `dns:///...`.
    pub fn url(&self, kind: Kind) -> String {
        match kind {
            Kind::Http => format!("http://{}", self.address),
            Kind::Grpc => format!("dns:///{}", self.address),
        }
    }

    /// Takes what it was asked so far.
    pub fn take(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state.asked.lock())
    }

    /// Requests so far.
    pub fn count(&self) -> u64 {
        self.state.count.load(Ordering::SeqCst)
    }

    /// Requests that were given up before it had answered.
    pub fn abandoned(&self) -> u64 {
        self.state.abandoned.load(Ordering::SeqCst)
    }

    /// Ends as components do: no new requests, those under way are answered.
    pub async fn end(&self) {
        self.graceful.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept(
    kind: Kind,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    state: Arc<State>,
    stop: CancellationToken,
    graceful: CancellationToken,
    tracker: TaskTracker,
) {
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.expect("a connection").0,
            () = stop.cancelled() => return,
            () = graceful.cancelled() => return,
        };
        drop(stream.set_nodelay(true));
        let (state, tls, stop, graceful) = (state.clone(), tls.clone(), stop.clone(), graceful.clone());
        RUNTIME.spawn(tracker.track_future(async move {
            match tls {
                None => serve(kind, stream, state, stop, graceful).await,
                Some(tls) => {
                    let Ok(stream) = tls.accept(stream).await else { return };
                    serve(kind, stream, state, stop, graceful).await;
                }
            }
        }));
    }
}

async fn serve(
    kind: Kind,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    state: Arc<State>,
    stop: CancellationToken,
    graceful: CancellationToken,
) {
    match kind {
        Kind::Http => {
            let service = service_fn(move |request| answer_http(state.clone(), request));
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service);
            let mut connection = std::pin::pin!(connection);
            tokio::select! {
                _ = connection.as_mut() => return,
                () = stop.cancelled() => return,
                () = graceful.cancelled() => connection.as_mut().graceful_shutdown(),
            }
            tokio::select! { _ = connection => {}, () = stop.cancelled() => {} }
        }
        Kind::Grpc => {
            let service = service_fn(move |request| answer_grpc(state.clone(), request));
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service);
            let mut connection = std::pin::pin!(connection);
            tokio::select! {
                _ = connection.as_mut() => return,
                () = stop.cancelled() => return,
                () = graceful.cancelled() => connection.as_mut().graceful_shutdown(),
            }
            tokio::select! { _ = connection => {}, () = stop.cancelled() => {} }
        }
    }
}

impl State {
    async fn note(&self, asked: impl FnOnce() -> Asked) {
        self.count.fetch_add(1, Ordering::SeqCst);
        if self.keeps {
            self.asked.lock().push(asked());
        }
        if !self.told.pause.is_zero() {
            let thinking = Thinking(&self.abandoned);
            tokio::time::sleep(self.told.pause).await;
            std::mem::forget(thinking);
        }
    }
}

/// Counts one that is dropped.
struct Thinking<'a>(&'a AtomicU64);

impl Drop for Thinking<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

async fn answer_http(state: Arc<State>, request: Request<Incoming>) -> Result<Response<WithTrailers>, hyper::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let target = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let headers = parts.headers.iter().map(|(n, v)| (n.as_str().to_owned(), value(v.as_bytes()))).collect();
    state.note(|| Asked { method: parts.method.to_string(), target, headers: sorted(headers), body }).await;
    let told = &state.told;
    let mut response = Response::builder().status(told.status);
    for (name, value) in &told.headers {
        response = response.header(*name, value);
    }
    if !told.trailers.is_empty() {
        let names: Vec<&str> = told.trailers.iter().map(|(name, _)| *name).collect();
        response = response.header("trailer", names.join(", "));
    }
    let trailers = told.trailers.iter().map(|(name, value)| {
        (name.parse::<hyper::header::HeaderName>().expect("a name"), value.parse().expect("a value"))
    });
    let trailers: HeaderMap = trailers.collect();
    let body = WithTrailers { body: Some(told.body.clone()), trailers: Some(trailers).filter(|t| !t.is_empty()) };
    Ok(response.body(body).expect("a response"))
}

fn value(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// By name; equal names keep their order.
pub fn sorted(mut headers: Vec<(String, String)>) -> Vec<(String, String)> {
    headers.sort_by(|a, b| a.0.cmp(&b.0));
    headers
}

/// A body, chunked where trailers follow it; of gRPC a framed message.
pub struct WithTrailers {
    body: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Body for WithTrailers {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(body) = self.body.take().filter(|body| !body.is_empty()) {
            return Poll::Ready(Some(Ok(Frame::data(body))));
        }
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match self.trailers {
            None => hyper::body::SizeHint::with_exact(self.body.as_ref().map_or(0, |body| body.len() as u64)),
            Some(_) => hyper::body::SizeHint::default(),
        }
    }
}

/// Fields of a protobuf message, by hand, so that a mistake of ours cannot judge itself.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn varint(&mut self) -> u64 {
        let mut n = 0;
        for shift in (0..).step_by(7) {
            let (first, rest) = self.0.split_first().expect("more bytes");
            self.0 = rest;
            n |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                break;
            }
        }
        n
    }

    fn field(&mut self) -> Option<(u64, &'a [u8])> {
        if self.0.is_empty() {
            return None;
        }
        let key = self.varint();
        assert_eq!(key & 7, 2, "every field of a request is text, bytes or a message");
        let length = usize::try_from(self.varint()).expect("a length");
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        Some((key >> 3, bytes))
    }
}

fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn bytes_field(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    varint(out, number << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// An `HTTPResponse`.
fn response_message(told: &Told) -> Vec<u8> {
    let mut out = Vec::new();
    varint(&mut out, 1 << 3);
    varint(&mut out, u64::from(told.status));
    for (name, value) in &told.headers {
        let mut header = Vec::new();
        bytes_field(&mut header, 1, name.as_bytes());
        bytes_field(&mut header, 2, value.as_bytes());
        bytes_field(&mut out, 2, &header);
    }
    bytes_field(&mut out, 3, &told.body);
    out
}

fn asked_of(message: &[u8]) -> Asked {
    let mut reader = Reader(message);
    let mut asked = Asked { method: String::new(), target: String::new(), headers: Vec::new(), body: Bytes::new() };
    while let Some((number, bytes)) = reader.field() {
        match number {
            1 => asked.method = value(bytes),
            2 => asked.target = value(bytes),
            3 => {
                let (mut header, mut name) = (Reader(bytes), String::new());
                while let Some((number, bytes)) = header.field() {
                    match number {
                        1 => {
                            name = value(bytes);
                            let as_go = name.split('-').all(|part| !part.starts_with(|c: char| c.is_ascii_lowercase()));
                            assert!(as_go, "{name}: components look headers up as Go writes them");
                        }
                        2 => asked.headers.push((name.to_ascii_lowercase(), value(bytes))),
                        _ => panic!("no field {number} in a header"),
                    }
                }
            }
            4 => asked.body = Bytes::copy_from_slice(bytes),
            _ => panic!("no field {number} in a request"),
        }
    }
    asked.headers = sorted(asked.headers);
    asked
}

async fn answer_grpc(state: Arc<State>, request: Request<Incoming>) -> Result<Response<WithTrailers>, hyper::Error> {
    let (parts, body) = request.into_parts();
    assert_eq!(parts.uri.path(), "/httpgrpc.HTTP/Handle");
    assert_eq!(parts.headers["content-type"], "application/grpc");
    assert_eq!(parts.headers["te"], "trailers");
    assert!(parts.headers.contains_key("grpc-timeout"));
    let framed = body.collect().await?.to_bytes();
    let (prefix, message) = framed.split_at(5);
    assert_eq!(prefix, [&[0][..], &u32::try_from(message.len()).expect("small").to_be_bytes()].concat());
    let asked = asked_of(message);
    let tenant = asked.headers.iter().find(|(name, _)| name == "x-scope-orgid").map(|(_, value)| value.as_str());
    assert_eq!(parts.headers.get("x-scope-orgid").and_then(|v| v.to_str().ok()), tenant);
    state.note(|| asked).await;
    let mut trailers = HeaderMap::new();
    let response = Response::builder().header("content-type", "application/grpc");
    if let Some(GrpcFailure { code, message, details }) = &state.fails {
        trailers.insert("grpc-status", code.to_string().parse().expect("a value"));
        trailers.insert("grpc-message", message.parse().expect("a value"));
        if let Some(told) = details {
            trailers.insert("grpc-status-details-bin", details_of(*code, message, told).parse().expect("a value"));
        }
        return Ok(response.body(WithTrailers { body: None, trailers: Some(trailers) }).expect("a response"));
    }
    let message = response_message(&state.told);
    let mut framed = vec![0];
    framed.extend(u32::try_from(message.len()).expect("small").to_be_bytes());
    framed.extend(message);
    let framed = state.framed.clone().unwrap_or_else(|| framed.into());
    trailers.insert("grpc-status", "0".parse().expect("a value"));
    Ok(response.body(WithTrailers { body: Some(framed), trailers: Some(trailers) }).expect("a response"))
}

/// A `google.rpc.Status` with an `HTTPResponse`, as a header has it.
fn details_of(code: u32, message: &str, told: &Told) -> String {
    use base64::Engine as _;
    let (mut any, mut status) = (Vec::new(), Vec::new());
    bytes_field(&mut any, 1, b"type.googleapis.com/httpgrpc.HTTPResponse");
    bytes_field(&mut any, 2, &response_message(told));
    varint(&mut status, 1 << 3);
    varint(&mut status, u64::from(code));
    bytes_field(&mut status, 2, message.as_bytes());
    bytes_field(&mut status, 3, &any);
    base64::engine::general_purpose::STANDARD_NO_PAD.encode(status)
}
