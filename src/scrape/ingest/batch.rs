//! Batches of samples, and what the storage says of them.

use super::keys::decode_key;
use super::{Ingest, IngestError, Text};
use crate::exposition::Format;
use crate::model::{Exemplar, FloatHistogram, Histogram, MetricType, TimestampMs, Value};
use crate::storage::{AppendError, Appender, FloatSample, HistogramRef, HistogramSample, SeriesRef, UnknownSeries};

/// Floats are handed over in batches that fit into the first-level cache.
pub(super) const FLOATS: usize = 512;
/// Histograms are larger.
const HISTOGRAMS: usize = 64;

/// Samples of one kind with all that is known of where they came from.
pub(super) struct Batch<S> {
    samples: Vec<S>,
    origins: Vec<Origin>,
    /// Each with the position of its sample.
    exemplars: Vec<(usize, Exemplar)>,
}

impl<S> Batch<S> {
    pub(super) fn with_capacity(samples: usize) -> Batch<S> {
        Batch { samples: Vec::with_capacity(samples), origins: Vec::with_capacity(samples), exemplars: Vec::new() }
    }

    #[inline]
    pub(super) fn push(&mut self, sample: S, origin: Origin, exemplars: impl IntoIterator<Item = Exemplar>) {
        let position = self.samples.len();
        self.exemplars.extend(exemplars.into_iter().map(|exemplar| (position, exemplar)));
        self.samples.push(sample);
        self.origins.push(origin);
    }

    fn clear(&mut self) {
        self.samples.clear();
        self.origins.clear();
        self.exemplars.clear();
    }
}

/// Where a sample of the batch came from, should its series turn out to be unknown.
#[derive(Clone, Copy)]
pub(super) struct Origin {
    /// Where the text of its series begins.
    pub(super) at: usize,
    pub(super) entry: u32,
    pub(super) family: MetricType,
    /// Whether that is among the keys, and not in the body.
    pub(super) is_key: bool,
    /// Whether the entry is marked once the store has judged the sample.
    pub(super) is_to_be_marked: bool,
    /// Whether the sample was counted as one of a series that the scrape before did not have.
    pub(super) is_new: bool,
}

impl Origin {
    /// The entry of those that found no room in the cache.
    pub(super) const NO_ENTRY: u32 = u32::MAX;

    #[inline]
    pub(super) fn of(text: Text<'_>, family: MetricType) -> Origin {
        let (at, is_key) = match text {
            Text::Line(_, at) => (at, false),
            Text::Key(at) => (at, true),
        };
        Origin { at, entry: Origin::NO_ENTRY, family, is_key, is_to_be_marked: false, is_new: false }
    }
}

/// A native histogram on its way.
#[derive(Clone)]
pub(super) struct HeldHistogram {
    pub(super) series: SeriesRef,
    pub(super) t: TimestampMs,
    pub(super) start: TimestampMs,
    pub(super) value: Value,
}

/// A kind of sample that comes in batches.
trait Held: Clone {
    fn series(&self) -> SeriesRef;
    fn t(&self) -> TimestampMs;
    fn set_series(&mut self, series: SeriesRef);
    /// Hands samples over; `starts` are those of floats, or none.
    fn append(samples: &[Self], starts: &[TimestampMs], to: &mut dyn Appender) -> Result<UnknownSeries, AppendError>;
}

impl Held for FloatSample {
    fn series(&self) -> SeriesRef {
        self.series
    }

    fn t(&self) -> TimestampMs {
        self.t
    }

    fn set_series(&mut self, series: SeriesRef) {
        self.series = series;
    }

    fn append(samples: &[Self], starts: &[TimestampMs], to: &mut dyn Appender) -> Result<UnknownSeries, AppendError> {
        if starts.is_empty() { to.append(samples) } else { to.append_with_starts(samples, starts) }
    }
}

impl Held for HeldHistogram {
    fn series(&self) -> SeriesRef {
        self.series
    }

    fn t(&self) -> TimestampMs {
        self.t
    }

    fn set_series(&mut self, series: SeriesRef) {
        self.series = series;
    }

    fn append(samples: &[Self], _: &[TimestampMs], to: &mut dyn Appender) -> Result<UnknownSeries, AppendError> {
        let refs: Vec<HistogramSample<'_>> = samples.iter().filter_map(HeldHistogram::borrow).collect();
        to.append_histograms(&refs)
    }
}

impl HeldHistogram {
    fn borrow(&self) -> Option<HistogramSample<'_>> {
        let value = match &self.value {
            Value::Histogram(h) => HistogramRef::Integer(h),
            Value::FloatHistogram(h) => HistogramRef::Float(h),
            // Nobody puts floats here; leaving one out here would shift positions.
            Value::Float(_) => return None,
        };
        Some(HistogramSample { series: self.series, t: self.t, start: self.start, value })
    }
}

/// A sample that says that counting began.
pub(super) struct Zero {
    pub(super) series: SeriesRef,
    pub(super) t: TimestampMs,
    pub(super) kind: ZeroKind,
}

pub(super) enum ZeroKind {
    Float,
    /// An empty histogram of the layout of what follows.
    Histogram(Value),
}

impl ZeroKind {
    pub(super) fn like(value: &Value) -> ZeroKind {
        use crate::model::{BucketLayout, CounterResetHint};
        let bare = |layout: &BucketLayout| BucketLayout {
            positive_spans: Vec::new(),
            negative_spans: Vec::new(),
            ..layout.clone()
        };
        let counter_reset_hint = CounterResetHint::Reset;
        match value {
            Value::Float(_) => ZeroKind::Float,
            Value::Histogram(h) => {
                let layout = bare(&h.layout);
                ZeroKind::Histogram(Value::Histogram(Box::new(Histogram {
                    counter_reset_hint,
                    layout,
                    ..Histogram::default()
                })))
            }
            Value::FloatHistogram(h) => {
                let layout = bare(&h.layout);
                ZeroKind::Histogram(Value::FloatHistogram(Box::new(FloatHistogram {
                    counter_reset_hint,
                    layout,
                    ..FloatHistogram::default()
                })))
            }
        }
    }
}

/// What the batch's lines are taken from.
#[derive(Clone, Copy)]
pub(super) struct Source<'b> {
    pub(super) body: &'b [u8],
    pub(super) format: Format,
}

impl Ingest<'_, '_> {
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.floats.samples.len() >= FLOATS || self.histograms.samples.len() >= HISTOGRAMS
    }

    /// Hands over what the batches hold.
    pub(super) fn flush(&mut self, source: Source<'_>) -> Result<(), IngestError> {
        self.flush_zeros()?;
        let mut floats = std::mem::replace(&mut self.floats, Batch::with_capacity(0));
        let flushed = self.flush_batch(&mut floats, source);
        self.floats = floats;
        flushed?;
        let mut histograms = std::mem::replace(&mut self.histograms, Batch::with_capacity(0));
        let flushed = self.flush_batch(&mut histograms, source);
        self.histograms = histograms;
        self.starts.clear();
        self.keys.clear();
        flushed
    }

    /// They come before the samples that they stand before.
    fn flush_zeros(&mut self) -> Result<(), IngestError> {
        for zero in self.zeros.drain(..) {
            let Zero { series, t, kind } = zero;
            match kind {
                ZeroKind::Float => self.appender.append_zero(series, t)?,
                ZeroKind::Histogram(value) => {
                    let held = HeldHistogram { series, t, start: TimestampMs(0), value };
                    held.borrow().map_or(Ok(()), |sample| self.appender.append_zero_histogram(sample))?;
                }
            }
        }
        Ok(())
    }

    fn flush_batch<S: Held>(&mut self, batch: &mut Batch<S>, source: Source<'_>) -> Result<(), IngestError> {
        if batch.samples.is_empty() {
            return Ok(());
        }
        let unknown = S::append(&batch.samples, &self.starts, self.appender)?;
        // Positions come in ascending order.
        let mut refused = self.appender.refused().to_vec();
        if !unknown.0.is_empty() {
            refused.extend(self.resolve_again(batch, &unknown, source)?);
            refused.sort_unstable();
        }
        self.mark_batch(batch, |position| refused.binary_search(&position).is_ok());
        self.flush_exemplars(batch)?;
        for position in refused {
            self.forget_new(batch.origins[position as usize]);
        }
        batch.clear();
        Ok(())
    }

    /// Marks what waited for the judgement of its batch.
    fn mark_batch<S: Held>(&mut self, batch: &Batch<S>, is_refused: impl Fn(u32) -> bool) {
        if !self.options.track_timestamps {
            return;
        }
        for (position, origin) in (0..).zip(&batch.origins).filter(|(_, origin)| origin.is_to_be_marked) {
            let (series, t) = (self.cache.entry(origin.entry).target, batch.samples[position as usize].t());
            self.mark(origin.entry, series, !is_refused(position), Some(t));
        }
    }

    /// Marks what will never be judged, because the walk ended early.
    pub(super) fn mark_unjudged(&mut self) {
        let floats = std::mem::replace(&mut self.floats, Batch::with_capacity(0));
        let histograms = std::mem::replace(&mut self.histograms, Batch::with_capacity(0));
        self.mark_batch(&floats, |_| false);
        self.mark_batch(&histograms, |_| false);
    }

    /// Hands over the batch's exemplars, once its series are known.
    fn flush_exemplars<S: Held>(&mut self, batch: &mut Batch<S>) -> Result<(), IngestError> {
        for of_one in batch.exemplars.chunk_by(|a, b| a.0 == b.0) {
            let position = of_one[0].0;
            let (sample, origin) = (&batch.samples[position], batch.origins[position]);
            let exemplars: Vec<Exemplar> = of_one.iter().map(|(_, exemplar)| exemplar.clone()).collect();
            let is_known = self.appender.append_exemplars(sample.series(), sample.t(), &exemplars)?;
            if !is_known && origin.entry != Origin::NO_ENTRY {
                // The series has another reference since its sample was put into the batch.
                let series = SeriesRef(self.cache.entry(origin.entry).target);
                self.appender.append_exemplars(series, sample.t(), &exemplars)?;
            }
        }
        Ok(())
    }

    /// A line whose first sample the store refuses is as new as before when it comes the next time.
    #[cold]
    fn forget_new(&mut self, origin: Origin) {
        if origin.is_new {
            // Beyond the limit of buckets series have not been counted any more; the scrape fails anyway.
            self.counts.series_added = self.counts.series_added.saturating_sub(1);
            if origin.entry != Origin::NO_ENTRY {
                self.cache.forget(origin.entry);
            }
        }
    }

    /// The store has collected series that the cache still knew: names them again by their labels. Returns the
    /// positions that are refused all the same.
    #[cold]
    fn resolve_again<S: Held>(
        &mut self,
        batch: &Batch<S>,
        unknown: &UnknownSeries,
        source: Source<'_>,
    ) -> Result<Vec<u32>, IngestError> {
        let mut positions = Vec::with_capacity(unknown.0.len());
        let (mut again, mut starts) = (Vec::with_capacity(unknown.0.len()), Vec::new());
        for &position in &unknown.0 {
            let (mut sample, origin) = (batch.samples[position as usize].clone(), batch.origins[position as usize]);
            if origin.entry == Origin::NO_ENTRY {
                continue;
            }
            let text = origin.at..origin.at + self.cache.entry(origin.entry).len as usize;
            if origin.is_key {
                decode_key(&self.keys[text], &mut self.labels).map_err(IngestError::Key)?;
            } else {
                self.labels.decode(&source.body[text], source.format, origin.family)?;
            }
            let Some(labels) = self.rules.apply(&self.labels, &mut self.builder)? else { continue };
            sample.set_series(self.appender.series(&labels)?);
            self.cache.set_series(origin.entry, sample.series());
            again.push(sample);
            starts.extend(self.starts.get(position as usize));
            positions.push(position);
        }
        // References that were given just now are known.
        S::append(&again, &starts, self.appender)?;
        Ok(self.appender.refused().iter().map(|&i| positions[i as usize]).collect())
    }
}
