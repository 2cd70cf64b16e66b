//! Fetching over HTTP.

use std::sync::Arc;

use super::config::JobConfig;
use super::fetch::{FetchError, FetchInfo, FetchRequest, Fetcher, Fetchers, Fetching};
use crate::net::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use crate::net::{BodyError, Client, ClientError, Request, read_body};

const TIMEOUT_HEADER: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");
/// Some exporters look at it to tell a scraper from a browser.
const AGENT: &str = concat!("Watershed/", env!("CARGO_PKG_VERSION"));

/// Fetches targets with one client for each job.
#[derive(Clone, Copy, Debug, Default)]
pub struct HttpFetchers;

impl Fetchers for HttpFetchers {
    fn fetcher(&self, job: &JobConfig) -> Result<Arc<dyn Fetcher>, String> {
        let client = Client::new(&job.client, &job.name).map_err(|e| e.to_string())?;
        Ok(Arc::new(HttpFetcher(client)))
    }
}

struct HttpFetcher(Client);

impl Fetcher for HttpFetcher {
    fn fetch<'a>(&'a self, request: &'a FetchRequest, body: &'a mut Vec<u8>) -> Fetching<'a> {
        Box::pin(self.get(request, body))
    }
}

impl HttpFetcher {
    async fn get(&self, request: &FetchRequest, body: &mut Vec<u8>) -> Result<FetchInfo, FetchError> {
        let transfer = |sentence: String| FetchError::Transfer(sentence);
        let url = url::Url::parse(&request.url).map_err(|e| transfer(format!("invalid URL {:?}: {e}", request.url)))?;
        let value = |text: &str| HeaderValue::from_str(text).map_err(|e| transfer(e.to_string()));
        let encodings = if request.compression { "gzip, zstd" } else { "identity" };
        let get = Request::get(url)
            .timeout(request.timeout)
            .header(ACCEPT, value(&request.accept)?)
            .header(ACCEPT_ENCODING, HeaderValue::from_static(encodings))
            .header(USER_AGENT, HeaderValue::from_static(AGENT))
            .header(TIMEOUT_HEADER, value(&request.timeout_header())?);
        let client_error = |e: ClientError| match e {
            ClientError::Timeout { .. } => FetchError::Timeout(request.timeout),
            ClientError::Status(status) => FetchError::Status(status.to_string()),
            other => FetchError::Transfer(other.to_string()),
        };
        let response = self.0.send(get).await.and_then(|r| r.ok()).map_err(client_error)?;
        let header = |name| response.headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok()).unwrap_or_default();
        let content_type = header(CONTENT_TYPE).to_owned();
        let encoding = response.content_encoding().to_owned();
        let read = read_body(response.body, &encoding, request.body_size_limit, body).await;
        let info = read.map_err(|e| match e {
            BodyError::TooLarge { .. } => FetchError::BodySizeLimit,
            BodyError::Transfer(e) => client_error(e),
            other => FetchError::Transfer(other.to_string()),
        })?;
        Ok(FetchInfo { content_type, wire_bytes: info.wire_bytes })
    }
}
