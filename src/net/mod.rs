//! HTTP building blocks: the client that every outgoing connection uses, capped reading and decompression,
//! [protocol buffers](protobuf) on the wire, and the [circuit breaker](Breaker) of those who ask one server often.
//!
//! [`Client`] sends one request and gives back status, headers and a streaming [`Body`]; [`read_body`] reads such a
//! body into the caller's reused buffer, unpacked and capped. The laws:
//!
//! * No secret is printed, and none follows a redirect to another host or down to an unencrypted connection.
//! * Credentials, certificates and authorities in files are used as they are now: a change takes effect with the next
//!   request, a broken new certificate leaves the old one working and is logged.
//! * A peer is not believed: not its declared length, not its compression ratio, not its pace. A request costs at most
//!   its timeout and a body at most its limit.
//! * An error names its cause in one short line, sorted by who must act ([`ClientError`], [`BodyError`]).
//! * Nothing of TLS is in memory before the first `https` request; the system's authorities are then loaded once.
//!
//! This module does not retry, does not cache answers and does not know what a body means.

mod body;
mod breaker;
mod client;
mod config;
mod dial;
mod error;
pub mod protobuf;
mod proxy;
mod secret;
#[cfg(test)]
mod tests;
mod tls;

pub(crate) use body::ZSTD_WINDOW_LOG_MAX;
pub use body::{Body, BodyInfo, MAX_BODY_BYTES, read_body, read_body_watched, unpack};
pub use breaker::{Admitted, Breaker, BreakerLimits, Resting};
pub use client::{Client, Request, Response, printable};
pub use config::{Auth, Header, HttpClientConfig, ProxyConfig, Secret, SecretSource, TlsConfig, TlsVersion};
pub use dial::{Dialer, Duplex};
pub use error::{BodyError, ClientError};
pub use reqwest::{Method, StatusCode, header};
pub(crate) use tls::{is_authority_as_end_entity, system_roots};
