//! Which headers go on, and which are about one connection only.

use std::net::IpAddr;

use hyper::header::{
    CONNECTION, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRANSFER_ENCODING, UPGRADE,
};

/// Who asks, and how the request came.
#[derive(Clone, Copy, Debug)]
pub struct Via {
    /// The other end of the connection.
    pub client: IpAddr,
    /// Whether it is encrypted.
    pub is_encrypted: bool,
}

static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const WEBSOCKET: &str = "websocket";
static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Whether a message asks to go over to WebSocket, or agrees to. Other protocols are not passed on: with `h2c` a client would ask the
/// backend itself, past the routes and past whoever decides what it may ask.
pub(super) fn asks_for_websocket(headers: &HeaderMap) -> bool {
    headers.get_all(CONNECTION).iter().any(|value| has_token(value, "upgrade"))
        && headers.get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(WEBSOCKET.as_bytes()))
}

/// Asks to go over to WebSocket.
pub(super) fn upgrade(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(WEBSOCKET));
}

/// Takes away what is about the connection that a message came by: RFC 9110, section 7.6.1.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
            .collect();
        named.iter().for_each(|name| drop(headers.remove(name)));
        headers.remove(CONNECTION);
    }
    for name in
        [&KEEP_ALIVE, &PROXY_CONNECTION, &PROXY_AUTHENTICATE, &PROXY_AUTHORIZATION, &TE, &TRANSFER_ENCODING, &UPGRADE]
    {
        headers.remove(name);
    }
}

/// Makes a request's headers those that a backend gets, save for `Host`. What the client asked for is told in
/// `X-Forwarded-*`; a proxy before us may have told it already, and knows better.
pub(super) fn forward(headers: &mut HeaderMap, via: Via, asked_host: Option<HeaderValue>) {
    let takes_trailers = headers.get_all(TE).iter().any(|value| has_token(value, "trailers"));
    strip_hop_by_hop(headers);
    if takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    // The body is asked for when it is passed on.
    headers.remove(EXPECT);
    if let Some(host) = headers.remove(HOST).or(asked_host) {
        headers.entry(&FORWARDED_HOST).or_insert(host);
    }
    let scheme = if via.is_encrypted { "https" } else { "http" };
    headers.entry(&FORWARDED_PROTO).or_insert(HeaderValue::from_static(scheme));
    let before = headers.get_all(&FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
    let chain = before.fold(String::new(), |chain, hop| chain + hop + ", ") + &via.client.to_string();
    if let Ok(chain) = HeaderValue::from_str(&chain) {
        headers.insert(&FORWARDED_FOR, chain);
    }
}

fn has_token(value: &HeaderValue, token: &str) -> bool {
    let parts = value.to_str().unwrap_or_default().split(',');
    parts.map(|part| part.split(';').next().unwrap_or_default().trim()).any(|part| part.eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
                (name, HeaderValue::from_str(value).expect("a value"))
            })
            .collect()
    }

    #[test]
    fn what_is_about_one_connection_stays_and_the_rest_goes_on() {
        let mut before = headers(&[
            ("connection", "close, X-Named"),
            ("x-named", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers, deflate;q=0.5"),
            ("transfer-encoding", "chunked"),
            ("proxy-authorization", "Basic x"),
            ("expect", "100-continue"),
            ("host", "metrics.example.net"),
            ("authorization", "Basic abc"),
            ("x-scope-orgid", "team-a"),
            ("x-forwarded-for", "10.1.1.1"),
        ]);
        let via = Via { client: "10.0.0.9".parse().expect("an address"), is_encrypted: true };
        forward(&mut before, via, None);
        let expected = headers(&[
            ("te", "trailers"),
            ("authorization", "Basic abc"),
            ("x-scope-orgid", "team-a"),
            ("x-forwarded-for", "10.1.1.1, 10.0.0.9"),
            ("x-forwarded-host", "metrics.example.net"),
            ("x-forwarded-proto", "https"),
        ]);
        assert_eq!(before, expected);
    }

    #[test]
    fn an_upgrade_is_one_only_if_the_connection_says_so_and_only_to_websocket() {
        assert!(!asks_for_websocket(&headers(&[("upgrade", "websocket")])));
        assert!(asks_for_websocket(&headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")])));
        for other in ["h2c", "TLS/1.2", "h2c, websocket", ""] {
            assert!(!asks_for_websocket(&headers(&[("connection", "upgrade"), ("upgrade", other)])), "{other}");
        }
    }
}
