//! Users and passwords: every path is protected, right credentials open it, and what is counted.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_SECURITY_POLICY, HeaderValue};
use axum::http::{Method, Request, StatusCode};
use base64::Engine as _;

use super::Fixture;
use super::fixture::{Answered, App};
use crate::web::routes::routes;
use crate::web::{ListenerConfig, PasswordHash, RateLimit};

/// The credentials `alice:right` and `bob:also`.
pub(super) fn users() -> BTreeMap<String, PasswordHash> {
    let hash = |password: &str| {
        let parts = bcrypt::hash_with_salt(password, 4, [3; 16]).expect("a good cost");
        PasswordHash::parse(&parts.to_string()).expect("a hash")
    };
    BTreeMap::from([("alice".to_owned(), hash("right")), ("bob".to_owned(), hash("also"))])
}

fn protected() -> Fixture {
    let fixture = Fixture::new().with_series();
    let rules = ListenerConfig { users: users(), ..ListenerConfig::default() };
    fixture.deps.security.apply(rules).expect("randomness and a thread");
    fixture
}

async fn ask(app: &App, method: Method, path: &str, credentials: Option<&str>) -> Answered {
    app.send(request(method, path, credentials)).await
}

fn request(method: Method, path: &str, credentials: Option<&str>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(credentials) = credentials {
        let encoded = base64::engine::general_purpose::STANDARD.encode(credentials);
        request = request.header("authorization", format!("Basic {encoded}"));
    }
    request.body(Body::empty()).expect("a valid request")
}

/// A path that a route matches.
fn example(route: &str) -> String {
    let segments = route.split('/').map(|segment| match segment.strip_prefix('{') {
        None => segment,
        Some(rest) if rest.starts_with('*') => "any/thing",
        Some(_) => "any",
    });
    segments.collect::<Vec<_>>().join("/")
}

const METHODS: [Method; 8] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
    Method::TRACE,
];

#[tokio::test]
async fn no_route_that_the_router_knows_answers_without_right_credentials() {
    for url in ["http://x/", "http://x/some/prefix"] {
        let web = protected().external_url(url).web();
        let known = routes(&web).paths().to_vec();
        assert!(known.len() > 20 && known.iter().any(|path| path.ends_with("/federate")), "{known:?}");
        let strange = ["/", "/nothing", "/api", "/api/v1", "/api/v1/nothing", "/api/v9/x", "/%2e%2e/x", "*"];
        let paths = known.iter().map(|route| example(route)).chain(strange.map(str::to_owned));
        let app = protected().external_url(url).app();
        for path in paths {
            for method in METHODS {
                let asked = format!("{method} {path}");
                for wrong in [None, Some("alice:wrong"), Some("mallory:right"), Some("alice:"), Some(":")] {
                    let refused = ask(&app, method.clone(), &path, wrong).await;
                    assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{asked} as {wrong:?}");
                    assert_eq!(refused.header("www-authenticate"), "Basic", "{asked}");
                    assert!(matches!(refused.body.as_slice(), b"Unauthorized\n" | b""), "{asked}");
                }
                let answered = app.status(request(method.clone(), &path, Some("alice:right"))).await;
                assert_ne!(answered, StatusCode::UNAUTHORIZED, "{asked}");
                assert_ne!(answered, StatusCode::TOO_MANY_REQUESTS, "{asked}");
            }
        }
    }
}

#[tokio::test]
async fn only_the_health_endpoints_can_be_left_open() {
    for (open, status) in [(true, StatusCode::OK), (false, StatusCode::UNAUTHORIZED)] {
        let mut fixture = protected().external_url("http://x/p");
        fixture.config.open_health = open;
        let app = fixture.app();
        for path in ["/p/-/healthy", "/p/-/ready"] {
            assert_eq!(ask(&app, Method::GET, path, None).await.status, status, "{path}");
        }
        for path in ["/p/metrics", "/-/healthy", "/p/-/healthy/", "/p/-/reload", "/p//-/healthy", "/p/api/v1/labels"] {
            assert_eq!(ask(&app, Method::GET, path, None).await.status, StatusCode::UNAUTHORIZED, "{path}");
        }
    }
}

#[tokio::test]
async fn a_wrong_user_a_wrong_password_and_a_right_one_are_computed_alike_and_counted() {
    let server = protected().serve().await;
    let computed = || server.metric("watershed_http_auth_passwords_computed_total");
    let ask = async |credentials: &str| {
        let encoded = base64::engine::general_purpose::STANDARD.encode(credentials);
        let head = format!(
            "GET /-/healthy HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {encoded}\r\nConnection: close\r\n\r\n"
        );
        server.exchange(head).await
    };
    for (credentials, status) in [("alice:right", 200), ("alice:wrong", 401), ("nobody:right", 401)] {
        let before = computed();
        assert!(ask(credentials).await.starts_with(&format!("HTTP/1.1 {status} ")), "{credentials}");
        assert_eq!(computed(), before + 1.0, "{credentials}");
        assert!(ask(credentials).await.starts_with(&format!("HTTP/1.1 {status} ")), "{credentials}");
        assert_eq!(computed(), before + 1.0, "{credentials} again");
    }
    for i in 0..20 {
        ask(&format!("alice:guess {i}")).await;
    }
    let refused = ask("alice:one more guess").await;
    assert!(refused.starts_with("HTTP/1.1 429 ") && refused.contains("\r\nretry-after: 1\r\n"), "{refused}");
    assert!(computed() < 20.0, "guesses are not computed without end");
    assert!(ask("alice:right").await.starts_with("HTTP/1.1 200 "), "what is known to be right is let in");
    assert!(server.metric("watershed_http_auth_refused_total{reason=\"too_many_failures\"}") > 5.0);
    assert!(server.metric("watershed_http_auth_refused_total{reason=\"wrong_credentials\"}") >= 12.0);
}

#[tokio::test]
async fn users_change_without_a_restart_and_old_verdicts_are_forgotten() {
    let fixture = protected();
    let security = fixture.deps.security.clone();
    let app = fixture.app();
    assert_eq!(ask(&app, Method::GET, "/-/healthy", Some("bob:also")).await.status, StatusCode::OK);
    let mut fewer = users();
    fewer.remove("bob");
    security.apply(ListenerConfig { users: fewer, ..ListenerConfig::default() }).expect("applied");
    assert_eq!(ask(&app, Method::GET, "/-/healthy", Some("bob:also")).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(ask(&app, Method::GET, "/-/healthy", Some("alice:right")).await.status, StatusCode::OK);
    security.apply(ListenerConfig::default()).expect("applied");
    assert_eq!(ask(&app, Method::GET, "/-/healthy", None).await.status, StatusCode::OK);
}

#[tokio::test]
async fn configured_headers_stand_in_every_answer_also_in_refusals() {
    let fixture = protected();
    let policy = (CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'self'"));
    let rules = ListenerConfig { users: users(), headers: vec![policy], ..ListenerConfig::default() };
    fixture.deps.security.apply(rules).expect("applied");
    let app = fixture.app();
    for (path, credentials) in [("/metrics", None), ("/metrics", Some("alice:right")), ("/none", Some("alice:right"))] {
        let answer = ask(&app, Method::GET, path, credentials).await;
        assert_eq!(answer.header("content-security-policy"), "default-src 'self'", "{path}");
    }
}

#[tokio::test]
async fn the_rate_limit_counts_every_request_and_comes_first() {
    let fixture = protected();
    let rate_limit = Some(RateLimit { interval: Duration::from_secs(3600), burst: 2 });
    fixture
        .deps
        .security
        .apply(ListenerConfig { users: users(), rate_limit, ..ListenerConfig::default() })
        .expect("applied");
    let app = fixture.app();
    let mut seen = Vec::new();
    for credentials in [None, Some("alice:right"), Some("alice:right"), None] {
        seen.push(ask(&app, Method::GET, "/-/healthy", credentials).await.status.as_u16());
    }
    assert_eq!(seen, [401, 200, 429, 429]);
}
