//! Series out of the messages of an answer: checked, and rid of what was not asked for.

use bytes::Bytes;

use super::super::histogram::{Decoded, HistogramIn, RESERVED_SCHEMA_MAX, decode};
use super::wire::{self, AnswerError, DeclaredChunk, ReadLabels};
use crate::model::{Histogram, MalformedHistogram, TimestampMs, Value};
use crate::net::protobuf::{Field, Fields};
use crate::storage::merge::merge_chunks;
use crate::storage::{
    Chunk, ChunkBuilder, Columns, DecodeError, Encoding, Selector, SeriesChunks, TimeRange, TimedValue, decode_into,
    decode_values,
};

/// What was asked in one query.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub range: TimeRange,
    /// As it was sent: with the external labels.
    pub selector: Selector,
    /// Labels that series lose.
    pub dropped: Vec<Box<str>>,
    /// Whether series without samples are wanted.
    pub labels_only: bool,
}

/// Decodes messages. Keeps its buffers from one to the next.
#[derive(Default)]
pub(super) struct Decoder {
    labels: ReadLabels,
    columns: Columns,
    values: Vec<TimedValue>,
    floats: Vec<(TimestampMs, f64)>,
    histograms: Vec<(TimestampMs, Value)>,
    /// Series that did not satisfy what was asked.
    pub(super) unasked: u64,
}

impl Decoder {
    /// Appends the series of one frame of a streamed answer, as far as they were asked for.
    pub(super) fn frame(
        &mut self,
        message: &[u8],
        asked: &[Asked],
        out: &mut Vec<SeriesChunks>,
    ) -> Result<(), AnswerError> {
        let asked = asked_of(message, asked)?;
        for field in Fields::new(message) {
            let field = field?;
            if field.number == 1 {
                self.chunked_series(field.message()?, asked, out)?;
            }
        }
        Ok(())
    }

    fn chunked_series(
        &mut self,
        message: Fields<'_>,
        asked: &Asked,
        out: &mut Vec<SeriesChunks>,
    ) -> Result<(), AnswerError> {
        self.labels.clear();
        let mut chunks = Vec::new();
        for field in message {
            let field = field?;
            match field.number {
                1 => self.labels.take(&field)?,
                2 => chunks.extend(self.chunk(&wire::read_chunk(&field)?, asked.range)?),
                _ => {}
            }
        }
        self.keep(chunks, asked, out)
    }

    /// Decodes a chunk to see that it can be; `None` if nothing of it is in the range.
    fn chunk(&mut self, declared: &DeclaredChunk<'_>, range: TimeRange) -> Result<Option<Chunk>, AnswerError> {
        let DeclaredChunk { encoding, data, .. } = *declared;
        if encoding.sample_count(data) == Some(0) {
            return Ok(None);
        }
        let mut chunk = Chunk { min: declared.min, max: declared.max, encoding, data: Bytes::copy_from_slice(data) };
        let (first, last) = match encoding {
            Encoding::Xor | Encoding::Xor2 => self.check_floats(&chunk)?,
            _ => self.check_histograms(&chunk)?,
        };
        (chunk.min, chunk.max) = (TimestampMs(first), TimestampMs(last));
        Ok(range.overlaps(chunk.min, chunk.max).then_some(chunk))
    }

    fn check_floats(&mut self, chunk: &Chunk) -> Result<(i64, i64), AnswerError> {
        self.columns.clear();
        decode_into(chunk, &mut self.columns)?;
        ends(self.columns.times.iter().copied())
    }

    fn check_histograms(&mut self, chunk: &Chunk) -> Result<(i64, i64), AnswerError> {
        self.values.clear();
        decode_values(chunk, &mut self.values)?;
        for sample in &self.values {
            sound(&sample.value).map_err(|why| AnswerError::Histogram(why.to_string()))?;
        }
        ends(self.values.iter().map(|sample| sample.t.0))
    }

    /// Adds the series whose labels are in hand.
    fn keep(&mut self, chunks: Vec<Chunk>, asked: &Asked, out: &mut Vec<SeriesChunks>) -> Result<(), AnswerError> {
        if !self.labels.satisfy(&asked.selector) {
            self.unasked += 1;
            return Ok(());
        }
        if !chunks.is_empty() || asked.labels_only {
            out.push(SeriesChunks { labels: self.labels.without(&asked.dropped), chunks: merge_chunks(chunks)? });
        }
        Ok(())
    }

    /// Appends the series of an answer of samples, as far as they were asked for.
    pub(super) fn samples(
        &mut self,
        message: &[u8],
        asked: &[Asked],
        out: &mut Vec<SeriesChunks>,
    ) -> Result<(), AnswerError> {
        let mut results = 0;
        for field in Fields::new(message) {
            let field = field?;
            if field.number == 1 {
                let asked = asked.get(results).ok_or(AnswerError::Query(results as u64))?;
                self.result(field.message()?, asked, out)?;
                results += 1;
            }
        }
        if results == asked.len() {
            return Ok(());
        }
        Err(AnswerError::Results { wanted: asked.len(), given: results })
    }

    fn result(&mut self, message: Fields<'_>, asked: &Asked, out: &mut Vec<SeriesChunks>) -> Result<(), AnswerError> {
        for field in message {
            let field = field?;
            if field.number == 1 {
                self.time_series(field.message()?, asked, out)?;
            }
        }
        Ok(())
    }

    fn time_series(
        &mut self,
        message: Fields<'_>,
        asked: &Asked,
        out: &mut Vec<SeriesChunks>,
    ) -> Result<(), AnswerError> {
        self.labels.clear();
        self.floats.clear();
        self.histograms.clear();
        for field in message {
            self.time_series_field(&field?, asked.range)?;
        }
        let chunks = self.encode()?;
        self.keep(chunks, asked, out)
    }

    fn time_series_field(&mut self, field: &Field<'_>, range: TimeRange) -> Result<(), AnswerError> {
        match field.number {
            1 => self.labels.take(field)?,
            2 => {
                let (t, v) = wire::read_float(field)?;
                if range.contains(t) {
                    ascending(self.floats.last().map(|(before, _)| *before), t)?;
                    self.floats.push((t, v));
                }
            }
            4 => {
                let HistogramIn { t, value, .. } = decode(field.message()?)?;
                let value = match value {
                    Decoded::Integer(h) => Value::Histogram(Box::new(h)),
                    Decoded::Float(h) => Value::FloatHistogram(Box::new(h)),
                    Decoded::Malformed(why) => return Err(AnswerError::Histogram(why)),
                };
                if range.contains(t) {
                    ascending(self.histograms.last().map(|(before, _)| *before), t)?;
                    self.histograms.push((t, value));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Chunks of the samples in hand. Of a float and a histogram at one time the float stays, and of several of a kind the
    /// first.
    fn encode(&mut self) -> Result<Vec<Chunk>, DecodeError> {
        const NO_START: TimestampMs = TimestampMs(0);
        let mut builder = ChunkBuilder::new();
        let mut histograms = self.histograms.drain(..).peekable();
        let mut newest = None;
        for (t, v) in self.floats.drain(..) {
            while let Some((t, value)) = histograms.next_if(|(other, _)| *other < t) {
                if newest.replace(t) != Some(t) {
                    builder.push(t, NO_START, &value)?;
                }
            }
            if newest.replace(t) != Some(t) {
                builder.push_float(t, NO_START, v);
            }
        }
        for (t, value) in histograms {
            if newest.replace(t) != Some(t) {
                builder.push(t, NO_START, &value)?;
            }
        }
        Ok(builder.finish())
    }
}

/// The query that a frame answers.
fn asked_of<'a>(message: &[u8], asked: &'a [Asked]) -> Result<&'a Asked, AnswerError> {
    let mut index = 0;
    for field in Fields::new(message) {
        let field = field?;
        if field.number == 2 {
            index = field.varint()?;
        }
    }
    usize::try_from(index).ok().and_then(|i| asked.get(i)).ok_or(AnswerError::Query(index))
}

/// The first and the last of times that ascend.
fn ends(times: impl Iterator<Item = i64>) -> Result<(i64, i64), AnswerError> {
    let mut ends: Option<(i64, i64)> = None;
    for t in times {
        match &mut ends {
            Some((_, last)) if *last < t => *last = t,
            Some(_) => return Err(AnswerError::Times(TimestampMs(t))),
            None => ends = Some((t, t)),
        }
    }
    // A chunk of no samples is none; see the only caller's callers.
    ends.ok_or(AnswerError::Chunk(DecodeError::Truncated { sample: 0, count: 0 }))
}

/// Samples that are sent one by one may repeat a time, but not go back.
fn ascending(before: Option<TimestampMs>, t: TimestampMs) -> Result<(), AnswerError> {
    if before.is_none_or(|before| before <= t) { Ok(()) } else { Err(AnswerError::Times(t)) }
}

/// Whether a value can be computed with. Schemas that are too fine are made coarser by whoever computes.
fn sound(value: &Value) -> Result<(), MalformedHistogram> {
    let outcome = match value {
        Value::Float(_) => return Ok(()),
        Value::Histogram(h) => Histogram::validate(h),
        Value::FloatHistogram(h) => h.validate(),
    };
    match outcome {
        Err(MalformedHistogram::Schema(9..=RESERVED_SCHEMA_MAX)) => Ok(()),
        outcome => outcome,
    }
}

/// Reads the message of an answer of samples to one query that selects everything.
pub fn decode_samples(message: &[u8]) -> Result<Vec<SeriesChunks>, AnswerError> {
    let mut out = Vec::new();
    Decoder::default().samples(message, &[everything()], &mut out)?;
    Ok(out)
}

/// Reads the message of one frame of a streamed answer to one query that selects everything.
pub fn decode_frame(message: &[u8]) -> Result<Vec<SeriesChunks>, AnswerError> {
    let mut out = Vec::new();
    Decoder::default().frame(message, &[everything()], &mut out)?;
    Ok(out)
}

fn everything() -> Asked {
    Asked { range: TimeRange::ALL, selector: Selector::new(), dropped: Vec::new(), labels_only: false }
}
