//! Finding out what a member's servers can do.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::exchange::Fetched;
use super::{Credentials, Greeting, Member, MemberError, Server};
use crate::cluster::probe::{self, Capabilities, Flavour};
use crate::net::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use crate::net::{Method, StatusCode};

impl Member {
    /// Asks each server who it is, in nobody's name; what it says is not relied on later. To be told at start.
    pub async fn greet(&self, deadline: Instant) -> Vec<Greeting> {
        let mut greetings = Vec::new();
        for server in &self.servers {
            let request = self.request(&server.url, "api/v1/status/buildinfo", Method::GET, &Credentials::new());
            let started = Instant::now();
            let fetched = self.fetch(request, probe::MAX_BYTES, deadline, None).await.and_then(Fetched::of_the_well);
            let is_self = fetched.as_ref().is_ok_and(|fetched| fetched.is_self);
            let version = fetched.map(|fetched| probe::parse_build(&fetched.body).unwrap_or_default().0);
            server.note(started.elapsed(), version.as_ref().err());
            server.health.lock().is_self = is_self;
            greetings.push(Greeting { url: server.shown(), version, is_self });
        }
        greetings
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
        server.conclude(admitted, started, found.as_ref().err());
        found.map(|found| server.known.put(found))
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
            asked.spawn(async move { member.capabilities(replica, &credentials, deadline).await });
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
        let build = build?.of_the_well()?;
        let (version, tells_revision) = probe::parse_build(&build.body).unwrap_or_default();
        let flavour = match build.is_victoria && !tells_revision {
            true => Flavour::VictoriaMetrics,
            false => Flavour::Prometheus,
        };
        let config = config.ok().filter(|config| config.status == StatusCode::OK);
        Ok(Capabilities {
            flavour,
            version,
            tells_revision,
            external: config.and_then(|config| probe::parse_external(&config.body)).unwrap_or_default(),
            has_remote_read: read.is_ok_and(|status| status.is_success()),
        })
    }
}
