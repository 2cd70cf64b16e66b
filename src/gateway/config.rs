//! What the gateway is told. One table of fields is the source of the YAML keys and of the flags.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use url::{Host, Url};

use crate::model::DurationMs;
use crate::net::{SecretSource, TlsConfig, TlsVersion};

/// Where Mimir and Cortex serve gRPC unless they are told otherwise.
const GRPC_PORT: u16 = 9095;
const DNS_PORT: u16 = 53;
/// As many retries help nobody; each may cost a backend the whole work of a request.
const RETRIES_MAX: u32 = 10;

/// A part of the cluster behind the gateway.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Component {
    /// Tenants, access policies and tokens of the enterprise product.
    AdminApi,
    /// Alertmanagers of tenants.
    Alertmanager,
    /// Compaction, block upload, deletion of tenants.
    Compactor,
    /// Takes samples.
    Distributor,
    /// Graphite's protocols.
    Graphite,
    /// Holds recent samples.
    Ingester,
    /// Answers queries.
    QueryFrontend,
    /// Recording and alerting rules.
    Ruler,
    /// Serves blocks.
    StoreGateway,
}

impl Component {
    /// All of them, in the order of the documentation.
    pub const ALL: [Component; 9] = [
        Component::AdminApi,
        Component::Alertmanager,
        Component::Compactor,
        Component::Distributor,
        Component::Graphite,
        Component::Ingester,
        Component::QueryFrontend,
        Component::Ruler,
        Component::StoreGateway,
    ];

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Component::AdminApi => "admin_api",
            Component::Alertmanager => "alertmanager",
            Component::Compactor => "compactor",
            Component::Distributor => "distributor",
            Component::Graphite => "graphite",
            Component::Ingester => "ingester",
            Component::QueryFrontend => "query_frontend",
            Component::Ruler => "ruler",
            Component::StoreGateway => "store_gateway",
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Who turns a name into addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Authority {
    /// The system: its hosts file and its name servers.
    System,
    /// This name server.
    Server(SocketAddr),
}

/// Which protocol a backend is spoken to in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// HTTP/1.1.
    Http,
    /// `httpgrpc.HTTP/Handle` over HTTP/2.
    Grpc,
}

/// Where a backend is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BackendUrl {
    /// As it was written, without a password.
    pub text: String,
    /// `http` and `https`, or `dns`.
    pub protocol: Protocol,
    /// True for `https`.
    pub is_https: bool,
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What goes before the path of every request; empty, or `/` and a text that does not end in `/`.
    pub base_path: String,
    /// Who is asked for the addresses.
    pub authority: Authority,
}

impl BackendUrl {
    /// Host and port as a `Host` header and `:authority` have them.
    pub fn authority_text(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.protocol, self.is_https, self.port) {
            (Protocol::Http, false, 80) | (Protocol::Http, true, 443) => host,
            (_, _, port) => format!("{host}:{port}"),
        }
    }

    /// Reads `http://`, `https://`, `dns:///name:port` and `dns://server/name:port`.
    pub fn parse(text: &str) -> Result<BackendUrl, String> {
        match text.split_once("://") {
            Some(("dns", rest)) => parse_dns(text, rest),
            Some(("http" | "https", _)) => parse_http(text),
            // The text is not repeated: it may hold a password.
            Some((scheme, _)) => Err(format!("its scheme is {scheme}, neither http, https nor dns")),
            None => Err("not a URL: it does not begin with http://, https:// or dns:///".to_owned()),
        }
    }
}

fn parse_http(text: &str) -> Result<BackendUrl, String> {
    let url = Url::parse(text).map_err(|e| format!("not a URL: {e}"))?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has more than a host and a path".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("has credentials, which are the client's to send".to_owned());
    }
    let host = match url.host() {
        Some(Host::Ipv6(address)) => address.to_string(),
        Some(host) => host.to_string(),
        None => return Err("has no host".to_owned()),
    };
    Ok(BackendUrl {
        text: text.to_owned(),
        protocol: Protocol::Http,
        is_https: url.scheme() == "https",
        host,
        port: url.port_or_known_default().unwrap_or(80),
        base_path: url.path().trim_end_matches('/').to_owned(),
        authority: Authority::System,
    })
}

fn parse_dns(text: &str, rest: &str) -> Result<BackendUrl, String> {
    let Some((server, name)) = rest.split_once('/') else {
        return Err("a dns URL has three slashes, dns:///name:port, or a server: dns://server/name:port".to_owned());
    };
    let authority = match server {
        "" => Authority::System,
        server => Authority::Server(parse_server(server)?),
    };
    let (host, port) = host_and_port(name, GRPC_PORT)?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if host.is_empty() || !(host.parse::<IpAddr>().is_ok() || host.chars().all(is_name)) {
        return Err(format!("{host:?} is not the name of a host"));
    }
    Ok(BackendUrl {
        text: text.to_owned(),
        protocol: Protocol::Grpc,
        is_https: false,
        host,
        port,
        base_path: String::new(),
        authority,
    })
}

fn parse_server(server: &str) -> Result<SocketAddr, String> {
    let (host, port) = host_and_port(server, DNS_PORT)?;
    let address: IpAddr = host.parse().map_err(|_| format!("the name server {host:?} is not an IP address"))?;
    Ok(SocketAddr::new(address, port))
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`.
fn host_and_port(text: &str, default: u16) -> Result<(String, u16), String> {
    let bad_port = |port: &str| format!("{port:?} is not a port");
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or("a bracket is not closed")?,
        None => text.find(':').map_or((text, ""), |at| text.split_at(at)),
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => default,
        None => return Err(bad_port(port)),
        Some(digits) => digits.parse().ok().filter(|p| *p > 0).ok_or_else(|| bad_port(digits))?,
    };
    Ok((host.to_owned(), port))
}

/// One backend: a `backend_proxy_config`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BackendConfig {
    /// Where it is; `None` takes that of `default`.
    pub url: Option<BackendUrl>,
    /// Whether connections are used for more than one request.
    pub enable_keepalive: bool,
    /// Whether connections are encrypted; `https` always is.
    pub tls_enabled: bool,
    /// How, if they are.
    pub tls: TlsConfig,
    /// From a request's head to its answer's last byte.
    pub timeout: Duration,
    /// Bytes of a request's body.
    pub max_body_bytes: u64,
    /// Further attempts after one that failed, of requests that are idempotent or were not sent.
    pub retries: u32,
}

impl Default for BackendConfig {
    fn default() -> BackendConfig {
        BackendConfig {
            url: None,
            enable_keepalive: true,
            tls_enabled: false,
            tls: TlsConfig::default(),
            // The longest query that Mimir's query frontend waits for by default, and some.
            timeout: Duration::from_secs(150),
            // As much as Mimir takes in one gRPC message.
            max_body_bytes: 100 << 20,
            retries: 3,
        }
    }
}

/// What values of a field look like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FieldKind {
    /// A text.
    Text,
    /// A path of a file, relative to the config file.
    Path,
    /// `true` or `false`.
    Switch,
    /// A number.
    Number,
    /// Prometheus's durations.
    Duration,
}

/// One field of a backend.
pub struct Field {
    /// Its key.
    pub name: &'static str,
    /// What it is, for `--help`.
    pub help: &'static str,
    /// What its values look like.
    pub kind: FieldKind,
    /// Reads its value into a config.
    pub set: fn(&mut BackendConfig, &str) -> Result<(), String>,
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Every field of a backend.
pub const FIELDS: [Field; 12] = [
    Field {
        name: "url",
        help: "Where it is: http://, https://, or dns:///name:port for gRPC with load spread over all addresses",
        kind: FieldKind::Text,
        set: |c, text| BackendUrl::parse(text).map(|url| c.url = Some(url)),
    },
    Field {
        name: "enable_keepalive",
        help: "Use a connection for more than one request (default true)",
        kind: FieldKind::Switch,
        set: |c, text| switch(text).map(|on| c.enable_keepalive = on),
    },
    Field {
        name: "tls_enabled",
        help: "Encrypt connections; those of https:// always are",
        kind: FieldKind::Switch,
        set: |c, text| switch(text).map(|on| c.tls_enabled = on),
    },
    Field {
        name: "tls_ca_path",
        help: "Authorities to trust instead of the system's, PEM",
        kind: FieldKind::Path,
        set: |c, text| file(text).map(|source| c.tls.ca = source),
    },
    Field {
        name: "tls_cert_path",
        help: "Client certificate, PEM",
        kind: FieldKind::Path,
        set: |c, text| file(text).map(|source| c.tls.cert = source),
    },
    Field {
        name: "tls_key_path",
        help: "Its key, PEM",
        kind: FieldKind::Path,
        set: |c, text| file(text).map(|source| c.tls.key = source),
    },
    Field {
        name: "tls_server_name",
        help: "Name to expect in the certificate instead of the URL's",
        kind: FieldKind::Text,
        set: |c, text| {
            c.tls.server_name = Some(text.to_owned()).filter(|name| !name.is_empty());
            Ok(())
        },
    },
    Field {
        name: "tls_insecure_skip_verify",
        help: "Accept any certificate",
        kind: FieldKind::Switch,
        set: |c, text| switch(text).map(|on| c.tls.insecure_skip_verify = on),
    },
    Field {
        name: "tls_min_version",
        help: "Lowest version to speak: VersionTLS12 or VersionTLS13",
        kind: FieldKind::Text,
        set: |c, text| tls_version(text).map(|version| c.tls.min_version = version),
    },
    Field {
        name: "timeout",
        help: "Time for a whole request, to its answer's last byte (default 2m30s)",
        kind: FieldKind::Duration,
        set: |c, text| timeout(text).map(|timeout| c.timeout = timeout),
    },
    Field {
        name: "max_body_bytes",
        help: "Bytes of a request's body (default 104857600); a larger one is answered 413",
        kind: FieldKind::Number,
        set: |c, text| positive(text).map(|bytes| c.max_body_bytes = bytes),
    },
    Field {
        name: "retries",
        help: "Further attempts of requests that are idempotent or were not sent (default 3)",
        kind: FieldKind::Number,
        set: |c, text| retries(text).map(|retries| c.retries = retries),
    },
];

fn switch(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| format!("{text:?} is neither true nor false"))
}

fn file(text: &str) -> Result<Option<SecretSource>, String> {
    Ok(Some(text).filter(|t| !t.is_empty()).map(|t| SecretSource::File(PathBuf::from(t))))
}

fn tls_version(text: &str) -> Result<Option<TlsVersion>, String> {
    match text {
        "" => Ok(None),
        "VersionTLS12" => Ok(Some(TlsVersion::Tls12)),
        "VersionTLS13" => Ok(Some(TlsVersion::Tls13)),
        other => Err(format!("unknown version {other:?}; allowed: VersionTLS12, VersionTLS13")),
    }
}

fn timeout(text: &str) -> Result<Duration, String> {
    let duration: DurationMs = text.parse().map_err(|e| format!("{e}"))?;
    if duration.0 <= 0 {
        return Err("must be above 0".to_owned());
    }
    Ok(duration.to_std())
}

fn positive(text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|n| *n > 0);
    number.ok_or_else(|| format!("{text:?} is not a whole number above 0"))
}

fn retries(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|n| *n <= RETRIES_MAX);
    number.ok_or_else(|| format!("{text:?} is not a whole number from 0 to {RETRIES_MAX}"))
}

/// The whole gateway.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GatewayConfig {
    /// The backends that have a URL, their own or that of `default`.
    pub backends: Vec<(Component, BackendConfig)>,
    /// Where the query API is, as Mimir's `api.prometheus_http_prefix`.
    pub prometheus_prefix: String,
    /// Where the Alertmanager's pages are, as Mimir's `api.alertmanager_http_prefix`.
    pub alertmanager_prefix: String,
    /// Whether every request is a line in the log.
    pub access_log: bool,
}

impl Default for GatewayConfig {
    fn default() -> GatewayConfig {
        GatewayConfig {
            backends: Vec::new(),
            prometheus_prefix: "/prometheus".to_owned(),
            alertmanager_prefix: "/alertmanager".to_owned(),
            access_log: false,
        }
    }
}

impl GatewayConfig {
    /// The backend of a component.
    pub fn backend(&self, component: Component) -> Option<&BackendConfig> {
        self.backends.iter().find(|(c, _)| *c == component).map(|(_, config)| config)
    }
}

/// The name of the section whose URL all others inherit.
pub const DEFAULT: &str = "default";

/// Something that can be set in the configuration and on the command line.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Its way in the configuration: `gateway.proxy.store_gateway.url`.
    pub path: String,
    /// Its flag, without dashes in front: `gateway.proxy.store-gateway.url`.
    pub flag: String,
    /// What it is.
    pub help: String,
    /// What its values look like.
    pub kind: FieldKind,
    /// The field, if it is one of a backend.
    pub field: Option<&'static Field>,
}

/// Everything about the gateway that can be set, in the order of the documentation.
pub fn settings() -> &'static [Setting] {
    static FIELDS_OF_BACKENDS: [Field; 12] = FIELDS;
    static SETTINGS: LazyLock<Vec<Setting>> = LazyLock::new(|| {
        let sections = std::iter::once(DEFAULT).chain(Component::ALL.map(Component::name));
        let of_backends = sections.flat_map(|section| {
            FIELDS_OF_BACKENDS.iter().map(move |field| Setting {
                path: format!("gateway.proxy.{section}.{}", field.name),
                flag: format!("gateway.proxy.{section}.{}", field.name).replace('_', "-"),
                help: format!("{section}: {}", field.help),
                kind: field.kind,
                field: Some(field),
            })
        });
        let other = |path: &str, flag: &str, help: &str, kind| Setting {
            path: path.to_owned(),
            flag: flag.to_owned(),
            help: help.to_owned(),
            kind,
            field: None,
        };
        of_backends
            .chain([
                other(
                    "gateway.access_log",
                    "gateway.access-log",
                    "Write a line to the log for every request",
                    FieldKind::Switch,
                ),
                other(
                    "api.prometheus_http_prefix",
                    "http.prometheus-http-prefix",
                    "Path below which the gateway serves the query API (default /prometheus)",
                    FieldKind::Text,
                ),
                other(
                    "api.alertmanager_http_prefix",
                    "http.alertmanager-http-prefix",
                    "Path below which the gateway serves the Alertmanager (default /alertmanager)",
                    FieldKind::Text,
                ),
            ])
            .collect()
    });
    &SETTINGS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_say_protocol_name_port_and_who_is_asked() {
        let dns = BackendUrl::parse("dns:///distributor.mimir.svc.cluster.local:9095").expect("good");
        assert_eq!((dns.protocol, dns.port, dns.authority), (Protocol::Grpc, 9095, Authority::System));
        assert_eq!(dns.host, "distributor.mimir.svc.cluster.local");
        assert_eq!(BackendUrl::parse("dns:///distributor").expect("good").port, GRPC_PORT);
        let served = BackendUrl::parse("dns://10.0.0.10/distributor:1").expect("good");
        assert_eq!(served.authority, Authority::Server("10.0.0.10:53".parse().expect("an address")));
        let served = BackendUrl::parse("dns://[::1]:5353/[fd00::2]:1").expect("good");
        assert_eq!(served.authority, Authority::Server("[::1]:5353".parse().expect("an address")));
        assert_eq!((served.host.as_str(), served.authority_text().as_str()), ("fd00::2", "[fd00::2]:1"));
        let http = BackendUrl::parse("https://[::1]/a/b/").expect("good");
        assert_eq!((http.port, http.is_https, http.base_path.as_str()), (443, true, "/a/b"));
        assert_eq!(http.authority_text(), "[::1]");
        for (bad, why) in [
            ("dns://distributor:9095", "three slashes"),
            ("dns://resolver/distributor", "not an IP address"),
            ("dns:///", "not the name"),
            ("dns:///a b", "not the name"),
            ("dns:///a:0", "not a port"),
            ("dns:///a:x", "not a port"),
            ("ftp://a", "neither http"),
            ("a:80", "not a URL"),
            ("http://", "not a URL"),
            ("http://user:secret@host", "credentials"),
            ("http://host?x", "more than a host"),
        ] {
            let error = BackendUrl::parse(bad).expect_err(bad);
            assert!(error.contains(why) && !error.contains("secret"), "{bad}: {error}");
        }
    }

    #[test]
    fn flags_are_the_paths_of_the_fields() {
        let flags: Vec<&str> = settings().iter().map(|s| s.flag.as_str()).collect();
        assert_eq!(flags.len(), FIELDS.len() * 10 + 3);
        for flag in [
            "gateway.proxy.default.url",
            "gateway.proxy.store-gateway.url",
            "gateway.proxy.query-frontend.tls-insecure-skip-verify",
            "gateway.proxy.admin-api.max-body-bytes",
        ] {
            assert!(flags.contains(&flag), "{flag}");
        }
    }
}
