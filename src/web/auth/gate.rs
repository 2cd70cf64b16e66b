//! The layer itself, and the rules that it goes by.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use axum::middleware::Next;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::config::ListenerConfig;
use super::credentials::Credentials;
use super::failures::Failures;
use super::passwords::{Desk, Passwords, Verdict};
use super::rate::Bucket;
use crate::gateway;
use crate::runtime::CpuPool;
use crate::telemetry::{Counter, Registry};
use crate::web::connection::ClientAddress;
use crate::web::encoding::plain;
use crate::web::routes::Web;
use crate::web::tls::TlsServer;

/// Who may ask, and how connections are encrypted; clones share it. Without a web config file everybody may, in clear.
#[derive(Clone)]
pub struct Security(Arc<Inner>);

struct Inner {
    rules: ArcSwap<Rules>,
    /// Held while rules are replaced.
    replacing: Mutex<()>,
    /// There once there have been users: without them no thread is needed.
    desk: OnceLock<Arc<Desk>>,
    metrics: Metrics,
}

/// Everything of one web config file.
#[derive(Default)]
struct Rules {
    tls: Option<TlsServer>,
    headers: Vec<(HeaderName, HeaderValue)>,
    rate: Option<Arc<Bucket>>,
    protected: Option<Vec<String>>,
    passwords: Option<Arc<Passwords>>,
}

impl Rules {
    /// Whether a path needs credentials, however it is written.
    fn protects(&self, path: &str) -> bool {
        let Some(protected) = &self.protected else { return true };
        let is_below = |path: &str| {
            protected
                .iter()
                .any(|prefix| path.strip_prefix(prefix.as_str()).is_some_and(|r| r.is_empty() || r.starts_with('/')))
        };
        // A gateway passes paths on as they came, and backends resolve more than routes do.
        is_below(&gateway::plain(path)) || is_below(&gateway::lenient(path))
    }
}

struct Metrics {
    computed: Counter,
    missing: Counter,
    wrong: Counter,
    too_often: Counter,
    busy: Counter,
    rate_limited: Counter,
}

/// Why rules cannot be put to work.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    /// The system gives no randomness.
    #[error("the system gives no random numbers")]
    NoRandomness,
    /// No thread to compute passwords on.
    #[error("cannot start the thread for passwords: {0}")]
    Thread(std::io::Error),
}

impl Security {
    /// Lets everybody in until rules are applied.
    pub fn new(registry: &Registry) -> Security {
        let refused = |reason| {
            let help = "Requests that the web config file does not let in, by reason.";
            registry.counter("watershed_http_auth_refused_total", help, &[("reason", reason)])
        };
        let metrics = Metrics {
            missing: refused("no_credentials"),
            wrong: refused("wrong_credentials"),
            too_often: refused("too_many_failures"),
            busy: refused("busy"),
            rate_limited: refused("rate_limit"),
            computed: registry.counter(
                "watershed_http_auth_passwords_computed_total",
                "Passwords for which bcrypt had to be computed because the verdict was not known yet.",
                &[],
            ),
        };
        let (rules, replacing, desk) = (ArcSwap::default(), Mutex::default(), OnceLock::new());
        Security(Arc::new(Inner { rules, replacing, desk, metrics }))
    }

    /// Goes over to other rules. Requests under way and connections that are open are not touched; what is known of passwords
    /// is forgotten if any user has changed. An error leaves everything as it was.
    pub fn apply(&self, config: ListenerConfig) -> Result<(), SecurityError> {
        let _one_at_a_time = self.0.replacing.lock();
        let before = self.0.rules.load_full();
        let passwords = match &before.passwords {
            _ if config.users.is_empty() => None,
            Some(known) if *known.users() == config.users => Some(known.clone()),
            _ => Some(Arc::new(Passwords::new(&config.users).map_err(|_| SecurityError::NoRandomness)?)),
        };
        if passwords.is_some() && self.0.desk.get().is_none() {
            let pool = CpuPool::new("web-auth", 1).map_err(SecurityError::Thread)?;
            let computed = self.0.metrics.computed.clone();
            // Rules are replaced by one at a time, so nobody else was first.
            drop(self.0.desk.set(Arc::new(Desk { pool, failures: Failures::default(), computed })));
        }
        let rate = config.rate_limit.map(|limit| match &before.rate {
            Some(bucket) if bucket.limit == limit => bucket.clone(),
            _ => Arc::new(Bucket::new(limit, Instant::now())),
        });
        let ListenerConfig { tls, headers, protected, .. } = config;
        self.0.rules.store(Arc::new(Rules { tls, headers, rate, protected, passwords }));
        Ok(())
    }

    /// Whether only clients that show who they are get an answer at a path.
    pub fn asks_at(&self, path: &str) -> bool {
        let rules = self.0.rules.load();
        let knows_clients = rules.tls.as_ref().is_some_and(|tls| tls.knows_clients);
        knows_clients || rules.passwords.is_some() && rules.protects(path)
    }

    /// How the next connection is encrypted.
    pub(in crate::web) fn tls(&self) -> Option<TlsServer> {
        self.0.rules.load().tls.clone()
    }

    /// Decides whether a request goes on to its handler.
    async fn admit(&self, rules: &Rules, headers: &HeaderMap, client: IpAddr) -> Result<(), Refusal> {
        let (Some(passwords), Some(desk)) = (&rules.passwords, self.0.desk.get()) else { return Ok(()) };
        let metrics = &self.0.metrics;
        let Some(credentials) = Credentials::of(headers) else {
            metrics.missing.inc();
            return Err(Refusal::Unauthorized);
        };
        match passwords.check(credentials, client, desk).await {
            Verdict::Right => Ok(()),
            Verdict::Wrong => {
                metrics.wrong.inc();
                Err(Refusal::Unauthorized)
            }
            Verdict::TooOften(wait) => {
                metrics.too_often.inc();
                Err(Refusal::TooOften(wait))
            }
            Verdict::Busy => {
                metrics.busy.inc();
                Err(Refusal::Busy)
            }
        }
    }
}

/// Why a request does not go on.
enum Refusal {
    Unauthorized,
    TooOften(Duration),
    Busy,
}

impl Refusal {
    fn respond(self) -> Response<Body> {
        let (status, name, value) = match self {
            Refusal::Unauthorized => (StatusCode::UNAUTHORIZED, WWW_AUTHENTICATE, HeaderValue::from_static("Basic")),
            Refusal::TooOften(wait) => (StatusCode::TOO_MANY_REQUESTS, RETRY_AFTER, whole_seconds(wait)),
            Refusal::Busy => (StatusCode::SERVICE_UNAVAILABLE, RETRY_AFTER, HeaderValue::from_static("1")),
        };
        let mut response = refuse(status);
        response.headers_mut().insert(name, value);
        response
    }
}

/// Rounded up, so that who waits as long is let in.
fn whole_seconds(wait: Duration) -> HeaderValue {
    HeaderValue::from(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
}

/// The status alone, as the reference says it.
fn refuse(status: StatusCode) -> Response<Body> {
    let mut response = plain(status, format!("{}\n", status.canonical_reason().unwrap_or("Refused")));
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The layer before every route and before the answer to unknown paths.
pub(in crate::web) async fn protect(State(web): State<Arc<Web>>, mut request: Request, next: Next) -> Response<Body> {
    let security = &web.deps.security;
    let rules = security.0.rules.load_full();
    if rules.rate.as_ref().is_some_and(|bucket| !bucket.take(Instant::now())) {
        security.0.metrics.rate_limited.inc();
        return refuse(StatusCode::TOO_MANY_REQUESTS);
    }
    let address = request.extensions().get::<ClientAddress>().map(|client| client.0);
    let client = address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let path = request.uri().path();
    let is_protected = rules.protects(path);
    let admitted = match is_open(&web, path) || !is_protected {
        true => Ok(()),
        false => security.admit(&rules, request.headers(), client).await,
    };
    if rules.passwords.is_some() && is_protected {
        // They were for this server, and go no further: handlers send a client's credentials on to members of a cluster.
        request.headers_mut().remove(AUTHORIZATION);
    }
    let mut response = match admitted {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.respond(),
    };
    for (name, value) in &rules.headers {
        response.headers_mut().entry(name).or_insert_with(|| value.clone());
    }
    response
}

/// Whether a path is answered without credentials.
fn is_open(web: &Web, path: &str) -> bool {
    let inner = path.strip_prefix(web.config.route_prefix.as_str());
    web.config.open_health && inner.is_some_and(|path| matches!(path, "/-/healthy" | "/-/ready"))
}
