//! The one pass over the samples.

use std::io;
use std::sync::Arc;

use super::exemplars::Exemplars;
use super::families::{Families, Lookup, Part, SeriesName};
use super::protobuf::ProtobufBody;
use super::text::{TextBody, bit_of};
use super::{BodyFormat, Format};
use crate::exposition::write::AnyHistogram;
use crate::exposition::write::text::Dialect;
use crate::model::labels::{RawPairs, get_encoded};
use crate::model::{Exemplar, Labels, METRIC_NAME, MetricType, TimestampMs};
use crate::storage::{
    ASKED_MAX, HistogramRef, LatestBatch, LatestRow, LatestStream, NewestValue, QueryError, SeriesExemplars, StreamEnd,
    StreamStep, TextRow,
};

/// The buffer is handed on once it holds so many bytes; large enough for compression to work well.
pub(super) const FLUSH_BYTES: usize = 128 << 10;

/// What an answer is made of besides its samples.
pub struct Answer<'a> {
    /// How it is written.
    pub format: Format,
    /// Labels that series without them are given.
    pub external: &'a Labels,
    /// What is known of metric families.
    pub lookup: Lookup<'a>,
    /// Exemplars of the selected series, each series' ascending by time; none if the format has no place for them.
    pub exemplars: Vec<SeriesExemplars>,
}

/// What an answer took.
#[derive(Debug)]
#[must_use = "the end of a stream carries its warnings"]
pub struct Written {
    /// Series written.
    pub series: u64,
    /// Series left out because they have no name.
    pub nameless: u64,
    /// Native histograms left out because the format has none.
    pub histograms_left_out: u64,
    /// Bytes written.
    pub bytes: u64,
    /// The end of the stream.
    pub end: StreamEnd,
}

/// Why an answer broke off. What has been handed on before stays.
#[derive(Debug, thiserror::Error)]
pub enum FederateError {
    /// Storage failed.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The answer could not be handed on; mostly the client went away.
    #[error("writing the answer: {0}")]
    Sink(#[source] io::Error),
}

/// Takes the bytes out of the buffer, or leaves them to be thrown away.
pub(super) type Sink<'s> = dyn FnMut(&mut Vec<u8>) -> io::Result<()> + 's;

/// Writes all rows of `stream`, each with those of the external labels that it lacks behind its own.
///
/// `sink` is given the buffer whenever it is full and at the end; it takes the bytes out, or leaves them to be thrown
/// away. Nothing is handed on before the first 128 KiB, so that an early failure can still become a status.
pub fn write(
    stream: &mut dyn LatestStream,
    answer: Answer<'_>,
    sink: &mut dyn FnMut(&mut Vec<u8>) -> io::Result<()>,
) -> Result<Written, FederateError> {
    let mut writer = Writer::new(answer);
    writer.families.together = stream.by_family(&mut |name, stored| writer.families.part(name, stored));
    let mut batch = writer.batch();
    let mut bytes = 0;
    loop {
        let step = stream.next(&mut batch)?;
        for row in &batch.rows {
            writer.row(&batch, row);
            if writer.out.len() >= FLUSH_BYTES {
                bytes += hand_on(&mut writer.out, sink)?;
            }
        }
        if let StreamStep::End(end) = step {
            writer.body.end(&mut writer.out);
            bytes += hand_on(&mut writer.out, sink)?;
            let Counts { series, nameless, histograms_left_out } = writer.counts;
            return Ok(Written { series, nameless, histograms_left_out, bytes, end });
        }
    }
}

fn hand_on(buffer: &mut Vec<u8>, sink: &mut Sink<'_>) -> Result<u64, FederateError> {
    let bytes = buffer.len() as u64;
    if bytes > 0 {
        sink(buffer).map_err(FederateError::Sink)?;
        buffer.clear();
    }
    Ok(bytes)
}

/// What there is to write of one series besides its name.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    /// Encoded labels, unless they are in text.
    pub(super) labels: &'a [u8],
    pub(super) text: Option<TextRow<'a>>,
    pub(super) t: TimestampMs,
    /// Since when it has been counted; 0 if that is not known.
    pub(super) start: TimestampMs,
    /// Ascending by time.
    pub(super) exemplars: &'a [Exemplar],
}

#[derive(Default)]
struct Counts {
    series: u64,
    nameless: u64,
    histograms_left_out: u64,
}

/// One of the formats.
enum Body {
    Text(TextBody),
    Protobuf(ProtobufBody),
}

impl Body {
    fn new(format: Format, external: &Labels) -> Body {
        match format.body {
            BodyFormat::Text004 | BodyFormat::Text100 => {
                Body::Text(TextBody::new(Dialect::Prometheus, format.escaping, external))
            }
            BodyFormat::OpenMetrics001 | BodyFormat::OpenMetrics100 => {
                Body::Text(TextBody::new(Dialect::OpenMetrics, format.escaping, external))
            }
            BodyFormat::Protobuf => Body::Protobuf(ProtobufBody::new(format.escaping, external)),
        }
    }

    /// The labels of which a series in text must tell whether it has them; `None` if the body is not of text.
    fn asked(&self) -> Option<Vec<String>> {
        match self {
            Body::Text(text) => Some(text.asked()),
            Body::Protobuf(_) => None,
        }
    }

    fn has_place_for(&self, histogram: AnyHistogram<'_>) -> bool {
        matches!(self, Body::Protobuf(_)) || histogram.layout().has_custom_bounds()
    }

    fn begin_family(&mut self, out: &mut Vec<u8>, series: &SeriesName) {
        match self {
            Body::Text(text) => text.begin_family(out, series),
            Body::Protobuf(protobuf) => protobuf.begin_family(out, series),
        }
    }

    fn line_head(&self, series: &SeriesName) -> Vec<u8> {
        match self {
            Body::Text(text) => text.line_head(&series.name),
            Body::Protobuf(_) => Vec::new(),
        }
    }

    #[inline]
    fn float(&mut self, out: &mut Vec<u8>, name: &Known, v: f64, row: &Row<'_>) {
        match self {
            Body::Text(text) => text.float(out, &name.series, &name.head, v, row),
            Body::Protobuf(protobuf) => protobuf.float(out, v, row),
        }
    }

    fn histogram(&mut self, out: &mut Vec<u8>, name: &str, h: AnyHistogram<'_>, row: &Row<'_>) {
        match self {
            Body::Text(text) => text.histogram(out, name, h, row),
            Body::Protobuf(protobuf) => protobuf.histogram(out, h, row),
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        match self {
            Body::Text(text) => text.end(out),
            Body::Protobuf(protobuf) => protobuf.end(out),
        }
    }
}

/// A name of the family that is being written.
struct Known {
    series: Arc<SeriesName>,
    /// What each of its lines begins with.
    head: Vec<u8>,
}

struct Writer<'a> {
    out: Vec<u8>,
    body: Body,
    families: Families<'a>,
    exemplars: Exemplars,
    /// Names of the family that is being written; empty before the first family.
    family: Vec<Known>,
    counts: Counts,
}

impl<'a> Writer<'a> {
    fn new(answer: Answer<'a>) -> Writer<'a> {
        Writer {
            out: Vec::with_capacity(FLUSH_BYTES + (FLUSH_BYTES >> 2)),
            body: Body::new(answer.format, answer.external),
            families: Families::new(answer.format.body, answer.lookup),
            exemplars: Exemplars::new(answer.exemplars),
            family: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// For rows in the form that suits the body. Exemplars are found by encoded labels.
    fn batch(&self) -> LatestBatch {
        match self.body.asked() {
            Some(asked) if self.exemplars.is_empty() && asked.len() <= ASKED_MAX => LatestBatch::in_text(asked),
            _ => LatestBatch::default(),
        }
    }

    fn row(&mut self, batch: &LatestBatch, row: &LatestRow) {
        let (labels, text) = (batch.labels(row), batch.text(row));
        let name = match text {
            Some(text) => Some(text.name),
            None => RawPairs::over(labels).find(|(name, _)| *name == METRIC_NAME.as_bytes()).map(|(_, name)| name),
        };
        let Some(name) = name else {
            self.counts.nameless += 1;
            return;
        };
        let value = batch.value(row);
        let mut row = Row { labels, text, t: row.t, start: batch.counted_since(row), exemplars: &[] };
        match value {
            NewestValue::Float(v) => {
                let at = self.find_name(name, &row);
                if has_exemplars(&self.family[at].series) {
                    row.exemplars = self.exemplars.of(labels, row.t);
                }
                self.body.float(&mut self.out, &self.family[at], v, &row);
            }
            NewestValue::Histogram(histogram) => {
                let histogram = any_histogram(histogram);
                if !self.body.has_place_for(histogram) {
                    self.counts.histograms_left_out += 1;
                    return;
                }
                let at = self.find_histograms(name, histogram.is_gauge());
                row.exemplars = self.exemplars.of(labels, row.t);
                self.body.histogram(&mut self.out, &self.family[at].series.name, histogram, &row);
            }
        }
        self.counts.series += 1;
    }

    /// Where the name of a series of floats is in the family that is being written, which begins here if it must.
    #[inline]
    fn find_name(&mut self, name: &[u8], row: &Row<'_>) -> usize {
        let is_it =
            |Known { series, .. }: &Known| series.name.as_bytes() == name && !is_histogram(series) && fits(series, row);
        match self.family.iter().position(is_it) {
            Some(at) => at,
            None => self.learn_name(&String::from_utf8_lossy(name), row),
        }
    }

    fn learn_name(&mut self, name: &str, row: &Row<'_>) -> usize {
        let series = self.families.of(name);
        match fits(&series, row) {
            true => self.enter(series),
            false => self.enter(Arc::new(Families::alone(&series))),
        }
    }

    /// As [`find_name`](Writer::find_name), for native histograms.
    fn find_histograms(&mut self, name: &[u8], is_gauge: bool) -> usize {
        let wanted = if is_gauge { MetricType::GaugeHistogram } else { MetricType::Histogram };
        let is_known = |known: &Known| {
            is_histogram(&known.series) && known.series.name.as_bytes() == name && known.series.metric_type == wanted
        };
        match self.family.iter().position(is_known) {
            Some(at) => at,
            None => self.enter(Arc::new(self.families.of_histograms(&String::from_utf8_lossy(name), is_gauge))),
        }
    }

    /// Adds a name to the family that is being written, or begins another one with it.
    fn enter(&mut self, series: Arc<SeriesName>) -> usize {
        let is_same_family = self.family.first().is_some_and(|known| {
            (&known.series.family, known.series.metric_type) == (&series.family, series.metric_type)
        });
        if !is_same_family {
            self.family.clear();
            self.body.begin_family(&mut self.out, &series);
        }
        let head = self.body.line_head(&series);
        self.family.push(Known { series, head });
        self.family.len() - 1
    }
}

/// Whether it stands for native histograms.
fn is_histogram(series: &SeriesName) -> bool {
    series.part == Part::Whole && matches!(series.metric_type, MetricType::Histogram | MetricType::GaugeHistogram)
}

/// Whether a series with these labels is what is written of its name: a bucket without its bound is none.
#[inline]
fn fits(series: &SeriesName, row: &Row<'_>) -> bool {
    let has = |label| match row.text {
        Some(text) => text.has & bit_of(label) != 0,
        None => get_encoded(row.labels, label).is_some(),
    };
    series.part.by().is_none_or(has) && !series.without.is_some_and(has)
}

/// Only counts of observations have examples.
fn has_exemplars(series: &SeriesName) -> bool {
    match series.part {
        Part::Total | Part::Bucket => true,
        Part::Whole => series.metric_type == MetricType::Counter,
        _ => false,
    }
}

fn any_histogram(histogram: HistogramRef<'_>) -> AnyHistogram<'_> {
    match histogram {
        HistogramRef::Integer(h) => AnyHistogram::Integer(h),
        HistogramRef::Float(h) => AnyHistogram::Float(h),
    }
}
