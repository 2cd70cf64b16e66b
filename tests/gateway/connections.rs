//! Connections to backends: how many, and encrypted or not.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use crate::RUNTIME;
use crate::backends::{Kind, Start};
use crate::client::{Client, request};
use crate::door::Door;
use crate::raw::Scripted;
use crate::support::process::Home;

#[test]
fn a_connection_is_used_again_unless_the_backend_shall_not_keep_it() {
    RUNTIME.block_on(async {
        for (keeps, connections) in [(true, 1), (false, 20)] {
            let backend = Scripted::start(|mut line| async move {
                while let Some(head) = line.head().await {
                    line.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
                    if head.contains("connection: close") {
                        return;
                    }
                }
            })
            .await;
            let door = Door::with_file(&format!(
                "target: gateway\ngateway: {{proxy: {{ruler: {{url: '{}', enable_keepalive: {keeps}}}}}}}\n",
                backend.url()
            ));
            for _ in 0..20 {
                let mut client = Client::connect(door.address).await;
                let answer = client.send(request("POST", "/ruler/a", b"")).await.expect("an answer");
                assert_eq!(answer.status.as_u16(), 200);
            }
            let came = backend.came();
            // The one that comes back a moment too late is not waited for.
            assert!(came.len() == connections || (keeps && came.len() <= 3), "{keeps}: {}", came.len());
            assert!(came.iter().all(|line| line.contains("connection: close") != keeps), "{came:?}");
        }
    });
}

/// A backend closes a connection that was kept at the moment when a request comes by it.
#[test]
fn a_kept_connection_that_breaks_costs_no_request_that_may_be_sent_twice() {
    RUNTIME.block_on(async {
        let backend = Scripted::start(|mut line| async move {
            line.head().await;
            line.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            line.head().await;
        })
        .await;
        let door =
            Door::with_file(&format!("target: gateway\ngateway: {{proxy: {{ruler: {{url: '{}'}}}}}}\n", backend.url()));
        let mut client = Client::connect(door.address).await;
        let mut ask = async |method: &str| {
            let answer = client.send(request(method, "/ruler/a", b"x")).await.expect("an answer");
            // So that the connection is there for the next one.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            answer.status.as_u16()
        };
        for _ in 0..4 {
            assert_eq!(ask("PUT").await, 200);
        }
        assert_eq!(ask("POST").await, 502, "it may have counted");
        let connections = backend.came().len();
        assert_eq!(connections, 4, "each was kept, and broke");
    });
}

#[test]
fn another_configuration_is_gone_over_to_without_a_lost_request_and_a_wrong_one_is_not() {
    RUNTIME.block_on(async {
        let (before, after) = (Start::new(Kind::Http).start().await, Start::new(Kind::Http).start().await);
        let config = |ruler: &str| {
            let kept = before.url(Kind::Http);
            format!(
                "target: gateway\ngateway: {{proxy: {{ruler: {{url: '{ruler}'}}, distributor: {{url: '{kept}'}}}}}}\n"
            )
        };
        let door = Door::with_file(&config(&before.url(Kind::Http)));
        let mut client = Client::connect(door.address).await;
        let reload = async |yaml: &str, ok: bool| {
            let gauge = "watershed_config_last_reload_successful";
            door.home.write_config(yaml);
            // The metric of the last outcome tells when this one is there: outcomes alternate here.
            door.server.signal(rustix::process::Signal::HUP);
            let start = std::time::Instant::now();
            while (door.metric(gauge) == 1.0) != ok {
                assert!(start.elapsed().as_secs() < 30, "{}", door.server.log());
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        let mut ask = async |path: &str| {
            let answer = client.send(request("POST", path, b"x")).await.expect("an answer");
            assert_eq!(answer.status.as_u16(), 200);
        };
        ask("/ruler/a").await;
        assert_eq!(before.take().len(), 1);
        for wrong in ["target: gateway\ngateway: {proxy: {ruler: {url: 'ftp://x'}}}\n", "target: agent\n"] {
            reload(wrong, false).await;
            ask("/ruler/a").await;
            assert_eq!(before.take().len(), 1);
            reload(&config(&before.url(Kind::Http)), true).await;
        }
        reload("target: agent\n", false).await;
        reload(&config(&after.url(Kind::Http)), true).await;
        ask("/ruler/a").await;
        ask("/api/v1/push").await;
        assert_eq!((before.take().len(), after.take().len()), (1, 1));
    });
}

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate"))
    }

    /// A certificate for `backend.example` and its key.
    fn sign(&self) -> (rcgen::Certificate, KeyPair) {
        let params = CertificateParams::new(vec!["backend.example".to_owned()]).expect("a name");
        let key = KeyPair::generate().expect("a key");
        (params.signed_by(&key, &self.0).expect("a certificate"), key)
    }

    /// Of a server that wants clients to have certificates, too.
    fn server(&self, kind: Kind) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("an authority");
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let (certificate, key) = self.sign();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(clients.build().expect("a verifier"))
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
            )
            .expect("a certificate");
        config.alpn_protocols = vec![if kind == Kind::Grpc { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        config
    }
}

#[test]
fn backends_are_reached_encrypted_and_verified_with_a_certificate_of_our_own() {
    RUNTIME.block_on(async {
        let authority = Authority::new();
        let files = Home::new();
        let file = |name: &str, text: String| {
            let path = files.path().join(name);
            std::fs::write(&path, text).expect("a file");
            path.display().to_string()
        };
        let (certificate, key) = authority.sign();
        let (ca, cert) = (file("ca.pem", authority.0.pem()), file("cert.pem", certificate.pem()));
        let (key, other) = (file("key.pem", key.serialize_pem()), file("other.pem", Authority::new().0.pem()));
        for kind in [Kind::Http, Kind::Grpc] {
            let backend = Start { tls: Some(authority.server(kind)), ..Start::new(kind) }.start().await;
            let url = match kind {
                Kind::Http => format!("https://{}", backend.address),
                Kind::Grpc => backend.url(kind),
            };
            let whole = format!("tls_cert_path: {cert}, tls_key_path: {key}, tls_server_name: backend.example");
            for (settings, expected) in [
                (format!("tls_ca_path: {ca}, {whole}"), 200),
                (format!("tls_insecure_skip_verify: true, {whole}"), 200),
                (format!("tls_ca_path: {ca}, tls_min_version: VersionTLS13, {whole}"), 200),
                // Another authority, another name, no certificate of our own.
                (format!("tls_ca_path: {other}, {whole}"), 502),
                (format!("tls_ca_path: {ca}, tls_cert_path: {cert}, tls_key_path: {key}"), 502),
                (format!("tls_ca_path: {ca}, tls_server_name: backend.example"), 502),
            ] {
                let door = Door::with_file(&format!(
                    "target: gateway\ngateway: {{proxy: {{ruler: {{url: '{url}', tls_enabled: true, {settings}}}}}}}\n"
                ));
                let answer = Client::connect(door.address).await.send(request("POST", "/ruler/a", b"x")).await;
                let answer = answer.expect("an answer");
                assert_eq!(answer.status.as_u16(), expected, "{kind:?} {settings}: {}", answer.text());
                assert_eq!(backend.take().len(), usize::from(expected == 200), "{kind:?} {settings}");
            }
        }
    });
}
