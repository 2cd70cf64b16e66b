//! The JSON form of the message, rewritten as protocol buffers.
//!
//! OTLP's JSON is that of protocol buffers with ids in hexadecimal and enumerations as numbers. 64-bit integers may be texts,
//! unknown keys are ignored, and keys may be written in either case style.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::net::protobuf::Writer;

/// What a key stands for in a message.
struct Key {
    name: &'static str,
    number: u32,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Text,
    Bool,
    /// Unsigned varint.
    Uint,
    /// Signed varint.
    Int,
    /// Signed varint, zigzag.
    Zigzag,
    Fixed,
    /// Signed and fixed.
    FixedInt,
    Double,
    Hex,
    Base64,
    Uints,
    Fixeds,
    Doubles,
    One(&'static [Key]),
    Many(&'static [Key]),
}

use Kind::*;

const fn key(name: &'static str, number: u32, kind: Kind) -> Key {
    Key { name, number, kind }
}

static REQUEST: [Key; 1] = [key("resourceMetrics", 1, Many(&RESOURCE_METRICS))];
static RESOURCE_METRICS: [Key; 3] =
    [key("resource", 1, One(&RESOURCE)), key("scopeMetrics", 2, Many(&SCOPE_METRICS)), key("schemaUrl", 3, Text)];
static RESOURCE: [Key; 1] = [key("attributes", 1, Many(&ATTRIBUTE))];
static SCOPE_METRICS: [Key; 3] =
    [key("scope", 1, One(&SCOPE)), key("metrics", 2, Many(&METRIC)), key("schemaUrl", 3, Text)];
static SCOPE: [Key; 3] = [key("name", 1, Text), key("version", 2, Text), key("attributes", 3, Many(&ATTRIBUTE))];
static METRIC: [Key; 8] = [
    key("name", 1, Text),
    key("description", 2, Text),
    key("unit", 3, Text),
    key("gauge", 5, One(&NUMBERS)),
    key("sum", 7, One(&NUMBERS)),
    key("histogram", 9, One(&HISTOGRAMS)),
    key("exponentialHistogram", 10, One(&EXPONENTIALS)),
    key("summary", 11, One(&SUMMARIES)),
];
static NUMBERS: [Key; 3] =
    [key("dataPoints", 1, Many(&NUMBER)), key("aggregationTemporality", 2, Uint), key("isMonotonic", 3, Bool)];
static HISTOGRAMS: [Key; 2] = [key("dataPoints", 1, Many(&HISTOGRAM)), key("aggregationTemporality", 2, Uint)];
static EXPONENTIALS: [Key; 2] = [key("dataPoints", 1, Many(&EXPONENTIAL)), key("aggregationTemporality", 2, Uint)];
static SUMMARIES: [Key; 1] = [key("dataPoints", 1, Many(&SUMMARY))];
static NUMBER: [Key; 7] = [
    key("startTimeUnixNano", 2, Fixed),
    key("timeUnixNano", 3, Fixed),
    key("asDouble", 4, Double),
    key("exemplars", 5, Many(&EXEMPLAR)),
    key("asInt", 6, FixedInt),
    key("attributes", 7, Many(&ATTRIBUTE)),
    key("flags", 8, Uint),
];
static HISTOGRAM: [Key; 9] = [
    key("startTimeUnixNano", 2, Fixed),
    key("timeUnixNano", 3, Fixed),
    key("count", 4, Fixed),
    key("sum", 5, Double),
    key("bucketCounts", 6, Fixeds),
    key("explicitBounds", 7, Doubles),
    key("exemplars", 8, Many(&EXEMPLAR)),
    key("attributes", 9, Many(&ATTRIBUTE)),
    key("flags", 10, Uint),
];
static EXPONENTIAL: [Key; 11] = [
    key("attributes", 1, Many(&ATTRIBUTE)),
    key("startTimeUnixNano", 2, Fixed),
    key("timeUnixNano", 3, Fixed),
    key("count", 4, Fixed),
    key("sum", 5, Double),
    key("scale", 6, Zigzag),
    key("zeroCount", 7, Fixed),
    key("positive", 8, One(&BUCKETS)),
    key("negative", 9, One(&BUCKETS)),
    key("flags", 10, Uint),
    key("exemplars", 11, Many(&EXEMPLAR)),
];
static BUCKETS: [Key; 2] = [key("offset", 1, Zigzag), key("bucketCounts", 2, Uints)];
static SUMMARY: [Key; 7] = [
    key("startTimeUnixNano", 2, Fixed),
    key("timeUnixNano", 3, Fixed),
    key("count", 4, Fixed),
    key("sum", 5, Double),
    key("quantileValues", 6, Many(&QUANTILE)),
    key("attributes", 7, Many(&ATTRIBUTE)),
    key("flags", 8, Uint),
];
static QUANTILE: [Key; 2] = [key("quantile", 1, Double), key("value", 2, Double)];
static EXEMPLAR: [Key; 6] = [
    key("timeUnixNano", 2, Fixed),
    key("asDouble", 3, Double),
    key("spanId", 4, Hex),
    key("traceId", 5, Hex),
    key("asInt", 6, FixedInt),
    key("filteredAttributes", 7, Many(&ATTRIBUTE)),
];
static ATTRIBUTE: [Key; 2] = [key("key", 1, Text), key("value", 2, One(&ANY))];
static ANY: [Key; 7] = [
    key("stringValue", 1, Text),
    key("boolValue", 2, Bool),
    key("intValue", 3, Int),
    key("doubleValue", 4, Double),
    key("arrayValue", 5, One(&LIST)),
    key("kvlistValue", 6, One(&PAIRS)),
    key("bytesValue", 7, Base64),
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
    let wrong = |wanted: &str| format!("{} is not {wanted}", key.name);
    match key.kind {
        Text => w.bytes(number, value.as_str().ok_or_else(|| wrong("a text"))?.as_bytes()),
        Bool => w.varint(number, u64::from(value.as_bool().ok_or_else(|| wrong("true or false"))?)),
        Uint => w.varint(number, uint(value).ok_or_else(|| wrong("an unsigned integer"))?),
        Int => w.int(number, int(value).ok_or_else(|| wrong("an integer"))?),
        Zigzag => w.zigzag(number, int(value).ok_or_else(|| wrong("an integer"))?),
        Fixed => w.fixed64(number, uint(value).ok_or_else(|| wrong("an unsigned integer"))?),
        FixedInt => w.fixed64(number, int(value).ok_or_else(|| wrong("an integer"))?.cast_unsigned()),
        Double => w.double(number, double(value).ok_or_else(|| wrong("a number"))?),
        Hex => w.bytes(number, &value.as_str().and_then(unhex).ok_or_else(|| wrong("hexadecimal"))?),
        Base64 => {
            let bytes = value.as_str().and_then(|text| STANDARD.decode(text).ok());
            w.bytes(number, &bytes.ok_or_else(|| wrong("base64"))?);
        }
        Uints => {
            let numbers = list(value, uint).ok_or_else(|| wrong("a list of unsigned integers"))?;
            w.packed(number, numbers.into_iter());
        }
        Fixeds => {
            let numbers = list(value, uint).ok_or_else(|| wrong("a list of unsigned integers"))?;
            w.bytes(number, &numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>());
        }
        Doubles => {
            let numbers = list(value, double).ok_or_else(|| wrong("a list of numbers"))?;
            w.bytes(number, &numbers.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>());
        }
        One(keys) => write_one(w, key, value, keys)?,
        Many(keys) => {
            let items = value.as_array().ok_or_else(|| wrong("a list"))?;
            items.iter().try_for_each(|item| write_one(w, key, item, keys))?;
        }
    }
    Ok(())
}

fn write_one(w: &mut Writer<'_>, key: &Key, value: &Value, keys: &'static [Key]) -> Result<(), String> {
    let object = value.as_object().ok_or_else(|| format!("{} is not an object", key.name))?;
    let mut outcome = Ok(());
    w.message(key.number, |w| outcome = write_message(w, object, keys));
    outcome
}

fn list<T>(value: &Value, read: fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    value.as_array()?.iter().map(read).collect()
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

    #[test]
    fn what_is_no_request_is_refused_with_a_sentence() {
        for (json, why) in [
            ("[]", "no object"),
            ("{", "not JSON"),
            (r#"{"resourceMetrics":{}}"#, "resourceMetrics is not a list"),
            (r#"{"resourceMetrics":[1]}"#, "resourceMetrics is not an object"),
            (r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":1}]}]}]}"#, "name is not a text"),
        ] {
            let error = to_protobuf(json.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{json}: {error}");
        }
        assert_eq!(to_protobuf(br#"{"unknown":[1,2],"resource_metrics":null}"#), Ok(Vec::new()));
    }
}
