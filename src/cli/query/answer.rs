//! What the API answers.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::number::write_plain;

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

/// A number, which the API writes as text; printed without an exponent, as promtool does.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Number(pub f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::new();
        write_plain(&mut text, self.0);
        // Digits, a sign, a point and letters.
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Number, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map(Number).map_err(|_| D::Error::custom(format_args!("{text:?} is no number")))
    }
}

/// The answer to a query.
#[derive(Deserialize, Debug)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
pub(super) enum Answer {
    Scalar(At<Number>),
    String(At<String>),
    Vector(Vec<Sample>),
    Matrix(Vec<Series>),
}

/// A series at one instant.
#[derive(Serialize, Deserialize, Debug)]
pub(super) struct Sample {
    pub metric: LabelSet,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<At<Number>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub histogram: Option<At<Histogram>>,
}

/// A series at many instants.
#[derive(Serialize, Deserialize, Debug)]
pub(super) struct Series {
    pub metric: LabelSet,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<At<Number>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub histograms: Vec<At<Histogram>>,
}

/// A native histogram: boundaries' kind, lower and upper bound, and count of each bucket.
#[derive(Serialize, Deserialize, Debug)]
pub(super) struct Histogram {
    pub count: Number,
    pub sum: Number,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub buckets: Vec<(u8, Number, Number, Number)>,
}

/// The API's word for its type is not part of what is printed.
impl Serialize for Answer {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Answer::Scalar(one) => one.serialize(serializer),
            Answer::String(one) => one.serialize(serializer),
            Answer::Vector(all) => all.serialize(serializer),
            Answer::Matrix(all) => all.serialize(serializer),
        }
    }
}
