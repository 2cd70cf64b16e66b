//! TLS on real sockets.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Fixture;
use super::fixture::{Running, read_all};
use crate::net::{Secret, SecretSource, TlsVersion};
use crate::web::{ClientAuth, ListenerConfig, Named, TlsServer, TlsServerConfig, cipher_suite};

/// An authority, and what it has signed.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, PEM.
#[derive(Clone)]
struct Identity {
    cert: String,
    key: String,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Authority(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn sign(&self, name: &str) -> Identity {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.subject_alt_names.push(SanType::IpAddress(IpAddr::from([127, 0, 0, 1])));
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.0).expect("a certificate");
        Identity { cert: cert.pem(), key: key.serialize_pem() }
    }
}

fn inline(text: &str) -> SecretSource {
    SecretSource::Inline(Secret::new(text))
}

fn settings(identity: &Identity) -> TlsServerConfig {
    TlsServerConfig {
        cert: inline(&identity.cert),
        key: inline(&identity.key),
        client_auth: ClientAuth::None,
        client_ca: None,
        client_allowed_sans: None,
        min_version: TlsVersion::Tls12,
        max_version: TlsVersion::Tls13,
        cipher_suites: Vec::new(),
        curves: Vec::new(),
        prefer_server_cipher_suites: true,
        http2: true,
    }
}

fn rules(settings: &TlsServerConfig) -> ListenerConfig {
    let tls = TlsServer::build(settings).expect("settings that fit together");
    ListenerConfig { tls: Some(tls), ..ListenerConfig::default() }
}

async fn serve(settings: &TlsServerConfig) -> Running {
    let mut fixture = Fixture::new();
    fixture.config.header_timeout = Duration::from_millis(400);
    fixture.deps.security.apply(rules(settings)).expect("applied");
    fixture.serve().await
}

/// What a client is like.
#[derive(Default)]
struct Client<'a> {
    identity: Option<&'a Identity>,
    alpn: &'a [&'a str],
    versions: Option<&'static rustls::SupportedProtocolVersion>,
}

impl Client<'_> {
    async fn connect(&self, server: &Running, authority: &Authority) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(authority.0.der().clone()).expect("an authority");
        let versions = self.versions.map_or_else(|| rustls::ALL_VERSIONS.to_vec(), |version| vec![version]);
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&versions)
            .expect("versions")
            .with_root_certificates(roots);
        let mut config = match self.identity {
            None => builder.with_no_client_auth(),
            Some(Identity { cert, key }) => {
                let cert = CertificateDer::from_pem_slice(cert.as_bytes()).expect("a certificate");
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
                builder.with_client_auth_cert(vec![cert], key).expect("an identity")
            }
        };
        config.alpn_protocols = self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stream = server.connect().await;
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").expect("a name"), stream).await
    }

    /// The answer to one request, or nothing where the server does not speak with this client.
    async fn ask(&self, server: &Running, authority: &Authority) -> String {
        match self.connect(server, authority).await {
            Ok(mut stream) => get(&mut stream, "close").await,
            Err(_) => String::new(),
        }
    }
}

/// One request; the answer until the connection ends, or until its known end.
async fn get(stream: &mut TlsStream<TcpStream>, connection: &str) -> String {
    let head = format!("GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: {connection}\r\n\r\n");
    let mut answer = Vec::new();
    if stream.write_all(head.as_bytes()).await.is_err() {
        return String::new();
    }
    let mut part = [0; 1024];
    while !answer.ends_with(b"Watershed is Healthy.\n") {
        match stream.read(&mut part).await {
            Ok(0) | Err(_) => break,
            Ok(n) => answer.extend_from_slice(&part[..n]),
        }
    }
    String::from_utf8(answer).expect("text")
}

fn served_by(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().expect("a certificate")[0].to_vec()
}

fn der(identity: &Identity) -> Vec<u8> {
    CertificateDer::from_pem_slice(identity.cert.as_bytes()).expect("a certificate").to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_changed_under_load_without_a_dropped_connection() {
    const CLIENTS: usize = 8;
    let authority = Arc::new(Authority::new());
    let (old, new) = (authority.sign("localhost"), authority.sign("localhost"));
    let server = Arc::new(serve(&settings(&old)).await);
    let mut lasting = Client::default().connect(&server, &authority).await.expect("a handshake");
    assert_eq!(served_by(&lasting), der(&old));

    let stop = Arc::new(AtomicBool::new(false));
    let (with_old, with_new) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (authority, server, stop) = (authority.clone(), server.clone(), stop.clone());
            let (with_old, with_new, old, new) = (with_old.clone(), with_new.clone(), der(&old), der(&new));
            let work = async move {
                while !stop.load(Ordering::Acquire) {
                    let mut stream =
                        Client::default().connect(&server, &authority).await.expect("every handshake succeeds");
                    let served = served_by(&stream);
                    let count = if served == new { &with_new } else { &with_old };
                    assert!(served == old || served == new);
                    assert!(get(&mut stream, "keep-alive").await.starts_with("HTTP/1.1 200 OK\r\n"));
                    assert!(get(&mut stream, "close").await.starts_with("HTTP/1.1 200 OK\r\n"));
                    count.fetch_add(1, Ordering::AcqRel);
                }
            };
            #[expect(clippy::disallowed_methods, reason = "the test itself waits for its clients")]
            tokio::spawn(work)
        })
        .collect();
    let wait_for = async |count: &AtomicUsize, n: usize| {
        while count.load(Ordering::Acquire) < n {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    wait_for(&with_old, 2 * CLIENTS).await;
    server.deps.security.apply(rules(&settings(&new))).expect("applied");
    wait_for(&with_new, 2 * CLIENTS).await;
    stop.store(true, Ordering::Release);
    for client in clients {
        client.await.expect("no client was dropped");
    }
    let newest = Client::default().connect(&server, &authority).await.expect("a handshake");
    assert_eq!(served_by(&newest), der(&new));
    assert!(get(&mut lasting, "close").await.starts_with("HTTP/1.1 200 OK\r\n"), "an open connection goes on");
}

#[tokio::test]
async fn clients_are_asked_for_certificates_as_configured() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server_identity = authority.sign("localhost");
    let (known, unknown) = (authority.sign("client.example"), stranger.sign("client.example"));
    // Without a certificate, with one of a stranger, with one of the known authority.
    let clients = [None, Some(&unknown), Some(&known)];
    for (client_auth, names, served) in [
        (ClientAuth::None, None, [true, true, true]),
        (ClientAuth::Request, None, [true, true, true]),
        (ClientAuth::RequireAny, None, [false, true, true]),
        (ClientAuth::VerifyIfGiven, None, [true, false, true]),
        (ClientAuth::RequireAndVerify, None, [false, false, true]),
        (ClientAuth::RequireAndVerify, Some(vec!["other.example", "client.example"]), [false, false, true]),
        (ClientAuth::RequireAndVerify, Some(vec!["127.0.0.1"]), [false, false, true]),
        (ClientAuth::RequireAndVerify, Some(vec!["client.exampl", "CLIENT.example"]), [false, false, false]),
        (ClientAuth::RequireAndVerify, Some(vec![]), [false, false, false]),
        (ClientAuth::VerifyIfGiven, Some(vec!["client.example"]), [false, false, true]),
        (ClientAuth::RequireAny, Some(vec!["client.example"]), [false, true, true]),
    ] {
        let settings = TlsServerConfig {
            client_auth,
            client_ca: Some(inline(&authority.pem())),
            client_allowed_sans: names.clone().map(|names| names.into_iter().map(str::to_owned).collect()),
            ..settings(&server_identity)
        };
        let server = serve(&settings).await;
        for versions in [&rustls::version::TLS12, &rustls::version::TLS13] {
            for (identity, served) in clients.iter().zip(served) {
                let client = Client { identity: *identity, versions: Some(versions), ..Client::default() };
                let answer = client.ask(&server, &authority).await;
                let whom = format!("{client_auth:?} {names:?} {versions:?} {:?}", identity.map(|i| &i.cert));
                assert_eq!(answer.starts_with("HTTP/1.1 200 OK\r\n"), served, "{whom}: {answer}");
            }
        }
    }
}

#[tokio::test]
async fn a_self_signed_certificate_that_is_listed_is_taken_although_it_calls_itself_an_authority() {
    let authority = Authority::new();
    let own = Identity { cert: authority.pem(), key: authority.0.key().serialize_pem() };
    let settings = TlsServerConfig {
        client_auth: ClientAuth::RequireAndVerify,
        client_ca: Some(inline(&authority.pem())),
        ..settings(&authority.sign("localhost"))
    };
    let server = serve(&settings).await;
    let client = Client { identity: Some(&own), ..Client::default() };
    assert!(client.ask(&server, &authority).await.starts_with("HTTP/1.1 200 OK\r\n"));
    let other = Authority::new();
    let stranger = Identity { cert: other.pem(), key: other.0.key().serialize_pem() };
    let client = Client { identity: Some(&stranger), ..Client::default() };
    assert_eq!(client.ask(&server, &authority).await, "");
}

#[tokio::test]
async fn http_2_is_offered_as_configured() {
    let authority = Authority::new();
    let identity = authority.sign("localhost");
    for (http2, asked, chosen) in [
        (true, vec!["h2", "http/1.1"], Some("h2")),
        (true, vec!["http/1.1"], Some("http/1.1")),
        (true, vec![], None),
        (false, vec!["h2", "http/1.1"], Some("http/1.1")),
    ] {
        let server = serve(&TlsServerConfig { http2, ..settings(&identity) }).await;
        let client = Client { alpn: &asked, ..Client::default() };
        let mut stream = client.connect(&server, &authority).await.expect("a handshake");
        assert_eq!(stream.get_ref().1.alpn_protocol(), chosen.map(str::as_bytes));
        if chosen == Some("h2") {
            stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("open");
            let mut head = [0; 9];
            stream.read_exact(&mut head).await.expect("a frame");
            assert_eq!(head[3], 4, "SETTINGS");
        } else {
            assert!(get(&mut stream, "close").await.starts_with("HTTP/1.1 200 OK\r\n"));
        }
    }
}

#[tokio::test]
async fn versions_and_ciphers_are_those_configured() {
    let authority = Authority::new();
    let identity = authority.sign("localhost");
    let (v12, v13) = (&rustls::version::TLS12, &rustls::version::TLS13);
    let only = |min_version, max_version| TlsServerConfig { min_version, max_version, ..settings(&identity) };
    for (settings, serves) in [
        (only(TlsVersion::Tls12, TlsVersion::Tls13), [true, true]),
        (only(TlsVersion::Tls12, TlsVersion::Tls12), [true, false]),
        (only(TlsVersion::Tls13, TlsVersion::Tls13), [false, true]),
    ] {
        let server = serve(&settings).await;
        for (version, served) in [v12, v13].into_iter().zip(serves) {
            let client = Client { versions: Some(version), ..Client::default() };
            let answer = client.ask(&server, &authority).await;
            assert_eq!(answer.starts_with("HTTP/1.1 200 OK\r\n"), served, "{version:?}");
        }
    }
    let Named::Here(suite) = cipher_suite("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384") else { panic!("a known suite") };
    let server = serve(&TlsServerConfig { cipher_suites: vec![suite], ..settings(&identity) }).await;
    for (version, same) in [(v12, true), (v13, false)] {
        let client = Client { versions: Some(version), ..Client::default() };
        let stream = client.connect(&server, &authority).await.expect("a handshake");
        let chosen = stream.get_ref().1.negotiated_cipher_suite().expect("a suite");
        assert_eq!(chosen == suite, same, "those of TLS 1.3 are always there: {chosen:?}");
    }
}

#[tokio::test]
async fn http_on_a_port_for_https_is_answered_400_in_clear() {
    let authority = Authority::new();
    let server = serve(&settings(&authority.sign("localhost"))).await;
    let answer = server.get("/-/healthy").await;
    assert_eq!(answer, "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n");
    let long = format!("POST / HTTP/1.1\r\n\r\n{}", "x".repeat(32 << 10));
    assert!(server.exchange(long).await.starts_with("HTTP/1.0 400 Bad Request\r\n"));
    // The server counts when it has closed, which is after the client has its answer.
    while server.metric("watershed_http_tls_handshakes_failed_total{reason=\"not_encrypted\"}") != 2.0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(Client::default().ask(&server, &authority).await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn handshakes_that_say_nothing_or_trickle_are_cut() {
    let authority = Authority::new();
    let server = serve(&settings(&authority.sign("localhost"))).await;
    // Nothing; the start of a record; a record's head that promises more than comes.
    for start in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01"] {
        let mut stream = server.connect().await;
        stream.write_all(start).await.expect("open");
        assert_eq!(read_all(&mut stream).await, "", "{start:?}");
    }
    let mut trickling = server.connect().await;
    trickling.write_all(b"\x16\x03\x01\x02\x00").await.expect("open");
    let mut sent = 0;
    while trickling.write_all(b"\x01").await.is_ok() && sent < 90 {
        sent += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(sent < 90, "the handshake was never cut");
    assert_eq!(server.metric("watershed_http_tls_handshakes_failed_total{reason=\"timeout\"}"), 4.0);
    // An encrypted connection that says nothing has the time of a head, counted from the handshake's end.
    let mut silent = Client::default().connect(&server, &authority).await.expect("a handshake");
    let mut rest = Vec::new();
    drop(silent.read_to_end(&mut rest).await);
    assert!(rest.is_empty());
    assert_eq!(server.metric("watershed_http_connections_cut_total{reason=\"silent\"}"), 1.0);
}

#[test]
fn what_does_not_fit_together_is_refused_with_the_key_at_fault() {
    let authority = Authority::new();
    let (one, other) = (authority.sign("localhost"), authority.sign("localhost"));
    let good = settings(&one);
    let fault = |settings: TlsServerConfig| {
        let fault = TlsServer::build(&settings).expect_err("a fault");
        assert!(!fault.why.contains("PRIVATE"), "{fault}");
        (fault.key, fault.why)
    };
    let with_ca = |text: &str| TlsServerConfig {
        client_auth: ClientAuth::RequireAndVerify,
        client_ca: Some(inline(text)),
        ..good.clone()
    };
    for (settings, key, why) in [
        (TlsServerConfig { key: inline(&other.key), ..good.clone() }, "key", "does not match"),
        (TlsServerConfig { key: inline("x"), ..good.clone() }, "key", "no private key"),
        (TlsServerConfig { cert: inline(&one.key), ..good.clone() }, "cert", "no certificate"),
        (TlsServerConfig { cert: SecretSource::File("/nowhere/c".into()), ..good.clone() }, "cert", "/nowhere/c"),
        (TlsServerConfig { key: SecretSource::File("/dev/zero".into()), ..good.clone() }, "key", "larger than"),
        (with_ca(""), "client_ca", "no certificate"),
        (with_ca(&one.key), "client_ca", "no certificate"),
    ] {
        let (at, told) = fault(settings);
        assert!(at == key && told.contains(why), "{at}: {told}; expected {key}: {why}");
    }
}
