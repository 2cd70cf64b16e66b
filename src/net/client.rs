//! The client: one request out, one answer in.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use parking_lot::Mutex;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{Method, StatusCode};
use tokio::time::Instant;
use url::Url;

use super::proxy::{Proxies, secret_header};
use super::secret::Watched;
use super::tls::{TlsSettings, Versions, no_tls};
use super::{Auth, Body, ClientError, Header, HttpClientConfig};

/// As many redirects as Go follows.
const MAX_REDIRECTS: usize = 10;
/// An unused connection is kept for longer than any sensible scrape interval.
const IDLE: Duration = Duration::from_secs(300);
/// No connection takes longer, even for a request without a time limit; the same as Go's.
const MAX_CONNECT: Duration = Duration::from_secs(30);
/// Unused connections kept for one host: more than a job's targets on one host ask for at once.
const MAX_IDLE_PER_HOST: usize = 4;
/// Of a redirect's own body this much is read to keep the connection.
const MAX_REDIRECT_BODY: u64 = 2048;

/// Sends requests as one `http_config` says. Cloning gives another handle to the same connections.
///
/// Building one is cheap and reads no file: files are read when a request needs them. A client holds no TLS state
/// before its first `https` request.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    name: String,
    auth: AuthSource,
    headers: Vec<(HeaderName, Vec<Watched>)>,
    proxies: Proxies,
    tls: TlsSettings,
    follow_redirects: bool,
    plain: OnceLock<reqwest::Client>,
    secure: Mutex<Option<Secure>>,
}

enum AuthSource {
    None,
    Basic { username: Watched, password: Option<Watched> },
    Authorization { scheme: String, credentials: Watched },
}

/// The inner clients for `https`, rebuilt when a certificate file changes.
struct Secure {
    /// What they were built from.
    versions: Versions,
    /// The newest versions that turned out to be broken, so that they are tried once.
    broken: Option<Versions>,
    /// What was last logged about unusable files, so that it is logged once.
    complaint: Option<String>,
    config: rustls::ClientConfig,
    direct: reqwest::Client,
    /// With an overriding server name: one client per real host and port, because the URL that the library keys its
    /// connections by shows only the overriding name. Unused ones are closed after [`IDLE`].
    renamed: HashMap<String, (reqwest::Client, Instant)>,
}

/// One request. The client adds credentials, the configured headers and a user agent where they are missing.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Where to; `http` or `https`.
    pub url: Url,
    /// Headers of this request.
    pub headers: HeaderMap,
    /// The body; empty for none.
    pub body: Bytes,
    /// The time allowed for everything: resolving, connecting, all redirects, the whole body. `None` for no end.
    pub timeout: Option<Duration>,
}

impl Request {
    /// A `GET` without a time limit.
    pub fn get(url: Url) -> Request {
        Request { method: Method::GET, url, headers: HeaderMap::new(), body: Bytes::new(), timeout: None }
    }

    /// Sets the time allowed for everything.
    pub fn timeout(mut self, timeout: Duration) -> Request {
        self.timeout = Some(timeout);
        self
    }

    /// Sets a header, replacing its earlier values.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Request {
        self.headers.insert(name, value);
        self
    }
}

/// The beginning of an answer; its body is still on the way.
pub struct Response {
    /// The status; whatever the peer said, also an error.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// What was asked last, after redirects.
    pub url: Url,
    /// The body.
    pub body: Body,
}

impl Response {
    /// The `Content-Encoding`; empty where there is none.
    pub fn content_encoding(&self) -> &str {
        self.headers.get(CONTENT_ENCODING).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    /// Turns every status but 200 into an error.
    pub fn ok(self) -> Result<Response, ClientError> {
        match self.status {
            StatusCode::OK => Ok(self),
            status => Err(ClientError::Status(status)),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.0.name)
    }
}

impl Client {
    /// Checks the configuration; `name` appears in log lines. Everything that is wrong with the configuration itself
    /// is an error here; a file that is missing or broken is an error of the request that needs it.
    pub fn new(config: &HttpClientConfig, name: &str) -> Result<Client, ClientError> {
        let tls = TlsSettings::new(&config.tls, config.enable_http2)?;
        let proxies = Proxies::new(&config.proxy)?;
        if proxies.any() && tls.override_host().is_some() {
            return Err(ClientError::Config(
                "server_name together with a proxy is not supported: the proxy would be asked for the wrong host"
                    .to_owned(),
            ));
        }
        Ok(Client(Arc::new(Inner {
            name: name.to_owned(),
            auth: AuthSource::new(&config.auth)?,
            headers: header_sources("http_headers", &config.headers)?,
            proxies,
            tls,
            follow_redirects: config.follow_redirects,
            plain: OnceLock::new(),
            secure: Mutex::new(None),
        })))
    }

    /// Sends a request and waits for the head of the answer. Redirects are followed if so configured; credentials and
    /// configured headers do not follow to another host (a subdomain counts as the same) and not from `https` to
    /// `http`. Dropping the future gives the request up and closes its connection.
    pub async fn send(&self, request: Request) -> Result<Response, ClientError> {
        match request.timeout {
            None => self.follow(request, None).await,
            Some(after) => {
                let at = Instant::now() + after;
                let answer = self.follow(request, Some((at, after)));
                tokio::time::timeout_at(at, answer).await.map_err(|_| ClientError::Timeout { after })?
            }
        }
    }

    async fn follow(
        &self,
        mut request: Request,
        deadline: Option<(Instant, Duration)>,
    ) -> Result<Response, ClientError> {
        let origin = request.url.clone();
        let mut trusted = true;
        for hop in 0.. {
            let response = self.send_once(&request, trusted).await?;
            let next = match self.0.follow_redirects {
                true => redirect(&request, response.status(), response.headers())?,
                false => None,
            };
            let Some(next) = next else {
                return Ok(Response {
                    status: response.status(),
                    headers: response.headers().clone(),
                    body: Body::new(response, request.url.clone(), deadline),
                    url: request.url,
                });
            };
            if hop == MAX_REDIRECTS {
                return Err(ClientError::RedirectLoop { limit: MAX_REDIRECTS, last: printable(&next.url) });
            }
            discard(response).await;
            // Once it has left, coming back does not make a chain trusted again.
            trusted = trusted && may_have_credentials(&origin, &next.url);
            if !trusted {
                next_is_foreign(&mut request.headers);
            }
            request = Request { headers: std::mem::take(&mut request.headers), ..next };
        }
        // The loop above counts without end and returns from within.
        Err(ClientError::RedirectLoop { limit: MAX_REDIRECTS, last: printable(&origin) })
    }

    async fn send_once(&self, request: &Request, trusted: bool) -> Result<reqwest::Response, ClientError> {
        let mut url = request.url.clone();
        let mut headers = request.headers.clone();
        if trusted {
            self.0.add_secrets(&url, &mut headers)?;
        }
        if !headers.contains_key(reqwest::header::USER_AGENT) {
            headers.insert(reqwest::header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        }
        strip_user(&mut url);
        let inner = match url.scheme() {
            "http" => self.0.plain_client()?,
            "https" => self.0.secure_client(&mut url, &mut headers)?,
            other => return Err(ClientError::Config(format!("URL scheme {other:?} is not http or https"))),
        };
        let mut out = reqwest::Request::new(request.method.clone(), url);
        *out.headers_mut() = headers;
        if !request.body.is_empty() {
            *out.body_mut() = Some(request.body.clone().into());
        }
        inner.execute(out).await.map_err(|error| ClientError::from_http(&error, &request.url))
    }
}

const USER_AGENT: &str = concat!("Watershed/", env!("CARGO_PKG_VERSION"));

impl Inner {
    fn add_secrets(&self, url: &Url, headers: &mut HeaderMap) -> Result<(), ClientError> {
        if !headers.contains_key(AUTHORIZATION)
            && let Some(value) = self.auth.header(url)?
        {
            headers.insert(AUTHORIZATION, value);
        }
        for (name, values) in &self.headers {
            // Those of the config replace those of the request.
            headers.remove(name);
            for value in values {
                headers.append(name, secret_header(name, &value.get()?.0)?);
            }
        }
        Ok(())
    }

    /// For `http`. It gets no TLS configuration unless a proxy needs one.
    fn plain_client(&self) -> Result<reqwest::Client, ClientError> {
        if self.proxies.plain_needs_tls() {
            return self.with_secure(|secure| Ok(secure.direct.clone()));
        }
        if let Some(client) = self.plain.get() {
            return Ok(client.clone());
        }
        let client = build(&self.proxies, no_tls()?, None)?;
        Ok(self.plain.get_or_init(|| client).clone())
    }

    /// For `https`: puts the overriding server name into the URL where there is one and returns the client that still
    /// connects to the real host.
    fn secure_client(&self, url: &mut Url, headers: &mut HeaderMap) -> Result<reqwest::Client, ClientError> {
        let real = url.clone();
        if let Some(name) = self.tls.override_host() {
            let host = super::error::peer_of(&real);
            let host = if real.port().is_none() { real.host_str().unwrap_or(&host) } else { &host };
            if let (false, Ok(value)) = (headers.contains_key(HOST), HeaderValue::from_str(host)) {
                headers.insert(HOST, value);
            }
            // A checked DNS name is a valid host.
            let _ = url.set_host(Some(name));
        }
        self.with_secure(|secure| match self.tls.override_host() {
            None => Ok(secure.direct.clone()),
            Some(_) => secure.renamed(&self.proxies, &real),
        })
    }

    /// Runs `use_it` with clients that are built from the files as they are now.
    fn with_secure<R>(&self, use_it: impl FnOnce(&mut Secure) -> Result<R, ClientError>) -> Result<R, ClientError> {
        // The lock is held while files are read, at most once per change; it is never held across a wait.
        let mut slot = self.secure.lock();
        let Some(secure) = &mut *slot else {
            return use_it(slot.insert(Secure::build(&self.tls, &self.proxies)?));
        };
        self.refresh(secure);
        use_it(secure)
    }

    fn refresh(&self, secure: &mut Secure) {
        let rebuilt = self.tls.material().map(|m| (m.versions, m)).and_then(|(versions, material)| {
            if versions == secure.versions {
                secure.complaint = None;
                return Ok(None);
            }
            if Some(versions) == secure.broken {
                return Ok(None);
            }
            secure.broken = Some(versions);
            Secure::from_material(&self.tls, &self.proxies, &material).map(Some)
        });
        match rebuilt {
            Ok(None) => {}
            Ok(Some(new)) => {
                tracing::info!(client = %self.name, "certificate files have changed and are in use now");
                *secure = new;
            }
            Err(error) => {
                let error = error.to_string();
                if secure.complaint.as_ref() != Some(&error) {
                    tracing::warn!(client = %self.name, %error, "cannot use changed certificate files, keeping the old");
                    secure.complaint = Some(error);
                }
            }
        }
    }
}

impl Secure {
    fn build(tls: &TlsSettings, proxies: &Proxies) -> Result<Secure, ClientError> {
        Secure::from_material(tls, proxies, &tls.material()?)
    }

    fn from_material(
        tls: &TlsSettings,
        proxies: &Proxies,
        material: &super::tls::Material,
    ) -> Result<Secure, ClientError> {
        let config = tls.build(material)?;
        let direct = build(proxies, config.clone(), None)?;
        Ok(Secure {
            versions: material.versions,
            broken: None,
            complaint: None,
            config,
            direct,
            renamed: HashMap::new(),
        })
    }

    fn renamed(&mut self, proxies: &Proxies, real: &Url) -> Result<reqwest::Client, ClientError> {
        let key = super::error::peer_of(real);
        let now = Instant::now();
        if let Some((client, used)) = self.renamed.get_mut(&key) {
            *used = now;
            return Ok(client.clone());
        }
        self.renamed.retain(|_, (_, used)| now.duration_since(*used) < IDLE);
        let host = real.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let client = build(proxies, self.config.clone(), Some(FixedHost(Arc::from(host))))?;
        self.renamed.insert(key, (client.clone(), now));
        Ok(client)
    }
}

fn build(
    proxies: &Proxies,
    tls: rustls::ClientConfig,
    resolver: Option<FixedHost>,
) -> Result<reqwest::Client, ClientError> {
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(MAX_CONNECT)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(MAX_IDLE_PER_HOST)
        .tls_backend_preconfigured(tls);
    if let Some(resolver) = resolver {
        builder = builder.dns_resolver(Arc::new(resolver));
    }
    proxies.apply(builder)?.build().map_err(|e| ClientError::Config(e.to_string()))
}

/// Resolves every name to the addresses of one host.
struct FixedHost(Arc<str>);

impl Resolve for FixedHost {
    fn resolve(&self, _: Name) -> Resolving {
        let host = self.0.clone();
        let resolving: std::pin::Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(async move {
            // Port 0 means the URL's port.
            let found: Vec<SocketAddr> = tokio::net::lookup_host((&*host, 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        });
        resolving
    }
}

impl AuthSource {
    fn new(auth: &Auth) -> Result<AuthSource, ClientError> {
        Ok(match auth {
            Auth::None => AuthSource::None,
            Auth::Basic { username, password } => AuthSource::Basic {
                username: Watched::new("username", username.clone()),
                password: password.clone().map(|p| Watched::new("password", p)),
            },
            Auth::Authorization { scheme, credentials } => {
                if scheme.is_empty() || !scheme.bytes().all(|b| b.is_ascii_graphic()) {
                    return Err(ClientError::Config(format!("{scheme:?} is not an authorization type")));
                }
                AuthSource::Authorization {
                    scheme: scheme.clone(),
                    credentials: Watched::new("credentials", credentials.clone()),
                }
            }
        })
    }

    /// The header's value; from the URL's user where nothing is configured.
    fn header(&self, url: &Url) -> Result<Option<HeaderValue>, ClientError> {
        let text = match self {
            AuthSource::None if url.username().is_empty() => return Ok(None),
            AuthSource::None => basic(&decode(url.username()), &decode(url.password().unwrap_or_default())),
            AuthSource::Basic { username, password } => {
                let password = password.as_ref().map(Watched::get).transpose()?;
                basic(&username.get()?.0, password.as_ref().map_or("", |(text, _)| text))
            }
            AuthSource::Authorization { scheme, credentials } => format!("{scheme} {}", credentials.get()?.0),
        };
        secret_header(&AUTHORIZATION, &text).map(Some)
    }
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

/// Undoes the percent encoding of a URL's user.
fn decode(text: &str) -> String {
    // What means something to the form decoder means nothing here, so it is protected first.
    let text = text.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    form_urlencoded::parse(text.as_bytes()).next().map(|(name, _)| name.into_owned()).unwrap_or_default()
}

/// Checks configured headers; their values are read when they are sent.
pub(super) fn header_sources(key: &str, headers: &[Header]) -> Result<Vec<(HeaderName, Vec<Watched>)>, ClientError> {
    headers
        .iter()
        .map(|header| {
            let name = HeaderName::from_bytes(header.name.as_bytes())
                .map_err(|_| ClientError::Config(format!("{key}: {:?} is not a header name", header.name)))?;
            Ok((name, header.values.iter().map(|v| Watched::new("header", v.clone())).collect()))
        })
        .collect()
}

/// Where an answer leads: the next request without headers, or `None` if it is final.
fn redirect(request: &Request, status: StatusCode, headers: &HeaderMap) -> Result<Option<Request>, ClientError> {
    let keeps_method = match status.as_u16() {
        301..=303 => false,
        307 | 308 => true,
        _ => return Ok(None),
    };
    let Some(location) = headers.get(LOCATION) else { return Ok(None) };
    let text = String::from_utf8_lossy(location.as_bytes());
    let usable = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    let Some(url) = request.url.join(&text).ok().filter(usable) else {
        return Err(ClientError::Redirect { location: text.chars().take(200).collect() });
    };
    let keeps_method = keeps_method || request.method == Method::GET || request.method == Method::HEAD;
    let (method, body) = match keeps_method {
        true => (request.method.clone(), request.body.clone()),
        false => (Method::GET, Bytes::new()),
    };
    Ok(Some(Request { method, url, headers: HeaderMap::new(), body, timeout: request.timeout }))
}

/// Go's rule of the same host or a subdomain of it, and additionally never from encrypted to plain.
fn may_have_credentials(origin: &Url, next: &Url) -> bool {
    let (Some(from), Some(to)) = (origin.host_str(), next.host_str()) else { return false };
    let downgrade = origin.scheme() == "https" && next.scheme() == "http";
    let subdomain = origin.domain().is_some() && to.strip_suffix(from).is_some_and(|prefix| prefix.ends_with('.'));
    !downgrade && (from == to || subdomain)
}

/// Takes the credentials out of a request that goes to a host they are not meant for.
fn next_is_foreign(headers: &mut HeaderMap) {
    for name in [AUTHORIZATION, reqwest::header::COOKIE, reqwest::header::PROXY_AUTHORIZATION] {
        headers.remove(name);
    }
}

/// Reads the rest of a redirect so that its connection can be used again; a long one is not worth it.
async fn discard(mut response: reqwest::Response) {
    if response.content_length().is_some_and(|len| len <= MAX_REDIRECT_BODY) {
        // A broken body only costs the connection.
        while let Ok(Some(_)) = response.chunk().await {}
    }
}

fn strip_user(url: &mut Url) {
    if !url.username().is_empty() || url.password().is_some() {
        // Cannot fail for a URL that has a host, and those without are refused by the caller.
        let _ = url.set_username("");
        let _ = url.set_password(None);
    }
}

/// A URL without credentials and parameters, to be told in logs, warnings and on terminals.
pub fn printable(url: &Url) -> String {
    let mut url = url.clone();
    strip_user(&mut url);
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}
