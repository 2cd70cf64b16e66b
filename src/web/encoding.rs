//! Compression of answers.

use std::io::Write as _;

use axum::body::Body;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use flate2::Compression;
use flate2::write::GzEncoder;

/// How an answer travels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ContentEncoding {
    Identity,
    Gzip,
}

/// Bodies below this fit in one packet anyway; compressing them only costs.
const MIN_COMPRESSED: usize = 1024;

/// Federated links are slow and machines small: the fastest level already takes nine tenths off.
pub(super) const LEVEL: Compression = Compression::fast();

impl ContentEncoding {
    /// What the client asked for; gzip if it is listed and not refused by `q=0`.
    pub(super) fn accepted(headers: &HeaderMap) -> ContentEncoding {
        let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|v| v.to_str().ok());
        let gzip = values.flat_map(|v| v.split(',')).any(|clause| {
            let (coding, parameters) = clause.split_once(';').unwrap_or((clause, ""));
            let refused = parameters.trim().strip_prefix("q=").and_then(|q| q.parse::<f64>().ok()) == Some(0.0);
            coding.trim().eq_ignore_ascii_case("gzip") && !refused
        });
        if gzip { ContentEncoding::Gzip } else { ContentEncoding::Identity }
    }

    /// Compresses a whole body if that pays. Call it where computing is allowed.
    pub(super) fn encode(self, body: Vec<u8>) -> EncodedBody {
        if self == ContentEncoding::Identity || body.len() < MIN_COMPRESSED {
            return EncodedBody { encoding: ContentEncoding::Identity, bytes: body };
        }
        let mut gzip = GzEncoder::new(Vec::with_capacity(body.len() / 4), LEVEL);
        match gzip.write_all(&body).and_then(|()| gzip.finish()) {
            Ok(bytes) => EncodedBody { encoding: ContentEncoding::Gzip, bytes },
            // Writing to memory does not fail; if it ever does, the plain body is as good.
            Err(_) => EncodedBody { encoding: ContentEncoding::Identity, bytes: body },
        }
    }

    /// Sets the headers that a body in this encoding needs.
    pub(super) fn announce(self, headers: &mut HeaderMap) {
        headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
        if self == ContentEncoding::Gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
    }
}

/// A body that is ready to be sent.
#[derive(Debug)]
pub(super) struct EncodedBody {
    encoding: ContentEncoding,
    bytes: Vec<u8>,
}

impl EncodedBody {
    /// The whole answer.
    pub(super) fn respond(self, status: StatusCode, content_type: &'static str) -> Response<Body> {
        let mut response = Response::new(Body::from(self.bytes));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        self.encoding.announce(response.headers_mut());
        response
    }
}

/// A short answer for people and scripts.
pub(super) fn plain(status: StatusCode, text: impl Into<String>) -> Response<Body> {
    let mut response = Response::new(Body::from(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn gzip_is_used_only_where_the_client_takes_it() {
        for (value, gzip) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("br,gzip", true),
            ("gzip;q=0", false),
            ("gzip; q=0.000", false),
            ("identity", false),
            ("xgzip", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(value))]);
            assert_eq!(ContentEncoding::accepted(&headers) == ContentEncoding::Gzip, gzip, "{value}");
        }
        assert_eq!(ContentEncoding::accepted(&HeaderMap::new()), ContentEncoding::Identity);
    }

    #[test]
    fn a_compressed_body_is_the_same_body() {
        let body = b"watershed ".repeat(1000);
        let encoded = ContentEncoding::Gzip.encode(body.clone());
        assert!(encoded.bytes.len() < body.len() / 10);
        let mut back = Vec::new();
        flate2::read::GzDecoder::new(&encoded.bytes[..]).read_to_end(&mut back).expect("valid gzip");
        assert_eq!(back, body);
        let small = ContentEncoding::Gzip.encode(b"small".to_vec()).respond(StatusCode::OK, "text/plain");
        assert!(!small.headers().contains_key(CONTENT_ENCODING) && small.headers().contains_key(VARY));
    }
}
