//! `status/self_metrics`: own metrics in the JSON form of the protocol buffers of metric families.

use serde_json::{Value, json};

use super::Call;
use super::reply::{Answer, ApiError, ErrorKind};
use crate::model::regex::Regex;
use crate::telemetry::{FamilyValues, InstrumentValue};

/// The families whose names `metric_name_pattern` matches as a whole; all without it.
pub(super) fn self_metrics(call: &Call) -> Result<Answer, ApiError> {
    let refused = |e| ApiError::new(ErrorKind::BadData, format!("invalid metric_name_pattern: {e}"));
    let wanted = match call.form.first("metric_name_pattern") {
        "" => None,
        pattern => Some(Regex::new(pattern).map_err(refused)?),
    };
    let families = call.web.deps.registry.values(|name| wanted.as_ref().is_none_or(|regex| regex.is_match(name)));
    Ok(Answer::of(&families.iter().map(family).collect::<Vec<_>>()))
}

fn family(family: &FamilyValues) -> Value {
    let series = family.series.iter().map(|(labels, value)| {
        let labels: Vec<Value> = labels.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        let mut one = match value {
            InstrumentValue::Number(n) => json!({ family.kind: {"value": number(*n)} }),
            InstrumentValue::Histogram { count, sum, buckets } => {
                // Whole numbers of 64 bits are strings there.
                let bucket = |(bound, count): &(f64, u64)| {
                    json!({"cumulativeCount": count.to_string(), "upperBound": number(*bound)})
                };
                let buckets: Vec<Value> = buckets.iter().map(bucket).collect();
                json!({"histogram": {"sampleCount": count.to_string(), "sampleSum": number(*sum), "bucket": buckets}})
            }
        };
        if !labels.is_empty() {
            one["label"] = Value::Array(labels);
        }
        one
    });
    let series: Vec<Value> = series.collect();
    json!({"name": family.name, "help": family.help, "type": family.kind.to_uppercase(), "metric": series})
}

/// What JSON has no number for is a string.
fn number(n: f64) -> Value {
    match n {
        f64::INFINITY => json!("Infinity"),
        f64::NEG_INFINITY => json!("-Infinity"),
        n if n.is_nan() => json!("NaN"),
        n => json!(n),
    }
}
