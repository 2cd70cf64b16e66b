//! Certificates of clients.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};

use super::{ClientAuth, TlsFault, TlsServerConfig, certificate_names, certificates};
use crate::net::{is_authority_as_end_entity, system_roots};

/// Asks for certificates as configured; `None` if it asks for none.
pub(super) fn verifier(
    config: &TlsServerConfig,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<Verifier>>, TlsFault> {
    let required = match config.client_auth {
        ClientAuth::None => return Ok(None),
        ClientAuth::RequireAny | ClientAuth::RequireAndVerify => true,
        // Who must bear a name must bear a certificate.
        ClientAuth::Request | ClientAuth::VerifyIfGiven => config.client_allowed_sans.is_some(),
    };
    let known = match config.client_auth {
        ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify => Some(Authorities::load(config, provider)?),
        _ => None,
    };
    let (provider, allowed_names) = (provider.clone(), config.client_allowed_sans.clone());
    Ok(Some(Arc::new(Verifier { known, required, allowed_names, provider })))
}

/// Whom certificates must come from.
#[derive(Debug)]
struct Authorities {
    chain: Arc<dyn ClientCertVerifier>,
    own: Vec<CertificateDer<'static>>,
}

impl Authorities {
    fn load(config: &TlsServerConfig, provider: &Arc<CryptoProvider>) -> Result<Authorities, TlsFault> {
        let fault = |why: String| TlsFault::new("client_ca", why);
        let (roots, own) = match &config.client_ca {
            None => (system_roots().map_err(|e| fault(e.to_string()))?, Vec::new()),
            Some(source) => {
                let own = certificates("client_ca", source)?;
                let mut roots = RootCertStore::empty();
                for certificate in &own {
                    let added = roots.add(certificate.clone());
                    added.map_err(|e| fault(format!("a certificate in it cannot be used: {e}")))?;
                }
                (Arc::new(roots), own)
            }
        };
        let chain = WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build();
        Ok(Authorities { chain: chain.map_err(|e| fault(e.to_string()))?, own })
    }

    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        match self.chain.verify_client_cert(end_entity, intermediates, now) {
            Ok(_) => Ok(()),
            // A certificate that stands itself among the authorities is trusted even if it calls itself one: so are
            // self-signed certificates mostly made, and the reference takes them.
            Err(error) if is_authority_as_end_entity(&error) && self.own.iter().any(|own| own == end_entity) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Decides on a client's certificate. That the client has its key is proved by the handshake's signature in any case.
#[derive(Debug)]
pub(super) struct Verifier {
    known: Option<Authorities>,
    required: bool,
    allowed_names: Option<Vec<String>>,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.known.as_ref().map_or(&[], |known| known.chain.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if let Some(known) = &self.known {
            known.verify(end_entity, intermediates, now)?;
        }
        if let Some(allowed) = &self.allowed_names {
            let found = certificate_names(end_entity);
            if !found.iter().any(|name| allowed.contains(name)) {
                tracing::debug!(?found, "a client's certificate bears none of client_allowed_sans");
                return Err(CertificateError::ApplicationVerificationFailure.into());
            }
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
