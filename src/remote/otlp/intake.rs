//! The samples of one request on their way into the store.
//!
//! Samples of series that the store knows are handed over, which tells whether it takes them. Those of other series are
//! kept here until it is clear that the request will be taken, so that a refused one leaves no empty series behind.

use std::collections::HashSet;
use std::rc::Rc;

use super::translate::{Measured, Sink, Stop, Translated};
use crate::model::{Exemplar, Histogram, Labels, Metadata, TimestampMs};
use crate::storage::{
    AppendError, AppendReport, Appender, Cancelled, FloatSample, HistogramRef, HistogramSample, Refusal, Scope,
    SeriesRef,
};

/// Samples are handed over in batches that fit into the first-level cache.
const BATCH: usize = 512;
/// What a request, and all requests together, may cost in memory until they are committed. A point's few bytes may name a resource with a megabyte of
/// labels, or be repeated millions of times; sixteen times the largest message is more than honest ones come to.
pub(super) const MAX_COST: usize = 512 << 20;
/// What a sample or an exemplar costs beside its texts: its copies here, in the appender and in the log's record.
const SAMPLE_COST: usize = 256;

/// Collects samples for one appender.
pub(super) struct Intake<'s> {
    appender: Box<dyn Appender + 's>,
    max_t: TimestampMs,
    floats: Vec<FloatSample>,
    starts: Vec<TimestampMs>,
    histograms: Vec<Pending>,
    /// Samples of series that are not in the store, and which series these are.
    held: Vec<Held>,
    held_series: HashSet<Labels>,
    /// Charged with what its samples cost.
    scope: Scope,
    /// What the metric that is being taken says of itself, and its series that have been told.
    metadata: Rc<Metadata>,
    told: HashSet<SeriesRef>,
    /// The first sample that was refused, and why.
    pub(super) refused: Option<Refusal>,
}

struct Pending {
    series: SeriesRef,
    t: TimestampMs,
    start: TimestampMs,
    value: Box<Histogram>,
}

struct Held {
    labels: Labels,
    t: TimestampMs,
    start: TimestampMs,
    metadata: Rc<Metadata>,
    value: Measured,
    exemplars: Vec<Exemplar>,
}

impl<'s> Intake<'s> {
    pub(super) fn new(appender: Box<dyn Appender + 's>, scope: Scope, max_t: TimestampMs) -> Intake<'s> {
        Intake {
            appender,
            max_t,
            floats: Vec::new(),
            starts: Vec::new(),
            histograms: Vec::new(),
            held: Vec::new(),
            held_series: HashSet::new(),
            scope,
            metadata: Rc::default(),
            told: HashSet::new(),
            refused: None,
        }
    }

    /// Hands over what is left, so that [`Intake::refused`] tells everything that is known before a commit.
    pub(super) fn flush(&mut self) -> Result<(), AppendError> {
        self.flush_floats()?;
        self.flush_histograms()
    }

    /// Creates the series that are new, and commits.
    pub(super) fn commit(mut self) -> Result<AppendReport, AppendError> {
        for Held { labels, t, start, metadata, value, exemplars } in std::mem::take(&mut self.held) {
            let sample = Translated { labels: &labels, t, start, metadata: &metadata };
            let series = self.appender.series(&labels)?;
            self.append(series, &sample, value, &exemplars)?;
        }
        self.flush()?;
        self.appender.commit()
    }

    fn pay(&mut self, cost: usize) -> Result<(), Stop> {
        self.scope.charge(0, cost as u64).map_err(|why| match why {
            Cancelled::AllBytes(_) => Stop::Busy,
            _ => Stop::TooCostly,
        })
    }

    /// The series of a sample, if the store has it.
    fn find(&mut self, labels: &Labels) -> Result<Option<SeriesRef>, AppendError> {
        // Another request may have created it meanwhile; the order of this one's samples is kept.
        if self.held_series.contains(labels) { Ok(None) } else { self.appender.find(labels) }
    }

    /// Keeps a sample of a new series until the commit.
    fn hold(&mut self, sample: &Translated<'_>, value: Measured, exemplars: &[Exemplar]) {
        self.refused = self.refused.or(self.appender.judge_new(sample.t).err());
        // Nothing of a refused request is needed.
        if self.refused.is_none() {
            let (labels, metadata) = (sample.labels.clone(), sample.metadata.clone());
            self.held_series.insert(labels.clone());
            let exemplars = exemplars.to_vec();
            self.held.push(Held { labels, t: sample.t, start: sample.start, metadata, value, exemplars });
        }
    }

    /// Hands a sample over.
    fn append(
        &mut self,
        series: SeriesRef,
        sample: &Translated<'_>,
        value: Measured,
        exemplars: &[Exemplar],
    ) -> Result<(), AppendError> {
        let (t, start) = (sample.t, sample.start);
        // A series may have both kinds, and their order is that of the message.
        match value {
            Measured::Float(v) => {
                self.flush_histograms()?;
                self.floats.push(FloatSample { series, t, v });
                self.starts.push(start);
            }
            Measured::Histogram(value) => {
                self.flush_floats()?;
                self.histograms.push(Pending { series, t, start, value });
            }
        }
        self.annotate(series, sample, exemplars)?;
        if self.floats.len().max(self.histograms.len()) >= BATCH { self.flush() } else { Ok(()) }
    }

    fn annotate(
        &mut self,
        series: SeriesRef,
        sample: &Translated<'_>,
        exemplars: &[Exemplar],
    ) -> Result<(), AppendError> {
        if !exemplars.is_empty() {
            // The series is known: this appender has named it.
            self.appender.append_exemplars(series, sample.t, exemplars)?;
        }
        if !Rc::ptr_eq(&self.metadata, sample.metadata) {
            self.metadata = sample.metadata.clone();
            self.told.clear();
        }
        // Until the commit the store keeps whatever it is told, also if that is what it was told before.
        if self.told.insert(series) {
            self.appender.set_metadata(series, sample.metadata)?;
        }
        Ok(())
    }

    fn flush_floats(&mut self) -> Result<(), AppendError> {
        if !self.floats.is_empty() {
            self.appender.append_with_starts(&self.floats, &self.starts)?;
            self.note_refused();
            self.floats.clear();
            self.starts.clear();
        }
        Ok(())
    }

    fn flush_histograms(&mut self) -> Result<(), AppendError> {
        if self.histograms.is_empty() {
            return Ok(());
        }
        let samples: Vec<HistogramSample<'_>> = self.histograms.iter().map(Pending::sample).collect();
        self.appender.append_histograms(&samples)?;
        self.note_refused();
        self.histograms.clear();
        Ok(())
    }

    fn note_refused(&mut self) {
        if !self.appender.refused().is_empty() {
            let why = self.appender.refusals().first().copied();
            self.refused = self.refused.or(why).or(Some(Refusal::OutOfOrder));
        }
    }
}

impl Pending {
    fn sample(&self) -> HistogramSample<'_> {
        HistogramSample { series: self.series, t: self.t, start: self.start, value: HistogramRef::Integer(&self.value) }
    }
}

impl Sink for Intake<'_> {
    fn take(&mut self, sample: &Translated<'_>, value: Measured, exemplars: &[Exemplar]) -> Result<(), Stop> {
        self.pay(cost(sample, &value, exemplars))?;
        if sample.labels.is_empty() {
            return Err(Stop::Mistake("empty labelset: invalid sample".to_owned()));
        }
        if matches!(&value, Measured::Histogram(h) if h.validate().is_err()) {
            self.refused.get_or_insert(Refusal::Malformed);
            return Ok(());
        }
        if sample.t > self.max_t {
            self.refused.get_or_insert(Refusal::TooFarInFuture);
            return Ok(());
        }
        match self.find(sample.labels)? {
            Some(series) => self.append(series, sample, value, exemplars)?,
            None => self.hold(sample, value, exemplars),
        }
        Ok(())
    }
}

/// What a sample may hold in memory until the commit.
fn cost(sample: &Translated<'_>, value: &Measured, exemplars: &[Exemplar]) -> usize {
    let each = SAMPLE_COST + sample.labels.as_bytes().len();
    let own = exemplars.iter().map(|e| e.labels.as_bytes().len()).sum::<usize>();
    let buckets = match value {
        Measured::Float(_) => 0,
        Measured::Histogram(h) => size_of::<Histogram>() + h.heap_bytes(),
    };
    let told = sample.metadata.help.len() + sample.metadata.unit.len();
    each.saturating_mul(1 + exemplars.len()).saturating_add(own + buckets + told)
}
