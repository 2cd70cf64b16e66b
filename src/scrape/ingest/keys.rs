//! What stands for a series' text where a format has none: bytes that are the same in every scrape, and from which the
//! labels can be decoded should that ever be needed.
//!
//! A key begins with a byte that no line of text begins with. A protobuf metric's key holds its family's name and its
//! labels' messages as they are, so that it is made without reading them, and behind them which of the metric's series it
//! is. A converted histogram's key holds its labels as [`Labels`](crate::model::Labels) are encoded.

use super::{Admission, Ingest, IngestError, Stamp, Taken, Text};
use crate::exposition::protobuf::{LabelPair, MessageFamily, Metric};
use crate::exposition::{SeriesLabels, format_openmetrics_float};
use crate::model::METRIC_NAME;
use crate::model::labels::LabelsIter;
use crate::scrape::cache::Kind;

/// First byte of a protobuf metric's key.
const MESSAGE: u8 = 0;
/// First byte of a key of encoded labels.
const PAIRS: u8 = 1;

/// Which of its metric's series a sample belongs to.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Part {
    /// The one that is called like the family.
    Whole,
    Count,
    Sum,
    /// A bucket of a classic histogram, by its upper bound.
    Bucket(f64),
    Quantile(f64),
}

impl Part {
    fn push(self, key: &mut Vec<u8>) {
        let (tag, bound) = match self {
            Part::Whole => (0, None),
            Part::Count => (1, None),
            Part::Sum => (2, None),
            Part::Bucket(bound) => (3, Some(bound)),
            Part::Quantile(bound) => (4, Some(bound)),
        };
        key.push(tag);
        key.extend(bound.into_iter().flat_map(|bound| bound.to_bits().to_le_bytes()));
    }

    fn read(bytes: &[u8]) -> Option<Part> {
        let (tag, bound) = bytes.split_first()?;
        let bound = || Some(f64::from_bits(u64::from_le_bytes(bound.try_into().ok()?)));
        Some(match tag {
            0 => Part::Whole,
            1 => Part::Count,
            2 => Part::Sum,
            3 => Part::Bucket(bound()?),
            _ => Part::Quantile(bound()?),
        })
    }

    fn suffix(self) -> &'static str {
        match self {
            Part::Whole | Part::Quantile(_) => "",
            Part::Count => "_count",
            Part::Sum => "_sum",
            Part::Bucket(_) => "_bucket",
        }
    }

    fn label(self) -> Option<(&'static str, f64)> {
        match self {
            Part::Bucket(bound) => Some(("le", bound)),
            Part::Quantile(quantile) => Some(("quantile", quantile)),
            _ => None,
        }
    }
}

/// What the keys of a metric's series have in common.
pub(super) fn metric_key(key: &mut Vec<u8>, family: &MessageFamily<'_>, metric: &Metric<'_>) {
    key.clear();
    key.push(MESSAGE);
    // The length of all that is shared, once it is known.
    key.extend([0; 4]);
    push_chunk(key, family.name.as_bytes());
    metric.label_messages().for_each(|label| push_chunk(key, label));
    // Parts of a body of less than 4 GiB.
    let shared = u32::try_from(key.len()).unwrap_or(u32::MAX);
    key[1..5].copy_from_slice(&shared.to_le_bytes());
}

fn push_chunk(key: &mut Vec<u8>, chunk: &[u8]) {
    key.extend(u32::try_from(chunk.len()).unwrap_or(u32::MAX).to_le_bytes());
    key.extend_from_slice(chunk);
}

fn take_chunk<'k>(rest: &mut &'k [u8]) -> Option<&'k [u8]> {
    let (length, behind) = rest.split_first_chunk()?;
    let (chunk, behind) = behind.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *rest = behind;
    Some(chunk)
}

/// The key of encoded pairs, sorted by name.
pub(super) fn pairs_key(pairs: &[u8]) -> Box<[u8]> {
    std::iter::once(PAIRS).chain(pairs.iter().copied()).collect()
}

/// The labels that a key stands for; the error is a sentence about what the body holds.
pub(super) fn decode_key(key: &[u8], labels: &mut SeriesLabels) -> Result<(), String> {
    labels.clear();
    match key.split_first() {
        Some((&MESSAGE, _)) => decode_message(key, labels),
        Some((_, pairs)) => {
            LabelsIter::over(pairs).for_each(|(name, value)| labels.push_pair(name, value));
            Ok(())
        }
        None => Err("an empty key".to_owned()),
    }
}

fn decode_message(key: &[u8], labels: &mut SeriesLabels) -> Result<(), String> {
    let odd = || "an unreadable key".to_owned();
    let shared = key.get(1..5).and_then(|length| length.try_into().ok()).map(u32::from_le_bytes).ok_or_else(odd)?;
    let (shared, part) = key.split_at_checked(shared as usize).ok_or_else(odd)?;
    let part = Part::read(part).ok_or_else(odd)?;
    let mut rest = shared.get(5..).ok_or_else(odd)?;
    let name = take_chunk(&mut rest).and_then(|name| std::str::from_utf8(name).ok()).ok_or_else(odd)?;
    match part.suffix() {
        "" => labels.push_pair(METRIC_NAME, name),
        suffix => labels.push_pair(METRIC_NAME, &format!("{name}{suffix}")),
    }
    while let Some(message) = take_chunk(&mut rest) {
        let LabelPair { name, value } = LabelPair::read(message)?;
        labels.push_pair(name, value);
    }
    if let Some((name, bound)) = part.label() {
        labels.push_pair(name, &format_openmetrics_float(bound));
    }
    Ok(())
}

impl Ingest<'_, '_> {
    /// Begins a key with what its metric's series share; returns where.
    #[inline]
    pub(super) fn push_key(&mut self, shared: &[u8], part: Part) -> usize {
        let from = self.keys.len();
        self.keys.extend_from_slice(shared);
        part.push(&mut self.keys);
        from
    }

    /// Takes a sample whose series' key is the last one.
    #[inline]
    pub(super) fn keyed_series(
        &mut self,
        from: usize,
        stamp: Stamp,
        admission: Admission,
        put: impl FnOnce(&mut Self, Taken) -> Result<(), IngestError>,
    ) -> Result<(), IngestError> {
        let key = &self.keys[from..];
        let text = Text::Key(from);
        match self.cache.expected_whole(key).or_else(|| self.cache.find(key)) {
            Some((index, entry)) if entry.kind == Kind::Series => {
                self.known_series((index, &entry), text, stamp, admission, put)
            }
            Some((index, _)) => {
                self.dropped_series(index);
                self.keys.truncate(from);
                Ok(())
            }
            None => {
                decode_key(&self.keys[from..], &mut self.labels).map_err(IngestError::Key)?;
                // Only what is known already may go on without being counted.
                let admission = if admission == Admission::Free { Admission::Counted } else { admission };
                self.new_series(text, stamp, admission, put)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_as_they_were_written() {
        for part in [Part::Whole, Part::Count, Part::Sum, Part::Bucket(-0.5), Part::Quantile(f64::INFINITY)] {
            let mut key = Vec::new();
            part.push(&mut key);
            assert_eq!(Part::read(&key), Some(part));
        }
    }

    #[test]
    fn a_key_of_pairs_gives_its_labels_back() {
        let labels = crate::model::Labels::from_pairs([("__name__", "m"), ("a", "b")]);
        let mut decoded = SeriesLabels::new();
        decode_key(&pairs_key(labels.as_bytes()), &mut decoded).expect("a good key");
        assert_eq!(decoded.iter().collect::<Vec<_>>(), [("__name__", "m"), ("a", "b")]);
        assert!(decode_key(&[], &mut decoded).is_err() && decode_key(&[MESSAGE, 9, 0, 0, 0], &mut decoded).is_err());
    }
}
