//! What the tests of the store beside real servers share: the plain values of `support` as the crate's own.

#![allow(dead_code, reason = "every test file compiles its own copy and uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail by panicking")]

use std::path::Path;

use watershed::model::{BucketLayout, CounterResetHint, FloatHistogram, Histogram, Span, Value};

use super::support::remote_write;

/// A native histogram as the crate has it.
pub fn value(h: &remote_write::Histogram) -> Value {
    let span = |&(offset, length): &(i32, u32)| Span { offset, length };
    let layout = BucketLayout {
        schema: h.schema,
        zero_threshold: h.zero_threshold,
        positive_spans: h.positive_spans.iter().map(span).collect(),
        negative_spans: h.negative_spans.iter().map(span).collect(),
        custom_values: h.custom_values.clone(),
    };
    let counter_reset_hint = if h.gauge { CounterResetHint::Gauge } else { CounterResetHint::Unknown };
    if h.float {
        return Value::FloatHistogram(Box::new(FloatHistogram {
            counter_reset_hint,
            layout,
            zero_count: h.zero_count,
            count: h.count,
            sum: h.sum,
            positive_buckets: h.positive.clone(),
            negative_buckets: h.negative.clone(),
        }));
    }
    let deltas = |counts: &[f64]| {
        let before = std::iter::once(&0.0).chain(counts);
        counts.iter().zip(before).map(|(now, before)| *now as i64 - *before as i64).collect()
    };
    Value::Histogram(Box::new(Histogram {
        counter_reset_hint,
        layout,
        zero_count: h.zero_count as u64,
        count: h.count as u64,
        sum: h.sum,
        positive_buckets: deltas(&h.positive),
        negative_buckets: deltas(&h.negative),
    }))
}

/// Copies a directory with everything in it.
pub fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let copy = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_dir(&path, &copy);
        } else {
            std::fs::copy(&path, &copy).unwrap();
        }
    }
}
