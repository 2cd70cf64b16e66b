//! What can go wrong with an outgoing request, sorted by who must act.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rustls::CertificateError;
use url::Url;

const CUT_SHORT: &str = "the connection closed before the whole answer had come";

/// Why a request got no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ClientError {
    /// Our configuration cannot work; the operator must change it.
    #[error("{0}")]
    Config(String),
    /// A file that the configuration names cannot be used.
    #[error("cannot use {what} file {}: {reason}", path.display())]
    File {
        /// What the file is for, such as `password`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Nobody listens there.
    #[error("connection refused ({peer})")]
    Refused {
        /// Host and port.
        peer: String,
    },
    /// The name has no address.
    #[error("cannot resolve host {host}: {reason}")]
    Dns {
        /// The name.
        host: String,
        /// Why.
        reason: String,
    },
    /// No connection for another reason, such as no route or a proxy that refuses.
    #[error("cannot connect to {peer}: {reason}")]
    Connect {
        /// Host and port.
        peer: String,
        /// Why.
        reason: String,
    },
    /// The two sides do not agree on a secure connection.
    #[error("TLS error with {peer}: {reason}")]
    Tls {
        /// Host and port.
        peer: String,
        /// Why.
        reason: String,
    },
    /// The whole request took longer than it may.
    #[error("timed out after {}", humantime::format_duration(*after))]
    Timeout {
        /// The time that it had.
        after: Duration,
    },
    /// Too many redirects.
    #[error("redirect loop: stopped after {limit} redirects, the last one to {last}")]
    RedirectLoop {
        /// How many were followed.
        limit: usize,
        /// Where the next one would have gone.
        last: String,
    },
    /// A redirect that leads nowhere.
    #[error("unusable redirect to {location:?}")]
    Redirect {
        /// The header's text.
        location: String,
    },
    /// The peer answered, but not with what was asked for.
    #[error("server returned HTTP status {0}")]
    Status(reqwest::StatusCode),
    /// The peer closed the connection or spoke something other than HTTP.
    #[error("{peer}: {reason}")]
    Protocol {
        /// Host and port.
        peer: String,
        /// What happened.
        reason: String,
    },
}

impl ClientError {
    /// True if the same request may succeed later without anybody changing a configuration.
    pub fn may_retry(&self) -> bool {
        match self {
            ClientError::Refused { .. }
            | ClientError::Dns { .. }
            | ClientError::Connect { .. }
            | ClientError::Timeout { .. }
            | ClientError::Protocol { .. } => true,
            ClientError::Status(status) => status.is_server_error() || status.as_u16() == 429,
            ClientError::Config(_)
            | ClientError::File { .. }
            | ClientError::Tls { .. }
            | ClientError::RedirectLoop { .. }
            | ClientError::Redirect { .. } => false,
        }
    }

    /// Finds the real cause in the chain of errors of the HTTP library.
    pub(super) fn from_http(error: &reqwest::Error, url: &Url) -> ClientError {
        let peer = peer_of(url);
        let mut last = None;
        let mut io_error = None;
        let mut cause: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(e) = cause {
            if let Some(tls) = e.downcast_ref::<rustls::Error>() {
                return ClientError::Tls { peer, reason: describe_tls(tls) };
            }
            if let Some(io) = e.downcast_ref::<io::Error>() {
                io_error = Some(io);
                // An I/O error hides the error that it wraps from the chain.
                if let Some(inner) = io.get_ref() {
                    last = Some(inner as &(dyn Error + 'static));
                    cause = last;
                    continue;
                }
            }
            if e.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message) {
                return ClientError::Protocol { peer, reason: CUT_SHORT.to_owned() };
            }
            last = Some(e);
            cause = e.source();
        }
        let reason = last.map_or_else(|| error.to_string(), ToString::to_string);
        if error.is_dns() {
            return ClientError::Dns {
                host: url.host_str().unwrap_or_default().to_owned(),
                reason: dns_reason(&reason),
            };
        }
        match io_error.map(io::Error::kind) {
            Some(io::ErrorKind::ConnectionRefused) => ClientError::Refused { peer },
            Some(io::ErrorKind::UnexpectedEof) if error.is_connect() && url.scheme() == "https" => {
                ClientError::Tls { peer, reason: "the connection closed during the handshake".into() }
            }
            _ if error.is_connect() => ClientError::Connect { peer, reason },
            Some(io::ErrorKind::UnexpectedEof) => ClientError::Protocol { peer, reason: CUT_SHORT.to_owned() },
            _ if error.is_builder() => ClientError::Config(reason),
            _ => ClientError::Protocol { peer, reason },
        }
    }
}

/// Why a body could not be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BodyError {
    /// The body, unpacked, reached the limit; reading stopped there.
    #[error("body size limit exceeded: the body has {limit} bytes or more when uncompressed")]
    TooLarge {
        /// The limit in uncompressed bytes.
        limit: u64,
    },
    /// The peer packed the body in a way that was not asked for.
    #[error("unknown content encoding {0:?}")]
    Encoding(String),
    /// The packed bytes make no sense.
    #[error("broken {encoding} data: {reason}")]
    Corrupt {
        /// The packing.
        encoding: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The packed bytes end too early.
    #[error("truncated {encoding} data: it ended after {wire_bytes} bytes")]
    Truncated {
        /// The packing.
        encoding: &'static str,
        /// Bytes that came.
        wire_bytes: u64,
    },
    /// The transfer itself failed.
    #[error(transparent)]
    Transfer(#[from] ClientError),
}

/// Host and port of a URL, for messages; never its credentials, path or parameters.
pub(super) fn peer_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or("?");
    match url.port_or_known_default() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// The resolver's own sentence, without the boilerplate of the C library's.
fn dns_reason(text: &str) -> String {
    text.trim_start_matches("failed to lookup address information: ").to_owned()
}

fn describe_tls(error: &rustls::Error) -> String {
    use rustls::Error as E;
    match error {
        E::InvalidCertificate(certificate) => describe_certificate(certificate),
        E::AlertReceived(alert) => format!("the server refused the connection with the alert {alert:?}"),
        E::NoCertificatesPresented => "the server presented no certificate".to_owned(),
        E::InvalidMessage(_) => format!("the server does not speak TLS ({error})"),
        E::PeerIncompatible(why) => format!("no common protocol version or cipher ({why:?})"),
        other => other.to_string(),
    }
}

fn describe_certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::Expired => "the server's certificate has expired".to_owned(),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("the server's certificate expired at {}", utc(not_after.as_secs()))
        }
        CertificateError::NotValidYet => "the server's certificate is not valid yet".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("the server's certificate is not valid before {}", utc(not_before.as_secs()))
        }
        CertificateError::UnknownIssuer => "the server's certificate is signed by an unknown authority".to_owned(),
        CertificateError::NotValidForName => "the server's certificate is for another name".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            // Only the first few: a shared certificate may carry a hundred.
            let names = presented.iter().take(5).map(|n| bare_name(n)).collect::<Vec<_>>().join(", ");
            let names = if names.is_empty() { "no name at all" } else { &names };
            format!("the server's certificate is not valid for {}, only for {names}", expected.to_str())
        }
        other => format!("the server's certificate is invalid: {other}"),
    }
}

/// `node` of `DnsName("node")`, which is how the library renders it.
fn bare_name(rendered: &str) -> &str {
    let inner = rendered.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(rendered);
    inner.trim_matches('"')
}

fn utc(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| format!("second {seconds}"), |t| t.to_string())
}
