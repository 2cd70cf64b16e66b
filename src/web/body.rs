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

/// Of a declared length no more is believed before it has come.
const RESERVED_MAX: usize = 1 << 20;
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

/// A body, whose bytes count until this is dropped.
#[derive(Debug)]
pub(super) struct HeldBody {
    pub(super) bytes: Vec<u8>,
    budget: Arc<BodyBudget>,
}

impl Drop for HeldBody {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.bytes.len(), Ordering::Relaxed);
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
        let declared = declared.unwrap_or(0);
        if declared > max {
            return Err(BodyError::TooLarge(max));
        }
        let mut held = HeldBody { bytes: Vec::with_capacity(declared.min(RESERVED_MAX)), budget: self.clone() };
        let mut body = request.into_body();
        while let Some(frame) = body.frame().await {
            let Ok(piece) = frame.map_err(|_| BodyError::Incomplete)?.into_data() else { continue };
            if held.bytes.len() + piece.len() > max {
                return Err(BodyError::TooLarge(max));
            }
            let wanted = held.bytes.len() + piece.len();
            if wanted > held.bytes.capacity() {
                // Twice as much, as a vector grows by itself, yet never more than may come: the last step is the dearest.
                let room = held.bytes.capacity().saturating_mul(2).clamp(wanted, max.max(wanted));
                held.bytes.reserve_exact(room - held.bytes.len());
            }
            held.bytes.extend_from_slice(&piece);
            if self.held.fetch_add(piece.len(), Ordering::Relaxed) + piece.len() > self.max {
                return Err(BodyError::Busy);
            }
        }
        Ok(held)
    }
}

#[cfg(test)]
mod tests {
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
}
