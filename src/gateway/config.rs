//! What the gateway is told. One table of fields is the source of the YAML keys and of the flags.

use std::fmt;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use super::backend_url::BackendUrl;
use crate::model::DurationMs;
use crate::net::{SecretSource, TlsConfig, TlsVersion};

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
