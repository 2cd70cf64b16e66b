//! The gateway's own answers: to what it does not pass on, and for backends that do not answer.

use axum::body::Body;
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};

use super::body::Fault;
use super::config::Component;
use super::routes::Lost;

/// Why a request has no answer of a backend.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("404 page not found: no component of the cluster serves this path")]
    NoRoute,
    #[error("the path has a part that is . or .., so it is not clear whom it is meant for")]
    Dots,
    #[error("the gateway has no URL for the {0}: set gateway.proxy.{0}.url or gateway.proxy.default.url")]
    NoBackend(Component),
    #[error("the body is larger than the {0} bytes of max_body_bytes")]
    TooLarge(u64),
    #[error("the body broke off or is malformed")]
    BadBody,
    #[error("the body did not come in time")]
    SlowBody,
    #[error("the gateway holds as many bodies as it may; try again")]
    Full,
    #[error("as many connections speak WebSocket as may; try again")]
    NoTunnel,
    #[error("the path is too long for the backend's URL")]
    LongPath,
    #[error("the gateway connects nobody to anybody: it has no CONNECT")]
    NoConnect,
    #[error("a request has one Host header")]
    BadHost,
    #[error("the name of the {0} stands for no address now")]
    NoAddress(Component),
    #[error("the {0} cannot be connected to")]
    Unreachable(Component),
    #[error("the {0} broke off before it had answered")]
    Broken(Component),
    #[error("the {component} sent what is no answer: {why}")]
    BadAnswer { component: Component, why: &'static str },
    #[error("the {0} did not answer in time")]
    Late(Component),
    #[error("{text}")]
    Told { status: StatusCode, text: String },
    #[error("the {0} is reached by gRPC, which cannot change protocols")]
    NoUpgrade(Component),
}

impl Refusal {
    pub(super) fn of(lost: Lost) -> Refusal {
        match lost {
            Lost::Dots => Refusal::Dots,
            Lost::Unknown => Refusal::NoRoute,
        }
    }

    pub(super) fn of_fault(fault: Fault, limit: u64) -> Refusal {
        match fault {
            Fault::TooLarge => Refusal::TooLarge(limit),
            Fault::Client => Refusal::BadBody,
            Fault::NoRoom => Refusal::Full,
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        match self {
            Refusal::NoRoute | Refusal::NoBackend(_) => StatusCode::NOT_FOUND,
            Refusal::Dots | Refusal::BadBody | Refusal::BadHost => StatusCode::BAD_REQUEST,
            Refusal::SlowBody => StatusCode::REQUEST_TIMEOUT,
            Refusal::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::LongPath => StatusCode::URI_TOO_LONG,
            Refusal::Full | Refusal::NoTunnel | Refusal::NoAddress(_) => StatusCode::SERVICE_UNAVAILABLE,
            Refusal::Unreachable(_) | Refusal::Broken(_) | Refusal::BadAnswer { .. } => StatusCode::BAD_GATEWAY,
            Refusal::Late(_) => StatusCode::GATEWAY_TIMEOUT,
            Refusal::Told { status, .. } => *status,
            Refusal::NoUpgrade(_) | Refusal::NoConnect => StatusCode::NOT_IMPLEMENTED,
        }
    }

    pub(super) fn respond(&self) -> Response<Body> {
        let mut response = Response::new(Body::from(format!("{self}\n")));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if self.status() == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
