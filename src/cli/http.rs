//! What the tools that talk to a server share: a client as `--http.config.file` says, and one answer to the end.

use std::path::Path;

use crate::config;
use crate::net::{Client, HttpClientConfig, Request, StatusCode, read_body};

/// More than any answer that a tool asks for.
const BODY_MAX: u64 = 256 << 20;

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
    let response = client.send(request).await.map_err(|e| e.to_string())?;
    let (status, encoding) = (response.status, response.content_encoding().to_owned());
    let mut body = Vec::new();
    read_body(response.body, &encoding, Some(BODY_MAX), &mut body).await.map_err(|e| e.to_string())?;
    Ok((status, body))
}

/// A URL below a server's own, however many slashes its path ends with; `http` where no scheme is given.
pub(super) fn below(server: &str, path: &str) -> Result<url::Url, String> {
    let server = if server.contains("://") { server.to_owned() } else { format!("http://{server}") };
    let text = format!("{}{path}", server.trim_end_matches('/'));
    url::Url::parse(&text).map_err(|e| format!("{text}: {e}"))
}
