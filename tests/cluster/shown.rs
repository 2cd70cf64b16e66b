//! Answers in a form that can be compared.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use watershed::model::{Labels, TimestampMs};
use watershed::promql::{Answer, Point};

use crate::closeness::Closeness;

const TOLERANCE: f64 = 1e-12;

/// By labels and time; what is not a float as text.
pub type Shown = Result<BTreeMap<String, BTreeMap<i64, Value>>, String>;

/// A value.
#[derive(Clone, Debug)]
pub enum Value {
    /// A float.
    Float(f64),
    /// Totals, and the buckets' bounds and counts.
    Histogram(Vec<f64>),
    /// A text.
    Text(String),
}

/// An answer in a form that can be compared.
pub fn shown(answer: Result<Answer, String>) -> Shown {
    let mut all = BTreeMap::new();
    let alone = |t: TimestampMs, value| BTreeMap::from([(String::new(), BTreeMap::from([(t.0, value)]))]);
    match answer? {
        Answer::Scalar(t, v) => return Ok(alone(t, Value::Float(v))),
        Answer::String(t, text) => return Ok(alone(t, Value::Text(text))),
        Answer::Vector(t, samples) => {
            for sample in samples {
                let value = match sample.value {
                    Point::Float(v) => Value::Float(v),
                    Point::Histogram(h) => histogram(&h),
                };
                all.insert(format!("{:?}", sample.labels), BTreeMap::from([(t.0, value)]));
            }
        }
        Answer::Matrix(series) => {
            for series in series {
                let floats = series.floats().map(|(t, v)| (t.0, Value::Float(v)));
                let histograms = series.histograms().map(|(t, h)| (t.0, histogram(h)));
                all.insert(format!("{:?}", series.labels), floats.chain(histograms).collect());
            }
        }
    }
    Ok(all)
}

fn histogram(h: &watershed::model::FloatHistogram) -> Value {
    let mut numbers = vec![h.count, h.sum, h.zero_count];
    for bucket in h.negative_buckets().chain(h.positive_buckets()).filter(|bucket| bucket.count != 0.0) {
        numbers.extend([bucket.lower, bucket.upper, bucket.count]);
    }
    Value::Histogram(numbers)
}

/// An answer with histograms as the API shows them.
pub fn as_the_api_shows(answer: Result<Answer, String>) -> Shown {
    let mut all = shown(answer)?;
    for value in all.values_mut().flat_map(BTreeMap::values_mut) {
        if let Value::Histogram(numbers) = value {
            // The zero bucket's count is among the buckets.
            numbers.remove(2);
            let (totals, buckets) = numbers.split_at(2);
            let mut buckets: Vec<[f64; 3]> = buckets.chunks(3).map(|b| [b[0], b[1], b[2]]).collect();
            buckets.sort_by(|a, b| a[0].total_cmp(&b[0]));
            *numbers = totals.iter().copied().chain(buckets.into_iter().flatten()).collect();
        }
    }
    Ok(all)
}

/// What a server said.
pub fn of_json(reply: &Json) -> Shown {
    if reply["status"] != "success" {
        return Err(reply["error"].to_string());
    }
    let text = |json: &Json| json.as_str().expect("a text").to_owned();
    let number = |json: &Json| json.as_str().expect("a number in quotes").parse::<f64>().expect("a number");
    let time = |json: &Json| (json.as_f64().expect("a time") * 1000.0).round() as i64;
    let float = |pair: &Json| (time(&pair[0]), Value::Float(number(&pair[1])));
    let histogram = |pair: &Json| {
        let totals = ["count", "sum"].map(|key| number(&pair[1][key]));
        let buckets = pair[1]["buckets"].as_array().into_iter().flatten();
        let mut buckets: Vec<[f64; 3]> = buckets.map(|b| [1, 2, 3].map(|at| number(&b[at]))).collect();
        buckets.sort_by(|a, b| a[0].total_cmp(&b[0]));
        (time(&pair[0]), Value::Histogram(totals.into_iter().chain(buckets.into_iter().flatten()).collect()))
    };
    let result = &reply["data"]["result"];
    let alone = |t, value| BTreeMap::from([(String::new(), BTreeMap::from([(t, value)]))]);
    match reply["data"]["resultType"].as_str() {
        Some("scalar") => {
            let (t, value) = float(result);
            return Ok(alone(t, value));
        }
        Some("string") => return Ok(alone(time(&result[0]), Value::Text(text(&result[1])))),
        _ => {}
    }
    let mut all = BTreeMap::new();
    for series in result.as_array().into_iter().flatten() {
        let pairs = series["metric"].as_object().into_iter().flatten();
        let pairs: Vec<(String, String)> = pairs.map(|(name, value)| (name.clone(), text(value))).collect();
        let labels = Labels::from_pairs(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let list = |one: &str, many: &str| -> Vec<Json> {
            let many = series[many].as_array().cloned().unwrap_or_default();
            many.into_iter().chain(series.get(one).cloned()).collect()
        };
        let floats = list("value", "values").iter().map(float).collect::<Vec<_>>();
        let histograms = list("histogram", "histograms").iter().map(histogram).collect::<Vec<_>>();
        all.insert(format!("{labels:?}"), floats.into_iter().chain(histograms).collect());
    }
    Ok(all)
}

/// What is different, if anything is.
pub fn difference(whole: &Shown, parts: &Shown) -> Option<String> {
    let (whole, parts) = match (whole, parts) {
        (Err(_), Err(_)) => return None,
        (Ok(_), Err(e)) => return Some(format!("only by parts it fails: {e}")),
        (Err(e), Ok(_)) => return Some(format!("only as a whole it fails: {e}")),
        (Ok(whole), Ok(parts)) => (whole, parts),
    };
    for (labels, values) in whole {
        let Some(found) = parts.get(labels) else { return Some(format!("the parts miss {labels}")) };
        for (t, value) in values {
            match found.get(t) {
                Some(found) if is_same(value, found) => {}
                found => return Some(format!("{labels} at {t}: the parts give {found:?}, not {value:?}")),
            }
        }
        if let Some((t, _)) = found.iter().find(|(t, _)| !values.contains_key(t)) {
            return Some(format!("{labels} at {t}: only the parts have it"));
        }
    }
    parts.keys().find(|labels| !whole.contains_key(*labels)).map(|labels| format!("only the parts have {labels}"))
}

fn is_same(a: &Value, b: &Value) -> bool {
    let mut closeness = Closeness::within(TOLERANCE);
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => closeness.is_same(*a, *b),
        (Value::Histogram(a), Value::Histogram(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| closeness.is_same(*a, *b))
        }
        (Value::Text(a), Value::Text(b)) => a == b,
        _ => false,
    }
}
