//! Newest samples out of streams of whole series, for sources that cannot look them up.

use crate::model::{Annotations, Labels, Sample, TimestampMs, is_stale};

use super::{
    Chunk, Columns, Encoding, LatestBatch, LatestStream, Limit, QueryError, Scope, SeriesBatch, SeriesStream,
    StreamEnd, StreamStats, StreamStep, TimeRange, decode_into,
};

/// Rows in a batch.
const BATCH_ROWS: usize = 1000;

/// Reads a stream to its end and keeps the newest float of each series in the range, leaving out series whose newest sample
/// there is a staleness marker or a histogram.
pub(crate) fn newest_samples(
    stream: &mut dyn SeriesStream,
    scope: &Scope,
    range: TimeRange,
) -> Result<(Vec<(Labels, Sample)>, StreamEnd), QueryError> {
    let (mut batch, mut rows, mut columns) = (SeriesBatch::default(), Vec::new(), Columns::default());
    loop {
        if let StreamStep::End(end) = stream.next(&mut batch)? {
            return Ok((rows, end));
        }
        // The chunks are not held any longer than until the next batch.
        let size = batch.size();
        scope.release(size.samples, size.bytes);
        for series in batch.series.drain(..) {
            if let Some(sample) = newest(&series.chunks, range, &mut columns)? {
                rows.push((series.labels, sample));
            }
        }
    }
}

/// The newest sample of a series in a range, unless it is a histogram or says that the series has ended.
fn newest(chunks: &[Chunk], range: TimeRange, columns: &mut Columns) -> Result<Option<Sample>, QueryError> {
    let Some(chunk) = chunks.iter().rfind(|c| c.min <= range.max) else { return Ok(None) };
    if !matches!(chunk.encoding, Encoding::Xor | Encoding::Xor2) {
        return Ok(None);
    }
    columns.clear();
    decode_into(chunk, columns).map_err(|error| QueryError::Corrupt {
        path: "a chunk".to_owned(),
        offset: 0,
        reason: error.to_string(),
    })?;
    let at = columns.times.partition_point(|t| *t <= range.max.0).checked_sub(1);
    let sample = at.map(|at| Sample { t: TimestampMs(columns.times[at]), v: columns.values[at] });
    Ok(sample.filter(|s| range.contains(s.t) && !is_stale(s.v)))
}

/// Newest samples that have all been read, by metric name, then by labels.
pub(crate) struct NewestRows {
    scope: Scope,
    rows: std::vec::IntoIter<(Labels, Sample)>,
    annotations: Annotations,
    stats: StreamStats,
    /// Charged for what waits.
    held: u64,
}

impl NewestRows {
    /// A stream of these rows, which may come in any order.
    pub(crate) fn new(
        scope: &Scope,
        mut rows: Vec<(Labels, Sample)>,
        annotations: Annotations,
        limit: Limit,
    ) -> Result<NewestRows, QueryError> {
        rows.sort_by(|(a, _), (b, _)| (a.metric_name(), a).cmp(&(b.metric_name(), b)));
        rows.truncate(limit.unwrap_or(usize::MAX));
        let held = rows.iter().map(|(labels, _)| labels.as_bytes().len() as u64 + size_of::<Sample>() as u64).sum();
        let rows = NewestRows {
            scope: scope.clone(),
            rows: rows.into_iter(),
            annotations,
            stats: StreamStats::default(),
            held,
        };
        scope.charge(0, held)?;
        Ok(rows)
    }
}

impl Drop for NewestRows {
    fn drop(&mut self) {
        self.scope.release(0, self.held);
    }
}

impl LatestStream for NewestRows {
    fn next(&mut self, batch: &mut LatestBatch) -> Result<StreamStep, QueryError> {
        self.scope.check()?;
        batch.clear();
        for (labels, sample) in self.rows.by_ref().take(BATCH_ROWS) {
            let start = batch.arena.len();
            batch.arena.extend_from_slice(labels.as_bytes());
            batch.push_row(start, sample.t, sample.v);
        }
        if batch.rows.is_empty() {
            let annotations = std::mem::take(&mut self.annotations);
            return Ok(StreamStep::End(StreamEnd { annotations, stats: self.stats }));
        }
        self.stats.series += batch.rows.len() as u64;
        self.stats.bytes += batch.arena.len() as u64;
        Ok(StreamStep::Batch)
    }
}
