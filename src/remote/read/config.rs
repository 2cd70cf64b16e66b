//! One server that samples are read from.

use std::collections::BTreeMap;
use std::time::Duration;

use url::Url;

use crate::model::Labels;
use crate::net::{HttpClientConfig, printable};

/// How an endpoint is asked; the checked form of a `remote_read` section.
#[derive(Clone, PartialEq, Debug)]
pub struct EndpointConfig {
    /// Names it in warnings and metrics.
    pub name: String,
    /// Where it is asked.
    pub url: Url,
    /// Time allowed for one request and its whole answer.
    pub timeout: Duration,
    /// Bytes of one frame of a streamed answer.
    pub frame_limit: u64,
    /// Further headers.
    pub headers: BTreeMap<String, String>,
    /// Whether it is asked for what the local store has, too.
    pub read_recent: bool,
    /// How requests are sent.
    pub client: HttpClientConfig,
    /// Equalities that a selector must have for the endpoint to be asked.
    pub required: Labels,
    /// Labels that its series have and ours do not: selectors are given them where they do not name them, and what comes
    /// back loses them.
    pub external: Labels,
}

impl EndpointConfig {
    /// Bytes of one frame unless the config says; the reference's.
    pub const FRAME_LIMIT: u64 = 50_000_000;

    /// An endpoint with the reference's defaults, named by its URL.
    pub fn new(url: Url) -> EndpointConfig {
        EndpointConfig {
            name: printable(&url),
            url,
            timeout: Duration::from_secs(60),
            frame_limit: EndpointConfig::FRAME_LIMIT,
            headers: BTreeMap::new(),
            read_recent: false,
            client: HttpClientConfig::default(),
            required: Labels::empty(),
            external: Labels::empty(),
        }
    }
}
