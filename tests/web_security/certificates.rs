//! Certificates made for one test.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair, SanType};

/// The hash of the password `right` with bcrypt's lowest cost.
pub fn hash_of_right() -> String {
    bcrypt::hash_with_salt("right", 4, [5; 16]).expect("a good cost").to_string()
}

/// A subject. OpenSSL takes a certificate of the same name as its authority for one that signed itself.
fn named(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

/// An authority whose certificate is written to `ca.pem` of a folder.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// Makes one.
    pub fn new(folder: &Path) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name = named("authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let authority = Authority(CertifiedIssuer::self_signed(params, key).expect("a certificate"));
        fs::write(folder.join("ca.pem"), authority.0.pem()).expect("a file");
        authority
    }

    /// Writes `NAME.pem` and `NAME.key` for localhost and for `NAME.example`.
    pub fn sign(&self, folder: &Path, name: &str) {
        let names = vec!["localhost".to_owned(), format!("{name}.example")];
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name = named(name);
        params.subject_alt_names.push(SanType::IpAddress(IpAddr::from([127, 0, 0, 1])));
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.0).expect("a certificate");
        fs::write(folder.join(format!("{name}.pem")), cert.pem()).expect("a file");
        fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).expect("a file");
    }
}
