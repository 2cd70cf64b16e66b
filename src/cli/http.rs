//! What the tools that talk to a server share: a thread to do it on, a client as `--http.config.file` says, and one answer to
//! the end.

use std::io;
use std::path::Path;

use tokio::runtime::{Builder, Runtime};

use crate::config;
use crate::net::header::{ACCEPT_ENCODING, HeaderMap, HeaderName, HeaderValue};
use crate::net::{Client, HttpClientConfig, Request, StatusCode, read_body};

/// More than any answer that a person or a tool asks for.
const BODY_MAX: u64 = 512 << 20;

/// A runtime for one tool: one thread, no more.
pub(super) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// A client; without a file one without credentials.
pub(super) fn client(http_config: Option<&Path>) -> Result<Client, String> {
    let config = match http_config {
        Some(path) => config::load_http(path).map_err(|errors| errors.to_string())?,
        None => HttpClientConfig::default(),
    };
    Client::new(&config, "cli").map_err(|e| e.to_string())
}

/// The status and the whole body of an answer.
pub(super) async fn ask(client: &Client, request: Request) -> Result<(StatusCode, Vec<u8>), String> {
    let request = request.header(ACCEPT_ENCODING, HeaderValue::from_static("gzip, zstd"));
    let response = client.send(request).await.map_err(|e| e.to_string())?;
    let (status, encoding) = (response.status, response.content_encoding().to_owned());
    let mut body = Vec::new();
    read_body(response.body, &encoding, Some(BODY_MAX), &mut body).await.map_err(|e| e.to_string())?;
    Ok((status, body))
}

/// What `--header` was given.
pub(super) fn headers(pairs: &[(String, String)]) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        let bad = |what| format!("--header {name}: not a valid header {what}");
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad("name"))?;
        map.append(key, HeaderValue::from_str(value).map_err(|_| bad("value"))?);
    }
    Ok(map)
}

/// A URL below a server's own, however many slashes its path ends with; `http` where no scheme is given. What is no URL is not
/// repeated, since it may hold a password.
pub(super) fn below(server: &str, path: &str) -> Result<url::Url, String> {
    let server = if server.contains("://") { server.to_owned() } else { format!("http://{server}") };
    let text = format!("{}{path}", server.trim_end_matches('/'));
    url::Url::parse(&text).map_err(|e| format!("not a URL like http://localhost:9090: {e}"))
}
