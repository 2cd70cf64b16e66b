//! Samples of any kind one by one, for those who cannot work in columns because kinds may be mixed.

use super::{Chunk, Columns, DecodeError, Encoding, decode_float_histograms_into, decode_histograms_into, decode_into};
use crate::model::{TimestampMs, Value};

/// One sample of any kind.
#[derive(Clone, Debug)]
pub struct TimedValue {
    /// When.
    pub t: TimestampMs,
    /// Since when its counter has been counting; 0 if that is not known.
    pub start: TimestampMs,
    /// What.
    pub value: Value,
}

impl TimedValue {
    /// The value if it is a float.
    pub fn float(&self) -> Option<f64> {
        match self.value {
            Value::Float(v) => Some(v),
            _ => None,
        }
    }

    /// Whether times and values are the same to the bit; see [`Value::is_same`].
    pub fn is_same(&self, other: &TimedValue) -> bool {
        (self.t, self.start) == (other.t, other.start) && self.value.is_same(&other.value)
    }
}

/// Appends the samples of a chunk of any encoding to `out`; on an error nothing is appended.
pub fn decode_values(chunk: &Chunk, out: &mut Vec<TimedValue>) -> Result<(), DecodeError> {
    match chunk.encoding {
        Encoding::Xor | Encoding::Xor2 => decode_with(chunk, out, decode_into, Value::Float),
        Encoding::Histogram | Encoding::HistogramStarts => {
            decode_with(chunk, out, decode_histograms_into, |h| Value::Histogram(Box::new(h)))
        }
        Encoding::FloatHistogram | Encoding::FloatHistogramStarts => {
            decode_with(chunk, out, decode_float_histograms_into, |h| Value::FloatHistogram(Box::new(h)))
        }
    }
}

fn decode_with<V>(
    chunk: &Chunk,
    out: &mut Vec<TimedValue>,
    decode: impl Fn(&Chunk, &mut Columns<V>) -> Result<(), DecodeError>,
    wrap: impl Fn(V) -> Value,
) -> Result<(), DecodeError> {
    let mut columns = Columns::default();
    decode(chunk, &mut columns)?;
    // The column of starts is empty or complete.
    let starts = columns.starts.into_iter().chain(std::iter::repeat(0));
    let samples = columns.times.into_iter().zip(starts).zip(columns.values);
    let timed = samples.map(|((t, start), value)| TimedValue {
        t: TimestampMs(t),
        start: TimestampMs(start),
        value: wrap(value),
    });
    out.extend(timed);
    Ok(())
}
