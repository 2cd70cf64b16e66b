//! What a query took, in the reference's shape.

use std::time::Duration;

use serde::Serialize;

use crate::promql::QueryStats;

/// Times and samples of one query.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Statistics {
    timings: Timings,
    samples: Samples,
}

/// Seconds.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Timings {
    eval_total_time: f64,
    result_sort_time: f64,
    query_preparation_time: f64,
    inner_eval_time: f64,
    exec_queue_time: f64,
    exec_total_time: f64,
}

#[derive(Clone, PartialEq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Samples {
    total_queryable_samples: u64,
    peak_samples: u64,
}

impl Statistics {
    pub(super) fn new(stats: &QueryStats, queue: Duration, prepare: Duration, run: Duration) -> Statistics {
        Statistics {
            timings: Timings {
                eval_total_time: run.as_secs_f64(),
                result_sort_time: stats.sort.as_secs_f64(),
                query_preparation_time: prepare.as_secs_f64(),
                inner_eval_time: stats.eval.as_secs_f64(),
                exec_queue_time: queue.as_secs_f64(),
                exec_total_time: (queue + run).as_secs_f64(),
            },
            samples: Samples { total_queryable_samples: stats.samples, peak_samples: stats.peak_samples },
        }
    }

    pub(super) fn queue(&self) -> Duration {
        Duration::from_secs_f64(self.timings.exec_queue_time)
    }

    pub(super) fn prepare(&self) -> Duration {
        Duration::from_secs_f64(self.timings.query_preparation_time)
    }

    pub(super) fn exec_total(&self) -> Duration {
        Duration::from_secs_f64(self.timings.exec_total_time)
    }
}
