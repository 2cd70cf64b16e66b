//! Compression of answers.

use std::io::{self, Write as _};

use axum::body::Body;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use flate2::Compression;
use flate2::write::GzEncoder;

/// How an answer travels.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum ContentEncoding {
    Identity,
    Gzip,
    Zstd,
}

/// Bodies below this fit in one packet anyway; compressing them only costs.
const MIN_COMPRESSED: usize = 1024;

/// Federated links are slow and machines small: the fastest level already takes nine tenths off.
pub(super) const LEVEL: Compression = Compression::fast();

/// As fast as gzip's fastest, and smaller.
pub(super) const ZSTD_LEVEL: i32 = 1;

impl ContentEncoding {
    /// What the client takes: zstd before gzip, if they are listed and not refused by `q=0`.
    pub(super) fn accepted(headers: &HeaderMap) -> ContentEncoding {
        let values = || headers.get_all(ACCEPT_ENCODING).iter().filter_map(|v| v.to_str().ok());
        let takes = |wanted: &str| {
            values().flat_map(|v| v.split(',')).any(|clause| {
                let (coding, parameters) = clause.split_once(';').unwrap_or((clause, ""));
                let refused = parameters.trim().strip_prefix("q=").and_then(|q| q.parse::<f64>().ok()) == Some(0.0);
                coding.trim().eq_ignore_ascii_case(wanted) && !refused
            })
        };
        match (takes("zstd"), takes("gzip")) {
            (true, _) => ContentEncoding::Zstd,
            (false, true) => ContentEncoding::Gzip,
            (false, false) => ContentEncoding::Identity,
        }
    }

    /// Compresses a whole body if that pays. Call it where computing is allowed.
    pub(super) fn encode(self, body: Vec<u8>) -> EncodedBody {
        let plain = |body| EncodedBody { encoding: ContentEncoding::Identity, bytes: body };
        if body.len() < MIN_COMPRESSED {
            return plain(body);
        }
        let packed = match self {
            ContentEncoding::Identity => return plain(body),
            ContentEncoding::Gzip => gzip(&body),
            ContentEncoding::Zstd => zstd::bulk::compress(&body, ZSTD_LEVEL),
        };
        match packed {
            Ok(bytes) => EncodedBody { encoding: self, bytes },
            // Writing to memory does not fail; if it ever does, the plain body is as good.
            Err(_) => plain(body),
        }
    }

    /// Sets the headers that a body in this encoding needs.
    pub(super) fn announce(self, headers: &mut HeaderMap) {
        headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
        let name = match self {
            ContentEncoding::Identity => return,
            ContentEncoding::Gzip => "gzip",
            ContentEncoding::Zstd => "zstd",
        };
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
    }
}

fn gzip(body: &[u8]) -> io::Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::with_capacity(body.len() / 4), LEVEL);
    gzip.write_all(body)?;
    gzip.finish()
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
    fn an_answer_is_compressed_only_as_the_client_takes_it() {
        use ContentEncoding::{Gzip, Identity, Zstd};
        for (value, expected) in [
            ("gzip", Gzip),
            ("deflate, GZIP;q=0.5", Gzip),
            ("br,gzip", Gzip),
            ("gzip, deflate, br, zstd", Zstd),
            ("zstd;q=0, gzip", Gzip),
            ("gzip;q=0", Identity),
            ("gzip; q=0.000", Identity),
            ("identity", Identity),
            ("xgzip", Identity),
            ("", Identity),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(value))]);
            assert_eq!(ContentEncoding::accepted(&headers), expected, "{value}");
        }
        assert_eq!(ContentEncoding::accepted(&HeaderMap::new()), Identity);
    }

    #[test]
    fn a_compressed_body_is_the_same_body() {
        let body = b"watershed ".repeat(1000);
        let gzip = ContentEncoding::Gzip.encode(body.clone());
        let mut back = Vec::new();
        flate2::read::GzDecoder::new(&gzip.bytes[..]).read_to_end(&mut back).expect("valid gzip");
        assert!(back == body && gzip.bytes.len() < body.len() / 10);
        let zstd = ContentEncoding::Zstd.encode(body.clone());
        let back = zstd::bulk::decompress(&zstd.bytes, body.len()).expect("valid zstd");
        assert!(back == body && zstd.bytes.len() < body.len() / 10);
        let small = ContentEncoding::Gzip.encode(b"small".to_vec()).respond(StatusCode::OK, "text/plain");
        assert!(!small.headers().contains_key(CONTENT_ENCODING) && small.headers().contains_key(VARY));
    }
}
