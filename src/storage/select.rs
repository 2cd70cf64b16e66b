//! Reading.

use std::io;

use super::chunk::Chunk;
use super::latest::{LatestBatch, LatestStream};
use super::scope::{Cancelled, Scope};
use crate::model::{Annotations, Labels, Matcher, TimestampMs};

/// All conditions of one selector; a series is selected if every one holds.
pub type Selector = Vec<Matcher>;

/// Both ends belong to the range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimeRange {
    /// First instant.
    pub min: TimestampMs,
    /// Last instant.
    pub max: TimestampMs,
}

impl TimeRange {
    /// Every instant.
    pub const ALL: TimeRange = TimeRange { min: TimestampMs::MIN, max: TimestampMs::MAX };

    /// Whether `[min, max]` and this range share an instant.
    pub fn overlaps(&self, min: TimestampMs, max: TimestampMs) -> bool {
        min <= self.max && max >= self.min
    }

    /// Whether an instant lies in the range.
    pub fn contains(&self, t: TimestampMs) -> bool {
        self.min <= t && t <= self.max
    }
}

/// What to read.
#[derive(Clone, Debug)]
pub struct SelectRequest<'a> {
    /// Alternatives: a series that satisfies any of them is returned, once.
    pub selectors: &'a [Selector],
    /// Only chunks that overlap this range; they may also hold samples outside it.
    pub range: TimeRange,
    /// Return series in ascending order: [`Queryable::select`] by labels, [`Queryable::select_latest`] by metric name
    /// and then by labels. The two differ where a label's name sorts before `__name__`, as upper case letters do.
    pub sorted: bool,
    /// Stop after so many series.
    pub limit: Limit,
}

/// Whose labels to read.
#[derive(Clone, Copy, Debug)]
pub struct LabelRequest<'a> {
    /// Alternatives; the labels of all series if there is none.
    pub selectors: &'a [Selector],
    /// Only series with samples in this range, as far as that is known without reading them.
    pub range: TimeRange,
    /// Names or values at most.
    pub limit: Limit,
}

impl LabelRequest<'_> {
    /// The labels of all series.
    pub const ALL: LabelRequest<'static> = LabelRequest { selectors: &[], range: TimeRange::ALL, limit: None };
}

/// Names or values of labels, with what went not quite right.
pub type LabelTexts = (Vec<String>, Annotations);

/// How many results are wanted at most.
pub type Limit = Option<usize>;

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The read's scope ended it.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The disk failed.
    #[error("reading {path}: {source}")]
    Disk {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// Stored data is damaged.
    #[error("{path}: damaged at byte {offset}: {reason}")]
    Corrupt {
        /// The file, or `memory`.
        path: String,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// The store is not ready yet.
    #[error("the store is not ready: {0}")]
    NotReady(String),
    /// Another server that was asked has failed.
    #[error("{peer}: {reason}")]
    Peer {
        /// Its name.
        peer: String,
        /// What happened.
        reason: String,
    },
}

/// One series with the chunks that overlap the range, ascending by time, without overlaps between them.
#[derive(Clone, Debug, Default)]
pub struct SeriesChunks {
    /// Its labels.
    pub labels: Labels,
    /// Still-encoded samples.
    pub chunks: Vec<Chunk>,
}

/// A batch of series; the caller owns it and passes it in again.
#[derive(Clone, Debug, Default)]
pub struct SeriesBatch {
    /// The series.
    pub series: Vec<SeriesChunks>,
}

/// How much a batch holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BatchSize {
    /// Series.
    pub series: u64,
    /// Chunks.
    pub chunks: u64,
    /// Samples, as the chunks' headers say.
    pub samples: u64,
    /// Bytes of chunk data.
    pub bytes: u64,
}

impl SeriesBatch {
    /// Counts what the batch holds; nothing is decoded.
    pub fn size(&self) -> BatchSize {
        let mut size = BatchSize { series: self.series.len() as u64, ..BatchSize::default() };
        for chunk in self.series.iter().flat_map(|s| &s.chunks) {
            size.chunks += 1;
            size.samples += u64::from(chunk.sample_count());
            size.bytes += chunk.data.len() as u64;
        }
        size
    }
}

/// Figures about a read that has come to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StreamStats {
    /// Series returned.
    pub series: u64,
    /// Chunks returned.
    pub chunks: u64,
    /// Bytes of chunk data returned.
    pub bytes: u64,
}

impl StreamStats {
    /// Counts a batch that is returned.
    pub fn add(&mut self, batch: &BatchSize) {
        self.series += batch.series;
        self.chunks += batch.chunks;
        self.bytes += batch.bytes;
    }
}

/// The end of a stream.
#[derive(Clone, Debug, Default)]
#[must_use = "the end of a stream carries its warnings"]
pub struct StreamEnd {
    /// What went not quite right.
    pub annotations: Annotations,
    /// What it took.
    pub stats: StreamStats,
}

/// What a call for the next batch brought.
#[derive(Debug)]
#[must_use]
pub enum StreamStep {
    /// The batch was filled with at least one series.
    Batch,
    /// There is no more; the batch is empty.
    End(StreamEnd),
}

/// A sequence of batches of series.
pub trait SeriesStream: Send {
    /// Clears `batch` and fills it with the next series.
    fn next(&mut self, batch: &mut SeriesBatch) -> Result<StreamStep, QueryError>;
}

/// A stream of whichever kind.
pub type BoxedSeries<'a> = Box<dyn SeriesStream + 'a>;

/// A stream of newest samples of whichever kind.
pub type BoxedLatest<'a> = Box<dyn LatestStream + 'a>;

/// A stream that has ended before it began.
#[derive(Debug, Default)]
pub struct Nothing(pub Annotations);

impl Nothing {
    fn end(&mut self) -> StreamStep {
        let annotations = std::mem::take(&mut self.0);
        StreamStep::End(StreamEnd { annotations, stats: StreamStats::default() })
    }
}

impl SeriesStream for Nothing {
    fn next(&mut self, batch: &mut SeriesBatch) -> Result<StreamStep, QueryError> {
        batch.series.clear();
        Ok(self.end())
    }
}

impl LatestStream for Nothing {
    fn next(&mut self, batch: &mut LatestBatch) -> Result<StreamStep, QueryError> {
        batch.clear();
        Ok(self.end())
    }
}

/// A store that can be read.
pub trait Queryable: Send + Sync {
    /// Opens a stream of series with their chunks. `sorted` means ascending order of labels.
    fn select(&self, scope: &Scope, request: &SelectRequest<'_>) -> Result<BoxedSeries<'_>, QueryError>;

    /// Opens a stream of each selected series' newest sample in `request.range`, of whatever kind, leaving out series whose
    /// newest sample there is a staleness marker or that have none. Rows come by metric name, then by labels, whatever
    /// `request.sorted` says: this is what `/federate` serves.
    fn select_latest(&self, scope: &Scope, request: &SelectRequest<'_>) -> Result<BoxedLatest<'_>, QueryError>;

    /// Whether newest samples could be read right now without waiting for what others do, such as a large scrape that is being
    /// applied, or ordering the series anew. No promise: the next moment may be different.
    fn is_prompt(&self) -> bool {
        false
    }

    /// The label names of the selected series, ascending.
    fn label_names(&self, scope: &Scope, request: &LabelRequest<'_>) -> Result<LabelTexts, QueryError>;

    /// The values of one label among the selected series, ascending.
    fn label_values(&self, scope: &Scope, name: &str, request: &LabelRequest<'_>) -> Result<LabelTexts, QueryError>;
}
