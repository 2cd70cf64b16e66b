//! The proxy over several addresses of one name, which for `http://` only the system's name servers could tell it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use hyper::{Method, Request, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::backend_url::BackendUrl;
use super::config::{BackendConfig, Component};
use super::headers::Via;
use super::held::Room;
use super::http::HttpProxy;
use super::metrics::{BackendMetrics, Exchange};
use super::{Owners, Refusal};
use crate::runtime::Tasks;
use crate::telemetry::Registry;

/// Answers every request on every connection, until it is dropped.
struct Backend {
    address: SocketAddr,
    count: Arc<AtomicUsize>,
    tasks: Tasks,
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

impl Backend {
    async fn start(address: SocketAddr) -> Backend {
        let listener = TcpListener::bind(address).await.expect("it is free");
        let (count, tasks) = (Arc::new(AtomicUsize::new(0)), Tasks::new());
        let backend = Backend { address: listener.local_addr().expect("an address"), count, tasks };
        let (count, tasks, stop) = (backend.count.clone(), backend.tasks.clone(), backend.tasks.stopping());
        backend.tasks.spawn("accept", async move {
            while let Some(Ok((mut stream, _))) = stop.run_until_cancelled(listener.accept()).await {
                let (count, stop) = (count.clone(), stop.clone());
                let serving = async move {
                    let mut buffer = [0; 4096];
                    // Requests are so small that each comes at once.
                    while let Ok(1..) = stream.read(&mut buffer).await {
                        count.fetch_add(1, Ordering::SeqCst);
                        drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await);
                    }
                };
                tasks.spawn("serve", async move {
                    stop.run_until_cancelled(serving).await;
                });
            }
        });
        backend
    }

    fn take(&self) -> usize {
        self.count.swap(0, Ordering::SeqCst)
    }
}

struct Proxy {
    proxy: HttpProxy,
    metrics: Arc<BackendMetrics>,
}

impl Proxy {
    async fn to(addresses: &[SocketAddr], tasks: &Tasks) -> Proxy {
        let metrics = Arc::new(BackendMetrics::new(&Registry::new(), Component::Distributor));
        let owners = Owners { backend: tasks.child(), connections: tasks.clone() };
        let url = BackendUrl::parse("http://127.0.0.1:1").expect("a URL");
        let config = BackendConfig::default();
        let proxy =
            HttpProxy::new(Component::Distributor, url, &config, &owners, &metrics, &Room::new()).expect("a proxy");
        // An address written as such is resolved once, and never again.
        proxy.balancer.known(Instant::now() + Duration::from_secs(60)).await;
        proxy.balancer.update(addresses);
        Proxy { proxy, metrics }
    }

    async fn send(&self, method: Method) -> Result<StatusCode, Refusal> {
        let mut request = Request::new(Body::from("body"));
        *request.method_mut() = method;
        let via = Via { client: IpAddr::V4(Ipv4Addr::LOCALHOST), is_encrypted: false };
        let exchange = Exchange::new(self.metrics.clone(), None);
        let deadline = Instant::now() + Duration::from_secs(60);
        let outcome = self.proxy.forward(request, via, exchange, deadline).await;
        let response = outcome.map_err(|(refusal, _)| refusal)?;
        let status = response.status();
        http_body_util::BodyExt::collect(response.into_body()).await.expect("a body");
        Ok(status)
    }

    async fn send_all(&self, method: Method, times: usize) {
        for _ in 0..times {
            assert_eq!(self.send(method.clone()).await, Ok(StatusCode::OK));
        }
    }
}

#[tokio::test]
async fn addresses_take_turns_one_that_ends_costs_nothing_and_is_back_when_it_is() {
    let tasks = Tasks::new();
    let mut backends = Vec::new();
    for _ in 0..3 {
        backends.push(Backend::start(SocketAddr::from(([127, 0, 0, 1], 0))).await);
    }
    let addresses: Vec<SocketAddr> = backends.iter().map(|b| b.address).collect();
    let mut sorted = addresses.clone();
    sorted.sort();
    let proxy = Proxy::to(&sorted, &tasks).await;
    proxy.send_all(Method::POST, 30).await;
    assert_eq!(backends.iter().map(Backend::take).collect::<Vec<_>>(), [10, 10, 10]);

    // Connections that were kept are cut with the backend; requests were not sent over them yet, or may be sent twice.
    drop(backends.pop());
    proxy.send_all(Method::PUT, 30).await;
    assert_eq!(proxy.metrics.live_endpoints.get(), 2.0);
    assert_eq!(backends.iter().map(Backend::take).sum::<usize>(), 30);
    proxy.send_all(Method::POST, 30).await;
    assert_eq!(backends.iter().map(Backend::take).collect::<Vec<_>>(), [15, 15]);

    backends.push(Backend::start(addresses[2]).await);
    while proxy.metrics.live_endpoints.get() < 3.0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    proxy.send_all(Method::POST, 30).await;
    assert_eq!(backends.iter().map(Backend::take).collect::<Vec<_>>(), [10, 10, 10]);
    assert_eq!(proxy.metrics.ejections.get(), 1);
    tasks.stop();
}

#[tokio::test]
async fn what_may_count_twice_is_not_sent_twice() {
    let tasks = Tasks::new();
    let good = Backend::start(SocketAddr::from(([127, 0, 0, 1], 0))).await;
    // Takes a request and breaks off.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let bad = listener.local_addr().expect("an address");
    let (taken, stop) = (Arc::new(AtomicUsize::new(0)), tasks.stopping());
    let count = taken.clone();
    tasks.spawn("bad", async move {
        while let Some(Ok((mut stream, _))) = stop.run_until_cancelled(listener.accept()).await {
            if let Ok(1..) = stream.read(&mut [0; 4096]).await {
                count.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    let mut addresses = vec![good.address, bad];
    addresses.sort();
    let proxy = Proxy::to(&addresses, &tasks).await;
    // One of the two is the bad one's turn.
    let outcomes = [proxy.send(Method::POST).await, proxy.send(Method::POST).await];
    assert!(outcomes.contains(&Ok(StatusCode::OK)), "{outcomes:?}");
    assert!(outcomes.contains(&Err(Refusal::Broken(Component::Distributor))), "{outcomes:?}");
    assert_eq!((good.take(), taken.swap(0, Ordering::SeqCst)), (1, 1));
    proxy.send_all(Method::PUT, 2).await;
    // What it breaks off is sent again to the other, whose turn that takes: if it is first in the round, the second request is
    // its turn as well.
    let turns = if outcomes[0].is_err() { 2 } else { 1 };
    assert_eq!((good.take(), taken.swap(0, Ordering::SeqCst)), (2, turns));
    tasks.stop();
}
