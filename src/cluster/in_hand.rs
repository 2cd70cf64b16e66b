//! Series that have been read, on their way to who asked for them.

use crate::model::{Annotations, Labels};
use crate::storage::{
    BatchSize, Cancelled, QueryError, Scope, SeriesBatch, SeriesChunks, SeriesStream, StreamEnd, StreamStats,
    StreamStep,
};

/// Series that are handed on at a time.
const BATCH: usize = 128;

/// Samples and bytes, as a batch of these series counts them.
pub(super) fn size_of(series: &[SeriesChunks]) -> (u64, u64) {
    let chunks = series.iter().flat_map(|series| &series.chunks);
    chunks.fold((0, 0), |(samples, bytes), chunk| {
        (samples + u64::from(chunk.sample_count()), bytes + chunk.data.len() as u64)
    })
}

fn label_bytes(series: &[SeriesChunks]) -> u64 {
    let labels = series.iter().map(|series| series.labels.as_bytes().len());
    (size_of_val(series) + labels.sum::<usize>()) as u64
}

/// Series that are all there. They are charged to the scope until they are handed on, and then as any batch.
pub(super) struct InHand {
    /// The next is the last.
    series: Vec<SeriesChunks>,
    pub(super) annotations: Annotations,
    stats: StreamStats,
    scope: Scope,
    /// Samples and bytes.
    pub(super) charged: (u64, u64),
    /// Bytes of labels, which no batch counts.
    labels: u64,
}

impl InHand {
    pub(super) fn new(scope: &Scope) -> InHand {
        InHand {
            series: Vec::new(),
            annotations: Annotations::none(),
            stats: StreamStats::default(),
            scope: scope.clone(),
            charged: (0, 0),
            labels: 0,
        }
    }

    /// Takes a batch, and what its stream has charged for it.
    pub(super) fn take(&mut self, batch: &mut SeriesBatch, dress: impl Fn(&Labels) -> Labels) -> Result<(), Cancelled> {
        let before = self.series.len();
        let BatchSize { samples, bytes, .. } = batch.size();
        self.charged = (self.charged.0 + samples, self.charged.1 + bytes);
        for mut series in batch.series.drain(..) {
            series.labels = dress(&series.labels);
            self.series.push(series);
        }
        self.charge_labels(before)
    }

    /// Charges for the labels of the series from one on.
    fn charge_labels(&mut self, first: usize) -> Result<(), Cancelled> {
        let bytes = self.series.get(first..).map_or(0, label_bytes);
        self.labels += bytes;
        self.scope.charge(0, bytes)
    }

    /// What another has in hand, too.
    pub(super) fn append(&mut self, mut other: InHand) {
        self.series.append(&mut other.series);
        self.annotations.merge(std::mem::take(&mut other.annotations));
        let (samples, bytes) = std::mem::take(&mut other.charged);
        self.charged = (self.charged.0 + samples, self.charged.1 + bytes);
        self.labels += std::mem::take(&mut other.labels);
    }

    /// In descending order: it is handed on from the end.
    pub(super) fn sort(&mut self) {
        self.series.sort_by(|a, b| b.labels.cmp(&a.labels));
    }

    /// Takes these instead of what has been charged for until now.
    pub(super) fn put(&mut self, mut series: Vec<SeriesChunks>) -> Result<(), Cancelled> {
        let (samples, bytes) = std::mem::replace(&mut self.charged, size_of(&series));
        let outcome = self.scope.charge(self.charged.0, self.charged.1);
        self.scope.release(samples, bytes);
        series.reverse();
        self.series = series;
        outcome.and(self.charge_labels(0))
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        self.scope.release(self.charged.0, self.charged.1 + self.labels);
    }
}

impl SeriesStream for InHand {
    fn next(&mut self, batch: &mut SeriesBatch) -> Result<StreamStep, QueryError> {
        self.scope.check()?;
        batch.series.clear();
        let from = self.series.len().saturating_sub(BATCH);
        batch.series.extend(self.series.drain(from..).rev());
        if batch.series.is_empty() {
            let annotations = std::mem::take(&mut self.annotations);
            return Ok(StreamStep::End(StreamEnd { annotations, stats: self.stats }));
        }
        let size = batch.size();
        self.stats.add(&size);
        let labels = label_bytes(&batch.series).min(self.labels);
        self.labels -= labels;
        self.scope.release(0, labels);
        // The other charge goes along with the batch.
        self.charged = (self.charged.0.saturating_sub(size.samples), self.charged.1.saturating_sub(size.bytes));
        Ok(StreamStep::Batch)
    }
}
