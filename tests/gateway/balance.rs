//! Many backends behind one name: even shares, and backends that come and go.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hickory_resolver::proto::op::ResponseCode;
use tokio::net::{TcpListener, TcpStream};

use crate::RUNTIME;
use crate::backends::{Backend, Kind, Start, Told};
use crate::client::{Client, request};
use crate::door::Door;
use crate::names::Names;

/// What only a broken gateway needs.
const LIMIT: Duration = Duration::from_secs(60);

/// The `n`th address of this machine.
fn host(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, n)
}

fn hosts(numbers: std::ops::RangeInclusive<u8>) -> Vec<Ipv4Addr> {
    numbers.map(host).collect()
}

fn at(n: u8, port: u16) -> SocketAddr {
    SocketAddr::from((host(n), port))
}

async fn start(kind: Kind, address: SocketAddr, pause: Duration) -> Backend {
    let told = Told { pause, ..Told::default() };
    Start { address, keeps: false, told, ..Start::new(kind) }.start().await
}

async fn start_all(kind: Kind, count: u8, port: u16, pause: Duration) -> Vec<Backend> {
    let mut backends = Vec::new();
    for n in 1..=count {
        backends.push(start(kind, at(n, port), pause).await);
    }
    backends
}

fn door(names: &Names, port: u16) -> Door {
    let url = format!("dns://{}/distributor.test:{port}", names.address);
    Door::with_file(&format!("target: gateway\ngateway: {{proxy: {{distributor: {{url: '{url}'}}}}}}\n"))
}

const LIVE: &str = r#"watershed_gateway_endpoints_live{component="distributor"}"#;

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LIMIT, "waited for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn two_resolutions(names: &Names) {
    // One may have been under way when the zone changed.
    let before = names.asked();
    until("resolutions", || names.asked() >= before + 3).await;
}

/// What remote writers send is not looked into by anybody here.
const BODY: [u8; 512] = [7; 512];

async fn push(client: &mut Client) {
    let answer = client.send(request("POST", "/api/v1/push", &BODY)).await.expect("an answer");
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
}

/// Every connection goes to the next address, and stays there.
async fn tcp_proxy(backends: Vec<SocketAddr>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    RUNTIME.spawn(async move {
        for backend in backends.into_iter().cycle() {
            let Ok((mut client, _)) = listener.accept().await else { return };
            RUNTIME.spawn(async move {
                let mut backend = TcpStream::connect(backend).await.expect("a backend");
                drop(tokio::io::copy_bidirectional(&mut client, &mut backend).await);
            });
        }
    });
    address
}

#[test]
fn one_connection_that_is_kept_loads_eight_backends_alike_and_through_a_tcp_proxy_only_one() {
    RUNTIME.block_on(async {
        let port = crate::support::process::free_port();
        let backends = start_all(Kind::Grpc, 8, port, Duration::ZERO).await;
        let names = Names::start(1, &hosts(1..=8)).await;
        let door = door(&names, port);
        until("eight addresses", || door.metric(LIVE) == 8.0).await;
        let mut client = Client::connect(door.address).await;
        for _ in 0..8000 {
            push(&mut client).await;
        }
        let shares: Vec<u64> = backends.iter().map(Backend::count).collect();
        println!("shares of the gateway: {shares:?}");
        assert!(shares.iter().all(|n| n.abs_diff(1000) <= 10), "{shares:?}");
        for n in 1..=8 {
            let series = format!(
                r#"watershed_gateway_endpoint_requests_total{{component="distributor",endpoint="{}"}}"#,
                at(n, port)
            );
            assert_eq!(door.metric(&series) as u64, shares[usize::from(n) - 1], "{series}");
        }

        let plain = start_all(Kind::Http, 8, crate::support::process::free_port(), Duration::ZERO).await;
        let proxy = tcp_proxy(plain.iter().map(|backend| backend.address).collect()).await;
        let mut client = Client::connect(proxy).await;
        for _ in 0..8000 {
            push(&mut client).await;
        }
        let shares: Vec<u64> = plain.iter().map(Backend::count).collect();
        println!("shares of a TCP proxy: {shares:?}");
        assert_eq!(shares, [8000, 0, 0, 0, 0, 0, 0, 0]);
    });
}

/// Clients that send without pause until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    /// Of requests that are safe to send again.
    failed: Arc<AtomicU64>,
    /// Of others.
    lost: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(address: SocketAddr, clients: usize) -> Load {
        let mut load = Load {
            stop: Arc::default(),
            sent: Arc::default(),
            failed: Arc::default(),
            lost: Arc::default(),
            tasks: Vec::new(),
        };
        for n in 0..clients {
            let (stop, sent, failed, lost) =
                (load.stop.clone(), load.sent.clone(), load.failed.clone(), load.lost.clone());
            load.tasks.push(RUNTIME.spawn(async move {
                let is_safe = n % 2 == 0;
                let mut client = Client::connect(address).await;
                while !stop.load(Ordering::SeqCst) {
                    let asked = match is_safe {
                        true => request("PUT", "/distributor/ha_tracker", &BODY),
                        false => request("POST", "/api/v1/push", &BODY),
                    };
                    let answer = client.send(asked).await.expect("the gateway answers always");
                    sent.fetch_add(1, Ordering::SeqCst);
                    if answer.status.as_u16() != 200 {
                        println!("{} {}", answer.status, answer.text());
                        if is_safe { &failed } else { &lost }.fetch_add(1, Ordering::SeqCst);
                    }
                }
            }));
        }
        load
    }

    async fn more(&self, requests: u64) {
        let before = self.sent.load(Ordering::SeqCst);
        until("requests", || self.sent.load(Ordering::SeqCst) >= before + requests).await;
    }

    async fn end(self) -> (u64, u64, u64) {
        self.stop.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.expect("a client");
        }
        let read = |n: &AtomicU64| n.load(Ordering::SeqCst);
        (read(&self.sent), read(&self.failed), read(&self.lost))
    }
}

/// How many requests each backend gets while so many are sent.
async fn shares(load: &Load, backends: &[Backend], requests: u64) -> Vec<u64> {
    let before: Vec<u64> = backends.iter().map(Backend::count).collect();
    load.more(requests).await;
    backends.iter().zip(before).map(|(backend, before)| backend.count() - before).collect()
}

/// Requests under way when counting begins and ends blur the count by a few.
fn is_even(shares: &[u64]) -> bool {
    let (least, most) = (shares.iter().min().copied().unwrap_or(0), shares.iter().max().copied().unwrap_or(0));
    least > 0 && most - least <= 16
}

/// Four backends behind one name, which eight clients ask without a pause.
struct Loaded {
    port: u16,
    backends: Vec<Backend>,
    names: Names,
    door: Door,
    load: Load,
}

impl Loaded {
    async fn start(pause: Duration) -> Loaded {
        let port = crate::support::process::free_port();
        let backends = start_all(Kind::Grpc, 4, port, pause).await;
        let names = Names::start(1, &hosts(1..=4)).await;
        let door = door(&names, port);
        until("four addresses", || door.metric(LIVE) == 4.0).await;
        let load = Load::start(door.address, 8);
        Loaded { port, backends, names, door, load }
    }
}

#[test]
fn a_name_that_cannot_be_resolved_any_more_keeps_its_addresses() {
    RUNTIME.block_on(async {
        let port = crate::support::process::free_port();
        let backends = start_all(Kind::Grpc, 2, port, Duration::ZERO).await;
        let names = Names::start(1, &hosts(1..=2)).await;
        let door = door(&names, port);
        until("two addresses", || door.metric(LIVE) == 2.0).await;
        let failures = || door.metric(r#"watershed_gateway_resolution_failures_total{component="distributor"}"#);
        let mut client = Client::connect(door.address).await;
        for code in [ResponseCode::ServFail, ResponseCode::NXDomain, ResponseCode::NoError] {
            names.set_code(code);
            if code == ResponseCode::NoError {
                names.set(&[]);
            }
            let before = failures();
            until("a resolution that fails", || failures() > before).await;
            push(&mut client).await;
            push(&mut client).await;
            assert_eq!(door.metric(LIVE), 2.0, "{code}");
        }
        assert_eq!(backends.iter().map(Backend::count).collect::<Vec<_>>(), [3, 3]);
        // And goes over to others once there are some again.
        names.set(&hosts(1..=1));
        until("one address", || door.metric(LIVE) == 1.0).await;
    });
}

#[test]
fn an_address_that_speaks_something_else_is_taken_out_and_does_not_fail_its_share_for_ever() {
    RUNTIME.block_on(async {
        let port = crate::support::process::free_port();
        let good = start(Kind::Grpc, at(1, port), Duration::ZERO).await;
        let framed = Some(bytes::Bytes::from_static(b"nonsense"));
        let _bad = Start { address: at(2, port), framed, ..Start::new(Kind::Grpc) }.start().await;
        let names = Names::start(1, &hosts(1..=2)).await;
        let door = door(&names, port);
        until("two addresses", || door.metric(LIVE) == 2.0).await;
        let mut client = Client::connect(door.address).await;
        let mut failed = 0;
        for _ in 0..6 {
            let answer = client.send(request("POST", "/api/v1/push", &BODY)).await.expect("an answer");
            failed += u64::from(answer.status.as_u16() == 502);
        }
        assert_eq!((failed, good.count()), (3, 3));
        assert_eq!(door.metric(r#"watershed_gateway_ejections_total{component="distributor"}"#), 1.0);
    });
}

#[test]
fn more_addresses_than_a_packet_holds_are_asked_for_by_tcp() {
    RUNTIME.block_on(async {
        let port = crate::support::process::free_port();
        let _backends = start_all(Kind::Grpc, 3, port, Duration::ZERO).await;
        let names = Names::start(1, &hosts(1..=3)).await;
        names.set_long();
        let door = door(&names, port);
        until("three addresses", || door.metric(LIVE) == 3.0).await;
        assert!(names.asked_by_tcp() > 0);
    });
}

#[test]
fn backends_join_and_leave_under_load_without_a_lost_request_and_shares_are_even_again() {
    let pause = Duration::from_millis(1);
    RUNTIME.block_on(async {
        let Loaded { port, mut backends, names, door, load } = Loaded::start(pause).await;
        let even = shares(&load, &backends, 2000).await;
        assert!(is_even(&even), "{even:?}");

        // Four join.
        for n in 5..=8 {
            backends.push(start(Kind::Grpc, at(n, port), pause).await);
        }
        names.set(&hosts(1..=8));
        two_resolutions(&names).await;
        let even = shares(&load, &backends, 2000).await;
        println!("after joining: {even:?}");
        assert!(is_even(&even), "{even:?}");

        // Two leave the name and then end; two end first and leave the name later.
        names.set(&hosts(1..=6));
        two_resolutions(&names).await;
        for backend in backends.split_off(6) {
            backend.end().await;
        }
        for backend in backends.split_off(4) {
            backend.end().await;
        }
        load.more(500).await;
        names.set(&hosts(1..=4));
        two_resolutions(&names).await;
        let even = shares(&load, &backends, 2000).await;
        println!("after leaving: {even:?}");
        assert!(is_even(&even), "{even:?}");
        assert_eq!(door.metric(LIVE), 4.0);

        // An address that is only announced gets nothing and harms nobody.
        names.set(&hosts(1..=5));
        two_resolutions(&names).await;
        let even = shares(&load, &backends, 2000).await;
        assert!(is_even(&even), "{even:?}");
        let (sent, failed, lost) = load.end().await;
        println!("{sent} requests, {failed} and {lost} failed");
        assert_eq!((failed, lost), (0, 0), "nobody was cut off, so even what may not be sent twice was answered");
    });
}

#[test]
fn a_backend_that_is_cut_off_costs_no_request_that_may_be_sent_twice_and_is_back_when_it_is() {
    let pause = Duration::from_millis(1);
    RUNTIME.block_on(async {
        let Loaded { port, mut backends, names: _names, door, load } = Loaded::start(pause).await;
        for _ in 0..3 {
            load.more(500).await;
            drop(backends.pop());
            until("its ejection", || door.metric(LIVE) == 3.0).await;
            let even = shares(&load, &backends, 1000).await;
            assert!(is_even(&even), "{even:?}");
            backends.push(start(Kind::Grpc, at(4, port), pause).await);
            until("its return", || door.metric(LIVE) == 4.0).await;
            let even = shares(&load, &backends, 1000).await;
            assert!(is_even(&even), "{even:?}");
        }
        let (sent, failed, lost) = load.end().await;
        println!("{sent} requests, {failed} failed that may be sent twice, {lost} that may not");
        assert_eq!(failed, 0);
        // At most what was under way at each of the three cuts, of the four clients that send such.
        assert!(lost <= 12, "{lost}");
        assert!(door.metric(r#"watershed_gateway_ejections_total{component="distributor"}"#) >= 3.0);
    });
}
