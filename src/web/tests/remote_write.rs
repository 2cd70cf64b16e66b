//! What remote write answers when it is not the request that is wrong. The rest is tested over a whole server.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};

use super::Fixture;
use super::fixture::Answered;
use crate::model::Labels;
use crate::net::protobuf::Writer;
use crate::remote::snappy;
use crate::remote::write::Config;
use crate::storage::{
    AppendError, AppendReport, Appendable, Appender, FloatSample, LabelRequest, Queryable as _, Scope, SeriesRef,
    UnknownSeries,
};

/// A store that ends every batch with an error.
struct Failing(fn() -> AppendError);

impl Appendable for Failing {
    fn appender(&self) -> Box<dyn Appender + '_> {
        Box::new(Failing(self.0))
    }
}

impl Appender for Failing {
    fn series(&mut self, _: &Labels) -> Result<SeriesRef, AppendError> {
        Ok(SeriesRef(1))
    }

    fn append(&mut self, _: &[FloatSample]) -> Result<UnknownSeries, AppendError> {
        Ok(UnknownSeries::default())
    }

    fn commit(self: Box<Self>) -> Result<AppendReport, AppendError> {
        Err(self.0())
    }
}

fn request() -> Request<Body> {
    let mut message = Vec::new();
    let mut w = Writer::new(&mut message);
    ["", "__name__", "up"].iter().for_each(|symbol| w.bytes(4, symbol.as_bytes()));
    w.message(5, |w| {
        w.packed(1, [1, 2].into_iter());
        w.message(2, |w| w.int(2, super::fixture::NOW.0));
    });
    let mut body = Vec::new();
    snappy::encode(&message, &mut body).expect("packed");
    let request = Request::builder()
        .method(Method::POST)
        .uri("/api/v1/write")
        .header("content-type", "application/x-protobuf;proto=io.prometheus.write.v2.Request")
        .header("content-encoding", "snappy")
        .body(Body::from(body));
    request.expect("a valid request")
}

async fn answer(change: impl FnOnce(&mut Fixture)) -> Answered {
    let mut fixture = Fixture::new();
    fixture.config.remote_write = Some(Config::default());
    change(&mut fixture);
    fixture.app().send(request()).await
}

#[tokio::test]
async fn what_may_succeed_later_is_answered_5xx() {
    let disk = || AppendError::Disk { path: "wal".to_owned(), source: io::ErrorKind::StorageFull.into() };
    for (error, status) in [
        (disk as fn() -> AppendError, StatusCode::INTERNAL_SERVER_ERROR),
        (|| AppendError::TooManySeries("all are taken".to_owned()), StatusCode::INTERNAL_SERVER_ERROR),
        (|| AppendError::Latched("no space left".to_owned()), StatusCode::SERVICE_UNAVAILABLE),
        (|| AppendError::Closed, StatusCode::SERVICE_UNAVAILABLE),
    ] {
        let answered = answer(|fixture| fixture.deps.appendable = Arc::new(Failing(error))).await;
        assert_eq!(answered.status, status, "{}", error());
        assert_eq!(answered.headers["x-prometheus-remote-write-samples-written"], "0");
        assert!(!answered.body.is_empty());
    }
}

#[tokio::test]
async fn a_request_goes_into_the_store_of_the_server() {
    let mut fixture = Fixture::new();
    fixture.config.remote_write = Some(Config::default());
    let store = fixture.store.clone();
    let app = fixture.app();
    let answered = app.send(request()).await;
    assert_eq!((answered.status, answered.body.len()), (StatusCode::NO_CONTENT, 0));
    let (names, _) = store.label_values(&Scope::unbounded(), "__name__", &LabelRequest::ALL).expect("in memory");
    assert_eq!(names, ["up"]);
    assert_eq!(app.get("/api/v1/write").await.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn who_did_not_ask_for_the_receiver_has_none() {
    let answered = Fixture::new().app().send(request()).await;
    assert_eq!(answered.status, StatusCode::NOT_FOUND);
}
