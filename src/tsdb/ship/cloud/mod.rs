//! S3, Google Cloud Storage and Azure as buckets.

mod http;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::{Error, MultipartUpload, ObjectStore, ObjectStoreExt as _, PutPayload, RetryConfig};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::bucket::{Bucket, BucketError, Content};
use super::{Config, MAX_WHOLE, Target};
use crate::net::SecretSource;
use http::Connector;

/// An object longer than this goes in parts; what is in memory is one of them. The stores take no smaller parts than
/// 5 MiB, and a slow link moves this much within a request's time.
const PART: u64 = 8 << 20;
/// The stores take 10,000.
const PARTS_MAX: u64 = 9000;
/// Each request is tried so often again; what fails still is tried again by the next round.
const RETRIES: usize = 3;
/// Retries of one request begin no later.
const RETRY_TIMEOUT: Duration = Duration::from_secs(60);

/// Objects in a store of the crate `object_store`.
#[derive(Debug)]
pub(super) struct ObjectBucket {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    runtime: Handle,
    stop: CancellationToken,
}

/// A bucket that is opened when it is first used, and again until that succeeds: credentials may come later.
#[derive(Debug)]
pub(super) struct LateBucket {
    config: Config,
    runtime: Handle,
    stop: CancellationToken,
    opened: Mutex<Option<Arc<ObjectBucket>>>,
}

impl LateBucket {
    /// Must be called within an async runtime.
    pub(super) fn new(config: &Config, stop: &CancellationToken) -> LateBucket {
        let (runtime, opened) = (Handle::current(), Mutex::new(None));
        LateBucket { config: config.clone(), runtime, stop: stop.clone(), opened }
    }

    fn opened(&self) -> Result<Arc<ObjectBucket>, BucketError> {
        let mut opened = self.opened.lock();
        if let Some(bucket) = &*opened {
            return Ok(bucket.clone());
        }
        let bucket = Arc::new(open(&self.config, self.runtime.clone(), self.stop.clone())?);
        Ok(opened.insert(bucket).clone())
    }
}

impl Bucket for LateBucket {
    fn size(&self, object: &str) -> Result<Option<u64>, BucketError> {
        self.opened()?.size(object)
    }

    fn list(&self) -> Result<Vec<String>, BucketError> {
        self.opened()?.list()
    }

    fn get(&self, object: &str) -> Result<Option<Vec<u8>>, BucketError> {
        self.opened()?.get(object)
    }

    fn put(&self, object: &str, content: &mut Content<'_>) -> Result<(), BucketError> {
        self.opened()?.put(object, content)
    }
}

/// Opens the bucket of a configuration. Nothing is sent yet.
fn open(config: &Config, runtime: Handle, stop: CancellationToken) -> Result<ObjectBucket, BucketError> {
    let fail = |error: Error| BucketError::failed("opening", "objects", error);
    let connector = || Connector::new(config);
    let retry = RetryConfig { max_retries: RETRIES, retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() };
    let (store, prefix): (Arc<dyn ObjectStore>, &str) = match &config.target {
        Target::Dir(_) => return Err(BucketError::failed("opening", "objects", "a directory is no object store")),
        Target::S3 { bucket, prefix, region, endpoint, access_key_id, secret_access_key } => {
            let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
            if let Some(region) = region {
                builder = builder.with_region(region);
            }
            if let Some(endpoint) = endpoint {
                builder = builder.with_endpoint(plain(endpoint)).with_allow_http(endpoint.scheme() == "http");
            }
            if let (Some(id), Some(key)) = (access_key_id, secret_access_key) {
                builder = builder.with_access_key_id(id).with_secret_access_key(reveal(key)?);
            }
            let store = builder.with_retry(retry).with_http_connector(connector()?).build().map_err(fail)?;
            (Arc::new(store), prefix)
        }
        Target::Gcs { bucket, prefix, service_account } => {
            let mut builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket);
            if let Some(account) = service_account {
                builder = builder.with_service_account_key(reveal(account)?);
            }
            let store = builder.with_retry(retry).with_http_connector(connector()?).build().map_err(fail)?;
            (Arc::new(store), prefix)
        }
        Target::Azure { container, prefix, account, access_key, endpoint } => {
            let mut builder = MicrosoftAzureBuilder::from_env().with_container_name(container);
            if let Some(account) = account {
                builder = builder.with_account(account);
            }
            if let Some(key) = access_key {
                builder = builder.with_access_key(reveal(key)?);
            }
            if let Some(endpoint) = endpoint {
                builder = builder.with_endpoint(plain(endpoint)).with_allow_http(endpoint.scheme() == "http");
            }
            let store = builder.with_retry(retry).with_http_connector(connector()?).build().map_err(fail)?;
            (Arc::new(store), prefix)
        }
    };
    Ok(ObjectBucket::new(store, prefix, runtime, stop))
}

/// A URL without the slash that URLs get at their end.
fn plain(endpoint: &Url) -> String {
    endpoint.as_str().trim_end_matches('/').to_owned()
}

/// Read once, when the bucket is opened: the stores' clients take a text.
fn reveal(source: &SecretSource) -> Result<String, BucketError> {
    match source {
        SecretSource::Inline(secret) => Ok(secret.reveal().to_owned()),
        SecretSource::File(path) => match std::fs::read_to_string(path) {
            Ok(text) => Ok(text.trim().to_owned()),
            Err(source) => Err(BucketError::Content { path: path.clone(), source }),
        },
    }
}

impl ObjectBucket {
    pub(super) fn new(
        store: Arc<dyn ObjectStore>,
        prefix: &str,
        runtime: Handle,
        stop: CancellationToken,
    ) -> ObjectBucket {
        ObjectBucket { store, prefix: Path::from(prefix), runtime, stop }
    }

    fn path(&self, object: &str) -> Path {
        object.split('/').fold(self.prefix.clone(), |path, part| path.join(part))
    }

    /// Waits for the store; a stop ends the waiting.
    fn wait<T>(
        &self,
        doing: &'static str,
        object: &str,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, BucketError> {
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => Err(BucketError::Stopped),
                result = work => result.map_err(|error| BucketError::failed(doing, object, error)),
            }
        })
    }

    fn put_parts(&self, object: &str, content: &mut Content<'_>) -> Result<(), BucketError> {
        const DOING: &str = "writing";
        let path = self.path(object);
        let size = PART.max(content.len().div_ceil(PARTS_MAX));
        let size = usize::try_from(size).map_err(|e| BucketError::failed(DOING, object, e))?;
        let mut upload = self.wait(DOING, object, self.store.put_multipart(&path))?;
        let sent = self.send_parts(object, content, &mut *upload, size);
        if sent.is_err() {
            // Parts that stay cost money; but what matters is why they were not completed.
            let aborted = self.runtime.block_on(async { tokio::time::timeout(RETRY_TIMEOUT, upload.abort()).await });
            if !matches!(aborted, Ok(Ok(()))) {
                tracing::warn!(object, "the parts of an unfinished object could not be removed from the bucket");
            }
        }
        sent
    }

    fn send_parts(
        &self,
        object: &str,
        content: &mut Content<'_>,
        upload: &mut dyn MultipartUpload,
        size: usize,
    ) -> Result<(), BucketError> {
        loop {
            let piece = content.next(size)?;
            if piece.is_empty() {
                return self.wait("completing", object, upload.complete()).map(drop);
            }
            self.wait("writing", object, upload.put_part(PutPayload::from_bytes(piece)))?;
        }
    }
}

/// `None` for what is not there.
fn found<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Bucket for ObjectBucket {
    fn size(&self, object: &str) -> Result<Option<u64>, BucketError> {
        let path = self.path(object);
        let meta = self.wait("looking for", object, async { found(self.store.head(&path).await) })?;
        Ok(meta.map(|meta| meta.size))
    }

    fn list(&self) -> Result<Vec<String>, BucketError> {
        let below = (!self.prefix.as_ref().is_empty()).then_some(&self.prefix);
        let listed = self.wait("listing", "/", self.store.list_with_delimiter(below))?;
        let paths = listed.common_prefixes.iter().chain(listed.objects.iter().map(|o| &o.location));
        let mut names: Vec<String> = paths.filter_map(|p| Some(p.parts().next_back()?.as_ref().to_owned())).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn get(&self, object: &str) -> Result<Option<Vec<u8>>, BucketError> {
        let path = self.path(object);
        self.wait("reading", object, async {
            let Some(result) = found(self.store.get(&path).await)? else { return Ok(None) };
            if result.meta.size > MAX_WHOLE {
                let source = Box::new(io::Error::from(io::ErrorKind::FileTooLarge));
                return Err(Error::Generic { store: "bucket", source });
            }
            Ok(Some(result.bytes().await?.to_vec()))
        })
    }

    fn put(&self, object: &str, content: &mut Content<'_>) -> Result<(), BucketError> {
        if content.len() > PART {
            return self.put_parts(object, content);
        }
        let bytes = content.next(PART as usize)?;
        let path = self.path(object);
        self.wait("writing", object, self.store.put(&path, PutPayload::from_bytes(bytes))).map(drop)
    }
}
