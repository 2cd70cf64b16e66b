//! Which requests go through a proxy.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{NoProxy, Proxy};
use url::Url;

use super::secret::Watched;
use super::{ClientError, ProxyConfig};

/// The proxy settings of one client, resolved.
pub(super) struct Proxies {
    http: Option<Url>,
    https: Option<Url>,
    except: String,
    /// Sent with `CONNECT` only; their files are read when the client is built.
    connect_headers: Vec<(HeaderName, Vec<Watched>)>,
}

/// Hosts that neither `NO_PROXY` nor `no_proxy` need name, as everywhere in the field.
const LOOPBACK: &str = "localhost,127.0.0.0/8,::1";

impl Proxies {
    pub(super) fn new(config: &ProxyConfig) -> Result<Proxies, ClientError> {
        let refuse = |text: &str| Err(ClientError::Config(text.to_owned()));
        if config.from_environment && config.url.is_some() {
            return refuse("proxy_url and proxy_from_environment exclude each other");
        }
        if config.from_environment && !config.no_proxy.is_empty() {
            return refuse("no_proxy and proxy_from_environment exclude each other; NO_PROXY is read instead");
        }
        let (http, https, except) = if config.from_environment {
            (from_env("HTTP_PROXY")?, from_env("HTTPS_PROXY")?, with_loopback(&env("NO_PROXY").unwrap_or_default()))
        } else {
            // A proxy without exceptions takes everything, loopback too.
            let except = if config.no_proxy.is_empty() { String::new() } else { with_loopback(&config.no_proxy) };
            (config.url.clone(), config.url.clone(), except)
        };
        for url in [&http, &https].into_iter().flatten() {
            if !matches!(url.scheme(), "http" | "https") {
                return Err(ClientError::Config(format!(
                    "a proxy with the scheme {} is not supported; use http or https",
                    url.scheme()
                )));
            }
        }
        let connect_headers = super::client::header_sources("proxy_connect_header", &config.connect_headers)?;
        if !connect_headers.is_empty() && http.is_none() && https.is_none() && !config.from_environment {
            return refuse("proxy_connect_header needs proxy_url or proxy_from_environment");
        }
        Ok(Proxies { http, https, except, connect_headers })
    }

    /// True if some request may go through a proxy.
    pub(super) fn any(&self) -> bool {
        self.http.is_some() || self.https.is_some()
    }

    /// True if plain requests reach their proxy over TLS.
    pub(super) fn plain_needs_tls(&self) -> bool {
        self.http.as_ref().is_some_and(|url| url.scheme() == "https")
    }

    pub(super) fn apply(&self, mut builder: reqwest::ClientBuilder) -> Result<reqwest::ClientBuilder, ClientError> {
        // Without this the library would look at the environment by itself.
        builder = builder.no_proxy();
        let unusable = |_| ClientError::Config("the proxy's URL cannot be used".to_owned());
        let except = || (!self.except.is_empty()).then(|| NoProxy::from_string(&self.except)).flatten();
        if let Some(url) = &self.http {
            builder = builder.proxy(Proxy::http(url.clone()).map_err(unusable)?.no_proxy(except()));
        }
        if let Some(url) = &self.https {
            let proxy = Proxy::https(url.clone()).map_err(unusable)?.no_proxy(except());
            builder = builder.proxy(proxy.headers(self.connect_headers()?));
        }
        Ok(builder)
    }

    fn connect_headers(&self) -> Result<HeaderMap, ClientError> {
        let mut headers = HeaderMap::new();
        for (name, values) in &self.connect_headers {
            for value in values {
                headers.append(name, secret_header(name, &value.get()?.0)?);
            }
        }
        Ok(headers)
    }
}

/// A header value that is not printed.
pub(super) fn secret_header(name: &HeaderName, text: &str) -> Result<HeaderValue, ClientError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| {
        ClientError::Config(format!("the value for the header {name} holds characters that a header cannot carry"))
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn env(name: &str) -> Option<String> {
    let read = |n: &str| std::env::var(n).ok().filter(|v| !v.is_empty());
    read(name).or_else(|| read(&name.to_ascii_lowercase()))
}

fn from_env(name: &str) -> Result<Option<Url>, ClientError> {
    let Some(text) = env(name) else { return Ok(None) };
    let text = if text.contains("://") { text } else { format!("http://{text}") };
    Url::parse(&text).map(Some).map_err(|e| ClientError::Config(format!("{name} in the environment is not a URL: {e}")))
}

fn with_loopback(list: &str) -> String {
    if list.is_empty() { LOOPBACK.to_owned() } else { format!("{list},{LOOPBACK}") }
}
