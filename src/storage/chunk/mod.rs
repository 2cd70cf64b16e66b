//! Encoded runs of samples and their decoding into columns.
//!
//! The encodings stand here and not beside the store, because remote sources, the query engine and the wire hand on
//! and decode the same bytes without knowing any store. The bytes are Prometheus's to the bit, and FORMATS.md beside
//! this file draws them field by field. The newer encodings have start timestamps; they are written where a sample has one.
//! Who owns a growing chunk decides when it is full; `cut.rs` has the rule of those who do as the reference's head.

mod bits;
mod builder;
pub mod cut;
pub mod float_histogram;
pub mod histogram;
mod histogram_append;
mod histogram_layout;
mod starts;
mod values;
pub mod xor;
pub mod xor2;

#[cfg(test)]
mod tests;

use bytes::Bytes;

pub use builder::{CHUNK_SAMPLES, ChunkBuilder};
pub use histogram_append::{Appended, EncodeError};
pub use values::{TimedValue, decode_values};

use crate::model::{FloatHistogram, Histogram};
use crate::model::{Sample, TimestampMs};
use histogram_layout::Form;

/// How a chunk's bytes are to be read; the discriminants are those of Prometheus's chunk files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Encoding {
    /// Gorilla-compressed floats.
    Xor = 1,
    /// Integer native histograms.
    Histogram = 2,
    /// Float native histograms.
    FloatHistogram = 3,
    /// Floats with time and value in one prefix, and with start timestamps.
    Xor2 = 4,
    /// Integer native histograms with start timestamps.
    HistogramStarts = 5,
    /// Float native histograms with start timestamps.
    FloatHistogramStarts = 6,
}

impl Encoding {
    /// The encoding of a chunk file's byte; `None` for bytes that stand for none.
    pub fn from_byte(byte: u8) -> Option<Encoding> {
        Some(match byte {
            1 => Encoding::Xor,
            2 => Encoding::Histogram,
            3 => Encoding::FloatHistogram,
            4 => Encoding::Xor2,
            5 => Encoding::HistogramStarts,
            6 => Encoding::FloatHistogramStarts,
            _ => return None,
        })
    }

    /// Whether it has room for start timestamps.
    pub fn has_starts(self) -> bool {
        matches!(self, Encoding::Xor2 | Encoding::HistogramStarts | Encoding::FloatHistogramStarts)
    }

    /// The number of samples that a chunk's header promises; `None` if there is no header.
    pub fn sample_count(self, data: &[u8]) -> Option<u16> {
        data.first_chunk().map(|head| u16::from_be_bytes(*head) & self.count_bits())
    }

    /// Writes another number of samples into a chunk's header, if there is one.
    pub(crate) fn set_sample_count(self, data: &mut [u8], samples: u16) {
        if let Some(head) = data.first_chunk_mut() {
            let others = u16::from_be_bytes(*head) & !self.count_bits();
            *head = (others | samples & self.count_bits()).to_be_bytes();
        }
    }

    /// The bits of the first two bytes that are the number of samples.
    fn count_bits(self) -> u16 {
        match self {
            Encoding::HistogramStarts | Encoding::FloatHistogramStarts => histogram_layout::COUNT_WITH_STARTS,
            _ => u16::MAX,
        }
    }
}

/// An encoded run of samples of one series.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// Time of the first sample.
    pub min: TimestampMs,
    /// Time of the last sample.
    pub max: TimestampMs,
    /// How `data` is encoded.
    pub encoding: Encoding,
    /// The chunk's payload as in Prometheus's chunk files: two bytes of sample count, then the bit stream.
    pub data: Bytes,
}

impl Chunk {
    /// The number of samples that the header promises; 0 if there is no header.
    pub fn sample_count(&self) -> u16 {
        self.encoding.sample_count(&self.data).unwrap_or(0)
    }
}

/// Decoded samples, column by column: floats, [`Histogram`]s or [`FloatHistogram`]s.
#[derive(Clone, Debug)]
pub struct Columns<V = f64> {
    /// Times in milliseconds.
    pub times: Vec<i64>,
    /// Values, as many as times.
    pub values: Vec<V>,
    /// Start timestamps in milliseconds, 0 where a sample has none. Empty until a chunk with starts is decoded; from then
    /// on as many as times.
    pub starts: Vec<i64>,
}

impl<V> Default for Columns<V> {
    fn default() -> Columns<V> {
        Columns { times: Vec::new(), values: Vec::new(), starts: Vec::new() }
    }
}

impl<V> Columns<V> {
    /// Forgets the samples and keeps the memory.
    pub fn clear(&mut self) {
        self.times.clear();
        self.values.clear();
        self.starts.clear();
    }

    /// Adds a sample; the first start opens the column of starts.
    pub(in crate::storage) fn push(&mut self, t: i64, value: V, start: Option<i64>) {
        if let Some(start) = start {
            // Samples of earlier chunks had none.
            self.starts.resize(self.times.len(), 0);
            self.starts.push(start);
        }
        self.times.push(t);
        self.values.push(value);
    }

    /// Gives samples of a chunk without starts a 0, if there is a column.
    fn fill_starts(&mut self) {
        if !self.starts.is_empty() {
            self.starts.resize(self.times.len(), 0);
        }
    }
}

impl Columns {
    /// The samples one by one.
    pub fn iter(&self) -> impl Iterator<Item = Sample> {
        self.times.iter().zip(&self.values).map(|(&t, &v)| Sample { t: TimestampMs(t), v })
    }
}

/// Why a chunk's bytes cannot be decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end before the sample that their header promises.
    #[error("the chunk ends within sample {sample} of {count}")]
    Truncated {
        /// Index of the sample that is cut.
        sample: u16,
        /// Samples that the header promises.
        count: u16,
    },
    /// The chunk does not hold floats.
    #[error("the chunk holds {0:?} samples, not floats")]
    NotFloats(Encoding),
    /// The chunk does not hold the kind of histograms that was asked for.
    #[error("the chunk holds {0:?} samples, not the histograms that were asked for")]
    NotTheseHistograms(Encoding),
    /// The histograms have a schema that no version of the format knows.
    #[error("histogram schema {0} is unknown")]
    UnknownSchema(i64),
    /// The layout, repeated for every sample, would take far more memory than any real chunk.
    #[error("the histogram layout is too large for so many samples")]
    TooLarge,
    /// A histogram has not the buckets that its spans promise.
    #[error("the histogram's spans promise {promised} buckets, it has {given}")]
    BucketsAndSpansDiffer {
        /// Sum of the spans' lengths.
        promised: u64,
        /// Buckets of that sign in the sample.
        given: u64,
    },
}

/// What was decoded is encoded anew.
impl From<EncodeError> for DecodeError {
    fn from(error: EncodeError) -> DecodeError {
        match error {
            EncodeError::BucketsAndSpansDiffer { promised, given } => {
                DecodeError::BucketsAndSpansDiffer { promised, given }
            }
            EncodeError::NotThisChunk(error) => error,
        }
    }
}

/// Appends the samples of a chunk of floats to `columns`; on an error the samples decoded before it stay there.
pub fn decode_into(chunk: &Chunk, columns: &mut Columns) -> Result<(), DecodeError> {
    let result = match chunk.encoding {
        Encoding::Xor => xor::decode_into(&chunk.data, columns),
        Encoding::Xor2 => xor2::decode_into(&chunk.data, columns),
        other => Err(DecodeError::NotFloats(other)),
    };
    columns.fill_starts();
    result
}

/// Appends the samples of a chunk of integer histograms to `columns`; on an error the samples decoded before it stay
/// there. Schemas above 8 come as they are stored.
pub fn decode_histograms_into(chunk: &Chunk, columns: &mut Columns<Histogram>) -> Result<(), DecodeError> {
    let result = match chunk.encoding {
        Encoding::Histogram => histogram::decode_into(&chunk.data, columns),
        Encoding::HistogramStarts => histogram::decode_form(&chunk.data, Form::WithStarts, columns),
        other => Err(DecodeError::NotTheseHistograms(other)),
    };
    columns.fill_starts();
    result
}

/// As [`decode_histograms_into`], for float histograms.
pub fn decode_float_histograms_into(chunk: &Chunk, columns: &mut Columns<FloatHistogram>) -> Result<(), DecodeError> {
    let result = match chunk.encoding {
        Encoding::FloatHistogram => float_histogram::decode_into(&chunk.data, columns),
        Encoding::FloatHistogramStarts => float_histogram::decode_form(&chunk.data, Form::WithStarts, columns),
        other => Err(DecodeError::NotTheseHistograms(other)),
    };
    columns.fill_starts();
    result
}
