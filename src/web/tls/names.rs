//! Ciphers and curves by the names that Go gives them.

use rustls::SupportedCipherSuite;
use rustls::crypto::SupportedKxGroup;
use rustls::crypto::ring::cipher_suite as suites;
use rustls::crypto::ring::kx_group;

/// What a name stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Named<T> {
    /// This.
    Here(T),
    /// Something that the reference knows and we do not speak.
    Elsewhere,
    /// Nothing.
    Unknown,
}

/// Ciphers that Go speaks and we do not: they are not authenticated.
const CBC: [&str; 4] = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
];

/// A cipher suite by Go's name.
pub fn cipher_suite(name: &str) -> Named<SupportedCipherSuite> {
    let suite = match name {
        "TLS_AES_128_GCM_SHA256" => suites::TLS13_AES_128_GCM_SHA256,
        "TLS_AES_256_GCM_SHA384" => suites::TLS13_AES_256_GCM_SHA384,
        "TLS_CHACHA20_POLY1305_SHA256" => suites::TLS13_CHACHA20_POLY1305_SHA256,
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256" => suites::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384" => suites::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256" => suites::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" => suites::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384" => suites::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256" => suites::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        name if CBC.contains(&name) => return Named::Elsewhere,
        _ => return Named::Unknown,
    };
    Named::Here(suite)
}

/// A curve by Go's name.
pub fn curve(name: &str) -> Named<&'static dyn SupportedKxGroup> {
    match name {
        "CurveP256" => Named::Here(kx_group::SECP256R1),
        "CurveP384" => Named::Here(kx_group::SECP384R1),
        "X25519" => Named::Here(kx_group::X25519),
        "CurveP521" => Named::Elsewhere,
        _ => Named::Unknown,
    }
}
