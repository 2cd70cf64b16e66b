//! The sections `remote_write`, which is checked and acted upon by a later version, and `remote_read`.

use std::collections::BTreeMap;

use url::Url;

use super::fields::{At, Field, Fields, Shown};
use super::http::{self, HttpSection, OAuth2, OAuth2Config};
use super::labels;
use super::relabel;
use super::render::Out;
use crate::model::{DurationMs, Labels};
use crate::net::{HttpClientConfig, Secret};
use crate::relabel::RuleConfig;
use crate::remote::read::EndpointConfig;
use crate::scrape::NameValidation;

/// One receiver of samples.
#[derive(Clone, Debug)]
pub struct RemoteWriteConfig {
    /// Where samples go.
    pub url: String,
    /// Unique among the receivers, or empty.
    pub name: String,
    /// Time allowed for one request.
    pub timeout: DurationMs,
    /// Further headers.
    pub headers: BTreeMap<String, String>,
    /// Rules over samples.
    pub relabel: Vec<RuleConfig>,
    /// Whether exemplars are sent.
    pub send_exemplars: bool,
    /// Whether native histograms are sent.
    pub send_native_histograms: bool,
    /// Whether each address of the name is used in turn.
    pub round_robin_dns: bool,
    /// Which message is sent.
    pub message: WriteMessage,
    /// Whether failed requests are logged.
    pub failed_request_logging: bool,
    /// How requests are sent.
    pub client: HttpClientConfig,
    /// Token exchange.
    pub oauth2: Option<OAuth2Config>,
    /// The queue.
    pub queue: QueueConfig,
    /// Metadata.
    pub metadata: MetadataConfig,
}

/// Messages of the remote write protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriteMessage {
    /// `prometheus.WriteRequest`.
    V1,
    /// `io.prometheus.write.v2.Request`.
    V2,
}

/// The queue before a receiver.
#[derive(Clone, PartialEq, Debug)]
pub struct QueueConfig {
    /// Samples that wait in a shard.
    pub capacity: i64,
    /// Most parallel senders.
    pub max_shards: i64,
    /// Fewest parallel senders.
    pub min_shards: i64,
    /// Samples of one request.
    pub max_samples_per_send: i64,
    /// How long a sample waits for others.
    pub batch_send_deadline: DurationMs,
    /// First pause after a failure.
    pub min_backoff: DurationMs,
    /// Longest pause after failures.
    pub max_backoff: DurationMs,
    /// Whether a request that was refused for its rate is sent again.
    pub retry_on_http_429: bool,
    /// Older samples are dropped; zero for none.
    pub sample_age_limit: DurationMs,
}

/// When metadata is sent.
#[derive(Clone, PartialEq, Debug)]
pub struct MetadataConfig {
    /// Whether at all.
    pub send: bool,
    /// How often.
    pub send_interval: DurationMs,
    /// Entries of one request.
    pub max_samples_per_send: i64,
}

/// Reads the list of receivers under `remote_write`.
pub(super) fn read_writers(f: &mut Fields<'_>, names: NameValidation) -> Vec<RemoteWriteConfig> {
    let read = |at: &At<'_>| read_writer(at, names);
    let writers = list(f, "remote_write", "empty or null remote write config section", read);
    unique(f, "remote_write", "remote write", writers.iter().map(|w| w.name.as_str()));
    f.not_yet("remote_write");
    writers
}

/// Reads the list of servers under `remote_read`; `external` are the labels of this server's own series elsewhere.
pub(super) fn read_readers(f: &mut Fields<'_>, external: &Labels) -> Vec<EndpointConfig> {
    let read = |at: &At<'_>| read_reader(at, external);
    let readers = list(f, "remote_read", "empty or null remote read config section", read);
    unique(f, "remote_read", "remote read", readers.iter().map(|(name, _)| name.as_str()));
    let readers: Vec<EndpointConfig> = readers.into_iter().filter_map(|(_, config)| config).collect();
    for (i, config) in readers.iter().enumerate() {
        if readers[..i].contains(config) {
            let why = "duplicate remote read configs are not allowed, found duplicate for URL";
            f.mistake("remote_read", format!("{why}: {}", config.name));
        }
    }
    readers
}

fn list<T>(f: &mut Fields<'_>, key: &'static str, empty: &str, read: impl Fn(&At<'_>) -> (T, Shown)) -> Vec<T> {
    let mut values = Vec::new();
    let mut shown = Vec::new();
    for at in f.items(key) {
        if at.node.is_null() {
            at.mistake(empty);
            continue;
        }
        let (value, fields) = read(&at);
        values.push(value);
        shown.push(fields.into_out());
    }
    if !shown.is_empty() {
        f.put(key, Out::Seq(shown));
    }
    values
}

fn unique<'n>(f: &Fields<'_>, key: &str, what: &str, names: impl Iterator<Item = &'n str>) {
    let mut seen = std::collections::HashSet::new();
    for name in names.filter(|n| !n.is_empty()) {
        if !seen.insert(name) {
            f.mistake(key, format!("found multiple {what} configs with job name {name:?}"));
        }
    }
}

/// The URL under `url`, which must be there.
fn read_url(f: &mut Fields<'_>, what: &str) -> String {
    let text: String = f.always("url", String::new());
    f.put("url", http::show_url(&text));
    if f.section("url").is_none() {
        f.mistake("url", format!("url for {what} is empty"));
    } else if let Err(why) = http::check_url(&text) {
        f.mistake("url", why);
    }
    text
}

fn read_writer(at: &At<'_>, names: NameValidation) -> (RemoteWriteConfig, Shown) {
    let mut f = at.fields();
    let url = read_url(&mut f, "remote_write");
    let timeout = f.take("remote_timeout", DurationMs::from_secs(30));
    let headers = http::read_plain_headers(
        &mut f,
        "authorization header must be changed via the basic_auth, authorization, oauth2, sigv4, azuread or google_iam parameter",
    );
    let relabel =
        relabel::read(&mut f, "write_relabel_configs", names, "empty or null relabeling rule in remote write config");
    let name = f.take("name", String::new());
    let send_exemplars = f.take("send_exemplars", false);
    let send_native_histograms = f.take("send_native_histograms", false);
    let round_robin_dns = f.take("round_robin_dns", false);
    let message = read_message(&mut f);
    let failed_request_logging = f.take("failed_request_logging", false);
    let HttpSection { client, oauth2, mut auth_keys } = http::read(&mut f, false, OAuth2::Checked);
    let queue = read_queue(&mut f);
    let metadata = read_metadata(&mut f);
    read_cloud_auth(&mut f);
    auth_keys.extend(["sigv4", "azuread", "google_iam"].into_iter().filter(|k| f.has(k)));
    if auth_keys.len() > 1 && auth_keys.iter().any(|k| matches!(*k, "sigv4" | "azuread" | "google_iam")) {
        let why = "at most one of basic_auth, authorization, oauth2, sigv4, azuread or google_iam must be configured";
        let key = auth_keys[auth_keys.len() - 1];
        f.mistake(key, format!("{why}. Currently configured: [{}]", auth_keys.join(" ")));
    }
    let config = RemoteWriteConfig {
        url,
        name,
        timeout,
        headers,
        relabel,
        send_exemplars,
        send_native_histograms,
        round_robin_dns,
        message,
        failed_request_logging,
        client,
        oauth2,
        queue,
        metadata,
    };
    (config, f.finish())
}

fn read_message(f: &mut Fields<'_>) -> WriteMessage {
    const V1: &str = "prometheus.WriteRequest";
    const V2: &str = "io.prometheus.write.v2.Request";
    let name: String = f.take("protobuf_message", V1.to_owned());
    match name.as_str() {
        V1 => WriteMessage::V1,
        V2 => WriteMessage::V2,
        other => {
            let why = "invalid protobuf_message value: unknown type for remote write protobuf message";
            f.mistake("protobuf_message", format!("{why} {other}, supported: {V1}, {V2}"));
            WriteMessage::V1
        }
    }
}

fn read_queue(f: &mut Fields<'_>) -> QueueConfig {
    let null = super::yaml::Node::null(f.at().node.pos);
    let given = f.given("queue_config");
    let is_null = given.as_ref().is_some_and(|at| at.node.is_null());
    let at = given.unwrap_or_else(|| At::root(f.reader(), &null));
    let mut q = at.fields();
    // A section that is there but null has no defaults in the reference, and fails there by its first check.
    let or = |default: i64| if is_null { 0 } else { default };
    let queue = QueueConfig {
        capacity: q.take("capacity", or(10_000)),
        max_shards: q.take("max_shards", or(50)),
        min_shards: q.take("min_shards", or(1)),
        max_samples_per_send: q.take("max_samples_per_send", or(2000)),
        batch_send_deadline: q.take("batch_send_deadline", DurationMs(or(5000))),
        min_backoff: q.take("min_backoff", DurationMs(or(30))),
        max_backoff: q.take("max_backoff", DurationMs(or(5000))),
        retry_on_http_429: q.take("retry_on_http_429", false),
        sample_age_limit: q.take("sample_age_limit", DurationMs(0)),
    };
    if !q.has_faulty() {
        for (key, why) in check_queue(&queue) {
            q.mistake(key, format!("remote write queue {why}"));
        }
    }
    f.put("queue_config", q.finish().into_out_or_omit());
    queue
}

fn check_queue(queue: &QueueConfig) -> Vec<(&'static str, &'static str)> {
    let mut wrong = Vec::new();
    let checks = [
        ("max_shards", queue.max_shards > 0, "max_shards must be positive"),
        ("min_shards", queue.min_shards > 0, "min_shards must be positive"),
        ("min_shards", queue.min_shards <= queue.max_shards, "min_shards must not be greater than max_shards"),
        ("max_samples_per_send", queue.max_samples_per_send > 0, "max_samples_per_send must be positive"),
        ("capacity", queue.capacity > 0, "capacity must be positive"),
        ("max_backoff", queue.max_backoff >= queue.min_backoff, "max_backoff must not be less than min_backoff"),
    ];
    wrong.extend(checks.into_iter().filter(|(_, fine, _)| !fine).map(|(key, _, why)| (key, why)));
    wrong
}

fn read_metadata(f: &mut Fields<'_>) -> MetadataConfig {
    let null = super::yaml::Node::null(f.at().node.pos);
    let at = f.section("metadata_config").unwrap_or_else(|| At::root(f.reader(), &null));
    let mut m = at.fields();
    let metadata = MetadataConfig {
        send: m.always("send", true),
        send_interval: m.always("send_interval", DurationMs::from_secs(60)),
        max_samples_per_send: m.take("max_samples_per_send", 2000),
    };
    f.put("metadata_config", m.finish().into_out_or_omit());
    metadata
}

/// Credentials of clouds: checked as sections, kept by nobody yet.
fn read_cloud_auth(f: &mut Fields<'_>) {
    if let Some(at) = f.section("sigv4") {
        let shown = read_sigv4(&at);
        f.put("sigv4", shown.into_out());
    }
    if let Some(at) = f.section("azuread") {
        let shown = read_azure(&at);
        f.put("azuread", shown.into_out());
    }
    if let Some(at) = f.section("google_iam") {
        let mut g = at.fields();
        // Not joined with the directory of the config: the reference does not do so either.
        g.take::<String>("credentials_file", String::new());
        f.put("google_iam", g.finish().into_out());
    }
}

/// Checks a `sigv4` section.
pub(super) fn read_sigv4(at: &At<'_>) -> Shown {
    let mut f = at.fields();
    f.take::<String>("region", String::new());
    let access_key: String = f.take("access_key", String::new());
    let secret_key: Secret = f.take("secret_key", Secret::default());
    for key in ["profile", "role_arn", "external_id", "service"] {
        f.take::<String>(key, String::new());
    }
    f.take("use_fips_sts_endpoint", false);
    if access_key.is_empty() != secret_key.is_zero() {
        let why = "must provide a AWS SigV4 Access key and Secret Key if credentials are specified in the SigV4 config";
        f.mistake(if access_key.is_empty() { "access_key" } else { "secret_key" }, why);
    }
    f.finish()
}

const AZURE_METHODS: [&str; 5] = ["managed_identity", "workload_identity", "oauth", "sdk", "certificate"];

fn read_azure(at: &At<'_>) -> Shown {
    let mut f = at.fields();
    let mut methods = 0;
    for method in AZURE_METHODS {
        if let Some(at) = f.section(method) {
            methods += 1;
            let shown = read_azure_method(method, &at);
            f.put(method, shown.into_out());
        }
    }
    let mut cloud: String = f.take("cloud", String::new());
    if cloud.is_empty() {
        cloud = "AzurePublic".into();
        f.put("cloud", cloud.out());
    }
    let scope: String = f.take("scope", String::new());
    if !matches!(cloud.as_str(), "AzurePublic" | "AzureGovernment" | "AzureChina") {
        let why = "must provide a cloud in the Azure AD config";
        f.mistake("cloud", format!("{why}; allowed: AzurePublic, AzureGovernment, AzureChina"));
    }
    match methods {
        0 => f.mistake("managed_identity", "must provide an Azure Managed Identity, Azure Workload Identity, Azure OAuth, Azure Certificate or Azure SDK in the Azure AD config"),
        1 => {}
        _ => f.mistake("oauth", "cannot provide multiple authentication methods in the Azure AD config"),
    }
    if scope.chars().any(|c| !(c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || "_:/.-".contains(c))) {
        f.mistake("scope", "the provided scope contains invalid characters");
    }
    f.finish()
}

fn read_azure_method(method: &'static str, at: &At<'_>) -> Shown {
    let mut f = at.fields();
    let (name, needed): (&str, &[&'static str]) = match method {
        "managed_identity" => ("Managed Identity", &[]),
        "workload_identity" => ("Workload Identity", &["client_id", "tenant_id"]),
        "oauth" => ("OAuth", &["client_id", "client_secret", "tenant_id"]),
        "sdk" => ("SDK", &[]),
        _ => ("Certificate", &["client_id", "tenant_id", "certificate_path"]),
    };
    if method != "sdk" {
        let id: String = f.take("client_id", String::new());
        if !id.is_empty() && !is_uuid(&id) {
            f.mistake("client_id", format!("the provided Azure {name} client_id is invalid"));
        }
    }
    if method == "oauth" {
        f.take("client_secret", Secret::default());
    }
    if method != "managed_identity" {
        f.take::<String>("tenant_id", String::new());
    }
    match method {
        "workload_identity" => {
            f.take::<String>("token_file_path", String::new());
        }
        "certificate" => {
            f.take::<String>("certificate_path", String::new());
            f.take::<String>("certificate_key_path", String::new());
            f.take("certificate_password", Secret::default());
            f.take("send_certificate_chain", false);
        }
        _ => {}
    }
    for key in needed {
        let given = f.section(key).is_some_and(|at| at.node.scalar().is_none_or(|s| !s.text.is_empty()));
        if !given {
            f.mistake(key, format!("must provide an Azure {name} {key} in the Azure AD config"));
        }
    }
    f.finish()
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    groups.iter().map(|g| g.len()).eq([8, 4, 4, 4, 12]) && groups.concat().bytes().all(|b| b.is_ascii_hexdigit())
}

/// The configured name, and the config unless its URL cannot be used.
fn read_reader(at: &At<'_>, external: &Labels) -> ((String, Option<EndpointConfig>), Shown) {
    let mut f = at.fields();
    let text = read_url(&mut f, "remote_read");
    let url = Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    if url.is_none() && !text.is_empty() {
        // The text is not repeated: it may hold a password.
        f.mistake("url", "is not a URL that can be asked: http:// or https:// and a host are needed");
    }
    let timeout = f.take("remote_timeout", DurationMs::from_secs(60));
    let frame_limit = f.take("chunked_read_limit", EndpointConfig::FRAME_LIMIT);
    let headers = http::read_plain_headers(
        &mut f,
        "authorization header must be changed via the basic_auth, authorization, oauth2, sigv4, azuread or google_iam parameter",
    );
    let read_recent = f.take("read_recent", false);
    let name = f.take("name", String::new());
    let HttpSection { client, .. } = http::read(&mut f, true, OAuth2::Refused);
    let required = labels::read(&mut f, "required_matchers", NameValidation::Utf8);
    let filter_external_labels = f.take("filter_external_labels", true);
    let config = url.map(EndpointConfig::new).map(|defaults| EndpointConfig {
        name: if name.is_empty() { defaults.name.clone() } else { name.clone() },
        timeout: timeout.to_std(),
        frame_limit,
        headers,
        read_recent,
        client,
        required: labels::to_labels(&required),
        external: if filter_external_labels { external.clone() } else { Labels::empty() },
        ..defaults
    });
    ((name, config), f.finish())
}
