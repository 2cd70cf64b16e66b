//! Finding out what a member's servers can do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinSet;

use super::exchange::Fetched;
use super::{Credentials, Greeting, Member, MemberError, Server};
use crate::cluster::answer::AnswerError;
use crate::cluster::probe::{self, Capabilities};
use crate::model::Labels;
use crate::net::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use crate::net::{Method, StatusCode};

/// What is not necessary to know is not waited for longer.
const ASIDE: Duration = Duration::from_secs(2);

impl Member {
    /// Asks each server who it is, in nobody's name; what it says is shown, and not relied on. To be told at start.
    pub async fn greet(&self, deadline: Instant) -> Vec<Greeting> {
        let mut greetings = Vec::new();
        for server in &self.servers {
            let request = self.request(&server.url, "api/v1/status/buildinfo", Method::GET, &Credentials::new());
            let started = Instant::now();
            let fetched = self.fetch(request, probe::MAX_BYTES, deadline, None).await.and_then(Fetched::of_the_well);
            let is_self = fetched.as_ref().is_ok_and(|fetched| fetched.is_self);
            let version = fetched.map(|fetched| probe::parse_build(&fetched.body).unwrap_or_default().version);
            server.note(started.elapsed(), version.as_ref().err());
            server.health.lock().is_self = is_self;
            if let Ok(version) = &version {
                server.has_version(version);
            }
            greetings.push(Greeting { url: server.shown(), version, is_self });
        }
        greetings
    }

    /// What a replica can do: what it has said not long ago, or what it says now, or else what it has said before.
    pub async fn capabilities(
        &self,
        replica: usize,
        credentials: &Credentials,
        deadline: Instant,
    ) -> Result<Arc<Capabilities>, MemberError> {
        match self.find_out(replica, credentials, deadline).await {
            // Who rests is not to be asked anything.
            Err(error) if !matches!(error, MemberError::Resting(_)) => self.known(replica).ok_or(error),
            outcome => outcome,
        }
    }

    /// What a replica has said not long ago, or says now.
    async fn find_out(
        &self,
        replica: usize,
        credentials: &Credentials,
        deadline: Instant,
    ) -> Result<Arc<Capabilities>, MemberError> {
        let server = self.servers.get(replica).ok_or(MemberError::NoTime)?;
        if let Some(known) = server.known.fresh() {
            return Ok(known);
        }
        // Who has been known before is not waited for long.
        let deadline = if server.known.last().is_some() { soon(deadline) } else { deadline };
        // One asks, and the others wait for what it finds.
        let looking = tokio::time::timeout_at(deadline.into(), server.looking.lock()).await;
        let _looking = looking.map_err(|_| MemberError::NoTime)?;
        if let Some(known) = server.known.fresh() {
            return Ok(known);
        }
        let admitted = server.admit()?;
        let started = Instant::now();
        let found = self.look(server, credentials, deadline).await;
        server.conclude(admitted, started, found.as_ref().err());
        found
    }

    /// What the member can do: what any replica has said not long ago, or what the first says of all that are asked now. If none
    /// says anything, what was known before.
    pub(in crate::cluster) async fn any_capabilities(
        self: &Arc<Self>,
        credentials: &Credentials,
        deadline: Instant,
    ) -> Result<Arc<Capabilities>, MemberError> {
        if let Some(known) = self.any_freshly_known() {
            return Ok(known);
        }
        let mut asked = JoinSet::new();
        for replica in 0..self.servers.len() {
            let (member, credentials) = (self.clone(), credentials.clone());
            asked.spawn(async move { member.find_out(replica, &credentials, deadline).await });
        }
        let mut error = MemberError::NoTime;
        while let Some(told) = asked.join_next().await {
            match told {
                Ok(Ok(known)) => return Ok(known),
                Ok(Err(failed)) => error = failed,
                // It has panicked, or the process ends.
                Err(_) => {}
            }
        }
        self.servers.iter().find_map(|server| server.known.last()).ok_or(error)
    }

    async fn look(
        &self,
        server: &Server,
        credentials: &Credentials,
        deadline: Instant,
    ) -> Result<Arc<Capabilities>, MemberError> {
        let build = self.request(&server.url, "api/v1/status/buildinfo", Method::GET, credentials);
        let soon = soon(deadline);
        let (build, external, has_remote_read) = tokio::join!(
            self.fetch(build, probe::MAX_BYTES, deadline, None),
            self.external_labels(server, credentials, soon),
            self.has_remote_read(server, credentials, soon),
        );
        let build = build?.of_the_well()?;
        let before = server.known.last().unwrap_or_default();
        match build.status {
            // What is known serves everybody: nobody without credentials decides what that is.
            StatusCode::UNAUTHORIZED => return Err(build.into_error()),
            StatusCode::FORBIDDEN => return Ok(server.known.put((*before).clone(), probe::FRESH_IF_DENIED)),
            _ => {}
        }
        let has_header = build.is_victoria;
        let build = probe::parse_build(&build.body).unwrap_or_default();
        server.has_version(&build.version);
        let fresh = match (external.as_ref().err(), has_remote_read.as_ref().err()) {
            (None, None) => probe::FRESH,
            (Some(MemberError::Status { .. }), _) | (_, Some(MemberError::Status { .. })) => probe::FRESH_IF_DENIED,
            _ => probe::FRESH_IN_PART,
        };
        let found = Capabilities {
            flavour: build.flavour(has_header),
            tells_revision: build.tells_revision(),
            version: build.version,
            external: external.unwrap_or_else(|_| before.external.clone()),
            has_remote_read: has_remote_read.unwrap_or(before.has_remote_read),
        };
        Ok(server.known.put(found, fresh))
    }

    /// The labels that a server adds to series for others, if it shows its configuration.
    async fn external_labels(
        &self,
        server: &Server,
        credentials: &Credentials,
        deadline: Instant,
    ) -> Result<Labels, MemberError> {
        let request = self.request(&server.url, "api/v1/status/config", Method::GET, credentials);
        let config = self.fetch(request, probe::MAX_BYTES, deadline, None).await?;
        match config.status {
            StatusCode::OK => {}
            status if is_denial(status) => return Err(config.into_error()),
            _ => return Ok(Labels::empty()),
        }
        // Some configurations have megabytes.
        let read = self.pool.run(move || probe::parse_external(&config.body).unwrap_or_default());
        match tokio::time::timeout_at(deadline.into(), read).await {
            Ok(read) => read.map_err(|lost| AnswerError::Garbled(lost.to_string()).into()),
            Err(_) => Err(MemberError::NoTime),
        }
    }

    /// Whether a server answers remote read.
    async fn has_remote_read(
        &self,
        server: &Server,
        credentials: &Credentials,
        deadline: Instant,
    ) -> Result<bool, MemberError> {
        let mut request = self.request(&server.url, "api/v1/read", Method::POST, credentials);
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        request.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
        // A request without queries; its message has no bytes.
        request.body = Bytes::from_static(&[0]);
        match self.status(request, deadline).await? {
            status if is_denial(status) => {
                Err(MemberError::Status { status, kind: String::new(), text: String::new() })
            }
            status => Ok(status.is_success()),
        }
    }
}

/// Whether it is the credentials that are not enough.
fn is_denial(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

/// By when to know what a query can do without: it is to have the most of its time for itself.
fn soon(deadline: Instant) -> Instant {
    let now = Instant::now();
    now.checked_add(ASIDE.min(deadline.saturating_duration_since(now) / 2)).unwrap_or(deadline)
}
