//! Encoded runs of samples and their decoding into columns.
//!
//! The encodings stand here and not beside the store, because remote sources, the query engine and the wire hand on
//! and decode the same bytes without knowing any store.

pub mod xor;

use bytes::Bytes;

use crate::model::{Sample, TimestampMs};

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

/// Decoded samples, column by column.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    /// Times in milliseconds.
    pub times: Vec<i64>,
    /// Values, as many as times.
    pub values: Vec<f64>,
}

impl Columns {
    /// Forgets the samples and keeps the memory.
    pub fn clear(&mut self) {
        self.times.clear();
        self.values.clear();
    }

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
}

/// Appends the chunk's samples to `columns`; on an error the samples decoded before it stay there.
pub fn decode_into(chunk: &Chunk, columns: &mut Columns) -> Result<(), DecodeError> {
    match chunk.encoding {
        Encoding::Xor => xor::decode_into(&chunk.data, columns),
        other => Err(DecodeError::NotFloats(other)),
    }
}
