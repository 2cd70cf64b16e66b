//! A door for fuzzing.

use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderValue};

use super::httpgrpc::{GrpcStatus, HttpResponse};

/// Reads bytes as each message and header that a gRPC backend can send. Says how many bytes of them each answer has.
#[doc(hidden)]
pub fn read_answer(bytes: &[u8]) -> [usize; 2] {
    let length = |answer: &HttpResponse| {
        let headers = answer.headers.iter().map(|(_, value)| value.len()).sum::<usize>();
        headers.saturating_add(answer.body.len())
    };
    let message = HttpResponse::parse(&Bytes::copy_from_slice(bytes)).ok();
    let told = HeaderValue::from_bytes(bytes).ok().and_then(|value| {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", value.clone());
        let _ = GrpcStatus::of(&trailers).map(|status| status.http_status());
        trailers.insert("grpc-message", value.clone());
        trailers.insert("grpc-status-details-bin", value);
        GrpcStatus::of(&trailers)
    });
    let told = told.and_then(|status| status.response);
    [message.as_ref().map_or(0, length), told.as_ref().map_or(0, length)]
}
