//! `series`: the label sets of the selected series, streamed.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use serde::Serialize as _;

use super::json::LabelMap;
use super::labels::{one_more, time_range, warn_truncated};
use super::reply::{ApiError, ErrorKind, JSON, OPEN, close};
use super::{Call, receive};
use crate::model::Annotations;
use crate::model::json::Escaping;
use crate::storage::{Limit, SelectRequest, Selector, SeriesBatch, StreamStep, TimeRange};
use crate::web::encoding::ContentEncoding;
use crate::web::form::ParamError;
use crate::web::routes::Web;
use crate::web::stream::{Plan, Sink, WriteError};

pub(super) async fn series(State(web): State<Arc<Web>>, request: Request) -> Response<Body> {
    match answer(web, request).await {
        Ok(response) => response,
        Err(error) => error.respond(),
    }
}

async fn answer(web: Arc<Web>, request: Request) -> Result<Response<Body>, ApiError> {
    let encoding = ContentEncoding::accepted(request.headers());
    let call = receive(web.clone(), request).await?;
    // Compiling hostile expressions takes its time, which is not the connections'.
    let read = web.deps.pool.run(move || Wanted::read(&call).map(|wanted| (call, wanted)));
    let (call, wanted) = read.await.map_err(|lost| ApiError::new(ErrorKind::Internal, lost.to_string()))??;
    let plan = Plan {
        content_type: JSON,
        encoding,
        scope: call.scope.clone(),
        metrics: web.metrics.stream("/api/v1/series"),
        question: None,
    };
    Ok(web.streams.answer(plan, move |out, _| wanted.write(&call, out)).await?)
}

struct Wanted {
    selectors: Vec<Selector>,
    range: TimeRange,
    limit: Limit,
}

impl Wanted {
    fn read(call: &Call) -> Result<Wanted, ApiError> {
        call.form.well_formed()?;
        if call.form.all("match[]").next().is_none() {
            return Err(ApiError::new(ErrorKind::BadData, "no match[] parameter provided"));
        }
        let limit = call.form.limit()?;
        let range = time_range(call)?;
        Ok(Wanted {
            selectors: call.form.narrowing_selectors().map_err(|e| ParamError::of("match[]", e))?,
            range,
            limit,
        })
    }

    fn write(&self, call: &Call, out: &mut dyn Sink) -> Result<(), WriteError> {
        let request = SelectRequest {
            selectors: &self.selectors,
            range: self.range,
            // As the reference: a union comes sorted, a single selection in the store's order.
            sorted: self.selectors.len() > 1,
            limit: one_more(self.limit),
        };
        let mut stream = call.web.deps.storage.select(&call.scope, &request)?;
        let mut batch = SeriesBatch::default();
        let mut left = self.limit.unwrap_or(usize::MAX);
        let mut separator: &[u8] = b"[";
        out.write_all(OPEN)?;
        let annotations = loop {
            match stream.next(&mut batch)? {
                StreamStep::End(end) => break end.annotations,
                StreamStep::Batch => {}
            }
            let shown = batch.series.len().min(left);
            for series in &batch.series[..shown] {
                out.write_all(separator)?;
                separator = b",";
                let mut json = serde_json::Serializer::with_formatter(&mut *out, Escaping::Labels);
                LabelMap(series.labels.as_bytes()).serialize(&mut json).map_err(std::io::Error::from)?;
            }
            left -= shown;
            if shown < batch.series.len() {
                let mut annotations = Annotations::none();
                warn_truncated(&mut annotations);
                break annotations;
            }
        };
        if separator == b"[" {
            out.write_all(b"[")?;
        }
        out.write_all(b"]")?;
        Ok(out.write_all(&close(&annotations))?)
    }
}
