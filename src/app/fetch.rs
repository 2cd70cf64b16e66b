//! Scrapes over HTTP: joins the scrape loop's seam to the HTTP client.

use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::net::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use crate::net::{BodyError, Client, ClientError, Request, read_body};
use crate::scrape::{FetchError, FetchInfo, FetchRequest, Fetcher, Fetchers, Fetching, JobConfig};

const TIMEOUT_HEADER: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");
const COMPRESSED: HeaderValue = HeaderValue::from_static("zstd,gzip");
const UNCOMPRESSED: HeaderValue = HeaderValue::from_static("identity");

/// Makes one client a job.
pub(super) struct HttpFetchers;

impl Fetchers for HttpFetchers {
    fn fetcher(&self, job: &JobConfig) -> Result<Arc<dyn Fetcher>, String> {
        let client = Client::new(&job.client, &job.name).map_err(|e| e.to_string())?;
        Ok(Arc::new(HttpFetcher(client)))
    }
}

struct HttpFetcher(Client);

impl Fetcher for HttpFetcher {
    fn fetch<'a>(&'a self, request: &'a FetchRequest, body: &'a mut Vec<u8>) -> Fetching<'a> {
        Box::pin(async move {
            let whole = tokio::time::timeout(request.timeout, self.get(request, body));
            whole.await.unwrap_or(Err(FetchError::Timeout(request.timeout)))
        })
    }
}

impl HttpFetcher {
    async fn get(&self, request: &FetchRequest, body: &mut Vec<u8>) -> Result<FetchInfo, FetchError> {
        let url = Url::parse(&request.url).map_err(|e| FetchError::Transfer(e.to_string()))?;
        let text = |value: &str| HeaderValue::from_str(value).map_err(|e| FetchError::Transfer(e.to_string()));
        let get = Request::get(url)
            .header(ACCEPT, text(&request.accept)?)
            .header(ACCEPT_ENCODING, if request.compression { COMPRESSED } else { UNCOMPRESSED })
            .header(TIMEOUT_HEADER, text(&request.timeout_header())?);
        let failed = |e: ClientError| client_error(e, request.timeout);
        let response = self.0.send(get).await.map_err(failed)?.ok().map_err(failed)?;
        let content_type = response.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let content_type = content_type.to_owned();
        let encoding = response.content_encoding().to_owned();
        let info = read_body(response.body, &encoding, request.body_size_limit, body).await;
        match info {
            Ok(info) => Ok(FetchInfo { content_type, wire_bytes: info.wire_bytes }),
            Err(BodyError::TooLarge { limit }) if request.body_size_limit == Some(limit) => {
                Err(FetchError::BodySizeLimit)
            }
            Err(BodyError::Transfer(error)) => Err(client_error(error, request.timeout)),
            Err(error) => Err(FetchError::Transfer(error.to_string())),
        }
    }
}

fn client_error(error: ClientError, timeout: Duration) -> FetchError {
    match error {
        ClientError::Timeout { .. } => FetchError::Timeout(timeout),
        ClientError::Status(status) => FetchError::Status(status.to_string()),
        other => FetchError::Transfer(other.to_string()),
    }
}
