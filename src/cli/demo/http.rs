//! The one small HTTP request that command-line tools need.

use std::io;

use crate::net::{Client, HttpClientConfig, Request, Response, read_body};

/// More than any answer that a tool asks for.
const BODY_MAX: u64 = 64 << 20;

/// A runtime for one tool: one thread, no more.
pub(in crate::cli) fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// The body of a successful answer as text.
pub(in crate::cli) async fn get(url: &str) -> Result<String, String> {
    let url = url::Url::parse(url).map_err(|e| e.to_string())?;
    let client = Client::new(&HttpClientConfig::default(), "cli").map_err(|e| e.to_string())?;
    let response = client.send(Request::get(url)).await.and_then(Response::ok).map_err(|e| e.to_string())?;
    let mut body = Vec::new();
    read_body(response.body, "", Some(BODY_MAX), &mut body).await.map_err(|e| e.to_string())?;
    String::from_utf8(body).map_err(|e| e.to_string())
}
