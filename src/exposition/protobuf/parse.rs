//! Bodies, families and metrics.

use super::histogram::HistogramMessage;
use crate::model::{Exemplar, Labels, MetricType, TimestampMs};
use crate::net::protobuf::{Field, Fields, ProtobufError, delimited};

/// How much of a family's name an error repeats.
const NAME_MAX: usize = 100;

/// A body does not follow the format.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("message at byte {offset}{}: {problem}", of_family(.family))]
pub struct MessageError {
    /// Where in the body the family, or the metric, begins that cannot be used.
    pub offset: usize,
    /// Name of the metric family, cut short; empty as long as it is not known.
    pub family: String,
    /// What is wrong.
    pub problem: String,
}

fn of_family(family: &str) -> String {
    if family.is_empty() { String::new() } else { format!(" (metric family {family:?})") }
}

/// A problem before it is known where it lies.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Fault {
    Wire(ProtobufError),
    Text(String),
}

impl From<ProtobufError> for Fault {
    fn from(error: ProtobufError) -> Fault {
        Fault::Wire(error)
    }
}

impl Fault {
    #[cold]
    fn locate(self, offset: usize, family: &str) -> MessageError {
        let problem = match self {
            Fault::Wire(error) => error.to_string(),
            Fault::Text(text) => text,
        };
        MessageError { offset, family: family.chars().take(NAME_MAX).collect(), problem }
    }
}

/// A cursor over a body. After an error it must not be asked further.
#[derive(Clone, Debug)]
pub struct MessageParser<'a> {
    body: &'a [u8],
    rest: &'a [u8],
}

impl<'a> MessageParser<'a> {
    /// Begins at the first byte.
    pub fn new(body: &'a [u8]) -> MessageParser<'a> {
        MessageParser { body, rest: body }
    }

    /// Reads on to the next family that has metrics; `None` at the end of the body.
    #[expect(clippy::should_implement_trait, reason = "an iterator would have to stop after an error by itself")]
    pub fn next(&mut self) -> Result<Option<MessageFamily<'a>>, MessageError> {
        loop {
            let at = self.body.len() - self.rest.len();
            let Some(message) = delimited(&mut self.rest) else { return Ok(None) };
            let family = message.map_err(Fault::from).and_then(|message| MessageFamily::read(self.body, message));
            match family.map_err(|fault| fault.locate(at, ""))? {
                Some(family) => return Ok(Some(family)),
                None => continue,
            }
        }
    }
}

/// What the metrics of a family are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FamilyKind {
    /// One number that goes up.
    Counter,
    /// One number.
    Gauge,
    /// One number of which nothing is known.
    Untyped,
    /// Quantiles.
    Summary,
    /// A histogram, classic, native or both.
    Histogram,
    /// The same, of something that also goes down.
    GaugeHistogram,
}

impl FamilyKind {
    fn of(number: u64) -> Option<FamilyKind> {
        Some(match number {
            0 => FamilyKind::Counter,
            1 => FamilyKind::Gauge,
            2 => FamilyKind::Summary,
            3 => FamilyKind::Untyped,
            4 => FamilyKind::Histogram,
            5 => FamilyKind::GaugeHistogram,
            _ => return None,
        })
    }

    /// The type by which metadata calls it.
    pub fn metric_type(self) -> MetricType {
        match self {
            FamilyKind::Counter => MetricType::Counter,
            FamilyKind::Gauge => MetricType::Gauge,
            FamilyKind::Untyped => MetricType::Unknown,
            FamilyKind::Summary => MetricType::Summary,
            FamilyKind::Histogram => MetricType::Histogram,
            FamilyKind::GaugeHistogram => MetricType::GaugeHistogram,
        }
    }

    /// The metric's field that holds its value.
    fn field(self) -> u32 {
        match self {
            FamilyKind::Gauge => 2,
            FamilyKind::Counter => 3,
            FamilyKind::Summary => 4,
            FamilyKind::Untyped => 5,
            FamilyKind::Histogram | FamilyKind::GaugeHistogram => 7,
        }
    }
}

/// A metric family with at least one metric.
#[derive(Clone, Debug)]
pub struct MessageFamily<'a> {
    body: &'a [u8],
    fields: Fields<'a>,
    /// Its name, not empty.
    pub name: &'a str,
    /// Its help text.
    pub help: &'a str,
    /// Its unit; empty if it tells none.
    pub unit: &'a str,
    /// What its metrics are.
    pub kind: FamilyKind,
}

impl<'a> MessageFamily<'a> {
    /// `None` if there are no metrics: nobody wants to know the rest then.
    fn read(body: &'a [u8], message: &'a [u8]) -> Result<Option<MessageFamily<'a>>, Fault> {
        let (mut name, mut help, mut unit, mut kind, mut is_empty) = (None, None, None, 0, true);
        for field in Fields::new(message) {
            let field = field?;
            match field.number {
                1 => name = Some(field),
                2 => help = Some(field),
                3 => kind = field.varint()?,
                4 => is_empty = field.bytes().map(|_| false)?,
                5 => unit = Some(field),
                _ => {}
            }
        }
        if is_empty {
            return Ok(None);
        }
        let text = |field: Option<Field<'a>>, what: &str| match field.map(|f| f.text()).transpose() {
            Ok(text) => Ok(text.unwrap_or_default()),
            Err(ProtobufError::Utf8(_)) => Err(Fault::Text(format!("the {what} is not valid UTF-8"))),
            Err(error) => Err(error.into()),
        };
        let name = text(name, "metric name")?;
        if name.is_empty() {
            return Err(Fault::Text("the metric name is missing".to_owned()));
        }
        let kind = FamilyKind::of(kind)
            .ok_or_else(|| Fault::Text(format!("unknown metric type {kind} of metric family {:?}", cut(name))))?;
        let (help, unit) = (text(help, "help text")?, text(unit, "unit")?);
        Ok(Some(MessageFamily { body, fields: Fields::new(message), name, help, unit, kind }))
    }

    /// Reads on to the next metric; `None` after the last one.
    pub fn next_metric(&mut self) -> Result<Option<Metric<'a>>, MessageError> {
        // All fields have been walked once, so that there is no fault left among them.
        let is_metric = |field: Result<Field<'a>, ProtobufError>| field.ok().filter(|field| field.number == 4);
        let Some(message) = self.fields.by_ref().find_map(is_metric).and_then(|field| field.bytes().ok()) else {
            return Ok(None);
        };
        let metric = Metric::read(message, self.kind);
        metric.map(Some).map_err(|fault| fault.locate(offset_in(self.body, message), self.name))
    }

    /// An error in what one of its metrics holds, found later.
    pub fn error(&self, metric: &Metric<'_>, problem: impl std::fmt::Display) -> MessageError {
        Fault::Text(problem.to_string()).locate(offset_in(self.body, metric.message), self.name)
    }
}

fn cut(name: &str) -> String {
    name.chars().take(NAME_MAX).collect()
}

/// Where a part of the body begins in it.
fn offset_in(body: &[u8], part: &[u8]) -> usize {
    (part.as_ptr() as usize).saturating_sub(body.as_ptr() as usize).min(body.len())
}

/// One metric of a family: its labels, and its value as the family's kind has it.
#[derive(Clone, Debug)]
pub struct Metric<'a> {
    message: &'a [u8],
    /// Its own timestamp, if it has one. A zero means that there is none, as in the reference.
    pub timestamp: Option<TimestampMs>,
    /// Its value; zero where it is missing.
    pub value: MetricValue<'a>,
}

/// The value of a metric.
#[derive(Clone, Debug)]
pub enum MetricValue<'a> {
    /// Counters, gauges and untyped metrics.
    Number(Number<'a>),
    /// Summaries.
    Summary(Summary<'a>),
    /// Histograms of all kinds.
    Histogram(HistogramMessage<'a>),
}

impl<'a> Metric<'a> {
    fn read(message: &'a [u8], kind: FamilyKind) -> Result<Metric<'a>, Fault> {
        let (mut timestamp, mut value) = (0, None);
        for field in Fields::new(message) {
            let field = field?;
            match field.number {
                6 => timestamp = field.int()?,
                number if number == kind.field() && value.is_some() => {
                    return Err(Fault::Text("the metric has two values".to_owned()));
                }
                number if number == kind.field() => value = Some(field.bytes()?),
                _ => {}
            }
        }
        let value = value.unwrap_or_default();
        let value = match kind {
            FamilyKind::Counter | FamilyKind::Gauge | FamilyKind::Untyped => {
                MetricValue::Number(Number::read(value, kind == FamilyKind::Counter)?)
            }
            FamilyKind::Summary => MetricValue::Summary(Summary::read(value)?),
            FamilyKind::Histogram | FamilyKind::GaugeHistogram => {
                MetricValue::Histogram(HistogramMessage::read(value, kind == FamilyKind::GaugeHistogram)?)
            }
        };
        let timestamp = (timestamp != 0).then_some(TimestampMs(timestamp));
        Ok(Metric { message, timestamp, value })
    }

    /// The messages of its labels, in order; [`LabelPair::read`] reads one. They tell metrics of one family apart without
    /// being read.
    pub fn label_messages(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        // The fields have been walked before, so that there is no fault left among them.
        let labels = Fields::new(self.message).flatten().filter(|field| field.number == 1);
        labels.map(|field| field.bytes().unwrap_or_default())
    }
}

/// Name and value of a label.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LabelPair<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its value; may be empty.
    pub value: &'a str,
}

impl<'a> LabelPair<'a> {
    /// Reads a label's message; the error is a sentence.
    pub fn read(message: &'a [u8]) -> Result<LabelPair<'a>, String> {
        let mut pair = LabelPair { name: "", value: "" };
        for field in Fields::new(message) {
            let field = field.map_err(|e| format!("label: {e}"))?;
            match field.number {
                1 => pair.name = field.text().map_err(|e| format!("label name: {e}"))?,
                2 => pair.value = field.text().map_err(|e| format!("label value: {e}"))?,
                _ => {}
            }
        }
        if pair.name.is_empty() { Err("a label has no name".to_owned()) } else { Ok(pair) }
    }
}

/// The value of a counter, a gauge or an untyped metric.
#[derive(Clone, Copy, Debug)]
pub struct Number<'a> {
    /// The number itself, to the bit.
    pub value: f64,
    /// An exemplar, of counters.
    pub exemplar: Option<MessageExemplar<'a>>,
    /// Since when it has been counted, of counters; 0 if that is not known.
    pub start: TimestampMs,
}

impl<'a> Number<'a> {
    fn read(message: &'a [u8], is_counter: bool) -> Result<Number<'a>, Fault> {
        let mut number = Number { value: 0.0, exemplar: None, start: TimestampMs(0) };
        for field in Fields::new(message) {
            let field = field?;
            match field.number {
                1 => number.value = field.double()?,
                2 if is_counter => number.exemplar = Some(MessageExemplar { message: field.bytes()? }),
                3 if is_counter => number.start = read_timestamp(&field)?,
                _ => {}
            }
        }
        Ok(number)
    }
}

/// The value of a summary.
#[derive(Clone, Copy, Debug)]
pub struct Summary<'a> {
    message: &'a [u8],
    /// Number of observations.
    pub count: u64,
    /// Sum of observations.
    pub sum: f64,
    /// Since when they have been counted; 0 if that is not known.
    pub start: TimestampMs,
}

impl<'a> Summary<'a> {
    fn read(message: &'a [u8]) -> Result<Summary<'a>, Fault> {
        let mut summary = Summary { message, count: 0, sum: 0.0, start: TimestampMs(0) };
        for field in Fields::new(message) {
            let field = field?;
            match field.number {
                1 => summary.count = field.varint()?,
                2 => summary.sum = field.double()?,
                3 => read_quantile(&field).map(drop)?,
                4 => summary.start = read_timestamp(&field)?,
                _ => {}
            }
        }
        Ok(summary)
    }

    /// Quantiles and their values, in order.
    pub fn quantiles(&self) -> impl Iterator<Item = (f64, f64)> + use<'a> {
        // All of them have been read once.
        let quantiles = Fields::new(self.message).flatten().filter(|field| field.number == 3);
        quantiles.filter_map(|field| read_quantile(&field).ok())
    }
}

fn read_quantile(field: &Field<'_>) -> Result<(f64, f64), ProtobufError> {
    let (mut quantile, mut value) = (0.0, 0.0);
    for field in field.message()? {
        let field = field?;
        match field.number {
            1 => quantile = field.double()?,
            2 => value = field.double()?,
            _ => {}
        }
    }
    Ok((quantile, value))
}

/// `google.protobuf.Timestamp` in milliseconds.
pub(super) fn read_timestamp(field: &Field<'_>) -> Result<TimestampMs, ProtobufError> {
    let (mut seconds, mut nanos) = (0i64, 0i64);
    for field in field.message()? {
        let field = field?;
        match field.number {
            1 => seconds = field.int()?,
            // An `int32` is written with as many bits as an `int64`.
            2 => nanos = i64::from(field.int()? as i32),
            _ => {}
        }
    }
    Ok(TimestampMs(seconds.wrapping_mul(1000).wrapping_add(nanos / 1_000_000)))
}

/// An exemplar that has not been read.
#[derive(Clone, Copy, Debug)]
pub struct MessageExemplar<'a> {
    pub(super) message: &'a [u8],
}

impl MessageExemplar<'_> {
    /// Reads it; the error is a sentence.
    pub fn decode(&self) -> Result<Exemplar, String> {
        let problem = |e: ProtobufError| format!("exemplar: {e}");
        let (mut pairs, mut value, mut t) = (Vec::new(), 0.0, None);
        for field in Fields::new(self.message) {
            let field = field.map_err(problem)?;
            match field.number {
                1 => {
                    pairs.push(LabelPair::read(field.bytes().map_err(problem)?).map_err(|e| format!("exemplar: {e}"))?)
                }
                2 => value = field.double().map_err(problem)?,
                3 => t = Some(read_timestamp(&field).map_err(problem)?),
                _ => {}
            }
        }
        let labels = Labels::from_pairs(pairs.iter().map(|pair| (pair.name, pair.value)));
        Ok(Exemplar { labels, value, t })
    }
}
