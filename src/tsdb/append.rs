//! Writing: samples are judged and logged, then taken.
//!
//! `append` already judges each sample against its series, so that what is refused or known never reaches the log;
//! `commit` logs the rest in one write and judges again while taking it, which settles what a batch holds twice and
//! what other appenders have brought in between.

use super::Tsdb;
use super::head::{Pass, Verdict, locate, split_ref};
use super::wal::record::{SamplesEncoder, WalSample, push_series};
use crate::model::{Labels, is_stale};
use crate::storage::{AppendError, AppendReport, Appendable, Appender, FloatSample, SeriesRef, UnknownSeries};

/// Bytes of memory that a finished appender may leave for the next one.
const KEPT_BYTES: usize = 1 << 20;
/// Finished appenders whose memory is kept.
const KEPT_SCRATCHES: usize = 8;

/// The memory of an appender.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pending: Vec<Pending>,
    record: SamplesEncoder,
    pair_ids: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    slot: u32,
    t: i64,
    v: f64,
}

struct HeadAppender<'a> {
    tsdb: &'a Tsdb,
    /// Keeps series from being collected, so that slots stay what they are.
    _pass: Pass<'a>,
    scratch: Scratch,
    report: AppendReport,
    /// Positions refused in the last batch.
    refused: Vec<u32>,
    min_valid: i64,
}

impl Appendable for Tsdb {
    fn appender(&self) -> Box<dyn Appender + '_> {
        let pass = self.head.gate.pass();
        let scratch = self.scratches.lock().pop().unwrap_or_default();
        let min_valid = self.min_valid();
        let report = AppendReport::default();
        Box::new(HeadAppender { tsdb: self, _pass: pass, scratch, report, refused: Vec::new(), min_valid })
    }
}

impl Appender for HeadAppender<'_> {
    fn series(&mut self, labels: &Labels) -> Result<SeriesRef, AppendError> {
        self.tsdb.log.check()?;
        let (log, metrics) = (&self.tsdb.log, &self.tsdb.metrics);
        let created = |wal_ref| {
            log.note_series(|record| push_series(record, wal_ref, labels.iter()));
            metrics.series_created.inc();
            metrics.head_series.add(1.0);
        };
        let found = self.tsdb.head.find_or_create(labels.as_bytes(), &mut self.scratch.pair_ids, created);
        found.map_err(|error| AppendError::TooManySeries(error.to_string()))
    }

    fn append(&mut self, samples: &[FloatSample]) -> Result<UnknownSeries, AppendError> {
        self.tsdb.log.check()?;
        self.refused.clear();
        let mut unknown = UnknownSeries::default();
        let pages = self.tsdb.head.pages();
        let Scratch { pending, record, .. } = &mut self.scratch;
        pending.reserve(samples.len());
        let mut locked = None;
        for (i, &FloatSample { series, t, v }) in (0..).zip(samples) {
            let (slot, low_ref) = split_ref(series);
            let (number, at) = locate(slot);
            if locked.as_ref().is_none_or(|(n, _)| *n != number) {
                // One page at a time: the old one must be free before the next is locked.
                drop(locked.take());
                locked = pages.get(number).map(|page| (number, page.lock()));
            }
            let known = locked.as_ref().map(|(_, page)| &page[at]);
            let Some(known) = known.filter(|s| s.wal_ref as u32 == low_ref && low_ref != 0) else {
                unknown.0.push(i);
                continue;
            };
            match known.judge(t.0, v, self.min_valid) {
                Verdict::Keep => {
                    record.push(WalSample { series: known.wal_ref, t: t.0, v });
                    pending.push(Pending { slot, t: t.0, v });
                }
                Verdict::Same => count(&mut self.report, Verdict::Same, v),
                verdict => {
                    count(&mut self.report, verdict, v);
                    self.refused.push(i);
                }
            }
        }
        Ok(unknown)
    }

    fn refused(&self) -> &[u32] {
        &self.refused
    }

    fn commit(mut self: Box<Self>) -> Result<AppendReport, AppendError> {
        self.tsdb.log.check()?;
        let max_t = self.scratch.pending.iter().map(|p| p.t).max().unwrap_or(i64::MIN);
        let now = self.tsdb.clock.now().0;
        self.tsdb.log.commit(self.scratch.record.record(), max_t.min(now))?;
        self.take();
        if self.tsdb.options.sync == super::SyncPolicy::EveryCommit {
            self.tsdb.log.sync()?;
        }
        self.tsdb.metrics.appended.add(self.report.appended);
        self.tsdb.metrics.count_refused(&self.report.refused);
        Ok(self.report)
    }
}

impl HeadAppender<'_> {
    /// Puts the logged samples into their series.
    fn take(&mut self) {
        let head = &self.tsdb.head;
        let pages = head.pages();
        let chunk_range = head.chunk_range();
        // A block may have been begun since the appender was opened.
        let min_valid = self.min_valid.max(head.min_valid());
        let (mut max_t, mut opened) = (i64::MIN, 0);
        let mut locked = None;
        for &Pending { slot, t, v } in &self.scratch.pending {
            let (number, at) = locate(slot);
            let page = match locked.take() {
                Some((n, page)) if n == number => page,
                other => {
                    drop(other);
                    pages[number].lock()
                }
            };
            let (_, page) = locked.insert((number, page));
            let series = &mut page[at];
            let verdict = series.judge(t, v, min_valid);
            if verdict == Verdict::Keep {
                opened += i64::from(series.push(t, v, chunk_range));
                max_t = max_t.max(t);
            }
            count(&mut self.report, verdict, v);
        }
        drop(locked);
        head.chunks.fetch_add(opened, std::sync::atomic::Ordering::Relaxed);
        head.note_max_t(max_t);
    }
}

fn count(report: &mut AppendReport, verdict: Verdict, v: f64) {
    match verdict {
        Verdict::Keep | Verdict::Same => report.appended += 1,
        _ if is_stale(v) => {}
        Verdict::OutOfOrder => report.refused.out_of_order += 1,
        Verdict::Duplicate => report.refused.duplicate_timestamp += 1,
        Verdict::TooOld => report.refused.too_old += 1,
    }
}

impl Drop for HeadAppender<'_> {
    fn drop(&mut self) {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.pending.clear();
        scratch.record.clear();
        let bytes = scratch.pending.capacity() * size_of::<Pending>() + scratch.record.capacity();
        let mut kept = self.tsdb.scratches.lock();
        if bytes <= KEPT_BYTES && kept.len() < KEPT_SCRATCHES {
            kept.push(scratch);
        }
    }
}
