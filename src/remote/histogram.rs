//! Native histograms as remote read and remote write carry them: the message `prometheus.Histogram`, of either kind.
//!
//! Source: Prometheus, "prompb/types.proto". Buckets may come packed or one by one, and in several pieces. Memory for them
//! grows with the bytes that are really there.

use crate::model::{
    BucketLayout, CounterResetHint, FloatHistogram, Histogram, MalformedHistogram, Span, TimestampMs, Value,
};
use crate::net::protobuf::{Field, Fields, ProtobufError, Writer, unzigzag, zigzag};

/// The finest schema that later versions of the format may use; what is finer than ours is made coarser.
pub(super) const FINEST_RESERVED: i32 = 52;

/// Why bytes are no histogram.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HistogramError {
    /// It is no message.
    #[error(transparent)]
    Protobuf(#[from] ProtobufError),
    /// It is a message that contradicts itself.
    #[error("a histogram is malformed: {0}")]
    Malformed(#[from] MalformedHistogram),
}

/// Everything that the message can say, before it is known of which kind it is.
#[derive(Default)]
struct Raw {
    is_float: bool,
    count: u64,
    count_float: f64,
    sum: f64,
    layout: BucketLayout,
    zero_count: u64,
    zero_count_float: f64,
    negative_deltas: Vec<i64>,
    negative_counts: Vec<f64>,
    positive_deltas: Vec<i64>,
    positive_counts: Vec<f64>,
    hint: CounterResetHint,
    t: i64,
}

/// Reads a histogram and its time. It is sound: its buckets fit its spans and its count.
pub fn read(message: Fields<'_>) -> Result<(TimestampMs, Value), HistogramError> {
    let mut raw = Raw::default();
    for field in message {
        raw.take(&field?)?;
    }
    let t = TimestampMs(raw.t);
    Ok((t, if raw.is_float { raw.into_float()? } else { raw.into_integer()? }))
}

impl Raw {
    fn take(&mut self, field: &Field<'_>) -> Result<(), ProtobufError> {
        match field.number {
            1 => (self.count, self.is_float) = (field.varint()?, false),
            2 => (self.count_float, self.is_float) = (field.double()?, true),
            3 => self.sum = field.double()?,
            4 => self.layout.schema = small(field.zigzag()?),
            5 => self.layout.zero_threshold = field.double()?,
            6 => self.zero_count = field.varint()?,
            7 => self.zero_count_float = field.double()?,
            8 => self.layout.negative_spans.push(read_span(field)?),
            9 => read_deltas(field, &mut self.negative_deltas)?,
            10 => self.negative_counts.extend(field.doubles()?),
            11 => self.layout.positive_spans.push(read_span(field)?),
            12 => read_deltas(field, &mut self.positive_deltas)?,
            13 => self.positive_counts.extend(field.doubles()?),
            14 => self.hint = hint_of(field.varint()?),
            15 => self.t = field.int()?,
            16 => self.layout.custom_values.extend(field.doubles()?),
            _ => {}
        }
        Ok(())
    }

    /// The schema if it is finer than ours; buckets are checked as if it were our finest, before they are joined.
    fn take_finer_schema(&mut self) -> Option<i32> {
        let too_fine = (BucketLayout::FINEST_SCHEMA + 1..=FINEST_RESERVED).contains(&self.layout.schema);
        too_fine.then(|| std::mem::replace(&mut self.layout.schema, BucketLayout::FINEST_SCHEMA))
    }

    fn into_integer(mut self) -> Result<Value, MalformedHistogram> {
        let finer = self.take_finer_schema();
        let mut histogram = Histogram {
            counter_reset_hint: self.hint,
            layout: self.layout,
            zero_count: self.zero_count,
            count: self.count,
            sum: self.sum,
            positive_buckets: self.positive_deltas,
            negative_buckets: self.negative_deltas,
        };
        histogram.validate()?;
        if let Some(schema) = finer {
            histogram.layout.schema = schema;
            histogram.reduce_resolution(BucketLayout::FINEST_SCHEMA);
        }
        Ok(Value::Histogram(Box::new(histogram)))
    }

    fn into_float(mut self) -> Result<Value, MalformedHistogram> {
        let finer = self.take_finer_schema();
        let mut histogram = FloatHistogram {
            counter_reset_hint: self.hint,
            layout: self.layout,
            zero_count: self.zero_count_float,
            count: self.count_float,
            sum: self.sum,
            positive_buckets: self.positive_counts,
            negative_buckets: self.negative_counts,
        };
        histogram.validate()?;
        if let Some(schema) = finer {
            histogram.layout.schema = schema;
            histogram.reduce_resolution(BucketLayout::FINEST_SCHEMA);
        }
        Ok(Value::FloatHistogram(Box::new(histogram)))
    }
}

/// What does not fit stays out of reach of every valid value.
fn small(n: i64) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

fn read_span(field: &Field<'_>) -> Result<Span, ProtobufError> {
    let mut span = Span { offset: 0, length: 0 };
    for field in field.message()? {
        let field = field?;
        match field.number {
            1 => span.offset = small(field.zigzag()?),
            2 => span.length = u32::try_from(field.varint()?).unwrap_or(u32::MAX),
            _ => {}
        }
    }
    Ok(span)
}

fn read_deltas(field: &Field<'_>, deltas: &mut Vec<i64>) -> Result<(), ProtobufError> {
    for n in field.varints()? {
        deltas.push(unzigzag(n?));
    }
    Ok(())
}

/// A hint that is unknown says nothing.
fn hint_of(n: u64) -> CounterResetHint {
    match n {
        1 => CounterResetHint::Reset,
        2 => CounterResetHint::NotReset,
        3 => CounterResetHint::Gauge,
        _ => CounterResetHint::Unknown,
    }
}

fn hint_number(hint: CounterResetHint) -> u64 {
    match hint {
        CounterResetHint::Unknown => 0,
        CounterResetHint::Reset => 1,
        CounterResetHint::NotReset => 2,
        CounterResetHint::Gauge => 3,
    }
}

/// Writes the fields of an integer histogram.
pub fn write_integer(w: &mut Writer<'_>, t: TimestampMs, h: &Histogram) {
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
pub fn write_float(w: &mut Writer<'_>, t: TimestampMs, h: &FloatHistogram) {
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
    if doubles.is_empty() {
        return;
    }
    let packed: Vec<u8> = doubles.iter().flat_map(|v| v.to_bits().to_le_bytes()).collect();
    w.bytes(field, &packed);
}

fn write_end(w: &mut Writer<'_>, t: TimestampMs, hint: CounterResetHint, layout: &BucketLayout) {
    w.varint(14, hint_number(hint));
    w.int(15, t.0);
    write_doubles(w, 16, &layout.custom_values);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
        read(Fields::new(&out)).unwrap()
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

    #[test]
    fn what_contradicts_itself_is_refused_and_what_is_too_fine_made_coarser() {
        let mut wrong = integer();
        wrong.positive_buckets.pop();
        let mut out = Vec::new();
        write_integer(&mut Writer::new(&mut out), TimestampMs(0), &wrong);
        assert!(matches!(read(Fields::new(&out)), Err(HistogramError::Malformed(_))));
        let mut fine = integer();
        fine.layout.schema = 9;
        let (_, read) = round_trip(&Value::Histogram(Box::new(fine)));
        assert!(matches!(read, Value::Histogram(h) if h.layout.schema == 8 && h.count == integer().count));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            drop(read(Fields::new(&bytes)));
        }
    }
}
