//! The samples of one request on their way into the store.

use super::translate::{Sink, Translated};
use crate::model::{Exemplar, Histogram, TimestampMs};
use crate::storage::{
    AppendError, AppendReport, Appender, FloatSample, HistogramRef, HistogramSample, Refusal, SeriesRef,
};

/// Samples are handed over in batches that fit into the first-level cache.
const BATCH: usize = 512;

/// Collects samples for one appender.
pub(super) struct Intake<'s> {
    appender: Box<dyn Appender + 's>,
    max_t: TimestampMs,
    floats: Vec<FloatSample>,
    starts: Vec<TimestampMs>,
    histograms: Vec<Pending>,
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
        Intake { appender, max_t, floats: Vec::new(), starts: Vec::new(), histograms: Vec::new(), refused: None }
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
    fn series(&mut self, sample: &Translated<'_>) -> Result<Option<SeriesRef>, AppendError> {
        if sample.t > self.max_t {
            self.refused.get_or_insert(Refusal::TooFarInFuture);
            return Ok(None);
        }
        self.appender.series(sample.labels).map(Some)
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
        self.appender.set_metadata(series, sample.metadata).map(drop)
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
    fn float(&mut self, sample: &Translated<'_>, value: f64, exemplars: &[Exemplar]) -> Result<(), AppendError> {
        let Some(series) = self.series(sample)? else { return Ok(()) };
        if !self.histograms.is_empty() {
            self.flush_histograms()?;
        }
        self.floats.push(FloatSample { series, t: sample.t, v: value });
        self.starts.push(sample.start);
        self.annotate(series, sample, exemplars)?;
        if self.floats.len() >= BATCH { self.flush_floats() } else { Ok(()) }
    }

    fn histogram(
        &mut self,
        sample: &Translated<'_>,
        value: Histogram,
        exemplars: &[Exemplar],
    ) -> Result<(), AppendError> {
        if value.validate().is_err() {
            self.refused.get_or_insert(Refusal::Malformed);
            return Ok(());
        }
        let Some(series) = self.series(sample)? else { return Ok(()) };
        self.flush_floats()?;
        self.histograms.push(Pending { series, t: sample.t, start: sample.start, value });
        self.annotate(series, sample, exemplars)?;
        if self.histograms.len() >= BATCH { self.flush_histograms() } else { Ok(()) }
    }
}
