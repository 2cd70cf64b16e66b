//! Writing.

use crate::model::{BucketLayout, CounterResetHint, FloatHistogram, Histogram, Span, TimestampMs};
use crate::net::protobuf::{Writer, zigzag};

fn hint_number(hint: CounterResetHint) -> u64 {
    match hint {
        CounterResetHint::Unknown => 0,
        CounterResetHint::Reset => 1,
        CounterResetHint::NotReset => 2,
        CounterResetHint::Gauge => 3,
    }
}

/// Writes the fields of an integer histogram.
pub(in crate::remote) fn write_integer(w: &mut Writer<'_>, t: TimestampMs, h: &Histogram) {
    w.varint(1, h.count);
    write_layout(w, &h.layout, h.sum);
    w.varint(6, h.zero_count);
    let deltas = |w: &mut Writer<'_>, field, deltas: &[i64]| {
        if !deltas.is_empty() {
            w.packed(field, deltas.iter().map(|d| zigzag(*d)));
        }
    };
    write_spans(w, 8, &h.layout.negative_spans);
    deltas(w, 9, &h.negative_buckets);
    write_spans(w, 11, &h.layout.positive_spans);
    deltas(w, 12, &h.positive_buckets);
    write_end(w, t, h.counter_reset_hint, &h.layout);
}

/// Writes the fields of a float histogram.
pub(in crate::remote) fn write_float(w: &mut Writer<'_>, t: TimestampMs, h: &FloatHistogram) {
    w.double(2, h.count);
    write_layout(w, &h.layout, h.sum);
    w.double(7, h.zero_count);
    write_spans(w, 8, &h.layout.negative_spans);
    write_doubles(w, 10, &h.negative_buckets);
    write_spans(w, 11, &h.layout.positive_spans);
    write_doubles(w, 13, &h.positive_buckets);
    write_end(w, t, h.counter_reset_hint, &h.layout);
}

fn write_layout(w: &mut Writer<'_>, layout: &BucketLayout, sum: f64) {
    w.double(3, sum);
    w.zigzag(4, i64::from(layout.schema));
    w.double(5, layout.zero_threshold);
}

fn write_spans(w: &mut Writer<'_>, field: u32, spans: &[Span]) {
    for span in spans {
        w.message(field, |w| {
            w.zigzag(1, i64::from(span.offset));
            w.varint(2, u64::from(span.length));
        });
    }
}

fn write_doubles(w: &mut Writer<'_>, field: u32, doubles: &[f64]) {
    if !doubles.is_empty() {
        w.packed_doubles(field, doubles.iter().copied());
    }
}

fn write_end(w: &mut Writer<'_>, t: TimestampMs, hint: CounterResetHint, layout: &BucketLayout) {
    w.varint(14, hint_number(hint));
    w.int(15, t.0);
    write_doubles(w, 16, &layout.custom_values);
}

#[cfg(test)]
mod tests {
    use super::super::{Decoded, decode};
    use super::*;
    use crate::model::Value;
    use crate::net::protobuf::Fields;

    fn integer() -> Histogram {
        let span = |offset, length| Span { offset, length };
        Histogram {
            counter_reset_hint: CounterResetHint::Gauge,
            layout: BucketLayout {
                schema: -4,
                zero_threshold: 1e-9,
                positive_spans: vec![span(-3, 2), span(5, 1)],
                negative_spans: vec![span(1, 1)],
                custom_values: Vec::new(),
            },
            zero_count: 4,
            count: 4 + (7 + 300 + 299) + 2,
            sum: -1.5,
            positive_buckets: vec![7, 293, -1],
            negative_buckets: vec![2],
        }
    }

    fn round_trip(value: &Value) -> (TimestampMs, Value) {
        let mut out = Vec::new();
        let (mut w, t) = (Writer::new(&mut out), TimestampMs(-5));
        match value {
            Value::Histogram(h) => write_integer(&mut w, t, h),
            Value::FloatHistogram(h) => write_float(&mut w, t, h),
            Value::Float(_) => panic!("not a histogram"),
        }
        let sample = decode(Fields::new(&out)).unwrap();
        let value = match sample.value {
            Decoded::Integer(h) => Value::Histogram(Box::new(h)),
            Decoded::Float(h) => Value::FloatHistogram(Box::new(h)),
            Decoded::Malformed(why) => panic!("{why}"),
        };
        (sample.t, value)
    }

    #[test]
    fn both_kinds_come_back_whole() {
        let mut custom = integer().to_float();
        custom.layout = BucketLayout {
            schema: -53,
            positive_spans: vec![Span { offset: 0, length: 3 }],
            custom_values: vec![-1.0, 0.5, 2.0],
            ..BucketLayout::default()
        };
        (custom.negative_buckets, custom.zero_count) = (Vec::new(), 0.0);
        for value in [
            Value::Histogram(Box::new(integer())),
            Value::FloatHistogram(Box::new(integer().to_float())),
            Value::FloatHistogram(Box::new(custom)),
        ] {
            let (t, back) = round_trip(&value);
            assert_eq!(t, TimestampMs(-5));
            assert_eq!(format!("{back:?}"), format!("{value:?}"));
        }
    }
}
