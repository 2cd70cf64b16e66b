//! Reading.

use crate::model::{BucketLayout, CounterResetHint, FloatHistogram, Histogram, Span, TimestampMs};
use crate::net::protobuf::{Field, Fields, ProtobufError, Varints, unzigzag};

/// Buckets and spans of one sign, or custom bounds, that one histogram may have. Real ones have at most a few hundred; each
/// byte of a message could otherwise become eight of memory.
const PARTS_MAX: usize = 1 << 16;
/// Schemas up to this one mean exponential buckets; those finer than can be stored are made coarser.
pub(in crate::remote) const RESERVED_SCHEMA_MAX: i32 = 52;

/// A decoded sample of a native histogram.
pub(in crate::remote) struct HistogramIn {
    pub(in crate::remote) t: TimestampMs,
    /// 0 if it is not known.
    pub(in crate::remote) start: TimestampMs,
    pub(in crate::remote) value: Decoded,
}

pub(in crate::remote) enum Decoded {
    Integer(Histogram),
    Float(FloatHistogram),
    /// Not to be stored, and why.
    Malformed(String),
}

impl Decoded {
    /// Bytes that it holds, roughly.
    pub(in crate::remote) fn weight(&self) -> usize {
        match self {
            Decoded::Integer(h) => size_of::<Histogram>() + h.heap_bytes(),
            Decoded::Float(h) => size_of::<FloatHistogram>() + h.heap_bytes(),
            Decoded::Malformed(_) => 0,
        }
    }
}

/// Everything that the message says, of both kinds of counts.
#[derive(Default)]
struct Raw {
    layout: BucketLayout,
    hint: CounterResetHint,
    sum: f64,
    count_int: u64,
    count_float: Option<f64>,
    zero_int: u64,
    zero_float: f64,
    positive_deltas: Vec<i64>,
    negative_deltas: Vec<i64>,
    positive_counts: Vec<f64>,
    negative_counts: Vec<f64>,
    t: i64,
    start: i64,
    is_too_large: bool,
}

/// Reads one histogram.
pub(in crate::remote) fn decode(message: Fields<'_>) -> Result<HistogramIn, ProtobufError> {
    let mut raw = Raw::default();
    for field in message {
        raw.take(&field?)?;
    }
    let (t, start) = (TimestampMs(raw.t), TimestampMs(raw.start));
    Ok(HistogramIn { t, start, value: raw.finish() })
}

impl Raw {
    fn take(&mut self, field: &Field<'_>) -> Result<(), ProtobufError> {
        match field.number {
            // The counts are alternatives: the last one on the wire holds.
            1 => (self.count_int, self.count_float) = (field.varint()?, None),
            2 => self.count_float = Some(field.double()?),
            3 => self.sum = field.double()?,
            // The casts cut to 32 bits, as every reader of protocol buffers does.
            4 => self.layout.schema = field.zigzag()? as i32,
            5 => self.layout.zero_threshold = field.double()?,
            6 => (self.zero_int, self.zero_float) = (field.varint()?, 0.0),
            7 => (self.zero_int, self.zero_float) = (0, field.double()?),
            8 => self.is_too_large |= !push_span(&mut self.layout.negative_spans, field.message()?)?,
            9 => self.is_too_large |= !push_deltas(&mut self.negative_deltas, field.varints()?)?,
            10 => self.is_too_large |= !push_doubles(&mut self.negative_counts, field.doubles()?),
            11 => self.is_too_large |= !push_span(&mut self.layout.positive_spans, field.message()?)?,
            12 => self.is_too_large |= !push_deltas(&mut self.positive_deltas, field.varints()?)?,
            13 => self.is_too_large |= !push_doubles(&mut self.positive_counts, field.doubles()?),
            14 => {
                self.hint = match field.varint()? {
                    1 => CounterResetHint::Reset,
                    2 => CounterResetHint::NotReset,
                    3 => CounterResetHint::Gauge,
                    _ => CounterResetHint::Unknown,
                }
            }
            15 => self.t = field.int()?,
            16 => self.is_too_large |= !push_doubles(&mut self.layout.custom_values, field.doubles()?),
            17 => self.start = field.int()?,
            _ => {}
        }
        Ok(())
    }

    fn finish(self) -> Decoded {
        if self.is_too_large {
            return Decoded::Malformed(format!("it has more than {PARTS_MAX} spans, buckets or bounds"));
        }
        let spans = [&self.layout.positive_spans, &self.layout.negative_spans];
        if spans.into_iter().any(|spans| !fits(spans)) {
            return Decoded::Malformed("its buckets reach beyond all indexes".to_owned());
        }
        match self.count_float {
            None => integer(Histogram {
                counter_reset_hint: self.hint,
                layout: self.layout,
                zero_count: self.zero_int,
                count: self.count_int,
                sum: self.sum,
                positive_buckets: self.positive_deltas,
                negative_buckets: self.negative_deltas,
            }),
            Some(count) => float(FloatHistogram {
                counter_reset_hint: self.hint,
                layout: self.layout,
                zero_count: self.zero_float,
                count,
                sum: self.sum,
                positive_buckets: self.positive_counts,
                negative_buckets: self.negative_counts,
            }),
        }
    }
}

fn integer(mut h: Histogram) -> Decoded {
    let schema = h.layout.schema;
    let is_too_fine = is_too_fine(schema);
    if is_too_fine {
        h.layout.schema = BucketLayout::FINEST_SCHEMA;
    }
    if let Err(why) = h.validate() {
        return Decoded::Malformed(why.to_string());
    }
    if is_too_fine {
        h.layout.schema = schema;
        h.reduce_resolution(BucketLayout::FINEST_SCHEMA);
    }
    Decoded::Integer(h)
}

fn float(mut h: FloatHistogram) -> Decoded {
    let schema = h.layout.schema;
    let is_too_fine = is_too_fine(schema);
    if is_too_fine {
        h.layout.schema = BucketLayout::FINEST_SCHEMA;
    }
    if let Err(why) = h.validate() {
        return Decoded::Malformed(why.to_string());
    }
    if is_too_fine {
        h.layout.schema = schema;
        h.reduce_resolution(BucketLayout::FINEST_SCHEMA);
    }
    Decoded::Float(h)
}

fn is_too_fine(schema: i32) -> bool {
    (BucketLayout::FINEST_SCHEMA + 1..=RESERVED_SCHEMA_MAX).contains(&schema)
}

/// Whether every bucket has an index.
fn fits(spans: &[Span]) -> bool {
    let mut end = 0i64;
    spans.iter().all(|span| {
        let start = end + i64::from(span.offset);
        end = start + i64::from(span.length);
        i32::try_from(start).is_ok() && i32::try_from(end).is_ok()
    })
}

/// False if there are too many.
fn push_span(spans: &mut Vec<Span>, message: Fields<'_>) -> Result<bool, ProtobufError> {
    let mut span = Span { offset: 0, length: 0 };
    for field in message {
        let field = field?;
        match field.number {
            1 => span.offset = field.zigzag()? as i32,
            2 => span.length = field.varint()? as u32,
            _ => {}
        }
    }
    let has_room = spans.len() < PARTS_MAX;
    if has_room {
        spans.push(span);
    }
    Ok(has_room)
}

fn push_deltas(deltas: &mut Vec<i64>, given: Varints<'_>) -> Result<bool, ProtobufError> {
    for delta in given {
        if deltas.len() >= PARTS_MAX {
            return Ok(false);
        }
        deltas.push(unzigzag(delta?));
    }
    Ok(true)
}

fn push_doubles(values: &mut Vec<f64>, given: impl Iterator<Item = f64>) -> bool {
    for value in given {
        if values.len() >= PARTS_MAX {
            return false;
        }
        values.push(value);
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::net::protobuf::Writer;

    fn decoded(write: impl FnOnce(&mut Writer<'_>)) -> HistogramIn {
        let mut bytes = Vec::new();
        write(&mut Writer::new(&mut bytes));
        decode(Fields::new(&bytes)).unwrap()
    }

    fn span(w: &mut Writer<'_>, field: u32, offset: i64, length: u64) {
        w.message(field, |w| {
            w.zigzag(1, offset);
            w.varint(2, length);
        });
    }

    #[test]
    fn integer_and_float_counts_are_told_apart_by_the_total() {
        let of = |float: bool| {
            decoded(|w| {
                if float {
                    w.double(2, 3.5)
                } else {
                    w.varint(1, 3)
                }
                w.double(3, 7.0);
                w.zigzag(4, -2);
                w.double(5, 0.25);
                if float {
                    w.double(7, 0.5)
                } else {
                    w.varint(6, 1)
                }
                span(w, 11, -3, 2);
                if float {
                    w.packed_doubles(13, [1.0, 2.0].into_iter());
                } else {
                    w.packed(12, [2, 0].into_iter());
                }
                w.varint(14, 3);
                w.int(15, -5);
                w.int(17, 9);
            })
        };
        let HistogramIn { t, start, value: Decoded::Integer(h) } = of(false) else { panic!("integers") };
        assert_eq!((t.0, start.0, h.counter_reset_hint), (-5, 9, CounterResetHint::Gauge));
        assert_eq!((h.layout.schema, h.layout.zero_threshold, h.zero_count, h.count, h.sum), (-2, 0.25, 1, 3, 7.0));
        assert_eq!((h.layout.positive_spans, h.positive_buckets), (vec![Span { offset: -3, length: 2 }], vec![1, 0]));
        let HistogramIn { value: Decoded::Float(h), .. } = of(true) else { panic!("floats") };
        assert_eq!((h.zero_count, h.count, h.positive_buckets), (0.5, 3.5, vec![1.0, 2.0]));
    }

    #[test]
    fn custom_bounds_are_kept_and_too_fine_buckets_are_made_coarser() {
        let custom = decoded(|w| {
            w.varint(1, 4);
            w.zigzag(4, -53);
            span(w, 11, 0, 2);
            w.packed(12, [4, 0].into_iter());
            w.packed_doubles(16, [0.5, 2.0].into_iter());
        });
        let Decoded::Integer(h) = custom.value else { panic!("integers") };
        assert_eq!((h.layout.custom_values, h.positive_buckets), (vec![0.5, 2.0], vec![2, 0]));
        let fine = decoded(|w| {
            w.varint(1, 4);
            w.zigzag(4, 9);
            span(w, 11, 1, 2);
            w.packed(12, [4, 0].into_iter());
        });
        let Decoded::Integer(h) = fine.value else { panic!("integers") };
        assert_eq!((h.layout.schema, h.positive_buckets), (8, vec![4]));
    }

    #[test]
    fn what_contradicts_itself_or_is_too_large_is_malformed() {
        let why = |write: fn(&mut Writer<'_>)| match decoded(write).value {
            Decoded::Malformed(why) => why,
            _ => panic!("malformed"),
        };
        assert_eq!(why(|w| w.varint(1, 1)), "the buckets hold 0 observations, the count is 1");
        assert!(why(|w| w.zigzag(4, 60)).contains("60"));
        let spans = |w: &mut Writer<'_>| (0..=PARTS_MAX).for_each(|_| w.message(8, |_| {}));
        assert!(why(spans).starts_with("it has more than 65536"));
        assert!(why(|w| w.packed(12, (0..=PARTS_MAX as u64).map(|_| 0))).starts_with("it has more than 65536"));
        let far = |w: &mut Writer<'_>| {
            span(w, 11, i64::from(i32::MAX), 0);
            span(w, 11, 1, 0);
        };
        assert_eq!(why(far), "its buckets reach beyond all indexes");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>) {
            let _ = decode(Fields::new(&bytes));
        }
    }
}
