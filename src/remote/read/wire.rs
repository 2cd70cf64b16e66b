//! The messages of remote read: a request, and the series of both kinds of answers.
//!
//! Source: Prometheus, "prompb/remote.proto" and "prompb/types.proto". Messages are `ReadRequest`, `ReadResponse` (of
//! `TimeSeries`) and `ChunkedReadResponse` (of `ChunkedSeries`).

use super::super::histogram;
use crate::model::regex::RegexError;
use crate::model::{Labels, LabelsBuilder, MatchOp, Matcher, TimestampMs, Value};
use crate::net::protobuf::{Field, Fields, ProtobufError, Writer};
use crate::storage::{Chunk, DecodeError, Encoding, Selector, TimeRange, TimedValue};

/// Queries of one request; clients send one, rarely a few.
const MAX_QUERIES: usize = 1000;
/// Conditions of one request, over all its queries.
const MAX_MATCHERS: usize = 10_000;

/// Labels of one series in an answer: many times what any real one has, and few enough to look for doubles.
const MAX_LABELS: usize = 1000;

/// Key of a field 1 that is a message, as the series and results of all answers are.
pub(super) const FIRST_MESSAGE: u8 = 1 << 3 | 2;

/// What a client asks.
#[derive(Clone, Debug, Default)]
pub struct ReadRequest {
    /// One or more.
    pub queries: Vec<Query>,
    /// Numbers of the kinds of answers that the client takes, the best first; none means samples.
    pub accepted: Vec<u64>,
}

/// One selection.
#[derive(Clone, Debug)]
pub struct Query {
    /// Both ends belong to it.
    pub range: TimeRange,
    /// What series must satisfy.
    pub selector: Selector,
    /// What the client needs of it, if it says.
    pub hints: Option<Hints>,
}

/// Why the client asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hints {
    /// The part of the query's range that is needed; both ends are 0 if the client does not know.
    pub range: TimeRange,
    /// The function around the selector; `series` means that samples are not needed.
    pub function: String,
}

/// The hint's function of those who want labels only.
pub const LABELS_ONLY: &str = "series";

impl Query {
    /// What is to be read: the query's range, or the part of it that the hints name. `None` if that is empty.
    pub fn needed_range(&self) -> Option<TimeRange> {
        let mut range = self.range;
        let unknown = TimeRange { min: TimestampMs(0), max: TimestampMs(0) };
        if let Some(hints) = self.hints.as_ref().filter(|hints| hints.range != unknown) {
            range = TimeRange { min: range.min.max(hints.range.min), max: range.max.min(hints.range.max) };
        }
        (range.min <= range.max).then_some(range)
    }

    /// Whether the client looks at labels only.
    pub fn wants_labels_only(&self) -> bool {
        self.hints.as_ref().is_some_and(|hints| hints.function == LABELS_ONLY)
    }
}

/// The kinds of answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResponseKind {
    /// All samples in one message.
    Samples,
    /// Chunks, frame by frame.
    StreamedChunks,
}

impl ResponseKind {
    /// The number in a request.
    pub fn number(self) -> u64 {
        match self {
            ResponseKind::Samples => 0,
            ResponseKind::StreamedChunks => 1,
        }
    }

    /// The first of the accepted kinds that there is.
    pub fn negotiate(accepted: &[u64]) -> Result<ResponseKind, RequestError> {
        let known = |number: &u64| [ResponseKind::Samples, ResponseKind::StreamedChunks].get(*number as usize).copied();
        match accepted {
            [] => Ok(ResponseKind::Samples),
            numbers => numbers.iter().find_map(known).ok_or_else(|| RequestError::Kinds(numbers.to_vec())),
        }
    }
}

/// Why a request cannot be answered; the client must change it.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum RequestError {
    /// It is not a packed message.
    #[error(transparent)]
    Snappy(#[from] super::super::snappy::SnappyError),
    /// It is no message.
    #[error("the request is no ReadRequest: {0}")]
    Protobuf(#[from] ProtobufError),
    /// An operator that does not exist.
    #[error("invalid matcher type {0}")]
    Operator(u64),
    /// An expression that cannot be compiled.
    #[error("the condition on {name:?}: {error}")]
    Regex {
        /// The label.
        name: String,
        /// What is wrong.
        error: RegexError,
    },
    /// More than anybody needs.
    #[error("the request has more than {max} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        max: usize,
    },
    /// No kind of answer that there is.
    #[error("server does not support any of the requested response types: {0:?}; supported: [0 1]")]
    Kinds(Vec<u64>),
}

impl ReadRequest {
    /// Reads a request.
    pub fn decode(message: &[u8]) -> Result<ReadRequest, RequestError> {
        let mut request = ReadRequest::default();
        let mut matchers = 0;
        for field in Fields::new(message) {
            let field = field?;
            match field.number {
                1 => {
                    limit(request.queries.len(), MAX_QUERIES, "queries")?;
                    request.queries.push(read_query(field.message()?, &mut matchers)?);
                }
                2 => {
                    for number in field.varints()? {
                        // Only the first few can matter: there are two.
                        let number = number?;
                        if request.accepted.len() < 16 {
                            request.accepted.push(number);
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(request)
    }

    /// The request as a message.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut w = Writer::new(&mut out);
        for query in &self.queries {
            w.message(1, |w| write_query(w, query));
        }
        if !self.accepted.is_empty() {
            w.packed(2, self.accepted.iter().copied());
        }
        out
    }
}

fn limit(there: usize, max: usize, what: &'static str) -> Result<(), RequestError> {
    if there < max { Ok(()) } else { Err(RequestError::TooMany { what, max }) }
}

fn read_query(message: Fields<'_>, matchers: &mut usize) -> Result<Query, RequestError> {
    let (mut min, mut max, mut selector, mut hints) = (0, 0, Selector::new(), None);
    for field in message {
        let field = field?;
        match field.number {
            1 => min = field.int()?,
            2 => max = field.int()?,
            3 => {
                limit(*matchers, MAX_MATCHERS, "conditions")?;
                *matchers += 1;
                selector.push(read_matcher(field.message()?)?);
            }
            4 => hints = Some(read_hints(field.message()?)?),
            _ => {}
        }
    }
    Ok(Query { range: TimeRange { min: TimestampMs(min), max: TimestampMs(max) }, selector, hints })
}

fn write_query(w: &mut Writer<'_>, query: &Query) {
    w.int(1, query.range.min.0);
    w.int(2, query.range.max.0);
    for matcher in &query.selector {
        w.message(3, |w| {
            w.varint(1, operator_number(matcher.op));
            w.bytes(2, matcher.name.as_bytes());
            w.bytes(3, matcher.value.as_bytes());
        });
    }
    if let Some(hints) = &query.hints {
        w.message(4, |w| {
            w.bytes(2, hints.function.as_bytes());
            w.int(3, hints.range.min.0);
            w.int(4, hints.range.max.0);
        });
    }
}

fn operator_number(op: MatchOp) -> u64 {
    match op {
        MatchOp::Equal => 0,
        MatchOp::NotEqual => 1,
        MatchOp::Regex => 2,
        MatchOp::NotRegex => 3,
    }
}

fn read_matcher(message: Fields<'_>) -> Result<Matcher, RequestError> {
    let (mut op, mut name, mut value) = (0, "", "");
    for field in message {
        let field = field?;
        match field.number {
            1 => op = field.varint()?,
            2 => name = field.text()?,
            3 => value = field.text()?,
            _ => {}
        }
    }
    let op = match op {
        0 => MatchOp::Equal,
        1 => MatchOp::NotEqual,
        2 => MatchOp::Regex,
        3 => MatchOp::NotRegex,
        other => return Err(RequestError::Operator(other)),
    };
    Matcher::new(op, name, value).map_err(|error| RequestError::Regex { name: name.to_owned(), error })
}

fn read_hints(message: Fields<'_>) -> Result<Hints, ProtobufError> {
    let (mut min, mut max, mut function) = (0, 0, "");
    for field in message {
        let field = field?;
        match field.number {
            2 => function = field.text()?,
            3 => min = field.int()?,
            4 => max = field.int()?,
            _ => {}
        }
    }
    let range = TimeRange { min: TimestampMs(min), max: TimestampMs(max) };
    Ok(Hints { range, function: function.to_owned() })
}

/// Writes labels as the field 1 of both kinds of series.
pub(super) fn write_labels<'a>(w: &mut Writer<'_>, labels: impl Iterator<Item = (&'a str, &'a str)>) {
    for (name, value) in labels {
        w.message(1, |w| {
            w.bytes(1, name.as_bytes());
            w.bytes(2, value.as_bytes());
        });
    }
}

/// Writes a chunk as the field 2 of a `ChunkedSeries`.
pub(super) fn write_chunk(w: &mut Writer<'_>, chunk: &Chunk) {
    w.message(2, |w| {
        w.int(1, chunk.min.0);
        w.int(2, chunk.max.0);
        w.varint(3, chunk.encoding as u64);
        w.bytes(4, &chunk.data);
    });
}

/// Writes a float as the field 2 of a `TimeSeries`.
pub(super) fn write_float(w: &mut Writer<'_>, t: i64, v: f64) {
    w.message(2, |w| {
        w.double(1, v);
        w.int(2, t);
    });
}

/// Writes a sample of any kind as a field of a `TimeSeries`.
pub(super) fn write_value(w: &mut Writer<'_>, sample: &TimedValue) {
    match &sample.value {
        Value::Float(v) => write_float(w, sample.t.0, *v),
        Value::Histogram(h) => w.message(4, |w| histogram::write_integer(w, sample.t, h)),
        Value::FloatHistogram(h) => w.message(4, |w| histogram::write_float(w, sample.t, h)),
    }
}

/// Why an answer cannot be used; the server that sent it is to blame.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum AnswerError {
    /// It is no message.
    #[error("the answer is not a message of remote read: {0}")]
    Protobuf(#[from] ProtobufError),
    /// A histogram that is none.
    #[error("a histogram is malformed: {0}")]
    Histogram(String),
    /// Labels that no series can have.
    #[error("a series has {0}")]
    Labels(String),
    /// A chunk of a kind that we do not know.
    #[error("a chunk has the unknown encoding {0}")]
    Encoding(u64),
    /// A chunk that cannot be decoded.
    #[error("a chunk is damaged: {0}")]
    Chunk(#[from] DecodeError),
    /// A part that answers no query.
    #[error("it has an answer to query {0}, which was not asked")]
    Query(u64),
    /// Not as many parts as queries.
    #[error("it answers {given} queries of {wanted}")]
    Results {
        /// Queries.
        wanted: usize,
        /// Answers.
        given: usize,
    },
    /// Times of a chunk or a series that do not ascend.
    #[error("the times of a series do not ascend at {}", .0.0)]
    Times(TimestampMs),
}

/// Collects the labels of a series, in whatever order they come.
#[derive(Default)]
pub(super) struct ReadLabels(LabelsBuilder);

impl ReadLabels {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn take(&mut self, field: &Field<'_>) -> Result<(), AnswerError> {
        let (mut name, mut value) = ("", "");
        for field in field.message()? {
            let field = field?;
            match field.number {
                1 => name = field.text()?,
                2 => value = field.text()?,
                _ => {}
            }
        }
        if name.is_empty() {
            return Err(AnswerError::Labels("a label without a name".to_owned()));
        }
        if self.0.len() >= MAX_LABELS {
            return Err(AnswerError::Labels(format!("more than {MAX_LABELS} labels")));
        }
        if self.0.has(name) {
            return Err(AnswerError::Labels(format!("the label {name:?} twice")));
        }
        self.0.set(name, value);
        Ok(())
    }

    /// The labels without those that are to be dropped.
    pub(super) fn without(&mut self, dropped: &[Box<str>]) -> Labels {
        dropped.iter().for_each(|name| self.0.del(name));
        self.0.labels()
    }

    /// Whether the labels satisfy all conditions.
    pub(super) fn satisfy(&self, selector: &[Matcher]) -> bool {
        selector.iter().all(|matcher| matcher.matches(self.0.get(&matcher.name)))
    }
}

/// A chunk as the peer declares it.
pub(super) struct DeclaredChunk<'a> {
    pub min: TimestampMs,
    pub max: TimestampMs,
    pub encoding: Encoding,
    pub data: &'a [u8],
}

pub(super) fn read_chunk<'a>(field: &Field<'a>) -> Result<DeclaredChunk<'a>, AnswerError> {
    let (mut min, mut max, mut encoding, mut data) = (0, 0, 0, &[][..]);
    for field in field.message()? {
        let field = field?;
        match field.number {
            1 => min = field.int()?,
            2 => max = field.int()?,
            3 => encoding = field.varint()?,
            4 => data = field.bytes()?,
            _ => {}
        }
    }
    let known = u8::try_from(encoding).ok().and_then(Encoding::from_byte).ok_or(AnswerError::Encoding(encoding))?;
    Ok(DeclaredChunk { min: TimestampMs(min), max: TimestampMs(max), encoding: known, data })
}

/// Reads the field 2 of a `TimeSeries`.
pub(super) fn read_float(field: &Field<'_>) -> Result<(TimestampMs, f64), ProtobufError> {
    let (mut t, mut v) = (0, 0.0);
    for field in field.message()? {
        let field = field?;
        match field.number {
            1 => v = field.double()?,
            2 => t = field.int()?,
            _ => {}
        }
    }
    Ok((TimestampMs(t), v))
}
