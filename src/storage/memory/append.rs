//! Judging and taking samples.

use super::{Inner, MemoryStore, Series};
use crate::model::{DurationMs, Exemplar, FloatHistogram, Histogram, Labels, TimestampMs, Value, is_stale};
use crate::storage::chunk::TimedValue;
use crate::storage::{
    AppendError, AppendReport, Appendable, Appender, FloatSample, HistogramRef, HistogramSample, Refusal, Refused,
    SeriesRef, UnknownSeries,
};

impl Appendable for MemoryStore {
    fn appender(&self) -> Box<dyn Appender + '_> {
        let max_t = self.inner.lock().max_t;
        Box::new(MemoryAppender { store: self, max_t, pending: Vec::new(), exemplars: Vec::new(), refused: Vec::new() })
    }
}

struct MemoryAppender<'a> {
    store: &'a MemoryStore,
    /// The store's newest time when the batch began; of an empty store that of the batch's first sample.
    max_t: Option<TimestampMs>,
    pending: Vec<Pending>,
    exemplars: Vec<(Labels, TimestampMs, Exemplar)>,
    refused: Vec<u32>,
}

struct Pending {
    series: SeriesRef,
    sample: TimedValue,
    late: Late,
}

/// Whether a sample may come out of order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Late {
    Allowed,
    Never,
}

enum Verdict {
    InOrder,
    /// The newest sample once more.
    Known,
    OutOfOrder,
    /// Not taken and not counted.
    Dropped,
    Refused(fn(&mut Refused) -> &mut u64),
}

impl MemoryAppender<'_> {
    fn take(&mut self, late: Late, samples: impl Iterator<Item = (SeriesRef, TimedValue)>) -> UnknownSeries {
        let inner = self.store.inner.lock();
        let mut unknown = UnknownSeries::default();
        self.refused.clear();
        for (i, (series, sample)) in (0..).zip(samples) {
            let Some(found) = inner.series.get(&series) else {
                unknown.0.push(i);
                continue;
            };
            let max_t = *self.max_t.get_or_insert(sample.t);
            // Counted by the commit, which comes to the same judgement.
            let sample = typed_marker(found, sample);
            match judge(&inner, found, &sample, late, self.store.window, max_t) {
                Verdict::Dropped | Verdict::Refused(_) => self.refused.push(i),
                Verdict::InOrder | Verdict::Known | Verdict::OutOfOrder => {}
            }
            self.pending.push(Pending { series, sample, late });
        }
        unknown
    }

    fn take_zero(&mut self, series: SeriesRef, sample: TimedValue) {
        let inner = self.store.inner.lock();
        let Some(found) = inner.series.get(&series) else { return };
        let max_t = self.max_t.unwrap_or(sample.t);
        let verdict = judge(&inner, found, &sample, Late::Never, self.store.window, max_t);
        if matches!(verdict, Verdict::InOrder) {
            self.pending.push(Pending { series, sample, late: Late::Never });
        }
    }
}

impl Appender for MemoryAppender<'_> {
    fn series(&mut self, labels: &Labels) -> Result<SeriesRef, AppendError> {
        let mut inner = self.store.inner.lock();
        if let Some(series) = inner.refs.get(labels) {
            return Ok(*series);
        }
        inner.last_ref += 1;
        let series = SeriesRef(inner.last_ref);
        inner.refs.insert(labels.clone(), series);
        inner.series.insert(series, Series { labels: labels.clone(), ..Series::default() });
        Ok(series)
    }

    fn find(&mut self, labels: &Labels) -> Result<Option<SeriesRef>, AppendError> {
        Ok(self.store.inner.lock().refs.get(labels).copied())
    }

    fn judge_new(&self, t: TimestampMs) -> Result<(), Refusal> {
        let (window, max_t) = (self.store.window, self.max_t.unwrap_or(t));
        let is_valid = self.store.inner.lock().min_valid.is_none_or(|min| t >= min);
        let is_in_window = window.0 > 0 && t >= max_t - window;
        if is_valid || is_in_window { Ok(()) } else { Err(Refusal::TooOld) }
    }

    fn append(&mut self, samples: &[FloatSample]) -> Result<UnknownSeries, AppendError> {
        Ok(self.take(Late::Allowed, samples.iter().map(|s| float(s, TimestampMs(0)))))
    }

    fn append_with_starts(
        &mut self,
        samples: &[FloatSample],
        starts: &[TimestampMs],
    ) -> Result<UnknownSeries, AppendError> {
        Ok(self.take(Late::Allowed, samples.iter().zip(starts).map(|(s, start)| float(s, *start))))
    }

    fn append_stale(&mut self, series: &[SeriesRef], t: TimestampMs) -> Result<UnknownSeries, AppendError> {
        let marker = |&series| float(&FloatSample { series, t, v: crate::model::STALE_NAN }, TimestampMs(0));
        Ok(self.take(Late::Never, series.iter().map(marker)))
    }

    fn append_histograms(&mut self, samples: &[HistogramSample<'_>]) -> Result<UnknownSeries, AppendError> {
        let samples = samples.iter().map(|s| {
            let value = match s.value {
                HistogramRef::Integer(h) => Value::Histogram(Box::new(h.clone())),
                HistogramRef::Float(h) => Value::FloatHistogram(Box::new(h.clone())),
            };
            (s.series, TimedValue { t: s.t, start: s.start, value })
        });
        Ok(self.take(Late::Allowed, samples))
    }

    fn append_zero(&mut self, series: SeriesRef, t: TimestampMs) -> Result<(), AppendError> {
        self.take_zero(series, TimedValue { t, start: TimestampMs(0), value: Value::Float(0.0) });
        Ok(())
    }

    fn append_zero_histogram(&mut self, sample: HistogramSample<'_>) -> Result<(), AppendError> {
        let value = sample.value.to_value();
        self.take_zero(sample.series, TimedValue { t: sample.t, start: TimestampMs(0), value });
        Ok(())
    }

    fn append_exemplars(
        &mut self,
        series: SeriesRef,
        t: TimestampMs,
        exemplars: &[Exemplar],
    ) -> Result<bool, AppendError> {
        let inner = self.store.inner.lock();
        let Some(found) = inner.series.get(&series) else { return Ok(false) };
        self.exemplars.extend(exemplars.iter().map(|e| (found.labels.clone(), t, e.clone())));
        Ok(true)
    }

    fn refused(&self) -> &[u32] {
        &self.refused
    }

    fn commit(self: Box<Self>) -> Result<AppendReport, AppendError> {
        let mut inner = self.store.inner.lock();
        let mut report = AppendReport::default();
        inner.exemplars.extend(self.exemplars);
        for Pending { series, sample, late } in self.pending {
            let (Some(found), Some(max_t)) = (inner.series.get(&series), self.max_t) else { continue };
            let sample = typed_marker(found, sample);
            let verdict = judge(&inner, found, &sample, late, self.store.window, max_t);
            match verdict {
                Verdict::Dropped => continue,
                Verdict::Refused(reason) => {
                    *reason(&mut report.refused) += 1;
                    report.refused_histograms += u64::from(!matches!(sample.value, Value::Float(_)));
                    continue;
                }
                Verdict::InOrder | Verdict::Known | Verdict::OutOfOrder => report.appended += 1,
            }
            inner.max_t = inner.max_t.max(Some(sample.t));
            let Some(found) = inner.series.get_mut(&series) else { continue };
            match verdict {
                Verdict::InOrder => {
                    found.newest = Some(sample.clone());
                    found.samples.insert(sample.t, sample);
                }
                Verdict::OutOfOrder => {
                    found.samples.insert(sample.t, sample);
                }
                _ => {}
            }
        }
        Ok(report)
    }
}

fn float(sample: &FloatSample, start: TimestampMs) -> (SeriesRef, TimedValue) {
    (sample.series, TimedValue { t: sample.t, start, value: Value::Float(sample.v) })
}

/// A float staleness marker as the series' newest sample would write it.
fn typed_marker(series: &Series, sample: TimedValue) -> TimedValue {
    let newest = series.newest.as_ref().map(|newest| &newest.value);
    let value = match (&sample.value, newest) {
        (Value::Float(sum), Some(Value::Histogram(_))) if is_stale(*sum) => {
            Value::Histogram(Box::new(Histogram { sum: *sum, ..Histogram::default() }))
        }
        (Value::Float(sum), Some(Value::FloatHistogram(_))) if is_stale(*sum) => {
            Value::FloatHistogram(Box::new(FloatHistogram { sum: *sum, ..FloatHistogram::default() }))
        }
        _ => return sample,
    };
    TimedValue { value, ..sample }
}

fn judge(
    inner: &Inner,
    series: &Series,
    sample: &TimedValue,
    late: Late,
    window: DurationMs,
    max_t: TimestampMs,
) -> Verdict {
    let is_valid = inner.min_valid.is_none_or(|min| sample.t >= min);
    let refused = |reason| if sample.value.is_stale() { Verdict::Dropped } else { Verdict::Refused(reason) };
    match &series.newest {
        None if is_valid => return Verdict::InOrder,
        Some(newest) if is_valid && sample.t > newest.t => return Verdict::InOrder,
        Some(newest) if is_valid && sample.t == newest.t && sample.value.is_same(&newest.value) => {
            return Verdict::Known;
        }
        Some(newest) if is_valid && sample.t == newest.t => return refused(|r| &mut r.duplicate_timestamp),
        _ => {}
    }
    match (late, window.0 > 0) {
        (Late::Never, _) => Verdict::Dropped,
        (_, true) if sample.t < max_t - window => refused(|r| &mut r.too_old),
        (_, true) if series.samples.contains_key(&sample.t) => Verdict::Dropped,
        (_, true) => Verdict::OutOfOrder,
        (_, false) if is_valid => refused(|r| &mut r.out_of_order),
        (_, false) => refused(|r| &mut r.too_old),
    }
}
