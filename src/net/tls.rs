//! The TLS side of a client: which authorities, which certificate, which versions.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion,
};

use super::secret::Watched;
use super::{ClientError, TlsConfig, TlsVersion};

/// Sessions remembered for resumption; a client talks to few servers and an entry is about a kilobyte.
const SESSIONS: usize = 32;

/// What a client needs to know to build a TLS configuration, as often as files change.
pub(super) struct TlsSettings {
    ca: Option<Watched>,
    identity: Option<(Watched, Watched)>,
    server_name: Option<ServerName<'static>>,
    verify: bool,
    versions: Vec<&'static SupportedProtocolVersion>,
    http2: bool,
}

/// Which readings a configuration was built from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Versions([u64; 3]);

/// The texts of one configuration and their versions.
pub(super) struct Material {
    ca: Option<Arc<str>>,
    identity: Option<(Arc<str>, Arc<str>)>,
    pub(super) versions: Versions,
}

impl TlsSettings {
    /// Checks everything that needs no file. Nothing is loaded yet.
    pub(super) fn new(config: &TlsConfig, http2: bool) -> Result<TlsSettings, ClientError> {
        let refuse = |text: &str| ClientError::Config(text.to_owned());
        let identity = match (&config.cert, &config.key) {
            (Some(cert), Some(key)) => {
                Some((Watched::new("client certificate", cert.clone()), Watched::new("client key", key.clone())))
            }
            (None, None) => None,
            (Some(_), None) => return Err(refuse("a client certificate needs its key")),
            (None, Some(_)) => return Err(refuse("a client key needs its certificate")),
        };
        let server_name = match &config.server_name {
            None => None,
            Some(name) => Some(
                ServerName::try_from(name.clone())
                    .map_err(|_| refuse(&format!("server_name {name:?} is not a host name")))?,
            ),
        };
        let settings = TlsSettings {
            ca: config.ca.clone().map(|source| Watched::new("ca", source)),
            identity,
            server_name,
            verify: !config.insecure_skip_verify,
            versions: versions(config)?,
            http2,
        };
        settings.check_inline(config)?;
        Ok(settings)
    }

    /// Mistakes in inline texts are told at once and not at the first request.
    fn check_inline(&self, config: &TlsConfig) -> Result<(), ClientError> {
        let inline = |s: &Option<super::SecretSource>| matches!(s, Some(super::SecretSource::Inline(_)));
        if let (true, Some(ca)) = (inline(&config.ca), &self.ca) {
            certificates("ca", &ca.get()?.0)?;
        }
        if let (true, true, Some((cert, key))) = (inline(&config.cert), inline(&config.key), &self.identity) {
            certificates("client certificate", &cert.get()?.0)?;
            private_key(&key.get()?.0)?;
        }
        Ok(())
    }

    /// Reads what the configuration is built from.
    pub(super) fn material(&self) -> Result<Material, ClientError> {
        let mut versions = [0; 3];
        let mut read = |slot: usize, source: &Watched| {
            let (text, version) = source.get()?;
            versions[slot] = version;
            Ok::<_, ClientError>(text)
        };
        let ca = self.ca.as_ref().map(|s| read(0, s)).transpose()?;
        let identity = match &self.identity {
            None => None,
            Some((cert, key)) => Some((read(1, cert)?, read(2, key)?)),
        };
        Ok(Material { ca, identity, versions: Versions(versions) })
    }

    /// Builds the configuration. The system's authorities are loaded here if no other ones are configured.
    pub(super) fn build(&self, material: &Material) -> Result<ClientConfig, ClientError> {
        let config = |e: rustls::Error| ClientError::Config(format!("TLS configuration: {e}"));
        let builder =
            ClientConfig::builder_with_provider(provider()).with_protocol_versions(&self.versions).map_err(config)?;
        let builder = builder.dangerous().with_custom_certificate_verifier(self.verifier(material)?);
        let mut tls = match &material.identity {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => builder
                .with_client_auth_cert(certificates("client certificate", cert)?, private_key(key)?)
                .map_err(|e| ClientError::Config(format!("the client certificate and its key cannot be used: {e}")))?,
        };
        // HTTP/2 carries the host in the URL, which an overriding name replaces, so it is not offered then.
        tls.alpn_protocols = match self.http2 && self.override_host().is_none() {
            true => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            false => vec![b"http/1.1".to_vec()],
        };
        tls.enable_sni = !matches!(self.server_name, Some(ServerName::IpAddress(_)));
        tls.resumption = Resumption::in_memory_sessions(SESSIONS);
        Ok(tls)
    }

    /// The DNS name that stands in for the URL's host in the handshake. An overriding IP address needs no such stand-in
    /// because it is never sent, only verified.
    pub(super) fn override_host(&self) -> Option<&str> {
        match &self.server_name {
            Some(ServerName::DnsName(name)) => Some(name.as_ref()),
            _ => None,
        }
    }

    fn verifier(&self, material: &Material) -> Result<Arc<dyn ServerCertVerifier>, ClientError> {
        if !self.verify {
            return Ok(Arc::new(AcceptAny));
        }
        let (roots, own) = match &material.ca {
            None => (system_roots()?, Vec::new()),
            Some(pem) => {
                let own = certificates("ca", pem)?;
                let mut store = RootCertStore::empty();
                for certificate in &own {
                    store
                        .add(certificate.clone())
                        .map_err(|e| ClientError::Config(format!("a ca certificate cannot be used: {e}")))?;
                }
                (Arc::new(store), own)
            }
        };
        let chain = WebPkiServerVerifier::builder_with_provider(roots, provider())
            .build()
            .map_err(|e| ClientError::Config(format!("the authorities cannot be used: {e}")))?;
        Ok(Arc::new(Verifier { chain, own, name: self.server_name.clone() }))
    }
}

/// The configuration of requests that must not use TLS: it trusts nobody and costs nothing.
pub(super) fn no_tls() -> Result<ClientConfig, ClientError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| ClientError::Config(e.to_string()))?;
    let mut tls = builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    tls.resumption = Resumption::disabled();
    Ok(tls)
}

/// The cryptography that every connection of the process uses, never a process-wide default that others may set.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(ring::default_provider())).clone()
}

/// The system's authorities, loaded at the first use and then shared by all clients of the process.
pub(crate) fn system_roots() -> Result<Arc<RootCertStore>, ClientError> {
    static ROOTS: Mutex<Option<Arc<RootCertStore>>> = Mutex::new(None);
    let mut roots = ROOTS.lock();
    if let Some(roots) = &*roots {
        return Ok(roots.clone());
    }
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(found.certs);
    if store.is_empty() {
        let why = found.errors.first().map_or_else(String::new, |e| format!(" ({e})"));
        return Err(ClientError::Config(format!(
            "this system has no certificate authorities{why}; install ca-certificates or set ca_file"
        )));
    }
    Ok(roots.insert(Arc::new(store)).clone())
}

fn versions(config: &TlsConfig) -> Result<Vec<&'static SupportedProtocolVersion>, ClientError> {
    let lowest = config.min_version.unwrap_or(TlsVersion::Tls12);
    let highest = config.max_version.unwrap_or(TlsVersion::Tls13);
    let all = [(TlsVersion::Tls13, &rustls::version::TLS13), (TlsVersion::Tls12, &rustls::version::TLS12)];
    let chosen: Vec<_> = all.into_iter().filter(|(v, _)| (lowest..=highest).contains(v)).map(|(_, v)| v).collect();
    match chosen.is_empty() {
        true => Err(ClientError::Config("the lowest TLS version is above the highest one".to_owned())),
        false => Ok(chosen),
    }
}

fn certificates(what: &str, pem: &str) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let broken = |e: rustls::pki_types::pem::Error| ClientError::Config(format!("the {what} is not valid PEM: {e}"));
    let found = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>().map_err(broken)?;
    match found.is_empty() {
        true => Err(ClientError::Config(format!("the {what} holds no certificate in PEM form"))),
        false => Ok(found),
    }
}

/// The error says nothing of the text: it is a secret.
fn private_key(pem: &str) -> Result<PrivateKeyDer<'static>, ClientError> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes())
        .map_err(|_| ClientError::Config("the client key holds no usable private key in PEM form".to_owned()))
}

/// Verifies as everybody does, with two additions: a fixed name instead of the host's, and a server certificate that
/// stands itself among the configured authorities is trusted even if it calls itself an authority, which is how
/// self-signed certificates are mostly made and what Go accepts.
#[derive(Debug)]
struct Verifier {
    chain: Arc<WebPkiServerVerifier>,
    own: Vec<CertificateDer<'static>>,
    name: Option<ServerName<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let name = self.name.as_ref().unwrap_or(server_name);
        match self.chain.verify_server_cert(end_entity, intermediates, name, ocsp_response, now) {
            Err(error) if is_authority_as_end_entity(&error) && self.own.iter().any(|c| c == end_entity) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// True if all was well (the validity dates come first) until the certificate turned out to be an authority's. The
/// library tells that only by the text of its inner error; a test notices if it changes.
pub(crate) fn is_authority_as_end_entity(error: &rustls::Error) -> bool {
    matches!(error, rustls::Error::InvalidCertificate(CertificateError::Other(other))
        if format!("{:?}", other.0).contains("CaUsedAsEndEntity"))
}

/// `insecure_skip_verify`: whoever answers is believed, as long as the handshake itself is sound.
#[derive(Debug)]
struct AcceptAny;

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
