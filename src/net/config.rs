//! How an outgoing connection is made; the checked form of Prometheus's `http_config` keys.

use std::fmt;
use std::path::PathBuf;

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }
    /// The secret itself; only for the wire.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// Where a secret comes from; a file is read again whenever it has changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SecretSource {
    /// In the config itself.
    Inline(Secret),
    /// In a file of its own; surrounding white space does not count.
    File(PathBuf),
}

/// Credentials sent with every request.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Auth {
    /// None.
    #[default]
    None,
    /// `Authorization: Basic`.
    Basic {
        /// The user.
        username: SecretSource,
        /// The password; `None` is the empty one.
        password: Option<SecretSource>,
    },
    /// `Authorization: <scheme> <credentials>`.
    Authorization {
        /// For example `Bearer`.
        scheme: String,
        /// What follows it.
        credentials: SecretSource,
    },
}

/// Protocol versions that can be named in a config.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum TlsVersion {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// TLS of an outgoing connection. Paths are absolute or relative to the working directory; files are read again when
/// they have changed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TlsConfig {
    /// Authorities to trust, PEM; the system's if `None`.
    pub ca: Option<SecretSource>,
    /// Client certificate, PEM.
    pub cert: Option<SecretSource>,
    /// Its key, PEM.
    pub key: Option<SecretSource>,
    /// The name to ask for and to verify instead of the URL's host.
    pub server_name: Option<String>,
    /// Accept any certificate.
    pub insecure_skip_verify: bool,
    /// Lowest version to speak.
    pub min_version: Option<TlsVersion>,
    /// Highest version to speak.
    pub max_version: Option<TlsVersion>,
}

/// Proxy of an outgoing connection.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ProxyConfig {
    /// The proxy for all requests.
    pub url: Option<url::Url>,
    /// Take the proxy from `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`.
    pub from_environment: bool,
    /// Hosts that are reached without the proxy, comma-separated as in `NO_PROXY`.
    pub no_proxy: String,
    /// Headers sent to the proxy with `CONNECT`.
    pub connect_headers: Vec<Header>,
}

/// One header with its values in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// Its name.
    pub name: String,
    /// Its values.
    pub values: Vec<SecretSource>,
}

/// Everything about how requests of one job, discovery or member are sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpClientConfig {
    /// Credentials.
    pub auth: Auth,
    /// TLS.
    pub tls: TlsConfig,
    /// Proxy.
    pub proxy: ProxyConfig,
    /// Follow `3xx` answers.
    pub follow_redirects: bool,
    /// Offer HTTP/2 on TLS connections.
    pub enable_http2: bool,
    /// Further headers.
    pub headers: Vec<Header>,
}

impl Default for HttpClientConfig {
    fn default() -> HttpClientConfig {
        HttpClientConfig {
            auth: Auth::None,
            tls: TlsConfig::default(),
            proxy: ProxyConfig::default(),
            follow_redirects: true,
            enable_http2: true,
            headers: Vec::new(),
        }
    }
}
