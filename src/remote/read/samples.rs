//! Answers of decoded samples: one message, packed while it is written.
//!
//! A message tells its length before its content, and so does the packed block. So the packed pieces are kept until the
//! end, which takes a fraction of the message's size; of one series the unpacked samples are held.

use prost::encoding::encode_varint;

use super::super::snappy::{Packer, Place, SnappyError};
use super::external::merged;
use super::wire;
use crate::model::Labels;
use crate::net::protobuf::Writer;
use crate::storage::{
    Chunk, Columns, DecodeError, Encoding, SeriesChunks, TimeRange, TimedValue, decode_into, decode_values,
};

/// Makes one message of series.
pub(super) struct SamplesWriter {
    packer: Packer,
    series: Vec<u8>,
    columns: Columns,
    values: Vec<TimedValue>,
}

impl SamplesWriter {
    pub(super) fn new() -> SamplesWriter {
        SamplesWriter { packer: Packer::new(), series: Vec::new(), columns: Columns::default(), values: Vec::new() }
    }

    /// Opens the answer to the next query.
    pub(super) fn begin_query(&mut self) -> Result<Place, SnappyError> {
        self.packer.place()
    }

    /// Closes the answer to a query.
    pub(super) fn end_query(&mut self, place: Place) {
        let mut head = vec![wire::FIRST_MESSAGE];
        encode_varint(self.packer.since(&place), &mut head);
        self.packer.put_in(place, &head);
    }

    /// Writes a series, if it has a sample in the range, and says how many it has. It is kept by
    /// [`end_series`](SamplesWriter::end_series).
    pub(super) fn series(
        &mut self,
        external: &Labels,
        series: &SeriesChunks,
        range: TimeRange,
        labels_only: bool,
    ) -> Result<Option<u64>, DecodeError> {
        self.series.clear();
        wire::write_labels(&mut Writer::new(&mut self.series), merged(&series.labels, external));
        if labels_only {
            return Ok(Some(0));
        }
        let mut samples = 0;
        for chunk in &series.chunks {
            samples += match chunk.encoding {
                Encoding::Xor | Encoding::Xor2 => self.floats(chunk, range)?,
                _ => self.histograms(chunk, range)?,
            };
        }
        if samples == 0 {
            self.series.clear();
        }
        Ok((samples > 0).then_some(samples))
    }

    /// Keeps the series that was written last.
    pub(super) fn end_series(&mut self) -> Result<(), SnappyError> {
        if self.series.is_empty() {
            return Ok(());
        }
        let mut head = vec![wire::FIRST_MESSAGE];
        encode_varint(self.series.len() as u64, &mut head);
        self.packer.write(&head)?;
        self.packer.write(&self.series)
    }

    fn floats(&mut self, chunk: &Chunk, range: TimeRange) -> Result<u64, DecodeError> {
        self.columns.clear();
        decode_into(chunk, &mut self.columns)?;
        let from = self.columns.times.partition_point(|t| *t < range.min.0);
        let to = self.columns.times.partition_point(|t| *t <= range.max.0);
        let mut w = Writer::new(&mut self.series);
        for at in from..to {
            wire::write_float(&mut w, self.columns.times[at], self.columns.values[at]);
        }
        Ok(to.saturating_sub(from) as u64)
    }

    fn histograms(&mut self, chunk: &Chunk, range: TimeRange) -> Result<u64, DecodeError> {
        self.values.clear();
        decode_values(chunk, &mut self.values)?;
        let (mut w, mut samples) = (Writer::new(&mut self.series), 0);
        for sample in self.values.iter().filter(|sample| range.contains(sample.t)) {
            wire::write_value(&mut w, sample);
            samples += 1;
        }
        Ok(samples)
    }

    /// Bytes that are held for the message.
    pub(super) fn held(&self) -> u64 {
        self.packer.held()
    }

    /// Bytes that the packed message has at least.
    pub(super) fn packed(&self) -> u64 {
        self.packer.packed()
    }

    /// The packed message in pieces.
    pub(super) fn finish(self) -> Result<impl Iterator<Item = Vec<u8>>, SnappyError> {
        self.packer.finish()
    }
}
