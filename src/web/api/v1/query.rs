//! `query` and `query_range`.
//!
//! A small answer is written where the query ran and sent whole. A large one is kept as it is, not as text, and written piece
//! by piece on a thread for streams while the client takes it; by then other queries may run.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};

use super::reply::{ApiError, ErrorKind, JSON};
use super::result::QueryResult;
use crate::model::{DurationMs, GoQuoted, TimestampMs};
use crate::promql::service::{Answered, Ask, Evaluate, Origin, QueryFailure, Service, Times};
use crate::storage::Limit;
use crate::web::connection::ClientAddress;
use crate::web::encoding::{ContentEncoding, EncodedBody};
use crate::web::form::{Form, ParamError};
use crate::web::routes::Web;
use crate::web::stream::{Plan, Sink, WriteError};

/// Answers up to this are made whole: few enough bytes to have many of them at a time.
const WHOLE_MAX: usize = 256 << 10;
/// Steps of a range query; the number and the sentence are the reference's.
const STEPS_MAX: i128 = 11_000;
const TOO_FINE: &str =
    "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)";
const NO_STEP: &str = "zero or negative query resolution step widths are not accepted. Try a positive integer";

pub(super) type ReadTimes = fn(&Form, TimestampMs) -> Result<Times, ApiError>;

/// Evaluates an expression at one instant.
pub(super) async fn instant(State(web): State<Arc<Web>>, request: Request) -> Response<Body> {
    let read = |form: &Form, now| Ok(Times::Instant(form.time("time", now)?));
    local(web, request, "/api/v1/query", read).await
}

/// Evaluates an expression at many instants.
pub(super) async fn range(State(web): State<Arc<Web>>, request: Request) -> Response<Body> {
    local(web, request, "/api/v1/query_range", |form, _| read_range(form)).await
}

async fn local(web: Arc<Web>, request: Request, handler: &'static str, read: ReadTimes) -> Response<Body> {
    let desk = Desk { queries: web.deps.queries.clone(), evaluator: None };
    answer(web, request, handler, read, desk).await.unwrap_or_else(|error| error.respond())
}

/// Where a question is asked.
pub(super) struct Desk {
    pub(super) queries: Service,
    /// Who evaluates it; nobody for the engine over the local storage.
    pub(super) evaluator: Option<Arc<dyn Evaluate>>,
}

/// Has a question evaluated.
pub(super) async fn answer(
    web: Arc<Web>,
    request: Request,
    handler: &'static str,
    read: ReadTimes,
    desk: Desk,
) -> Result<Response<Body>, ApiError> {
    let encoding = ContentEncoding::accepted(request.headers());
    let origin = origin_of(&request);
    let form = Form::read(request, web.config.form_limit, web.config.read_timeout).await?;
    let (mut ask, shown) = read_ask(&form, web.deps.clock.now(), read)?;
    ask.origin = Some(origin);
    ask.evaluator = desk.evaluator;
    let finish = move |outcome: Result<Answered, QueryFailure>| outcome.map(|answered| shown.write(answered, encoding));
    match desk.queries.run(ask, finish).await?? {
        Written::Whole(body) => Ok(body.respond(StatusCode::OK, JSON)),
        Written::Large(answered, shown) => {
            let (scope, metrics) = (answered.scope.clone(), web.metrics.stream(handler));
            let plan = Plan { content_type: JSON, encoding, scope, metrics, question: None };
            let write = move |out: &mut dyn Sink, _| {
                shown.result(&answered).write(&mut |buffer| out.take(buffer)).map_err(WriteError::Client)
            };
            Ok(web.streams.answer(plan, write).await?)
        }
    }
}

fn origin_of(request: &Request) -> Origin {
    let client = request.extensions().get::<ClientAddress>();
    Origin {
        client_ip: client.map_or_else(String::new, |client| client.0.to_string()),
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
    }
}

/// What of an answer is shown.
#[derive(Clone, Copy)]
struct Shown {
    limit: Limit,
    has_statistics: bool,
}

/// An answer on its way out.
enum Written {
    Whole(EncodedBody),
    Large(Answered, Shown),
}

/// Reads the parameters in the reference's order, so that of several mistakes the same one is told.
fn read_ask(form: &Form, now: TimestampMs, read: ReadTimes) -> Result<(Ask, Shown), ApiError> {
    let limit = form.limit()?;
    let times = read(form, now)?;
    let timeout = match form.first("timeout") {
        "" => None,
        _ => Some(form.duration("timeout").map_err(|e| ParamError::of("timeout", e))?),
    };
    let lookback =
        match form.first("lookback_delta") {
            "" => None,
            _ => Some(form.duration("lookback_delta").map_err(|e| {
                ApiError::new(ErrorKind::BadData, format!("error parsing lookback delta duration: {e}"))
            })?),
        };
    let stats = form.first("stats");
    let ask = Ask {
        lookback: lookback.map(|nanos| DurationMs(nanos / 1_000_000)),
        timeout: timeout.map(|nanos| Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))),
        warnings: deprecated(stats).into_iter().collect(),
        explain: form.first("explain") == "true",
        ..Ask::new(form.first("query"), times)
    };
    Ok((ask, Shown { limit, has_statistics: !stats.is_empty() }))
}

fn deprecated(stats: &str) -> Option<String> {
    let quoted = GoQuoted(stats);
    (!matches!(stats, "" | "true" | "all")).then(|| {
        format!(
            "value {quoted} for parameter \"stats\" is deprecated and will be rejected in the next major release, use \
             \"true\" or \"all\""
        )
    })
}

pub(super) fn read_range(form: &Form) -> Result<Times, ApiError> {
    let (start, end) = (form.required_time("start")?, form.required_time("end")?);
    if end < start {
        return Err(ParamError::of("end", "end timestamp must not be before start time").into());
    }
    let step = form.duration("step").map_err(|e| ParamError::of("step", e))?;
    // Steps are counted in whole milliseconds, of which there must be one.
    if step < 1_000_000 {
        return Err(ParamError::of("step", NO_STEP).into());
    }
    let nanos = (i128::from(end.0) - i128::from(start.0)) * 1_000_000;
    if nanos / i128::from(step) > STEPS_MAX {
        return Err(ApiError::new(ErrorKind::BadData, TOO_FINE));
    }
    Ok(Times::Range { start, end, step: DurationMs(step / 1_000_000) })
}

impl Shown {
    /// Writes the answer if it is small.
    fn write(self, mut answered: Answered, encoding: ContentEncoding) -> Written {
        if self.limit.is_some_and(|limit| answered.answer.series() > limit) {
            super::labels::warn_truncated(&mut answered.annotations);
        }
        let mut whole = Vec::new();
        let written = self.result(&answered).write(&mut |buffer| {
            if whole.len() + buffer.len() > WHOLE_MAX {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            whole.append(buffer);
            Ok(())
        });
        match written {
            Ok(()) => Written::Whole(encoding.encode(whole)),
            Err(_) => Written::Large(answered, self),
        }
    }

    fn result<'a>(&self, answered: &'a Answered) -> QueryResult<'a> {
        QueryResult {
            answer: &answered.answer,
            limit: self.limit.unwrap_or(usize::MAX),
            statistics: self.has_statistics.then_some(&answered.statistics),
            annotations: &answered.annotations,
            explanation: answered.explanation.as_deref(),
        }
    }
}
