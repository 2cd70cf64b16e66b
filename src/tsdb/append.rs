//! Writing: samples are judged and logged, then taken.
//!
//! `append` already judges each sample against its series, so that what is refused or known never reaches the log;
//! `commit` logs the rest in one write and judges again while taking it, which settles what a batch holds twice and
//! what other appenders have brought in between.

use super::Tsdb;
use super::exemplars::{Timed, Unwanted};
use super::head::{ChunkRule, Head, PageCursor, Pass, Verdict};
use super::log::Records;
use super::ooo::{Late, LateRule, Settled};
use super::settings::Starts;
use super::wal::record::{WalExemplar, WalHistogram, WalSample, push_series, push_tombstone};
use crate::model::{Exemplar, FloatHistogram, Histogram, Labels, Metadata, STALE_NAN, TimestampMs, is_stale};
use crate::storage::{
    AdminError, AppendError, AppendReport, Appendable, Appender, ExemplarsRefused, FloatSample, HistogramRef,
    HistogramSample, QueryError, Refusal, Scope, Selector, SeriesRef, TimeRange, TimedValue, UnknownSeries,
};

/// Bytes of memory that a finished appender may leave for the next one.
const KEPT_BYTES: usize = 1 << 20;
/// Finished appenders whose memory is kept.
const KEPT_SCRATCHES: usize = 8;

/// The memory of an appender.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    floats: Vec<PendingFloat>,
    histograms: Vec<PendingHistogram>,
    /// Samples that are out of order.
    late: Vec<Late>,
    exemplars: Vec<PendingExemplar>,
    metadata: Vec<(u64, Metadata)>,
    records: Records,
    pair_ids: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct PendingFloat {
    slot: u32,
    /// What happens if it has become late.
    may_be_late: bool,
    t: i64,
    /// 0 for none.
    start: i64,
    v: f64,
}

#[derive(Debug)]
struct PendingHistogram {
    /// How many floats were there before it, which are taken before it.
    floats_before: usize,
    slot: u32,
    t: i64,
    start: i64,
    value: Pending,
}

#[derive(Debug)]
struct PendingExemplar {
    slot: u32,
    series: Labels,
    exemplar: Timed,
}

#[derive(Debug)]
enum Pending {
    Integer(Box<Histogram>),
    Float(Box<FloatHistogram>),
}

impl Pending {
    fn copy_of(value: HistogramRef<'_>) -> Pending {
        match value {
            HistogramRef::Integer(h) => Pending::Integer(Box::new(h.clone())),
            HistogramRef::Float(h) => Pending::Float(Box::new(h.clone())),
        }
    }

    fn as_ref(&self) -> HistogramRef<'_> {
        match self {
            Pending::Integer(h) => HistogramRef::Integer(h),
            Pending::Float(h) => HistogramRef::Float(h),
        }
    }
}

impl Tsdb {
    /// Deletes from the head what the series that satisfy a selector have in `range`; returns how many series that
    /// concerned. Durable when it returns.
    pub(super) fn delete_in_head(&self, selectors: &[Selector], range: TimeRange) -> Result<u64, AdminError> {
        self.log.check()?;
        // References stay what they are until the deletion is logged.
        let _pass = self.head.gate.pass();
        let deletions = self.head.deletions(&Scope::unbounded(), selectors, range).map_err(QueryError::from)?;
        let Some(max) = deletions.iter().map(|(_, range)| range.max.0).max() else { return Ok(0) };
        let mut record = Vec::new();
        deletions.iter().for_each(|(wal_ref, range)| push_tombstone(&mut record, *wal_ref, range.min.0, range.max.0));
        let mut records = Records::default();
        records.push_record(record);
        let applying = self.log.commit(&records, max.min(self.clock.now().0), &self.head.applying)?;
        self.head.hide(deletions.iter().copied());
        drop(applying);
        self.log.sync()?;
        Ok(deletions.len() as u64)
    }
}

/// Positions refused in the last batch, and why.
#[derive(Debug, Default)]
struct RefusedPositions {
    positions: Vec<u32>,
    reasons: Vec<Refusal>,
}

impl RefusedPositions {
    fn clear(&mut self) {
        self.positions.clear();
        self.reasons.clear();
    }

    fn push(&mut self, position: u32, reason: Refusal) {
        self.positions.push(position);
        self.reasons.push(reason);
    }
}

struct HeadAppender<'a> {
    tsdb: &'a Tsdb,
    /// Keeps series from being collected, so that slots stay what they are.
    _pass: Pass<'a>,
    scratch: Scratch,
    report: AppendReport,
    refused: RefusedPositions,
    refused_exemplars: ExemplarsRefused,
    min_valid: i64,
    late_rule: LateRule,
    starts: Starts,
}

impl Appendable for Tsdb {
    fn appender(&self) -> Box<dyn Appender + '_> {
        let pass = self.head.gate.pass();
        let scratch = self.scratches.lock().pop().unwrap_or_default();
        let min_valid = self.min_valid();
        Box::new(HeadAppender {
            tsdb: self,
            _pass: pass,
            scratch,
            report: AppendReport::default(),
            refused: RefusedPositions::default(),
            refused_exemplars: ExemplarsRefused::default(),
            min_valid,
            late_rule: self.late_rule(),
            starts: self.settings.load().starts,
        })
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

    fn find(&mut self, labels: &Labels) -> Result<Option<SeriesRef>, AppendError> {
        self.tsdb.log.check()?;
        Ok(self.tsdb.head.find(labels.as_bytes(), &mut self.scratch.pair_ids))
    }

    fn judge_new(&self, t: TimestampMs) -> Result<(), Refusal> {
        let verdict = if t.0 < self.min_valid { Verdict::TooOld } else { Verdict::Keep };
        match self.late_rule.settle(verdict, t.0) {
            Settled::InOrder(Verdict::TooOld) => Err(Refusal::TooOld),
            Settled::InOrder(_) | Settled::Late => Ok(()),
        }
    }

    fn append(&mut self, samples: &[FloatSample]) -> Result<UnknownSeries, AppendError> {
        self.append_floats(samples.iter().map(|sample| (*sample, 0)), self.late_rule)
    }

    fn append_with_starts(
        &mut self,
        samples: &[FloatSample],
        starts: &[TimestampMs],
    ) -> Result<UnknownSeries, AppendError> {
        debug_assert_eq!(samples.len(), starts.len());
        let policy = self.starts;
        let start_of = |i| starts.get(i).map_or(0, |start| policy.of(*start));
        self.append_floats(samples.iter().enumerate().map(|(i, sample)| (*sample, start_of(i))), self.late_rule)
    }

    fn append_stale(&mut self, series: &[SeriesRef], t: TimestampMs) -> Result<UnknownSeries, AppendError> {
        let marker = |&series| (FloatSample { series, t, v: STALE_NAN }, 0);
        self.append_floats(series.iter().map(marker), LateRule::Never)
    }

    fn append_histograms(&mut self, samples: &[HistogramSample<'_>]) -> Result<UnknownSeries, AppendError> {
        self.tsdb.log.check()?;
        self.refused.clear();
        let mut unknown = UnknownSeries::default();
        let pages = self.tsdb.head.pages();
        let mut locked = PageCursor::new(&pages);
        let Scratch { floats, histograms, late, records, .. } = &mut self.scratch;
        for (i, sample) in (0..).zip(samples) {
            if !is_sound(sample.value) {
                self.report.refused.malformed += 1;
                self.report.refused_histograms += 1;
                self.refused.push(i, Refusal::Malformed);
                continue;
            }
            let Some((slot, known)) = locked.known(sample.series) else {
                unknown.0.push(i);
                continue;
            };
            let (TimestampMs(t), start) = (sample.t, self.starts.of(sample.start));
            let verdict = known.judge_histogram(t, sample.value, self.min_valid);
            match self.late_rule.settle(verdict, t) {
                Settled::Late => {
                    let sample = TimedValue { t: sample.t, start: TimestampMs(start), value: sample.value.to_value() };
                    late.push(Late { slot, wal_ref: known.wal_ref, sample });
                }
                Settled::InOrder(Verdict::Keep) => {
                    records.push_histogram(WalHistogram { series: known.wal_ref, t, start, value: sample.value });
                    let value = Pending::copy_of(sample.value);
                    histograms.push(PendingHistogram { floats_before: floats.len(), slot, t, start, value });
                }
                Settled::InOrder(Verdict::Same) => count(&mut self.report, Verdict::Same, false),
                Settled::InOrder(verdict) => {
                    count_histogram(&mut self.report, verdict, sample.value);
                    self.refused.push(i, refusal(verdict));
                }
            }
        }
        Ok(unknown)
    }

    fn append_zero(&mut self, series: SeriesRef, t: TimestampMs) -> Result<(), AppendError> {
        self.tsdb.log.check()?;
        let (pages, TimestampMs(t)) = (self.tsdb.head.pages(), t);
        let mut locked = PageCursor::new(&pages);
        let Some((slot, known)) = locked.known(series) else { return Ok(()) };
        if known.judge(t, 0.0, self.min_valid) == Verdict::Keep {
            self.scratch.records.push_sample(WalSample { series: known.wal_ref, t, start: 0, v: 0.0 });
            self.scratch.floats.push(PendingFloat { slot, may_be_late: false, t, start: 0, v: 0.0 });
        }
        Ok(())
    }

    fn append_zero_histogram(&mut self, sample: HistogramSample<'_>) -> Result<(), AppendError> {
        self.tsdb.log.check()?;
        let (pages, TimestampMs(t), value) = (self.tsdb.head.pages(), sample.t, sample.value);
        let mut locked = PageCursor::new(&pages);
        let Some((slot, known)) = locked.known(sample.series) else { return Ok(()) };
        if known.judge_histogram(t, value, self.min_valid) == Verdict::Keep {
            let Scratch { floats, histograms, records, .. } = &mut self.scratch;
            records.push_histogram(WalHistogram { series: known.wal_ref, t, start: 0, value });
            let value = Pending::copy_of(value);
            histograms.push(PendingHistogram { floats_before: floats.len(), slot, t, start: 0, value });
        }
        Ok(())
    }

    fn append_exemplars(
        &mut self,
        series: SeriesRef,
        t: TimestampMs,
        exemplars: &[Exemplar],
    ) -> Result<bool, AppendError> {
        self.tsdb.log.check()?;
        self.refused_exemplars = ExemplarsRefused::default();
        let Some((slot, wal_ref)) = self.known(series) else { return Ok(false) };
        if !self.tsdb.exemplars.is_on() {
            return Ok(true);
        }
        let labels = self.exemplar_series(slot);
        for exemplar in exemplars.iter().map(|e| Timed::new(e, t)) {
            match self.tsdb.exemplars.check(&labels, &exemplar) {
                Ok(()) => {}
                Err(Unwanted::OutOfOrder) => {
                    self.refused_exemplars.out_of_order += 1;
                    continue;
                }
                Err(Unwanted::TooLong) => {
                    self.refused_exemplars.too_long += 1;
                    continue;
                }
                Err(Unwanted::Off | Unwanted::Known) => continue,
            }
            let Timed { t, value, labels: own, .. } = &exemplar;
            let logged = WalExemplar { series: wal_ref, t: *t, v: *value, labels: own.as_bytes() };
            self.scratch.records.push_exemplar(logged);
            self.scratch.exemplars.push(PendingExemplar { slot, series: labels.clone(), exemplar });
        }
        Ok(true)
    }

    fn set_metadata(&mut self, series: SeriesRef, metadata: &Metadata) -> Result<bool, AppendError> {
        self.tsdb.log.check()?;
        let Some((_, wal_ref)) = self.known(series) else { return Ok(false) };
        if self.tsdb.metadata.is_news(wal_ref, metadata) {
            self.scratch.records.push_metadata(wal_ref, metadata);
            self.scratch.metadata.push((wal_ref, metadata.clone()));
        }
        Ok(true)
    }

    fn refused(&self) -> &[u32] {
        &self.refused.positions
    }

    fn refusals(&self) -> &[Refusal] {
        &self.refused.reasons
    }

    fn refused_exemplars(&self) -> ExemplarsRefused {
        self.refused_exemplars
    }

    fn commit(mut self: Box<Self>) -> Result<AppendReport, AppendError> {
        let tsdb = self.tsdb;
        tsdb.log.check()?;
        let now = tsdb.clock.now().0;
        // Metadata alone is as old as the commit.
        let max_t = self.scratch.max_t().map_or(now, |t| t.min(now));
        let applying = tsdb.log.commit(&self.scratch.records, max_t, &tsdb.head.applying)?;
        self.take();
        self.take_late()?;
        drop(applying);
        if tsdb.options.sync == super::SyncPolicy::EveryCommit {
            tsdb.sync()?;
        }
        tsdb.metrics.appended.add(self.report.appended);
        tsdb.metrics.count_refused(&self.report.refused);
        Ok(self.report)
    }
}

impl Scratch {
    /// The newest time of all that is to be logged.
    fn max_t(&self) -> Option<i64> {
        let floats = self.floats.iter().map(|p| p.t);
        let others = self.histograms.iter().map(|p| p.t).chain(self.exemplars.iter().map(|p| p.exemplar.t));
        floats.max().max(others.max())
    }
}

impl HeadAppender<'_> {
    fn append_floats(
        &mut self,
        samples: impl ExactSizeIterator<Item = (FloatSample, i64)>,
        late_rule: LateRule,
    ) -> Result<UnknownSeries, AppendError> {
        self.tsdb.log.check()?;
        self.refused.clear();
        let mut unknown = UnknownSeries::default();
        let pages = self.tsdb.head.pages();
        let mut locked = PageCursor::new(&pages);
        let Scratch { floats, late, records, .. } = &mut self.scratch;
        floats.reserve(samples.len());
        let may_be_late = late_rule != LateRule::Never;
        for (i, (FloatSample { series, t, v }, start)) in (0..).zip(samples) {
            let Some((slot, known)) = locked.known(series) else {
                unknown.0.push(i);
                continue;
            };
            match late_rule.settle(known.judge(t.0, v, self.min_valid), t.0) {
                Settled::InOrder(Verdict::Keep) => {
                    records.push_sample(WalSample { series: known.wal_ref, t: t.0, start, v });
                    floats.push(PendingFloat { slot, may_be_late, t: t.0, start, v });
                }
                Settled::InOrder(Verdict::Same) => count(&mut self.report, Verdict::Same, is_stale(v)),
                Settled::InOrder(verdict) => {
                    count(&mut self.report, verdict, is_stale(v));
                    self.refused.push(i, refusal(verdict));
                }
                Settled::Late => late.push(Late::float(slot, known, t.0, start, v)),
            }
        }
        Ok(unknown)
    }

    /// Logs and takes what is out of order, what has become so since it was appended included.
    fn take_late(&mut self) -> Result<(), AppendError> {
        if self.scratch.late.is_empty() {
            return Ok(());
        }
        let (tsdb, late) = (self.tsdb, std::mem::take(&mut self.scratch.late));
        let taken = tsdb.late.take(&tsdb.wbl, late).map_err(|error| tsdb.log.fail(error))?;
        self.report.appended += taken.new;
        tsdb.metrics.wbl_bytes.add(taken.bytes);
        tsdb.metrics.late_appended.add(taken.new);
        Ok(())
    }

    /// Slot and log reference of a series that has not gone.
    fn known(&self, series: SeriesRef) -> Option<(u32, u64)> {
        let pages = self.tsdb.head.pages();
        PageCursor::new(&pages).known(series).map(|(slot, known)| (slot, known.wal_ref))
    }

    /// The labels of a series with exemplars; those of one after the other have them only once.
    fn exemplar_series(&self, slot: u32) -> Labels {
        match self.scratch.exemplars.last() {
            Some(last) if last.slot == slot => last.series.clone(),
            _ => self.tsdb.head.labels(slot),
        }
    }

    /// Puts the logged samples into their series.
    fn take(&mut self) {
        let head = &self.tsdb.head;
        // A block may have been begun since the appender was opened.
        let min_valid = self.min_valid.max(head.min_valid());
        let Scratch { floats, histograms, late, .. } = &mut self.scratch;
        let mut taking = Taking::new(head, &mut self.report, min_valid, self.late_rule, late);
        let pages = head.pages();
        let mut locked = PageCursor::new(&pages);
        let mut from = 0;
        for pending in &*histograms {
            taking.floats(&mut locked, &floats[from..pending.floats_before]);
            taking.histogram(&mut locked, pending);
            from = pending.floats_before;
        }
        taking.floats(&mut locked, &floats[from..]);
        head.chunks.fetch_add(taking.opened, std::sync::atomic::Ordering::Relaxed);
        head.note_max_t(taking.max_t);
        for PendingExemplar { series, exemplar, .. } in self.scratch.exemplars.drain(..) {
            // What another appender has brought in between may have made it old; the ring counts that.
            let _ = self.tsdb.exemplars.add(&series, exemplar);
        }
        for (wal_ref, metadata) in self.scratch.metadata.drain(..) {
            self.tsdb.metadata.set(wal_ref, &metadata);
        }
    }
}

/// Samples on their way into their series.
struct Taking<'a> {
    report: &'a mut AppendReport,
    min_valid: i64,
    late_rule: LateRule,
    /// What turns out to be out of order.
    late: &'a mut Vec<Late>,
    rule: ChunkRule,
    max_t: i64,
    /// Chunks opened.
    opened: i64,
}

impl<'a> Taking<'a> {
    fn new(
        head: &Head,
        report: &'a mut AppendReport,
        min_valid: i64,
        late_rule: LateRule,
        late: &'a mut Vec<Late>,
    ) -> Taking<'a> {
        Taking { report, min_valid, late_rule, late, rule: head.chunk_rule(), max_t: i64::MIN, opened: 0 }
    }

    fn floats(&mut self, locked: &mut PageCursor<'_>, pending: &[PendingFloat]) {
        for &PendingFloat { slot, may_be_late, t, start, v } in pending {
            let Some(series) = locked.series(slot) else { continue };
            let late_rule = if may_be_late { self.late_rule } else { LateRule::Never };
            match late_rule.settle(series.judge(t, v, self.min_valid), t) {
                Settled::Late => self.late.push(Late::float(slot, series, t, start, v)),
                Settled::InOrder(verdict) => {
                    if verdict == Verdict::Keep {
                        self.opened += i64::from(series.push(t, start, v, self.rule));
                        self.max_t = self.max_t.max(t);
                    }
                    count(self.report, verdict, is_stale(v));
                }
            }
        }
    }

    fn histogram(
        &mut self,
        locked: &mut PageCursor<'_>,
        &PendingHistogram { slot, t, start, ref value, .. }: &PendingHistogram,
    ) {
        let Some(series) = locked.series(slot) else { return };
        let value = value.as_ref();
        match self.late_rule.settle(series.judge_histogram(t, value, self.min_valid), t) {
            Settled::Late => {
                let sample = TimedValue { t: TimestampMs(t), start: TimestampMs(start), value: value.to_value() };
                self.late.push(Late { slot, wal_ref: series.wal_ref, sample });
            }
            Settled::InOrder(verdict) => {
                if verdict == Verdict::Keep {
                    self.opened += i64::from(series.push_histogram(t, start, value, self.rule));
                    self.max_t = self.max_t.max(t);
                }
                count_histogram(self.report, verdict, value);
            }
        }
    }
}

fn is_sound(value: HistogramRef<'_>) -> bool {
    match value {
        HistogramRef::Integer(h) => h.validate().is_ok(),
        HistogramRef::Float(h) => h.validate().is_ok(),
    }
}

fn is_stale_histogram(value: HistogramRef<'_>) -> bool {
    match value {
        HistogramRef::Integer(h) => is_stale(h.sum),
        HistogramRef::Float(h) => is_stale(h.sum),
    }
}

/// A marker that comes too late is nobody's mistake.
fn count(report: &mut AppendReport, verdict: Verdict, is_stale: bool) {
    match verdict {
        Verdict::Keep | Verdict::Same => report.appended += 1,
        _ if is_stale => {}
        Verdict::OutOfOrder => report.refused.out_of_order += 1,
        Verdict::Duplicate => report.refused.duplicate_timestamp += 1,
        Verdict::TooOld => report.refused.too_old += 1,
    }
}

fn count_histogram(report: &mut AppendReport, verdict: Verdict, value: HistogramRef<'_>) {
    let before = report.refused.total();
    count(report, verdict, is_stale_histogram(value));
    report.refused_histograms += report.refused.total() - before;
}

/// Why a sample that is not kept is refused.
fn refusal(verdict: Verdict) -> Refusal {
    match verdict {
        Verdict::Duplicate => Refusal::DuplicateTimestamp,
        Verdict::TooOld => Refusal::TooOld,
        Verdict::OutOfOrder | Verdict::Keep | Verdict::Same => Refusal::OutOfOrder,
    }
}

impl Drop for HeadAppender<'_> {
    fn drop(&mut self) {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.floats.clear();
        scratch.histograms.clear();
        scratch.late = Vec::new();
        scratch.exemplars = Vec::new();
        scratch.metadata = Vec::new();
        scratch.records.clear();
        let bytes = scratch.floats.capacity() * size_of::<PendingFloat>()
            + scratch.histograms.capacity() * size_of::<PendingHistogram>()
            + scratch.records.capacity();
        let mut kept = self.tsdb.scratches.lock();
        if bytes <= KEPT_BYTES && kept.len() < KEPT_SCRATCHES {
            kept.push(scratch);
        }
    }
}
