//! Exemplars.

use opentelemetry_proto::tonic::metrics::v1::Exemplar as OtlpExemplar;
use opentelemetry_proto::tonic::metrics::v1::exemplar::Value;

use super::attributes::text;
use crate::model::{Exemplar, LabelsBuilder, TimestampMs};

/// Characters that an exemplar's labels may have together; OpenMetrics sets this.
const MAX_CHARS: usize = 128;

/// The exemplars of a data point. The error is the reference's sentence.
pub(super) fn exemplars(given: &[OtlpExemplar]) -> Result<Vec<Exemplar>, String> {
    given.iter().map(exemplar).collect()
}

fn exemplar(given: &OtlpExemplar) -> Result<Exemplar, String> {
    let value = match given.value {
        Some(Value::AsInt(n)) => n as f64,
        Some(Value::AsDouble(v)) => v,
        None => return Err("unsupported exemplar value type: Empty".to_owned()),
    };
    let mut labels = LabelsBuilder::new();
    let mut chars = 0;
    for (name, id, length) in [("trace_id", &given.trace_id, 16), ("span_id", &given.span_id, 8)] {
        if !id.is_empty() && id.len() != length {
            return Err(format!("invalid length of {name} of an exemplar: {}", id.len()));
        }
        if id.iter().any(|b| *b != 0) {
            let text = hex(id);
            chars += name.len() + text.len();
            labels.set(name, &text);
        }
    }
    let count = |s: &str| s.chars().count();
    chars += given.filtered_attributes.iter().map(|a| count(&a.key) + count(&text(a))).sum::<usize>();
    // The ids are worth more than what does not fit beside them.
    if chars <= MAX_CHARS {
        given.filtered_attributes.iter().for_each(|a| labels.set(&a.key, &text(a)));
    }
    let t = (given.time_unix_nano / 1_000_000).cast_signed();
    Ok(Exemplar { labels: labels.labels(), value, t: (t != 0).then_some(TimestampMs(t)) })
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [b >> 4, b & 15]).map(|d| char::from(DIGITS[usize::from(d)])).collect()
}
