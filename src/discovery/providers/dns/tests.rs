//! DNS discovery against a name server of our own.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig};
use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::Record;
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, MX, NS, SRV};
use parking_lot::Mutex;
use tokio::net::UdpSocket;

use super::*;
use crate::model::DurationMs;
use crate::runtime::Tasks;
use crate::telemetry::Registry;

/// What the server answers: a code and records for each name; unknown names do not exist.
type Zone = Arc<Mutex<HashMap<String, (ResponseCode, Vec<RData>)>>>;

struct Server {
    zone: Zone,
    asked: Arc<Mutex<Vec<String>>>,
    port: u16,
}

impl Server {
    async fn start(tasks: &Tasks) -> Server {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let port = socket.local_addr().expect("an address").port();
        let server = Server { zone: Zone::default(), asked: Arc::default(), port };
        let (zone, asked, stop) = (server.zone.clone(), server.asked.clone(), tasks.stopping());
        tasks.spawn("name server", async move {
            let mut buffer = [0; 1500];
            loop {
                let received =
                    tokio::select! { r = socket.recv_from(&mut buffer) => r, () = stop.cancelled() => return };
                let Ok((len, from)) = received else { continue };
                let Ok(request) = Message::from_vec(&buffer[..len]) else { continue };
                let query = request.queries[0].clone();
                let name = query.name().to_ascii().to_lowercase();
                asked.lock().push(name.clone());
                let (code, records) = zone.lock().get(&name).cloned().unwrap_or((ResponseCode::NXDomain, vec![]));
                let mut response = Message::response(request.metadata.id, request.metadata.op_code);
                response.metadata.message_type = MessageType::Response;
                response.metadata.response_code = code;
                response.metadata.recursion_desired = true;
                response.metadata.recursion_available = true;
                response.add_query(query.clone());
                for data in records {
                    // A long time to live: only a client without a cache sees the next change.
                    response.add_answer(Record::from_rdata(query.name().clone(), 86400, data));
                }
                let _ = socket.send_to(&response.to_vec().expect("a message"), from).await;
            }
        });
        server
    }

    fn settings(&self) -> Settings {
        let mut udp = ConnectionConfig::udp();
        udp.port = self.port;
        let server = NameServerConfig::new(Ipv4Addr::LOCALHOST.into(), true, vec![udp]);
        let search = vec![name("first.test."), name("second.test.")];
        let mut options = ResolverOpts::default();
        options.timeout = Duration::from_millis(500);
        options.attempts = 1;
        Ok((ResolverConfig::from_parts(None, search, vec![server]), options))
    }

    fn set(&self, name: &str, code: ResponseCode, records: Vec<RData>) {
        self.zone.lock().insert(name.to_owned(), (code, records));
    }

    async fn ask(&self, kind: DnsRecordType, name: &str) -> Result<Vec<String>, String> {
        let group = ask(&config(kind, name), name, self.settings()).await?;
        assert_eq!(group.source, name);
        Ok(group.targets.iter().map(ToString::to_string).collect())
    }
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).expect("a name")
}

fn config(record_type: DnsRecordType, name: &str) -> DnsSdConfig {
    let port = (record_type != DnsRecordType::Srv).then_some(9100);
    DnsSdConfig { names: vec![name.to_owned()], refresh_interval: DurationMs(100), record_type, port }
}

#[tokio::test]
async fn every_record_type_has_its_address_and_labels() {
    let tasks = Tasks::new();
    let server = Server::start(&tasks).await;
    let ok = ResponseCode::NoError;
    server.set("s.test.", ok, vec![RData::SRV(SRV::new(1, 2, 8080, name("Host.test.")))]);
    server.set("m.test.", ok, vec![RData::MX(MX::new(1, name("mail.test.")))]);
    server.set("n.test.", ok, vec![RData::NS(NS(name("ns.test.")))]);
    server.set("b.test.", ok, vec![RData::AAAA(AAAA("fd00::1".parse().expect("an address")))]);
    let two = [A::new(10, 0, 0, 2), A::new(10, 0, 0, 1)].map(RData::A).to_vec();
    server.set("a.test.", ok, two);
    for (kind, asked, expected) in [
        (
            DnsRecordType::Srv,
            "s.test.",
            vec![
                r#"{__address__="Host.test:8080", __meta_dns_name="s.test.", __meta_dns_srv_record_port="8080", __meta_dns_srv_record_target="Host.test."}"#,
            ],
        ),
        (
            DnsRecordType::Mx,
            "m.test.",
            vec![
                r#"{__address__="mail.test:9100", __meta_dns_mx_record_target="mail.test.", __meta_dns_name="m.test."}"#,
            ],
        ),
        (
            DnsRecordType::Ns,
            "n.test.",
            vec![r#"{__address__="ns.test:9100", __meta_dns_name="n.test.", __meta_dns_ns_record_target="ns.test."}"#],
        ),
        (DnsRecordType::Aaaa, "b.test.", vec![r#"{__address__="[fd00::1]:9100", __meta_dns_name="b.test."}"#]),
        (
            DnsRecordType::A,
            "a.test.",
            vec![
                r#"{__address__="10.0.0.1:9100", __meta_dns_name="a.test."}"#,
                r#"{__address__="10.0.0.2:9100", __meta_dns_name="a.test."}"#,
            ],
        ),
    ] {
        let found = server.ask(kind, asked).await.expect("an answer");
        assert_eq!(found, expected, "{kind:?}");
    }
    tasks.stop();
}

#[tokio::test]
async fn the_first_existing_name_of_the_search_list_decides() {
    let tasks = Tasks::new();
    let server = Server::start(&tasks).await;
    let a = |last| vec![RData::A(A::new(10, 0, 0, last))];
    server.set("x.second.test.", ResponseCode::NoError, a(2));
    server.set("x.", ResponseCode::NoError, a(3));
    assert_eq!(server.ask(DnsRecordType::A, "x").await.map(|t| t.len()), Ok(1));
    assert_eq!(*server.asked.lock(), ["x.first.test.", "x.second.test."]);
    // A name that exists without such records ends the search too.
    server.set("x.first.test.", ResponseCode::NoError, vec![]);
    assert_eq!(server.ask(DnsRecordType::A, "x").await, Ok(vec![]));
    // A failure is not the same as absence.
    server.zone.lock().clear();
    assert_eq!(server.ask(DnsRecordType::A, "x").await, Ok(vec![]));
    server.set("x.first.test.", ResponseCode::ServFail, vec![]);
    server.ask(DnsRecordType::A, "x").await.expect_err("one domain could not be asked");
    tasks.stop();
}

#[test]
fn names_with_enough_dots_are_tried_as_they_are_first() {
    let search = [name("s.test.")];
    let list = |text: &str| -> Vec<String> {
        candidates(text, &search, None, 1).expect("names").iter().map(Name::to_ascii).collect()
    };
    assert_eq!(list("x.y"), ["x.y.", "x.y.s.test."]);
    assert_eq!(list("x"), ["x.s.test.", "x."]);
    assert_eq!(list("x."), ["x."]);
    assert_eq!(list("_p._tcp.x"), ["_p._tcp.x.", "_p._tcp.x.s.test."]);
    candidates("a..b", &search, None, 1).expect_err("an empty label");
}

#[tokio::test]
async fn aliases_on_the_way_are_no_targets() {
    let tasks = Tasks::new();
    let server = Server::start(&tasks).await;
    let records = vec![RData::CNAME(CNAME(name("real.test."))), RData::A(A::new(10, 0, 0, 1))];
    server.set("alias.test.", ResponseCode::NoError, records);
    server.set("real.test.", ResponseCode::NoError, vec![RData::A(A::new(10, 0, 0, 1))]);
    assert_eq!(
        server.ask(DnsRecordType::A, "alias.test.").await,
        Ok(vec![r#"{__address__="10.0.0.1:9100", __meta_dns_name="alias.test."}"#.to_owned()])
    );
    tasks.stop();
}

#[tokio::test]
async fn changes_are_seen_despite_a_long_time_to_live_empty_answers_remove_and_errors_keep() {
    let (tasks, registry) = (Tasks::new(), Registry::new());
    let server = Arc::new(Server::start(&tasks).await);
    let a = |last| vec![RData::A(A::new(10, 0, 0, last))];
    server.set("x.test.", ResponseCode::NoError, a(1));
    let (context, published) = Context::test(&tasks, &registry);
    let failures = context.failures.clone();
    let settings = server.clone();
    tasks.spawn("dns", run_with(config(DnsRecordType::A, "x.test."), context, move || settings.settings()));
    let first = || published().first().and_then(|g| g.targets.first().cloned()).map(|t| t.to_string());
    let shows = |text: &'static str| first().is_some_and(|f| f.contains(text));
    let pause = || tokio::time::sleep(Duration::from_millis(5));
    while !shows("10.0.0.1:9100") {
        pause().await;
    }
    server.set("x.test.", ResponseCode::NoError, a(2));
    while !shows("10.0.0.2:9100") {
        pause().await;
    }
    server.set("x.test.", ResponseCode::ServFail, vec![]);
    let before = failures.get();
    while failures.get() < before + 2 {
        pause().await;
    }
    assert!(shows("10.0.0.2:9100"), "an error keeps the last targets");
    server.set("x.test.", ResponseCode::NoError, vec![]);
    while first().is_some() {
        pause().await;
    }
    assert!(tasks.shutdown(Duration::from_secs(10)).await);
}
