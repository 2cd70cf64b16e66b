//! Answering a request from a store.
//!
//! Series come sorted as they are stored; external labels are added where they are missing. Samples outside of a query's
//! range are never sent, and neither are series without any sample in it.

use std::io;

use super::super::snappy::SnappyError;
use super::external::{self, Stored};
use super::frames::FrameWriter;
use super::samples::SamplesWriter;
use super::wire::{Query, ReadRequest, ResponseKind};
use crate::model::{Annotations, Labels, Matcher};
use crate::storage::{
    DecodeError, QueryError, Queryable, Scope, SelectRequest, SeriesBatch, SeriesChunks, StreamStep, TimeRange,
};

/// What bounds an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Samples of one query's answer that is not streamed.
    pub samples: Option<u64>,
    /// Samples of one query's answer that is streamed.
    pub streamed_samples: Option<u64>,
    /// Bytes of an answer on the wire.
    pub bytes: Option<u64>,
    /// Bytes of a frame; more only if one chunk with its labels is larger.
    pub frame: usize,
}

/// Where answers come from.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The store.
    pub storage: &'a dyn Queryable,
    /// What bounds the read. What an answer holds is charged here.
    pub scope: &'a Scope,
    /// Labels that every series has in the eyes of a reader.
    pub external: &'a Labels,
}

/// What an answer was.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Served {
    /// Series over all queries.
    pub series: u64,
    /// Samples over all queries.
    pub samples: u64,
    /// What was not quite right about the reads.
    pub annotations: Annotations,
}

/// Why an answer broke off. What has been handed on before stays.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Storage failed.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// A query selects too many samples.
    #[error("exceeded sample limit ({0})")]
    Samples(u64),
    /// The answer is too long.
    #[error("the answer has more than the {0} bytes that are allowed")]
    Bytes(u64),
    /// The answer cannot be packed.
    #[error("the answer is too large to be sent as samples; ask for streamed chunks, or for less: {0}")]
    Packing(#[from] SnappyError),
    /// The answer could not be handed on; mostly the client went away.
    #[error("writing the answer: {0}")]
    Sink(#[source] io::Error),
}

/// Takes the bytes out of the buffer, or leaves them to be thrown away.
pub type Sink<'a> = &'a mut dyn FnMut(&mut Vec<u8>) -> io::Result<()>;

/// Answers a request. A streamed answer is handed on while it is made and needs constant memory; of samples the packed
/// message is held until it is complete, since its length stands before it.
pub fn serve(
    kind: ResponseKind,
    request: &ReadRequest,
    source: Source<'_>,
    limits: &Limits,
    sink: Sink<'_>,
) -> Result<Served, ServeError> {
    match kind {
        ResponseKind::StreamedChunks => stream_chunks(request, source, limits, sink),
        ResponseKind::Samples => send_samples(request, source, limits, sink),
    }
}

fn stream_chunks(
    request: &ReadRequest,
    source: Source<'_>,
    limits: &Limits,
    sink: Sink<'_>,
) -> Result<Served, ServeError> {
    let mut served = Served::default();
    let mut out = Out { sink, left: limits.bytes, limit: limits.bytes };
    let mut frames = FrameWriter::new(limits.frame);
    for (index, query) in request.queries.iter().enumerate() {
        let mut count = Count::new(limits.streamed_samples);
        let read = each_series(source, query, |series, range| {
            let chunks = frames.series(index as u64, source.external, series, range, query.wants_labels_only());
            let samples = chunks.map_err(undecodable)?;
            served.series += u64::from(samples.is_some());
            count.add(samples.unwrap_or(0))?;
            if frames.is_full() { out.hand_on(frames.written()) } else { Ok(()) }
        });
        served.annotations.merge(read?);
        served.samples += count.samples;
    }
    out.hand_on(frames.written())?;
    Ok(served)
}

fn send_samples(
    request: &ReadRequest,
    source: Source<'_>,
    limits: &Limits,
    sink: Sink<'_>,
) -> Result<Served, ServeError> {
    let mut served = Served::default();
    let mut writer = SamplesWriter::new();
    let mut charged = 0;
    for query in &request.queries {
        let place = writer.begin_query()?;
        let mut count = Count::new(limits.samples);
        let read = each_series(source, query, |series, range| {
            let samples = writer.series(source.external, &series, range, query.wants_labels_only());
            let samples = samples.map_err(undecodable)?;
            served.series += u64::from(samples.is_some());
            count.add(samples.unwrap_or(0))?;
            writer.end_series()?;
            let held = writer.held();
            source.scope.charge(0, held.saturating_sub(charged)).map_err(QueryError::from)?;
            charged = held.max(charged);
            within(writer.packed(), limits.bytes)
        });
        served.annotations.merge(read?);
        served.samples += count.samples;
        writer.end_query(place);
    }
    let mut out = Out { sink, left: limits.bytes, limit: limits.bytes };
    for mut piece in writer.finish()? {
        out.hand_on(&mut piece)?;
    }
    source.scope.release(0, charged);
    Ok(served)
}

/// Reads the series of a query.
fn each_series(
    source: Source<'_>,
    query: &Query,
    mut take: impl FnMut(SeriesChunks, TimeRange) -> Result<(), ServeError>,
) -> Result<Annotations, ServeError> {
    let Some(range) = query.needed_range() else { return Ok(Annotations::none()) };
    let Stored { selectors, left } = external::stored(&query.selector, source.external);
    let request = SelectRequest { selectors: &selectors, range, sorted: true, limit: None };
    let mut stream = source.storage.select(source.scope, &request)?;
    let mut batch = SeriesBatch::default();
    loop {
        if let StreamStep::End(end) = stream.next(&mut batch)? {
            return Ok(end.annotations);
        }
        let size = batch.size();
        for series in batch.series.drain(..) {
            if left.is_empty() || sees(&series.labels, source.external, &left) {
                take(series, range)?;
            }
        }
        source.scope.release(size.samples, size.bytes);
    }
}

fn sees(own: &Labels, external: &Labels, conditions: &[Matcher]) -> bool {
    conditions.iter().all(|m| m.matches(own.get(&m.name).or(external.get(&m.name)).unwrap_or("")))
}

fn undecodable(error: DecodeError) -> QueryError {
    QueryError::Corrupt { path: "a chunk of the store".to_owned(), offset: 0, reason: error.to_string() }
}

fn within(bytes: u64, limit: Option<u64>) -> Result<(), ServeError> {
    match limit {
        Some(limit) if bytes > limit => Err(ServeError::Bytes(limit)),
        _ => Ok(()),
    }
}

/// Samples of one query.
struct Count {
    samples: u64,
    limit: Option<u64>,
}

impl Count {
    fn new(limit: Option<u64>) -> Count {
        Count { samples: 0, limit }
    }

    fn add(&mut self, samples: u64) -> Result<(), ServeError> {
        self.samples += samples;
        match self.limit {
            Some(limit) if self.samples > limit => Err(ServeError::Samples(limit)),
            _ => Ok(()),
        }
    }
}

/// The way out, with what is left of the bytes that an answer may have.
struct Out<'a> {
    sink: Sink<'a>,
    left: Option<u64>,
    limit: Option<u64>,
}

impl Out<'_> {
    fn hand_on(&mut self, buffer: &mut Vec<u8>) -> Result<(), ServeError> {
        if buffer.is_empty() {
            return Ok(());
        }
        let bytes = buffer.len() as u64;
        if let (Some(left), Some(limit)) = (&mut self.left, self.limit) {
            *left = left.checked_sub(bytes).ok_or(ServeError::Bytes(limit))?;
        }
        (self.sink)(buffer).map_err(ServeError::Sink)?;
        buffer.clear();
        Ok(())
    }
}
