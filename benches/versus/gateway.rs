//! Small requests through the gateway, beside nginx and vmauth on the same backend: how many, how fast, at what cost.
//!
//! One backend and one client of this process serve all; each proxy is driven alone, in turns, so that all see the same noise.
//! Latency is measured with one connection, against the backend asked directly; throughput and cost with many. The gateway is driven
//! a second time with a backend that speaks gRPC, to which nothing else has a way: what carrying costs is the difference.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::header::{HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use crate::Size;
use crate::proc::Cpu;
use crate::report::Table;
use crate::support::peers::Peers;
use crate::support::process::{Home, Server};

/// Connections that are used at the same time when throughput is measured.
const CONNECTIONS: usize = 32;
/// As a remote writer sends.
const BODY: usize = 4096;
const ROUNDS: usize = 5;

/// A proxy under measurement.
struct Proxy {
    name: &'static str,
    server: Server,
    _home: Home,
    figures: Vec<Figures>,
}

/// What one round says.
#[derive(Clone, Copy)]
struct Figures {
    per_second: f64,
    p99: Duration,
    cpu: Duration,
    alone: Duration,
}

/// All of it. The table of the others has no columns for these peers, so this prints its own.
pub fn gateway(size: Size, _: &mut Table) {
    let runtime = Runtime::new().expect("threads");
    let (backend, grpc_backend) = runtime.block_on(async { (backend().await, grpc_backend().await) });
    let mut proxies = proxies(backend, grpc_backend);
    let seconds = Duration::from_secs(if size == Size::Full { 8 } else { 2 });
    let mut direct = Vec::new();
    for _ in 0..ROUNDS {
        direct.push(runtime.block_on(alone(backend, seconds / 4)));
        for proxy in &mut proxies {
            let address: SocketAddr = proxy.server.address.parse().expect("an address");
            proxy.figures.push(runtime.block_on(round(address, &proxy.server, seconds)));
        }
    }
    print(&proxies, median(&mut direct));
}

fn print(proxies: &[Proxy], direct: Duration) {
    let figure = |proxy: &Proxy, of: fn(&Figures) -> f64| {
        let mut values: Vec<f64> = proxy.figures.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let us = |d: Duration| d.as_secs_f64() * 1e6;
    println!("\n| POST of {BODY} bytes | {} |", proxies.iter().map(|p| p.name).collect::<Vec<_>>().join(" | "));
    println!("|---|{}", "--:|".repeat(proxies.len()));
    let row = |what: &str, of: &dyn Fn(&Proxy) -> f64| {
        let cells: Vec<String> = proxies.iter().map(|proxy| format!("{:.1}", of(proxy))).collect();
        println!("| {what} | {} |", cells.join(" | "));
    };
    row(&format!("requests/s, {CONNECTIONS} connections"), &|p| figure(p, |f| f.per_second));
    row("p99, us", &|p| figure(p, |f| f.p99.as_secs_f64() * 1e6));
    row("CPU a request, us", &|p| figure(p, |f| f.cpu.as_secs_f64() * 1e6));
    row("median of one connection, us", &|p| figure(p, |f| f.alone.as_secs_f64() * 1e6));
    row("added to the direct median, us", &|p| figure(p, |f| f.alone.as_secs_f64() * 1e6) - us(direct));
    println!("directly: median {:.1} us", us(direct));
    let cpu = |name| proxies.iter().find(|p| p.name == name).map(|p| figure(p, |f| f.cpu.as_secs_f64()));
    if let (Some(ours), Some(nginx)) = (cpu("watershed"), cpu("nginx")) {
        println!("CPU to nginx: {:.2} (budget <= 1.5)", ours / nginx);
    }
    let added = figure(&proxies[0], |f| f.alone.as_secs_f64() * 1e6) - us(direct);
    println!("added at the median: {added:.0} us (budget < 300)");
}

fn median(values: &mut [Duration]) -> Duration {
    values.sort();
    values[values.len() / 2]
}

fn proxies(backend: SocketAddr, grpc_backend: SocketAddr) -> Vec<Proxy> {
    let proxy = |name, home, server| Proxy { name, server, _home: home, figures: Vec::new() };
    let mut proxies = Vec::new();
    for (name, url) in
        [("watershed", format!("http://{backend}")), ("watershed by gRPC", format!("dns:///{grpc_backend}"))]
    {
        let home = Home::new();
        home.write_config(&format!("target: gateway\ngateway: {{proxy: {{default: {{url: '{url}'}}}}}}\n"));
        let server = home.watershed(&["--log.level=warn"]);
        proxies.push(proxy(name, home, server));
    }
    if let Some(peers) = Peers::find(&["nginx"]) {
        let home = Home::new();
        let server = nginx(&peers, &home, backend);
        proxies.push(proxy("nginx", home, server));
    }
    if let Some(peers) = Peers::find(&["vmauth"]) {
        let home = Home::new();
        let server = vmauth(&peers, &home, backend);
        proxies.push(proxy("vmauth", home, server));
    }
    proxies
}

fn nginx(peers: &Peers, home: &Home, backend: SocketAddr) -> Server {
    let (dir, address) = (home.path().display().to_string(), home.address());
    let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("  {kind}_temp_path {dir}/{kind};\n"))
        .collect();
    // One process, so that all that it costs is that process's; both cores are busy with the two ends anyway.
    home.write_config(&format!(
        "daemon off;\nmaster_process off;\npid {dir}/nginx.pid;\nerror_log {dir}/error.log;\nevents {{ worker_connections 1024; }}\n\
         http {{\n  access_log off;\n{temp}  keepalive_requests 100000000;\n\
         upstream all {{ server {backend}; keepalive 64; keepalive_requests 100000000; }}\n\
         server {{ listen {address}; location / {{ proxy_pass http://all; proxy_http_version 1.1; \
         proxy_set_header Connection \"\"; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; \
         proxy_request_buffering off; proxy_buffering off; }} }}\n}}\n"
    ));
    let mut command = Command::new(peers.path("nginx"));
    command.args(["-p", &dir, "-c"]).arg(home.config_path());
    Server::spawn("nginx", command, home.port, &home.path().join("nginx.log")).wait_ready("/")
}

fn vmauth(peers: &Peers, home: &Home, backend: SocketAddr) -> Server {
    home.write_config(&format!("unauthorized_user: {{url_prefix: 'http://{backend}'}}\n"));
    let mut command = Command::new(peers.path("vmauth"));
    command
        .arg(format!("-auth.config={}", home.config_path().display()))
        .arg(format!("-httpListenAddr={}", home.address()));
    Server::spawn("vmauth", command, home.port, &home.path().join("vmauth.log")).wait_ready("/")
}

/// Takes what comes and says a few bytes.
async fn backend() -> SocketAddr {
    listen(|stream| async move {
        let service = service_fn(|request: Request<Incoming>| async move {
            request.into_body().collect().await?;
            Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::from_static(b"ok"))))
        });
        drop(hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await);
    })
    .await
}

/// The same for calls of `httpgrpc.HTTP/Handle`.
async fn grpc_backend() -> SocketAddr {
    listen(|stream| async move {
        let service = service_fn(|request: Request<Incoming>| async move {
            request.into_body().collect().await?;
            let answer = Response::builder().header("content-type", "application/grpc").body(Handled::new());
            Ok::<_, hyper::Error>(answer.expect("an answer"))
        });
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        drop(connection.serve_connection(stream, service).await);
    })
    .await
}

/// Serves each connection to the address that it gives.
async fn listen<S>(serve: impl Fn(TokioIo<TcpStream>) -> S + Send + 'static) -> SocketAddr
where
    S: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let runtime = tokio::runtime::Handle::current();
    runtime.clone().spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream.set_nodelay(true));
            runtime.spawn(serve(TokioIo::new(stream)));
        }
    });
    address
}

/// An `HTTPResponse` of status 200 and a body of two bytes, framed, and the status of the call.
struct Handled(Vec<Frame<Bytes>>);

impl Handled {
    fn new() -> Handled {
        let status = HeaderMap::from_iter([("grpc-status".parse().expect("a name"), HeaderValue::from_static("0"))]);
        let message = Bytes::from_static(b"\0\0\0\0\x07\x08\xc8\x01\x1a\x02ok");
        Handled(vec![Frame::trailers(status), Frame::data(message)])
    }
}

impl hyper::body::Body for Handled {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop().map(Ok))
    }
}

struct Connection(SendRequest<Full<Bytes>>);

impl Connection {
    async fn open(address: SocketAddr) -> Connection {
        let stream = TcpStream::connect(address).await.expect("it listens");
        stream.set_nodelay(true).expect("a socket");
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a connection");
        tokio::runtime::Handle::current().spawn(connection);
        Connection(sender)
    }

    async fn ask(&mut self) -> Duration {
        static BYTES: [u8; BODY] = [7; BODY];
        let request = Request::post("/api/v1/push")
            .header("host", "gateway")
            .header("content-type", "application/x-protobuf")
            .header("x-scope-orgid", "team-a")
            .body(Full::new(Bytes::from_static(&BYTES)))
            .expect("a request");
        let start = Instant::now();
        self.0.ready().await.expect("it is kept");
        let response = self.0.send_request(request).await.expect("an answer");
        assert_eq!(response.status().as_u16(), 200);
        response.into_body().collect().await.expect("a body");
        start.elapsed()
    }
}

/// The median of requests one after another.
async fn alone(address: SocketAddr, time: Duration) -> Duration {
    let mut connection = Connection::open(address).await;
    let (start, mut taken) = (Instant::now(), Vec::new());
    while start.elapsed() < time {
        taken.push(connection.ask().await);
    }
    median(&mut taken)
}

async fn round(address: SocketAddr, server: &Server, time: Duration) -> Figures {
    let alone = alone(address, time / 4).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(Connection::open(address).await);
    }
    let (before, start) = (Cpu::of(server.pid()), Instant::now());
    let runtime = tokio::runtime::Handle::current();
    let clients: Vec<_> = connections
        .into_iter()
        .map(|mut connection| {
            let stop = stop.clone();
            runtime.spawn(async move {
                let mut taken = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    taken.push(connection.ask().await);
                }
                taken
            })
        })
        .collect();
    tokio::time::sleep(time).await;
    stop.store(true, Ordering::Relaxed);
    let mut taken = Vec::new();
    for client in clients {
        taken.extend(client.await.expect("a client"));
    }
    let (cpu, elapsed) = (Cpu::of(server.pid()) - before, start.elapsed());
    taken.sort();
    let count = u32::try_from(taken.len()).expect("not so many");
    Figures {
        per_second: f64::from(count) / elapsed.as_secs_f64(),
        p99: taken[taken.len() * 99 / 100],
        cpu: cpu / count,
        alone,
    }
}
