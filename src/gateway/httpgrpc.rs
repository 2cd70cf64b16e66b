//! The messages of `httpgrpc.HTTP/Handle` and how gRPC frames them.
//!
//! ```text
//! message HTTPRequest  { string method = 1; string url = 2; repeated Header headers = 3; bytes body = 4; }
//! message HTTPResponse { int32 code = 1;                    repeated Header headers = 2; bytes body = 3; }
//! message Header       { string key = 1; repeated string values = 2; }
//! google.rpc.Status    { int32 code = 1; string message = 2; repeated google.protobuf.Any details = 3; }
//! google.protobuf.Any  { string type_url = 1; bytes value = 2; }
//! ```
//!
//! A message on the wire has five bytes before it: 0 (not compressed) and its length, big endian.

use base64::Engine as _;
use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use prost::encoding::encode_varint;

use crate::net::protobuf::{Fields, ProtobufError, Writer};

/// Bytes before a message.
pub(super) const PREFIX: usize = 5;
/// The key of `HTTPRequest.body`.
const BODY_KEY: u8 = 4 << 3 | 2;
const RESPONSE_TYPE: &str = "httpgrpc.HTTPResponse";

/// Everything of a framed `HTTPRequest` that stands before the bytes of its body; `None` if it is too large for its prefix.
pub(super) fn request(method: &Method, url: &str, headers: &HeaderMap, body: usize) -> Option<Bytes> {
    let mut out = vec![0; PREFIX];
    let mut writer = Writer::new(&mut out);
    writer.bytes(1, method.as_str().as_bytes());
    writer.bytes(2, url.as_bytes());
    for name in headers.keys() {
        writer.message(3, |header| {
            header.bytes(1, canonical(name).as_bytes());
            headers.get_all(name).iter().for_each(|value| header.bytes(2, value.as_bytes()));
        });
    }
    if body > 0 {
        out.push(BODY_KEY);
        encode_varint(body as u64, &mut out);
    }
    let length = u32::try_from(out.len().checked_sub(PREFIX)?.checked_add(body)?).ok()?;
    out.get_mut(1..PREFIX)?.copy_from_slice(&length.to_be_bytes());
    Some(out.into())
}

/// As Go writes names; the components look headers up by these and compare letters exactly.
fn canonical(name: &HeaderName) -> String {
    let mut is_first = true;
    let upper = |c: char| {
        let c = if is_first { c.to_ascii_uppercase() } else { c };
        is_first = c == '-';
        c
    };
    name.as_str().chars().map(upper).collect()
}

/// An answer as a component gives it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct HttpResponse {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Why bytes are not an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum MessageError {
    #[error(transparent)]
    Protobuf(#[from] ProtobufError),
    #[error("{0} is not a status code")]
    Code(i64),
    #[error("it has a header that is none")]
    Header,
}

impl HttpResponse {
    /// Reads a message; the body shares its bytes.
    pub(super) fn parse(message: &Bytes) -> Result<HttpResponse, MessageError> {
        let (mut code, mut headers, mut body) = (0, HeaderMap::new(), Bytes::new());
        for field in Fields::new(message) {
            let field = field?;
            match field.number {
                1 => code = field.int()?,
                2 => read_header(field.message()?, &mut headers)?,
                3 => body = message.slice_ref(field.bytes()?),
                _ => {}
            }
        }
        let status = u16::try_from(code).ok().and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.filter(|status| status.as_u16() >= 200).ok_or(MessageError::Code(code))?;
        Ok(HttpResponse { status, headers, body })
    }
}

fn read_header(fields: Fields<'_>, headers: &mut HeaderMap) -> Result<(), MessageError> {
    let mut name = None;
    for field in fields {
        let field = field?;
        match (field.number, &name) {
            (1, _) => name = Some(HeaderName::from_bytes(field.bytes()?).map_err(|_| MessageError::Header)?),
            (2, Some(name)) => {
                let value = HeaderValue::from_bytes(field.bytes()?).map_err(|_| MessageError::Header)?;
                // The library's own limit on how many headers there can be.
                headers.try_append(name, value).map_err(|_| MessageError::Header)?;
            }
            // A value before its name is of no known writer.
            (2, None) => return Err(MessageError::Header),
            _ => {}
        }
    }
    Ok(())
}

/// How a call ended if not with a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct GrpcStatus {
    pub(super) code: u32,
    pub(super) message: String,
    /// The answer that the error stands for, if it brings one.
    pub(super) response: Option<HttpResponse>,
}

impl GrpcStatus {
    /// Reads `grpc-status`, `grpc-message` and `grpc-status-details-bin` of headers or trailers; `None` without status.
    pub(super) fn of(headers: &HeaderMap) -> Option<GrpcStatus> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let code = text("grpc-status")?.parse().unwrap_or(UNKNOWN);
        let details = text("grpc-status-details-bin").and_then(decode_base64);
        Some(GrpcStatus {
            code,
            message: text("grpc-message").map(percent_decoded).unwrap_or_default(),
            response: details.and_then(|bytes| response_in(&bytes)),
        })
    }

    /// The HTTP status that says the same.
    pub(super) fn http_status(&self) -> StatusCode {
        match self.code {
            1 => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
            3 | 9 | 11 => StatusCode::BAD_REQUEST,
            4 => StatusCode::GATEWAY_TIMEOUT,
            5 => StatusCode::NOT_FOUND,
            6 | 10 => StatusCode::CONFLICT,
            7 => StatusCode::FORBIDDEN,
            // How servers say that a message is larger than they take; the request is hopeless, not early.
            8 if self.message.contains("larger than max") => StatusCode::PAYLOAD_TOO_LARGE,
            8 => StatusCode::TOO_MANY_REQUESTS,
            12 => StatusCode::NOT_IMPLEMENTED,
            14 => StatusCode::SERVICE_UNAVAILABLE,
            16 => StatusCode::UNAUTHORIZED,
            // Components give the HTTP status itself as the code of such errors.
            code @ 400..600 => u16::try_from(code)
                .ok()
                .and_then(|code| StatusCode::from_u16(code).ok())
                .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// The code for what has no other.
const UNKNOWN: u32 = 2;

fn decode_base64(text: &str) -> Option<Vec<u8>> {
    base64::engine::general_purpose::STANDARD_NO_PAD.decode(text.trim_end_matches('=')).ok()
}

/// The `HTTPResponse` among the details of a `google.rpc.Status`.
fn response_in(status: &[u8]) -> Option<HttpResponse> {
    let details = Fields::new(status).filter_map(Result::ok).filter(|field| field.number == 3);
    details.filter_map(|field| field.message().ok()).find_map(|any| {
        let (mut is_response, mut value) = (false, &[][..]);
        for field in any.filter_map(Result::ok) {
            match field.number {
                1 => is_response = field.text().is_ok_and(|url| url.rsplit('/').next() == Some(RESPONSE_TYPE)),
                2 => value = field.bytes().ok()?,
                _ => {}
            }
        }
        if is_response { HttpResponse::parse(&Bytes::copy_from_slice(value)).ok() } else { None }
    })
}

/// As `grpc-message` is written, and paths are.
pub(super) fn percent_decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.filter(|_| *first == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(code: u64) -> Vec<u8> {
        let mut out = Vec::new();
        let mut w = Writer::new(&mut out);
        w.varint(1, code);
        w.message(2, |h| {
            h.bytes(1, b"Content-Type");
            h.bytes(2, b"text/plain");
        });
        w.message(2, |h| {
            h.bytes(1, b"X-Twice");
            h.bytes(2, b"1");
            h.bytes(2, b"2");
        });
        w.bytes(3, b"body");
        out
    }

    #[test]
    fn a_request_is_framed_with_names_as_go_writes_them_and_its_body_follows() {
        let mut headers = HeaderMap::new();
        headers.append("x-scope-orgid", HeaderValue::from_static("a"));
        headers.append("x-twice", HeaderValue::from_static("1"));
        headers.append("x-twice", HeaderValue::from_static("2"));
        let head = request(&Method::POST, "/api/v1/push?a=b", &headers, 300).expect("small");
        let (prefix, message) = head.split_at(PREFIX);
        assert_eq!(prefix, [&[0][..], &(message.len() as u32 + 300).to_be_bytes()].concat());
        let mut whole = message.to_vec();
        whole.extend([7; 300]);
        let fields: Vec<_> = Fields::new(&whole).map(|f| f.expect("a field")).collect();
        assert_eq!(fields[0].text(), Ok("POST"));
        assert_eq!(fields[1].text(), Ok("/api/v1/push?a=b"));
        let header: Vec<_> = fields[3].message().expect("a header").map(|f| f.expect("a field").text()).collect();
        assert_eq!(header, [Ok("X-Twice"), Ok("1"), Ok("2")]);
        assert_eq!(
            fields[2].message().expect("a header").next().expect("a name").expect("one").text(),
            Ok("X-Scope-Orgid")
        );
        assert_eq!(fields[4].bytes(), Ok(&[7; 300][..]));
        assert_eq!(request(&Method::GET, "/", &headers, u32::MAX as usize), None);
    }

    #[test]
    fn an_answer_is_read_as_it_was_written() {
        let message = Bytes::from(response(429));
        let parsed = HttpResponse::parse(&message).expect("an answer");
        assert_eq!((parsed.status.as_u16(), &parsed.body[..]), (429, &b"body"[..]));
        assert_eq!(parsed.headers.get_all("x-twice").iter().count(), 2);
        for code in [0, 99, 101, 1000, u64::MAX] {
            assert!(matches!(HttpResponse::parse(&response(code).into()), Err(MessageError::Code(_))), "{code}");
        }
        for cut in 1..message.len() {
            // No prefix makes it panic; some are answers of their own.
            drop(HttpResponse::parse(&message.slice(..cut)));
        }
        let mut nameless = Vec::new();
        Writer::new(&mut nameless).message(2, |h| h.bytes(2, b"x"));
        assert_eq!(HttpResponse::parse(&nameless.into()), Err(MessageError::Header));
    }

    #[test]
    fn an_error_brings_the_answer_that_it_stands_for() {
        let mut status = Vec::new();
        let mut w = Writer::new(&mut status);
        w.varint(1, 400);
        w.bytes(2, b"out of order sample");
        w.message(3, |any| {
            any.bytes(1, b"type.googleapis.com/httpgrpc.HTTPResponse");
            any.bytes(2, &response(400));
        });
        let mut headers = HeaderMap::new();
        assert_eq!(GrpcStatus::of(&headers), None);
        headers.insert("grpc-status", HeaderValue::from_static("400"));
        headers.insert("grpc-message", HeaderValue::from_static("out of%20order%"));
        let bare = GrpcStatus::of(&headers).expect("a status");
        assert_eq!((bare.http_status().as_u16(), bare.message.as_str()), (400, "out of order%"));
        for engine in [base64::engine::general_purpose::STANDARD_NO_PAD, base64::engine::general_purpose::STANDARD] {
            let details = HeaderValue::from_str(&engine.encode(&status)).expect("a value");
            headers.insert("grpc-status-details-bin", details);
            let answer = GrpcStatus::of(&headers).and_then(|status| status.response).expect("an answer");
            assert_eq!((answer.status.as_u16(), &answer.body[..]), (400, &b"body"[..]));
        }
    }

    #[test]
    fn a_message_that_is_too_large_is_not_a_request_that_came_too_early() {
        let status = |code, message: &str| GrpcStatus { code, message: message.into(), response: None }.http_status();
        assert_eq!(status(8, "grpc: received message larger than max (5 vs. 4)").as_u16(), 413);
        assert_eq!(status(8, "too many inflight requests").as_u16(), 429);
        assert_eq!(status(14, "").as_u16(), 503);
        assert_eq!(status(4, "").as_u16(), 504);
        assert_eq!(status(UNKNOWN, "").as_u16(), 500);
    }
}
