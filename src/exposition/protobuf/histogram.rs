//! Histograms: the classic and the native one that a message may hold side by side.

use super::parse::{Fault, MessageExemplar, read_timestamp};
use crate::model::{BucketLayout, CounterResetHint, FloatHistogram, Histogram, Span, TimestampMs, Value};
use crate::net::protobuf::{Field, Fields, ProtobufError, unzigzag};

/// The value of a histogram. Every field has been read once, so that what is read on demand cannot fail.
#[derive(Clone, Copy, Debug)]
pub struct HistogramMessage<'a> {
    message: &'a [u8],
    is_gauge: bool,
    /// Since when observations have been counted; 0 if that is not known.
    pub start: TimestampMs,
    /// Sum of observations.
    pub sum: f64,
    count: u64,
    count_float: f64,
    schema: i32,
    zero_threshold: f64,
    zero_count: u64,
    zero_count_float: f64,
    has_spans: bool,
    has_buckets: bool,
    has_exemplars: bool,
    positive: Side,
    negative: Side,
}

/// How many buckets there are on one side of zero: by the spans, and as deltas and as counts.
#[derive(Clone, Copy, Default, Debug)]
struct Side {
    promised: u64,
    deltas: usize,
    counts: usize,
}

/// One bucket of a classic histogram.
#[derive(Clone, Copy, Debug)]
pub struct ClassicBucket<'a> {
    /// Its upper bound, inclusive.
    pub upper_bound: f64,
    /// Observations up to it.
    pub cumulative_count: f64,
    /// An exemplar of those in it.
    pub exemplar: Option<MessageExemplar<'a>>,
}

impl<'a> HistogramMessage<'a> {
    pub(super) fn read(message: &'a [u8], is_gauge: bool) -> Result<HistogramMessage<'a>, Fault> {
        let mut h = HistogramMessage {
            message,
            is_gauge,
            start: TimestampMs(0),
            sum: 0.0,
            count: 0,
            count_float: 0.0,
            schema: 0,
            zero_threshold: 0.0,
            zero_count: 0,
            zero_count_float: 0.0,
            has_spans: false,
            has_buckets: false,
            has_exemplars: false,
            positive: Side::default(),
            negative: Side::default(),
        };
        Fields::new(message).try_for_each(|field| h.take(&field?))?;
        Ok(h)
    }

    fn take(&mut self, field: &Field<'a>) -> Result<(), ProtobufError> {
        match field.number {
            1 => self.count = field.varint()?,
            2 => self.sum = field.double()?,
            3 => self.has_buckets = read_bucket(field).map(|_| true)?,
            4 => self.count_float = field.double()?,
            // An `sint32` has no more bits than these.
            5 => self.schema = field.zigzag()? as i32,
            6 => self.zero_threshold = field.double()?,
            7 => self.zero_count = field.varint()?,
            8 => self.zero_count_float = field.double()?,
            9 | 12 => {
                let span = read_span(field)?;
                self.has_spans = true;
                self.side(field.number).promised += u64::from(span.length);
            }
            10 | 13 => {
                let deltas = field.varints()?.try_fold(0, |n, delta| delta.map(|_| n + 1))?;
                self.side(field.number).deltas += deltas;
            }
            11 | 14 => self.side(field.number).counts += field.doubles()?.count(),
            15 => self.start = read_timestamp(field)?,
            16 => self.has_exemplars = field.bytes().map(|_| true)?,
            _ => {}
        }
        Ok(())
    }

    /// Fields from 12 on are of the positive side.
    fn side(&mut self, number: u32) -> &mut Side {
        if number >= 12 { &mut self.positive } else { &mut self.negative }
    }

    fn fields(&self) -> impl Iterator<Item = Field<'a>> + use<'a> {
        Fields::new(self.message).flatten()
    }

    /// Whether there is a native histogram. One without any observation is known by an empty span.
    pub fn is_native(&self) -> bool {
        self.has_spans || self.zero_threshold > 0.0 || self.zero_count > 0
    }

    /// Whether there are classic buckets.
    pub fn has_classic_buckets(&self) -> bool {
        self.has_buckets
    }

    /// All observations.
    pub fn count(&self) -> f64 {
        if self.count_float == 0.0 { self.count as f64 } else { self.count_float }
    }

    /// The classic buckets, in order.
    pub fn buckets(&self) -> impl Iterator<Item = ClassicBucket<'a>> + use<'a> {
        self.fields().filter(|field| field.number == 3).filter_map(|field| read_bucket(&field).ok())
    }

    /// The exemplars that belong to the histogram as a whole: its own, or those of the classic buckets.
    pub fn exemplars(&self) -> impl Iterator<Item = MessageExemplar<'a>> + use<'a> {
        let wanted = if self.has_exemplars { 16 } else { 3 };
        let exemplar = |field: Field<'a>| match field.number {
            16 => field.bytes().ok().map(|message| MessageExemplar { message }),
            _ => read_bucket(&field).ok().and_then(|bucket| bucket.exemplar),
        };
        self.fields().filter(move |field| field.number == wanted).filter_map(exemplar)
    }

    /// Whether it is a gauge histogram, where resets mean nothing.
    pub fn is_gauge(&self) -> bool {
        self.is_gauge
    }

    /// The native histogram without empty buckets: with float counts if there are any. The error is a sentence.
    pub fn native(&self) -> Result<Value, String> {
        let is_float = self.count_float > 0.0 || self.zero_count_float > 0.0;
        for (name, side) in [("positive", self.positive), ("negative", self.negative)] {
            let given = if is_float { side.counts } else { side.deltas };
            if side.promised != given as u64 {
                return Err(format!("{name} side: spans require {} buckets, have {given}", side.promised));
            }
        }
        Ok(if is_float { self.float_histogram() } else { self.integer_histogram() })
    }

    fn integer_histogram(&self) -> Value {
        let (layout, counter_reset_hint) = (self.layout(), self.hint());
        let mut histogram = Histogram {
            counter_reset_hint,
            layout,
            zero_count: self.zero_count,
            count: self.count,
            sum: self.sum,
            positive_buckets: Vec::with_capacity(self.positive.deltas),
            negative_buckets: Vec::with_capacity(self.negative.deltas),
        };
        for field in self.fields().filter(|field| matches!(field.number, 10 | 13)) {
            let deltas = field.varints().into_iter().flatten().flatten().map(unzigzag);
            let is_positive = field.number == 13;
            let side = if is_positive { &mut histogram.positive_buckets } else { &mut histogram.negative_buckets };
            side.extend(deltas);
        }
        histogram.compact(0);
        Value::Histogram(Box::new(histogram))
    }

    fn float_histogram(&self) -> Value {
        let (layout, counter_reset_hint) = (self.layout(), self.hint());
        let mut histogram = FloatHistogram {
            counter_reset_hint,
            layout,
            zero_count: self.zero_count_float,
            count: self.count_float,
            sum: self.sum,
            positive_buckets: Vec::with_capacity(self.positive.counts),
            negative_buckets: Vec::with_capacity(self.negative.counts),
        };
        for field in self.fields().filter(|field| matches!(field.number, 11 | 14)) {
            let counts = field.doubles().into_iter().flatten();
            let is_positive = field.number == 14;
            let side = if is_positive { &mut histogram.positive_buckets } else { &mut histogram.negative_buckets };
            side.extend(counts);
        }
        histogram.compact(0);
        Value::FloatHistogram(Box::new(histogram))
    }

    fn layout(&self) -> BucketLayout {
        let (mut positive_spans, mut negative_spans) = (Vec::new(), Vec::new());
        for field in self.fields().filter(|field| matches!(field.number, 9 | 12)) {
            let spans = if field.number == 12 { &mut positive_spans } else { &mut negative_spans };
            spans.extend(read_span(&field));
        }
        BucketLayout {
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            positive_spans,
            negative_spans,
            custom_values: Vec::new(),
        }
    }

    fn hint(&self) -> CounterResetHint {
        if self.is_gauge { CounterResetHint::Gauge } else { CounterResetHint::Unknown }
    }
}

fn read_bucket<'a>(field: &Field<'a>) -> Result<ClassicBucket<'a>, ProtobufError> {
    let (mut count, mut count_float, mut upper_bound, mut exemplar) = (0, 0.0, 0.0, None);
    for field in field.message()? {
        let field = field?;
        match field.number {
            1 => count = field.varint()?,
            2 => upper_bound = field.double()?,
            3 => exemplar = Some(MessageExemplar { message: field.bytes()? }),
            4 => count_float = field.double()?,
            _ => {}
        }
    }
    let cumulative_count = if count_float == 0.0 { count as f64 } else { count_float };
    Ok(ClassicBucket { upper_bound, cumulative_count, exemplar })
}

fn read_span(field: &Field<'_>) -> Result<Span, ProtobufError> {
    let mut span = Span { offset: 0, length: 0 };
    for field in field.message()? {
        let field = field?;
        match field.number {
            // An `sint32` and a `uint32` have no more bits than these.
            1 => span.offset = field.zigzag()? as i32,
            2 => span.length = field.varint()? as u32,
            _ => {}
        }
    }
    Ok(span)
}
