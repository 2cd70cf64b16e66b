//! `io.prometheus.write.v2.Request`, the message of remote write 2.0.
//!
//! Source: prometheus/prompb/io/prometheus/write/v2/types.proto; the specification of remote write 2.0. Strings stand once in
//! a table; each is hashed once, and a series is named by the hashes of its symbols.

use super::super::histogram;
use super::cache::Key;
use super::intake::{At, Contents, Intake, Names, NamesError, RawExemplar, Stop};
use super::labels::{LABELS_MAX, LabelFault, RawPair};
use super::outcome::Complaint;
use crate::model::{Metadata, MetricType, TimestampMs};
use crate::net::protobuf::{Field, Fields, ProtobufError};
use crate::storage::{FloatSample, SeriesRef};

/// Fields of `Request`.
const SYMBOL: u32 = 4;
const TIME_SERIES: u32 = 5;
/// Fields of `TimeSeries`.
const LABELS_REFS: u32 = 1;
const SAMPLE: u32 = 2;
const HISTOGRAM: u32 = 3;
const EXEMPLAR: u32 = 4;
const METADATA: u32 = 5;
/// Symbols of one request. Each may be two bytes of a message, and is 24 of memory.
const SYMBOLS_MAX: usize = 1 << 20;
/// Bytes of a help text and of a unit. They are written down for each series, and a message may name one symbol in millions
/// of them. What is longer is cut: a description that is too long is no reason to refuse samples, or to leave it out.
const METADATA_BYTES_MAX: usize = 64 << 10;
/// The labels that `type-and-unit-labels` adds.
const TYPE_LABEL: &[u8] = b"__type__";
const UNIT_LABEL: &[u8] = b"__unit__";

/// How a request of 2.0 names series.
pub(super) struct V2<'m> {
    symbols: Vec<&'m [u8]>,
    hashes: Vec<u64>,
    /// Whether the metadata's type and unit become labels.
    has_type_labels: bool,
}

/// What a series says of itself, in symbols.
#[derive(Clone, Copy, Default)]
struct MetadataRefs {
    metric_type: MetricType,
    help: u32,
    unit: u32,
}

/// What is known of a series before its samples are read; reusable.
#[derive(Default)]
pub(super) struct Head {
    refs: Vec<u32>,
    hashes: Vec<u8>,
}

impl<'m> V2<'m> {
    /// Reads the symbols; `hash` hashes a string.
    pub(super) fn new(message: &'m [u8], has_type_labels: bool, hash: impl Fn(&[u8]) -> u64) -> Result<V2<'m>, Stop> {
        let mut symbols = Vec::new();
        for field in Fields::new(message) {
            let field = field?;
            if field.number == SYMBOL {
                if symbols.len() >= SYMBOLS_MAX {
                    return Err(Stop::TooManySymbols);
                }
                symbols.push(field.bytes()?);
            }
        }
        let hashes = symbols.iter().map(|symbol| hash(symbol)).collect();
        Ok(V2 { symbols, hashes, has_type_labels })
    }

    /// Takes all series of the message that the symbols came from.
    pub(super) fn walk(&self, message: &'m [u8], intake: &mut Intake<'_, 'm, V2<'m>>) -> Result<(), Stop> {
        let mut head = Head::default();
        for field in Fields::new(message) {
            let field = field?;
            if field.number == TIME_SERIES {
                self.series(field.bytes()?, &mut head, intake)?;
            }
        }
        Ok(())
    }

    fn series(&self, text: &'m [u8], head: &mut Head, intake: &mut Intake<'_, 'm, V2<'m>>) -> Result<(), Stop> {
        head.refs.clear();
        let (mut contents, mut metadata) = (Contents::default(), MetadataRefs::default());
        for field in Fields::new(text) {
            let field = field?;
            match field.number {
                LABELS_REFS => push_refs(&mut head.refs, &field)?,
                SAMPLE => contents.samples += 1,
                HISTOGRAM => contents.histograms += 1,
                EXEMPLAR => contents.exemplars += 1,
                METADATA => metadata.take(field.message()?)?,
                _ => {}
            }
        }
        let (at, complaint) = match self.key(head, metadata, |bytes| intake.cache.hash(bytes)) {
            Ok(key) => (At { text, key: Some(key) }, self.complaint(contents, metadata)),
            Err(fault) => (At { text, key: None }, Some(fault.into())),
        };
        if let Some(complaint) = complaint {
            let count = (contents.samples + contents.histograms).max(1);
            intake.complain(complaint, count, at, None);
            return Ok(());
        }
        let Some(known) = intake.series(at, contents)? else { return Ok(()) };
        if contents.exemplars > 0 {
            intake.expect_exemplars(self.symbol_bytes(&head.refs, metadata), contents.exemplars)?;
        }
        let hash = self.metadata_hash(metadata);
        if hash != 0 && hash != known.metadata {
            intake.metadata(at, known, &self.metadata(metadata), hash)?;
        }
        for field in Fields::new(text) {
            let field = field?;
            match field.number {
                SAMPLE => {
                    let (t, v, start) = sample(field.message()?)?;
                    intake.float(at, FloatSample { series: known.series, t, v }, start)?;
                }
                HISTOGRAM => intake.histogram(at, known.series, histogram::decode(field.message()?)?)?,
                EXEMPLAR => self.exemplar(at, known.series, field.message()?, intake)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// The hash of everything that names the series.
    #[inline]
    fn key(&self, head: &mut Head, metadata: MetadataRefs, hash: impl Fn(&[u8]) -> u64) -> Result<Key, LabelFault> {
        check_refs(&head.refs)?;
        head.hashes.clear();
        for &symbol in &head.refs {
            let hash = self.hashes.get(symbol as usize).ok_or(LabelFault::OutsideOfSymbols)?;
            head.hashes.extend_from_slice(&hash.to_le_bytes());
        }
        if self.has_type_labels {
            head.hashes.push(metadata.metric_type as u8);
            let unit = self.hashes.get(metadata.unit as usize).copied().unwrap_or_default();
            head.hashes.extend_from_slice(&unit.to_le_bytes());
        }
        // What 1.0 hashes are labels, which begin with another byte.
        head.hashes.push(0);
        Ok(hash(&head.hashes))
    }

    /// What is wrong with a series whose labels may be right.
    fn complaint(&self, contents: Contents, metadata: MetadataRefs) -> Option<Complaint> {
        let is_symbol = |symbol: u32| symbol == 0 || (symbol as usize) < self.symbols.len();
        if !is_symbol(metadata.help) || !is_symbol(metadata.unit) {
            return Some(Complaint::Metadata);
        }
        (contents.samples + contents.histograms + contents.exemplars == 0).then_some(Complaint::EmptySeries)
    }

    /// Stands for what the metadata says; 0 if that is nothing.
    #[inline]
    fn metadata_hash(&self, metadata: MetadataRefs) -> u32 {
        if metadata.metric_type == MetricType::Unknown && metadata.help == 0 && metadata.unit == 0 {
            return 0;
        }
        let of =
            |symbol: u32| if symbol == 0 { 0 } else { self.hashes.get(symbol as usize).copied().unwrap_or_default() };
        let mixed = of(metadata.help) ^ of(metadata.unit).rotate_left(21) ^ (metadata.metric_type as u64) << 32;
        (mixed ^ mixed >> 32) as u32 | 1
    }

    fn metadata(&self, refs: MetadataRefs) -> Metadata {
        let text = |symbol| String::from_utf8_lossy(cut(self.optional_symbol(symbol), METADATA_BYTES_MAX)).into_owned();
        Metadata { metric_type: refs.metric_type, help: text(refs.help), unit: text(refs.unit) }
    }

    /// 0 means that there is none, whatever stands there.
    fn optional_symbol(&self, symbol: u32) -> &'m [u8] {
        if symbol == 0 { &[] } else { self.symbols.get(symbol as usize).copied().unwrap_or_default() }
    }

    /// Bytes of all symbols that a series' labels may be made of.
    fn symbol_bytes(&self, refs: &[u32], metadata: MetadataRefs) -> usize {
        let symbols = refs.iter().chain([&metadata.unit]).filter_map(|symbol| self.symbols.get(*symbol as usize));
        symbols.map(|symbol| symbol.len()).fold(0, usize::saturating_add)
    }

    fn push_pairs(&self, refs: &[u32], out: &mut Vec<RawPair<'m>>) -> Result<(), LabelFault> {
        let symbol = |symbol: u32| self.symbols.get(symbol as usize).copied().ok_or(LabelFault::OutsideOfSymbols);
        for [name, value] in refs.as_chunks::<2>().0 {
            out.push((symbol(*name)?, symbol(*value)?));
        }
        check_refs(refs)
    }

    fn exemplar(
        &self,
        at: At<'m>,
        series: SeriesRef,
        message: Fields<'m>,
        intake: &mut Intake<'_, 'm, V2<'m>>,
    ) -> Result<(), Stop> {
        let (mut refs, mut value, mut t) = (Vec::new(), 0.0, 0);
        for field in message {
            let field = field?;
            match field.number {
                1 => push_refs(&mut refs, &field)?,
                2 => value = field.double()?,
                3 => t = field.int()?,
                _ => {}
            }
        }
        let mut pairs = Vec::new();
        let pairs = self.push_pairs(&refs, &mut pairs).map(|()| &pairs[..]);
        intake.exemplar(at, series, &RawExemplar { pairs, value, t }, true)
    }
}

impl<'m> Names<'m> for V2<'m> {
    fn pairs(&self, series: &'m [u8], out: &mut Vec<RawPair<'m>>) -> Result<(), NamesError> {
        let (mut refs, mut metadata) = (Vec::new(), MetadataRefs::default());
        for field in Fields::new(series) {
            let field = field?;
            match field.number {
                LABELS_REFS => push_refs(&mut refs, &field)?,
                METADATA => metadata.take(field.message()?)?,
                _ => {}
            }
        }
        self.push_pairs(&refs, out)?;
        if self.has_type_labels {
            self.push_type_labels(metadata, out);
        }
        Ok(())
    }
}

impl<'m> V2<'m> {
    /// As the reference: if the metadata knows a type or a unit, both labels are those of the metadata.
    fn push_type_labels(&self, metadata: MetadataRefs, out: &mut Vec<RawPair<'m>>) {
        let unit = self.optional_symbol(metadata.unit);
        if metadata.metric_type == MetricType::Unknown && unit.is_empty() {
            return;
        }
        out.retain(|(name, _)| *name != TYPE_LABEL && *name != UNIT_LABEL);
        if metadata.metric_type != MetricType::Unknown {
            out.push((TYPE_LABEL, metadata.metric_type.as_str().as_bytes()));
        }
        if !unit.is_empty() {
            out.push((UNIT_LABEL, unit));
        }
    }
}

impl MetadataRefs {
    fn take(&mut self, message: Fields<'_>) -> Result<(), ProtobufError> {
        for field in message {
            let field = field?;
            match field.number {
                1 => self.metric_type = metric_type(field.varint()?),
                3 => self.help = field.varint()? as u32,
                4 => self.unit = field.varint()? as u32,
                _ => {}
            }
        }
        Ok(())
    }
}

fn metric_type(number: u64) -> MetricType {
    match number {
        1 => MetricType::Counter,
        2 => MetricType::Gauge,
        3 => MetricType::Histogram,
        4 => MetricType::GaugeHistogram,
        5 => MetricType::Summary,
        6 => MetricType::Info,
        7 => MetricType::StateSet,
        _ => MetricType::Unknown,
    }
}

/// The first `max` bytes, without a character that is not whole.
fn cut(text: &[u8], max: usize) -> &[u8] {
    let is_inside = |at: &usize| text.get(*at).is_some_and(|byte| byte & 0xc0 == 0x80);
    let end = (0..=max.min(text.len())).rev().find(|at| !is_inside(at)).unwrap_or(0);
    text.get(..end).unwrap_or(text)
}

#[inline]
fn check_refs(refs: &[u32]) -> Result<(), LabelFault> {
    match refs.len() {
        n if n > 2 * LABELS_MAX => Err(LabelFault::TooMany),
        n if !n.is_multiple_of(2) => Err(LabelFault::OddReferences),
        _ => Ok(()),
    }
}

/// Adds references, no more than show that there are too many.
#[inline]
fn push_refs(refs: &mut Vec<u32>, field: &Field<'_>) -> Result<(), ProtobufError> {
    for symbol in field.varints()? {
        if refs.len() > 2 * LABELS_MAX {
            break;
        }
        refs.push(u32::try_from(symbol?).unwrap_or(u32::MAX));
    }
    Ok(())
}

#[inline]
fn sample(message: Fields<'_>) -> Result<(TimestampMs, f64, TimestampMs), ProtobufError> {
    let (mut t, mut v, mut start) = (0, 0.0, 0);
    for field in message {
        let field = field?;
        match field.number {
            1 => v = field.double()?,
            2 => t = field.int()?,
            3 => start = field.int()?,
            _ => {}
        }
    }
    Ok((TimestampMs(t), v, TimestampMs(start)))
}
