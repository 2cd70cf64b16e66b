//! A door for fuzzing.

use axum::http::header::{ACCEPT_ENCODING, AUTHORIZATION};
use axum::http::{HeaderMap, HeaderValue};

use super::api::v1::unescape;
use super::auth::Credentials;
use super::encoding::ContentEncoding;

/// Reads bytes as every header that is not left to others, and as the name of a label in a path. Says the length of what
/// credentials and name have.
#[doc(hidden)]
pub fn read_header(value: &[u8]) -> Option<(usize, usize)> {
    let value = HeaderValue::from_bytes(value).ok()?;
    let headers: HeaderMap = [(AUTHORIZATION, value.clone()), (ACCEPT_ENCODING, value.clone())].into_iter().collect();
    let _ = ContentEncoding::accepted(&headers);
    let credentials = Credentials::of(&headers).map_or(0, |found| found.user.len() + found.password.len());
    let name = value.to_str().ok().and_then(unescape).map_or(0, |name| name.len());
    Some((credentials, name))
}
