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
    let error = bucket.get("b/chunks/000001").unwrap_err().to_string();
    assert!(error.starts_with("reading b/chunks/000001 in the bucket: "), "{error}");
}

#[test]
fn an_object_store_is_a_bucket_with_and_without_a_prefix() {
    let runtime = Runtime::new().unwrap();
    let store = Arc::new(InMemory::new());
    for prefix in ["", "tenant/one"] {
        let stop = CancellationToken::new();
        let bucket = ObjectBucket::new(store.clone(), prefix, runtime.handle().clone(), stop.clone());
        behaves_as_a_bucket(&bucket);
        let place = if prefix.is_empty() { "b/meta.json" } else { "tenant/one/b/meta.json" };
        runtime.block_on(store.head(&Path::from(place))).unwrap();
        stop.cancel();
        assert!(matches!(bucket.size("b/meta.json"), Err(BucketError::Stopped)));
        // The other prefix must not see these.
        let names = ["b/chunks/000001", "b/meta.json", "a/index"];
        names.iter().for_each(|name| runtime.block_on(store.delete(&bucket.path(name))).unwrap());
    }
}

/// The part of S3 that is used, in memory: objects by name, and parts by upload and number.
#[derive(Default)]
struct FakeS3 {
    objects: BTreeMap<String, Bytes>,
    parts: BTreeMap<(String, u32), Bytes>,
    /// Parts are refused.
    full: bool,
    aborted: usize,
}

type Shared = Arc<Mutex<FakeS3>>;

async fn answer(State(fake): State<Shared>, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let query: BTreeMap<String, String> =
        form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let signed = parts.headers.get("authorization").and_then(|v| v.to_str().ok()).unwrap_or_default();
    let mut fake = fake.lock();
    if !signed.starts_with("AWS4-HMAC-SHA256 Credential=me/") || !signed.contains("/nowhere-1/s3/") {
        return reply(StatusCode::FORBIDDEN, "<Error><Code>AccessDenied</Code></Error>");
    }
    let path = parts.uri.path().trim_start_matches('/');
    let Some((_, key)) = path.split_once('/').filter(|(bucket, key)| *bucket == "blocks" && !key.is_empty()) else {
        return reply(StatusCode::OK, fake.list(query.get("prefix").map_or("", String::as_str)));
    };
    fake.object(&parts.method, key, &query, body)
}

fn reply(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let body: Bytes = body.into();
    let builder = Response::builder().status(status).header("etag", "\"1\"");
    let builder = builder.header("last-modified", "Tue, 14 Nov 2023 22:13:20 GMT").header("content-length", body.len());
    builder.body(Body::from(body)).unwrap()
}

impl FakeS3 {
    fn list(&self, prefix: &str) -> String {
        let mut names: Vec<&str> =
            self.objects.keys().filter_map(|k| k.strip_prefix(prefix)?.split('/').next()).collect();
        names.dedup();
        let prefixes: String =
            names.iter().map(|n| format!("<CommonPrefixes><Prefix>{prefix}{n}/</Prefix></CommonPrefixes>")).collect();
        format!("<ListBucketResult><IsTruncated>false</IsTruncated>{prefixes}</ListBucketResult>")
    }

    fn object(&mut self, method: &Method, key: &str, query: &BTreeMap<String, String>, body: Bytes) -> Response<Body> {
        let upload = query.get("uploadId").cloned();
        let number = query.get("partNumber").and_then(|n| n.parse().ok());
        match (method.as_str(), upload, number) {
            ("PUT", Some(_), Some(_)) if self.full => {
                reply(StatusCode::BAD_REQUEST, "<Error><Code>Full</Code></Error>")
            }
            ("PUT", Some(upload), Some(number)) => {
                self.parts.insert((upload, number), body);
                reply(StatusCode::OK, "")
            }
            ("PUT", ..) => {
                self.objects.insert(key.to_owned(), body);
                reply(StatusCode::OK, "")
            }
            ("POST", None, _) => {
                let xml = "<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>";
                reply(StatusCode::OK, xml)
            }
            ("POST", Some(_), _) => {
                let whole: Vec<u8> = std::mem::take(&mut self.parts).into_values().flatten().collect();
                self.objects.insert(key.to_owned(), whole.into());
                let xml = "<CompleteMultipartUploadResult><ETag>1</ETag></CompleteMultipartUploadResult>";
                reply(StatusCode::OK, xml)
            }
            ("DELETE", Some(_), _) => {
                self.aborted += 1;
                reply(StatusCode::NO_CONTENT, "")
            }
            _ => match self.objects.get(key) {
                Some(content) => reply(StatusCode::OK, content.clone()),
                None => reply(StatusCode::NOT_FOUND, "<Error><Code>NoSuchKey</Code></Error>"),
            },
        }
    }
}

fn config(endpoint: &str, secret: SecretSource) -> Config {
    let target = Target::S3 {
        bucket: "blocks".to_owned(),
        prefix: "tenant/one".to_owned(),
        region: Some("nowhere-1".to_owned()),
        endpoint: Some(endpoint.parse().unwrap()),
        access_key_id: Some("me".to_owned()),
        secret_access_key: Some(secret),
    };
    let (tls, proxy) = (TlsConfig::default(), ProxyConfig::default());
    Config { target, upload_compacted: false, bytes_per_second: None, tls, proxy }
}

/// On a thread outside of the runtime, as shipping runs.
fn outside<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|threads| threads.spawn(work).join().unwrap())
}

#[test]
fn s3_is_spoken_over_our_own_client() {
    let runtime = Runtime::new().unwrap();
    let _inside = runtime.enter();
    let tasks = crate::runtime::Tasks::new();
    let fake = Shared::default();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let app = axum::Router::new().fallback(answer).with_state(fake.clone());
    let app = app.layer(axum::extract::DefaultBodyLimit::disable());
    tasks.spawn("fake", async move { axum::serve(listener, app).await.unwrap() });

    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key");
    std::fs::write(&key, "secret\n").unwrap();
    let bucket = open(&config(&endpoint, SecretSource::File(key)), CancellationToken::new()).unwrap();
    outside(|| behaves_as_a_bucket(&*bucket));
    let objects: Vec<String> = fake.lock().objects.keys().cloned().collect();
    assert_eq!(objects, ["a/index", "b/chunks/000001", "b/meta.json"].map(|name| format!("tenant/one/{name}")));

    // What was begun is taken back.
    fake.lock().full = true;
    let error = outside(|| put(&*bucket, "c/index", vec![0; PART as usize + 1]).unwrap_err().to_string());
    assert!(error.starts_with("writing c/index in the bucket: ") && error.contains("400"), "{error}");
    assert!(!error.contains("secret"), "{error}");
    assert_eq!(fake.lock().aborted, 1);
}

#[test]
fn a_bucket_that_cannot_be_opened_or_reached_is_told_without_secrets() {
    let runtime = Runtime::new().unwrap();
    let _inside = runtime.enter();
    let missing = open(&config("http://127.0.0.1:9", SecretSource::File("/no/key".into())), CancellationToken::new());
    assert!(missing.unwrap_err().to_string().starts_with("reading /no/key: "));
    // Nobody listens on the discard port.
    let config = config("http://127.0.0.1:9", SecretSource::Inline(Secret::new("hidden")));
    assert!(!format!("{config:?}").contains("hidden"), "{config:?}");
    let bucket = open(&config, CancellationToken::new()).unwrap();
    let error = outside(|| bucket.size("b/meta.json")).unwrap_err().to_string();
    assert!(error.contains("b/meta.json") && !error.contains("hidden"), "{error}");
}
