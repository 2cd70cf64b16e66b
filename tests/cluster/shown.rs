//! Answers in a form that can be compared.

use std::collections::BTreeMap;

use watershed::model::TimestampMs;
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
