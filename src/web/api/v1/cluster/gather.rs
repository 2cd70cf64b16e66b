//! `metadata`, `query_exemplars`, `rules` and `alerts` of all members.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use serde::Serialize;
use serde_json::{Map, Value};

use super::super::expression::{selectors_of, write_exemplar};
use super::super::json::LabelMap;
use super::super::reply::{Answer, ApiError, ErrorKind};
use super::super::rules::check;
use super::asked::Asked;
use super::respond;
use crate::cluster::MetricMetadata;
use crate::model::{Exemplar, Metadata, TimestampMs};
use crate::promql::service::QueryFailure;
use crate::storage::TimeRange;
use crate::web::encoding::ContentEncoding;
use crate::web::routes::Web;

/// An endpoint that answers what `tell` finds out.
async fn answer<F: Future<Output = Result<Answer, ApiError>>>(
    web: Arc<Web>,
    request: Request,
    tell: impl FnOnce(Asked) -> F,
) -> Response<Body> {
    let encoding = ContentEncoding::accepted(request.headers());
    let answer = match Asked::read(web, request).await {
        Ok(asked) => tell(asked).await,
        Err(error) => Err(error),
    };
    respond(answer, encoding)
}

pub(super) async fn metadata(State(web): State<Arc<Web>>, request: Request) -> Response<Body> {
    answer(web, request, async |asked: Asked| {
        let limit = asked.form.count("limit")?.unwrap_or(usize::MAX);
        // Unlike for `limit`, 0 means no limit here; so the reference has it.
        let per_metric = asked.form.count("limit_per_metric")?.filter(|n| *n > 0).unwrap_or(usize::MAX);
        let metric = Some(asked.form.first("metric")).filter(|metric| !metric.is_empty());
        let (mut all, annotations) =
            asked.frontend.metadata(&asked.client, metric, per_metric).await.map_err(QueryFailure::from)?;
        if asked.frontend.this_node(&[]).is_some() {
            for told in asked.web.deps.targets.metadata(metric) {
                let Metadata { metric_type, unit, help } = told.metadata;
                let (r#type, known) = (metric_type.as_str().to_owned(), all.entry(told.metric).or_default());
                let told = MetricMetadata { r#type, unit, help };
                if known.len() < per_metric && !known.contains(&told) {
                    known.push(told);
                }
            }
        }
        let shown: BTreeMap<_, _> = all.into_iter().take(limit).collect();
        Ok(Answer::annotated(&shown, annotations))
    })
    .await
}

pub(super) async fn exemplars(State(web): State<Arc<Web>>, request: Request) -> Response<Body> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Shown<'a> {
        series_labels: LabelMap<'a>,
        exemplars: &'a [Value],
    }
    answer(web, request, async |asked: Asked| {
        let (start, end) = (asked.time("start")?, asked.time("end")?);
        if start.zip(end).is_some_and(|(start, end)| end < start) {
            return Err(ApiError::new(ErrorKind::BadData, "end timestamp must not be before start timestamp"));
        }
        let (text, queries) = (asked.form.first("query").to_owned(), asked.web.deps.queries.clone());
        // Trees are walked by recursion, which the threads for queries have the stacks for.
        let engine = queries.engine();
        let selectors = queries.compute(move || engine.parse(&text).map(|expr| selectors_of(&expr))).await?;
        let selectors = selectors.map_err(|e| ApiError::new(ErrorKind::BadData, e.to_string()))?;
        let told = asked.frontend.exemplars(&asked.client, &selectors, start, end).await;
        let (mut all, annotations) = told.map_err(QueryFailure::from)?;
        if let Some((member, Some(selectors))) = asked.frontend.this_node(&selectors) {
            let range = TimeRange { min: start.unwrap_or(TimestampMs::MIN), max: end.unwrap_or(TimestampMs::MAX) };
            for (labels, exemplars) in asked.web.deps.exemplars.select_exemplars(&selectors, range)? {
                let exemplars = exemplars.iter().filter_map(|exemplar| serde_json::from_slice(&shown(exemplar)).ok());
                all.push((asked.frontend.seen(member, &labels), exemplars.collect()));
            }
            all.sort_by(|(a, _), (b, _)| a.cmp(b));
        }
        let shown =
            all.iter().map(|(labels, exemplars)| Shown { series_labels: LabelMap(labels.as_bytes()), exemplars });
        Ok(Answer::annotated(&shown.collect::<Vec<_>>(), annotations))
    })
    .await
}

fn shown(exemplar: &Exemplar) -> Vec<u8> {
    let mut json = Vec::new();
    write_exemplar(&mut json, exemplar);
    json
}

/// Parameters of `rules` that members understand as we do.
const FILTERS: [&str; 5] = ["type", "rule_name[]", "rule_group[]", "file[]", "exclude_alerts"];

pub(super) async fn rules(State(web): State<Arc<Web>>, request: Request) -> Response<Body> {
    #[derive(Serialize)]
    struct Groups {
        groups: Vec<Map<String, Value>>,
    }
    answer(web, request, async |asked: Asked| {
        let Asked { web, frontend, client, form, admitted: _admitted } = asked;
        // Compiling hostile expressions takes its time, which is not the connections'.
        let checked = web.deps.pool.run(move || check(&form).map(|selectors| (selectors, form))).await;
        let (selectors, form) = checked.map_err(|lost| ApiError::new(ErrorKind::Internal, lost.to_string()))??;
        let filters = FILTERS.iter().flat_map(|name| form.all(name).map(move |value| (*name, value)));
        let filters: Vec<(&str, &str)> = filters.collect();
        let (groups, annotations) = frontend.rules(&client, &filters, &selectors).await.map_err(QueryFailure::from)?;
        Ok(Answer::annotated(&Groups { groups }, annotations))
    })
    .await
}

pub(super) async fn alerts(State(web): State<Arc<Web>>, request: Request) -> Response<Body> {
    #[derive(Serialize)]
    struct Alerts {
        alerts: Vec<Map<String, Value>>,
    }
    answer(web, request, async |asked: Asked| {
        let (alerts, annotations) = asked.frontend.alerts(&asked.client).await.map_err(QueryFailure::from)?;
        Ok(Answer::annotated(&Alerts { alerts }, annotations))
    })
    .await
}
