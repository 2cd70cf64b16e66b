//! What the records say. Layouts are drawn in `WAL.md`.

mod exemplars;
mod histograms;
pub(crate) mod markers;
mod metadata;
mod starts;

pub(crate) use exemplars::{ExemplarsEncoder, WalExemplar, each_exemplar};
pub(crate) use histograms::{HistogramsEncoder, WalHistogram, each_histogram};
pub(crate) use metadata::{check_metadata, each_metadata, push_metadata, read_metadata};

use starts::{StartsDecoder, StartsEncoder};

use crate::model::LabelsBuilder;
use crate::model::labels::push_pair;

/// The first byte of a record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub(crate) enum Kind {
    Series = 1,
    Samples = 2,
    Tombstones = 3,
    Exemplars = 4,
    MmapMarkers = 5,
    Metadata = 6,
    Histograms = 7,
    FloatHistograms = 8,
    CustomBucketHistograms = 9,
    CustomBucketFloatHistograms = 10,
    SamplesV2 = 11,
    HistogramsV2 = 12,
    FloatHistogramsV2 = 13,
    /// Written by a version that we do not know; like the reference, passed over.
    Unknown = 255,
}

impl Kind {
    pub(crate) fn of(record: &[u8]) -> Kind {
        match record.first() {
            Some(1) => Kind::Series,
            Some(2) => Kind::Samples,
            Some(3) => Kind::Tombstones,
            Some(4) => Kind::Exemplars,
            Some(5) => Kind::MmapMarkers,
            Some(6) => Kind::Metadata,
            Some(7) => Kind::Histograms,
            Some(8) => Kind::FloatHistograms,
            Some(9) => Kind::CustomBucketHistograms,
            Some(10) => Kind::CustomBucketFloatHistograms,
            Some(11) => Kind::SamplesV2,
            Some(12) => Kind::HistogramsV2,
            Some(13) => Kind::FloatHistogramsV2,
            _ => Kind::Unknown,
        }
    }

    /// Whether its entries are native histograms.
    pub(crate) fn is_histograms(self) -> bool {
        matches!(
            self,
            Kind::Histograms
                | Kind::FloatHistograms
                | Kind::CustomBucketHistograms
                | Kind::CustomBucketFloatHistograms
                | Kind::HistogramsV2
                | Kind::FloatHistogramsV2
        )
    }

    /// The name that metrics and reports use.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Series => "series",
            Kind::Samples => "samples",
            Kind::Tombstones => "tombstones",
            Kind::Exemplars => "exemplars",
            Kind::MmapMarkers => "mmap_markers",
            Kind::Metadata => "metadata",
            Kind::Histograms => "histogram_samples",
            Kind::FloatHistograms => "float_histogram_samples",
            Kind::CustomBucketHistograms => "custom_buckets_histogram_samples",
            Kind::CustomBucketFloatHistograms => "custom_buckets_float_histogram_samples",
            Kind::SamplesV2 => "samples_v2",
            Kind::HistogramsV2 => "histogram_samples_v2",
            Kind::FloatHistogramsV2 => "float_histogram_samples_v2",
            Kind::Unknown => "unknown",
        }
    }
}

/// Why a record whose checksum is right still cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("a {kind} record ends within {what}")]
    Truncated { kind: &'static str, what: &'static str },
    #[error("a {kind} record holds {what} that is not UTF-8")]
    NotUtf8 { kind: &'static str, what: &'static str },
    #[error("a {kind} record holds {what}")]
    Malformed { kind: &'static str, what: &'static str },
    #[error("a series record names a series without labels")]
    NoLabels,
}

/// One sample as the log holds it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct WalSample {
    pub(crate) series: u64,
    pub(crate) t: i64,
    /// Since when it has been counted; 0 if that is not known.
    pub(crate) start: i64,
    pub(crate) v: f64,
}

/// Writes a samples record sample by sample, without an intermediate list. A record that a sample with a start timestamp
/// opens is one of the second version, which only newer Prometheus servers read.
#[derive(Debug, Default)]
pub(crate) struct SamplesEncoder {
    bytes: Vec<u8>,
    first: (u64, i64),
    /// Of a record of the second version.
    starts: Option<StartsEncoder>,
}

impl SamplesEncoder {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
    }

    pub(crate) fn record(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Whether a sample can follow in this record.
    #[inline]
    pub(crate) fn takes(&self, sample: WalSample) -> bool {
        sample.start == 0 || self.bytes.is_empty() || self.starts.is_some()
    }

    /// Adds one that the record [`takes`](Self::takes).
    #[inline]
    pub(crate) fn push(&mut self, sample: WalSample) {
        if self.bytes.is_empty() {
            self.first = (sample.series, sample.t);
            self.starts = None;
            if sample.start != 0 {
                return self.open_with_starts(sample);
            }
            self.bytes.push(Kind::Samples as u8);
            self.bytes.extend_from_slice(&sample.series.to_be_bytes());
            self.bytes.extend_from_slice(&sample.t.to_be_bytes());
        }
        if let Some(starts) = &mut self.starts {
            starts.push_key(&mut self.bytes, sample.series, sample.t, sample.start);
            return self.bytes.extend_from_slice(&sample.v.to_bits().to_be_bytes());
        }
        // Put together on the stack: one copy into the vector instead of a bounds check per byte.
        let mut row = [0; 10 + 10 + 8];
        let mut n = put_varint(&mut row, 0, sample.series.wrapping_sub(self.first.0).cast_signed());
        n = put_varint(&mut row, n, sample.t.wrapping_sub(self.first.1));
        row[n..n + 8].copy_from_slice(&sample.v.to_bits().to_be_bytes());
        self.bytes.extend_from_slice(&row[..n + 8]);
    }

    #[cold]
    fn open_with_starts(&mut self, WalSample { series, t, start, v }: WalSample) {
        self.bytes.push(Kind::SamplesV2 as u8);
        self.starts = Some(StartsEncoder::open(&mut self.bytes, series, t, start));
        self.bytes.extend_from_slice(&v.to_bits().to_be_bytes());
    }
}

/// Appends one series to a series record, opening the record if `out` is empty.
pub(crate) fn push_series<'a>(
    out: &mut Vec<u8>,
    series: u64,
    labels: impl Iterator<Item = (&'a str, &'a str)> + Clone,
) {
    if out.is_empty() {
        out.push(Kind::Series as u8);
    }
    out.extend_from_slice(&series.to_be_bytes());
    push_labels(out, labels);
}

fn push_labels<'a>(out: &mut Vec<u8>, labels: impl Iterator<Item = (&'a str, &'a str)> + Clone) {
    push_uvarint(out, labels.clone().count() as u64);
    for (name, value) in labels {
        push_str(out, name);
        push_str(out, value);
    }
}

/// Calls `visit` with the reference and the encoded labels (see [`crate::model::labels`]) of each series of a record.
pub(crate) fn each_series(record: &[u8], visit: &mut dyn FnMut(u64, &[u8])) -> Result<(), RecordError> {
    let mut cursor = Cursor::after_kind(record);
    let mut encoded = Vec::new();
    while !cursor.rest.is_empty() {
        let series = cursor.u64("a reference")?;
        cursor.labels(&mut encoded)?;
        if encoded.is_empty() {
            return Err(RecordError::NoLabels);
        }
        visit(series, &encoded);
    }
    Ok(())
}

/// Calls `visit` with each sample of a samples record of either version.
pub(crate) fn each_sample(record: &[u8], visit: &mut impl FnMut(WalSample)) -> Result<(), RecordError> {
    match Kind::of(record) {
        Kind::SamplesV2 => each_sample_v2(record, visit),
        _ => each_sample_v1(record, visit),
    }
}

fn each_sample_v1(record: &[u8], visit: &mut impl FnMut(WalSample)) -> Result<(), RecordError> {
    let mut cursor = Cursor::after_kind(record);
    if cursor.rest.is_empty() {
        return Ok(());
    }
    let first = cursor.u64("the first reference")?;
    let first_t = cursor.u64("the first time")?.cast_signed();
    while !cursor.rest.is_empty() {
        let series = first.wrapping_add_signed(cursor.varint("a reference")?);
        let t = first_t.wrapping_add(cursor.varint("a time")?);
        let v = f64::from_bits(cursor.u64("a value")?);
        visit(WalSample { series, t, start: 0, v });
    }
    Ok(())
}

fn each_sample_v2(record: &[u8], visit: &mut impl FnMut(WalSample)) -> Result<(), RecordError> {
    let mut cursor = Cursor::after_kind(record);
    if cursor.rest.is_empty() {
        return Ok(());
    }
    let mut starts = StartsDecoder::open(&mut cursor)?;
    while !cursor.rest.is_empty() {
        let (series, t, start) = starts.next(&mut cursor)?;
        let v = f64::from_bits(cursor.u64("a value")?);
        visit(WalSample { series, t, start, v });
    }
    Ok(())
}

/// Calls `visit` with the reference, the first and the last time of each entry of a tombstones record.
pub(crate) fn each_tombstone(record: &[u8], visit: &mut dyn FnMut(u64, i64, i64)) -> Result<(), RecordError> {
    let mut cursor = Cursor::after_kind(record);
    while !cursor.rest.is_empty() {
        let series = cursor.u64("a reference")?;
        let min = cursor.varint("the first time")?;
        visit(series, min, cursor.varint("the last time")?);
    }
    Ok(())
}

/// Appends one deleted interval to a tombstones record, opening the record if `out` is empty.
pub(crate) fn push_tombstone(out: &mut Vec<u8>, series: u64, min: i64, max: i64) {
    if out.is_empty() {
        out.push(Kind::Tombstones as u8);
    }
    out.extend_from_slice(&series.to_be_bytes());
    push_varint(out, min);
    push_varint(out, max);
}

/// Whether a record of a kind that the store reads can be read to its end.
pub(crate) fn check(record: &[u8]) -> Result<(), RecordError> {
    match Kind::of(record) {
        Kind::Series => each_series(record, &mut |_, _| {}),
        Kind::Samples | Kind::SamplesV2 => each_sample(record, &mut |_| {}),
        Kind::Exemplars => each_exemplar(record, &mut |_| {}),
        kind if kind.is_histograms() => each_histogram(record, &mut |_| {}),
        Kind::Metadata => check_metadata(record),
        Kind::Tombstones => each_tombstone(record, &mut |_, _, _| {}),
        Kind::MmapMarkers => markers::each_marker(record, &mut |_| {}),
        _ => Ok(()),
    }
}

/// Walks a record's bytes; every step says what it was looking for.
#[derive(Clone, Copy)]
struct Cursor<'a> {
    rest: &'a [u8],
    kind: &'static str,
}

impl<'a> Cursor<'a> {
    fn after_kind(record: &'a [u8]) -> Cursor<'a> {
        Cursor { rest: record.get(1..).unwrap_or_default(), kind: Kind::of(record).name() }
    }

    fn cut(&self, what: &'static str) -> RecordError {
        RecordError::Truncated { kind: self.kind, what }
    }

    fn malformed(&self, what: &'static str) -> RecordError {
        RecordError::Malformed { kind: self.kind, what }
    }

    /// A number of things that take at least so many bytes each; more than can follow are not believed.
    fn count(&mut self, bytes_each: usize, what: &'static str) -> Result<usize, RecordError> {
        let count = self.uvarint(what)?;
        let most = self.rest.len() / bytes_each;
        usize::try_from(count).ok().filter(|n| *n <= most).ok_or(self.cut(what))
    }

    fn u8(&mut self, what: &'static str) -> Result<u8, RecordError> {
        let (first, rest) = self.rest.split_first().ok_or(self.cut(what))?;
        self.rest = rest;
        Ok(*first)
    }

    #[inline]
    fn u64(&mut self, what: &'static str) -> Result<u64, RecordError> {
        let (first, rest) = self.rest.split_first_chunk::<8>().ok_or(self.cut(what))?;
        self.rest = rest;
        Ok(u64::from_be_bytes(*first))
    }

    fn float(&mut self, what: &'static str) -> Result<f64, RecordError> {
        self.u64(what).map(f64::from_bits)
    }

    #[inline]
    fn uvarint(&mut self, what: &'static str) -> Result<u64, RecordError> {
        let mut value = 0;
        for (i, byte) in self.rest.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * i);
            if *byte < 0x80 {
                self.rest = &self.rest[i + 1..];
                return Ok(value);
            }
        }
        Err(self.cut(what))
    }

    #[inline]
    fn varint(&mut self, what: &'static str) -> Result<i64, RecordError> {
        let zigzag = self.uvarint(what)?;
        Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
    }

    fn bytes(&mut self, what: &'static str) -> Result<&'a [u8], RecordError> {
        let len = self.uvarint(what)?;
        let len = usize::try_from(len).ok().filter(|n| *n <= self.rest.len()).ok_or(self.cut(what))?;
        let (bytes, rest) = self.rest.split_at(len);
        self.rest = rest;
        Ok(bytes)
    }

    fn str(&mut self, what: &'static str) -> Result<&'a str, RecordError> {
        let kind = self.kind;
        std::str::from_utf8(self.bytes(what)?).map_err(|_| RecordError::NotUtf8 { kind, what })
    }
}

impl Cursor<'_> {
    /// Reads labels into `encoded` (see [`crate::model::labels`]), brought into order if another writer's are in none.
    fn labels(&mut self, encoded: &mut Vec<u8>) -> Result<(), RecordError> {
        let pairs = self.uvarint("the number of labels")?;
        encoded.clear();
        let mut plain = true;
        let start = *self;
        let mut previous = "";
        for _ in 0..pairs {
            let (name, value) = (self.str("a label name")?, self.str("a label value")?);
            plain &= previous < name && !value.is_empty();
            previous = name;
            push_pair(encoded, name, value);
        }
        if !plain {
            let (mut builder, mut again) = (LabelsBuilder::new(), start);
            for _ in 0..pairs {
                let (name, value) = (again.str("a label name")?, again.str("a label value")?);
                builder.set(name, value);
            }
            encoded.clear();
            encoded.extend_from_slice(builder.encode());
        }
        Ok(())
    }
}

fn put_varint(out: &mut [u8; 28], mut at: usize, value: i64) -> usize {
    let mut zigzag = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while zigzag >= 0x80 {
        out[at] = zigzag as u8 | 0x80;
        zigzag >>= 7;
        at += 1;
    }
    out[at] = zigzag as u8;
    at + 1
}

fn push_uvarint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn push_varint(out: &mut Vec<u8>, value: i64) {
    push_uvarint(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

fn push_str(out: &mut Vec<u8>, text: &str) {
    push_uvarint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;
    use proptest::prelude::*;

    fn samples_of(record: &[u8]) -> Vec<(u64, i64, i64, u64)> {
        let mut out = Vec::new();
        each_sample(record, &mut |s| out.push((s.series, s.t, s.start, s.v.to_bits()))).unwrap();
        out
    }

    #[test]
    fn series_come_back_as_they_were_written() {
        let a = Labels::from_pairs([("__name__", "up"), ("job", "node")]);
        let b = Labels::from_pairs([("__name__", "ü"), ("x", &"y".repeat(300))]);
        let mut record = Vec::new();
        push_series(&mut record, 7, a.iter());
        push_series(&mut record, 1 << 39, b.iter());
        let mut seen = Vec::new();
        each_series(&record, &mut |series, labels| seen.push((series, Labels::from_encoded(labels)))).unwrap();
        assert_eq!(seen, [(7, a), (1 << 39, b)]);
    }

    #[test]
    fn unsorted_labels_and_empty_values_of_other_writers_are_put_in_order() {
        let mut record = Vec::new();
        push_series(&mut record, 1, [("b", "2"), ("c", ""), ("a", "1")].into_iter());
        let mut seen = Vec::new();
        each_series(&record, &mut |_, labels| seen.push(Labels::from_encoded(labels))).unwrap();
        assert_eq!(seen, [Labels::from_pairs([("a", "1"), ("b", "2")])]);
    }

    #[test]
    fn samples_of_version_two_are_read_with_every_start_time_marker() {
        // ref 5, t 1000, st 900, 1.0; then no start, same start, explicit start.
        let mut record = vec![Kind::SamplesV2 as u8];
        for v in [5, 1000, 900] {
            push_varint(&mut record, v);
        }
        record.extend_from_slice(&1f64.to_bits().to_be_bytes());
        for (delta_ref, delta_t, marker) in [(1, 0, 0u8), (-3, 15, 1), (10, -5, 2)] {
            push_varint(&mut record, delta_ref);
            push_varint(&mut record, delta_t);
            record.push(marker);
            if marker == 2 {
                push_varint(&mut record, 77);
            }
            record.extend_from_slice(&2f64.to_bits().to_be_bytes());
        }
        let two = 2f64.to_bits();
        let expected = [(5, 1000, 900, 1f64.to_bits()), (6, 1000, 0, two), (3, 1015, 0, two), (13, 995, 977, two)];
        assert_eq!(samples_of(&record), expected);
    }

    #[test]
    fn only_a_sample_with_a_start_opens_a_record_of_version_two() {
        let sample = |series, start| WalSample { series, t: 1000, start, v: 2.0 };
        let mut encoder = SamplesEncoder::default();
        encoder.push(sample(5, 0));
        assert!(encoder.takes(sample(6, 0)) && !encoder.takes(sample(6, 900)));
        assert_eq!(Kind::of(encoder.record()), Kind::Samples);
        encoder.clear();
        for (series, start) in [(5, 900), (6, 0), (7, 901), (8, 901)] {
            assert!(encoder.takes(sample(series, start)));
            encoder.push(sample(series, start));
        }
        // First sample, no start, another start as its distance to the first, the same start again.
        let mut record = vec![11, 10, 0xd0, 0x0f, 0x88, 0x0e];
        let value = 2f64.to_bits().to_be_bytes();
        record.extend_from_slice(&value);
        for key in [&[2, 0, 0][..], &[2, 0, 2, 2], &[2, 0, 1]] {
            record.extend_from_slice(key);
            record.extend_from_slice(&value);
        }
        assert_eq!(encoder.record(), record);
        encoder.clear();
        encoder.push(sample(9, 0));
        assert_eq!(Kind::of(encoder.record()), Kind::Samples);
    }

    fn starts() -> impl Strategy<Value = i64> {
        prop_oneof![Just(0i64), Just(5i64), any::<i64>()]
    }

    proptest! {
        #[test]
        fn samples_come_back_to_the_bit(
            mut samples in prop::collection::vec((any::<u64>(), any::<i64>(), starts(), any::<u64>()), 1..50),
            with_starts: bool,
        ) {
            let mut encoder = SamplesEncoder::default();
            if !with_starts {
                samples.iter_mut().for_each(|(_, _, start, _)| *start = 0);
            } else if samples[0].2 == 0 {
                samples[0].2 = 1;
            }
            for &(series, t, start, bits) in &samples {
                let sample = WalSample { series, t, start, v: f64::from_bits(bits) };
                prop_assert!(encoder.takes(sample));
                encoder.push(sample);
            }
            prop_assert_eq!(samples_of(encoder.record()), samples);
        }

        #[test]
        fn garbage_never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0u8..15) {
            if let Some(first) = bytes.first_mut() { *first = kind }
            let _ = each_series(&bytes, &mut |_, _| {});
            let _ = each_sample(&bytes, &mut |_| {});
            let _ = each_metadata(&bytes, &mut |_, _| {});
            let _ = each_tombstone(&bytes, &mut |_, _, _| {});
            let _ = check(&bytes);
        }
    }
}
