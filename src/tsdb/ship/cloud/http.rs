//! The stores' requests through our own client, so that TLS, proxies and errors are those of every other connection.

use std::pin::Pin;
use std::time::Duration;

use http_body_util::BodyExt as _;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use url::Url;

use crate::net::{BodyError, Client, ClientError, HttpClientConfig, Request, read_body};
use crate::tsdb::ship::{BucketError, Config};

/// A part of 8 MiB passes in that time at 28 kB/s.
const TIMEOUT: Duration = Duration::from_secs(300);
/// What a store answers is a list of names, a few lines, or a `meta.json`.
const ANSWER_MAX: u64 = 64 << 20;

/// Gives every store the same client.
#[derive(Debug)]
pub(super) struct Connector(Client);

impl Connector {
    pub(super) fn new(config: &Config) -> Result<Connector, BucketError> {
        let http = HttpClientConfig {
            tls: config.tls.clone(),
            proxy: config.proxy.clone(),
            // A signature holds for one URL; a store that sends elsewhere (another region) is told as an error.
            follow_redirects: false,
            ..HttpClientConfig::default()
        };
        let client = Client::new(&http, "ship").map_err(|e| BucketError::failed("opening", "objects", e))?;
        Ok(Connector(client))
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Service(self.0.clone())))
    }
}

#[derive(Debug)]
struct Service(Client);

impl HttpService for Service {
    // What an async function in a trait becomes when the trait is used as an object.
    fn call<'s, 'f>(
        &'s self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'f>>
    where
        's: 'f,
        Self: 'f,
    {
        Box::pin(self.send(request))
    }
}

impl Service {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let url = Url::parse(&parts.uri.to_string()).map_err(|e| HttpError::new(HttpErrorKind::Unknown, e))?;
        let body = body.collect().await?.to_bytes();
        let request = Request { method: parts.method, url, headers: parts.headers, body, timeout: Some(TIMEOUT) };
        let answer = self.0.send(request).await.map_err(|e| HttpError::new(kind(&e), e))?;
        let mut content = Vec::new();
        let (status, headers) = (answer.status, answer.headers);
        read_body(answer.body, "", Some(ANSWER_MAX), &mut content).await.map_err(|error| match error {
            BodyError::Transfer(error) => HttpError::new(kind(&error), error),
            error => HttpError::new(HttpErrorKind::Decode, error),
        })?;
        let mut response = HttpResponse::new(content.into());
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

/// What is worth another try.
fn kind(error: &ClientError) -> HttpErrorKind {
    match error {
        ClientError::Refused { .. } | ClientError::Dns { .. } | ClientError::Connect { .. } => HttpErrorKind::Connect,
        ClientError::Timeout { .. } => HttpErrorKind::Timeout,
        ClientError::Protocol { .. } => HttpErrorKind::Interrupted,
        _ => HttpErrorKind::Unknown,
    }
}
