//! `prometheus.WriteRequest`, the message of remote write 1.0.
//!
//! Source: prometheus/prompb/remote.proto and types.proto; the specification of remote write 1.0. A series' labels stand at
//! its start, and their bytes name it: two orders of the same labels cost two entries of the cache and are one series.

use super::super::histogram;
use super::intake::{At, Contents, Intake, Names, NamesError, RawExemplar, Stop};
use super::labels::{LABELS_MAX, LabelFault, RawPair};
use crate::model::TimestampMs;
use crate::net::protobuf::{Fields, ProtobufError};
use crate::storage::{FloatSample, SeriesRef};

/// Fields of `WriteRequest`.
const TIME_SERIES: u32 = 1;
const METADATA: u32 = 3;
/// Fields of `TimeSeries`.
const LABEL: u32 = 1;
const SAMPLE: u32 = 2;
const EXEMPLAR: u32 = 3;
const HISTOGRAM: u32 = 4;
/// The key of a label in a series: field 1, a message.
const LABEL_KEY: u8 = 1 << 3 | 2;

/// How 1.0 names series.
pub(super) struct V1;

impl<'m> Names<'m> for V1 {
    fn pairs(&self, series: &'m [u8], out: &mut Vec<RawPair<'m>>) -> Result<(), NamesError> {
        for field in Fields::new(series) {
            let field = field?;
            if field.number == LABEL {
                if out.len() >= LABELS_MAX {
                    return Err(LabelFault::TooMany.into());
                }
                out.push(pair(field.message()?)?);
            }
        }
        Ok(())
    }
}

/// Takes a whole message; returns how many metadata it ignored.
pub(super) fn walk<'m>(message: &'m [u8], intake: &mut Intake<'_, 'm, V1>) -> Result<u64, Stop> {
    let mut metadata = 0;
    for field in Fields::new(message) {
        let field = field?;
        match field.number {
            TIME_SERIES => series(field.bytes()?, intake)?,
            METADATA => metadata += 1,
            _ => {}
        }
    }
    Ok(metadata)
}

fn series<'m>(text: &'m [u8], intake: &mut Intake<'_, 'm, V1>) -> Result<(), Stop> {
    let end = labels_end(text);
    let (labels, rest) = text.split_at_checked(end).ok_or(ProtobufError::Truncated { field: LABEL })?;
    let mut contents = Contents::default();
    let mut has_more_labels = false;
    for field in Fields::new(rest) {
        match field?.number {
            LABEL => has_more_labels = true,
            SAMPLE => contents.samples += 1,
            EXEMPLAR => contents.exemplars += 1,
            HISTOGRAM => contents.histograms += 1,
            _ => {}
        }
    }
    if contents.samples + contents.histograms + contents.exemplars == 0 {
        return Ok(());
    }
    let key = (!has_more_labels).then(|| intake.cache.hash(labels));
    let at = At { text, key };
    let Some(known) = intake.series(at, contents)? else { return Ok(()) };
    if contents.exemplars > 0 {
        // Labels that do not stand at the start are somewhere in it.
        let label_bytes = if has_more_labels { text.len() } else { labels.len() };
        intake.expect_exemplars(label_bytes, contents.exemplars)?;
    }
    for field in Fields::new(rest) {
        let field = field?;
        match field.number {
            SAMPLE => {
                let (t, v) = sample(field.message()?)?;
                intake.float(at, FloatSample { series: known.series, t, v }, TimestampMs(0))?;
            }
            EXEMPLAR => exemplar(at, known.series, field.message()?, intake)?,
            HISTOGRAM => {
                let mut histogram = histogram::decode(field.message()?)?;
                // 1.0 has no such field.
                histogram.start = TimestampMs(0);
                intake.histogram(at, known.series, histogram)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Where the labels end that stand at the start of a series, each of less than 16 KiB. May lie behind the end of a series
/// that is cut off.
#[inline]
fn labels_end(series: &[u8]) -> usize {
    let mut at = 0;
    loop {
        at += match series.get(at..) {
            Some([LABEL_KEY, len @ ..0x80, ..]) => 2 + usize::from(*len),
            Some([LABEL_KEY, low, high @ ..0x80, ..]) => 3 + (usize::from(*low & 0x7f) | usize::from(*high) << 7),
            _ => return at,
        };
    }
}

fn pair(label: Fields<'_>) -> Result<RawPair<'_>, ProtobufError> {
    let (mut name, mut value) = (&[][..], &[][..]);
    for field in label {
        let field = field?;
        match field.number {
            1 => name = field.bytes()?,
            2 => value = field.bytes()?,
            _ => {}
        }
    }
    Ok((name, value))
}

#[inline]
fn sample(message: Fields<'_>) -> Result<(TimestampMs, f64), ProtobufError> {
    let (mut t, mut v) = (0, 0.0);
    for field in message {
        let field = field?;
        match field.number {
            1 => v = field.double()?,
            2 => t = field.int()?,
            _ => {}
        }
    }
    Ok((TimestampMs(t), v))
}

/// Exemplars are examples: as in the reference, 1.0 does not tell of those that are not kept.
fn exemplar<'m>(
    at: At<'m>,
    series: SeriesRef,
    message: Fields<'m>,
    intake: &mut Intake<'_, 'm, V1>,
) -> Result<(), Stop> {
    let (mut pairs, mut value, mut t) = (Vec::new(), 0.0, 0);
    for field in message {
        let field = field?;
        match field.number {
            1 if pairs.len() > LABELS_MAX => {}
            1 => pairs.push(pair(field.message()?)?),
            2 => value = field.double()?,
            3 => t = field.int()?,
            _ => {}
        }
    }
    let pairs = if pairs.len() > LABELS_MAX { Err(LabelFault::TooMany) } else { Ok(&pairs[..]) };
    intake.exemplar(at, series, &RawExemplar { pairs, value, t }, false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::protobuf::Writer;

    #[test]
    fn the_labels_at_the_start_are_found_whatever_their_length() {
        for len in [0usize, 1, 120, 127, 128, 129, 200, 16_000] {
            let mut series = Vec::new();
            let mut w = Writer::new(&mut series);
            w.message(1, |w| w.bytes(1, b"__name__"));
            w.bytes(1, &vec![0; len]);
            let labels = series.len();
            assert_eq!(labels_end(&series), labels, "{len}");
            Writer::new(&mut series).message(2, |w| w.double(1, 1.0));
            assert_eq!(labels_end(&series), labels, "{len}");
        }
        assert_eq!(labels_end(&[]), 0);
        assert!(labels_end(&[LABEL_KEY, 5, 1]) > 3, "cut off");
        assert_eq!(labels_end(&[LABEL_KEY]), 0, "cut off, which the fields will tell");
    }
}
