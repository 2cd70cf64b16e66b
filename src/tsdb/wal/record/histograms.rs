//! Records of native histograms, in both versions.

use super::starts::{StartsDecoder, StartsEncoder};
use super::{Cursor, Kind, RecordError, push_uvarint, push_varint};
use crate::model::{BucketLayout, CounterResetHint, FloatHistogram, Histogram, Span, is_stale};
use crate::storage::HistogramRef;

/// The schema of custom bounds.
const CUSTOM_BOUNDS: i32 = -53;
/// Exponential schemas that may stand in a log; the outer ones are reserved for versions to come.
const EXPONENTIAL: std::ops::RangeInclusive<i32> = -9..=52;
/// The smallest encodings of a span, a bucket of integer and one of float histograms.
const SPAN_BYTES: usize = 2;
const DELTA_BYTES: usize = 1;
const FLOAT_BYTES: usize = 8;

/// One histogram as the log holds it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WalHistogram<'a> {
    pub(crate) series: u64,
    pub(crate) t: i64,
    /// 0 where the record has none.
    pub(crate) start: i64,
    pub(crate) value: HistogramRef<'a>,
}

/// Writes records of histograms, each of which holds one of the six kinds. As with floats, a record that a histogram with
/// a start timestamp opens is one of the second version.
#[derive(Debug, Default)]
pub(crate) struct HistogramsEncoder {
    bytes: Vec<u8>,
    first: (u64, i64),
    /// Of a record of the second version.
    starts: Option<StartsEncoder>,
}

impl HistogramsEncoder {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
    }

    pub(crate) fn record(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Whether a histogram can follow in this record.
    pub(crate) fn takes(&self, start: i64, value: HistogramRef<'_>) -> bool {
        match (self.bytes.first(), self.starts) {
            (None, _) => true,
            (Some(kind), Some(_)) => *kind == kind_with_starts(value) as u8,
            (Some(kind), None) => start == 0 && *kind == kind_of(value) as u8,
        }
    }

    /// Adds one that the record [`takes`](Self::takes).
    pub(crate) fn push(&mut self, WalHistogram { series, t, start, value }: WalHistogram<'_>) {
        let is_first = self.bytes.is_empty();
        let out = &mut self.bytes;
        if is_first {
            self.first = (series, t);
            self.starts = None;
            if start != 0 {
                out.push(kind_with_starts(value) as u8);
                self.starts = Some(StartsEncoder::open(out, series, t, start));
            } else {
                out.push(kind_of(value) as u8);
                out.extend_from_slice(&series.to_be_bytes());
                out.extend_from_slice(&t.to_be_bytes());
            }
        }
        match &mut self.starts {
            // The first key stands there already.
            Some(_) if is_first => {}
            Some(starts) => starts.push_key(out, series, t, start),
            None => {
                push_varint(out, series.wrapping_sub(self.first.0).cast_signed());
                push_varint(out, t.wrapping_sub(self.first.1));
            }
        }
        match value {
            HistogramRef::Integer(h) => push_histogram(out, h),
            HistogramRef::Float(h) => push_float_histogram(out, h),
        }
    }
}

fn kind_of(value: HistogramRef<'_>) -> Kind {
    match value {
        HistogramRef::Integer(h) if h.layout.schema == CUSTOM_BOUNDS => Kind::CustomBucketHistograms,
        HistogramRef::Integer(_) => Kind::Histograms,
        HistogramRef::Float(h) if h.layout.schema == CUSTOM_BOUNDS => Kind::CustomBucketFloatHistograms,
        HistogramRef::Float(_) => Kind::FloatHistograms,
    }
}

/// With start timestamps, custom bounds have no kind of their own.
fn kind_with_starts(value: HistogramRef<'_>) -> Kind {
    match value {
        HistogramRef::Integer(_) => Kind::HistogramsV2,
        HistogramRef::Float(_) => Kind::FloatHistogramsV2,
    }
}

fn push_histogram(out: &mut Vec<u8>, h: &Histogram) {
    push_opening(out, h.counter_reset_hint, &h.layout);
    push_uvarint(out, h.zero_count);
    push_uvarint(out, h.count);
    push_float(out, h.sum);
    push_all_spans(out, &h.layout);
    for buckets in [&h.positive_buckets, &h.negative_buckets] {
        push_uvarint(out, buckets.len() as u64);
        buckets.iter().for_each(|delta| push_varint(out, *delta));
    }
    push_bounds(out, &h.layout);
}

fn push_float_histogram(out: &mut Vec<u8>, h: &FloatHistogram) {
    push_opening(out, h.counter_reset_hint, &h.layout);
    push_float(out, h.zero_count);
    push_float(out, h.count);
    push_float(out, h.sum);
    push_all_spans(out, &h.layout);
    for buckets in [&h.positive_buckets, &h.negative_buckets] {
        push_uvarint(out, buckets.len() as u64);
        buckets.iter().for_each(|count| push_float(out, *count));
    }
    push_bounds(out, &h.layout);
}

fn push_opening(out: &mut Vec<u8>, hint: CounterResetHint, layout: &BucketLayout) {
    out.push(match hint {
        CounterResetHint::Unknown => 0,
        CounterResetHint::Reset => 1,
        CounterResetHint::NotReset => 2,
        CounterResetHint::Gauge => 3,
    });
    push_varint(out, i64::from(layout.schema));
    push_float(out, layout.zero_threshold);
}

fn push_all_spans(out: &mut Vec<u8>, layout: &BucketLayout) {
    for spans in [&layout.positive_spans, &layout.negative_spans] {
        push_uvarint(out, spans.len() as u64);
        for span in spans {
            push_varint(out, i64::from(span.offset));
            push_uvarint(out, u64::from(span.length));
        }
    }
}

fn push_bounds(out: &mut Vec<u8>, layout: &BucketLayout) {
    if layout.schema == CUSTOM_BOUNDS {
        push_uvarint(out, layout.custom_values.len() as u64);
        layout.custom_values.iter().for_each(|bound| push_float(out, *bound));
    }
}

fn push_float(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(&value.to_bits().to_be_bytes());
}

/// Calls `visit` with each histogram of a record of any of the six kinds. Those of a schema that no version knows are
/// passed over, as the reference does.
pub(crate) fn each_histogram(record: &[u8], visit: &mut dyn FnMut(WalHistogram<'_>)) -> Result<(), RecordError> {
    let kind = Kind::of(record);
    let mut cursor = Cursor::after_kind(record);
    let mut keys = Keys::open(kind, &mut cursor)?;
    let is_float = matches!(kind, Kind::FloatHistograms | Kind::CustomBucketFloatHistograms | Kind::FloatHistogramsV2);
    // The memory of one sample serves the next.
    let (mut integer, mut float) = (Histogram::default(), FloatHistogram::default());
    while !cursor.rest.is_empty() {
        let (series, t, start) = keys.next(&mut cursor)?;
        let value = if is_float {
            read_float_histogram(&mut cursor, &mut float)?;
            HistogramRef::Float(&float)
        } else {
            read_histogram(&mut cursor, &mut integer)?;
            HistogramRef::Integer(&integer)
        };
        let schema = if is_float { float.layout.schema } else { integer.layout.schema };
        if schema == CUSTOM_BOUNDS || EXPONENTIAL.contains(&schema) {
            visit(WalHistogram { series, t, start, value });
        }
    }
    Ok(())
}

/// Series, times and start times of a record's samples.
enum Keys {
    /// Each against the first.
    V1 {
        first: (u64, i64),
    },
    V2(StartsDecoder),
}

impl Keys {
    fn open(kind: Kind, cursor: &mut Cursor<'_>) -> Result<Keys, RecordError> {
        if cursor.rest.is_empty() {
            return Ok(Keys::V1 { first: (0, 0) });
        }
        if matches!(kind, Kind::HistogramsV2 | Kind::FloatHistogramsV2) {
            return StartsDecoder::open(cursor).map(Keys::V2);
        }
        let series = cursor.u64("the first reference")?;
        Ok(Keys::V1 { first: (series, cursor.u64("the first time")?.cast_signed()) })
    }

    fn next(&mut self, cursor: &mut Cursor<'_>) -> Result<(u64, i64, i64), RecordError> {
        match self {
            Keys::V1 { first } => {
                let series = first.0.wrapping_add_signed(cursor.varint("a reference")?);
                Ok((series, first.1.wrapping_add(cursor.varint("a time")?), 0))
            }
            Keys::V2(starts) => starts.next(cursor),
        }
    }
}

fn read_histogram(cursor: &mut Cursor<'_>, h: &mut Histogram) -> Result<(), RecordError> {
    h.counter_reset_hint = read_opening(cursor, &mut h.layout)?;
    h.zero_count = cursor.uvarint("a zero count")?;
    h.count = cursor.uvarint("a count")?;
    h.sum = cursor.float("a sum")?;
    read_all_spans(cursor, &mut h.layout)?;
    for buckets in [&mut h.positive_buckets, &mut h.negative_buckets] {
        let count = cursor.count(DELTA_BYTES, "buckets")?;
        buckets.clear();
        for _ in 0..count {
            buckets.push(cursor.varint("a bucket")?);
        }
    }
    read_bounds(cursor, &mut h.layout)?;
    check_buckets(cursor, &h.layout, h.sum, [h.positive_buckets.len(), h.negative_buckets.len()])
}

fn read_float_histogram(cursor: &mut Cursor<'_>, h: &mut FloatHistogram) -> Result<(), RecordError> {
    h.counter_reset_hint = read_opening(cursor, &mut h.layout)?;
    h.zero_count = cursor.float("a zero count")?;
    h.count = cursor.float("a count")?;
    h.sum = cursor.float("a sum")?;
    read_all_spans(cursor, &mut h.layout)?;
    for buckets in [&mut h.positive_buckets, &mut h.negative_buckets] {
        read_floats(cursor, buckets, "buckets")?;
    }
    read_bounds(cursor, &mut h.layout)?;
    check_buckets(cursor, &h.layout, h.sum, [h.positive_buckets.len(), h.negative_buckets.len()])
}

fn read_opening(cursor: &mut Cursor<'_>, layout: &mut BucketLayout) -> Result<CounterResetHint, RecordError> {
    let hint = match cursor.u8("a reset hint")? {
        1 => CounterResetHint::Reset,
        2 => CounterResetHint::NotReset,
        3 => CounterResetHint::Gauge,
        _ => CounterResetHint::Unknown,
    };
    let schema = cursor.varint("a schema")?;
    layout.schema = i32::try_from(schema).map_err(|_| cursor.malformed("a schema beyond 32 bits"))?;
    layout.zero_threshold = cursor.float("a zero threshold")?;
    Ok(hint)
}

fn read_all_spans(cursor: &mut Cursor<'_>, layout: &mut BucketLayout) -> Result<(), RecordError> {
    for spans in [&mut layout.positive_spans, &mut layout.negative_spans] {
        let count = cursor.count(SPAN_BYTES, "spans")?;
        spans.clear();
        for _ in 0..count {
            let offset = i32::try_from(cursor.varint("a span's offset")?);
            let length = u32::try_from(cursor.uvarint("a span's length")?);
            let (Ok(offset), Ok(length)) = (offset, length) else {
                return Err(cursor.malformed("a span beyond 32 bits"));
            };
            spans.push(Span { offset, length });
        }
    }
    Ok(())
}

fn read_bounds(cursor: &mut Cursor<'_>, layout: &mut BucketLayout) -> Result<(), RecordError> {
    layout.custom_values.clear();
    if layout.schema == CUSTOM_BOUNDS {
        read_floats(cursor, &mut layout.custom_values, "custom bounds")?;
    }
    Ok(())
}

fn read_floats(cursor: &mut Cursor<'_>, out: &mut Vec<f64>, what: &'static str) -> Result<(), RecordError> {
    let count = cursor.count(FLOAT_BYTES, what)?;
    out.clear();
    for _ in 0..count {
        out.push(cursor.float(what)?);
    }
    Ok(())
}

/// Chunks cannot hold a histogram whose spans and buckets differ, except that of a stale one nothing is stored.
fn check_buckets(cursor: &Cursor<'_>, layout: &BucketLayout, sum: f64, given: [usize; 2]) -> Result<(), RecordError> {
    let promised = |spans: &[Span]| spans.iter().map(|span| u64::from(span.length)).sum::<u64>();
    let promised = [promised(&layout.positive_spans), promised(&layout.negative_spans)];
    if is_stale(sum) || promised == given.map(|n| n as u64) {
        return Ok(());
    }
    Err(cursor.malformed("a histogram whose spans and buckets differ in number"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::STALE_NAN;

    /// A histogram of either kind, detached from what it was read from.
    #[derive(Clone, PartialEq, Debug)]
    enum Owned {
        Integer(Histogram),
        Float(FloatHistogram),
    }

    impl Owned {
        fn of(value: HistogramRef<'_>) -> Owned {
            match value {
                HistogramRef::Integer(h) => Owned::Integer(h.clone()),
                HistogramRef::Float(h) => Owned::Float(h.clone()),
            }
        }

        fn as_ref(&self) -> HistogramRef<'_> {
            match self {
                Owned::Integer(h) => HistogramRef::Integer(h),
                Owned::Float(h) => HistogramRef::Float(h),
            }
        }
    }

    fn read(record: &[u8]) -> Result<Vec<(u64, i64, i64, Owned)>, RecordError> {
        let mut out = Vec::new();
        each_histogram(record, &mut |h| out.push((h.series, h.t, h.start, Owned::of(h.value))))?;
        Ok(out)
    }

    fn layout(custom: bool) -> BucketLayout {
        BucketLayout {
            schema: if custom { -53 } else { 3 },
            zero_threshold: if custom { 0.0 } else { 1e-128 },
            positive_spans: vec![Span { offset: -2, length: 2 }, Span { offset: 5, length: 1 }],
            negative_spans: if custom { vec![] } else { vec![Span { offset: 300, length: 1 }] },
            custom_values: if custom { vec![0.5, 1.0, 2.5] } else { vec![] },
        }
    }

    fn integer(custom: bool) -> Owned {
        Owned::Integer(Histogram {
            counter_reset_hint: CounterResetHint::NotReset,
            layout: layout(custom),
            zero_count: 7,
            count: 300,
            sum: -1.5,
            positive_buckets: vec![100, -50, 1],
            negative_buckets: if custom { vec![] } else { vec![90] },
        })
    }

    fn float(custom: bool) -> Owned {
        Owned::Float(FloatHistogram {
            counter_reset_hint: CounterResetHint::Gauge,
            layout: layout(custom),
            zero_count: 0.25,
            count: 30.5,
            sum: 1e300,
            positive_buckets: vec![1.0, 2.5, 3.0],
            negative_buckets: if custom { vec![] } else { vec![0.5] },
        })
    }

    fn record(values: &[(u64, i64, Owned)]) -> Vec<u8> {
        let mut encoder = HistogramsEncoder::default();
        for (series, t, value) in values {
            assert!(encoder.takes(0, value.as_ref()));
            encoder.push(WalHistogram { series: *series, t: *t, start: 0, value: value.as_ref() });
        }
        encoder.record().to_vec()
    }

    #[test]
    fn each_kind_comes_back_and_takes_no_other() {
        for (kind, value, other) in [
            (7, integer(false), integer(true)),
            (8, float(false), integer(false)),
            (9, integer(true), float(true)),
            (10, float(true), float(false)),
        ] {
            let mut encoder = HistogramsEncoder::default();
            for (series, t) in [(500, 1_000_000), (3, 999_000)] {
                encoder.push(WalHistogram { series, t, start: 0, value: value.as_ref() });
            }
            assert!(encoder.takes(0, value.as_ref()) && !encoder.takes(0, other.as_ref()));
            assert!(!encoder.takes(1, value.as_ref()));
            assert_eq!(encoder.record()[0], kind);
            let expected = vec![(500, 1_000_000, 0, value.clone()), (3, 999_000, 0, value)];
            assert_eq!(read(encoder.record()), Ok(expected));
        }
    }

    #[test]
    fn records_with_start_times_are_read_and_written_with_every_marker() {
        for value in [integer(true), integer(false), float(false), float(true)] {
            let is_float = matches!(value, Owned::Float(_));
            let mut body = Vec::new();
            match &value {
                Owned::Integer(h) => push_histogram(&mut body, h),
                Owned::Float(h) => push_float_histogram(&mut body, h),
            }
            let mut record = vec![if is_float { 13 } else { 12 }];
            [5, 1000, 900].into_iter().for_each(|v| push_varint(&mut record, v));
            record.extend_from_slice(&body);
            for (delta_ref, delta_t, marker) in [(1, 0, 0u8), (-3, 15, 2), (10, -5, 1)] {
                push_varint(&mut record, delta_ref);
                push_varint(&mut record, delta_t);
                record.push(marker);
                if marker == 2 {
                    push_varint(&mut record, 77);
                }
                record.extend_from_slice(&body);
            }
            let keys = [(5, 1000, 900), (6, 1000, 0), (3, 1015, 977), (13, 995, 977)];
            let expected = keys.map(|(series, t, start)| (series, t, start, value.clone()));
            assert_eq!(read(&record).as_deref(), Ok(&expected[..]));
            // We say the same start by its marker, the reference too.
            let mut encoder = HistogramsEncoder::default();
            for (series, t, start) in keys {
                assert!(encoder.takes(start, value.as_ref()));
                encoder.push(WalHistogram { series, t, start, value: value.as_ref() });
            }
            assert_eq!(encoder.record(), record);
        }
    }

    #[test]
    fn a_stale_sample_comes_back_without_buckets_and_an_unknown_schema_is_passed_over() {
        let stale = Histogram { sum: STALE_NAN, ..Histogram::default() };
        let found = read(&record(&[(1, 5, Owned::Integer(stale))])).unwrap();
        assert!(matches!(&found[0].3, Owned::Integer(h) if is_stale(h.sum) && h.positive_buckets.is_empty()));
        let Owned::Integer(mut other) = integer(false) else { unreachable!() };
        other.layout.schema = 53;
        assert_eq!(read(&record(&[(1, 5, Owned::Integer(other)), (2, 6, integer(false))])).map(|v| v.len()), Ok(1));
    }

    #[test]
    fn every_cut_is_an_error_and_so_are_spans_that_promise_other_buckets() {
        for value in [integer(false), integer(true), float(false), float(true)] {
            let whole = record(&[(1, 5, value.clone())]);
            for cut in 18..whole.len() {
                assert!(read(&whole[..cut]).is_err(), "cut at {cut}");
            }
            let mut differing = value;
            match &mut differing {
                Owned::Integer(h) => h.positive_buckets.push(1),
                Owned::Float(h) => h.positive_buckets.push(1.0),
            }
            assert!(matches!(read(&record(&[(1, 5, differing)])), Err(RecordError::Malformed { .. })));
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics_nor_asks_for_much_memory(mut bytes in prop::collection::vec(any::<u8>(), 1..300), kind in 7u8..14) {
            bytes[0] = kind;
            let _ = read(&bytes);
        }
    }
}
