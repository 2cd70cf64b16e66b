//! `otlp/v1/metrics`: receiving OTLP. Off unless enabled, since who may write may also fill the disk.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName};
use axum::http::{HeaderMap, Response, StatusCode};
use axum::routing::{MethodRouter, post};

use crate::model::Shortened;
use crate::remote::otlp::{Failure, Format, Packing};
use crate::web::body::{BodyBudget, BodyError};
use crate::web::encoding::plain;
use crate::web::routes::Web;

/// Bytes of bodies that are held at the same time: four of the largest, or thousands of usual ones.
const MAX_HELD: usize = 128 << 20;

pub(super) fn route() -> MethodRouter<Arc<Web>> {
    let budget = BodyBudget::new(MAX_HELD);
    post(move |state: State<Arc<Web>>, request: Request| receive(state, request, budget.clone()))
}

async fn receive(State(web): State<Arc<Web>>, request: Request, budget: Arc<BodyBudget>) -> Response<Body> {
    let Some(receiver) = web.deps.otlp.clone() else {
        let why = "otlp write receiver needs to be enabled with --web.enable-otlp-receiver\n";
        return plain(StatusCode::NOT_FOUND, why);
    };
    let (format, packing) = match negotiate(request.headers()) {
        Ok(known) => known,
        Err(why) => return plain(StatusCode::BAD_REQUEST, format!("{why}\n")),
    };
    let body = match budget.read(request, receiver.max_body(), web.config.read_timeout).await {
        Ok(body) => body,
        Err(error) => return error.response(),
    };
    let outcome = web.deps.pool.run(move || receiver.receive(format, packing, &body.bytes));
    match outcome.await {
        Ok(Ok(())) => Response::new(Body::empty()),
        Ok(Err(Failure::Busy)) => BodyError::Busy.response(),
        Ok(Err(failure)) => plain(status(&failure), format!("{failure}\n")),
        Err(lost) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{lost}\n")),
    }
}

/// The sentences are the reference's.
fn negotiate(headers: &HeaderMap) -> Result<(Format, Packing), String> {
    let text = |name: &HeaderName| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("");
    let media_type = text(&CONTENT_TYPE);
    let format = match media_type.split(';').next().unwrap_or("").trim() {
        "application/x-protobuf" => Format::Protobuf,
        "application/json" => Format::Json,
        _ => {
            let given = Shortened(media_type);
            return Err(format!(
                "unsupported content type: {given}, supported: [application/json, application/x-protobuf]"
            ));
        }
    };
    let packing = match text(&CONTENT_ENCODING) {
        "" => Packing::Plain,
        "gzip" => Packing::Gzip,
        other => {
            let given = Shortened(other);
            return Err(format!("unsupported compression: {given}. Only \"gzip\" or no compression supported"));
        }
    };
    Ok((format, packing))
}

fn status(failure: &Failure) -> StatusCode {
    match failure {
        Failure::Invalid(_) => StatusCode::BAD_REQUEST,
        Failure::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Failure::Untranslatable(_) => StatusCode::INTERNAL_SERVER_ERROR,
        Failure::Busy | Failure::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}
