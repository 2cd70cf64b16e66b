//! Answers of both sides in one form, and whether they are the same.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;
use watershed::model::{Bucket, FloatHistogram};

use super::known::Peer;
use crate::answer::{Answer, Sample, Value};
use crate::closeness::Closeness;

/// Relative difference that is none.
const TOLERANCE: f64 = 1e-12;

/// An answer as the API can show it.
#[derive(Debug)]
pub enum Shown {
    /// The query failed.
    Failed(String),
    /// It did not.
    Answered {
        /// By labels and milliseconds. A scalar has no labels, and neither has a text.
        values: BTreeMap<Labels, BTreeMap<i64, Point>>,
        /// Warnings and infos.
        remarks: BTreeSet<String>,
    },
}

type Labels = BTreeMap<String, String>;

/// A value as the API can show it.
#[derive(Clone, Debug)]
pub enum Point {
    /// A float.
    Float(f64),
    /// A text.
    Text(String),
    /// A histogram.
    Histogram {
        /// Count and sum.
        totals: [f64; 2],
        /// Which bounds belong to it, the bounds, the count; ascending, without empty ones.
        buckets: Vec<(u8, [f64; 3])>,
    },
}

/// What a server said.
pub fn theirs(reply: &Json) -> Shown {
    if reply["status"] != "success" {
        return Shown::Failed(reply["error"].to_string());
    }
    let texts = |key: &str| reply[key].as_array().into_iter().flatten().map(text);
    let remarks = texts("warnings").chain(texts("infos")).collect();
    let result = &reply["data"]["result"];
    let mut values = BTreeMap::new();
    match reply["data"]["resultType"].as_str() {
        Some("scalar") => drop(values.insert(Labels::new(), BTreeMap::from([float(result)]))),
        Some("string") => {
            let (t, text) = (time(&result[0]), text(&result[1]));
            values.insert(Labels::new(), BTreeMap::from([(t, Point::Text(text))]));
        }
        _ => {
            for series in result.as_array().into_iter().flatten() {
                let labels = series["metric"].as_object().into_iter().flatten();
                let labels = labels.map(|(name, value)| (name.clone(), text(value))).collect();
                let list = |key: &str| series[key].as_array().cloned().unwrap_or_default();
                let one = |key: &str| series.get(key).cloned();
                let floats = list("values").into_iter().chain(one("value")).map(|pair| float(&pair));
                let histograms = list("histograms").into_iter().chain(one("histogram")).map(|pair| histogram(&pair));
                values.insert(labels, floats.chain(histograms).collect());
            }
        }
    }
    Shown::Answered { values, remarks }
}

fn text(json: &Json) -> String {
    json.as_str().expect("a text").to_owned()
}

fn number(json: &Json) -> f64 {
    json.as_str().expect("a number in quotes").parse().expect("a number")
}

fn time(json: &Json) -> i64 {
    (json.as_f64().expect("a time") * 1000.0).round() as i64
}

fn float(pair: &Json) -> (i64, Point) {
    (time(&pair[0]), Point::Float(number(&pair[1])))
}

fn histogram(pair: &Json) -> (i64, Point) {
    let h = &pair[1];
    let bucket = |bucket: &Json| {
        let rule = bucket[0].as_u64().expect("a rule") as u8;
        (rule, [number(&bucket[1]), number(&bucket[2]), number(&bucket[3])])
    };
    let buckets = h["buckets"].as_array().into_iter().flatten().map(bucket).collect();
    (time(&pair[0]), Point::Histogram { totals: [number(&h["count"]), number(&h["sum"])], buckets })
}

/// What we say to a query at `at`.
pub fn ours(answer: Result<Answer, String>, at: i64) -> Shown {
    let Answer { value, warnings, infos } = match answer {
        Ok(answer) => answer,
        Err(error) => return Shown::Failed(error),
    };
    let alone = |point| BTreeMap::from([(Labels::new(), BTreeMap::from([(at, point)]))]);
    let owned = |labels: &watershed::model::Labels| labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    let values = match value {
        Value::Scalar(v) => alone(Point::Float(v)),
        Value::Text(text) => alone(Point::Text(text)),
        Value::Vector(all) => {
            let each = all.iter().map(|(labels, sample)| (owned(labels), BTreeMap::from([(at, point(sample))])));
            each.collect()
        }
        Value::Matrix(all) => {
            let points = |samples: &[(i64, Sample)]| samples.iter().map(|(t, sample)| (*t, point(sample))).collect();
            all.iter().map(|(labels, samples)| (owned(labels), points(samples))).collect()
        }
    };
    Shown::Answered { values, remarks: warnings.into_iter().chain(infos).collect() }
}

fn point(sample: &Sample) -> Point {
    match sample {
        Sample::Float(v) => Point::Float(*v),
        Sample::Histogram(h) => Point::Histogram { totals: [h.count, h.sum], buckets: buckets(h) },
    }
}

fn buckets(h: &FloatHistogram) -> Vec<(u8, [f64; 3])> {
    let mut negative: Vec<_> = h.negative_buckets().collect();
    negative.reverse();
    let zero = Bucket {
        lower: -h.layout.zero_threshold,
        upper: h.layout.zero_threshold,
        lower_inclusive: true,
        upper_inclusive: true,
        count: h.zero_count,
    };
    let zero = Some(zero).filter(|zero| zero.count > 0.0);
    let all = negative.into_iter().chain(zero).chain(h.positive_buckets()).filter(|bucket| bucket.count != 0.0);
    let rule = |bucket: &Bucket<f64>| match (bucket.lower_inclusive, bucket.upper_inclusive) {
        (false, true) => 0,
        (true, false) => 1,
        (false, false) => 2,
        (true, true) => 3,
    };
    all.map(|bucket| (rule(&bucket), [bucket.lower, bucket.upper, bucket.count])).collect()
}

/// What is different, if anything is, as far as the peer's age lets it be compared.
pub fn difference(ours: &Shown, theirs: &Shown, peer: &Peer) -> Option<String> {
    let (ours, our_remarks, theirs, their_remarks) = match (ours, theirs) {
        (Shown::Failed(_), Shown::Failed(_)) => return None,
        (Shown::Failed(ours), Shown::Answered { .. }) => return Some(format!("only we fail: {ours}")),
        (Shown::Answered { .. }, Shown::Failed(theirs)) => return Some(format!("only the peer fails: {theirs}")),
        (
            Shown::Answered { values: ours, remarks: our_remarks },
            Shown::Answered { values: theirs, remarks: their_remarks },
        ) => (ours, our_remarks, theirs, their_remarks),
    };
    for (labels, points) in theirs {
        let Some(found) = ours.get(labels).or_else(|| alike(labels, ours)) else {
            return Some(format!("we miss {labels:?} {points:?}"));
        };
        for (t, point) in points {
            match found.get(t) {
                Some(found) if is_same(point, found) => {}
                found => return Some(format!("{labels:?} at {t}: we have {found:?}, the peer has {point:?}")),
            }
        }
        if let Some((t, more)) = found.iter().find(|(t, _)| !points.contains_key(t)) {
            return Some(format!("{labels:?} at {t}: only we have {more:?}"));
        }
    }
    let is_new = |labels: &Labels| !theirs.contains_key(labels) && alike(labels, theirs).is_none();
    if let Some((labels, _)) = ours.iter().find(|(labels, _)| is_new(labels)) {
        return Some(format!("only we have {labels:?}"));
    }
    // The API shows ten of a kind.
    if their_remarks.iter().any(|remark| remark.ends_with("annotations omitted")) {
        return None;
    }
    let comparable =
        |remarks: &BTreeSet<String>| remarks.iter().filter_map(|r| peer.comparable(r)).collect::<BTreeSet<_>>();
    let (ours, theirs) = (comparable(our_remarks), comparable(their_remarks));
    let are_same = ours.len() == theirs.len() && ours.iter().zip(&theirs).all(|(a, b)| is_same_text(a, b));
    (!are_same).then(|| format!("we remark {our_remarks:?}, the peer {their_remarks:?}"))
}

/// What belongs to labels that are the same but for the last digits of numbers in them: `count_values` writes some.
fn alike<'a, T>(labels: &Labels, all: &'a BTreeMap<Labels, T>) -> Option<&'a T> {
    let is_same = |other: &Labels| {
        let mut pairs = labels.iter().zip(other);
        labels.len() == other.len() && pairs.all(|(a, b)| a.0 == b.0 && is_same_text(a.1, b.1))
    };
    all.iter().find(|(other, _)| is_same(other)).map(|(_, value)| value)
}

/// Whether two texts are the same, word by word, but for the last digits of numbers.
fn is_same_text(a: &str, b: &str) -> bool {
    let is_same_word = |(a, b): (&str, &str)| {
        let number = |word: &str| word.parse::<f64>().ok();
        a == b || number(a).zip(number(b)).is_some_and(|(a, b)| Closeness::within(TOLERANCE).is_same(a, b))
    };
    a == b || a.split(' ').count() == b.split(' ').count() && a.split(' ').zip(b.split(' ')).all(is_same_word)
}

fn is_same(expected: &Point, found: &Point) -> bool {
    let mut closeness = Closeness::within(TOLERANCE);
    let mut all_same = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| closeness.is_same(*a, *b));
    match (expected, found) {
        (Point::Float(a), Point::Float(b)) => all_same(&[*a], &[*b]),
        (Point::Text(a), Point::Text(b)) => a == b,
        (Point::Histogram { totals: a, buckets: all }, Point::Histogram { totals: b, buckets: found }) => {
            all_same(a, b)
                && all.len() == found.len()
                && all.iter().zip(found).all(|(a, b)| a.0 == b.0 && all_same(&a.1, &b.1))
        }
        _ => false,
    }
}
