//! Records that say which chunk holds a series' samples from there back.

use super::{Cursor, Kind, RecordError};

/// "The samples of this series that stand before this are in that chunk."
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Marker {
    /// The series' reference in the log.
    pub(crate) series: u64,
    /// Where the chunk lies: the number of its file in the high half, the offset in the low one. 0 is none: a writer
    /// that has begun a new buffer says so.
    pub(crate) place: u64,
}

/// Appends a marker to a record of markers, opening it if `out` is empty.
pub(crate) fn push_marker(out: &mut Vec<u8>, marker: Marker) {
    if out.is_empty() {
        out.push(Kind::MmapMarkers as u8);
    }
    out.extend_from_slice(&marker.series.to_be_bytes());
    out.extend_from_slice(&marker.place.to_be_bytes());
}

/// Calls `visit` with each marker of a record.
pub(crate) fn each_marker(record: &[u8], visit: &mut dyn FnMut(Marker)) -> Result<(), RecordError> {
    let mut cursor = Cursor::after_kind(record);
    while !cursor.rest.is_empty() {
        visit(Marker { series: cursor.u64("a reference")?, place: cursor.u64("a place")? });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_come_back_and_a_cut_one_is_told() {
        let markers = [Marker { series: 7, place: 3 << 32 | 8 }, Marker { series: u64::MAX >> 24, place: 0 }];
        let mut record = Vec::new();
        markers.into_iter().for_each(|m| push_marker(&mut record, m));
        let mut seen = Vec::new();
        each_marker(&record, &mut |m| seen.push(m)).unwrap();
        assert_eq!(seen, markers);
        for cut in 2..record.len() {
            let told = each_marker(&record[..cut], &mut |_| {});
            assert_eq!(told.is_err(), (cut - 1) % 16 != 0, "cut at {cut}");
        }
    }
}
