//! What a member's query API answers, as JSON.
//!
//! Source: prometheus.io, "HTTP API". The samples go straight into columns; of everything that is not needed nothing is kept.

use std::fmt;

use serde::Deserialize;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use super::limits::Charge;
use crate::exposition::parse_float;
use crate::model::{Labels, LabelsBuilder, TimestampMs};
use crate::promql::{DelegatedSeries, StepTimes};

/// Labels of one series: far more than any server keeps.
const LABELS_MAX: usize = 1000;

/// An answer to `query` or `query_range`.
#[derive(Debug, Default)]
pub struct QueryAnswer {
    /// The series; a vector's have one sample each.
    pub series: Vec<DelegatedSeries>,
    /// What the member warns of.
    pub warnings: Vec<String>,
    /// What it remarks besides.
    pub infos: Vec<String>,
    /// Whether there are native histograms. They are not read: the API shows their buckets' bounds and not what they are
    /// made of, so that they could not be added to others.
    pub has_histograms: bool,
    /// What it is charged with.
    pub charge: Option<Charge>,
}

impl QueryAnswer {
    /// An instant of a sample that is no step.
    pub(super) fn stray(&self, steps: StepTimes) -> Option<TimestampMs> {
        let mut times = self.series.iter().flat_map(|series| &series.floats).map(|(t, _)| *t);
        times.find(|t| steps.index_of(*t).is_none())
    }
}

/// Why an answer is none.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AnswerError {
    /// The member cannot answer the question; `kind` is the API's `errorType`.
    #[error("{kind}: {message}")]
    Refused {
        /// `bad_data`, `execution`, `timeout` and so on.
        kind: String,
        /// The sentence.
        message: String,
    },
    /// It does not speak the API.
    #[error("it did not answer as the query API does: {0}")]
    Garbled(String),
}

/// An answer that is a list: of names, of values, of series.
#[derive(Debug)]
pub struct ListAnswer<T> {
    /// The list.
    pub items: Vec<T>,
    /// What the member warns of, and remarks besides.
    pub warnings: Vec<String>,
    /// What it is charged with.
    pub charge: Option<Charge>,
}

/// Reads an answer to `query` or `query_range`.
pub fn parse_result(body: &[u8]) -> Result<QueryAnswer, AnswerError> {
    let envelope: Envelope<Data> = open(body)?;
    let data = envelope.data.ok_or_else(|| AnswerError::Garbled("it has no data".to_owned()))?;
    match data.kind.as_str() {
        "vector" | "matrix" => {}
        other => return Err(AnswerError::Garbled(format!("its result is of type {other:?}"))),
    }
    Ok(QueryAnswer {
        has_histograms: data.result.0.iter().any(|series| series.has_histograms),
        series: data.result.0.into_iter().map(|series| series.series).collect(),
        warnings: envelope.warnings,
        infos: envelope.infos,
        charge: None,
    })
}

/// Reads an answer to `labels` or to `label/NAME/values`.
pub fn parse_texts(body: &[u8]) -> Result<ListAnswer<String>, AnswerError> {
    let envelope: Envelope<Vec<String>> = open(body)?;
    let warnings = [envelope.warnings, envelope.infos].concat();
    Ok(ListAnswer { items: envelope.data.unwrap_or_default(), warnings, charge: None })
}

/// Reads an answer to `series`.
pub fn parse_series(body: &[u8]) -> Result<ListAnswer<Labels>, AnswerError> {
    let envelope: Envelope<Vec<Metric>> = open(body)?;
    let warnings = [envelope.warnings, envelope.infos].concat();
    let items = envelope.data.unwrap_or_default().into_iter().map(|metric| metric.0).collect();
    Ok(ListAnswer { items, warnings, charge: None })
}

/// An answer of another shape.
#[derive(Debug)]
pub struct Told<T> {
    /// What it says.
    pub data: T,
    /// What the member warns of, and remarks besides.
    pub warnings: Vec<String>,
    /// Bytes of the JSON.
    pub size: usize,
    /// What it is charged with.
    pub charge: Option<Charge>,
}

/// Reads an answer of another shape.
pub fn parse_data<T: DeserializeOwned>(body: &[u8]) -> Result<Told<T>, AnswerError> {
    let envelope: Envelope<T> = open(body)?;
    let warnings = [envelope.warnings, envelope.infos].concat();
    let data = envelope.data.ok_or_else(|| AnswerError::Garbled("it has no data".to_owned()))?;
    Ok(Told { data, warnings, size: body.len(), charge: None })
}

/// The exemplars of a series.
#[derive(Deserialize)]
pub struct ExemplarsOf {
    #[serde(rename = "seriesLabels")]
    labels: Metric,
    /// As the member tells them.
    pub exemplars: Vec<serde_json::Value>,
}

impl ExemplarsOf {
    /// The series' own labels.
    pub fn labels(&self) -> Labels {
        self.labels.0.clone()
    }
}

fn open<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<Envelope<T>, AnswerError> {
    let envelope: Envelope<T> = serde_json::from_slice(body).map_err(|e| AnswerError::Garbled(e.to_string()))?;
    match envelope.status.as_str() {
        "success" => Ok(envelope),
        "error" => Err(AnswerError::Refused { kind: envelope.error_type, message: envelope.error }),
        other => Err(AnswerError::Garbled(format!("its status is {other:?}"))),
    }
}

#[derive(Deserialize)]
struct Envelope<T> {
    status: String,
    #[serde(default = "nothing")]
    data: Option<T>,
    #[serde(default, rename = "errorType")]
    error_type: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    infos: Vec<String>,
}

fn nothing<T>() -> Option<T> {
    None
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "resultType")]
    kind: String,
    result: AllSeries,
}

/// The series of a vector or a matrix.
struct AllSeries(Vec<Series>);

impl<'de> Deserialize<'de> for AllSeries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<AllSeries, D::Error> {
        // Servers in Go write an empty list as null where they were careless.
        Option::deserialize(deserializer).map(|all| AllSeries(all.unwrap_or_default()))
    }
}

#[derive(Default)]
struct Series {
    series: DelegatedSeries,
    has_histograms: bool,
}

impl<'de> Deserialize<'de> for Series {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Series, D::Error> {
        deserializer.deserialize_any(SeriesVisitor)
    }
}

struct SeriesVisitor;

impl<'de> Visitor<'de> for SeriesVisitor {
    type Value = Series;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a series")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Series, A::Error> {
        let mut out = Series::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "metric" => out.series.labels = map.next_value::<Metric>()?.0,
                "value" => out.series.floats.push(map.next_value::<Point>()?.0),
                "values" => map.next_value_seed(Points(&mut out.series.floats))?,
                "histogram" | "histograms" => {
                    out.has_histograms = true;
                    map.next_value::<IgnoredAny>()?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(out)
    }

    // A scalar's result is a pair; its type is refused, but it has to be read before that is known.
    fn visit_f64<E>(self, _: f64) -> Result<Series, E> {
        Ok(Series::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Series, E> {
        Ok(Series::default())
    }

    fn visit_str<E>(self, _: &str) -> Result<Series, E> {
        Ok(Series::default())
    }
}

struct Metric(Labels);

impl<'de> Deserialize<'de> for Metric {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Metric, D::Error> {
        struct MetricVisitor;
        impl<'de> Visitor<'de> for MetricVisitor {
            type Value = Metric;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("labels")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metric, A::Error> {
                let mut pairs: Vec<(String, String)> = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    if pairs.len() >= LABELS_MAX {
                        return Err(A::Error::custom(format!("a series has more than {LABELS_MAX} labels")));
                    }
                    pairs.push(pair);
                }
                Ok(Metric(labels_of(pairs)))
            }
        }
        deserializer.deserialize_map(MetricVisitor)
    }
}

/// Labels from pairs in any order. Of those with the same name the last counts.
fn labels_of(mut pairs: Vec<(String, String)>) -> Labels {
    // As servers send them they are in order already.
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    let mut builder = LabelsBuilder::new();
    for same in pairs.chunk_by(|a, b| a.0 == b.0) {
        if let Some((name, value)) = same.last().filter(|(_, value)| !value.is_empty()) {
            builder.push_new(name, value);
        }
    }
    builder.labels()
}

/// A sample: seconds, and the value as text.
struct Point((TimestampMs, f64));

impl<'de> Deserialize<'de> for Point {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Point, D::Error> {
        struct PointVisitor;
        impl<'de> Visitor<'de> for PointVisitor {
            type Value = Point;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sample")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Point, A::Error> {
                let (Some(seconds), Some(Number(value))) = (seq.next_element::<f64>()?, seq.next_element::<Number>()?)
                else {
                    return Err(A::Error::custom("a sample is not a pair"));
                };
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Point((TimestampMs((seconds * 1000.0).round() as i64), value)))
            }
        }
        deserializer.deserialize_seq(PointVisitor)
    }
}

struct Number(f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Number, D::Error> {
        struct NumberVisitor;
        impl Visitor<'_> for NumberVisitor {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number in quotes")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Number, E> {
                parse_float(text.as_bytes()).map(Number).map_err(|_| E::custom(format!("{text:?} is not a number")))
            }
        }
        deserializer.deserialize_str(NumberVisitor)
    }
}

/// Appends samples.
struct Points<'a>(&'a mut Vec<(TimestampMs, f64)>);

impl<'de> DeserializeSeed<'de> for Points<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Points<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("samples")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(Point(point)) = seq.next_element()? {
            self.0.push(point);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_and_matrices_are_read_whatever_the_order_of_their_keys() {
        let vector = br#"{"data":{"result":[{"value":[1623344524.382,"10"],"metric":{"__name__":"up","a":"\u00e9"}},
            {"metric":{},"value":[1,"NaN"]}],"resultType":"vector"},"warnings":["w"],"infos":["i"],"status":"success"}"#;
        let answer = parse_result(vector).unwrap();
        let labels = Labels::from_pairs([("__name__", "up"), ("a", "é")]);
        assert_eq!(answer.series[0].labels, labels);
        assert_eq!(answer.series[0].floats, [(TimestampMs(1_623_344_524_382), 10.0)]);
        assert!(answer.series[1].labels.is_empty() && answer.series[1].floats[0].1.is_nan());
        assert_eq!((&answer.warnings[..], &answer.infos[..]), (&["w".to_owned()][..], &["i".to_owned()][..]));
        let matrix = br#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"a":"b"},
            "values":[[1,"1e3"],[2.5,"+Inf"]],"more":{}}]}}"#;
        let answer = parse_result(matrix).unwrap();
        assert_eq!(answer.series[0].floats, [(TimestampMs(1000), 1e3), (TimestampMs(2500), f64::INFINITY)]);
        assert!(!answer.has_histograms);
        let histogram = br#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},
            "histogram":[1,{"count":"1","sum":"2","buckets":[[0,"1","2","1"]]}]}]}}"#;
        assert!(parse_result(histogram).unwrap().has_histograms);
    }

    #[test]
    fn lists_are_read() {
        let names = parse_texts(br#"{"status":"success","data":["a","b"],"warnings":["w"],"infos":["i"]}"#).unwrap();
        assert_eq!((names.items, names.warnings), (vec!["a".to_owned(), "b".to_owned()], vec!["w".into(), "i".into()]));
        let series = parse_series(br#"{"status":"success","data":[{"__name__":"up"},{}]}"#).unwrap();
        assert_eq!(series.items, [Labels::from_pairs([("__name__", "up")]), Labels::empty()]);
        assert!(parse_texts(br#"{"status":"success","data":null}"#).unwrap().items.is_empty());
        assert!(matches!(parse_texts(br#"{"status":"error","error":"x"}"#), Err(AnswerError::Refused { .. })));
        assert!(matches!(parse_series(br#"{"status":"success","data":["a"]}"#), Err(AnswerError::Garbled(_))));
    }

    #[test]
    fn of_labels_with_the_same_name_the_last_counts_and_no_series_has_thousands() {
        let read = |metric: &str| {
            parse_series(format!(r#"{{"status":"success","data":[{{{metric}}}]}}"#).as_bytes()).map(|list| list.items)
        };
        let wanted = Labels::from_pairs([("a", "3"), ("b", "1")]);
        assert_eq!(read(r#""b":"1","a":"2","c":"x","a":"3","c":"""#).unwrap(), [wanted]);
        let many = |count: usize| (0..count).map(|n| format!(r#""l{n}":"v""#)).collect::<Vec<_>>().join(",");
        assert_eq!(read(&many(LABELS_MAX)).unwrap()[0].iter().count(), LABELS_MAX);
        let error = read(&many(LABELS_MAX + 1)).unwrap_err();
        assert!(error.to_string().contains("more than 1000 labels"), "{error}");
    }

    #[test]
    fn errors_and_garbage_are_told_apart() {
        let refused =
            parse_result(br#"{"status":"error","errorType":"bad_data","error":"1:1: parse error"}"#).unwrap_err();
        assert_eq!(refused.to_string(), "bad_data: 1:1: parse error");
        for garbage in [
            &b"<html>"[..],
            b"",
            b"{}",
            b"[]",
            br#"{"status":"success"}"#,
            br#"{"status":"success","data":{"resultType":"scalar","result":[1,"2"]}}"#,
            br#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1]}]}}"#,
            br#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"x"]}]}}"#,
            br#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"1"]"#,
        ] {
            let error = parse_result(garbage).unwrap_err();
            assert!(matches!(error, AnswerError::Garbled(_)), "{error}");
        }
    }
}
