//! Newest samples out of streams of whole series, for sources that cannot look them up.

use std::ops::Range;
use std::sync::Arc;

use super::chunk::{TimedValue, decode_values};
use super::families::{FamilyRows, PartOf, family_order, name_runs, parts_of};
use super::{
    Cancelled, Chunk, LatestBatch, LatestStream, Limit, QueryError, Scope, SeriesBatch, SeriesStream, StreamEnd,
    StreamStats, StreamStep, TimeRange,
};
use crate::model::labels::{RawPairs, get_encoded};
use crate::model::{Annotations, Labels, METRIC_NAME, Metadata};

/// Rows in a batch.
const BATCH_ROWS: usize = 1000;

/// Reads a stream to its end and keeps the newest sample of each series in the range, leaving out series whose newest sample
/// there is a staleness marker.
fn newest_samples(
    stream: &mut dyn SeriesStream,
    waiting: &mut Waiting,
    range: TimeRange,
) -> Result<(Vec<(Labels, TimedValue)>, StreamEnd), QueryError> {
    let (mut batch, mut rows, mut values) = (SeriesBatch::default(), Vec::new(), Vec::new());
    loop {
        if let StreamStep::End(end) = stream.next(&mut batch)? {
            return Ok((rows, end));
        }
        let (size, known) = (batch.size(), rows.len());
        for series in batch.series.drain(..) {
            if let Some(sample) = newest(&series.chunks, range, &mut values)? {
                rows.push((series.labels, sample));
            }
        }
        let charged = waiting.charge(bytes_of(&rows[known..]));
        // The chunks are not held any longer than until the next batch.
        waiting.scope.release(size.samples, size.bytes);
        charged?;
    }
}

/// The newest sample of a series in a range, unless it says that the series has ended.
fn newest(chunks: &[Chunk], range: TimeRange, values: &mut Vec<TimedValue>) -> Result<Option<TimedValue>, QueryError> {
    let Some(chunk) = chunks.iter().rfind(|c| c.min <= range.max) else { return Ok(None) };
    values.clear();
    decode_values(chunk, values).map_err(|error| QueryError::Corrupt {
        path: "a chunk".to_owned(),
        offset: 0,
        reason: error.to_string(),
    })?;
    let at = values.partition_point(|sample| sample.t <= range.max).checked_sub(1);
    let sample = at.map(|at| values.swap_remove(at));
    Ok(sample.filter(|s| range.contains(s.t) && !s.value.is_stale()))
}

/// Rows that wait, for as long as they do charged to the read that they are for.
struct Waiting {
    scope: Scope,
    bytes: u64,
}

impl Waiting {
    fn new(scope: &Scope) -> Waiting {
        Waiting { scope: scope.clone(), bytes: 0 }
    }

    fn charge(&mut self, bytes: u64) -> Result<(), Cancelled> {
        self.bytes += bytes;
        self.scope.charge(0, bytes)
    }

    /// Gives back what is more than so many bytes.
    fn shrink_to(&mut self, bytes: u64) {
        self.scope.release(0, self.bytes.saturating_sub(bytes));
        self.bytes = self.bytes.min(bytes);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

fn bytes_of(rows: &[(Labels, TimedValue)]) -> u64 {
    let own = |(labels, sample): &(Labels, TimedValue)| labels.as_bytes().len() + sample.value.heap_bytes();
    (size_of_val(rows) + rows.iter().map(own).sum::<usize>()) as u64
}

/// Newest samples that have all been read, by metric name, then by labels.
pub(crate) struct NewestRows {
    rows: std::vec::IntoIter<(Labels, TimedValue)>,
    annotations: Annotations,
    stats: StreamStats,
    waiting: Waiting,
}

impl NewestRows {
    /// The rows of a stream, of which at most `limit` are given out. The stream itself was opened without a limit: not every
    /// series has a row.
    pub(crate) fn read(
        stream: &mut dyn SeriesStream,
        scope: &Scope,
        range: TimeRange,
        limit: Limit,
    ) -> Result<NewestRows, QueryError> {
        let mut waiting = Waiting::new(scope);
        let (rows, end) = newest_samples(stream, &mut waiting, range)?;
        Ok(NewestRows::ordered(waiting, rows, end.annotations, limit))
    }

    /// A stream of these rows, which may come in any order.
    pub(crate) fn new(
        scope: &Scope,
        rows: Vec<(Labels, TimedValue)>,
        annotations: Annotations,
        limit: Limit,
    ) -> Result<NewestRows, QueryError> {
        let mut waiting = Waiting::new(scope);
        waiting.charge(bytes_of(&rows))?;
        Ok(NewestRows::ordered(waiting, rows, annotations, limit))
    }

    fn ordered(
        mut waiting: Waiting,
        mut rows: Vec<(Labels, TimedValue)>,
        annotations: Annotations,
        limit: Limit,
    ) -> NewestRows {
        rows.sort_by(|(a, _), (b, _)| (a.metric_name(), a).cmp(&(b.metric_name(), b)));
        rows.truncate(limit.unwrap_or(usize::MAX));
        waiting.shrink_to(bytes_of(&rows));
        NewestRows { rows: rows.into_iter(), annotations, stats: StreamStats::default(), waiting }
    }
}

impl LatestStream for NewestRows {
    fn next(&mut self, batch: &mut LatestBatch) -> Result<StreamStep, QueryError> {
        self.waiting.scope.check()?;
        batch.clear();
        for (labels, sample) in self.rows.by_ref().take(BATCH_ROWS) {
            let start = batch.arena.len();
            batch.arena.extend_from_slice(labels.as_bytes());
            batch.push_value(start, sample);
        }
        if batch.rows.is_empty() {
            let annotations = std::mem::take(&mut self.annotations);
            return Ok(StreamStep::End(StreamEnd { annotations, stats: self.stats }));
        }
        self.stats.series += batch.rows.len() as u64;
        self.stats.bytes += batch.arena.len() as u64;
        Ok(StreamStep::Batch)
    }

    fn by_family(&mut self, part_of: &mut PartOf<'_>) -> bool {
        let rows = std::mem::take(&mut self.rows).collect::<Vec<_>>();
        let parts = parts_of(name_runs(&Known(&rows)), part_of);
        let order = family_order(&Known(&rows), &parts);
        let mut rows: Vec<_> = rows.into_iter().map(Some).collect();
        let ordered: Vec<_> = order.into_iter().filter_map(|row| rows.get_mut(row as usize)?.take()).collect();
        self.rows = ordered.into_iter();
        true
    }
}

struct Known<'a>(&'a [(Labels, TimedValue)]);

impl FamilyRows for Known<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn is_same_name(&self, a: usize, b: usize) -> bool {
        self.name(a) == self.name(b)
    }

    fn name(&self, row: usize) -> &str {
        self.0[row].0.metric_name().unwrap_or("")
    }

    fn stored(&self, _: usize) -> Option<Arc<Metadata>> {
        None
    }

    fn metrics(&self, run: Range<usize>, by: Option<&str>, tell: &mut dyn FnMut(u64, Option<f64>)) {
        let mut rest = Vec::new();
        for (labels, _) in &self.0[run] {
            rest.clear();
            for (name, value) in RawPairs::over(labels.as_bytes()) {
                if name != METRIC_NAME.as_bytes() && by.is_none_or(|by| name != by.as_bytes()) {
                    rest.extend_from_slice(name);
                    rest.push(0xff);
                    rest.extend_from_slice(value);
                    rest.push(0xff);
                }
            }
            let bound = by.and_then(|by| get_encoded(labels.as_bytes(), by)?.parse().ok());
            tell(xxhash_rust::xxh64::xxh64(&rest, 0), bound);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CounterResetHint, Histogram, STALE_NAN, TimestampMs, Value};
    use crate::storage::{ChunkBuilder, SeriesChunks};

    fn chunks(samples: &[(i64, Value)]) -> Vec<Chunk> {
        let mut builder = ChunkBuilder::new();
        samples.iter().for_each(|(t, v)| builder.push(TimestampMs(*t), TimestampMs(0), v).unwrap());
        builder.finish()
    }

    fn histogram() -> Value {
        let counter_reset_hint = CounterResetHint::Gauge;
        Value::Histogram(Box::new(Histogram { counter_reset_hint, ..Histogram::default() }))
    }

    /// Series of a kilobyte of labels each, one by one.
    struct Endless {
        scope: Scope,
        given: usize,
    }

    impl SeriesStream for Endless {
        fn next(&mut self, batch: &mut SeriesBatch) -> Result<StreamStep, QueryError> {
            self.given += 1;
            let labels = Labels::from_pairs([("n", &*self.given.to_string()), ("long", &*"v".repeat(1000))]);
            batch.series = vec![SeriesChunks { labels, chunks: chunks(&[(0, Value::Float(1.0))]) }];
            let size = batch.size();
            self.scope.charge(size.samples, size.bytes)?;
            Ok(StreamStep::Batch)
        }
    }

    #[test]
    fn rows_are_charged_for_from_when_they_are_known() {
        let scope = Scope::new(None, u64::MAX, 20_000);
        let mut stream = Endless { scope: scope.clone(), given: 0 };
        let read = NewestRows::read(&mut stream, &scope, TimeRange::ALL, None);
        assert!(matches!(read, Err(QueryError::Cancelled(Cancelled::Bytes(20_000)))));
        assert!((10..20).contains(&stream.given), "{}", stream.given);
        assert_eq!(scope.bytes_left(), 20_000);
    }

    #[test]
    fn rows_of_histograms_are_charged_for_with_their_buckets_and_only_those_that_are_given_out() {
        let scope = Scope::new(None, u64::MAX, 20_000);
        let rows = |n: i64| -> Vec<(Labels, TimedValue)> {
            let value =
                || Value::Histogram(Box::new(Histogram { positive_buckets: vec![1; 1000], ..Histogram::default() }));
            let sample = || TimedValue { t: TimestampMs(1), start: TimestampMs(0), value: value() };
            (0..n).map(|n| (Labels::from_pairs([("n", &*n.to_string())]), sample())).collect()
        };
        let new = |n, limit| NewestRows::new(&scope, rows(n), Annotations::none(), limit);
        assert!(matches!(new(3, Some(1)), Err(QueryError::Cancelled(Cancelled::Bytes(20_000)))));
        let kept = new(2, Some(1)).unwrap();
        assert!((8000..10_000).contains(&(20_000 - scope.bytes_left())), "{}", scope.bytes_left());
        drop(kept);
        assert_eq!(scope.bytes_left(), 20_000);
    }

    #[test]
    fn the_newest_sample_is_that_at_the_range_s_end_if_it_is_none_of_an_end() {
        let floats: Vec<_> = (0..300).map(|i| (i * 10, Value::Float(i as f64))).collect();
        let mut mixed = floats.clone();
        mixed.extend([(3000, histogram()), (3010, Value::Float(1.0)), (3020, Value::Float(STALE_NAN))]);
        let mixed = chunks(&mixed);
        let find = |min, max| {
            let range = TimeRange { min: TimestampMs(min), max: TimestampMs(max) };
            newest(&mixed, range, &mut Vec::new()).unwrap().map(|s| (s.t.0, s.float()))
        };
        for i in 0..300 {
            assert_eq!(find(0, i * 10 + 9), Some((i * 10, Some(i as f64))));
            assert_eq!(find(i * 10 + 1, i * 10 + 9), None);
        }
        assert_eq!(find(0, -1), None);
        assert_eq!(find(0, 3009), Some((3000, None)), "a histogram");
        assert_eq!(find(0, 3019), Some((3010, Some(1.0))));
        assert_eq!(find(0, 5000), None, "an ended series");
        assert_eq!(newest(&[], TimeRange::ALL, &mut Vec::new()).unwrap().map(|s| s.t), None);
    }
}
