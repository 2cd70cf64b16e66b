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

use http_body::{Body, Frame, SizeHint};
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

/// What the server waits for. Those that can go with the least harm come first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Waiting {
    /// The first request.
    First,
    /// A further request.
    Further,
    /// The rest of a request's body, or that the peer reads on.
    Progress,
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
    /// Requests of which more bytes are to come.
    uploads: u32,
    /// Since when there has been at least one of them.
    uploading_since: Instant,
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
            uploads: 0,
            uploading_since: Instant::now(),
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

    /// Since when nothing goes on but waiting for the peer, and for what; `None` while the server has something to do.
    pub(super) fn waiting(&self) -> Option<(Waiting, Instant)> {
        let state = self.0.lock();
        if let Some(since) = state.blocked_since {
            return Some((Waiting::Progress, since));
        }
        match (state.requests, state.uploads) {
            (0, _) if state.any_request => Some((Waiting::Further, state.idle_since)),
            (0, _) => Some((Waiting::First, state.idle_since)),
            (requests, uploads) if requests == uploads => Some((Waiting::Progress, state.uploading_since)),
            _ => None,
        }
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

/// A request's body; it counts as an upload until its end, or until nobody wants the rest.
pub(super) struct Upload<B> {
    body: B,
    /// `None` once it has ended.
    activity: Option<Activity>,
}

impl<B: Body> Upload<B> {
    pub(super) fn new(body: B, activity: &Activity) -> Upload<B> {
        let mut upload = Upload { activity: None, body };
        if !upload.body.is_end_stream() {
            let mut state = activity.0.lock();
            if state.uploads == 0 {
                state.uploading_since = Instant::now();
            }
            state.uploads += 1;
            upload.activity = Some(activity.clone());
        }
        upload
    }
}

impl<B> Upload<B> {
    fn end(&mut self) {
        if let Some(activity) = self.activity.take() {
            activity.0.lock().uploads -= 1;
        }
    }
}

impl<B> Drop for Upload<B> {
    fn drop(&mut self) {
        self.end();
    }
}

impl<B: Body + Unpin> Body for Upload<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) || self.body.is_end_stream() {
            self.end();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
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
    fn only_a_connection_that_waits_for_its_peer_is_waiting() {
        let activity = Activity::new();
        let waiting = |activity: &Activity| activity.waiting().map(|(what, _)| what);
        assert_eq!(waiting(&activity), Some(Waiting::First));
        let request = activity.begin(true);
        assert_eq!(waiting(&activity), None);
        let body = axum::body::Body::from("some");
        let upload = Upload::new(body, &activity);
        assert_eq!(waiting(&activity), Some(Waiting::Progress));
        let other = activity.begin(true);
        assert_eq!(waiting(&activity), None, "one of the two can be worked on");
        drop(Upload::new(axum::body::Body::empty(), &activity));
        drop(other);
        assert_eq!(waiting(&activity), Some(Waiting::Progress));
        drop(upload);
        assert_eq!(waiting(&activity), None);
        activity.wrote(false, Instant::now());
        assert_eq!(waiting(&activity), Some(Waiting::Progress));
        activity.wrote(true, Instant::now());
        drop(request);
        assert_eq!(waiting(&activity), Some(Waiting::Further));
    }

    #[tokio::test]
    async fn an_upload_ends_with_its_last_byte() {
        let activity = Activity::new();
        let _request = activity.begin(false);
        let upload = Upload::new(axum::body::Body::from("some"), &activity);
        let collected = http_body_util::BodyExt::collect(upload);
        assert!(activity.waiting().is_some());
        assert_eq!(collected.await.expect("a body").to_bytes(), "some");
        assert_eq!(activity.0.lock().uploads, 0);
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
