//! One connection: what it is waiting for, and when that has taken too long.
//!
//! [`Activity`] is shared by three parties that each see one side: the [`WatchedIo`] below HTTP sees bytes arrive and
//! writes block, the service above HTTP sees requests begin and answers end, and the connection's task asks it for the
//! next [deadline](Activity::deadline). So one place cuts silent connections, heads that trickle, idle keep-alive
//! connections and peers that do not read their answer, for HTTP/1 and HTTP/2 alike.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::config::WebConfig;

/// Who is at the other end; every request carries it as an extension.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ClientAddress(pub(super) IpAddr);

/// Patience with one connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) header: std::time::Duration,
    pub(super) idle: std::time::Duration,
    pub(super) write_stall: std::time::Duration,
}

impl Limits {
    pub(super) fn of(config: &WebConfig) -> Limits {
        Limits { header: config.header_timeout, idle: config.read_timeout, write_stall: config.write_stall_timeout }
    }
}

/// Why a connection is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cut {
    /// Its first request's head, or its handshake, did not come.
    Silent,
    /// A head began and did not end.
    SlowHead,
    /// No further request came.
    Idle,
    /// The peer did not read its answer.
    Stalled,
    /// The server stopped, and it had not ended by then.
    Stopping,
    /// All places were taken, and it had been waiting for longest.
    Crowded,
}

/// What one connection is doing; clones share it.
#[derive(Clone)]
pub(super) struct Activity(Arc<Mutex<State>>);

struct State {
    requests: u32,
    any_request: bool,
    http2: bool,
    idle_since: Instant,
    /// First byte of a head that is not complete.
    head_since: Option<Instant>,
    /// First write that the peer would not take, with none taken since.
    blocked_since: Option<Instant>,
}

impl Activity {
    pub(super) fn new() -> Activity {
        Activity(Arc::new(Mutex::new(State {
            requests: 0,
            any_request: false,
            http2: false,
            idle_since: Instant::now(),
            head_since: None,
            blocked_since: None,
        })))
    }

    /// A request's head is complete; it counts as in flight until the guard is dropped.
    pub(super) fn begin(&self, http2: bool) -> RequestGuard {
        let mut state = self.0.lock();
        state.requests += 1;
        state.any_request = true;
        state.http2 = http2;
        state.head_since = None;
        RequestGuard(self.clone())
    }

    /// Forgets what has passed so far, which was not HTTP.
    pub(super) fn restart(&self) {
        let mut state = self.0.lock();
        (state.idle_since, state.head_since, state.blocked_since) = (Instant::now(), None, None);
    }

    pub(super) fn requests(&self) -> u32 {
        self.0.lock().requests
    }

    /// Since when there has been nothing to do for this connection, and whether it ever had a request; `None` while it has.
    pub(super) fn waiting(&self) -> Option<(bool, Instant)> {
        let state = self.0.lock();
        (state.requests == 0).then_some((state.any_request, state.idle_since))
    }

    /// When the connection will have waited too long, and for what; `None` while requests are worked on.
    pub(super) fn deadline(&self, limits: &Limits) -> Option<(Instant, Cut)> {
        let state = self.0.lock();
        let stalled = state.blocked_since.map(|since| (since + limits.write_stall, Cut::Stalled));
        let waiting = (state.requests == 0).then(|| match (state.head_since, state.any_request) {
            (Some(since), _) => (since + limits.header, Cut::SlowHead),
            (None, true) => (state.idle_since + limits.idle, Cut::Idle),
            (None, false) => (state.idle_since + limits.header, Cut::Silent),
        });
        stalled.into_iter().chain(waiting).min_by_key(|(at, _)| *at)
    }

    fn received(&self, now: Instant) {
        let mut state = self.0.lock();
        // Between HTTP/2 requests peers send frames that are no heads; there only idleness counts.
        if state.requests == 0 && !state.http2 && state.head_since.is_none() {
            state.head_since = Some(now);
        }
    }

    fn wrote(&self, progress: bool, now: Instant) {
        let mut state = self.0.lock();
        match (progress, state.blocked_since) {
            (true, Some(_)) => state.blocked_since = None,
            (false, None) => state.blocked_since = Some(now),
            _ => {}
        }
    }
}

/// Holds a request in flight: from its complete head until its answer's last byte was handed to HTTP.
pub(super) struct RequestGuard(Activity);

impl Drop for RequestGuard {
    fn drop(&mut self) {
        let mut state = self.0.0.lock();
        state.requests -= 1;
        state.idle_since = Instant::now();
    }
}

/// A socket that tells an [`Activity`] what passes.
pub(super) struct WatchedIo<S> {
    inner: S,
    activity: Activity,
}

impl<S> WatchedIo<S> {
    pub(super) fn new(inner: S, activity: Activity) -> WatchedIo<S> {
        WatchedIo { inner, activity }
    }

    fn note(&self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.activity.wrote(outcome.is_ready(), Instant::now());
        outcome
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WatchedIo<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.inner).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.activity.received(Instant::now());
        }
        outcome
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WatchedIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.note(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.note(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LIMITS: Limits = Limits {
        header: Duration::from_secs(10),
        idle: Duration::from_secs(300),
        write_stall: Duration::from_secs(60),
    };
    const STEP: Duration = Duration::from_secs(4);

    #[test]
    fn a_trickling_head_is_timed_from_its_first_byte() {
        let activity = Activity::new();
        let opened = activity.0.lock().idle_since;
        assert_eq!(activity.deadline(&LIMITS), Some((opened + LIMITS.header, Cut::Silent)));
        activity.received(opened + STEP);
        activity.received(opened + STEP + STEP);
        assert_eq!(activity.deadline(&LIMITS), Some((opened + STEP + LIMITS.header, Cut::SlowHead)));
        activity.restart();
        assert!(matches!(activity.deadline(&LIMITS), Some((_, Cut::Silent))));
    }

    #[test]
    fn a_request_in_flight_has_no_deadline_and_idleness_counts_after_it() {
        let activity = Activity::new();
        activity.received(Instant::now());
        let request = activity.begin(false);
        activity.received(Instant::now());
        assert_eq!(activity.deadline(&LIMITS), None);
        let before = Instant::now();
        drop(request);
        assert!(activity.deadline(&LIMITS).is_some_and(|(at, why)| at >= before + LIMITS.idle && why == Cut::Idle));
    }

    #[test]
    fn a_peer_that_does_not_read_is_cut_even_while_its_request_is_answered() {
        let activity = Activity::new();
        let _request = activity.begin(false);
        let blocked = Instant::now();
        activity.wrote(false, blocked);
        activity.wrote(false, blocked + STEP);
        assert_eq!(activity.deadline(&LIMITS), Some((blocked + LIMITS.write_stall, Cut::Stalled)));
        activity.wrote(true, blocked + STEP);
        assert_eq!(activity.deadline(&LIMITS), None);
    }

    #[test]
    fn frames_between_http2_requests_do_not_count_as_heads() {
        let activity = Activity::new();
        drop(activity.begin(true));
        let idle_since = activity.0.lock().idle_since;
        activity.received(idle_since + STEP);
        assert_eq!(activity.deadline(&LIMITS), Some((idle_since + LIMITS.idle, Cut::Idle)));
    }
}
