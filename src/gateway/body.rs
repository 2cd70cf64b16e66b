//! Bodies on their way through.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::http::Lease;
use super::metrics::Exchange;

/// Why a request's body did not reach its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// It has more bytes than allowed.
    TooLarge,
    /// The client broke off, or sent what is no body.
    Client,
    /// As much is held as may be.
    NoRoom,
}

/// Smaller pieces are copied together. Each as it was read keeps a whole read buffer in memory, of 8 KiB and more, so a client
/// that sends byte by byte would make thousands of bytes of one.
const COPIED: usize = 32 << 10;

#[derive(Debug, thiserror::Error)]
pub(super) enum UploadError {
    #[error("the body is larger than allowed")]
    TooLarge,
    #[error("the client's body broke off")]
    Client,
}

/// Where an upload notes how it fares for those who only see that the connection to the backend failed.
#[derive(Clone, Default)]
pub(super) struct FaultCell(Arc<AtomicU8>);

const MOVING: u8 = 0;
const TOO_LARGE: u8 = 1;
const CLIENT: u8 = 2;
const WAITING: u8 = 3;

impl FaultCell {
    pub(super) fn get(&self) -> Option<Fault> {
        match self.0.load(Ordering::Acquire) {
            TOO_LARGE => Some(Fault::TooLarge),
            CLIENT => Some(Fault::Client),
            _ => None,
        }
    }

    /// Whether the client has not sent yet what could be sent on.
    pub(super) fn is_waited_for(&self) -> bool {
        self.0.load(Ordering::Acquire) == WAITING
    }

    fn set(&self, state: u8) {
        self.0.store(state, Ordering::Release);
    }
}

/// A client's body, as far as it is allowed to go.
pub(super) struct Upload {
    body: Body,
    left: u64,
    fault: FaultCell,
}

impl Upload {
    pub(super) fn new(body: Body, limit: u64) -> Upload {
        Upload { body, left: limit, fault: FaultCell::default() }
    }

    pub(super) fn fault(&self) -> FaultCell {
        self.fault.clone()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.fault.set(if polled.is_pending() { WAITING } else { MOVING });
        let frame = match ready!(polled) {
            None => return Poll::Ready(None),
            Some(Ok(frame)) => frame,
            Some(Err(_)) => {
                self.fault.set(CLIENT);
                return Poll::Ready(Some(Err(UploadError::Client)));
            }
        };
        let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Poll::Ready(Some(Ok(frame)))
            }
            None => {
                self.fault.set(TOO_LARGE);
                Poll::Ready(Some(Err(UploadError::TooLarge)))
            }
        }
    }

    /// All of it, in pieces that take about as much memory as they are long; each asks for room before it is kept.
    pub(super) async fn gather(&mut self, mut room: impl FnMut(usize) -> bool) -> Result<Vec<Bytes>, Fault> {
        let (mut pieces, mut small) = (Vec::new(), BytesMut::new());
        while let Some(piece) = self.next().await {
            let piece = piece?;
            if !room(piece.len()) {
                return Err(Fault::NoRoom);
            }
            if piece.len() < COPIED {
                small.extend_from_slice(&piece);
            }
            if small.len() >= COPIED || (piece.len() >= COPIED && !small.is_empty()) {
                pieces.push(small.split().freeze());
            }
            if piece.len() >= COPIED {
                pieces.push(piece);
            }
        }
        if !small.is_empty() {
            pieces.push(small.freeze());
        }
        Ok(pieces)
    }

    /// The next piece; trailers are passed over.
    async fn next(&mut self) -> Option<Result<Bytes, Fault>> {
        loop {
            let frame = std::future::poll_fn(|cx| self.poll(cx)).await?;
            match frame.map(Frame::into_data) {
                Ok(Ok(data)) => return Some(Ok(data)),
                Ok(Err(_)) => {}
                Err(UploadError::TooLarge) => return Some(Err(Fault::TooLarge)),
                Err(UploadError::Client) => return Some(Err(Fault::Client)),
            }
        }
    }
}

/// What a backend is sent.
pub(super) enum Outgoing {
    /// Pieces that can be sent again.
    Whole(Whole),
    /// The client's body as it comes.
    Stream(Upload),
}

/// Pieces of one body; clones share them.
#[derive(Clone, Default)]
pub(super) struct Whole {
    pieces: Vec<Bytes>,
    next: usize,
}

impl Whole {
    pub(super) fn new(pieces: Vec<Bytes>) -> Whole {
        Whole { pieces, next: 0 }
    }

    fn left(&self) -> &[Bytes] {
        self.pieces.get(self.next..).unwrap_or_default()
    }
}

impl http_body::Body for Whole {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let piece = self.left().first().cloned();
        self.next = self.next.saturating_add(1);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left().is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left().iter().map(|piece| piece.len() as u64).sum())
    }
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        match &mut *self {
            Outgoing::Whole(whole) => Pin::new(whole).poll_frame(cx),
            Outgoing::Stream(upload) => upload.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Outgoing::Whole(whole) => whole.is_end_stream(),
            Outgoing::Stream(upload) => upload.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Outgoing::Whole(whole) => whole.size_hint(),
            Outgoing::Stream(upload) => upload.body.size_hint(),
        }
    }
}

/// Why an answer was cut off after it had begun.
#[derive(Debug, thiserror::Error)]
pub(super) enum AnswerError {
    #[error("the backend took too long")]
    Late,
    #[error("the backend broke off: {0}")]
    Broken(#[from] hyper::Error),
}

/// A backend's answer on its way to the client. At its end the connection goes back to the others; dropped before, it
/// takes the connection down with it, so that no later request can be given the rest.
pub(super) struct Answer {
    body: Incoming,
    exchange: Exchange,
    lease: Option<Lease>,
    deadline: Instant,
    /// There once the backend has been waited for.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Answer {
    pub(super) fn new(body: Incoming, exchange: Exchange, lease: Lease, deadline: Instant) -> Answer {
        Answer { body, exchange, lease: Some(lease), deadline, timer: None }
    }

    fn end(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = AnswerError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.exchange.sent(frame.data_ref().map_or(0, Bytes::len));
                if frame.is_trailers() {
                    self.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                self.lease = None;
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) => {
                self.end();
                Poll::Ready(None)
            }
            Poll::Pending => {
                let deadline = self.deadline;
                let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
                ready!(timer.as_mut().poll(cx));
                self.lease = None;
                Poll::Ready(Some(Err(AnswerError::Late)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if self.body.is_end_stream() {
            self.end();
        }
    }
}

/// An answer that is there as a whole, handed over as fast as the client reads.
pub(super) struct Message {
    left: Bytes,
    exchange: Exchange,
    deadline: Instant,
}

/// Of a message that is handed over at once.
const HANDED: usize = 64 << 10;

impl Message {
    pub(super) fn new(bytes: Bytes, exchange: Exchange, deadline: Instant) -> Message {
        Message { left: bytes, exchange, deadline }
    }
}

impl http_body::Body for Message {
    type Data = Bytes;
    type Error = AnswerError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        if Instant::now() >= self.deadline {
            self.left = Bytes::new();
            return Poll::Ready(Some(Err(AnswerError::Late)));
        }
        let size = self.left.len().min(HANDED);
        let piece = self.left.split_to(size);
        self.exchange.sent(size);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_that_comes_byte_by_byte_is_kept_in_few_pieces_and_all_sizes_in_their_order() {
        for sizes in [vec![1; 100_000], vec![COPIED, 1, COPIED - 1, COPIED, COPIED, 7, 9], vec![3], vec![]] {
            let whole: Vec<u8> = (0..sizes.iter().sum::<usize>()).map(|n| (n % 251) as u8).collect();
            let mut rest = &whole[..];
            let mut next = |size: &usize| Bytes::copy_from_slice(rest.split_off(..*size).expect("so many bytes"));
            let came = Whole::new(sizes.iter().map(&mut next).collect());
            let mut upload = Upload::new(Body::new(came), u64::MAX);
            let pieces = upload.gather(|_| true).await.expect("a body");
            assert_eq!(pieces.concat(), whole);
            assert!(pieces.len() <= 2 * (whole.len() / COPIED) + 1, "{}", pieces.len());
        }
    }
}
