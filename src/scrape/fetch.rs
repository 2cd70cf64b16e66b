//! How a target's body is got. The loop knows only this seam, so that tests need no network.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::config::JobConfig;

/// What to fetch, the same at every scrape of a target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchRequest {
    /// The whole URL with its parameters.
    pub url: String,
    /// `Accept`.
    pub accept: String,
    /// Whether compressed answers are asked for.
    pub compression: bool,
    /// The time allowed for all of it; also told to the target in `X-Prometheus-Scrape-Timeout-Seconds`.
    pub timeout: Duration,
    /// An answer of so many uncompressed bytes or more is an error.
    pub body_size_limit: Option<u64>,
}

impl FetchRequest {
    /// The value of `X-Prometheus-Scrape-Timeout-Seconds`.
    pub fn timeout_header(&self) -> String {
        self.timeout.as_secs_f64().to_string()
    }
}

/// What came besides the body.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FetchInfo {
    /// `Content-Type`; empty where there was none.
    pub content_type: String,
    /// Bytes of the body before decompression.
    pub wire_bytes: u64,
}

/// Why there is no body.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FetchError {
    /// The scrape timeout was over first.
    #[error("scrape timeout of {} exceeded", humantime::format_duration(*.0))]
    Timeout(Duration),
    /// The uncompressed body reached its limit.
    #[error("body size limit exceeded")]
    BodySizeLimit,
    /// The target answered with another status than 200.
    #[error("server returned HTTP status {0}")]
    Status(String),
    /// Everything that keeps an answer from coming whole; the sentence says what.
    #[error("{0}")]
    Transfer(String),
    /// Watershed stopped while the scrape was under way.
    #[error("the scrape was cut short because Watershed stops")]
    Stopped,
}

/// A fetch under way. Dropping it abandons the transfer.
pub type Fetching<'a> = Pin<Box<dyn Future<Output = Result<FetchInfo, FetchError>> + Send + 'a>>;

/// Fetches the targets of one job.
pub trait Fetcher: Send + Sync {
    /// Fills `body`, which comes empty, with the uncompressed answer. After an error its content means nothing.
    fn fetch<'a>(&'a self, request: &'a FetchRequest, body: &'a mut Vec<u8>) -> Fetching<'a>;
}

/// Makes the fetchers of jobs.
pub trait Fetchers: Send + Sync {
    /// A fetcher that sends requests as the job's client configuration says; an error is a sentence for people.
    fn fetcher(&self, job: &JobConfig) -> Result<Arc<dyn Fetcher>, String>;
}
