//! What the API answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Labels by name.
pub(super) type LabelSet = BTreeMap<String, String>;

/// A time in seconds, and what is there.
pub(super) type At<T> = (serde_json::Number, T);

/// What every answer is wrapped in.
#[derive(Deserialize, Debug)]
pub(super) struct Envelope<T> {
    pub status: String,
    pub data: Option<T>,
    #[serde(rename = "errorType", default)]
    pub error_type: String,
    #[serde(default)]
    pub error: String,
    #[serde(default)]
    pub warnings: Vec<String>,
    #[serde(default)]
    pub infos: Vec<String>,
}

/// The answer to a query.
#[derive(Deserialize, Debug)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
pub(super) enum Answer {
    Scalar(At<String>),
    String(At<String>),
    Vector(Vec<Sample>),
    Matrix(Vec<Series>),
}

/// A series at one instant.
#[derive(Serialize, Deserialize, Debug)]
pub(super) struct Sample {
    pub metric: LabelSet,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<At<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub histogram: Option<At<Histogram>>,
}

/// A series at many instants.
#[derive(Serialize, Deserialize, Debug)]
pub(super) struct Series {
    pub metric: LabelSet,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<At<String>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub histograms: Vec<At<Histogram>>,
}

/// A native histogram: boundaries' kind, lower and upper bound, and count of each bucket.
#[derive(Serialize, Deserialize, Debug)]
pub(super) struct Histogram {
    pub count: String,
    pub sum: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub buckets: Vec<(u8, String, String, String)>,
}

/// The API's word for its type is not part of what is printed.
impl Serialize for Answer {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Answer::Scalar(one) | Answer::String(one) => one.serialize(serializer),
            Answer::Vector(all) => all.serialize(serializer),
            Answer::Matrix(all) => all.serialize(serializer),
        }
    }
}
