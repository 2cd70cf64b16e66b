//! Object stores in memory, and one that speaks S3's protocol over HTTP.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Method, Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use object_store::memory::InMemory;
use parking_lot::Mutex;
use tokio::runtime::Runtime;

use super::*;
use crate::net::{ProxyConfig, Secret, TlsConfig};
use crate::tsdb::ship::pace::Pace;

fn put(bucket: &dyn Bucket, object: &str, content: Vec<u8>) -> Result<(), BucketError> {
    let pace = Pace::new(None, CancellationToken::new());
    bucket.put(object, &mut Content::bytes(Bytes::from(content), &pace))
}

/// What every bucket must do.
fn behaves_as_a_bucket(bucket: &dyn Bucket) {
    assert_eq!(bucket.list().unwrap(), [""; 0]);
    assert_eq!(bucket.size("b/chunks/000001").unwrap(), None);
    assert_eq!(bucket.get("b/meta.json").unwrap(), None);
    // Several parts, the last one shorter.
    let long: Vec<u8> = (0..2 * PART + 77).map(|i| (i / 13) as u8).collect();
    put(bucket, "b/chunks/000001", long.clone()).unwrap();
    put(bucket, "b/meta.json", b"{}".to_vec()).unwrap();
    put(bucket, "b/meta.json", b"{\"new\": 1}".to_vec()).unwrap();
    put(bucket, "a/index", Vec::new()).unwrap();
    assert_eq!(bucket.size("b/chunks/000001").unwrap(), Some(long.len() as u64));
    assert_eq!(bucket.size("a/index").unwrap(), Some(0));
    assert_eq!(bucket.get("b/meta.json").unwrap().unwrap(), b"{\"new\": 1}");
    assert_eq!(bucket.list().unwrap(), ["a", "b"]);
    assert!(
        bucket.get("b/chunks/000001").unwrap_err().to_string().contains("b/chunks/000001")
            == (long.len() as u64 > MAX_WHOLE)
    );
}
