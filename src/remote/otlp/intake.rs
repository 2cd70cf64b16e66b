//! The samples of one request on their way into the store.

use std::collections::HashSet;

use super::translate::{Sink, Stop, Translated};
use crate::model::{BucketLayout, Exemplar, Histogram, TimestampMs};
use crate::storage::{
    AppendError, AppendReport, Appender, FloatSample, HistogramRef, HistogramSample, Refusal, SeriesRef,
};

/// Samples are handed over in batches that fit into the first-level cache.
const BATCH: usize = 512;
/// What a request may cost in memory until it is committed. A point's few bytes may name a resource with a megabyte of
/// labels, or be repeated millions of times; sixteen times the largest message is more than honest ones come to.
pub(super) const MAX_COST: usize = 512 << 20;
/// What a sample or an exemplar costs beside its texts: its copies here, in the appender and in the log's record.
const SAMPLE_COST: usize = 160;

/// Collects samples for one appender.
pub(super) struct Intake<'s> {
    appender: Box<dyn Appender + 's>,
    max_t: TimestampMs,
    floats: Vec<FloatSample>,
    starts: Vec<TimestampMs>,
    histograms: Vec<Pending>,
    cost: usize,
    /// The metric that is being taken, and its series that have been told what it says of itself.
    metric: u64,
    told: HashSet<SeriesRef>,
    /// The first sample that was refused, and why.
    pub(super) refused: Option<Refusal>,
}

struct Pending {
    series: SeriesRef,
    t: TimestampMs,
    start: TimestampMs,
    value: Histogram,
}

impl<'s> Intake<'s> {
    pub(super) fn new(appender: Box<dyn Appender + 's>, max_t: TimestampMs) -> Intake<'s> {
        Intake {
            appender,
            max_t,
            floats: Vec::new(),
            starts: Vec::new(),
            histograms: Vec::new(),
            cost: 0,
            metric: 0,
            told: HashSet::new(),
            refused: None,
        }
    }

    /// Hands over what is left, so that [`Intake::refused`] tells everything that is known before a commit.
    pub(super) fn flush(&mut self) -> Result<(), AppendError> {
        self.flush_floats()?;
        self.flush_histograms()
    }

    pub(super) fn commit(self) -> Result<AppendReport, AppendError> {
        self.appender.commit()
    }

    /// The series of a sample; `None` for one that is refused.
    fn series(&mut self, sample: &Translated<'_>) -> Result<Option<SeriesRef>, Stop> {
        self.pay(SAMPLE_COST + sample.labels.as_bytes().len())?;
        if sample.labels.is_empty() {
            return Err(Stop::Untranslatable("empty labelset: invalid sample".to_owned()));
        }
        if sample.t > self.max_t {
            self.refused.get_or_insert(Refusal::TooFarInFuture);
            return Ok(None);
        }
        Ok(Some(self.appender.series(sample.labels)?))
    }

    fn pay(&mut self, cost: usize) -> Result<(), Stop> {
        self.cost = self.cost.saturating_add(cost);
        if self.cost > MAX_COST { Err(Stop::TooCostly) } else { Ok(()) }
    }

    fn annotate(&mut self, series: SeriesRef, sample: &Translated<'_>, exemplars: &[Exemplar]) -> Result<(), Stop> {
        if !exemplars.is_empty() {
            self.pay(exemplars.len().saturating_mul(SAMPLE_COST + sample.labels.as_bytes().len()))?;
            // The series is known: this appender has named it.
            self.appender.append_exemplars(series, sample.t, exemplars)?;
        }
        if self.metric != sample.metric {
            self.metric = sample.metric;
            self.told.clear();
        }
        // Until the commit the store keeps whatever it is told, also if that is what it was told before.
        if self.told.insert(series) {
            self.pay(sample.metadata.help.len() + sample.metadata.unit.len())?;
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
    fn float(&mut self, sample: &Translated<'_>, value: f64, exemplars: &[Exemplar]) -> Result<(), Stop> {
        let Some(series) = self.series(sample)? else { return Ok(()) };
        if !self.histograms.is_empty() {
            self.flush_histograms()?;
        }
        self.floats.push(FloatSample { series, t: sample.t, v: value });
        self.starts.push(sample.start);
        self.annotate(series, sample, exemplars)?;
        if self.floats.len() >= BATCH {
            self.flush_floats()?;
        }
        Ok(())
    }

    fn histogram(&mut self, sample: &Translated<'_>, value: Histogram, exemplars: &[Exemplar]) -> Result<(), Stop> {
        self.pay(8 * parts(&value))?;
        if value.validate().is_err() {
            self.refused.get_or_insert(Refusal::Malformed);
            return Ok(());
        }
        let Some(series) = self.series(sample)? else { return Ok(()) };
        self.flush_floats()?;
        self.histograms.push(Pending { series, t: sample.t, start: sample.start, value });
        self.annotate(series, sample, exemplars)?;
        if self.histograms.len() >= BATCH {
            self.flush_histograms()?;
        }
        Ok(())
    }
}

fn parts(h: &Histogram) -> usize {
    let BucketLayout { positive_spans, negative_spans, custom_values, .. } = &h.layout;
    let spans = positive_spans.len() + negative_spans.len();
    spans + custom_values.len() + h.positive_buckets.len() + h.negative_buckets.len()
}
