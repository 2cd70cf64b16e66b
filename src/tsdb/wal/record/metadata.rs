//! Records of metadata.

use super::{Cursor, Kind, RecordError, push_str, push_uvarint};
use crate::model::{Metadata, MetricType};

const UNIT: &str = "UNIT";
const HELP: &str = "HELP";
/// Metric types in the order of their numbers in the log.
const TYPES: [MetricType; 8] = [
    MetricType::Unknown,
    MetricType::Counter,
    MetricType::Gauge,
    MetricType::Histogram,
    MetricType::GaugeHistogram,
    MetricType::Summary,
    MetricType::Info,
    MetricType::StateSet,
];

/// Appends one series' metadata to a record, opening the record if `out` is empty.
pub(crate) fn push_metadata(out: &mut Vec<u8>, series: u64, metadata: &Metadata) {
    if out.is_empty() {
        out.push(Kind::Metadata as u8);
    }
    push_uvarint(out, series);
    let number = TYPES.iter().position(|t| *t == metadata.metric_type).unwrap_or_default();
    out.push(number as u8);
    push_uvarint(out, 2);
    for (name, text) in [(UNIT, &metadata.unit), (HELP, &metadata.help)] {
        push_str(out, name);
        push_str(out, text);
    }
}

/// Calls `visit` with the reference and the bytes of each entry of a metadata record.
pub(crate) fn each_metadata(record: &[u8], visit: &mut dyn FnMut(u64, &[u8])) -> Result<(), RecordError> {
    let mut cursor = Cursor::after_kind(record);
    while !cursor.rest.is_empty() {
        let entry = cursor.rest;
        let series = cursor.uvarint("a reference")?;
        cursor.u8("a metric type")?;
        for _ in 0..cursor.uvarint("the number of fields")? {
            cursor.bytes("a field's name")?;
            cursor.bytes("a field's value")?;
        }
        visit(series, &entry[..entry.len() - cursor.rest.len()]);
    }
    Ok(())
}

/// What an entry of a metadata record says. Types and fields of a newer version are passed over.
pub(crate) fn read_metadata(entry: &[u8]) -> Result<Metadata, RecordError> {
    let mut cursor = Cursor { rest: entry, kind: Kind::Metadata.name() };
    cursor.uvarint("a reference")?;
    let metric_type = TYPES.get(usize::from(cursor.u8("a metric type")?)).copied().unwrap_or_default();
    let mut metadata = Metadata { metric_type, ..Metadata::default() };
    for _ in 0..cursor.uvarint("the number of fields")? {
        let (name, text) = (cursor.bytes("a field's name")?, cursor.str("a field's value")?);
        match name {
            _ if name == UNIT.as_bytes() => text.clone_into(&mut metadata.unit),
            _ if name == HELP.as_bytes() => text.clone_into(&mut metadata.help),
            _ => {}
        }
    }
    Ok(metadata)
}

/// Whether every entry of a record can be read.
pub(crate) fn check_metadata(record: &[u8]) -> Result<(), RecordError> {
    let mut checked = Ok(());
    each_metadata(record, &mut |_, entry| {
        if checked.is_ok() {
            checked = read_metadata(entry).map(|_| ());
        }
    })?;
    checked
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by the reference's encoder (v0.314.0).
    const REFERENCE: &str = "06904e000204554e4954000448454c5007756e6b6e6f776ed94f010204554e4954000448454c5007636f756e746572a451020204554e4954000448454c50056761756765f152030204554e4954000448454c5009686973746f6772616dc054040204554e4954000448454c500e6761756765686973746f6772616d9156050204554e4954000448454c500773756d6d617279e457060204554e4954000448454c5004696e666fb959070204554e4954000448454c50087374617465736574905b010204554e4954077365636f6e64730448454c5008c39c0a68656c702e";

    fn metadata(metric_type: MetricType, unit: &str, help: &str) -> Metadata {
        Metadata { metric_type, unit: unit.to_owned(), help: help.to_owned() }
    }

    #[test]
    fn metadata_have_the_bytes_of_the_reference_and_read_back() {
        let mut written: Vec<_> = TYPES.map(|t| metadata(t, "", t.as_str())).to_vec();
        written.push(metadata(MetricType::Counter, "seconds", "Ü\nhelp."));
        let mut record = Vec::new();
        for (series, metadata) in (100..).zip(&written) {
            push_metadata(&mut record, series * series, metadata);
        }
        let hex: String = record.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, REFERENCE);
        let mut read = Vec::new();
        each_metadata(&record, &mut |series, entry| read.push((series, read_metadata(entry).unwrap()))).unwrap();
        assert_eq!(read, (100..).map(|n| n * n).zip(written).collect::<Vec<_>>());
    }

    #[test]
    fn types_and_fields_that_are_unknown_are_passed_over() {
        let mut entry = vec![5, 99, 2];
        for text in ["NEW", "x", "HELP", "h"] {
            push_str(&mut entry, text);
        }
        assert_eq!(read_metadata(&entry), Ok(metadata(MetricType::Unknown, "", "h")));
        assert!(read_metadata(&entry[..entry.len() - 1]).is_err());
    }
}
