//! The second hand: which series the rows of a batch are of.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use super::batch::{Batch, NO_SLOT, Step, What};
use super::{Into, RefMap, SegmentTimes};
use crate::model::{Labels, Metadata, TimestampMs};
use crate::storage::TimeRange;
use crate::tsdb::exemplars::{Exemplars, Timed};
use crate::tsdb::head::{FoundChunks, Head, LastLabels, PageCursor};
use crate::tsdb::metadata::SeriesMetadata;
use crate::tsdb::wal::record::{self, Kind};

/// What giving names has brought.
#[derive(Debug, Default)]
pub(super) struct Named {
    pub(super) refs: RefMap,
    pub(super) series: u64,
    pub(super) exemplars: u64,
    pub(super) unknown_series: u64,
    pub(super) refused_series: Option<(u64, String)>,
    pub(super) expired: HashMap<u64, u32>,
}

/// Whoever gives names.
pub(super) struct Names<'a> {
    head: &'a Head,
    exemplars: &'a Exemplars,
    found: &'a FoundChunks,
    /// Series that got chunks.
    found_series: usize,
    last: LastLabels,
    /// Deleted intervals, hidden at the end, when series have their last references.
    deleted: Vec<(u32, TimeRange)>,
    /// By slot, for the same reason.
    metadata: BTreeMap<u32, Metadata>,
    times: SegmentTimes,
    out: Named,
}

impl<'a> Names<'a> {
    pub(super) fn new(into: Into<'a>, found: &'a FoundChunks) -> Names<'a> {
        Names {
            head: into.head,
            exemplars: into.exemplars,
            found,
            found_series: 0,
            last: LastLabels::default(),
            deleted: Vec::new(),
            metadata: BTreeMap::new(),
            times: SegmentTimes::default(),
            out: Named::default(),
        }
    }

    /// Puts into a batch what is to be done, and does what concerns names only.
    pub(super) fn name(&mut self, batch: &mut Batch) {
        for run in std::mem::take(&mut batch.runs) {
            match run.what {
                What::Series => self.series(batch, run.rows),
                What::Samples => {
                    let refs = batch.samples[run.rows.clone()].iter().map(|row| row.series);
                    self.slots(refs, &mut batch.sample_slots);
                    batch.steps.push(Step::Samples(run.rows));
                }
                What::Histograms => {
                    let refs = batch.histograms[run.rows.clone()].iter().map(|row| row.series);
                    self.slots(refs, &mut batch.histogram_slots);
                    batch.steps.push(Step::Histograms(run.rows));
                }
                What::Record => self.record(batch, run.rows),
            }
        }
    }

    fn series(&mut self, batch: &mut Batch, rows: Range<usize>) {
        let mut restoring = self.head.restoring(&mut self.last);
        let mut start = rows.start.checked_sub(1).map_or(0, |before| batch.series[before].labels_end);
        for row in &batch.series[rows] {
            let labels = &batch.labels[start..row.labels_end];
            start = row.labels_end;
            match restoring.series(labels, row.wal_ref) {
                Ok((slot, before)) => {
                    // A reference is given its chunks once.
                    let chunks = self.found.of(row.wal_ref);
                    if !chunks.is_empty() && self.out.refs.get(row.wal_ref).is_none() {
                        self.found_series += 1;
                        batch.steps.push(Step::Attach(slot, chunks));
                    }
                    self.out.refs.insert(row.wal_ref, slot);
                    match before {
                        Some(old) => _ = self.out.expired.insert(old, batch.last_segment),
                        None => self.out.series += 1,
                    }
                }
                Err(error) => {
                    let refused = self.out.refused_series.get_or_insert_default();
                    *refused = (refused.0 + 1, error.to_string());
                }
            }
        }
    }

    fn slots(&mut self, refs: impl ExactSizeIterator<Item = u64>, slots: &mut Vec<u32>) {
        slots.reserve(refs.len());
        for wal_ref in refs {
            let slot = self.out.refs.get(wal_ref);
            slots.push(slot.unwrap_or_else(|| {
                self.unknown(wal_ref);
                NO_SLOT
            }));
        }
    }

    #[cold]
    fn unknown(&mut self, wal_ref: u64) {
        self.out.unknown_series += 1;
        self.head.reserve_wal_ref(wal_ref);
    }

    fn slot(&mut self, wal_ref: u64) -> Option<u32> {
        let slot = self.out.refs.get(wal_ref);
        if slot.is_none() {
            self.unknown(wal_ref);
        }
        slot
    }

    /// The record has been checked, so that it is read to its end.
    fn record(&mut self, batch: &mut Batch, bytes: Range<usize>) {
        let (record, segment, steps) = (&batch.records[bytes], batch.segment, &mut batch.steps);
        let read = match Kind::of(record) {
            Kind::Tombstones => record::each_tombstone(record, &mut |wal_ref, min, max| {
                self.tombstone(wal_ref, min, max, segment, steps);
            }),
            Kind::Exemplars => self.exemplars(record, segment),
            _ => record::each_metadata(record, &mut |wal_ref, entry| {
                let Some(slot) = self.slot(wal_ref) else { return };
                if let Ok(metadata) = record::read_metadata(entry) {
                    self.metadata.insert(slot, metadata);
                }
            }),
        };
        debug_assert_eq!(read, Ok(()));
    }

    fn exemplars(&mut self, bytes: &[u8], segment: Option<u32>) -> Result<(), record::RecordError> {
        let mut labels = Vec::new();
        record::each_exemplar(bytes, &mut |found| {
            self.times.note(segment, found.t, found.t);
            let Some(slot) = self.slot(found.series) else { return };
            if !self.exemplars.is_on() {
                return;
            }
            labels.clear();
            self.head.index().write_labels(slot, &mut labels);
            let own = Labels::from_encoded(found.labels);
            let exemplar = Timed { t: found.t, is_own_time: false, value: found.v, labels: own };
            // What is not kept was driven out or repeated before, too.
            let kept = self.exemplars.add(&Labels::from_encoded(&labels), exemplar);
            self.out.exemplars += u64::from(kept.is_ok());
        })
    }

    fn tombstone(&mut self, wal_ref: u64, min: i64, max: i64, segment: Option<u32>, steps: &mut Vec<Step>) {
        let Some(slot) = self.slot(wal_ref) else { return };
        if (min, max) == (i64::MIN, i64::MAX) {
            // The reference says so that a series was dropped with all that it had; what follows is a new one.
            steps.push(Step::Clear(slot));
            self.deleted.retain(|(deleted, _)| *deleted != slot);
            return;
        }
        if max >= self.head.min_valid() {
            self.deleted.push((slot, TimeRange { min: TimestampMs(min), max: TimestampMs(max) }));
        }
        self.times.note(segment, max, max);
    }

    /// Says what waited for every series to have its last reference.
    pub(super) fn done(self, metadata: &SeriesMetadata) -> (Named, SegmentTimes) {
        self.head.hide_in_slots(&self.deleted);
        let pages = self.head.pages();
        let mut cursor = PageCursor::new(&pages);
        for (slot, found) in &self.metadata {
            if let Some(series) = cursor.series(*slot) {
                metadata.set(series.wal_ref, found);
            }
        }
        let left = self.found.series_count() - self.found_series;
        if left > 0 {
            tracing::debug!(series = left, "dropped head chunks of series that the log does not name");
        }
        (self.out, self.times)
    }
}
