//! The client against servers that behave, and servers that do not.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use url::Url;

use super::*;
use crate::runtime::Tasks;

type Heads = Arc<Mutex<Vec<String>>>;

/// A server on loopback; it stops when it is dropped.
struct Server {
    port: u16,
    /// The head of every request so far.
    heads: Heads,
    tasks: Tasks,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

impl Server {
    fn url(&self, path: &str) -> Url {
        Url::parse(&format!("http://127.0.0.1:{}{path}", self.port)).expect("a valid URL")
    }

    fn https(&self, host: &str) -> Url {
        Url::parse(&format!("https://{host}:{}/", self.port)).expect("a valid URL")
    }

    fn last_head(&self) -> String {
        self.heads.lock().last().cloned().unwrap_or_default()
    }
}

/// How a server answers a request's head: these pieces with pauses between them, then the connection ends unless the
/// answer is complete by itself.
struct Answer {
    pieces: Vec<Vec<u8>>,
    pause: Duration,
    keep_alive: bool,
}

fn answer(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Answer {
    let body = body.as_ref();
    let mut bytes = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    Answer { pieces: vec![bytes], pause: Duration::ZERO, keep_alive: true }
}

fn raw(bytes: impl AsRef<[u8]>) -> Answer {
    Answer { pieces: vec![bytes.as_ref().to_vec()], pause: Duration::ZERO, keep_alive: false }
}

async fn serve(respond: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Server {
    start(None, respond).await
}

async fn start(tls: Option<TlsAcceptor>, respond: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let (heads, tasks) = (Heads::default(), Tasks::new());
    let (respond, seen, stop, group) = (Arc::new(respond), heads.clone(), tasks.stopping(), tasks.clone());
    tasks.spawn("test server", async move {
        loop {
            let accepted = tokio::select! { a = listener.accept() => a, () = stop.cancelled() => return };
            let Ok((stream, _)) = accepted else { continue };
            let (tls, respond, seen, stop) = (tls.clone(), respond.clone(), seen.clone(), stop.clone());
            group.spawn("test connection", async move {
                let talk = async {
                    match tls {
                        None => converse(stream, &*respond, &seen).await,
                        // Clients that refuse us are part of the tests.
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                let sni = stream.get_ref().1.server_name().unwrap_or("none").to_owned();
                                seen.lock().push(format!("sni {sni}"));
                                converse(stream, &*respond, &seen).await;
                            }
                        }
                    }
                };
                tokio::select! { () = talk => {}, () = stop.cancelled() => {} }
            });
        }
    });
    Server { port, heads, tasks }
}

async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, respond: &impl Fn(&str) -> Answer, seen: &Heads) {
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break end + 4;
            }
            match stream.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        };
        let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
        buffer.drain(..end);
        seen.lock().push(head.clone());
        let answer = respond(&head);
        for piece in &answer.pieces {
            if stream.write_all(piece).await.is_err() || stream.flush().await.is_err() {
                return;
            }
            tokio::time::sleep(answer.pause).await;
        }
        if !answer.keep_alive {
            let _ = stream.shutdown().await;
            return;
        }
    }
}

fn client(config: HttpClientConfig) -> Client {
    Client::new(&config, "test").expect("a usable configuration")
}

async fn get(client: &Client, url: Url) -> Result<String, String> {
    let response = client.send(Request::get(url).timeout(Duration::from_secs(20))).await.map_err(|e| e.to_string())?;
    let response = response.ok().map_err(|e| e.to_string())?;
    let encoding = response.content_encoding().to_owned();
    let mut out = Vec::new();
    read_body(response.body, &encoding, Some(1 << 20), &mut out).await.map_err(|e| e.to_string())?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

fn inline(text: &str) -> SecretSource {
    SecretSource::Inline(Secret::new(text))
}

fn bearer(source: SecretSource) -> HttpClientConfig {
    HttpClientConfig {
        auth: Auth::Authorization { scheme: "Bearer".into(), credentials: source },
        ..HttpClientConfig::default()
    }
}

#[tokio::test]
async fn an_answer_has_status_headers_and_an_unpacked_body() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(b"up 1\n").expect("memory");
    let packed = encoder.finish().expect("memory");
    let wire = packed.len() as u64;
    let server = serve(move |_| answer("200 OK", "Content-Encoding: gzip\r\nX-A: b\r\n", &packed)).await;
    let response = client(HttpClientConfig::default()).send(Request::get(server.url("/m?a=b"))).await.expect("up");
    assert_eq!(response.headers["x-a"], "b");
    assert_eq!(response.content_encoding(), "gzip");
    let mut out = b"left over".to_vec();
    let info = read_body(response.body, "gzip", None, &mut out).await.expect("a whole body");
    assert_eq!((out.as_slice(), info.wire_bytes), (&b"up 1\n"[..], wire));
    let head = server.last_head().to_lowercase();
    assert!(head.starts_with("get /m?a=b http/1.1") && head.contains("user-agent: watershed/"), "{head}");
}

#[tokio::test]
async fn redirects_are_followed_unless_forbidden() {
    let server = serve(|head| match head.contains("/old") {
        true => answer("302 Found", "Location: /new?x=1\r\n", "moved"),
        false => answer("200 OK", "", "here"),
    })
    .await;
    assert_eq!(get(&client(HttpClientConfig::default()), server.url("/old")).await, Ok("here".into()));
    assert!(server.last_head().starts_with("GET /new?x=1 "), "{}", server.last_head());
    let stays = HttpClientConfig { follow_redirects: false, ..HttpClientConfig::default() };
    let error = get(&client(stays), server.url("/old")).await;
    assert_eq!(error, Err("server returned HTTP status 302 Found".into()));
}

#[tokio::test]
async fn a_redirect_loop_ends_after_ten_and_says_so() {
    let server = serve(|_| answer("301 Moved", "Location: /again?secret=1\r\n", "")).await;
    let error = get(&client(HttpClientConfig::default()), server.url("/")).await.expect_err("it never ends");
    let expected = format!("redirect loop: stopped after 10 redirects, the last one to {}", server.url("/again"));
    assert_eq!(error, expected);
    assert_eq!(server.heads.lock().len(), 11);
    let nowhere = serve(|_| answer("301 Moved", "Location: gopher://x/\r\n", "")).await;
    let error = get(&client(HttpClientConfig::default()), nowhere.url("/")).await;
    assert_eq!(error, Err("unusable redirect to \"gopher://x/\"".into()));
}

#[tokio::test]
async fn credentials_and_configured_headers_stay_with_their_host() {
    let other = serve(|_| answer("200 OK", "", "other")).await;
    let target = format!("Location: http://localhost:{}/\r\n", other.port);
    let same = serve(|_| answer("200 OK", "", "same")).await;
    let sibling = format!("Location: http://127.0.0.1:{}/\r\n", same.port);
    let server = serve(move |head| match head.contains("/far") {
        true => answer("307 Moved", &target, ""),
        false => answer("307 Moved", &sibling, ""),
    })
    .await;
    let config = HttpClientConfig {
        headers: vec![Header { name: "X-Key".into(), values: vec![inline("k1"), inline("k2")] }],
        ..bearer(inline("token"))
    };
    let client = client(config);
    assert_eq!(get(&client, server.url("/far")).await, Ok("other".into()));
    let sent = server.last_head().to_lowercase();
    assert!(sent.contains("authorization: bearer token") && sent.contains("x-key: k1"), "{sent}");
    assert!(sent.contains("x-key: k2"), "{sent}");
    let forwarded = other.last_head().to_lowercase();
    assert!(!forwarded.contains("token") && !forwarded.contains("x-key"), "{forwarded}");
    // Another port of the same host is the same host, as in Go.
    assert_eq!(get(&client, server.url("/near")).await, Ok("same".into()));
    assert!(same.last_head().to_lowercase().contains("authorization: bearer token"));
}

#[tokio::test]
async fn changed_credential_files_count_from_the_next_request() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("password");
    std::fs::write(&file, "first\n").expect("write");
    let server = serve(|_| answer("200 OK", "", "")).await;
    let config = HttpClientConfig {
        auth: Auth::Basic { username: inline("me"), password: Some(SecretSource::File(file.clone())) },
        ..HttpClientConfig::default()
    };
    assert!(!format!("{config:?}").contains("me\""), "{config:?}");
    let client = client(config);
    get(&client, server.url("/")).await.expect("up");
    assert!(server.last_head().contains("Basic bWU6Zmlyc3Q="), "{}", server.last_head());
    std::fs::write(&file, "later\n").expect("write");
    get(&client, server.url("/")).await.expect("up");
    assert!(server.last_head().contains("Basic bWU6bGF0ZXI="), "{}", server.last_head());
    std::fs::remove_file(&file).expect("remove");
    let error = get(&client, server.url("/")).await.expect_err("no password any more");
    assert_eq!(error, format!("cannot use password file {}: No such file or directory", file.display()));
}

#[tokio::test]
async fn a_user_in_the_url_becomes_basic_credentials() {
    let server = serve(|_| answer("200 OK", "", "")).await;
    let url = Url::parse(&format!("http://a%2Bb:c&d@127.0.0.1:{}/", server.port)).expect("a URL");
    get(&client(HttpClientConfig::default()), url).await.expect("up");
    // "a+b:c&d"
    assert!(server.last_head().contains("Basic YStiOmMmZA=="), "{}", server.last_head());
    assert!(!server.last_head().contains('@'));
}

#[tokio::test]
async fn a_peer_that_trickles_is_cut_at_the_timeout_in_its_head_and_in_its_body() {
    let pieces: Vec<Vec<u8>> = std::iter::repeat_n(b"x".to_vec(), 1000).collect();
    let slow = move |first: &str| Answer {
        pieces: [vec![first.as_bytes().to_vec()], pieces.clone()].concat(),
        pause: Duration::from_millis(20),
        keep_alive: false,
    };
    let server = serve(move |head| match head.contains("/head") {
        true => slow("HTTP/1.1 200 OK\r\nX-Slow: "),
        false => slow("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
    })
    .await;
    let client = client(HttpClientConfig::default());
    let timeout = Duration::from_millis(200);
    let error = client.send(Request::get(server.url("/head")).timeout(timeout)).await.map(|_| ());
    assert_eq!(error, Err(ClientError::Timeout { after: timeout }));
    let response = client.send(Request::get(server.url("/body")).timeout(timeout)).await.expect("a head");
    let mut out = Vec::new();
    let error = read_body(response.body, "", None, &mut out).await;
    assert_eq!(error, Err(BodyError::Transfer(ClientError::Timeout { after: timeout })));
    assert_eq!(error.expect_err("above").to_string(), "timed out after 200ms");
}

#[tokio::test]
async fn the_message_of_every_failure_names_its_cause() {
    let client = client(HttpClientConfig::default());
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        listener.local_addr().expect("an address")
    };
    let refused = get(&client, Url::parse(&format!("http://{closed}/")).expect("a URL")).await;
    assert_eq!(refused, Err(format!("connection refused ({closed})")));

    let nobody = get(&client, Url::parse("http://nobody.invalid/").expect("a URL")).await.expect_err("no such name");
    assert!(nobody.starts_with("cannot resolve host nobody.invalid: "), "{nobody}");

    let cut = serve(|_| raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nup 1\n")).await;
    let error = get(&client, cut.url("/")).await.expect_err("a cut body");
    assert!(error.contains("the connection closed before the whole answer had come"), "{error}");
    let cut = serve(|_| raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nup 1\n\r\n")).await;
    let error = get(&client, cut.url("/")).await.expect_err("a cut body");
    assert!(error.starts_with("127.0.0.1:"), "{error}");
    let hangs_up = serve(|_| raw("")).await;
    let error = get(&client, hangs_up.url("/")).await.expect_err("no answer at all");
    assert!(error.contains("closed"), "{error}");

    let garbage = serve(|_| raw([0u8, 159, 146, 150, 13, 10, 13, 10])).await;
    let error = get(&client, garbage.url("/")).await.expect_err("no HTTP");
    assert!(error.starts_with(&format!("127.0.0.1:{}: ", garbage.port)), "{error}");

    let truncated = serve(|_| answer("200 OK", "Content-Encoding: gzip\r\n", [0x1f, 0x8b, 8, 0])).await;
    let error = get(&client, truncated.url("/")).await;
    assert_eq!(error, Err("truncated gzip data: it ended after 4 bytes".into()));
    let broken = serve(|_| answer("200 OK", "Content-Encoding: gzip\r\n", "no gzip")).await;
    let error = get(&client, broken.url("/")).await.expect_err("no gzip");
    assert!(error.starts_with("broken gzip data: "), "{error}");
    let foreign = serve(|_| answer("200 OK", "Content-Encoding: br\r\n", "x")).await;
    assert_eq!(get(&client, foreign.url("/")).await, Err("unknown content encoding \"br\"".into()));

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let banner = async {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        stream.write_all(b"SSH-2.0-test\r\n").await.expect("written");
        // Held open until the client has made up its mind.
        while stream.read(&mut [0; 1024]).await.is_ok_and(|n| n > 0) {}
    };
    let no_tls = Url::parse(&format!("https://127.0.0.1:{port}/")).expect("a URL");
    let (error, ()) = tokio::join!(get(&client, no_tls), banner);
    let error = error.expect_err("no TLS there");
    assert!(error.starts_with(&format!("TLS error with 127.0.0.1:{port}: the server does not speak TLS")), "{error}");
}

#[tokio::test]
async fn a_declared_length_is_not_believed() {
    let server = serve(|_| raw("HTTP/1.1 200 OK\r\nContent-Length: 9000000000000\r\n\r\nup 1\n")).await;
    let client = client(HttpClientConfig::default());
    let response = client.send(Request::get(server.url("/"))).await.expect("a head");
    let mut out = Vec::new();
    read_body(response.body, "", None, &mut out).await.expect_err("the body is cut");
    assert!(out.capacity() <= 1 << 20, "{} bytes were reserved", out.capacity());
}

#[tokio::test]
async fn requests_go_through_the_proxy_except_where_told_otherwise() {
    let proxy = serve(|_| answer("200 OK", "", "by proxy")).await;
    let direct = serve(|_| answer("200 OK", "", "direct")).await;
    let with = |no_proxy: &str| HttpClientConfig {
        proxy: ProxyConfig { url: Some(proxy.url("")), no_proxy: no_proxy.into(), ..ProxyConfig::default() },
        ..HttpClientConfig::default()
    };
    assert_eq!(get(&client(with("")), direct.url("/x")).await, Ok("by proxy".into()));
    assert!(proxy.last_head().starts_with(&format!("GET {} ", direct.url("/x"))), "{}", proxy.last_head());
    let far = Url::parse("http://far.invalid/").expect("a URL");
    assert_eq!(get(&client(with("10.0.0.0/8")), far).await, Ok("by proxy".into()));
    // With a list of exceptions loopback is one, as in Go.
    assert_eq!(get(&client(with("10.0.0.0/8")), direct.url("/")).await, Ok("direct".into()));
}

#[tokio::test]
async fn connect_headers_reach_the_proxy_and_only_with_connect() {
    let proxy = serve(|head| match head.starts_with("CONNECT") {
        true => raw("HTTP/1.1 403 Forbidden\r\n\r\n"),
        false => answer("200 OK", "", "plain"),
    })
    .await;
    let config = HttpClientConfig {
        proxy: ProxyConfig {
            url: Some(proxy.url("")),
            connect_headers: vec![Header { name: "X-Pass".into(), values: vec![inline("open")] }],
            ..ProxyConfig::default()
        },
        ..HttpClientConfig::default()
    };
    let client = client(config);
    get(&client, Url::parse("https://far.invalid/").expect("a URL")).await.expect_err("the proxy refuses");
    let head = proxy.last_head().to_lowercase();
    assert!(head.starts_with("connect far.invalid:443 ") && head.contains("x-pass: open"), "{head}");
    assert_eq!(get(&client, Url::parse("http://far.invalid/").expect("a URL")).await, Ok("plain".into()));
    assert!(!proxy.last_head().to_lowercase().contains("x-pass"), "{}", proxy.last_head());
}

#[test]
fn configurations_that_cannot_work_are_refused_with_a_sentence() {
    let tls = |tls: TlsConfig| HttpClientConfig { tls, ..HttpClientConfig::default() };
    let proxy = |proxy: ProxyConfig| HttpClientConfig { proxy, ..HttpClientConfig::default() };
    let socks = Url::parse("socks5://127.0.0.1:1").expect("a URL");
    let cases = [
        (tls(TlsConfig { ca: Some(inline("x")), ..TlsConfig::default() }), "the ca holds no certificate in PEM form"),
        (tls(TlsConfig { cert: Some(inline("x")), ..TlsConfig::default() }), "a client certificate needs its key"),
        (tls(TlsConfig { server_name: Some("a b".into()), ..TlsConfig::default() }), "is not a host name"),
        (
            tls(TlsConfig {
                min_version: Some(TlsVersion::Tls13),
                max_version: Some(TlsVersion::Tls12),
                ..TlsConfig::default()
            }),
            "the lowest TLS version is above the highest one",
        ),
        (proxy(ProxyConfig { url: Some(socks), ..ProxyConfig::default() }), "scheme socks5 is not supported"),
        (
            HttpClientConfig {
                headers: vec![Header { name: "a b".into(), values: vec![] }],
                ..HttpClientConfig::default()
            },
            "is not a header name",
        ),
    ];
    for (config, text) in cases {
        let error = Client::new(&config, "test").expect_err(text).to_string();
        assert!(error.contains(text), "{error}");
    }
}

// ---- TLS ----

struct Authority(CertifiedIssuer<'static, KeyPair>);

struct Leaf {
    cert: String,
    key: String,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        Authority(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn leaf(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("parameters");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.0).expect("a certificate");
        Leaf { cert: cert.pem(), key: key.serialize_pem() }
    }
}

async fn serve_tls(leaf: &Leaf, client_ca: Option<&Authority>) -> Server {
    serve_tls_versions(leaf, client_ca, rustls::ALL_VERSIONS).await
}

async fn serve_tls_versions(
    leaf: &Leaf,
    client_ca: Option<&Authority>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Server {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .expect("versions");
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(ca.pem().as_bytes()).expect("PEM")).expect("a root");
            let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        }
    };
    let chain = vec![CertificateDer::from_pem_slice(leaf.cert.as_bytes()).expect("PEM")];
    let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).expect("PEM");
    let config = builder.with_single_cert(chain, key).expect("a certificate with its key");
    start(Some(TlsAcceptor::from(Arc::new(config))), |_| answer("200 OK", "", "secret")).await
}

fn trusting(ca: &Authority) -> TlsConfig {
    TlsConfig { ca: Some(inline(&ca.pem())), ..TlsConfig::default() }
}

fn tls_client(tls: TlsConfig) -> Client {
    client(HttpClientConfig { tls, ..HttpClientConfig::default() })
}

#[tokio::test]
async fn a_certificate_must_be_signed_by_the_configured_authority_for_the_host_and_now() {
    let (ca, foreign) = (Authority::new("ours"), Authority::new("theirs"));
    let server = serve_tls(&ca.leaf(&["127.0.0.1"], |_| {}), None).await;
    let peer = format!("127.0.0.1:{}", server.port);
    let ok = tls_client(trusting(&ca));
    assert_eq!(get(&ok, server.https("127.0.0.1")).await, Ok("secret".into()));

    let error = get(&tls_client(trusting(&foreign)), server.https("127.0.0.1")).await;
    let expected = format!("TLS error with {peer}: the server's certificate is signed by an unknown authority");
    assert_eq!(error, Err(expected.clone()));
    assert_eq!(get(&tls_client(TlsConfig::default()), server.https("127.0.0.1")).await, Err(expected));
    let any = tls_client(TlsConfig { insecure_skip_verify: true, ..TlsConfig::default() });
    assert_eq!(get(&any, server.https("127.0.0.1")).await, Ok("secret".into()));

    let error = get(&ok, server.https("localhost")).await.expect_err("another name");
    assert!(error.ends_with("the server's certificate is not valid for localhost, only for 127.0.0.1"), "{error}");

    let old = ca.leaf(&["127.0.0.1"], |p| {
        p.not_before = rcgen::date_time_ymd(2001, 1, 1);
        p.not_after = rcgen::date_time_ymd(2002, 3, 4);
    });
    let server = serve_tls(&old, None).await;
    let error = get(&ok, server.https("127.0.0.1")).await.expect_err("expired");
    assert!(error.ends_with("the server's certificate expired at 2002-03-04T00:00:00Z"), "{error}");
}

#[tokio::test]
async fn a_self_signed_authority_as_server_certificate_is_trusted_when_it_is_the_ca_file_itself() {
    let key = KeyPair::generate().expect("a key");
    let make = |valid_until: i32| {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_after = rcgen::date_time_ymd(valid_until, 1, 1);
        Leaf { cert: params.self_signed(&key).expect("a certificate").pem(), key: key.serialize_pem() }
    };
    let leaf = make(4000);
    let trusts = |cert: &str| tls_client(TlsConfig { ca: Some(inline(cert)), ..TlsConfig::default() });
    let server = serve_tls(&leaf, None).await;
    assert_eq!(get(&trusts(&leaf.cert), server.https("127.0.0.1")).await, Ok("secret".into()));
    let error = get(&trusts(&leaf.cert), server.https("localhost")).await.expect_err("another name");
    assert!(error.contains("not valid for localhost"), "{error}");
    let other = Authority::new("other");
    get(&trusts(&other.pem()), server.https("127.0.0.1")).await.expect_err("not the same certificate");
    let old = make(2001);
    let server = serve_tls(&old, None).await;
    let error = get(&trusts(&old.cert), server.https("127.0.0.1")).await.expect_err("expired");
    assert!(error.contains("expired"), "{error}");
}

#[tokio::test]
async fn an_overriding_server_name_is_sent_and_verified_while_host_and_address_stay() {
    let ca = Authority::new("ours");
    let first = serve_tls(&ca.leaf(&["node.example"], |_| {}), None).await;
    let second = start_named(&ca).await;
    let named = |name: &str| TlsConfig { server_name: Some(name.into()), ..trusting(&ca) };
    let client = tls_client(named("node.example"));
    assert_eq!(get(&client, first.https("127.0.0.1")).await, Ok("secret".into()));
    let heads = first.heads.lock().clone();
    assert_eq!(heads[0], "sni node.example");
    assert!(heads[1].to_lowercase().contains(&format!("host: 127.0.0.1:{}", first.port)), "{heads:?}");
    // The same name for another target must not reuse the first one's connection.
    assert_eq!(get(&client, second.https("localhost")).await, Ok("second".into()));
    assert_eq!(get(&client, first.https("127.0.0.1")).await, Ok("secret".into()));
    let error = get(&tls_client(named("other.example")), first.https("127.0.0.1")).await.expect_err("another name");
    assert!(error.contains("not valid for other.example, only for node.example"), "{error}");
    // An address as name is verified but cannot be sent.
    let by_ip = serve_tls(&ca.leaf(&["10.9.8.7"], |_| {}), None).await;
    assert_eq!(get(&tls_client(named("10.9.8.7")), by_ip.https("localhost")).await, Ok("secret".into()));
    assert_eq!(by_ip.heads.lock()[0], "sni none");
}

async fn start_named(ca: &Authority) -> Server {
    let config = server_config(&ca.leaf(&["node.example"], |_| {}));
    start(Some(TlsAcceptor::from(Arc::new(config))), |_| answer("200 OK", "", "second")).await
}

fn server_config(leaf: &Leaf) -> rustls::ServerConfig {
    rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(leaf.cert.as_bytes()).expect("PEM")],
            PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).expect("PEM"),
        )
        .expect("a certificate with its key")
}

/// A server that speaks whichever version is agreed on and answers with its name and the host that was asked for.
async fn serve_both_versions(leaf: &Leaf) -> Server {
    let mut config = server_config(leaf);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let tasks = Tasks::new();
    let (stop, group) = (tasks.stopping(), tasks.clone());
    let respond = hyper::service::service_fn(async |request: hyper::Request<hyper::body::Incoming>| {
        let host = request.headers().get("host").map_or("none", |h| h.to_str().expect("text"));
        Ok::<_, std::convert::Infallible>(hyper::Response::new(format!("{:?} {host}", request.version())))
    });
    tasks.spawn("test server", async move {
        loop {
            let accepted = tokio::select! { a = listener.accept() => a, () = stop.cancelled() => return };
            let Ok((stream, _)) = accepted else { continue };
            let (acceptor, stop) = (acceptor.clone(), stop.clone());
            group.spawn("test connection", async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let server = hyper_util::server::conn::auto::Builder::new(hyper_util::rt::TokioExecutor::new());
                let serving = server.serve_connection(hyper_util::rt::TokioIo::new(stream), respond);
                tokio::select! { _ = serving => {}, () = stop.cancelled() => {} }
            });
        }
    });
    Server { port, heads: Heads::default(), tasks }
}

#[tokio::test]
async fn http2_is_spoken_where_both_sides_may() {
    let ca = Authority::new("ours");
    let server = serve_both_versions(&ca.leaf(&["127.0.0.1", "node.example"], |_| {})).await;
    let url = server.https("127.0.0.1");
    assert_eq!(get(&tls_client(trusting(&ca)), url.clone()).await, Ok("HTTP/2.0 none".into()));
    let old = HttpClientConfig { enable_http2: false, tls: trusting(&ca), ..HttpClientConfig::default() };
    let host = format!("127.0.0.1:{}", server.port);
    assert_eq!(get(&client(old), url.clone()).await, Ok(format!("HTTP/1.1 {host}")));
    // An overriding name takes the host's place in HTTP/2, so HTTP/1.1 is spoken with it.
    let named = TlsConfig { server_name: Some("node.example".into()), ..trusting(&ca) };
    assert_eq!(get(&tls_client(named), url).await, Ok(format!("HTTP/1.1 {host}")));
}

#[tokio::test]
async fn client_certificates_and_versions_are_used() {
    let ca = Authority::new("ours");
    let server = serve_tls(&ca.leaf(&["127.0.0.1"], |_| {}), Some(&ca)).await;
    let mine = ca.leaf(&["me"], |_| {});
    let with = TlsConfig { cert: Some(inline(&mine.cert)), key: Some(inline(&mine.key)), ..trusting(&ca) };
    assert_eq!(get(&tls_client(with.clone()), server.https("127.0.0.1")).await, Ok("secret".into()));
    let error = get(&tls_client(trusting(&ca)), server.https("127.0.0.1")).await.expect_err("no certificate");
    assert!(error.contains("refused the connection with the alert"), "{error}");

    let old = serve_tls_versions(&ca.leaf(&["127.0.0.1"], |_| {}), None, &[&rustls::version::TLS12]).await;
    assert_eq!(get(&tls_client(trusting(&ca)), old.https("127.0.0.1")).await, Ok("secret".into()));
    let new_only = TlsConfig { min_version: Some(TlsVersion::Tls13), ..trusting(&ca) };
    let error = get(&tls_client(new_only), old.https("127.0.0.1")).await.expect_err("no common version");
    assert!(error.starts_with("TLS error with"), "{error}");
}

#[tokio::test]
async fn a_changed_ca_file_is_used_and_a_broken_one_is_not() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("ca.pem");
    let write = |path: &Path, text: &str| std::fs::write(path, text).expect("write");
    let (ca, foreign) = (Authority::new("ours"), Authority::new("theirs"));
    let server = serve_tls(&ca.leaf(&["127.0.0.1"], |_| {}), None).await;
    let client = tls_client(TlsConfig { ca: Some(SecretSource::File(file.clone())), ..TlsConfig::default() });
    let url = server.https("127.0.0.1");
    let error = get(&client, url.clone()).await.expect_err("there is no file");
    assert!(error.starts_with("cannot use ca file"), "{error}");
    write(&file, &foreign.pem());
    get(&client, url.clone()).await.expect_err("the wrong authority");
    write(&file, &ca.pem());
    assert_eq!(get(&client, url.clone()).await, Ok("secret".into()));
    write(&file, "broken");
    assert_eq!(get(&client, url.clone()).await, Ok("secret".into()));
    std::fs::remove_file(&file).expect("remove");
    assert_eq!(get(&client, url.clone()).await, Ok("secret".into()));
    write(&file, &foreign.pem());
    get(&client, url).await.expect_err("the wrong authority again");
}

#[tokio::test]
async fn plain_requests_load_no_tls_state() {
    let server = serve(|_| answer("200 OK", "", "plain")).await;
    let missing = TlsConfig { ca: Some(SecretSource::File("/nonexistent/ca.pem".into())), ..TlsConfig::default() };
    assert_eq!(get(&tls_client(missing), server.url("/")).await, Ok("plain".into()));
}
