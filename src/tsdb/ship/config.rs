//! What `storage.ship` says.

use std::path::PathBuf;

use crate::net::{ProxyConfig, SecretSource, TlsConfig};

/// The checked section.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// The bucket.
    pub target: Target,
    /// Also ship blocks that were compacted before they could be shipped.
    pub upload_compacted: bool,
    /// At most so many bytes a second.
    pub bytes_per_second: Option<u64>,
    /// TLS of connections to the bucket.
    pub tls: TlsConfig,
    /// Proxy of connections to the bucket.
    pub proxy: ProxyConfig,
}

/// A bucket, and the part of it below which blocks go. Credentials that are `None` come from the environment, as the
/// store's own tools take them.
#[derive(Clone, PartialEq, Debug)]
pub enum Target {
    /// A directory.
    Dir(PathBuf),
    /// S3 or what speaks its protocol.
    S3 {
        /// The bucket's name.
        bucket: String,
        /// In front of all objects; empty for none.
        prefix: String,
        /// The region.
        region: Option<String>,
        /// Where the protocol is spoken, if not at Amazon.
        endpoint: Option<url::Url>,
        /// The name of the key.
        access_key_id: Option<String>,
        /// The key.
        secret_access_key: Option<SecretSource>,
    },
    /// Google Cloud Storage.
    Gcs {
        /// The bucket's name.
        bucket: String,
        /// In front of all objects; empty for none.
        prefix: String,
        /// A service account's JSON.
        service_account: Option<SecretSource>,
    },
    /// Azure Blob Storage.
    Azure {
        /// The container's name.
        container: String,
        /// In front of all objects; empty for none.
        prefix: String,
        /// The account.
        account: Option<String>,
        /// Its key.
        access_key: Option<SecretSource>,
        /// Where the protocol is spoken, if not at Azure.
        endpoint: Option<url::Url>,
    },
}

impl Target {
    /// Whether this build can reach it: object stores need the cargo feature `ship`.
    pub fn is_supported(&self) -> bool {
        matches!(self, Target::Dir(_)) || cfg!(feature = "ship")
    }
}
