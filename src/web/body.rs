//! Bodies of requests that bring data: read piece by piece, their bytes counted over all that are on their way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CONTENT_LENGTH, RETRY_AFTER};
use axum::http::{HeaderValue, Response, StatusCode};
use http_body_util::BodyExt as _;

use super::encoding::plain;

/// Of a declared length no more is believed, and counted, before it has come.
const RESERVED_MAX: usize = 64 << 10;
/// Seconds after which a sender may come again if there was no room.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the request's body is larger than the {0} bytes allowed")]
    TooLarge(usize),
    #[error("too many requests are being received")]
    Busy,
    #[error("the request's body ended early")]
    Incomplete,
    #[error("the request's body did not arrive within {0:?}")]
    TooSlow(Duration),
}

impl BodyError {
    /// What the sender is told.
    pub(super) fn response(&self) -> Response<Body> {
        let status = match self {
            BodyError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            BodyError::Busy => StatusCode::SERVICE_UNAVAILABLE,
            BodyError::Incomplete => StatusCode::BAD_REQUEST,
            BodyError::TooSlow(_) => StatusCode::REQUEST_TIMEOUT,
        };
        let mut response = plain(status, format!("{self}\n"));
        if matches!(self, BodyError::Busy) {
            response.headers_mut().insert(RETRY_AFTER, RETRY_SECONDS);
        }
        response
    }
}

/// What bodies may hold together.
#[derive(Debug)]
pub(super) struct BodyBudget {
    max: usize,
    held: AtomicUsize,
}

/// A body, whose memory counts from before it is taken until this is dropped.
#[derive(Debug)]
pub(super) struct HeldBody {
    pub(super) bytes: Vec<u8>,
    /// What is counted: the memory for the bytes, used or not.
    room: usize,
    budget: Arc<BodyBudget>,
}

impl HeldBody {
    /// Makes room for so many bytes, those that are there included.
    fn reserve(&mut self, room: usize) -> Result<(), BodyError> {
        let more = room.saturating_sub(self.room);
        self.room += more;
        if self.budget.held.fetch_add(more, Ordering::Relaxed) + more > self.budget.max {
            return Err(BodyError::Busy);
        }
        self.bytes.reserve_exact(room.saturating_sub(self.bytes.len()));
        Ok(())
    }

    /// Takes a piece; `most`: bytes of the whole body at the most.
    fn take(&mut self, piece: &[u8], most: usize) -> Result<(), BodyError> {
        let wanted = self.bytes.len() + piece.len();
        if wanted > self.room {
            // Twice as much, as a vector grows by itself, yet never more than may come: the last step is the dearest.
            self.reserve(self.room.saturating_mul(2).clamp(wanted, most.max(wanted)))?;
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }
}

impl Drop for HeldBody {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.room, Ordering::Relaxed);
    }
}

impl BodyBudget {
    pub(super) fn new(max: usize) -> Arc<BodyBudget> {
        Arc::new(BodyBudget { max, held: AtomicUsize::new(0) })
    }

    /// Bytes that are held now.
    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Reads a body of at most `max` bytes within `timeout`.
    pub(super) async fn read(
        self: &Arc<BodyBudget>,
        request: Request,
        max: usize,
        timeout: Duration,
    ) -> Result<HeldBody, BodyError> {
        let read = tokio::time::timeout(timeout, self.read_all(request, max));
        read.await.unwrap_or(Err(BodyError::TooSlow(timeout)))
    }

    async fn read_all(self: &Arc<BodyBudget>, request: Request, max: usize) -> Result<HeldBody, BodyError> {
        let declared = request.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
        let most = declared.unwrap_or(max);
        if most > max {
            return Err(BodyError::TooLarge(max));
        }
        let mut held = HeldBody { bytes: Vec::new(), room: 0, budget: self.clone() };
        held.reserve(declared.unwrap_or(0).min(RESERVED_MAX))?;
        let mut body = request.into_body();
        while let Some(frame) = body.frame().await {
            let Ok(piece) = frame.map_err(|_| BodyError::Incomplete)?.into_data() else { continue };
            if held.bytes.len() + piece.len() > max {
                return Err(BodyError::TooLarge(max));
            }
            held.take(&piece, most)?;
        }
        Ok(held)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use bytes::Bytes;

    use super::*;

    #[tokio::test]
    async fn bodies_are_bounded_alone_and_together_and_given_back() {
        let budget = BodyBudget::new(100);
        let read = |bytes: usize| {
            let request = Request::new(Body::from(vec![7; bytes]));
            budget.read(request, 60, Duration::from_secs(5))
        };
        let first = read(60).await.expect("it fits");
        assert_eq!(first.bytes, [7; 60]);
        assert!(matches!(read(61).await, Err(BodyError::TooLarge(60))));
        assert!(matches!(read(41).await, Err(BodyError::Busy)));
        let second = read(40).await.expect("it fits");
        assert_eq!(budget.held(), 100);
        drop((first, second));
        assert_eq!(budget.held(), 0);
    }

    /// A body of so many pieces of 100 bytes.
    struct Pieces(usize);

    impl http_body::Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
            let left = self.0.checked_sub(1);
            self.0 = left.unwrap_or(0);
            Poll::Ready(left.map(|_| Ok(http_body::Frame::data(Bytes::from_static(&[7; 100])))))
        }
    }

    #[tokio::test]
    async fn the_memory_for_a_body_counts_whether_it_is_used_or_not() {
        let budget = BodyBudget::new(1000);
        let read = |pieces: usize, declared: Option<usize>| {
            let mut request = Request::new(Body::new(Pieces(pieces)));
            declared.map(|n| request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(n)));
            budget.read(request, 2000, Duration::from_secs(5))
        };
        for (pieces, declared, counted) in [(3, None, 400), (3, Some(300), 300), (4, None, 400), (1, Some(700), 700)] {
            let body = read(pieces, declared).await.expect("it fits");
            assert_eq!((body.bytes.len(), budget.held()), (pieces * 100, counted));
            assert!(body.bytes.capacity() <= counted, "{} bytes", body.bytes.capacity());
        }
        // The step beyond 800 bytes would take 1600.
        assert!(matches!(read(9, None).await, Err(BodyError::Busy)));
        assert_eq!(read(9, Some(900)).await.expect("it fits").bytes.len(), 900);
        assert_eq!(budget.held(), 0);
    }
}
