//! The reference implementation: everything in one sorted map, nothing clever.
//!
//! Other stores are compared with it, so it follows the contract by the shortest way: every answer is computed from
//! plain lists of samples under one lock.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{
    AdminError, Administrable, AppendError, AppendReport, Appendable, Appender, Chunk, Encoding, FloatSample,
    LatestBatch, LatestStream, Limit, QueryError, Queryable, Scope, SelectRequest, Selector, SeriesBatch, SeriesChunks,
    SeriesRef, SeriesStream, StreamEnd, StreamStats, StreamStep, TimeRange, UnknownSeries, chunk::xor::XorState,
};
use crate::model::{Annotations, Labels, Matcher, Sample, TimestampMs, is_stale};

const CHUNK_SAMPLES: usize = 120;
const BATCH_SERIES: usize = 100;

/// A store in memory.
#[derive(Default)]
pub struct MemoryStore(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    refs: BTreeMap<Labels, SeriesRef>,
    series: BTreeMap<SeriesRef, (Labels, Vec<Sample>)>,
    last_ref: u64,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    /// Everything stored, by labels.
    pub fn dump(&self) -> BTreeMap<Labels, Vec<Sample>> {
        self.0.lock().series.values().filter(|(_, s)| !s.is_empty()).cloned().collect()
    }

    /// Forgets the samples older than `t` and the series that had no others; their references become unknown.
    pub fn drop_before(&self, t: TimestampMs) {
        let mut inner = self.0.lock();
        let inner = &mut *inner;
        inner.series.retain(|_, (labels, samples)| {
            samples.retain(|s| s.t >= t);
            if samples.is_empty() {
                inner.refs.remove(labels);
            }
            !samples.is_empty()
        });
    }

    /// The series that satisfy any selector and have a sample in the range, with those samples.
    fn matching(&self, selectors: &[Selector], range: TimeRange) -> Vec<(Labels, Vec<Sample>)> {
        let inner = self.0.lock();
        let wanted = |labels: &Labels| selectors.iter().any(|s| Matcher::all_match(s, labels.as_bytes()));
        let mut found: Vec<_> = inner
            .series
            .values()
            .filter(|(labels, _)| wanted(labels))
            .map(|(labels, samples)| {
                (labels.clone(), samples.iter().copied().filter(|s| range.contains(s.t)).collect::<Vec<_>>())
            })
            .filter(|(_, samples)| !samples.is_empty())
            .collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found
    }

    fn matching_or_all(&self, selectors: &[Selector], range: TimeRange) -> Vec<(Labels, Vec<Sample>)> {
        if selectors.is_empty() { self.matching(&[Vec::new()], range) } else { self.matching(selectors, range) }
    }
}

impl Appendable for MemoryStore {
    fn appender(&self) -> Box<dyn Appender + '_> {
        Box::new(MemoryAppender { store: self, samples: Vec::new(), refused: Vec::new() })
    }
}

struct MemoryAppender<'a> {
    store: &'a MemoryStore,
    samples: Vec<FloatSample>,
    refused: Vec<u32>,
}

impl Appender for MemoryAppender<'_> {
    fn series(&mut self, labels: &Labels) -> Result<SeriesRef, AppendError> {
        let mut inner = self.store.0.lock();
        if let Some(series) = inner.refs.get(labels) {
            return Ok(*series);
        }
        inner.last_ref += 1;
        let series = SeriesRef(inner.last_ref);
        inner.refs.insert(labels.clone(), series);
        inner.series.insert(series, (labels.clone(), Vec::new()));
        Ok(series)
    }

    fn append(&mut self, samples: &[FloatSample]) -> Result<UnknownSeries, AppendError> {
        let inner = self.store.0.lock();
        let mut unknown = UnknownSeries::default();
        self.refused.clear();
        for (i, sample) in (0..).zip(samples) {
            let Some((_, stored)) = inner.series.get(&sample.series) else {
                unknown.0.push(i);
                continue;
            };
            // Counted by the commit, which comes to the same judgement.
            self.samples.push(*sample);
            let is_late =
                |last: &Sample| (sample.t, sample.v.to_bits()) != (last.t, last.v.to_bits()) && sample.t <= last.t;
            if stored.last().is_some_and(is_late) {
                self.refused.push(i);
            }
        }
        Ok(unknown)
    }

    fn refused(&self) -> &[u32] {
        &self.refused
    }

    fn commit(self: Box<Self>) -> Result<AppendReport, AppendError> {
        let mut inner = self.store.0.lock();
        let mut report = AppendReport::default();
        for FloatSample { series, t, v } in self.samples {
            let Some((_, stored)) = inner.series.get_mut(&series) else { continue };
            match stored.last() {
                Some(last) if is_stale(v) && (t, v.to_bits()) != (last.t, last.v.to_bits()) && t <= last.t => {}
                Some(last) if t < last.t => report.refused.out_of_order += 1,
                Some(last) if t == last.t && v.to_bits() != last.v.to_bits() => report.refused.duplicate_timestamp += 1,
                Some(last) if t == last.t => report.appended += 1,
                _ => {
                    stored.push(Sample { t, v });
                    report.appended += 1;
                }
            }
        }
        Ok(report)
    }
}

impl Administrable for MemoryStore {
    fn delete(&self, selectors: &[Selector], range: TimeRange) -> Result<(), AdminError> {
        for (labels, samples) in self.0.lock().series.values_mut() {
            if selectors.iter().any(|s| Matcher::all_match(s, labels.as_bytes())) {
                samples.retain(|sample| !range.contains(sample.t));
            }
        }
        Ok(())
    }

    /// What is deleted here is gone.
    fn clean_tombstones(&self) -> Result<(), AdminError> {
        Ok(())
    }

    fn snapshot(&self, _: bool) -> Result<String, AdminError> {
        Err(AdminError::Failed("a store in memory has no files".to_owned()))
    }

    fn trouble(&self) -> Option<String> {
        None
    }
}

impl Queryable for MemoryStore {
    fn select<'a>(
        &'a self,
        scope: &Scope,
        request: &SelectRequest<'_>,
    ) -> Result<Box<dyn SeriesStream + 'a>, QueryError> {
        let mut found = self.matching(request.selectors, request.range);
        found.truncate(request.limit.unwrap_or(usize::MAX));
        Ok(Box::new(MemoryStream { scope: scope.clone(), rest: found.into_iter(), stats: StreamStats::default() }))
    }

    fn select_latest<'a>(
        &'a self,
        scope: &Scope,
        request: &SelectRequest<'_>,
    ) -> Result<Box<dyn LatestStream + 'a>, QueryError> {
        let mut found = self.matching(request.selectors, request.range);
        found.retain(|(_, samples)| samples.last().is_some_and(|s| !is_stale(s.v)));
        found.sort_by(|a, b| (a.0.metric_name(), &a.0).cmp(&(b.0.metric_name(), &b.0)));
        found.truncate(request.limit.unwrap_or(usize::MAX));
        Ok(Box::new(MemoryStream { scope: scope.clone(), rest: found.into_iter(), stats: StreamStats::default() }))
    }

    fn label_names(
        &self,
        scope: &Scope,
        selectors: &[Selector],
        range: TimeRange,
        limit: Limit,
    ) -> Result<(Vec<String>, Annotations), QueryError> {
        scope.check()?;
        let found = self.matching_or_all(selectors, range);
        let names: BTreeSet<_> = found.iter().flat_map(|(labels, _)| labels.iter().map(|(name, _)| name)).collect();
        Ok(first(names, limit))
    }

    fn label_values(
        &self,
        scope: &Scope,
        name: &str,
        selectors: &[Selector],
        range: TimeRange,
        limit: Limit,
    ) -> Result<(Vec<String>, Annotations), QueryError> {
        scope.check()?;
        let found = self.matching_or_all(selectors, range);
        Ok(first(found.iter().filter_map(|(labels, _)| labels.get(name)).collect(), limit))
    }
}

fn first(texts: BTreeSet<&str>, limit: Limit) -> (Vec<String>, Annotations) {
    let texts = texts.into_iter().take(limit.unwrap_or(usize::MAX)).map(str::to_owned).collect();
    (texts, Annotations::none())
}

struct MemoryStream {
    scope: Scope,
    rest: std::vec::IntoIter<(Labels, Vec<Sample>)>,
    stats: StreamStats,
}

impl MemoryStream {
    fn end(&self) -> StreamStep {
        StreamStep::End(StreamEnd { annotations: Annotations::none(), stats: self.stats })
    }
}

impl SeriesStream for MemoryStream {
    fn next(&mut self, batch: &mut SeriesBatch) -> Result<StreamStep, QueryError> {
        self.scope.check()?;
        batch.series.clear();
        for (labels, samples) in self.rest.by_ref().take(BATCH_SERIES) {
            let chunks: Vec<_> = samples.chunks(CHUNK_SAMPLES).map(encode).collect();
            self.stats.series += 1;
            self.stats.chunks += chunks.len() as u64;
            self.stats.bytes += chunks.iter().map(|c| c.data.len() as u64).sum::<u64>();
            batch.series.push(SeriesChunks { labels, chunks });
        }
        Ok(if batch.series.is_empty() { self.end() } else { StreamStep::Batch })
    }
}

impl LatestStream for MemoryStream {
    fn next(&mut self, batch: &mut LatestBatch) -> Result<StreamStep, QueryError> {
        self.scope.check()?;
        batch.clear();
        for (labels, samples) in self.rest.by_ref().take(BATCH_SERIES) {
            if let Some(last) = samples.last() {
                let start = batch.arena.len();
                batch.arena.extend_from_slice(labels.as_bytes());
                batch.push_row(start, last.t, last.v);
                self.stats.series += 1;
            }
        }
        Ok(if batch.rows.is_empty() { self.end() } else { StreamStep::Batch })
    }
}

fn encode(samples: &[Sample]) -> Chunk {
    let (mut state, mut bytes) = (XorState::new(), Vec::new());
    for sample in samples {
        state.append(&mut bytes, sample.t.0, sample.v);
    }
    // `chunks` never yields an empty slice.
    let (min, max) = samples.first().zip(samples.last()).map_or_else(Default::default, |(a, b)| (a.t, b.t));
    Chunk { min, max, encoding: Encoding::Xor, data: Bytes::from(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::STALE_NAN;
    use crate::storage::{Columns, decode_into};

    fn append(store: &MemoryStore, samples: &[(&str, i64, f64)]) -> AppendReport {
        let mut appender = store.appender();
        let batch: Vec<_> = samples
            .iter()
            .map(|(name, t, v)| {
                let labels = Labels::from_pairs([("__name__", *name), ("job", "j")]);
                FloatSample { series: appender.series(&labels).unwrap(), t: TimestampMs(*t), v: *v }
            })
            .collect();
        assert_eq!(appender.append(&batch).unwrap(), UnknownSeries::default());
        appender.commit().unwrap()
    }

    #[test]
    fn refused_samples_come_back_with_their_reasons() {
        let store = MemoryStore::new();
        let report = append(&store, &[("a", 10, 1.0), ("a", 10, 1.0), ("a", 10, 2.0), ("a", 9, 1.0), ("b", 5, 1.0)]);
        assert_eq!((report.appended, report.refused.duplicate_timestamp, report.refused.out_of_order), (3, 1, 1));
    }

    #[test]
    fn a_dropped_appender_leaves_no_sample() {
        let store = MemoryStore::new();
        let mut appender = store.appender();
        let series = appender.series(&Labels::from_pairs([("__name__", "a")])).unwrap();
        let _ = appender.append(&[FloatSample { series, t: TimestampMs(1), v: 1.0 }]).unwrap();
        drop(appender);
        assert!(store.dump().is_empty());
    }

    #[test]
    fn streams_yield_what_was_appended_and_latest_leaves_stale_series_out() {
        let store = MemoryStore::new();
        let many: Vec<_> = (0..300).map(|i| ("a", i * 1000, i as f64)).collect();
        append(&store, &many);
        append(&store, &[("b", 1000, 1.0), ("b", 2000, STALE_NAN)]);
        let selectors = [vec![Matcher::equal("job", "j")]];
        let request = SelectRequest { selectors: &selectors, range: TimeRange::ALL, sorted: true, limit: None };
        let scope = Scope::unbounded();

        let mut batch = SeriesBatch::default();
        let mut stream = store.select(&scope, &request).unwrap();
        assert!(matches!(stream.next(&mut batch).unwrap(), StreamStep::Batch));
        assert_eq!(batch.series.len(), 2);
        let mut columns = Columns::default();
        for chunk in &batch.series[0].chunks {
            decode_into(chunk, &mut columns).unwrap();
        }
        assert_eq!(columns.values.len(), 300);
        assert!(matches!(stream.next(&mut batch).unwrap(), StreamStep::End(end) if end.stats.series == 2));

        let mut latest = LatestBatch::default();
        let mut stream = store.select_latest(&scope, &request).unwrap();
        assert!(matches!(stream.next(&mut latest).unwrap(), StreamStep::Batch));
        assert_eq!(latest.rows.len(), 1);
        assert_eq!((latest.rows[0].t, latest.rows[0].v), (TimestampMs(299_000), 299.0));
    }
}
