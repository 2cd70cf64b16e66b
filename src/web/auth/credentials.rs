//! The `Authorization` header.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A name and a password as a client sent them; neither need be text.
pub(in crate::web) struct Credentials {
    pub(in crate::web) user: Vec<u8>,
    pub(in crate::web) password: Vec<u8>,
}

impl Credentials {
    /// The first `Authorization` header, if it is a whole one of the scheme `Basic`.
    pub(in crate::web) fn of(headers: &HeaderMap) -> Option<Credentials> {
        const SCHEME: &[u8] = b"Basic ";
        let value = headers.get(AUTHORIZATION)?.as_bytes();
        let (scheme, encoded) = value.split_at_checked(SCHEME.len())?;
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return None;
        }
        let mut user = STANDARD.decode(encoded).ok()?;
        let colon = user.iter().position(|b| *b == b':')?;
        let password = user.split_off(colon + 1);
        user.truncate(colon);
        Some(Credentials { user, password })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn of(value: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let value = HeaderValue::from_bytes(value).expect("a header value");
        let credentials = Credentials::of(&HeaderMap::from_iter([(AUTHORIZATION, value)]));
        credentials.map(|c| (c.user, c.password))
    }

    #[test]
    fn the_password_begins_after_the_first_colon_and_may_be_anything() {
        for plain in ["user:pass", "user:", ":pass", "user:a:b:c", "ü:\u{1F511}"] {
            let (user, password) = plain.split_once(':').expect("a colon");
            let expected = Some((user.as_bytes().to_vec(), password.as_bytes().to_vec()));
            assert_eq!(of(format!("bAsIc {}", STANDARD.encode(plain)).as_bytes()), expected);
        }
    }

    #[test]
    fn what_is_no_whole_basic_header_is_none() {
        for bad in ["", "Basic", "Basic ", "Bearer dXNlcjpwYXNz", "Basic dXNlcg==", "Basic ???", "Basic dXNlcjpwYXN"] {
            assert_eq!(of(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(of(b"Basic \xff\xfe"), None);
    }
}
