//! `format_query`, `parse_query` and `query_exemplars`: what needs an expression's tree and not its value.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use axum::routing::{MethodRouter, get};

use super::json::LabelMap;
use super::labels::time_range;
use super::reply::{Answer, ApiError, ErrorKind};
use super::{Call, Endpoint, Threads, respond};
use crate::model::Exemplar;
use crate::model::json::{Escaping, append};
use crate::model::number::{write_api, write_seconds};
use crate::promql::ast::Expr;
use crate::promql::{self, ParseError};
use crate::storage::{Selector, SeriesExemplars};
use crate::web::form::ParamError;
use crate::web::routes::Web;

/// Trees are walked by recursion, which the threads for queries have the stacks for.
pub(super) fn route(f: Endpoint) -> MethodRouter<Arc<Web>> {
    let handle = move |state: State<Arc<Web>>, request: Request| run(state, request, f);
    get(handle).post(handle)
}

async fn run(State(web): State<Arc<Web>>, request: Request, f: Endpoint) -> Response<Body> {
    respond(web, request, Threads::Queries, f).await.unwrap_or_else(|error| error.respond())
}

fn parse(call: &Call) -> Result<Expr, ParseError> {
    promql::parse(call.form.first("query"), &call.web.deps.queries.engine().options().parser)
}

/// The expression, set in lines.
pub(super) fn format(call: &Call) -> Result<Answer, ApiError> {
    let expr = parse(call).map_err(|e| ParamError::of("query", e))?;
    Ok(Answer::of(&promql::pretty(&expr)))
}

/// The expression's tree.
pub(super) fn tree(call: &Call) -> Result<Answer, ApiError> {
    let expr = parse(call).map_err(|e| ParamError::of("query", e))?;
    Ok(Answer::of(&promql::tree_json(&expr)))
}

/// The exemplars of all series that any selector of the expression selects.
pub(super) fn exemplars(call: &Call) -> Result<Answer, ApiError> {
    let range = time_range(call)?;
    if range.max < range.min {
        return Err(ApiError::new(ErrorKind::BadData, "end timestamp must not be before start timestamp"));
    }
    let expr = parse(call).map_err(|e| ApiError::new(ErrorKind::BadData, e.to_string()))?;
    let selectors = selectors_of(&expr);
    if selectors.is_empty() {
        return Ok(Answer::nothing());
    }
    Ok(Answer::json(exemplars_json(&call.web.deps.exemplars.select_exemplars(&selectors, range)?)))
}

pub(super) fn selectors_of(expr: &Expr) -> Vec<Selector> {
    let mut selectors = Vec::new();
    expr.walk(&mut |node| match node {
        Expr::Vector(selector) => selectors.push(selector.matchers.clone()),
        Expr::Matrix(matrix) => selectors.push(matrix.selector.matchers.clone()),
        _ => {}
    });
    selectors
}

fn exemplars_json(all: &[SeriesExemplars]) -> Vec<u8> {
    let mut out = vec![b'['];
    for (index, (labels, exemplars)) in all.iter().enumerate() {
        out.extend_from_slice(if index > 0 { br#",{"seriesLabels":"# } else { br#"{"seriesLabels":"# });
        append(&mut out, &LabelMap(labels.as_bytes()), Escaping::Labels);
        out.extend_from_slice(br#","exemplars":["#);
        for (index, exemplar) in exemplars.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write_exemplar(&mut out, exemplar);
        }
        out.extend_from_slice(b"]}");
    }
    out.push(b']');
    out
}

pub(super) fn write_exemplar(out: &mut Vec<u8>, exemplar: &Exemplar) {
    out.extend_from_slice(br#"{"labels":"#);
    append(out, &LabelMap(exemplar.labels.as_bytes()), Escaping::Labels);
    out.extend_from_slice(br#","value":""#);
    write_api(out, exemplar.value);
    out.extend_from_slice(br#"","timestamp":"#);
    write_seconds(out, exemplar.t.unwrap_or_default());
    out.push(b'}');
}
