//! The keys that say how requests are sent; they appear in jobs, discovery, Alertmanagers and remote storage.

use std::collections::BTreeMap;

use url::Url;

use super::fields::{At, Field, Fields, Shown, natural_order};
use super::render::Out;
use crate::net::{Auth, Header, HttpClientConfig, ProxyConfig, Secret, SecretSource, TlsConfig, TlsVersion};

/// Client credentials that are exchanged for a token.
#[derive(Clone, PartialEq, Debug)]
pub struct OAuth2Config {
    /// Who asks.
    pub client_id: String,
    /// The secret of `client_credentials`.
    pub client_secret: Option<SecretSource>,
    /// The key of a JWT grant.
    pub client_certificate_key: Option<SecretSource>,
    /// Whom to ask.
    pub token_url: String,
    /// What to ask for.
    pub scopes: Vec<String>,
    /// Further parameters of the request.
    pub endpoint_params: BTreeMap<String, String>,
    /// TLS of the request.
    pub tls: TlsConfig,
    /// Proxy of the request.
    pub proxy: ProxyConfig,
}

/// Whether `oauth2` may be used; this version cannot obtain tokens, so only sections that it does not act upon may.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum OAuth2 {
    Refused,
    Checked,
}

/// What the keys say.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct HttpSection {
    pub client: HttpClientConfig,
    pub oauth2: Option<OAuth2Config>,
    /// Which of `basic_auth`, `authorization`, `oauth2` is given.
    pub auth_keys: Vec<&'static str>,
}

const NO_MANAGER: &str = "secrets by reference need a secret manager, and there is none; name a file instead";
const TOO_MANY: &str = "at most one of basic_auth, oauth2 & authorization must be configured";

/// Takes the keys of `http_config` from `f`, in order.
pub(super) fn read(f: &mut Fields<'_>, enable_http2: bool, oauth2: OAuth2) -> HttpSection {
    let mut section = HttpSection::default();
    let basic = f.section("basic_auth").map(|at| basic_auth(&at));
    let authorization = f.section("authorization").map(|at| authorization(&at));
    let oauth = match (f.section("oauth2"), oauth2) {
        (Some(at), OAuth2::Refused) => {
            at.mistake(
                "oauth2 is not available here; basic_auth, authorization with a credentials_file, and tls_config are",
            );
            None
        }
        (Some(at), OAuth2::Checked) => Some(read_oauth2(&at)),
        (None, _) => None,
    };
    let token: Secret = f.take("bearer_token", Secret::default());
    let token_file = f.path("bearer_token_file");
    check_auth(f, &basic, &authorization, !token.is_zero(), token_file.is_some());

    section.auth_keys = ["basic_auth", "authorization", "oauth2"].into_iter().filter(|k| f.has(k)).collect();
    if let Some((auth, shown)) = basic {
        section.client.auth = auth;
        f.put("basic_auth", shown.into_out());
    } else if let Some((auth, shown)) = authorization {
        section.client.auth = auth;
        f.put("authorization", shown.into_out());
    } else if let Some(credentials) = token_source(token, token_file) {
        // The old keys are another spelling of `authorization`, and are shown as such.
        f.put("bearer_token", Out::Omit);
        f.put("bearer_token_file", Out::Omit);
        f.put("authorization", show_authorization("Bearer", &credentials));
        section.client.auth = Auth::Authorization { scheme: "Bearer".into(), credentials };
        section.auth_keys.push("authorization");
    }
    if let Some((config, shown)) = oauth {
        section.oauth2 = Some(config);
        f.put("oauth2", shown.into_out());
    }
    section.client.tls = read_tls(f, "tls_config");
    section.client.follow_redirects = f.always("follow_redirects", true);
    section.client.enable_http2 = f.always("enable_http2", enable_http2);
    section.client.proxy = read_proxy(f);
    section.client.headers = read_headers(f);
    section
}

fn token_source(token: Secret, file: Option<std::path::PathBuf>) -> Option<SecretSource> {
    if token.is_zero() { file.map(SecretSource::File) } else { Some(SecretSource::Inline(token)) }
}

fn check_auth<B, A>(f: &Fields<'_>, basic: &Option<B>, authorization: &Option<A>, token: bool, token_file: bool) {
    let bearer_key = if token { "bearer_token" } else { "bearer_token_file" };
    if token && token_file {
        f.mistake("bearer_token_file", "at most one of bearer_token & bearer_token_file must be configured");
    }
    let bearer = token || token_file;
    if bearer && (basic.is_some() || f.has("oauth2")) {
        f.mistake(bearer_key, "at most one of basic_auth, oauth2, bearer_token & bearer_token_file must be configured");
    }
    if bearer && authorization.is_some() {
        f.mistake(bearer_key, "authorization is not compatible with bearer_token & bearer_token_file");
    }
    let given = [basic.is_some(), authorization.is_some(), f.has("oauth2")].into_iter().filter(|given| *given).count();
    if given > 1 {
        f.mistake(if authorization.is_some() { "authorization" } else { "oauth2" }, TOO_MANY);
    }
}

/// A secret under `key` or in the file under `file_key`; both are too many, and `ref_key` is refused.
fn secret(
    f: &mut Fields<'_>,
    key: &'static str,
    file_key: &'static str,
    ref_key: &'static str,
    both: &str,
) -> Option<SecretSource> {
    let inline: Secret = f.take(key, Secret::default());
    secret_or_file(f, inline, file_key, ref_key, both)
}

/// Like [`secret`], but the text is not secret and is shown.
fn text(
    f: &mut Fields<'_>,
    key: &'static str,
    file_key: &'static str,
    ref_key: &'static str,
    both: &str,
) -> Option<SecretSource> {
    let inline: String = f.take(key, String::new());
    secret_or_file(f, Secret::new(inline), file_key, ref_key, both)
}

fn secret_or_file(
    f: &mut Fields<'_>,
    inline: Secret,
    file_key: &'static str,
    ref_key: &'static str,
    both: &str,
) -> Option<SecretSource> {
    let file = f.path(file_key);
    f.refuse(ref_key, NO_MANAGER);
    match (inline.is_zero(), file) {
        (false, Some(_)) => {
            f.mistake(file_key, both);
            None
        }
        (false, None) => Some(SecretSource::Inline(inline)),
        (true, file) => file.map(SecretSource::File),
    }
}

fn basic_auth(at: &At<'_>) -> (Auth, Shown) {
    let mut f = at.fields();
    let username = text(
        &mut f,
        "username",
        "username_file",
        "username_ref",
        "at most one of basic_auth username, username_file & username_ref must be configured",
    );
    let password = secret(
        &mut f,
        "password",
        "password_file",
        "password_ref",
        "at most one of basic_auth password, password_file & password_ref must be configured",
    );
    let username = username.unwrap_or(SecretSource::Inline(Secret::default()));
    (Auth::Basic { username, password }, f.finish())
}

fn authorization(at: &At<'_>) -> (Auth, Shown) {
    let mut f = at.fields();
    let given: String = f.take("type", String::new());
    let scheme = if given.trim().is_empty() { "Bearer" } else { given.trim() };
    f.put("type", Out::Text(scheme.to_owned()));
    if scheme.eq_ignore_ascii_case("basic") {
        f.mistake("type", "authorization type cannot be set to \"basic\", use \"basic_auth\" instead");
    }
    if !is_token(scheme) {
        f.mistake("type", format!("{scheme:?} cannot be sent as the type of an Authorization header"));
    }
    let credentials = secret(
        &mut f,
        "credentials",
        "credentials_file",
        "credentials_ref",
        "at most one of authorization credentials & credentials_file must be configured",
    );
    let credentials = credentials.unwrap_or(SecretSource::Inline(Secret::default()));
    let scheme = scheme.to_owned();
    (Auth::Authorization { scheme, credentials }, f.finish())
}

fn show_authorization(scheme: &str, credentials: &SecretSource) -> Out {
    let (key, out) = match credentials {
        SecretSource::Inline(secret) => ("credentials", Out::secret(secret)),
        SecretSource::File(path) => ("credentials_file", super::fields::show_path(path)),
    };
    Out::Map(vec![("type".into(), Out::Text(scheme.into())), (key.into(), out)])
}

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

fn read_oauth2(at: &At<'_>) -> (OAuth2Config, Shown) {
    let mut f = at.fields();
    let client_id: String = f.take("client_id", String::new());
    let client_secret = secret(
        &mut f,
        "client_secret",
        "client_secret_file",
        "client_secret_ref",
        "at most one of oauth2 client_secret, client_secret_file & client_secret_ref must be configured",
    );
    f.take::<String>("client_certificate_key_id", String::new());
    let client_certificate_key = secret(
        &mut f,
        "client_certificate_key",
        "client_certificate_key_file",
        "client_certificate_key_ref",
        "at most one of oauth2 client_certificate_key, client_certificate_key_file & client_certificate_key_ref must be configured",
    );
    f.choice("grant_type", (), &[("", ()), ("client_credentials", ()), (JWT_BEARER, ())]);
    let algorithm: String = f.take("signature_algorithm", String::new());
    if !matches!(algorithm.as_str(), "" | "RS256" | "RS384" | "RS512") {
        f.mistake("signature_algorithm", "valid signature algorithms are RS256, RS384 and RS512");
    }
    f.take::<String>("iss", String::new());
    f.take::<String>("audience", String::new());
    f.take::<BTreeMap<String, Opaque>>("claims", BTreeMap::new());
    let scopes = f.take("scopes", Vec::new());
    let token_url: String = f.take("token_url", String::new());
    let endpoint_params = f.take("endpoint_params", BTreeMap::new());
    let tls = read_tls(&mut f, "tls_config");
    let proxy = read_proxy(&mut f);
    if client_id.is_empty() {
        f.mistake("client_id", "oauth2 client_id must be configured");
    }
    if token_url.is_empty() {
        f.mistake("token_url", "oauth2 token_url must be configured");
    }
    let config = OAuth2Config {
        client_id,
        client_secret,
        client_certificate_key,
        token_url,
        scopes,
        endpoint_params,
        tls,
        proxy,
    };
    (config, f.finish())
}

/// Any value; kept only to be shown.
struct Opaque(Out);

impl Field for Opaque {
    fn read(at: &At<'_>) -> Option<Opaque> {
        use super::yaml::Content;
        Some(Opaque(match &at.node.content {
            Content::Scalar(s) if s.resolve() == super::scalar::Resolved::Text => Out::Text(s.text.clone()),
            Content::Scalar(s) => Out::Word(s.text.clone()),
            Content::Seq(_) => Out::Seq(at.items().iter().filter_map(At::read::<Opaque>).map(|o| o.0).collect()),
            Content::Map(_) => return at.read::<BTreeMap<String, Opaque>>().map(|m| Opaque(m.out())),
            Content::Bytes(_) | Content::Broken(_) => return at.read::<String>().map(|s| Opaque(Out::Text(s))),
        }))
    }
    fn zero() -> Opaque {
        Opaque(Out::Word("null".into()))
    }
    fn is_zero(&self) -> bool {
        false
    }
    fn out(&self) -> Out {
        self.0.clone()
    }
}

/// Takes a `tls_config` from `f`.
pub(super) fn read_tls(f: &mut Fields<'_>, key: &'static str) -> TlsConfig {
    let Some(at) = f.section(key) else { return TlsConfig::default() };
    let mut t = at.fields();
    let ca_text: String = t.take("ca", String::new());
    let cert_text: String = t.take("cert", String::new());
    let key_text: Secret = t.take("key", Secret::default());
    let mut one_of = |inline: Secret, file, reference, both| secret_or_file(&mut t, inline, file, reference, both);
    let ca =
        one_of(Secret::new(ca_text), "ca_file", "ca_ref", "at most one of ca, ca_file & ca_ref must be configured");
    let cert = one_of(
        Secret::new(cert_text),
        "cert_file",
        "cert_ref",
        "at most one of cert, cert_file & cert_ref must be configured",
    );
    let client_key = one_of(key_text, "key_file", "key_ref", "at most one of key and key_file must be configured");
    let server_name: String = t.take("server_name", String::new());
    let insecure_skip_verify = t.take("insecure_skip_verify", false);
    let versions =
        [("TLS13", Some(TlsVersion::Tls13)), ("TLS12", Some(TlsVersion::Tls12)), ("TLS11", None), ("TLS10", None)];
    let min_version = tls_version(&mut t, "min_version", &versions);
    let max_version = tls_version(&mut t, "max_version", &versions);
    match (&cert, &client_key) {
        (Some(_), None) => {
            t.mistake(
                "key_file",
                "exactly one of key or key_file must be configured when a client certificate is configured",
            );
        }
        (None, Some(_)) => {
            t.mistake(
                "cert_file",
                "exactly one of cert or cert_file must be configured when a client key is configured",
            );
        }
        _ => {}
    }
    if min_version == Some(Some(TlsVersion::Tls13)) && max_version == Some(Some(TlsVersion::Tls12)) {
        t.mistake("max_version", "max_version is below min_version");
    }
    if min_version == Some(None) {
        t.at().warn("min_version: TLS 1.0 and 1.1 are not spoken; the lowest version is TLS 1.2");
    }
    if max_version == Some(None) {
        t.mistake("max_version", "TLS 1.0 and 1.1 are not spoken; allowed: TLS12, TLS13");
    }
    let mut shown = t.finish();
    let tls = TlsConfig {
        ca,
        cert,
        key: client_key,
        server_name: (!server_name.is_empty()).then_some(server_name),
        insecure_skip_verify,
        min_version: min_version.flatten(),
        max_version: max_version.flatten(),
    };
    if tls != TlsConfig::default() || min_version.is_some() {
        // Shown even if false, but not as the only key.
        shown.set("insecure_skip_verify", insecure_skip_verify.out());
    }
    f.put(key, shown.into_out_or_omit());
    tls
}

fn tls_version(
    t: &mut Fields<'_>,
    key: &'static str,
    versions: &[(&'static str, Option<TlsVersion>)],
) -> Option<Option<TlsVersion>> {
    let name: String = t.take(key, String::new());
    if name.is_empty() {
        return None;
    }
    let found = versions.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
    if found.is_none() {
        t.mistake(key, format!("unknown TLS version: {name}; allowed: TLS12, TLS13"));
    }
    found
}

/// Takes the proxy's keys from `f`.
pub(super) fn read_proxy(f: &mut Fields<'_>) -> ProxyConfig {
    let url = read_proxy_url(f);
    let no_proxy: String = f.take("no_proxy", String::new());
    let from_environment = f.take("proxy_from_environment", false);
    let connect: BTreeMap<String, Vec<Secret>> = f.take("proxy_connect_header", BTreeMap::new());
    for name in connect.keys().filter(|n| !is_token(n)) {
        f.mistake("proxy_connect_header", format!("{name:?} is not a valid header name"));
    }
    let has_url = url.is_some();
    // A proxy that is given but wrong has been told already.
    if !connect.is_empty() && !from_environment && !f.has("proxy_url") && !f.has_faulty() {
        let why = "if proxy_connect_header is configured, proxy_url or proxy_from_environment must also be configured";
        f.mistake("proxy_connect_header", why);
    }
    if from_environment && has_url {
        f.mistake(
            "proxy_from_environment",
            "if proxy_from_environment is configured, proxy_url must not be configured",
        );
    }
    if from_environment && !no_proxy.is_empty() {
        f.mistake("no_proxy", "if proxy_from_environment is configured, no_proxy must not be configured");
    } else if !no_proxy.is_empty() && !f.has("proxy_url") {
        f.mistake("no_proxy", "if no_proxy is configured, proxy_url must also be configured");
    }
    let connect_headers = sorted(connect)
        .into_iter()
        .map(|(name, values)| Header { name, values: values.into_iter().map(SecretSource::Inline).collect() });
    ProxyConfig { url, from_environment, no_proxy, connect_headers: connect_headers.collect() }
}

fn read_proxy_url(f: &mut Fields<'_>) -> Option<Url> {
    let at = f.section("proxy_url")?;
    let text = at.text()?;
    if text.is_empty() {
        return None;
    }
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https" | "socks5" | "socks5h") && url.has_host() => {
            f.put("proxy_url", show_url(text));
            Some(url)
        }
        // The text is not repeated: it may hold a password.
        Ok(_) => {
            at.mistake("a proxy is written like http://host:port; allowed schemes: http, https, socks5, socks5h");
            None
        }
        Err(e) => {
            at.mistake(format!("not a URL: {e}; a proxy is written like http://host:port"));
            None
        }
    }
}

/// A URL to show: a password in it becomes `xxxxx`.
pub(super) fn show_url(text: &str) -> Out {
    let authority = text.find("://").map_or(text.len(), |i| i + 3);
    let end = text[authority..].find(['/', '?', '#']).map_or(text.len(), |i| authority + i);
    let password = text[authority..end].rfind('@').and_then(|at| {
        let colon = text[authority..authority + at].find(':')?;
        Some((authority + colon + 1, authority + at))
    });
    match password {
        None => Out::Text(text.to_owned()),
        Some((from, to)) => {
            Out::Hidden { shown: format!("{}xxxxx{}", &text[..from], &text[to..]), secret: Secret::new(text) }
        }
    }
}

/// Headers that belong to the connection or have keys of their own.
const RESERVED: [&str; 19] = [
    "authorization",
    "host",
    "content-encoding",
    "content-length",
    "content-type",
    "user-agent",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "www-authenticate",
    "accept-encoding",
    "x-prometheus-remote-write-version",
    "x-prometheus-remote-read-version",
    "x-prometheus-scrape-timeout-seconds",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-content-sha256",
    "transfer-encoding",
];

fn read_headers(f: &mut Fields<'_>) -> Vec<Header> {
    let Some(at) = f.section("http_headers") else { return Vec::new() };
    let mut headers = Vec::new();
    let mut shown = Vec::new();
    for (name_at, value_at) in at.pairs() {
        let Some(name) = name_at.text() else { continue };
        if RESERVED.contains(&name.to_ascii_lowercase().as_str()) {
            name_at.mistake(format!("setting header {name:?} is not allowed"));
        } else if !is_token(name) {
            name_at.mistake(format!("{name:?} is not a valid header name"));
        }
        let mut h = value_at.fields();
        let plain: Vec<String> = h.take("values", Vec::new());
        let secrets: Vec<Secret> = h.take("secrets", Vec::new());
        let files: Vec<String> = h.take("files", Vec::new());
        let files: Vec<_> = files.iter().map(|p| h.reader().path(p)).collect();
        h.put(
            "files",
            if files.is_empty() {
                Out::Omit
            } else {
                Out::Seq(files.iter().map(|p| super::fields::show_path(p)).collect())
            },
        );
        let inline = plain.into_iter().map(Secret::new).chain(secrets);
        let values: Vec<SecretSource> =
            inline.map(SecretSource::Inline).chain(files.into_iter().map(SecretSource::File)).collect();
        let unsendable =
            |v: &SecretSource| matches!(v, SecretSource::Inline(s) if s.reveal().contains(['\r', '\n', '\0']));
        if values.iter().any(unsendable) {
            value_at.mistake("a header value cannot hold line breaks");
        }
        shown.push((name.to_owned(), h.finish().into_out()));
        headers.push(Header { name: name.to_owned(), values });
    }
    headers.sort_by(|a, b| natural_order(&a.name, &b.name));
    shown.sort_by(|a, b| natural_order(&a.0, &b.0));
    f.put("http_headers", Out::Map(shown));
    headers
}

/// Headers of remote storage and of tracing, a plain mapping; some may not be changed. The reference shows their values, but
/// many a service wants its key in a header, and people write it where there is room for it.
pub(super) fn read_plain_headers(f: &mut Fields<'_>, authorization: &str) -> BTreeMap<String, String> {
    let headers: BTreeMap<String, String> = f.take("headers", BTreeMap::new());
    for name in headers.keys() {
        let lower = name.to_ascii_lowercase();
        if lower == "authorization" {
            f.mistake("headers", authorization);
        } else if RESERVED.contains(&lower.as_str())
            && !matches!(lower.as_str(), "transfer-encoding" | "x-prometheus-scrape-timeout-seconds")
        {
            f.mistake("headers", format!("{name} is a reserved header. It must not be changed"));
        } else if !is_token(name) {
            f.mistake("headers", format!("{name:?} is not a valid header name"));
        }
    }
    if !headers.is_empty() {
        let shown = headers.iter().map(|(name, value)| (name.clone(), Out::secret(&Secret::new(value))));
        f.put("headers", Out::Map(shown.collect()));
    }
    headers
}

fn sorted<T>(map: BTreeMap<String, T>) -> Vec<(String, T)> {
    let mut entries: Vec<(String, T)> = map.into_iter().collect();
    entries.sort_by(|a, b| natural_order(&a.0, &b.0));
    entries
}

/// What RFC 9110 calls a token: header names and authorization schemes.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// A URL that is only kept as text is checked for what no client could send.
pub(super) fn check_url(text: &str) -> Result<(), String> {
    if text.chars().any(|c| c.is_ascii_control()) {
        return Err("invalid control character in URL".into());
    }
    if text.starts_with(':') {
        return Err("missing protocol scheme".into());
    }
    let Some((scheme, rest)) = text.split_once("://") else { return Ok(()) };
    if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return Err(format!("{scheme:?} is not a URL scheme"));
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let port = if host.starts_with('[') {
        host.rsplit_once("]:").map(|(_, p)| p)
    } else {
        host.split_once(':').map(|(_, p)| p)
    };
    match port {
        Some(port) if !port.bytes().all(|b| b.is_ascii_digit()) => Err(format!("invalid port {port:?} after host")),
        _ if host.contains([' ', '<', '>', '"']) => Err(format!("invalid character in host name {host:?}")),
        _ => Ok(()),
    }
}
