//! `status/tsdb`, `status/tsdb/blocks` and `status/walreplay`: what is stored, and how far opening it has come.

use serde::Serialize;

use super::Call;
use super::reply::{Answer, ApiError, ErrorKind};
use crate::storage::Count;

/// Entries of each list unless `limit` says.
const LIMIT: usize = 10;
/// What `limit` may say at most.
const LIMIT_MAX: i64 = 10_000;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Statistics {
    head_stats: Head,
    series_count_by_metric_name: Vec<Named>,
    label_value_count_by_label_name: Vec<Named>,
    memory_in_bytes_by_label_name: Vec<Named>,
    series_count_by_label_value_pair: Vec<Named>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    num_series: u64,
    num_label_pairs: u64,
    chunk_count: u64,
    min_time: i64,
    max_time: i64,
}

#[derive(Serialize)]
struct Named {
    name: String,
    value: u64,
}

fn named(counts: Vec<Count>) -> Vec<Named> {
    counts.into_iter().map(|c| Named { name: c.name, value: c.count }).collect()
}

/// The head and what makes it large.
pub(super) fn statistics(call: &Call) -> Result<Answer, ApiError> {
    let statistics = call.web.deps.admin.statistics(limit(call)?)?;
    // Without samples: the range that every time is outside of.
    let (min_time, max_time) = statistics.times.map_or((i64::MAX, i64::MIN), |(min, max)| (min.0, max.0));
    Ok(Answer::of(&Statistics {
        head_stats: Head {
            num_series: statistics.series,
            num_label_pairs: statistics.label_pairs,
            chunk_count: statistics.chunks,
            min_time,
            max_time,
        },
        series_count_by_metric_name: named(statistics.series_by_metric),
        label_value_count_by_label_name: named(statistics.values_by_label),
        memory_in_bytes_by_label_name: named(statistics.bytes_by_label),
        series_count_by_label_value_pair: named(statistics.series_by_pair),
    }))
}

fn limit(call: &Call) -> Result<usize, ApiError> {
    let refused = |why: String| Err(ApiError::new(ErrorKind::BadData, why));
    match call.form.first("limit") {
        "" => Ok(LIMIT),
        text => match text.parse::<i64>() {
            Ok(n) if n > LIMIT_MAX => refused(format!("limit must not exceed {LIMIT_MAX}")),
            Ok(n) if n >= 1 => Ok(usize::try_from(n).unwrap_or(LIMIT)),
            _ => refused("limit must be a positive number".to_owned()),
        },
    }
}

/// The description of every block.
pub(super) fn blocks(call: &Call) -> Result<Answer, ApiError> {
    let blocks = call.web.deps.admin.block_descriptions()?.join(",");
    Ok(Answer::json(format!(r#"{{"blocks":[{blocks}]}}"#).into_bytes()))
}

/// How far the log has been read at start.
pub(super) fn replay(call: &Call) -> Result<Answer, ApiError> {
    #[derive(Serialize)]
    struct Status {
        min: u32,
        max: u32,
        current: u32,
    }
    let status = call.web.deps.admin.replay_status();
    Ok(Answer::of(&Status { min: status.min, max: status.max, current: status.current }))
}
