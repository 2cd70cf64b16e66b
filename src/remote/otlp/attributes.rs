//! Attributes: their values as texts.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};

use crate::model::json::{Escaping, append};
use crate::model::number::write_api;

/// The first attribute of that key, as text.
pub(super) fn find<'a>(attributes: &'a [KeyValue], key: &str) -> Option<Cow<'a, str>> {
    attributes.iter().find(|a| a.key == key).map(text)
}

/// An attribute's value as a label's; lists and maps as JSON.
pub(super) fn text(attribute: &KeyValue) -> Cow<'_, str> {
    match value_of(attribute.value.as_ref()) {
        None => Cow::Borrowed(""),
        Some(Value::StringValue(text)) => Cow::Borrowed(text),
        Some(Value::BytesValue(bytes)) => Cow::Owned(STANDARD.encode(bytes)),
        Some(Value::DoubleValue(v)) if v.is_nan() => Cow::Borrowed("NaN"),
        Some(Value::DoubleValue(v)) if v.is_infinite() => {
            Cow::Borrowed(if *v > 0.0 { "Infinity" } else { "-Infinity" })
        }
        Some(value) => {
            let mut out = Vec::new();
            // As in the reference, what JSON has no words for leaves nothing.
            Cow::Owned(match write(&mut out, value) {
                Ok(()) => String::from_utf8(out).unwrap_or_default(),
                Err(NoJson) => String::new(),
            })
        }
    }
}

fn value_of(value: Option<&AnyValue>) -> Option<&Value> {
    value.and_then(|v| v.value.as_ref()).filter(|v| !matches!(v, Value::StringValueStrindex(_)))
}

/// A number that JSON does not have.
struct NoJson;

/// Recurses as deep as the message, which the decoder limits to a hundred levels.
fn write(out: &mut Vec<u8>, value: &Value) -> Result<(), NoJson> {
    match value {
        Value::StringValue(text) => append_text(out, text),
        Value::BoolValue(b) => out.extend_from_slice(if *b { b"true" } else { b"false" }),
        Value::IntValue(n) => out.extend_from_slice(itoa::Buffer::new().format(*n).as_bytes()),
        Value::DoubleValue(v) if !v.is_finite() => return Err(NoJson),
        Value::DoubleValue(v) => write_number(out, *v),
        Value::BytesValue(bytes) => append_text(out, &STANDARD.encode(bytes)),
        Value::ArrayValue(list) => {
            out.push(b'[');
            for (i, item) in list.values.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_optional(out, value_of(Some(item)))?;
            }
            out.push(b']');
        }
        Value::KvlistValue(map) => {
            // Sorted, and of a key that comes twice the last.
            let pairs: BTreeMap<&str, Option<&Value>> =
                map.values.iter().map(|kv| (kv.key.as_str(), value_of(kv.value.as_ref()))).collect();
            out.push(b'{');
            for (i, (key, value)) in pairs.into_iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                append_text(out, key);
                out.push(b':');
                write_optional(out, value)?;
            }
            out.push(b'}');
        }
        Value::StringValueStrindex(_) => out.extend_from_slice(b"null"),
    }
    Ok(())
}

fn write_optional(out: &mut Vec<u8>, value: Option<&Value>) -> Result<(), NoJson> {
    match value {
        Some(value) => write(out, value),
        None => {
            out.extend_from_slice(b"null");
            Ok(())
        }
    }
}

fn append_text(out: &mut Vec<u8>, text: &str) {
    append(out, &text, Escaping::PlainValue);
}

/// As JavaScript does: an exponent of one digit is written as one.
fn write_number(out: &mut Vec<u8>, v: f64) {
    write_api(out, v);
    if let [.., b'e', b'-', b'0', last] = out[..] {
        out.truncate(out.len() - 2);
        out.push(last);
    }
}
