//! One member, as the frontend asks it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use url::Url;

use super::answer::AnswerError;
use super::config::MemberConfig;
use super::limits::{Charge, Charged, Errand};
use super::loops;
use super::metrics::MemberMetrics;
use super::probe::{self, Capabilities, Flavour, Known};
use super::question::Question;
use super::virtual_labels::CLUSTER;
use crate::model::{Labels, LabelsBuilder};
use crate::net::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
};
use crate::net::{self, BodyError, Breaker, BreakerLimits, Client, ClientError, Method, Request, StatusCode};
use crate::runtime::CpuPool;
use crate::storage::Cancelled;

/// The header that names a tenant.
pub(super) const TENANT: &str = "x-scope-orgid";
/// Few failures, since each query tries several times, and short pauses, since people wait for the whole.
const BREAKER: BreakerLimits =
    BreakerLimits { failures: 3, pause_min: Duration::from_secs(1), pause_max: Duration::from_secs(30) };
/// Pause before the second attempt; twice as long before every further one.
const BACKOFF: Duration = Duration::from_millis(50);
/// A server that does not answer for less than this may be well.
const TELLING: Duration = Duration::from_secs(1);
/// A replica that has not answered for so long is not waited for alone: the next is asked, too.
const HEDGE: Duration = Duration::from_millis(500);
/// Of an answer that is no success this much is read for its sentence.
const ERROR_MAX: u64 = 64 << 10;
/// Answers up to this are read where they came; larger ones on the threads for computing.
const SMALL: usize = 64 << 10;
/// Of a sentence that is not the API's this much is shown.
const SHOWN: usize = 200;

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

/// Why a member has no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MemberError {
    /// It could not be reached, or did not answer in time.
    #[error(transparent)]
    Unreachable(#[from] ClientError),
    /// It answered with an error that is not the API's.
    #[error("server returned HTTP status {status}: {text}")]
    Status {
        /// The status.
        status: StatusCode,
        /// The beginning of what it said.
        text: String,
    },
    /// Its answer could not be read to the end.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// It refused the question, or did not answer as the API does.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// It is not asked for a while, since it has failed several times.
    #[error("not asked again yet, since it failed: {0}")]
    Resting(String),
    /// Time was up before it could be asked.
    #[error("no time was left to ask it")]
    NoTime,
    /// The query that it was asked for must end.
    #[error(transparent)]
    Ended(#[from] Cancelled),
}

impl MemberError {
    /// Whether another attempt, or another replica, may succeed.
    fn may_retry(&self) -> bool {
        match self {
            MemberError::Unreachable(error) => error.may_retry(),
            MemberError::Status { status, .. } => status.is_server_error() || status.as_u16() == 429,
            MemberError::Body(error) => !matches!(error, BodyError::TooLarge { .. }),
            MemberError::Answer(AnswerError::Garbled(_)) | MemberError::Resting(_) => true,
            MemberError::Answer(AnswerError::Refused { .. }) | MemberError::NoTime | MemberError::Ended(_) => false,
        }
    }
}

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

    /// Asks each server who it is, in nobody's name; what it says is not relied on later. To be told at start.
    pub async fn greet(&self, deadline: Instant) -> Vec<Greeting> {
        let mut greetings = Vec::new();
        for server in &self.servers {
            let request = self.request(&server.url, "api/v1/status/buildinfo", Method::GET, &Credentials::new());
            let started = Instant::now();
            let fetched = self.fetch(request, probe::MAX_BYTES, deadline, None).await;
            let is_self = fetched.as_ref().is_ok_and(|fetched| fetched.is_self);
            let version = match fetched {
                Ok(fetched) if fetched.status.is_server_error() => Err(fetched.into_error()),
                Ok(fetched) => Ok(probe::parse_build(&fetched.body).unwrap_or_default().0),
                Err(error) => Err(error),
            };
            server.note(started.elapsed(), version.as_ref().err());
            server.health.lock().is_self = is_self;
            greetings.push(Greeting { url: server.shown(), version, is_self });
        }
        greetings
    }

    /// What a replica has said that it can do, if it has been asked.
    pub fn known(&self, replica: usize) -> Option<Arc<Capabilities>> {
        self.servers.get(replica)?.known.last()
    }

    /// What a replica has said not long ago.
    pub(super) fn freshly_known(&self, replica: usize) -> Option<Arc<Capabilities>> {
        self.servers.get(replica)?.known.fresh()
    }

    /// Whether a replica has turned out to evaluate in a way of its own.
    pub(super) fn is_victoria(&self, replica: usize) -> bool {
        self.known(replica).is_some_and(|known| known.flavour == Flavour::VictoriaMetrics)
    }

    /// Asks the member's API, any replica. The answer comes before the errand's deadline or not at all.
    pub async fn ask<T: Charged + Send + 'static>(
        &self,
        question: &Question<T>,
        errand: &Errand,
    ) -> Result<T, MemberError> {
        self.try_often(None, question, errand).await
    }

    /// Asks one replica and no other.
    pub async fn ask_replica<T: Charged + Send + 'static>(
        &self,
        replica: usize,
        question: &Question<T>,
        errand: &Errand,
    ) -> Result<T, MemberError> {
        self.try_often(Some(replica), question, errand).await
    }

    /// Asks as often as is allowed: `only` this replica, or all in turn, the preferred one first.
    async fn try_often<T: Charged + Send + 'static>(
        &self,
        only: Option<usize>,
        question: &Question<T>,
        errand: &Errand,
    ) -> Result<T, MemberError> {
        let errand = &self.bounded(errand);
        let _place = self.place(errand.deadline).await?;
        let mut error = MemberError::NoTime;
        let count = self.servers.len();
        // With one replica every attempt is a round of its own.
        let (attempts, turns) = match only {
            Some(_) => (self.max_attempts as usize, count),
            None => ((self.max_attempts as usize).max(count), 1),
        };
        for attempt in 0..attempts {
            if attempt > 0 && !self.pause(attempt.saturating_mul(turns), errand.deadline).await {
                break;
            }
            let (replica, outcome) = match only {
                Some(replica) => (replica, self.try_once(replica, question, errand).await),
                None => {
                    let turn = self.preferred.load(Ordering::Relaxed).wrapping_add(attempt);
                    self.hedged(turn.checked_rem(count).unwrap_or(0), question, errand).await
                }
            };
            match outcome {
                Err(failed) if failed.may_retry() => error = failed,
                outcome => {
                    if outcome.is_ok() && only.is_none() {
                        self.preferred.store(replica, Ordering::Relaxed);
                    }
                    return outcome;
                }
            }
        }
        Err(error)
    }

    /// The same errand within the time that the member has for all attempts together: one that hangs is not waited for as
    /// often as it may be asked.
    fn bounded(&self, errand: &Errand) -> Errand {
        let end = Instant::now().checked_add(self.config.timeout);
        Errand { deadline: end.map_or(errand.deadline, |end| end.min(errand.deadline)), ..errand.clone() }
    }

    /// A place among the requests that the member may have at the same time.
    async fn place(&self, deadline: Instant) -> Result<tokio::sync::SemaphorePermit<'_>, MemberError> {
        match tokio::time::timeout_at(deadline.into(), self.places.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(MemberError::NoTime),
        }
    }

    /// Asks a replica, and the next one as well if the first is slow. Tells who has answered.
    async fn hedged<T: Charged + Send + 'static>(
        &self,
        replica: usize,
        question: &Question<T>,
        errand: &Errand,
    ) -> (usize, Result<T, MemberError>) {
        let first = self.try_once(replica, question, errand);
        tokio::pin!(first);
        if self.servers.len() < 2 {
            return (replica, first.await);
        }
        if let Ok(outcome) = tokio::time::timeout(HEDGE, &mut first).await {
            return (replica, outcome);
        }
        let next = (replica + 1) % self.servers.len();
        let second = self.try_once(next, question, errand);
        tokio::pin!(second);
        tokio::select! {
            outcome = &mut first => match outcome {
                Err(error) if error.may_retry() => (next, second.await),
                outcome => (replica, outcome),
            },
            outcome = &mut second => match outcome {
                Err(error) if error.may_retry() => (replica, first.await),
                outcome => (next, outcome),
            },
        }
    }

    /// Waits before a further attempt; false if there is no time for one. Another replica is asked at once.
    async fn pause(&self, attempt: usize, deadline: Instant) -> bool {
        let count = self.servers.len().max(1);
        let round = (attempt / count).min(10) as u32;
        let pause = if attempt.is_multiple_of(count) { BACKOFF * 2_u32.pow(round) } else { Duration::ZERO };
        if deadline.saturating_duration_since(Instant::now()) <= pause {
            return false;
        }
        tokio::time::sleep(pause).await;
        true
    }

    /// What a replica can do: what it has said not long ago, or what it says now.
    pub async fn capabilities(
        &self,
        replica: usize,
        credentials: &Credentials,
        deadline: Instant,
    ) -> Result<Arc<Capabilities>, MemberError> {
        let server = self.servers.get(replica).ok_or(MemberError::NoTime)?;
        if let Some(known) = server.known.fresh() {
            return Ok(known);
        }
        let admitted = server.breaker.admit(Instant::now()).map_err(|resting| MemberError::Resting(resting.last))?;
        let started = Instant::now();
        let found = self.look(server, credentials, deadline).await;
        server.note(started.elapsed(), found.as_ref().err());
        match &found {
            // Who had little time knows little.
            Err(MemberError::Unreachable(ClientError::Timeout { after })) if *after < TELLING => {}
            Err(MemberError::NoTime) => {}
            Err(error) if error.may_retry() => admitted.failed(Instant::now(), error.to_string()),
            _ => admitted.succeeded(),
        }
        found.map(|found| server.known.put(found))
    }

    /// What the member can do, told by the first replica that tells it.
    pub(super) async fn any_capabilities(
        &self,
        credentials: &Credentials,
        deadline: Instant,
    ) -> Result<Arc<Capabilities>, MemberError> {
        let mut outcome = Err(MemberError::NoTime);
        for replica in 0..self.servers.len() {
            outcome = self.capabilities(replica, credentials, deadline).await;
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    async fn look(
        &self,
        server: &Server,
        credentials: &Credentials,
        deadline: Instant,
    ) -> Result<Capabilities, MemberError> {
        let get = |path: &'static str| self.request(&server.url, path, Method::GET, credentials);
        let mut read = self.request(&server.url, "api/v1/read", Method::POST, credentials);
        read.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        read.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
        // A request without queries; its message has no bytes.
        read.body = Bytes::from_static(&[0]);
        let (build, config, read) = tokio::join!(
            self.fetch(get("api/v1/status/buildinfo"), probe::MAX_BYTES, deadline, None),
            self.fetch(get("api/v1/status/config"), probe::MAX_BYTES, deadline, None),
            self.status(read, deadline),
        );
        let build = build?;
        if build.status.is_server_error() {
            return Err(build.into_error());
        }
        let (version, tells_revision) = probe::parse_build(&build.body).unwrap_or_default();
        let flavour = match build.is_victoria && !tells_revision {
            true => Flavour::VictoriaMetrics,
            false => Flavour::Prometheus,
        };
        let config = config.ok().filter(|config| config.status == StatusCode::OK);
        Ok(Capabilities {
            flavour,
            version,
            external: config.and_then(|config| probe::parse_external(&config.body)).unwrap_or_default(),
            has_remote_read: read.is_ok_and(|status| status.is_success()),
        })
    }

    async fn try_once<T: Charged + Send + 'static>(
        &self,
        replica: usize,
        question: &Question<T>,
        errand: &Errand,
    ) -> Result<T, MemberError> {
        let started = Instant::now();
        let server = self.servers.get(replica).ok_or(MemberError::NoTime)?;
        let admitted = server.breaker.admit(started).map_err(|resting| MemberError::Resting(resting.last))?;
        let outcome = self.exchange(server, question, errand).await;
        self.metrics.asked(question.kind, started.elapsed(), &outcome);
        server.note(started.elapsed(), outcome.as_ref().err());
        match &outcome {
            // Who had little time knows little.
            Err(MemberError::Unreachable(ClientError::Timeout { after })) if *after < TELLING => {}
            Err(MemberError::NoTime | MemberError::Ended(_)) => {}
            Err(error) if error.may_retry() => admitted.failed(Instant::now(), error.to_string()),
            _ => admitted.succeeded(),
        }
        outcome
    }

    async fn exchange<T: Charged + Send + 'static>(
        &self,
        server: &Server,
        question: &Question<T>,
        errand: &Errand,
    ) -> Result<T, MemberError> {
        let mut request = self.request(&server.url, &question.path, question.method.clone(), &errand.credentials);
        if !question.is_compressed {
            request.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if question.method == Method::POST {
            request.body = Bytes::from(question.form.clone());
        } else if !question.form.is_empty() {
            request.url.set_query(Some(&question.form));
        }
        let mut charge = Charge::none(&errand.scope);
        let fetched = self.fetch(request, errand.max_bytes, errand.deadline, Some(&mut charge)).await?;
        if let Some(meter) = &question.meter {
            meter.fetch_add(fetched.wire_bytes, Ordering::Relaxed);
        }
        if fetched.is_victoria {
            server.known.is_victoria();
        }
        // What is made of it lies beside it for a moment.
        charge.set(0, 2 * fetched.body.len() as u64)?;
        let mut answer = self.read(question, fetched, errand.deadline).await?;
        let (samples, bytes) = answer.weight();
        charge.set(samples, bytes)?;
        answer.take(charge);
        Ok(answer)
    }

    /// Reads an answer; a large one on other threads, while the time for it runs.
    async fn read<T: Send + 'static>(
        &self,
        question: &Question<T>,
        fetched: Fetched,
        deadline: Instant,
    ) -> Result<T, MemberError> {
        let (read, is_small) = (question.read, fetched.body.len() <= SMALL);
        let work = move || match read(&fetched.body) {
            Err(AnswerError::Garbled(_)) if fetched.status != StatusCode::OK => Err(fetched.into_error()),
            outcome => Ok(outcome?),
        };
        if is_small {
            return work();
        }
        match tokio::time::timeout_at(deadline.into(), self.pool.run(work)).await {
            Ok(outcome) => outcome.map_err(|lost| AnswerError::Garbled(lost.to_string()))?,
            Err(_) => Err(MemberError::NoTime),
        }
    }

    /// A request to a server, in the name of a client.
    fn request(&self, url: &Url, path: &str, method: Method, credentials: &Credentials) -> Request {
        let mut headers = self.headers(credentials);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        // Prometheus understands the names alone: no spelling with weights.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("zstd, gzip"));
        Request { method, url: below(url, path), headers, body: Bytes::new(), timeout: None }
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

    /// Sends a request of which only the status counts.
    async fn status(&self, request: Request, deadline: Instant) -> Result<StatusCode, MemberError> {
        let left = deadline.saturating_duration_since(Instant::now()).min(self.config.timeout);
        Ok(self.client.send(request.timeout(left)).await?.status)
    }

    /// Sends a request and reads its answer whole; its bytes are charged while they come.
    async fn fetch(
        &self,
        request: Request,
        max_bytes: u64,
        deadline: Instant,
        mut charge: Option<&mut Charge>,
    ) -> Result<Fetched, MemberError> {
        let left = deadline.saturating_duration_since(Instant::now()).min(self.config.timeout);
        if left.is_zero() {
            return Err(MemberError::NoTime);
        }
        let response = self.client.send(request.timeout(left)).await?;
        let (status, encoding) = (response.status, response.content_encoding().to_owned());
        let is_victoria = response.headers.contains_key(probe::VICTORIA_HEADER);
        let is_self = response.headers.get(loops::INSTANCE).is_some_and(|told| *told == *loops::instance());
        let limit = if status == StatusCode::OK { max_bytes } else { ERROR_MAX };
        let mut body = Vec::new();
        let grown = |bytes: usize| match &mut charge {
            Some(charge) => charge.set(0, bytes as u64).map_err(MemberError::from),
            None => Ok(()),
        };
        let mut wire_bytes = 0;
        match net::read_body_watched(response.body, &encoding, Some(limit), &mut body, grown).await {
            Ok(info) => {
                wire_bytes = info.wire_bytes;
                self.metrics.received(wire_bytes);
            }
            // The beginning of an error says enough.
            Err(MemberError::Body(BodyError::TooLarge { .. })) if status != StatusCode::OK => {}
            Err(error) => return Err(error),
        }
        Ok(Fetched { status, is_victoria, is_self, wire_bytes, body })
    }
}

impl Server {
    /// Its address without what may be secret in it.
    fn shown(&self) -> String {
        format!("{}{}", self.url.origin().ascii_serialization(), self.url.path())
    }

    /// It was asked, and answered or not.
    fn note(&self, took: Duration, error: Option<&MemberError>) {
        let mut health = self.health.lock();
        match error {
            // Nothing has come of it that tells about the server.
            Some(MemberError::NoTime | MemberError::Ended(_) | MemberError::Resting(_)) => {}
            Some(MemberError::Answer(AnswerError::Refused { .. })) | None => {
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

/// An answer, read whole.
struct Fetched {
    status: StatusCode,
    is_victoria: bool,
    is_self: bool,
    wire_bytes: u64,
    body: Vec<u8>,
}

impl Fetched {
    fn into_error(self) -> MemberError {
        let text = String::from_utf8_lossy(&self.body);
        let text = text.trim().chars().take(SHOWN).collect();
        MemberError::Status { status: self.status, text }
    }
}

/// A path below a URL, whose own path may end in a slash or not.
fn below(url: &Url, path: &str) -> Url {
    let mut url = url.clone();
    let joined = format!("{}/{path}", url.path().trim_end_matches('/'));
    url.set_path(&joined);
    url
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Auth, HttpClientConfig, Secret, SecretSource, TlsConfig};
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
        let key = net::Header { name: "X-Api-Key".to_owned(), values: vec![secret()] };
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

    #[test]
    fn the_api_is_below_the_members_path() {
        for (url, wanted) in [
            ("http://a", "http://a/api/v1/query"),
            ("http://a/", "http://a/api/v1/query"),
            ("https://a:1/api/prom/", "https://a:1/api/prom/api/v1/query"),
        ] {
            assert_eq!(below(&Url::parse(url).unwrap(), "api/v1/query").as_str(), wanted);
        }
    }
}
