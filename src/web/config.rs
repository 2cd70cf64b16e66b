//! What the server is told, and how URLs are normalised.

use std::fmt;
use std::time::Duration;

use crate::model::DurationMs;
use crate::model::regex::{Regex, RegexError};
use crate::remote::{read, write};

/// Whether `/-/reload` and `/-/quit` obey.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Lifecycle {
    /// They answer 403.
    #[default]
    Disabled,
    /// They obey (`--web.enable-lifecycle`).
    Enabled,
}

/// Whether the endpoints that delete and copy data obey.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AdminApi {
    /// They answer 503.
    #[default]
    Disabled,
    /// They obey (`--web.enable-admin-api`).
    Enabled,
}

/// Everything about how the server serves. [`WebConfig::new`] gives the reference's defaults.
#[derive(Clone, Debug)]
pub struct WebConfig {
    /// `--web.external-url`: where people reach the server.
    pub external_url: ExternalUrl,
    /// `--web.route-prefix`: below which path everything is served.
    pub route_prefix: RoutePrefix,
    /// `--web.max-connections`: connections over all listeners; more wait in the system's backlog.
    pub max_connections: usize,
    /// `--web.read-timeout`: how long a request's body may take, and how long a connection may be idle.
    pub read_timeout: Duration,
    /// `--web.header-timeout`: how long a request's head may take from its first byte, a new connection to send that byte,
    /// and a TLS handshake.
    pub header_timeout: Duration,
    /// `--web.max-header-bytes`: bytes of a request's head.
    pub max_header_bytes: u32,
    /// `--web.write-timeout`: how long a peer may refuse to take any byte of an answer.
    pub write_stall_timeout: Duration,
    /// How long requests in flight may go on once the server has been told to stop.
    pub drain_timeout: Duration,
    /// `--web.enable-lifecycle`.
    pub lifecycle: Lifecycle,
    /// `--web.enable-admin-api`.
    pub admin_api: AdminApi,
    /// What remote write may bring (`--web.enable-remote-write-receiver`); `None` answers 404.
    pub remote_write: Option<write::Config>,
    /// `--web.cors.origin`.
    pub cors_origin: CorsOrigin,
    /// `--web.open-health-endpoints`: answer `/-/healthy` and `/-/ready` without credentials.
    pub open_health: bool,
    /// `--web.max-form-bytes`: bytes of a form in a request body.
    pub form_limit: usize,
    /// `--web.max-streams`: answers that are streamed at the same time; further ones wait.
    pub max_streams: usize,
    /// `--web.answer-timeout`: how long one answer may take to be computed and taken by the client.
    pub answer_timeout: Duration,
    /// How old a series' newest sample may be to appear in `/federate`.
    pub lookback: DurationMs,
    /// What bounds the answers to remote reads.
    pub remote_read: RemoteReadConfig,
    /// `--query.cluster-max-concurrency`: queries over the members of a cluster that run at the same time, and requests for
    /// lists of theirs.
    pub cluster_concurrency: usize,
}

/// How remote reads are served.
#[derive(Clone, Copy, Debug)]
pub struct RemoteReadConfig {
    /// `--storage.remote.read-sample-limit`, `...-stream-sample-limit`, `...-byte-limit` and `...-max-bytes-in-frame`.
    pub limits: read::Limits,
    /// `--storage.remote.read-concurrent-limit`: reads answered at the same time; further ones wait.
    pub concurrent: usize,
    /// Bytes of memory that one answer may hold; also one of `/federate` over a cluster.
    pub held_bytes: u64,
}

impl Default for RemoteReadConfig {
    /// The reference's.
    fn default() -> RemoteReadConfig {
        let limits = read::Limits {
            samples: Some(50_000_000),
            streamed_samples: None,
            bytes: None,
            frame: RemoteReadConfig::FRAME,
        };
        RemoteReadConfig { limits, concurrent: 10, held_bytes: u64::MAX }
    }
}

impl RemoteReadConfig {
    /// Bytes of a frame.
    pub const FRAME: usize = 1 << 20;
    /// Reads at the same time where there is to be no limit: each has a thread.
    pub const CONCURRENT_MAX: usize = 256;
}

impl WebConfig {
    /// The defaults of the reference's flags; the limits that it has no flag for are our own.
    pub fn new(external_url: ExternalUrl) -> WebConfig {
        WebConfig {
            route_prefix: RoutePrefix::new(external_url.path()),
            external_url,
            max_connections: 512,
            read_timeout: Duration::from_secs(300),
            header_timeout: Duration::from_secs(10),
            // A URL of 64 KiB (the parser's own limit) and as much again for headers.
            max_header_bytes: 128 << 10,
            write_stall_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(10),
            lifecycle: Lifecycle::Disabled,
            admin_api: AdminApi::Disabled,
            remote_write: None,
            cors_origin: CorsOrigin::any(),
            open_health: false,
            // Far above any selector that people or dashboards write; the reference's 10 MB would allow 5 GB at once.
            form_limit: 1 << 20,
            max_streams: 8,
            answer_timeout: Duration::from_secs(300),
            lookback: DurationMs::from_secs(300),
            remote_read: RemoteReadConfig::default(),
            cluster_concurrency: 20,
        }
    }
}

/// A path prefix: empty, or `/` and a text that does not end in `/`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RoutePrefix(String);

impl RoutePrefix {
    /// Normalises: slashes around do not count, so `""`, `/` are the same and so are `a`, `/a`, `/a/`.
    pub fn new(text: &str) -> RoutePrefix {
        match text.trim_matches('/') {
            "" => RoutePrefix(String::new()),
            inner => RoutePrefix(format!("/{inner}")),
        }
    }

    /// The prefix, empty if everything is served at the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A path below the prefix; `path` starts with `/`.
    pub fn join(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }
}

/// Where people reach the server: scheme, host with port, and a path without a slash at its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExternalUrl {
    scheme: String,
    host: String,
    path: String,
}

/// Why a text is not an external URL.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ExternalUrlError {
    /// It was quoted once too often.
    #[error("the external URL must not begin or end with quotes: {0}")]
    Quoted(String),
    /// It is not an absolute URL with a host.
    #[error("the external URL {text:?} cannot be used: {reason}")]
    Malformed {
        /// As given.
        text: String,
        /// What is wrong.
        reason: String,
    },
}

impl ExternalUrl {
    /// Reads `--web.external-url`; an empty text means the host's name and the port of `listen`.
    pub fn parse(text: &str, listen: &str) -> Result<ExternalUrl, ExternalUrlError> {
        if text.is_empty() {
            let port = listen.rsplit_once(':').map_or("", |(_, port)| port);
            return Ok(ExternalUrl {
                scheme: "http".to_owned(),
                host: format!("{}:{port}", hostname()),
                path: String::new(),
            });
        }
        if text.starts_with(['"', '\'']) || text.ends_with(['"', '\'']) {
            return Err(ExternalUrlError::Quoted(text.to_owned()));
        }
        let malformed = |reason: String| ExternalUrlError::Malformed { text: text.to_owned(), reason };
        let url = url::Url::parse(text).map_err(|e| malformed(e.to_string()))?;
        let host = url.host_str().ok_or_else(|| malformed("it names no host".to_owned()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(malformed("its scheme is neither http nor https".to_owned()));
        }
        Ok(ExternalUrl {
            scheme: url.scheme().to_owned(),
            host: url.port().map_or(host.to_owned(), |port| format!("{host}:{port}")),
            path: url.path().trim_end_matches('/').to_owned(),
        })
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// Host, and port where one was given.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The path; empty, or starting and not ending with `/`.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for ExternalUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.host, self.path)
    }
}

/// The machine's name.
pub(super) fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Which origins a browser may call the API from.
#[derive(Clone, Debug)]
pub struct CorsOrigin(Option<Regex>);

impl CorsOrigin {
    /// Every origin.
    pub fn any() -> CorsOrigin {
        CorsOrigin(None)
    }

    /// Those that the anchored expression matches; `.*` is [`CorsOrigin::any`].
    pub fn new(pattern: &str) -> Result<CorsOrigin, RegexError> {
        match pattern {
            ".*" => Ok(CorsOrigin::any()),
            pattern => Ok(CorsOrigin(Some(Regex::new(pattern)?))),
        }
    }

    /// The value of `Access-Control-Allow-Origin` for an origin, if it may call.
    pub(super) fn allow<'a>(&self, origin: &'a str) -> Option<&'a str> {
        match &self.0 {
            None => Some(origin),
            Some(regex) => regex.is_match(origin).then_some(origin),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_the_same_however_many_slashes_surround_them() {
        for (text, prefix) in [("", ""), ("/", ""), ("//", ""), ("a", "/a"), ("/a/b/", "/a/b")] {
            assert_eq!(RoutePrefix::new(text).as_str(), prefix, "{text}");
        }
        assert_eq!(RoutePrefix::new("/").join("/federate"), "/federate");
        assert_eq!(RoutePrefix::new("x").join("/"), "/x/");
    }

    #[test]
    fn an_external_url_gives_the_default_prefix() {
        let url = ExternalUrl::parse("https://home.example:8443/mon//", "").expect("valid");
        assert_eq!((url.scheme(), url.host(), url.path()), ("https", "home.example:8443", "/mon"));
        assert_eq!(url.to_string(), "https://home.example:8443/mon");
        assert_eq!(WebConfig::new(url).route_prefix.as_str(), "/mon");
        let own = ExternalUrl::parse("", "0.0.0.0:9090").expect("valid");
        assert!(own.host().ends_with(":9090") && own.host().len() > ":9090".len(), "{own}");
    }

    #[test]
    fn unusable_external_urls_are_refused_with_a_reason() {
        for bad in ["\"http://a\"", "'x", "no-scheme/path", "http://", "ftp://a/", "mailto:x@y"] {
            assert!(ExternalUrl::parse(bad, ":1").is_err(), "{bad}");
        }
    }

    #[test]
    fn cors_origins_are_anchored() {
        let some = CorsOrigin::new("https://(a|b).example").expect("valid");
        assert_eq!(some.allow("https://a.example"), Some("https://a.example"));
        assert_eq!(some.allow("https://a.example.evil"), None);
        assert_eq!(CorsOrigin::new(".*").expect("valid").allow("x"), Some("x"));
    }
}
