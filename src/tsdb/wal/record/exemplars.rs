//! Records of exemplars.

use super::{Cursor, Kind, RecordError, push_labels, push_varint};
use crate::model::labels::LabelsIter;

/// One exemplar as the log holds it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WalExemplar<'a> {
    pub(crate) series: u64,
    pub(crate) t: i64,
    pub(crate) v: f64,
    /// Its own labels, encoded; see [`crate::model::labels`].
    pub(crate) labels: &'a [u8],
}

/// Writes an exemplars record one by one.
#[derive(Debug, Default)]
pub(crate) struct ExemplarsEncoder {
    bytes: Vec<u8>,
    first: (u64, i64),
}

impl ExemplarsEncoder {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Empty if there is none.
    pub(crate) fn record(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    pub(crate) fn push(&mut self, exemplar: WalExemplar<'_>) {
        let WalExemplar { series, t, v, labels } = exemplar;
        let out = &mut self.bytes;
        if out.is_empty() {
            self.first = (series, t);
            out.push(Kind::Exemplars as u8);
            out.extend_from_slice(&series.to_be_bytes());
            out.extend_from_slice(&t.to_be_bytes());
        }
        push_varint(out, series.wrapping_sub(self.first.0).cast_signed());
        push_varint(out, t.wrapping_sub(self.first.1));
        out.extend_from_slice(&v.to_bits().to_be_bytes());
        push_labels(out, LabelsIter::over(labels));
    }
}

/// Calls `visit` with each exemplar of a record.
pub(crate) fn each_exemplar(record: &[u8], visit: &mut dyn FnMut(WalExemplar<'_>)) -> Result<(), RecordError> {
    let mut cursor = Cursor::after_kind(record);
    if cursor.rest.is_empty() {
        return Ok(());
    }
    let first = cursor.u64("the first reference")?;
    let first_t = cursor.u64("the first time")?.cast_signed();
    let mut labels = Vec::new();
    while !cursor.rest.is_empty() {
        let series = first.wrapping_add_signed(cursor.varint("a reference")?);
        let t = first_t.wrapping_add(cursor.varint("a time")?);
        let v = f64::from_bits(cursor.u64("a value")?);
        cursor.labels(&mut labels)?;
        visit(WalExemplar { series, t, v, labels: &labels });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;

    /// Written by the reference's encoder (v0.314.0).
    const REFERENCE: &str = "04000000000000000700000000000003e800003ff800000000000002047370616e02c3bc0874726163655f6964036162630713800000000000000000f2ffffffff1fb090abfef9627ff000000000000002047370616e02c3bc0874726163655f696403616263";

    fn written() -> [(u64, i64, f64, Labels); 3] {
        let none = Labels::empty();
        let trace = Labels::from_pairs([("trace_id", "abc"), ("span", "ü")]);
        [(7, 1000, 1.5, trace.clone()), (3, 990, -0.0, none), (1 << 39, 1_700_000_000_000, f64::INFINITY, trace)]
    }

    #[test]
    fn exemplars_have_the_bytes_of_the_reference_and_read_back() {
        let mut encoder = ExemplarsEncoder::default();
        for (series, t, v, labels) in &written() {
            encoder.push(WalExemplar { series: *series, t: *t, v: *v, labels: labels.as_bytes() });
        }
        let hex: String = encoder.record().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, REFERENCE);
        let mut read = Vec::new();
        each_exemplar(encoder.record(), &mut |e| {
            read.push((e.series, e.t, e.v.to_bits(), Labels::from_encoded(e.labels)))
        })
        .unwrap();
        assert_eq!(read, written().map(|(series, t, v, labels)| (series, t, v.to_bits(), labels)));
    }

    #[test]
    fn a_record_that_is_cut_says_where() {
        let mut encoder = ExemplarsEncoder::default();
        for (series, t, v, labels) in &written() {
            encoder.push(WalExemplar { series: *series, t: *t, v: *v, labels: labels.as_bytes() });
        }
        // The one place where the record may end within: between two exemplars.
        let whole = (1..encoder.record().len()).filter(|n| each_exemplar(&encoder.record()[..*n], &mut |_| {}).is_ok());
        assert_eq!(whole.count(), 4, "behind the kind, the head and two exemplars");
    }
}
