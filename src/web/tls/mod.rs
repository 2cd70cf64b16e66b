//! TLS of the listeners: what the web config file says of it, made into what a handshake needs.
//!
//! [`TlsServer::build`] reads certificates, keys and authorities and refuses what could not work, naming the key at fault;
//! nothing is read later. When a file changes, whoever watches it builds anew: handshakes from then on use the new one, and
//! connections that are open keep what they have. A fault leaves the old one in place.
//!
//! Versions are 1.2 and 1.3 with their authenticated ciphers. What Go also knows (versions 1.0 and 1.1, CBC ciphers, the curve
//! P-521) is not spoken here: [`cipher_suite`] and [`curve`] tell such names apart from mistyped ones.

mod accept;
mod client;
mod names;
mod san;

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, SupportedKxGroup, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::{ServerConfig, SupportedCipherSuite, SupportedProtocolVersion};

pub(super) use accept::{Accepted, accept};
pub use names::{Named, cipher_suite, curve};
#[doc(hidden)]
pub use san::certificate_names;

use crate::net::{SecretSource, TlsVersion};

/// No certificate or key is larger.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// What is asked of clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ClientAuth {
    /// Nothing.
    #[default]
    None,
    /// A certificate, of whomever, or none.
    Request,
    /// A certificate, of whomever.
    RequireAny,
    /// None, or a certificate of a known authority.
    VerifyIfGiven,
    /// A certificate of a known authority.
    RequireAndVerify,
}

/// TLS as it is configured. Paths are absolute or relative to the working directory.
#[derive(Clone, Debug)]
pub struct TlsServerConfig {
    /// The certificate and those that lead to its authority, PEM.
    pub cert: SecretSource,
    /// Its key, PEM.
    pub key: SecretSource,
    /// What is asked of clients.
    pub client_auth: ClientAuth,
    /// The authorities of clients, PEM; the system's if `None`.
    pub client_ca: Option<SecretSource>,
    /// A client's certificate must bear one of these names; `None` for any.
    pub client_allowed_sans: Option<Vec<String>>,
    /// Lowest version to speak.
    pub min_version: TlsVersion,
    /// Highest version to speak.
    pub max_version: TlsVersion,
    /// Ciphers of TLS 1.2 in order of preference; if empty, all. Those of TLS 1.3 are always there, as in the reference.
    pub cipher_suites: Vec<SupportedCipherSuite>,
    /// Curves in order of preference; if empty, all.
    pub curves: Vec<&'static dyn SupportedKxGroup>,
    /// Whether the server's order of ciphers counts, or the client's.
    pub prefer_server_cipher_suites: bool,
    /// Offer HTTP/2.
    pub http2: bool,
}

/// What is wrong with the files of a [`TlsServerConfig`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{why}")]
pub struct TlsFault {
    /// The key of `tls_server_config` without `_file`: `cert`, `key`, `client_ca`, or the empty text.
    pub key: &'static str,
    /// What is wrong with it; contains no secret.
    pub why: String,
}

impl TlsFault {
    fn new(key: &'static str, why: impl Into<String>) -> TlsFault {
        TlsFault { key, why: why.into() }
    }
}

/// What a handshake needs.
#[derive(Clone, Debug)]
pub struct TlsServer {
    pub(super) config: Arc<ServerConfig>,
    pub(super) http2: bool,
    /// Whether only clients whose certificate is of a known authority are let in.
    pub(super) knows_clients: bool,
}

impl TlsServer {
    /// Reads all files and checks that they fit together.
    pub fn build(config: &TlsServerConfig) -> Result<TlsServer, TlsFault> {
        let certificates = certificates("cert", &config.cert)?;
        let key = private_key(&config.key)?;
        let provider = Arc::new(provider(config));
        let verifier = client::verifier(config, &provider)?;
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions(config))
            .map_err(|e| TlsFault::new("", e.to_string()))?;
        let builder = match verifier {
            None => builder.with_no_client_auth(),
            Some(verifier) => builder.with_client_cert_verifier(verifier as Arc<dyn ClientCertVerifier>),
        };
        let mut tls = builder.with_single_cert(certificates, key).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                TlsFault::new("key", "tls: private key does not match public key of the certificate")
            }
            other => TlsFault::new("key", format!("the certificate and its key cannot be used: {other}")),
        })?;
        tls.alpn_protocols = match config.http2 {
            true => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            false => vec![b"http/1.1".to_vec()],
        };
        tls.ignore_client_order = config.prefer_server_cipher_suites;
        let knows_clients = config.client_auth == ClientAuth::RequireAndVerify;
        Ok(TlsServer { config: Arc::new(tls), http2: config.http2, knows_clients })
    }
}

fn provider(config: &TlsServerConfig) -> CryptoProvider {
    let mut provider = ring::default_provider();
    if !config.cipher_suites.is_empty() {
        provider.cipher_suites.retain(|suite| suite.tls13().is_some());
        provider.cipher_suites.extend(config.cipher_suites.iter().filter(|suite| suite.tls13().is_none()));
    }
    if !config.curves.is_empty() {
        provider.kx_groups.clone_from(&config.curves);
    }
    provider
}

fn versions(config: &TlsServerConfig) -> Vec<&'static SupportedProtocolVersion> {
    let all = [(TlsVersion::Tls13, &rustls::version::TLS13), (TlsVersion::Tls12, &rustls::version::TLS12)];
    let allowed = config.min_version..=config.max_version;
    all.into_iter().filter(|(version, _)| allowed.contains(version)).map(|(_, version)| version).collect()
}

/// At least one certificate.
fn certificates(key: &'static str, source: &SecretSource) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
    let pem = read(key, source)?;
    let broken = |e| TlsFault::new(key, format!("this is not valid PEM: {e}"));
    let found = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>().map_err(broken)?;
    match found.is_empty() {
        true => Err(TlsFault::new(key, "there is no certificate in PEM form in it")),
        false => Ok(found),
    }
}

fn private_key(source: &SecretSource) -> Result<PrivateKeyDer<'static>, TlsFault> {
    // The error says nothing of the text: it is a secret.
    let none = |_| TlsFault::new("key", "there is no private key in PEM form, without a passphrase, in it");
    PrivateKeyDer::from_pem_slice(&read("key", source)?).map_err(none)
}

fn read(key: &'static str, source: &SecretSource) -> Result<Vec<u8>, TlsFault> {
    match source {
        SecretSource::Inline(text) => Ok(text.reveal().as_bytes().to_vec()),
        SecretSource::File(path) => {
            read_file(path).map_err(|e| TlsFault::new(key, format!("failed to read {}: {e}", path.display())))
        }
    }
}

fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MAX_FILE_BYTES {
        true => Err(std::io::Error::other(format!("it is larger than {MAX_FILE_BYTES} bytes"))),
        false => Ok(bytes),
    }
}
