//! HTTP building blocks: the client that every outgoing connection uses, and capped reading and decompression.

mod config;

pub use config::{Auth, Header, HttpClientConfig, ProxyConfig, Secret, SecretSource, TlsConfig, TlsVersion};
