//! What the frontend is told.

use std::time::Duration;

use url::Url;

use crate::model::Labels;
use crate::net::HttpClientConfig;

/// The section `federation`.
#[derive(Clone, Debug)]
pub struct FederationConfig {
    /// `proxy_targets`: the members.
    pub members: Vec<MemberConfig>,
    /// `max_attempts_per_request`: how often a member is asked the same before it counts as missing.
    pub max_attempts: u32,
    /// `max_concurrency`: requests to one member at the same time.
    pub max_concurrency: usize,
    /// `extra_propagated_headers`: headers of the client's request that are sent on to members.
    pub propagated_headers: Vec<String>,
    /// `partial_response`: whether an answer without an optional member is one, with a warning.
    pub partial_response: bool,
}

impl Default for FederationConfig {
    fn default() -> FederationConfig {
        FederationConfig {
            members: Vec::new(),
            max_attempts: 3,
            max_concurrency: 16,
            propagated_headers: Vec::new(),
            partial_response: false,
        }
    }
}

/// One member.
#[derive(Clone, Debug)]
pub struct MemberConfig {
    /// `name`: the value of `__cluster__`.
    pub name: String,
    /// `url`, or `replicas`: servers with the same series, each the prefix of an API (`URL/api/v1/query`).
    pub urls: Vec<Url>,
    /// How requests are sent. Its credentials replace the client's.
    pub client: HttpClientConfig,
    /// `tenant`: the value of `X-Scope-OrgID`.
    pub tenant: Option<String>,
    /// `timeout`: time allowed for one request.
    pub timeout: Duration,
    /// `policy`.
    pub policy: Policy,
    /// `labels`: virtual labels besides `__cluster__`.
    pub labels: Labels,
}

impl MemberConfig {
    /// A member with nothing special about it.
    pub fn new(name: impl Into<String>, url: Url) -> MemberConfig {
        MemberConfig {
            name: name.into(),
            urls: vec![url],
            client: HttpClientConfig::default(),
            tenant: None,
            timeout: Duration::from_secs(30),
            policy: Policy::Required,
            labels: Labels::empty(),
        }
    }
}

/// Whether there can be an answer without a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Policy {
    /// There cannot.
    #[default]
    Required,
    /// There can, if `partial_response` allows it; the answer then warns.
    Optional,
}
