//! Writing.

use std::io;

use crate::model::{Exemplar, FloatHistogram, Histogram, Labels, Metadata, TimestampMs, Value};

/// A store's own short name for a series. Never reused within one store's life; 0 is no series.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct SeriesRef(pub u64);

/// One float sample of a known series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FloatSample {
    /// Which series.
    pub series: SeriesRef,
    /// When.
    pub t: TimestampMs,
    /// What.
    pub v: f64,
}

/// A native histogram of either kind, borrowed.
#[derive(Clone, Copy, Debug)]
pub enum HistogramRef<'a> {
    /// With integer counts.
    Integer(&'a Histogram),
    /// With float counts.
    Float(&'a FloatHistogram),
}

impl HistogramRef<'_> {
    /// A copy that can be kept.
    pub fn to_value(self) -> Value {
        match self {
            HistogramRef::Integer(h) => Value::Histogram(Box::new(h.clone())),
            HistogramRef::Float(h) => Value::FloatHistogram(Box::new(h.clone())),
        }
    }
}

/// One native histogram of a known series.
#[derive(Clone, Copy, Debug)]
pub struct HistogramSample<'a> {
    /// Which series.
    pub series: SeriesRef,
    /// When.
    pub t: TimestampMs,
    /// Since when its counts have been counted; 0 if that is not known.
    pub start: TimestampMs,
    /// What.
    pub value: HistogramRef<'a>,
}

/// Samples that were not kept, by reason. A staleness marker that comes too late is none of them: its series has gone on,
/// which is nobody's mistake.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Refused {
    /// Older than the series' newest sample, and no out-of-order window allows it.
    pub out_of_order: u64,
    /// The series' newest sample has the same timestamp and another value.
    pub duplicate_timestamp: u64,
    /// Older than everything that the store still accepts.
    pub too_old: u64,
    /// Too far in the future for the store's clock.
    pub too_far_in_future: u64,
    /// Histograms that contradict themselves, such as counts that do not add up.
    pub malformed: u64,
}

impl Refused {
    /// All refused samples.
    pub fn total(&self) -> u64 {
        self.out_of_order + self.duplicate_timestamp + self.too_old + self.too_far_in_future + self.malformed
    }
}

/// Why one sample is refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum Refusal {
    /// As [`Refused::out_of_order`].
    #[error("out of order sample")]
    OutOfOrder,
    /// As [`Refused::duplicate_timestamp`].
    #[error("duplicate sample for timestamp")]
    DuplicateTimestamp,
    /// As [`Refused::too_old`].
    #[error("too old sample")]
    TooOld,
    /// As [`Refused::too_far_in_future`].
    #[error("out of bounds: timestamp is too far in the future")]
    TooFarInFuture,
    /// As [`Refused::malformed`].
    #[error("malformed histogram")]
    Malformed,
}

/// Exemplars of one call that are not kept. One that is there already is none of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ExemplarsRefused {
    /// Before the series' newest.
    pub out_of_order: u64,
    /// With longer labels than the store takes.
    pub too_long: u64,
}

/// What a commit did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AppendReport {
    /// Samples kept. A sample equal in time and bits to the series' newest counts as kept and changes nothing.
    pub appended: u64,
    /// Samples not kept.
    pub refused: Refused,
    /// How many of the refused samples are native histograms.
    pub refused_histograms: u64,
}

/// Why a batch as a whole could not be written. Nothing of it was.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The disk refused; the store takes no more writes until it is restarted or has recovered.
    #[error("writing {path}: {source}")]
    Disk {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The store has refused writes since an earlier failure.
    #[error("the store refuses writes since an earlier failure: {0}")]
    Latched(String),
    /// The store cannot name more series.
    #[error("no more series can be created: {0}")]
    TooManySeries(String),
    /// The store holds no samples of that kind.
    #[error("the store cannot hold {0}")]
    Unsupported(&'static str),
    /// The store is shutting down.
    #[error("the store is closed")]
    Closed,
}

/// Positions in an [`Appender::append`] batch whose series the store no longer knows; resolve them again by
/// [`Appender::series`] and append those samples anew. The other samples of the batch were taken.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UnknownSeries(pub Vec<u32>);

/// A batch of writes. Dropping it without [`commit`](Appender::commit) leaves no sample behind; series that
/// it created may stay, empty, until the store collects them.
pub trait Appender: Send {
    /// Finds or creates the series of `labels` (encoded as [`Labels`] are, not empty).
    fn series(&mut self, labels: &Labels) -> Result<SeriesRef, AppendError>;

    /// Finds the series of `labels` and creates none. A store that cannot tell creates it.
    fn find(&mut self, labels: &Labels) -> Result<Option<SeriesRef>, AppendError> {
        self.series(labels).map(Some)
    }

    /// Whether a new series could begin with a sample at `t`, as far as the store tells before it is created.
    fn judge_new(&self, t: TimestampMs) -> Result<(), Refusal> {
        let _ = t;
        Ok(())
    }

    /// Takes samples. Order within the batch is kept per series.
    fn append(&mut self, samples: &[FloatSample]) -> Result<UnknownSeries, AppendError>;

    /// Positions in the last [`append`](Appender::append) batch whose samples are refused for certain. A store that
    /// judges only when it commits says none.
    fn refused(&self) -> &[u32] {
        &[]
    }

    /// Why, for each of [`refused`](Appender::refused) in its order. A store that does not tell says nothing.
    fn refusals(&self) -> &[Refusal] {
        &[]
    }

    /// What the last [`append_exemplars`](Appender::append_exemplars) did not keep, as far as the store tells before it
    /// commits.
    fn refused_exemplars(&self) -> ExemplarsRefused {
        ExemplarsRefused::default()
    }

    /// Marks series as ended at `t` by [`STALE_NAN`](crate::model::STALE_NAN). Unlike an ordinary sample a marker is
    /// never taken out of order, however wide the store's window is: a series that has gone on since has not ended. A
    /// store without such a window needs no implementation of its own.
    fn append_stale(&mut self, series: &[SeriesRef], t: TimestampMs) -> Result<UnknownSeries, AppendError> {
        let marker = |&series| FloatSample { series, t, v: crate::model::STALE_NAN };
        let markers: Vec<FloatSample> = series.iter().map(marker).collect();
        self.append(&markers)
    }

    /// [`append`](Appender::append) with start timestamps, one per sample, 0 where none is known. A store that keeps none
    /// drops them.
    fn append_with_starts(
        &mut self,
        samples: &[FloatSample],
        starts: &[TimestampMs],
    ) -> Result<UnknownSeries, AppendError> {
        debug_assert_eq!(samples.len(), starts.len());
        self.append(samples)
    }

    /// Takes native histograms, as [`append`](Appender::append) takes floats. A series may have both.
    fn append_histograms(&mut self, samples: &[HistogramSample<'_>]) -> Result<UnknownSeries, AppendError> {
        match samples {
            [] => Ok(UnknownSeries::default()),
            _ => Err(AppendError::Unsupported("native histograms")),
        }
    }

    /// Puts a zero at `t`, where counting began, if the series has nothing from there on; else that is known, and nothing
    /// happens. A store that puts none needs no implementation of its own.
    fn append_zero(&mut self, series: SeriesRef, t: TimestampMs) -> Result<(), AppendError> {
        let _ = (series, t);
        Ok(())
    }

    /// [`append_zero`](Appender::append_zero) for a histogram without observations.
    fn append_zero_histogram(&mut self, sample: HistogramSample<'_>) -> Result<(), AppendError> {
        let _ = sample;
        Ok(())
    }

    /// Takes exemplars of a series' sample at `t`, which is also the time of those that have none of their own. Those that
    /// the store cannot keep (too old, too long, there already) are dropped without another word than a metric: an exemplar
    /// is an example. False if the series is unknown.
    fn append_exemplars(
        &mut self,
        series: SeriesRef,
        t: TimestampMs,
        exemplars: &[Exemplar],
    ) -> Result<bool, AppendError> {
        let _ = (series, t, exemplars);
        Ok(true)
    }

    /// Notes what a series' metric says of itself. False if the series is unknown.
    fn set_metadata(&mut self, series: SeriesRef, metadata: &Metadata) -> Result<bool, AppendError> {
        let _ = (series, metadata);
        Ok(true)
    }

    /// Makes the batch durable (as far as the store's policy promises) and visible.
    fn commit(self: Box<Self>) -> Result<AppendReport, AppendError>;
}

/// A store that can be written to.
pub trait Appendable: Send + Sync {
    /// Starts a batch. Keep it short-lived: the store may hold back its own upkeep while one is open.
    fn appender(&self) -> Box<dyn Appender + '_>;
}
