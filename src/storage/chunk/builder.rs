//! Chunks out of samples of any kind, cut as Prometheus cuts them when it writes a series anew: after 120 samples, where
//! the kind changes, and where a histogram cannot follow the one before.
//!
//! The header of a histogram chunk says what is known about a reset before its first sample: what the sample itself says,
//! or what made it open a chunk. A chunk that was cut for its size says `Unknown`, as the reference's does.

use bytes::Bytes;

use super::float_histogram::FloatHistogramState;
use super::histogram::HistogramState;
use super::histogram_append::{self, Growing, Sample as _};
use super::histogram_layout::Form;
use super::xor::XorState;
use super::xor2::Xor2State;
use super::{Appended, Chunk, EncodeError, Encoding};
use crate::model::{CounterResetHint, FloatHistogram, Histogram, TimestampMs, Value};

/// Samples of a chunk after which the next one is opened.
pub const CHUNK_SAMPLES: u16 = 120;

/// Encodes samples of one series, whose times must ascend.
#[derive(Debug)]
pub struct ChunkBuilder {
    limit: u16,
    xor2: bool,
    open: Option<Open>,
    finished: Vec<Chunk>,
}

impl Default for ChunkBuilder {
    fn default() -> ChunkBuilder {
        ChunkBuilder::new()
    }
}

impl ChunkBuilder {
    /// A builder of chunks of at most [`CHUNK_SAMPLES`] samples.
    pub fn new() -> ChunkBuilder {
        ChunkBuilder::with_limit(CHUNK_SAMPLES)
    }

    /// A builder that cuts for size only where the format's count has no more room.
    pub(in crate::storage) fn uncut() -> ChunkBuilder {
        ChunkBuilder::with_limit(u16::MAX)
    }

    fn with_limit(limit: u16) -> ChunkBuilder {
        ChunkBuilder { limit, xor2: false, open: None, finished: Vec::new() }
    }

    /// Encodes floats as XOR2 if one of the chunks that are encoded anew was.
    pub(in crate::storage) fn in_place_of<'a>(self, chunks: impl IntoIterator<Item = &'a Chunk>) -> ChunkBuilder {
        let xor2 = chunks.into_iter().any(|chunk| chunk.encoding == Encoding::Xor2);
        ChunkBuilder { xor2, ..self }
    }

    /// Takes the next sample. On an error it was not taken, and the builder is as before.
    ///
    /// `start` is since when the sample has been counted, 0 if that is not known. The first sample with one opens a chunk of
    /// an encoding that has room for starts; samples without one may follow in it.
    pub fn push(&mut self, t: TimestampMs, start: TimestampMs, value: &Value) -> Result<(), EncodeError> {
        match value {
            Value::Float(v) => {
                self.push_float(t, start, *v);
                Ok(())
            }
            Value::Histogram(h) => self.push_histogram(t, start, h),
            Value::FloatHistogram(h) => self.push_float_histogram(t, start, h),
        }
    }

    /// [`push`](ChunkBuilder::push) of a float, which always fits.
    pub fn push_float(&mut self, t: TimestampMs, start: TimestampMs, v: f64) {
        match self.open_for(start) {
            Some((State::Float(state), bytes)) => state.append(bytes, t.0, v),
            Some((State::FloatWithStarts(state), bytes)) => state.append(bytes, t.0, start.0, v),
            _ => {
                let mut bytes = Vec::new();
                let state = open_floats(&mut bytes, t, start, v, self.xor2);
                return self.replace(Open { min: t, max: t, bytes, state });
            }
        }
        self.took(t, None);
    }

    fn push_histogram(&mut self, t: TimestampMs, start: TimestampMs, h: &Histogram) -> Result<(), EncodeError> {
        let state = self.open_for(start).and_then(|(state, bytes)| match state {
            State::Histogram(state) => Some((state, bytes)),
            _ => None,
        });
        let opened = grow(state, t, start, h)?;
        self.took(t, opened.map(|(state, bytes)| (State::Histogram(state), bytes)));
        Ok(())
    }

    fn push_float_histogram(
        &mut self,
        t: TimestampMs,
        start: TimestampMs,
        h: &FloatHistogram,
    ) -> Result<(), EncodeError> {
        let state = self.open_for(start).and_then(|(state, bytes)| match state {
            State::FloatHistogram(state) => Some((state, bytes)),
            _ => None,
        });
        let opened = grow(state, t, start, h)?;
        self.took(t, opened.map(|(state, bytes)| (State::FloatHistogram(state), bytes)));
        Ok(())
    }

    /// What may still grow and has room for the start.
    fn open_for(&mut self, start: TimestampMs) -> Option<(&mut State, &mut Vec<u8>)> {
        let limit = self.limit;
        let fits = |open: &&mut Open| open.state.count() < limit && (start.0 == 0 || open.state.has_starts());
        self.open.as_mut().filter(fits).map(|open| (&mut open.state, &mut open.bytes))
    }

    /// Notes that a sample was written: to the open chunk or to one that it opened.
    fn took(&mut self, t: TimestampMs, opened: Option<(State, Vec<u8>)>) {
        match (opened, &mut self.open) {
            (Some((state, bytes)), _) => self.replace(Open { min: t, max: t, bytes, state }),
            (None, Some(open)) => open.max = t,
            (None, None) => {}
        }
    }

    /// The chunks, ascending by time.
    pub fn finish(mut self) -> Vec<Chunk> {
        self.finished.extend(self.open.take().map(Open::close));
        self.finished
    }

    fn replace(&mut self, next: Open) {
        self.finished.extend(self.open.replace(next).map(Open::close));
    }
}

/// A chunk that still grows.
#[derive(Debug)]
struct Open {
    min: TimestampMs,
    max: TimestampMs,
    bytes: Vec<u8>,
    state: State,
}

/// What its next sample is encoded against.
#[derive(Debug)]
enum State {
    Float(XorState),
    FloatWithStarts(Xor2State),
    Histogram(HistogramState),
    FloatHistogram(FloatHistogramState),
}

impl State {
    fn count(&self) -> u16 {
        match self {
            State::Float(state) => state.count(),
            State::FloatWithStarts(state) => state.count(),
            State::Histogram(state) => state.count(),
            State::FloatHistogram(state) => state.count(),
        }
    }

    fn encoding(&self) -> Encoding {
        match self {
            State::Float(_) => Encoding::Xor,
            State::FloatWithStarts(_) => Encoding::Xor2,
            State::Histogram(state) => state.encoding(),
            State::FloatHistogram(state) => state.encoding(),
        }
    }

    fn has_starts(&self) -> bool {
        self.encoding().has_starts()
    }
}

fn open_floats(bytes: &mut Vec<u8>, t: TimestampMs, start: TimestampMs, v: f64, xor2: bool) -> State {
    if start.0 == 0 && !xor2 {
        let mut state = XorState::new();
        state.append(bytes, t.0, v);
        return State::Float(state);
    }
    let mut state = Xor2State::new();
    state.append(bytes, t.0, start.0, v);
    State::FloatWithStarts(state)
}

/// Writes a histogram to the open chunk, if there is one and it fits; else to a chunk of its own, which is answered.
fn grow<G: Growing>(
    open: Option<(&mut G, &mut Vec<u8>)>,
    t: TimestampMs,
    start: TimestampMs,
    sample: &G::Sample,
) -> Result<Option<(G, Vec<u8>)>, EncodeError> {
    let mut header = match sample.hint() {
        CounterResetHint::NotReset => CounterResetHint::Unknown,
        hint => hint,
    };
    if let Some((state, bytes)) = open {
        match histogram_append::append(state, bytes, t.0, start.0, sample)? {
            Appended::InPlace | Appended::Recoded => return Ok(None),
            Appended::MustCut(told) => header = told,
        }
    }
    let (mut state, mut bytes) = (G::new(header, Form::for_start(start.0)), Vec::new());
    histogram_append::append(&mut state, &mut bytes, t.0, start.0, sample)?;
    Ok(Some((state, bytes)))
}

impl Open {
    fn close(self) -> Chunk {
        Chunk { min: self.min, max: self.max, encoding: self.state.encoding(), data: Bytes::from(self.bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{TimedValue, decode_values};
    use super::*;
    use crate::model::{BucketLayout, Span};

    fn counter(count: u64, buckets: u32) -> Histogram {
        let layout =
            BucketLayout { positive_spans: vec![Span { offset: 0, length: buckets }], ..BucketLayout::default() };
        let mut positive_buckets = vec![0; buckets as usize];
        positive_buckets[0] = count as i64;
        if buckets > 1 {
            positive_buckets[1] = -(count as i64);
        }
        Histogram { layout, count, sum: count as f64, positive_buckets, ..Histogram::default() }
    }

    fn float(h: &Histogram) -> FloatHistogram {
        let positive_buckets = h.positive_buckets.iter().scan(0, |at, delta| {
            *at += delta;
            Some(*at as f64)
        });
        FloatHistogram {
            counter_reset_hint: h.counter_reset_hint,
            layout: h.layout.clone(),
            count: h.count as f64,
            sum: h.sum,
            positive_buckets: positive_buckets.collect(),
            ..FloatHistogram::default()
        }
    }

    fn boxed(h: Histogram) -> Value {
        Value::Histogram(Box::new(h))
    }

    fn build(values: &[Value]) -> Vec<Chunk> {
        let mut builder = ChunkBuilder::new();
        for (t, value) in (0..).zip(values) {
            builder.push(TimestampMs(t * 1000), TimestampMs(0), value).unwrap();
        }
        builder.finish()
    }

    /// Encoding, number of samples, the header's reset bits and the times of each chunk.
    fn shapes(chunks: &[Chunk]) -> Vec<(Encoding, u16, u8, i64, i64)> {
        let shape = |c: &Chunk| {
            let reset = if c.encoding == Encoding::Xor { 0 } else { c.data[2] >> 6 };
            (c.encoding, u16::from_be_bytes([c.data[0], c.data[1]]), reset, c.min.0 / 1000, c.max.0 / 1000)
        };
        chunks.iter().map(shape).collect()
    }

    #[test]
    fn the_first_sample_with_a_start_opens_a_chunk_that_has_room_for_it() {
        let mut builder = ChunkBuilder::new();
        let values = [Value::Float(1.0), boxed(counter(1, 1)), Value::FloatHistogram(Box::new(float(&counter(1, 1))))];
        let mut pushed = Vec::new();
        for (i, t) in (0..15).enumerate() {
            let start = if matches!(i % 5, 2 | 3) { t + 7 } else { 0 };
            let sample = TimedValue { t: TimestampMs(t), start: TimestampMs(start), value: values[i / 5].clone() };
            builder.push(sample.t, sample.start, &sample.value).unwrap();
            pushed.push(sample);
        }
        let chunks = builder.finish();
        use Encoding::*;
        let encodings: Vec<_> = chunks.iter().map(|c| (c.encoding, c.min.0, c.max.0)).collect();
        let expected = [
            (Xor, 0, 1),
            (Xor2, 2, 4),
            (Histogram, 5, 6),
            (HistogramStarts, 7, 9),
            (FloatHistogram, 10, 11),
            (FloatHistogramStarts, 12, 14),
        ];
        assert_eq!(encodings, expected);
        let mut decoded = Vec::new();
        chunks.iter().for_each(|c| decode_values(c, &mut decoded).unwrap());
        assert!(decoded.len() == 15 && decoded.iter().zip(&pushed).all(|(a, b)| a.is_same(b)));
    }

    #[test]
    fn chunks_are_cut_after_120_samples_and_where_the_kind_changes() {
        let mut values: Vec<_> = (0..250).map(|i| Value::Float(i as f64)).collect();
        values.extend((0..130).map(|i| boxed(counter(i, 1))));
        values.extend((0..3).map(|i| Value::FloatHistogram(Box::new(float(&counter(i, 1))))));
        values.push(Value::Float(1.0));
        let chunks = build(&values);
        use Encoding::*;
        let expected = [
            (Xor, 120, 0, 0, 119),
            (Xor, 120, 0, 120, 239),
            (Xor, 10, 0, 240, 249),
            (Histogram, 120, 0, 250, 369),
            (Histogram, 10, 0, 370, 379),
            (FloatHistogram, 3, 0, 380, 382),
            (Xor, 1, 0, 383, 383),
        ];
        assert_eq!(shapes(&chunks), expected);
        let mut decoded = Vec::new();
        chunks.iter().for_each(|c| decode_values(c, &mut decoded).unwrap());
        for (i, (found, given)) in decoded.iter().zip(&values).enumerate() {
            let TimedValue { t, start, value } = found;
            assert_eq!((t.0, start.0), (i as i64 * 1000, 0));
            match (value, given) {
                (Value::Float(a), Value::Float(b)) => assert_eq!(a, b),
                (Value::Histogram(a), Value::Histogram(b)) => assert_eq!((a.count, a.sum), (b.count, b.sum)),
                (Value::FloatHistogram(a), Value::FloatHistogram(b)) => assert_eq!((a.count, a.sum), (b.count, b.sum)),
                _ => panic!("{value:?} for {given:?}"),
            }
        }
        assert_eq!(decoded.len(), values.len());
    }

    #[test]
    fn a_counter_reset_opens_a_chunk_that_says_so_and_more_buckets_do_not() {
        let gauge = |count| Histogram { counter_reset_hint: CounterResetHint::Gauge, ..counter(count, 1) };
        let told = Histogram { counter_reset_hint: CounterResetHint::Reset, ..counter(9, 1) };
        let values = [counter(5, 1), counter(6, 2), counter(2, 2), counter(3, 2), told, gauge(4), gauge(1)].map(boxed);
        let histograms = Encoding::Histogram;
        let (unknown, reset, is_gauge) = (0b00, 0b10, 0b11);
        let expected = [
            (histograms, 2, unknown, 0, 1),
            (histograms, 2, reset, 2, 3),
            (histograms, 1, reset, 4, 4),
            (histograms, 2, is_gauge, 5, 6),
        ];
        assert_eq!(shapes(&build(&values)), expected);
        let values = [counter(5, 1), counter(2, 1)].map(|h| Value::FloatHistogram(Box::new(float(&h))));
        assert_eq!(shapes(&build(&values)).len(), 2);
    }

    #[test]
    fn a_malformed_histogram_is_refused_and_changes_nothing() {
        let mut builder = ChunkBuilder::new();
        builder.push(TimestampMs(1), TimestampMs(0), &boxed(counter(5, 1))).unwrap();
        let mut malformed = counter(6, 1);
        malformed.positive_buckets.clear();
        let refused = builder.push(TimestampMs(2), TimestampMs(0), &boxed(malformed));
        assert_eq!(refused, Err(EncodeError::BucketsAndSpansDiffer { promised: 1, given: 0 }));
        builder.push(TimestampMs(3), TimestampMs(0), &boxed(counter(6, 1))).unwrap();
        assert_eq!(shapes(&builder.finish()), [(Encoding::Histogram, 2, 0, 0, 0)]);
    }
}
