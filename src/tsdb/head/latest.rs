//! Newest samples of the head's series.
//!
//! Which samples they are is decided at the opening, so that an answer is of one moment. Floats are noted then, 16 bytes
//! each. Of histograms, which may be a hundred times as large, and of floats with start timestamps only how far the series
//! had come is noted; they are read when their batch comes, so that a stream holds one batch of them, however many it
//! brings. Chunks are only decoded where the open one does not know its newest sample.

use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashMap;
use roaring::RoaringBitmap;

use super::closed::{Part, Seen};
use super::index::Asked;
use super::read::{left_of, undecodable};
use super::series::Latest;
use super::{Head, Index, PageCursor, series_ref};
use crate::model::{Annotations, METRIC_NAME, Metadata, Sample, TimestampMs, Value};
use crate::storage::chunk::{TimedValue, decode_values};
use crate::storage::{
    Columns, FamilyRows, Held, LatestBatch, LatestStream, PartOf, QueryError, Scope, SelectRequest, StreamEnd,
    StreamStats, StreamStep, TimeRange, family_order, name_runs, parts_of,
};
use crate::tsdb::block::Tombstones;
use crate::tsdb::head_chunks::PinnedChunks;
use crate::tsdb::metadata::SeriesMetadata;

/// Rows in a batch of newest samples: so few that their labels are still in the cache when they are written.
const BATCH_ROWS: usize = 256;
/// Selections of at least this part of all series are put in order without being sorted.
const DENSE: usize = 8;

/// A series' newest sample, and where the series stands in the order of the stream.
#[derive(Clone, Copy)]
struct Row {
    key: u64,
    slot: u32,
    low_ref: u32,
    newest: Newest,
}

#[derive(Clone, Copy)]
enum Newest {
    Float(Sample),
    /// The newest of what had been seen then.
    Seen(Seen),
}

/// A series whose newest sample has to be searched for.
struct Hidden {
    slot: u32,
    wal_ref: u64,
    seen: Seen,
    parts: Vec<Part>,
}

impl Head {
    /// The newest sample of each series that satisfies a selector, as of this moment; see
    /// [`Queryable::select_latest`](crate::storage::Queryable::select_latest).
    pub(crate) fn select_latest<'a>(
        &'a self,
        scope: &Scope,
        request: &SelectRequest<'_>,
        metadata: &'a SeriesMetadata,
    ) -> Result<HeadLatest<'a>, QueryError> {
        let index = self.ordered_index();
        let found = index.matching(request.selectors, scope)?;
        let held = scope.hold(found.len() * size_of::<Row>() as u64)?;
        let source =
            Source { range: request.range, files: self.files.pin(), tombstones: self.tombstones.read().clone() };
        let mut rows = self.latest_rows(&index, &found, &source)?;
        drop(index);
        rows.truncate(request.limit.unwrap_or(usize::MAX));
        let rows = rows.into_iter();
        let stats = StreamStats::default();
        Ok(HeadLatest {
            head: self,
            scope: scope.clone(),
            _held: held,
            rows,
            batch: Vec::new(),
            source,
            metadata,
            stats,
        })
    }

    /// Finds all newest samples, ordered by metric name, then by labels.
    fn latest_rows(&self, index: &Index, found: &RoaringBitmap, source: &Source<'_>) -> Result<Vec<Row>, QueryError> {
        let mut rows = Vec::with_capacity(usize::try_from(found.len()).unwrap_or(0));
        let (mut columns, mut hidden) = (Columns::default(), Vec::new());
        let name_first = index.name_sorts_first();
        let row = |slot, low_ref, newest| {
            let name = if name_first { 0 } else { u64::from(index.name_rank(slot)) };
            Row { key: name << 32 | u64::from(index.rank(slot)), slot, low_ref, newest }
        };
        let applied = self.applying.lock();
        self.each(found, |slot, series| {
            let wal_ref = series.wal_ref;
            let latest = match source.tombstones.get(wal_ref) {
                [] => series.latest(source.range, &mut columns),
                _ => Latest::Elsewhere,
            };
            match (latest, series.seen()) {
                (Latest::Float(sample), _) => rows.push(row(slot, wal_ref as u32, Newest::Float(sample))),
                (Latest::Later, Some(seen)) => rows.push(row(slot, wal_ref as u32, Newest::Seen(seen))),
                (Latest::Elsewhere, Some(seen)) => {
                    let mut parts = Vec::new();
                    series.parts(source.range, seen, &mut parts);
                    hidden.push(Hidden { slot, wal_ref, seen, parts });
                }
                (Latest::Nothing, _) | (_, None) => {}
            }
        });
        drop(applied);
        for Hidden { slot, wal_ref, seen, parts } in hidden {
            let newest = match source.newest_of(parts, wal_ref)? {
                Some(TimedValue { t, start: TimestampMs(0), value: Value::Float(v) }) => Newest::Float(Sample { t, v }),
                Some(_) => Newest::Seen(seen),
                None => continue,
            };
            rows.push(row(slot, wal_ref as u32, newest));
        }
        Ok(in_order(rows, index.ranks_end()))
    }
}

/// The rows by their keys. Those that are ranks are less than `ranks`.
fn in_order(mut rows: Vec<Row>, ranks: usize) -> Vec<Row> {
    let fits = |row: &Row| row.key <= u64::from(u32::MAX);
    if !rows.iter().all(fits) || u32::try_from(rows.len()).is_err() {
        rows.sort_unstable_by_key(|row| row.key);
        return rows;
    }
    if rows.len() >= ranks / DENSE && rows.iter().all(|row| row.key < ranks as u64) {
        let mut places = vec![u32::MAX; ranks];
        for (place, row) in (0..).zip(&rows) {
            places[row.key as usize] = place;
        }
        let mut ordered = Vec::with_capacity(rows.len());
        ordered.extend(places.into_iter().filter_map(|place| rows.get(place as usize)));
        return ordered;
    }
    // Numbers are sorted in a third of the time that rows take.
    let mut order: Vec<u64> = (0..).zip(&rows).map(|(place, row)| row.key << 32 | place).collect();
    order.sort_unstable();
    order.into_iter().map(|place| rows[place as u32 as usize]).collect()
}

/// Where samples that an open chunk does not know are read.
struct Source<'a> {
    range: TimeRange,
    files: PinnedChunks<'a>,
    tombstones: Arc<Tombstones>,
}

impl Source<'_> {
    /// The newest sample in the range, unless it is a staleness marker.
    fn newest_of(&self, parts: Vec<Part>, wal_ref: u64) -> Result<Option<TimedValue>, QueryError> {
        let removed = self.tombstones.get(wal_ref);
        let mut values = Vec::new();
        for part in parts.into_iter().rev() {
            for chunk in left_of(part.load(&self.files)?, removed)?.iter().rev() {
                values.clear();
                decode_values(chunk, &mut values).map_err(|error| undecodable(chunk, &error))?;
                if let Some(at) = values.iter().rposition(|sample| self.range.contains(sample.t)) {
                    return Ok(Some(values.swap_remove(at)).filter(|newest| !newest.value.is_stale()));
                }
            }
        }
        Ok(None)
    }
}

/// A newest sample that was not noted as a float.
enum Found {
    Known(TimedValue),
    In(u64, Vec<Part>),
}

/// Newest samples of the head's series.
pub(crate) struct HeadLatest<'a> {
    head: &'a Head,
    scope: Scope,
    _held: Held,
    rows: std::vec::IntoIter<Row>,
    /// Those of the batch in progress.
    batch: Vec<Row>,
    source: Source<'a>,
    metadata: &'a SeriesMetadata,
    stats: StreamStats,
}

impl HeadLatest<'_> {
    /// What the rows of the batch say that are no noted floats, in their order.
    fn read_seen(&self) -> Result<Vec<Option<TimedValue>>, QueryError> {
        if self.batch.iter().all(|row| matches!(row.newest, Newest::Float(_))) {
            return Ok(Vec::new());
        }
        let seen = self.batch.iter().filter_map(|row| match row.newest {
            Newest::Seen(seen) => Some((row, seen)),
            Newest::Float(_) => None,
        });
        let pages = self.head.pages();
        let mut cursor = PageCursor::new(&pages);
        let found: Vec<Option<Found>> = seen
            .map(|(row, seen)| {
                let (_, series) = cursor.known(series_ref(row.slot, u64::from(row.low_ref)))?;
                let unchanged = series.seen() == Some(seen) && self.source.tombstones.get(series.wal_ref).is_empty();
                if unchanged
                    && let Some((t, value)) = series.newest_histogram()
                    && self.source.range.contains(TimestampMs(t))
                {
                    return Some(Found::Known(TimedValue { t: TimestampMs(t), start: TimestampMs(0), value }));
                }
                let mut parts = Vec::new();
                series.parts(self.source.range, seen, &mut parts);
                Some(Found::In(series.wal_ref, parts))
            })
            .collect();
        drop(cursor);
        drop(pages);
        // Files are read without a lock.
        let read = found.into_iter().map(|found| match found {
            None => Ok(None),
            Some(Found::Known(sample)) => Ok(Some(sample)),
            Some(Found::In(wal_ref, parts)) => self.source.newest_of(parts, wal_ref),
        });
        read.collect()
    }

    fn fill(&self, batch: &mut LatestBatch, seen: Vec<Option<TimedValue>>) {
        let index = self.head.index();
        let mut labels = LabelWriter::new(&index, batch);
        let mut seen = seen.into_iter();
        for row in &self.batch {
            let sample = match row.newest {
                Newest::Float(_) => None,
                Newest::Seen(_) => match seen.next().flatten() {
                    Some(sample) => Some(sample),
                    None => continue,
                },
            };
            if index.low_ref(row.slot) != row.low_ref {
                continue;
            }
            let start = batch.arena.len();
            let text = labels.write(row.slot, &mut batch.arena);
            match (row.newest, sample) {
                (_, Some(sample)) => batch.push_value(start, sample),
                (Newest::Float(Sample { t, v }), None) => batch.push_row(start, t, v),
                (Newest::Seen(_), None) => {}
            }
            if let Some((name, has)) = text {
                let name = labels.name(name, &mut batch.arena);
                batch.mark_text(name, has);
            }
        }
    }
}

/// Writes the labels of the rows of one batch, as whoever made it asked for them.
struct LabelWriter<'a> {
    index: &'a Index,
    asked: Option<Asked>,
    /// The pair of the last metric name, and where its value lies.
    last_name: Option<(u32, Range<usize>)>,
}

impl<'a> LabelWriter<'a> {
    fn new(index: &'a Index, batch: &LatestBatch) -> LabelWriter<'a> {
        LabelWriter { index, asked: batch.asked().map(|names| index.asked(names)), last_name: None }
    }

    /// Appends a series' labels. If that was in text, gives the pair of its name and which labels it has.
    #[inline]
    fn write(&self, slot: u32, out: &mut Vec<u8>) -> Option<(u32, u32)> {
        let text = self.asked.as_ref().and_then(|asked| self.index.write_text(slot, asked, out));
        if text.is_none() {
            self.index.write_labels(slot, out);
        }
        text
    }

    /// Where a metric name lies, which is appended if it is not the last one.
    #[inline]
    fn name(&mut self, pair: u32, out: &mut Vec<u8>) -> Range<usize> {
        match &self.last_name {
            Some((last, place)) if *last == pair => place.clone(),
            _ => {
                let start = out.len();
                out.extend_from_slice(self.index.pair_value(pair).as_bytes());
                self.last_name = Some((pair, start..out.len()));
                start..out.len()
            }
        }
    }
}

impl LatestStream for HeadLatest<'_> {
    fn next(&mut self, batch: &mut LatestBatch) -> Result<StreamStep, QueryError> {
        self.scope.check()?;
        batch.clear();
        while batch.rows.is_empty() {
            self.batch.clear();
            self.batch.extend(self.rows.by_ref().take(BATCH_ROWS));
            if self.batch.is_empty() {
                return Ok(StreamStep::End(StreamEnd { annotations: Annotations::none(), stats: self.stats }));
            }
            let seen = self.read_seen()?;
            self.fill(batch, seen);
        }
        self.stats.series += batch.rows.len() as u64;
        self.stats.bytes += batch.arena.len() as u64;
        self.scope.charge(batch.rows.len() as u64, batch.arena.len() as u64)?;
        // The caller reuses the arena for the next batch, so these bytes are held only until then.
        self.scope.release(0, batch.arena.len() as u64);
        Ok(StreamStep::Batch)
    }

    fn by_family(&mut self, part_of: &mut PartOf<'_>) -> bool {
        let mut rows = std::mem::take(&mut self.rows).collect::<Vec<_>>();
        // Whoever answers may wait for a scrape, and a scrape waits for the index: it must not be held.
        let runs = self.with_index(&rows, name_runs);
        let parts = parts_of(runs, part_of);
        if !parts.is_empty() {
            let order = self.with_index(&rows, |selected| family_order(selected, &parts));
            rows = order.into_iter().map(|place| rows[place as usize]).collect();
        }
        self.rows = rows.into_iter();
        true
    }
}

impl HeadLatest<'_> {
    fn with_index<R>(&self, rows: &[Row], f: impl FnOnce(&dyn FamilyRows) -> R) -> R {
        let index = self.head.index();
        f(&Selected { rows, name: index.name_id(METRIC_NAME), index: &index, stream: self })
    }
}

/// Rows with the index that knows their labels. The labels of series that have gone meanwhile are others' or none, which does
/// not matter, since they are left out later.
struct Selected<'a> {
    rows: &'a [Row],
    index: &'a Index,
    /// That of metric names.
    name: Option<u32>,
    stream: &'a HeadLatest<'a>,
}

impl Selected<'_> {
    fn name_pair(&self, row: usize) -> Option<u32> {
        self.index.pair_of(self.rows[row].slot, self.name)
    }
}

impl FamilyRows for Selected<'_> {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn is_same_name(&self, a: usize, b: usize) -> bool {
        self.name_pair(a) == self.name_pair(b)
    }

    fn name(&self, row: usize) -> &str {
        self.name_pair(row).map_or("", |id| self.index.pair_value(id))
    }

    fn stored(&self, row: usize) -> Option<Arc<Metadata>> {
        if self.stream.metadata.is_empty() {
            return None;
        }
        self.stream.metadata.get(self.stream.head.wal_ref(self.rows[row].slot))
    }

    fn metrics(&self, run: Range<usize>, by: Option<&str>, tell: &mut dyn FnMut(u64, Option<f64>)) {
        let by = by.and_then(|by| self.index.name_id(by));
        let mut bounds: HashMap<u32, Option<f64>> = HashMap::new();
        for row in &self.rows[run] {
            let (metric, pair) = self.index.hash_without(row.slot, self.name, by);
            let bound = |pair| *bounds.entry(pair).or_insert_with(|| self.index.pair_value(pair).parse().ok());
            tell(metric, pair.and_then(bound));
        }
    }
}
