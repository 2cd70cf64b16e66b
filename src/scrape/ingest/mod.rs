//! From a body to the storage: one walk over what a body shows, against the cache, into batches.
//!
//! | file | content |
//! |---|---|
//! | `lines` | walks over text and OpenMetrics |
//! | `messages` | walks over protobuf |
//! | `classic` | the series of classic histograms in text, on their way to native ones |
//! | `keys` | what stands for a series' text where there is none |
//! | `limits` | the resolution and the buckets that native histograms may have |
//! | `batch` | batches, and what the storage says of them |
//!
//! Whatever the format, a sample goes one way: the text of its series is looked up in the cache, by prediction first; only
//! a miss decodes labels and applies the rules; then it is counted, marked and put into a batch.

mod batch;
mod classic;
mod keys;
mod limits;
mod lines;
mod messages;

pub(super) use classic::Converter;

use batch::{Batch, HeldHistogram, Origin};
use limits::HistogramLimits;

use super::cache::{Cache, Entry, Visit};
use super::config::{JobConfig, StartTimestamps};
use super::sample_rules::{LabelError, SampleRules};
use super::target::HistogramWishes;
use crate::exposition::protobuf::MessageError;
use crate::exposition::{CreatedLines, Format, MediaType, ParseError, SeriesLabels};
use crate::model::{Exemplar, LabelsBuilder, MalformedHistogram, MetricType, TimestampMs, Value};
use crate::storage::{AppendError, Appender, FloatSample, SeriesRef};

/// Samples further in the future than this are refused, as in the reference.
const MAX_AHEAD_MS: i64 = 10 * 60 * 1000;

/// What of the job's and the target's configuration the walk needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct IngestOptions {
    honor_timestamps: bool,
    track_timestamps: bool,
    sample_limit: u64,
    histograms: HistogramWishes,
    limits: HistogramLimits,
    starts: StartTimestamps,
}

impl IngestOptions {
    pub(super) fn new(job: &JobConfig, histograms: HistogramWishes) -> IngestOptions {
        IngestOptions {
            honor_timestamps: job.honor_timestamps,
            track_timestamps: job.track_timestamps_staleness,
            sample_limit: job.sample_limit.unwrap_or(u64::MAX),
            histograms,
            limits: HistogramLimits::new(job),
            starts: job.start_timestamps,
        }
    }
}

/// What a body brought, also if it failed half-way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Counts {
    /// Samples in the body.
    pub(super) scraped: u64,
    /// Those that the label rules left.
    pub(super) after_relabelling: u64,
    /// Series that the scrape before did not have.
    pub(super) series_added: u64,
    /// Samples of a series that the same body had shown before.
    pub(super) repeated: u64,
    /// Samples too far in the future.
    pub(super) too_far_ahead: u64,
    /// The newest timestamp that a sample brought itself, kept or not.
    pub(super) newest_own: Option<TimestampMs>,
}

/// Why nothing of a body is kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum IngestError {
    #[error(transparent)]
    Parse(#[from] ParseError),
    #[error(transparent)]
    Message(#[from] MessageError),
    /// What a key stands for cannot be read; whoever knows where it came from says where.
    #[error("{0}")]
    Key(String),
    #[error(transparent)]
    Labels(#[from] LabelError),
    #[error("invalid histogram: {0}")]
    Histogram(#[from] MalformedHistogram),
    #[error("sample limit exceeded")]
    SampleLimit,
    #[error("histogram bucket limit exceeded")]
    BucketLimit,
    #[error("storing the scrape: {0}")]
    Append(#[from] AppendError),
}

/// What identifies a series in a body.
#[derive(Clone, Copy)]
enum Text<'t> {
    /// The series part of the line that begins at this byte.
    Line(&'t [u8], usize),
    /// The last key, which begins at this byte of `keys`.
    Key(usize),
}

/// How a sample counts against the limits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Admission {
    /// Against that of samples.
    Counted,
    /// Not at all: the end of a known series is written in any case.
    Free,
    /// It has too many buckets to be taken.
    TooManyBuckets,
}

/// What a sample says besides its value.
#[derive(Clone, Copy)]
struct Stamp {
    /// Its own timestamp, if it has one that is honoured.
    own_t: Option<TimestampMs>,
    /// Since when it has been counted; 0 if that is not known.
    start: TimestampMs,
    /// The type that its line's family declared.
    family: MetricType,
}

/// A sample whose series has been found.
#[derive(Clone, Copy)]
struct Taken {
    series: SeriesRef,
    t: TimestampMs,
    start: TimestampMs,
    origin: Origin,
}

/// One walk over one body.
pub(super) struct Ingest<'a, 's> {
    pub(super) cache: &'a mut Cache,
    pub(super) appender: &'a mut (dyn Appender + 's),
    pub(super) rules: &'a SampleRules,
    pub(super) options: IngestOptions,
    /// The timestamp of samples that have none of their own.
    pub(super) t: TimestampMs,
    pub(super) counts: Counts,
    /// Series that are still there, but whose absence would not end them any more.
    pub(super) untracked: Vec<SeriesRef>,
    floats: Batch<FloatSample>,
    histograms: Batch<HeldHistogram>,
    /// Start timestamps of the floats, one each, if anybody wants them.
    starts: Vec<TimestampMs>,
    /// Samples of zero to be put where counting began.
    zeros: Vec<batch::Zero>,
    /// Keys of the batches' samples that come without a text.
    keys: Vec<u8>,
    /// Bytes of keys that this body may still have.
    key_budget: usize,
    created: CreatedLines,
    converter: Option<Box<Converter>>,
    labels: SeriesLabels,
    builder: LabelsBuilder,
    /// Samples counted against the limit.
    taken: u64,
    has_too_many_buckets: bool,
    max_t: TimestampMs,
}

impl<'a, 's> Ingest<'a, 's> {
    pub(super) fn new(
        cache: &'a mut Cache,
        appender: &'a mut (dyn Appender + 's),
        rules: &'a SampleRules,
        options: IngestOptions,
        t: TimestampMs,
        now: TimestampMs,
    ) -> Ingest<'a, 's> {
        Ingest {
            cache,
            appender,
            rules,
            options,
            t,
            counts: Counts::default(),
            untracked: Vec::new(),
            floats: Batch::with_capacity(batch::FLOATS),
            histograms: Batch::with_capacity(0),
            starts: Vec::new(),
            zeros: Vec::new(),
            keys: Vec::new(),
            key_budget: usize::MAX,
            created: CreatedLines::default(),
            converter: None,
            labels: SeriesLabels::new(),
            builder: LabelsBuilder::new(),
            taken: 0,
            has_too_many_buckets: false,
            max_t: TimestampMs(now.0.saturating_add(MAX_AHEAD_MS)),
        }
    }

    /// Takes the whole body. After an error the appender must be dropped.
    pub(super) fn body(&mut self, body: &[u8], media: MediaType) -> Result<(), IngestError> {
        let walked = match media {
            MediaType::TextPlain => self.lines(body, Format::Text),
            MediaType::OpenMetricsText => self.lines(body, Format::OpenMetrics),
            MediaType::Protobuf => self.messages(body),
        };
        let result = walked.and_then(|()| self.judge_limits());
        if result.is_err() {
            self.mark_unjudged();
        }
        result
    }

    fn judge_limits(&self) -> Result<(), IngestError> {
        if self.taken > self.options.sample_limit {
            return Err(IngestError::SampleLimit);
        }
        if self.has_too_many_buckets { Err(IngestError::BucketLimit) } else { Ok(()) }
    }

    fn honoured(&self, timestamp: Option<TimestampMs>) -> Option<TimestampMs> {
        if self.options.honor_timestamps { timestamp } else { None }
    }

    /// Takes a sample of a series that the cache knows. `put` puts it into its batch.
    #[inline]
    fn known_series(
        &mut self,
        (index, entry): (u32, &Entry),
        text: Text<'_>,
        stamp: Stamp,
        admission: Admission,
        put: impl FnOnce(&mut Self, Taken) -> Result<(), IngestError>,
    ) -> Result<(), IngestError> {
        self.counts.scraped += 1;
        self.counts.after_relabelling += 1;
        let visit = self.cache.visit(index);
        if visit == Visit::Again && stamp.own_t.is_none() {
            self.counts.repeated += 1;
            return Ok(());
        }
        let taken = self.take(stamp.own_t, admission);
        let is_first = visit != Visit::Again;
        let is_to_be_marked = is_first && taken && self.is_marked_late(stamp.own_t);
        let is_new = visit == Visit::Back;
        if taken {
            let origin = Origin { entry: index, is_to_be_marked, is_new, ..Origin::of(text, stamp.family) };
            put(self, self.taken_sample(SeriesRef(entry.target), stamp, origin))?;
        }
        if is_first {
            if !is_to_be_marked {
                self.mark(index, entry.target, taken, stamp.own_t);
            }
            if is_new {
                self.counts.series_added += u64::from(taken && !self.has_too_many_buckets);
                if !taken {
                    self.cache.forget(index);
                }
            }
        }
        Ok(())
    }

    /// A sample of a series that the label rules drop.
    #[inline]
    fn dropped_series(&mut self, index: u32) {
        self.counts.scraped += 1;
        self.cache.visit(index);
    }

    /// Takes a sample of a series that the cache does not know. Its labels have been decoded.
    fn new_series(
        &mut self,
        text: Text<'_>,
        stamp: Stamp,
        admission: Admission,
        put: impl FnOnce(&mut Self, Taken) -> Result<(), IngestError>,
    ) -> Result<(), IngestError> {
        self.counts.scraped += 1;
        let Some(labels) = self.rules.apply(&self.labels, &mut self.builder)? else {
            self.cache.add(text.bytes(&self.keys), super::cache::Kind::Dropped, 0);
            return Ok(());
        };
        self.counts.after_relabelling += 1;
        if !self.take(stamp.own_t, admission) {
            return Ok(());
        }
        let series = self.appender.series(&labels)?;
        self.counts.series_added += u64::from(!self.has_too_many_buckets);
        // A cache that is full costs speed and staleness markers, not samples.
        let index = self.cache.add(text.bytes(&self.keys), super::cache::Kind::Series, series.0);
        let is_to_be_marked = index.is_some() && self.is_marked_late(stamp.own_t);
        if let Some(index) = index
            && !is_to_be_marked
        {
            self.mark(index, series.0, true, stamp.own_t);
        }
        let entry = index.unwrap_or(Origin::NO_ENTRY);
        let origin = Origin { entry, is_to_be_marked, is_new: true, ..Origin::of(text, stamp.family) };
        put(self, self.taken_sample(series, stamp, origin))
    }

    #[inline]
    fn taken_sample(&self, series: SeriesRef, stamp: Stamp, origin: Origin) -> Taken {
        let start = if self.options.starts.are_read() { stamp.start } else { TimestampMs(0) };
        Taken { series, t: stamp.own_t.unwrap_or(self.t), start, origin }
    }

    /// Counts a sample against the limits; false if it must not be stored.
    #[inline]
    fn take(&mut self, own_t: Option<TimestampMs>, admission: Admission) -> bool {
        match admission {
            Admission::Counted => self.taken += 1,
            Admission::Free => {}
            Admission::TooManyBuckets => {
                self.has_too_many_buckets = true;
                return false;
            }
        }
        // The walk goes on over the limit, so that the report tells how many samples there were.
        if self.taken > self.options.sample_limit {
            return false;
        }
        self.counts.newest_own = self.counts.newest_own.max(own_t);
        let too_far = own_t.is_some_and(|t| t > self.max_t);
        self.counts.too_far_ahead += u64::from(too_far);
        !too_far
    }

    /// Notes whether the absence of a series in the next scrape would end it. Own timestamps mean that the target
    /// decides by itself when a sample is too old.
    #[inline]
    fn mark(&mut self, index: u32, series: u64, taken: bool, own_t: Option<TimestampMs>) {
        if taken && (own_t.is_none() || self.options.track_timestamps) {
            self.cache.track(index);
        } else if self.cache.untrack(index) {
            self.untracked.push(SeriesRef(series));
        }
    }

    /// Whether a sample's entry waits for the store's judgement: of tracked samples with times of their own only those
    /// that are kept are expected again, so one that goes back in time ends its series. Samples without are as good as
    /// never refused, and the judgement comes batch by batch.
    #[inline]
    fn is_marked_late(&self, own_t: Option<TimestampMs>) -> bool {
        self.options.track_timestamps && own_t.is_some()
    }

    #[inline]
    fn put_float(&mut self, taken: Taken, v: f64, exemplar: Option<Exemplar>) {
        let Taken { series, t, start, origin } = taken;
        if self.options.starts.are_read() {
            self.starts.push(start);
            if self.options.starts.has_zero_samples() && start.0 != 0 && start < t {
                self.zeros.push(batch::Zero { series, t: start, kind: batch::ZeroKind::Float });
            }
        }
        self.floats.push(FloatSample { series, t, v }, origin, exemplar);
    }

    /// The reference takes no histogram that contradicts itself, and nothing else of the body that brought it.
    fn put_histogram(&mut self, taken: Taken, value: Value, exemplars: Vec<Exemplar>) -> Result<(), IngestError> {
        let sound = match &value {
            Value::Histogram(h) => h.validate(),
            Value::FloatHistogram(h) => h.validate(),
            Value::Float(_) => Ok(()),
        };
        if sound.is_err() {
            // The sample that ends the walk is not among those that the rules left.
            self.counts.after_relabelling -= 1;
        }
        sound?;
        let Taken { series, t, start, origin } = taken;
        if self.options.starts.has_zero_samples() && start.0 != 0 && start < t {
            self.zeros.push(batch::Zero { series, t: start, kind: batch::ZeroKind::like(&value) });
        }
        self.histograms.push(HeldHistogram { series, t, start, value }, origin, exemplars);
        Ok(())
    }

    /// Takes a native histogram whose key is the last one; `exemplars` may come without timestamps, and those that do are
    /// left out, as in the reference: whether they are old acquaintances could not be told.
    fn native_histogram(
        &mut self,
        key: usize,
        stamp: Stamp,
        mut value: Value,
        exemplars: impl FnOnce() -> Result<Vec<Exemplar>, MessageError>,
    ) -> Result<(), IngestError> {
        let admission = self.options.limits.apply(&mut value);
        let put = |this: &mut Self, taken: Taken| {
            let mut exemplars = exemplars()?;
            exemplars.retain(|exemplar| exemplar.t.is_some());
            let order = |a: &Exemplar, b: &Exemplar| a.t.cmp(&b.t).then(a.value.total_cmp(&b.value));
            exemplars.sort_by(|a, b| order(a, b).then_with(|| a.labels.cmp(&b.labels)));
            this.put_histogram(taken, value, exemplars)
        };
        self.keyed_series(key, stamp, admission, put)
    }
}

impl Text<'_> {
    fn bytes<'k>(&'k self, keys: &'k [u8]) -> &'k [u8] {
        match *self {
            Text::Line(text, _) => text,
            Text::Key(from) => &keys[from..],
        }
    }
}
