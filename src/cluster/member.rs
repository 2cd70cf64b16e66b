//! One member, as the frontend asks it.

mod abilities;
mod attempts;
mod error;
mod exchange;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use url::Url;

use super::answer::AnswerError;
use super::config::MemberConfig;
use super::metrics::MemberMetrics;
use super::probe::{Capabilities, Flavour, Known};
use super::virtual_labels::CLUSTER;
use crate::model::{Labels, LabelsBuilder};
use crate::net::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use crate::net::{Admitted, Breaker, BreakerLimits, Client, ClientError};
use crate::runtime::CpuPool;
pub use error::MemberError;

/// The header that names a tenant.
pub(super) const TENANT: &str = "x-scope-orgid";
/// Few failures, since each query tries several times, and short pauses, since people wait for the whole.
const BREAKER: BreakerLimits =
    BreakerLimits { failures: 3, pause_min: Duration::from_secs(1), pause_max: Duration::from_secs(30) };
/// A server that does not answer for less than this may be well.
const TELLING: Duration = Duration::from_secs(1);

/// A member.
pub struct Member {
    config: MemberConfig,
    labels: Labels,
    client: Client,
    servers: Vec<Server>,
    /// The replica that is asked first: the one that has answered last.
    preferred: AtomicUsize,
    places: Semaphore,
    max_attempts: u32,
    /// Whether it is told the client's tenant though it is asked with credentials from here.
    takes_tenants: bool,
    metrics: MemberMetrics,
    pool: CpuPool,
}

/// One replica.
struct Server {
    url: Url,
    breaker: Breaker,
    known: Known,
    /// Held by who finds out what it can do.
    looking: tokio::sync::Mutex<()>,
    health: Mutex<Health>,
}

/// How a server has answered last.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Health {
    /// Whether it has answered; `None` before it was asked.
    pub is_up: Option<bool>,
    /// How long its last answer took.
    pub latency: Option<Duration>,
    /// The last error; also one from before it was well again.
    pub last_error: Option<String>,
    /// Whether it has turned out to be this very process.
    pub is_self: bool,
    /// The version that it has told; empty before, and if it tells none.
    pub version: String,
}

/// A server of a member, as people are told of it.
#[derive(Clone, Debug)]
pub struct Replica {
    /// Its address, without what may be secret in it.
    pub url: String,
    /// Whether it is asked now; not if it has failed several times just before.
    pub is_asked: bool,
    /// How it has answered.
    pub health: Health,
    /// What it has said that it can do.
    pub known: Option<Arc<Capabilities>>,
}

/// What came of greeting a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Greeting {
    /// Its address, without what may be secret in it.
    pub url: String,
    /// Its version, or why it has not told it.
    pub version: Result<String, MemberError>,
    /// Whether it is this very process.
    pub is_self: bool,
}

/// What the client's request brings for members: credentials, and headers that are to be sent on.
pub type Credentials = HeaderMap;

impl Member {
    /// A member; nothing is sent yet.
    pub fn new(
        config: MemberConfig,
        max_attempts: u32,
        max_concurrency: usize,
        metrics: MemberMetrics,
    ) -> Result<Member, ClientError> {
        let client = Client::new(&config.client, &config.name)?;
        let mut labels = LabelsBuilder::new();
        config.labels.iter().for_each(|(name, value)| labels.set(name, value));
        labels.set(CLUSTER, &config.name);
        let labels = labels.labels();
        let server = |url: &Url| Server {
            url: url.clone(),
            breaker: Breaker::new(BREAKER),
            known: Known::default(),
            looking: tokio::sync::Mutex::default(),
            health: Mutex::default(),
        };
        Ok(Member {
            servers: config.urls.iter().map(server).collect(),
            preferred: AtomicUsize::new(0),
            places: Semaphore::new(max_concurrency.clamp(1, Semaphore::MAX_PERMITS)),
            max_attempts: max_attempts.max(1),
            takes_tenants: false,
            labels,
            client,
            config,
            metrics,
            pool: CpuPool::inline(),
        })
    }

    /// Large answers are read on these threads from now on.
    pub fn computing_on(self, pool: CpuPool) -> Member {
        Member { pool, ..self }
    }

    /// It is sent these headers of clients' requests, whatever else it is sent.
    pub fn taking(self, propagated: &[String]) -> Member {
        Member { takes_tenants: propagated.iter().any(|name| name.eq_ignore_ascii_case(TENANT)), ..self }
    }

    /// This node itself as a member: it has no servers, and its samples come from a store.
    pub fn local(name: &str, labels: &Labels, metrics: MemberMetrics) -> Result<Member, ClientError> {
        let config = MemberConfig { labels: labels.clone(), ..MemberConfig::of_no_server(name) };
        Member::new(config, 1, 1, metrics)
    }

    /// What it was told.
    pub fn config(&self) -> &MemberConfig {
        &self.config
    }

    /// Its virtual labels, that of the cluster among them.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Its servers.
    pub fn replicas(&self) -> impl Iterator<Item = Replica> {
        self.servers.iter().map(|server| Replica {
            url: server.shown(),
            is_asked: server.breaker.resting().is_none(),
            health: server.health.lock().clone(),
            known: server.known.last(),
        })
    }

    /// What a replica has said that it can do, if it has been asked.
    pub fn known(&self, replica: usize) -> Option<Arc<Capabilities>> {
        self.servers.get(replica)?.known.last()
    }

    /// What a replica has said not long ago.
    pub(super) fn freshly_known(&self, replica: usize) -> Option<Arc<Capabilities>> {
        self.servers.get(replica)?.known.fresh()
    }

    /// What any replica has said not long ago.
    pub(super) fn any_freshly_known(&self) -> Option<Arc<Capabilities>> {
        self.servers.iter().find_map(|server| server.known.fresh())
    }

    /// What evaluates, as far as is known.
    pub(super) fn flavour(&self) -> Flavour {
        self.servers.iter().find_map(|server| server.known.last()).map(|known| known.flavour).unwrap_or_default()
    }

    /// The headers of a client's request as the member gets them.
    pub(super) fn headers(&self, credentials: &Credentials) -> HeaderMap {
        let mut headers = credentials.clone();
        if self.config.authorizes() {
            headers.remove(AUTHORIZATION);
        }
        // Who asks with our credentials does not choose whose data they open.
        if self.config.has_credentials() && !self.takes_tenants {
            headers.remove(TENANT);
        }
        if let Some(tenant) = self.config.tenant.as_deref().and_then(|tenant| HeaderValue::from_str(tenant).ok()) {
            headers.insert(HeaderName::from_static(TENANT), tenant);
        }
        headers
    }
}

impl Server {
    /// Its address without what may be secret in it.
    fn shown(&self) -> String {
        format!("{}{}", self.url.origin().ascii_serialization(), self.url.path())
    }

    /// Whether it is asked now.
    fn admit(&self) -> Result<Admitted, MemberError> {
        self.breaker.admit(Instant::now()).map_err(|resting| MemberError::Resting(resting.last))
    }

    /// What was asked of it has ended; what that tells about the server is kept.
    fn conclude(&self, admitted: Admitted, started: Instant, error: Option<&MemberError>) {
        self.note(started.elapsed(), error);
        match error {
            // Who had little time knows little.
            Some(MemberError::Unreachable(ClientError::Timeout { after })) if *after < TELLING => {}
            Some(MemberError::NoTime | MemberError::Ended(_)) => {}
            Some(error) if error.may_retry() => admitted.failed(Instant::now(), error.to_string()),
            _ => admitted.succeeded(),
        }
    }

    /// It has told its version.
    fn has_version(&self, version: &str) {
        version.clone_into(&mut self.health.lock().version);
    }

    /// It was asked, and answered or not.
    fn note(&self, took: Duration, error: Option<&MemberError>) {
        let mut health = self.health.lock();
        match error {
            // Nothing has come of it that tells about the server.
            Some(MemberError::NoTime | MemberError::Ended(_) | MemberError::Resting(_)) => {}
            // It speaks the API, and says no.
            Some(MemberError::Answer(AnswerError::Refused { .. })) | None => {
                health.is_up = Some(true);
                health.latency = Some(took);
            }
            Some(error @ MemberError::Status { kind, .. }) if !kind.is_empty() && !error.may_retry() => {
                health.is_up = Some(true);
                health.latency = Some(took);
            }
            Some(error) => {
                health.is_up = Some(false);
                health.last_error = Some(error.to_string());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Auth, Header, HttpClientConfig, Secret, SecretSource, TlsConfig};
    use crate::telemetry::Registry;

    #[test]
    fn what_a_client_says_of_itself_goes_to_who_is_asked_in_its_name() {
        let header = |name: &'static str, value| (HeaderName::from_static(name), HeaderValue::from_static(value));
        let credentials =
            HeaderMap::from_iter([header("authorization", "Bearer x"), header(TENANT, "t"), header("x-own", "1")]);
        let sent = |config: &MemberConfig, propagated: &[String]| {
            let metrics = MemberMetrics::new(&Registry::new(), &config.name);
            let member = Member::new(config.clone(), 1, 1, metrics).unwrap().taking(propagated);
            let headers = member.headers(&credentials);
            assert_eq!(headers["x-own"], "1");
            (headers.contains_key(AUTHORIZATION), headers.get(TENANT).map(|tenant| tenant.to_str().unwrap().to_owned()))
        };
        let at = |url: &str| MemberConfig::new("home", Url::parse(url).unwrap());
        let with = |client| MemberConfig { client, ..at("http://a") };
        let secret = || SecretSource::Inline(Secret::new("s"));
        let bearer = Auth::Authorization { scheme: "Bearer".to_owned(), credentials: secret() };
        let key = Header { name: "X-Api-Key".to_owned(), values: vec![secret()] };
        let plain = at("http://a");
        let (t, none) = (Some("t".to_owned()), None);
        assert_eq!(sent(&plain, &[]), (true, t.clone()));
        let own = [
            with(HttpClientConfig { auth: bearer, ..HttpClientConfig::default() }),
            at("http://user:pass@a"),
            at("http://user@a"),
            MemberConfig { urls: vec![plain.urls[0].clone(), Url::parse("http://:p@b").unwrap()], ..plain.clone() },
        ];
        for config in &own {
            assert_eq!(sent(config, &[]), (false, none.clone()), "{config:?}");
            assert_eq!(sent(config, &["X-Scope-OrgID".to_owned()]), (false, t.clone()), "{config:?}");
        }
        let fixed = MemberConfig { tenant: Some("own".to_owned()), ..own[0].clone() };
        assert_eq!(sent(&fixed, &["X-Scope-OrgID".to_owned()]), (false, Some("own".to_owned())));
        // They say nothing of who asks, and may be why the member answers.
        let keyed = with(HttpClientConfig { headers: vec![key], ..HttpClientConfig::default() });
        assert_eq!(sent(&keyed, &[]), (true, none));
        let tls = TlsConfig { cert: Some(secret()), ..TlsConfig::default() };
        assert!(with(HttpClientConfig { tls, ..HttpClientConfig::default() }).has_credentials());
        assert!(!plain.has_credentials());
    }
}
