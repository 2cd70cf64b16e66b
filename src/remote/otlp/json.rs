//! The JSON form of the message, rewritten as protocol buffers.
//!
//! OTLP's JSON is that of protocol buffers with ids in hexadecimal and enumerations as numbers. 64-bit integers may be texts,
//! unknown keys are ignored, and keys may be written in either case style.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::net::protobuf::{Writer, zigzag};

/// What a key stands for in a message.
struct Key {
    name: &'static str,
    number: u32,
    kind: Kind,
}

/// How a value is written.
#[derive(Clone, Copy)]
enum Kind {
    Bytes(Text),
    Varint(Number),
    /// In eight bytes.
    Fixed(Number),
    /// A packed list, as those that follow.
    Varints(Number),
    Fixeds(Number),
    One(&'static [Key]),
    Many(&'static [Key]),
}

use Kind::*;

/// A value that is a text in JSON, and what it is called.
#[derive(Clone, Copy)]
struct Text {
    what: &'static str,
    bytes: fn(&str) -> Option<Cow<'_, [u8]>>,
}

const TEXT: Text = Text { what: "a text", bytes: |text| Some(Cow::Borrowed(text.as_bytes())) };
const HEX: Text = Text { what: "hexadecimal", bytes: |text| unhex(text).map(Cow::Owned) };
const BASE64: Text = Text { what: "base64", bytes: |text| STANDARD.decode(text).ok().map(Cow::Owned) };

/// A value that is a number on the wire, by its bits there.
#[derive(Clone, Copy)]
struct Number {
    what: &'static str,
    bits: fn(&Value) -> Option<u64>,
}

const BOOL: Number = Number { what: "true or false", bits: |value| value.as_bool().map(u64::from) };
const UINT: Number = Number { what: "an unsigned integer", bits: uint };
const INT: Number = Number { what: "an integer", bits: |value| int(value).map(i64::cast_unsigned) };
const ZIGZAG: Number = Number { what: "an integer", bits: |value| int(value).map(zigzag) };
const DOUBLE: Number = Number { what: "a number", bits: |value| double(value).map(f64::to_bits) };

const fn key(name: &'static str, number: u32, kind: Kind) -> Key {
    Key { name, number, kind }
}

/// The keys of histograms of either kind.
const fn histograms(points: &'static [Key]) -> [Key; 2] {
    [key("dataPoints", 1, Many(points)), key("aggregationTemporality", 2, Varint(UINT))]
}

static REQUEST: [Key; 1] = [key("resourceMetrics", 1, Many(&RESOURCE_METRICS))];
static RESOURCE_METRICS: [Key; 3] = [
    key("resource", 1, One(&RESOURCE)),
    key("scopeMetrics", 2, Many(&SCOPE_METRICS)),
    key("schemaUrl", 3, Bytes(TEXT)),
];
static RESOURCE: [Key; 1] = [key("attributes", 1, Many(&ATTRIBUTE))];
static SCOPE_METRICS: [Key; 3] =
    [key("scope", 1, One(&SCOPE)), key("metrics", 2, Many(&METRIC)), key("schemaUrl", 3, Bytes(TEXT))];
static SCOPE: [Key; 3] =
    [key("name", 1, Bytes(TEXT)), key("version", 2, Bytes(TEXT)), key("attributes", 3, Many(&ATTRIBUTE))];
static METRIC: [Key; 8] = [
    key("name", 1, Bytes(TEXT)),
    key("description", 2, Bytes(TEXT)),
    key("unit", 3, Bytes(TEXT)),
    key("gauge", 5, One(&NUMBERS)),
    key("sum", 7, One(&NUMBERS)),
    key("histogram", 9, One(&HISTOGRAMS)),
    key("exponentialHistogram", 10, One(&EXPONENTIALS)),
    key("summary", 11, One(&SUMMARIES)),
];
static NUMBERS: [Key; 3] = [
    key("dataPoints", 1, Many(&NUMBER)),
    key("aggregationTemporality", 2, Varint(UINT)),
    key("isMonotonic", 3, Varint(BOOL)),
];
static HISTOGRAMS: [Key; 2] = histograms(&HISTOGRAM);
static EXPONENTIALS: [Key; 2] = histograms(&EXPONENTIAL);
static SUMMARIES: [Key; 1] = [key("dataPoints", 1, Many(&SUMMARY))];
static NUMBER: [Key; 7] = [
    key("startTimeUnixNano", 2, Fixed(UINT)),
    key("timeUnixNano", 3, Fixed(UINT)),
    key("asDouble", 4, Fixed(DOUBLE)),
    key("exemplars", 5, Many(&EXEMPLAR)),
    key("asInt", 6, Fixed(INT)),
    key("attributes", 7, Many(&ATTRIBUTE)),
    key("flags", 8, Varint(UINT)),
];
static HISTOGRAM: [Key; 9] = [
    key("startTimeUnixNano", 2, Fixed(UINT)),
    key("timeUnixNano", 3, Fixed(UINT)),
    key("count", 4, Fixed(UINT)),
    key("sum", 5, Fixed(DOUBLE)),
    key("bucketCounts", 6, Fixeds(UINT)),
    key("explicitBounds", 7, Fixeds(DOUBLE)),
    key("exemplars", 8, Many(&EXEMPLAR)),
    key("attributes", 9, Many(&ATTRIBUTE)),
    key("flags", 10, Varint(UINT)),
];
static EXPONENTIAL: [Key; 11] = [
    key("attributes", 1, Many(&ATTRIBUTE)),
    key("startTimeUnixNano", 2, Fixed(UINT)),
    key("timeUnixNano", 3, Fixed(UINT)),
    key("count", 4, Fixed(UINT)),
    key("sum", 5, Fixed(DOUBLE)),
    key("scale", 6, Varint(ZIGZAG)),
    key("zeroCount", 7, Fixed(UINT)),
    key("positive", 8, One(&BUCKETS)),
    key("negative", 9, One(&BUCKETS)),
    key("flags", 10, Varint(UINT)),
    key("exemplars", 11, Many(&EXEMPLAR)),
];
static BUCKETS: [Key; 2] = [key("offset", 1, Varint(ZIGZAG)), key("bucketCounts", 2, Varints(UINT))];
static SUMMARY: [Key; 7] = [
    key("startTimeUnixNano", 2, Fixed(UINT)),
    key("timeUnixNano", 3, Fixed(UINT)),
    key("count", 4, Fixed(UINT)),
    key("sum", 5, Fixed(DOUBLE)),
    key("quantileValues", 6, Many(&QUANTILE)),
    key("attributes", 7, Many(&ATTRIBUTE)),
    key("flags", 8, Varint(UINT)),
];
static QUANTILE: [Key; 2] = [key("quantile", 1, Fixed(DOUBLE)), key("value", 2, Fixed(DOUBLE))];
static EXEMPLAR: [Key; 6] = [
    key("timeUnixNano", 2, Fixed(UINT)),
    key("asDouble", 3, Fixed(DOUBLE)),
    key("spanId", 4, Bytes(HEX)),
    key("traceId", 5, Bytes(HEX)),
    key("asInt", 6, Fixed(INT)),
    key("filteredAttributes", 7, Many(&ATTRIBUTE)),
];
static ATTRIBUTE: [Key; 2] = [key("key", 1, Bytes(TEXT)), key("value", 2, One(&ANY))];
static ANY: [Key; 7] = [
    key("stringValue", 1, Bytes(TEXT)),
    key("boolValue", 2, Varint(BOOL)),
    key("intValue", 3, Varint(INT)),
    key("doubleValue", 4, Fixed(DOUBLE)),
    key("arrayValue", 5, One(&LIST)),
    key("kvlistValue", 6, One(&PAIRS)),
    key("bytesValue", 7, Bytes(BASE64)),
];
static LIST: [Key; 1] = [key("values", 1, Many(&ANY))];
static PAIRS: [Key; 1] = [key("values", 1, Many(&ATTRIBUTE))];

/// Rewrites a request. The error is a sentence.
pub(super) fn to_protobuf(json: &[u8]) -> Result<Vec<u8>, String> {
    let value: Value = serde_json::from_slice(json).map_err(|e| format!("not JSON: {e}"))?;
    let Value::Object(request) = value else { return Err("the request is no object".to_owned()) };
    let mut out = Vec::with_capacity(json.len());
    write_message(&mut Writer::new(&mut out), &request, &REQUEST)?;
    Ok(out)
}

/// Recurses as deep as the JSON, which its parser limits to 128 levels.
fn write_message(w: &mut Writer<'_>, object: &Map<String, Value>, keys: &'static [Key]) -> Result<(), String> {
    for (name, value) in object.iter().filter(|(_, value)| !value.is_null()) {
        let Some(key) = keys.iter().find(|key| is_name(name, key.name)) else { continue };
        write_field(w, key, value)?;
    }
    Ok(())
}

/// Whether a key in JSON is that name, as it is or with underscores.
fn is_name(given: &str, name: &str) -> bool {
    let mut rest = given.chars();
    name.chars().all(|c| match c.is_ascii_uppercase() {
        false => rest.next() == Some(c),
        true => match rest.next() {
            Some('_') => rest.next() == Some(c.to_ascii_lowercase()),
            other => other == Some(c),
        },
    }) && rest.next().is_none()
}

fn write_field(w: &mut Writer<'_>, key: &Key, value: &Value) -> Result<(), String> {
    let number = key.number;
    match key.kind {
        Bytes(text) => {
            let bytes = value.as_str().and_then(text.bytes).ok_or_else(|| key.is_not(text.what))?;
            w.bytes(number, &bytes);
        }
        Varint(kind) => w.varint(number, key.bits(kind, value)?),
        Fixed(kind) => w.fixed64(number, key.bits(kind, value)?),
        Varints(kind) => w.packed(number, key.all_bits(kind, value)?.into_iter()),
        Fixeds(kind) => {
            let bytes: Vec<u8> = key.all_bits(kind, value)?.into_iter().flat_map(u64::to_le_bytes).collect();
            w.bytes(number, &bytes);
        }
        One(keys) => write_one(w, key, value, keys)?,
        Many(keys) => key.items(value)?.iter().try_for_each(|item| write_one(w, key, item, keys))?,
    }
    Ok(())
}

impl Key {
    fn is_not(&self, what: &str) -> String {
        format!("{} is not {what}", self.name)
    }

    fn bits(&self, kind: Number, value: &Value) -> Result<u64, String> {
        (kind.bits)(value).ok_or_else(|| self.is_not(kind.what))
    }

    fn all_bits(&self, kind: Number, value: &Value) -> Result<Vec<u64>, String> {
        self.items(value)?.iter().map(|item| self.bits(kind, item)).collect()
    }

    fn items<'v>(&self, value: &'v Value) -> Result<&'v [Value], String> {
        value.as_array().map(Vec::as_slice).ok_or_else(|| self.is_not("a list"))
    }
}

fn write_one(w: &mut Writer<'_>, key: &Key, value: &Value, keys: &'static [Key]) -> Result<(), String> {
    let object = value.as_object().ok_or_else(|| key.is_not("an object"))?;
    let mut outcome = Ok(());
    w.message(key.number, |w| outcome = write_message(w, object, keys));
    outcome
}

fn uint(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn int(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

fn double(value: &Value) -> Option<f64> {
    match value.as_str() {
        None => value.as_f64(),
        Some("NaN") => Some(f64::NAN),
        Some("Infinity") => Some(f64::INFINITY),
        Some("-Infinity") => Some(f64::NEG_INFINITY),
        Some(digits) => digits.parse().ok(),
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_may_be_written_in_either_style() {
        for given in ["startTimeUnixNano", "start_time_unix_nano", "start_timeUnixNano"] {
            assert!(is_name(given, "startTimeUnixNano"), "{given}");
        }
        for given in ["starttimeunixnano", "startTimeUnixNan", "startTimeUnixNanos", "", "start_TimeUnixNano"] {
            assert!(!is_name(given, "startTimeUnixNano"), "{given}");
        }
    }

    fn of_histogram(point: &str) -> String {
        format!(
            r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"histogram":{{"dataPoints":[{{{point}}}]}}}}]}}]}}]}}"#
        )
    }

    #[test]
    fn what_is_no_request_is_refused_with_a_sentence() {
        for (json, why) in [
            ("[]", "no object"),
            ("{", "not JSON"),
            (r#"{"resourceMetrics":{}}"#, "resourceMetrics is not a list"),
            (r#"{"resourceMetrics":[1]}"#, "resourceMetrics is not an object"),
            (r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":1}]}]}]}"#, "name is not a text"),
            (&of_histogram(r#""count":-1"#), "count is not an unsigned integer"),
            (&of_histogram(r#""explicitBounds":[1,"x"]"#), "explicitBounds is not a number"),
            (&of_histogram(r#""bucketCounts":"1""#), "bucketCounts is not a list"),
            (&of_histogram(r#""exemplars":[{"spanId":"123"}]"#), "spanId is not hexadecimal"),
        ] {
            let error = to_protobuf(json.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{json}: {error}");
        }
        assert_eq!(to_protobuf(br#"{"unknown":[1,2],"resource_metrics":null}"#), Ok(Vec::new()));
    }
}
