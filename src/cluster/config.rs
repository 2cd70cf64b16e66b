//! What the frontend is told.

use std::time::Duration;

use url::Url;

use crate::model::{DurationMs, Labels, TimestampMs};
use crate::net::{Auth, HttpClientConfig};
use crate::storage::TimeRange;

/// The section `federation`.
#[derive(Clone, PartialEq, Debug)]
pub struct FederationConfig {
    /// `proxy_targets`: the members.
    pub members: Vec<MemberConfig>,
    /// `max_attempts_per_request`: how often a member is asked the same before it counts as missing.
    pub max_attempts: u32,
    /// `max_concurrency`: requests to one member at the same time.
    pub max_concurrency: usize,
    /// `extra_propagated_headers`: headers of the client's request that are sent on to all members, whatever else is.
    pub propagated_headers: Vec<String>,
    /// `partial_response`: whether an answer without an optional member is one, with a warning.
    pub partial_response: bool,
    /// `max_response_bytes`: bytes of one answer of a member, unpacked.
    pub max_response_bytes: u64,
    /// `max_fetched_series`: series that one query may fetch from all members.
    pub max_fetched_series: u64,
    /// `cache`: what is kept of members' results; nothing if there is none.
    pub cache: Option<CacheConfig>,
    /// `local`: this node's own data as a member, with this name and these virtual labels.
    pub local: Option<(String, Labels)>,
}

impl Default for FederationConfig {
    fn default() -> FederationConfig {
        FederationConfig {
            members: Vec::new(),
            max_attempts: 3,
            max_concurrency: 16,
            propagated_headers: Vec::new(),
            partial_response: false,
            // As JSON some five million samples: more than a page of dashboards shows.
            max_response_bytes: 256 << 20,
            max_fetched_series: 5_000_000,
            cache: Some(CacheConfig::default()),
            local: None,
        }
    }
}

/// What is kept of what members have evaluated.
#[derive(Clone, PartialEq, Debug)]
pub struct CacheConfig {
    /// `max_bytes`: bytes of it.
    pub max_bytes: u64,
    /// `max_freshness`: results that look at samples of so short a time ago are not kept.
    pub max_freshness: DurationMs,
}

impl Default for CacheConfig {
    /// A dozen dashboards of some hundred series each; what a scrape or a remote write brings late is there by then.
    fn default() -> CacheConfig {
        CacheConfig { max_bytes: 64 << 20, max_freshness: DurationMs::from_secs(600) }
    }
}

/// One member.
#[derive(Clone, PartialEq, Debug)]
pub struct MemberConfig {
    /// `name`: the value of `__cluster__`.
    pub name: String,
    /// `url`, or `replicas`: servers with the same series, each the prefix of an API (`URL/api/v1/query`).
    pub urls: Vec<Url>,
    /// How requests are sent. Credentials, also those in a URL, replace the client's.
    pub client: HttpClientConfig,
    /// `tenant`: the value of `X-Scope-OrgID`.
    pub tenant: Option<String>,
    /// `timeout`: time allowed for an answer, all attempts together.
    pub timeout: Duration,
    /// `policy`.
    pub policy: Policy,
    /// `labels`: virtual labels besides `__cluster__`.
    pub labels: Labels,
    /// `via`.
    pub via: Via,
    /// `external_labels`.
    pub external_labels: ExternalLabels,
    /// `replica_labels`: labels by which the series of replicas differ. Nobody sees them.
    pub replica_labels: Vec<String>,
    /// `min_time` and `max_time`.
    pub bounds: Bounds,
}

impl MemberConfig {
    /// A member with nothing special about it.
    pub fn new(name: impl Into<String>, url: Url) -> MemberConfig {
        MemberConfig { urls: vec![url], ..MemberConfig::of_no_server(name) }
    }

    /// A member that nobody can ask.
    pub(super) fn of_no_server(name: impl Into<String>) -> MemberConfig {
        MemberConfig {
            name: name.into(),
            urls: Vec::new(),
            client: HttpClientConfig::default(),
            tenant: None,
            timeout: Duration::from_secs(30),
            policy: Policy::Required,
            labels: Labels::empty(),
            via: Via::Auto,
            external_labels: ExternalLabels::Drop,
            replica_labels: Vec::new(),
            bounds: Bounds::default(),
        }
    }

    /// Whether requests to it tell who asks, so that they do not tell who the client is.
    pub fn authorizes(&self) -> bool {
        let in_url = |url: &Url| !url.username().is_empty() || url.password().is_some();
        self.client.auth != Auth::None || self.urls.iter().any(in_url)
    }

    /// Whether requests to it may be let in because they come from here: by a password or token, a certificate, or any header.
    pub fn has_credentials(&self) -> bool {
        self.authorizes() || self.client.tls.cert.is_some() || !self.client.headers.is_empty()
    }

    /// Whether its samples are those of several replicas, so that no single answer of its servers is the whole.
    pub fn has_replicas(&self) -> bool {
        self.urls.len() > 1 || !self.replica_labels.is_empty()
    }
}

/// How a member's part of a query is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Via {
    /// By its own evaluation where that is known to be the same as ours, else over its samples.
    #[default]
    Auto,
    /// By its own evaluation wherever it can be. Replicas are taken for servers of the same samples, any of which will do.
    Pushdown,
    /// Over its samples, read by remote read.
    RemoteRead,
    /// Over its samples, read by range selectors from its query API.
    Query,
}

/// What becomes of labels that a member adds to its series for others, but does not query by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ExternalLabels {
    /// They are taken off where they come, so that all ways to a series show the same labels.
    #[default]
    Drop,
    /// Series have them. Only remote read shows them, so that all is read by it.
    Keep,
}

/// A point in time, or a distance from now into the past.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimeBound {
    /// A point.
    At(TimestampMs),
    /// So long ago.
    Ago(DurationMs),
}

impl TimeBound {
    fn at(self, now: TimestampMs) -> TimestampMs {
        match self {
            TimeBound::At(t) => t,
            TimeBound::Ago(duration) => TimestampMs(now.0.saturating_sub(duration.0)),
        }
    }
}

/// The time of which a member has samples. Outside of it, it is not asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Bounds {
    /// Its beginning.
    pub min: Option<TimeBound>,
    /// Its end.
    pub max: Option<TimeBound>,
}

impl Bounds {
    /// The range at this moment.
    pub fn range(&self, now: TimestampMs) -> TimeRange {
        let at = |bound: Option<TimeBound>, default| bound.map_or(default, |bound| bound.at(now));
        TimeRange { min: at(self.min, TimestampMs::MIN), max: at(self.max, TimestampMs::MAX) }
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
