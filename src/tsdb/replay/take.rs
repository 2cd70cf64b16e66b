//! The third hand: samples into series.

use super::SegmentTimes;
use super::batch::{Batch, HistogramRow, Step};
use crate::model::Value;
use crate::storage::HistogramRef;
use crate::tsdb::head::{ChunkRule, FoundChunks, Head, PAGE_SERIES, PageCursor, Verdict};
use crate::tsdb::wal::record::WalSample;

/// What one has taken.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) samples: u64,
    /// Samples not taken because the series had a newer one.
    pub(super) out_of_order: u64,
    /// Chunks from files.
    pub(super) attached: u64,
    /// Chunks that there are more than before.
    pub(super) chunks: i64,
    pub(super) times: SegmentTimes,
}

/// Puts into series what is theirs, as long as they lie on its own pages.
pub(super) struct Taker<'a> {
    head: &'a Head,
    found: &'a FoundChunks,
    /// Which of how many takers this is. The latter is a power of two.
    number: usize,
    of: usize,
    rule: ChunkRule,
    min_valid: i64,
    /// Times of what was kept of this batch.
    min: i64,
    max: i64,
    out: Taken,
}

impl<'a> Taker<'a> {
    /// Those among whom the series are shared.
    pub(super) fn all(head: &'a Head, found: &'a FoundChunks, count: usize) -> Vec<Taker<'a>> {
        let of = count.next_power_of_two();
        let (rule, min_valid) = (head.chunk_rule(), head.min_valid());
        let taker = |number| Taker {
            head,
            found,
            number,
            of,
            rule,
            min_valid,
            min: i64::MAX,
            max: i64::MIN,
            out: Taken::default(),
        };
        (0..of).map(taker).collect()
    }

    /// Takes its own of a batch that has its names.
    pub(super) fn take(&mut self, batch: &Batch) {
        (self.min, self.max) = (i64::MAX, i64::MIN);
        let pages = self.head.pages();
        let mut cursor = PageCursor::new(&pages);
        for step in &batch.steps {
            match step {
                Step::Attach(slot, chunks) if self.owns(*slot) => {
                    let Some(series) = cursor.series(*slot) else { continue };
                    let attached = series.attach(self.found.get(chunks.clone()), self.min_valid);
                    self.out.attached += attached as u64;
                    self.out.chunks += attached as i64;
                    if let Some(last) = series.last_t().filter(|_| attached > 0) {
                        self.head.note_max_t(last);
                    }
                }
                Step::Clear(slot) if self.owns(*slot) => {
                    self.out.chunks -= cursor.series(*slot).map_or(0, |series| series.clear()) as i64;
                }
                Step::Samples(rows) => {
                    let rows = batch.samples[rows.clone()].iter().zip(&batch.sample_slots[rows.clone()]);
                    rows.for_each(|(row, slot)| self.sample(&mut cursor, *slot, row));
                }
                Step::Histograms(rows) => {
                    let rows = batch.histograms[rows.clone()].iter().zip(&batch.histogram_slots[rows.clone()]);
                    rows.for_each(|(row, slot)| self.histogram(&mut cursor, *slot, row));
                }
                Step::Attach(..) | Step::Clear(_) => {}
            }
        }
        if self.min <= self.max {
            self.head.note_max_t(self.max);
            self.out.times.note(batch.segment, self.min, self.max);
        }
    }

    #[inline]
    fn owns(&self, slot: u32) -> bool {
        (slot as usize / PAGE_SERIES) & (self.of - 1) == self.number
    }

    #[inline]
    fn sample(&mut self, cursor: &mut PageCursor<'_>, slot: u32, row: &WalSample) {
        if !self.owns(slot) {
            return;
        }
        let Some(series) = cursor.series(slot) else { return };
        let taken = match series.judge(row.t, row.v, self.min_valid) {
            Verdict::Keep => Ok(series.push(row.t, row.start, row.v, self.rule)),
            verdict => Err((verdict, series.is_in_file(row.t))),
        };
        self.count(row.t, taken);
    }

    fn histogram(&mut self, cursor: &mut PageCursor<'_>, slot: u32, row: &HistogramRow) {
        if !self.owns(slot) {
            return;
        }
        let value = match &row.value {
            Value::Histogram(h) => HistogramRef::Integer(h),
            Value::FloatHistogram(h) => HistogramRef::Float(h),
            Value::Float(_) => return,
        };
        let Some(series) = cursor.series(slot) else { return };
        let taken = match series.judge_histogram(row.t, value, self.min_valid) {
            Verdict::Keep => Ok(series.push_histogram(row.t, row.start, value, self.rule)),
            verdict => Err((verdict, series.is_in_file(row.t))),
        };
        self.count(row.t, taken);
    }

    /// `taken`: whether a chunk was opened, or why the sample was not kept and whether a file has it.
    #[inline]
    fn count(&mut self, t: i64, taken: Result<bool, (Verdict, bool)>) {
        match taken {
            Ok(opened) => {
                self.out.chunks += i64::from(opened);
                self.out.samples += 1;
                (self.min, self.max) = (self.min.min(t), self.max.max(t));
            }
            // What is too old is in a block.
            Err((Verdict::Same | Verdict::TooOld, _) | (_, true)) => {}
            Err(_) => self.out.out_of_order += 1,
        }
    }

    pub(super) fn done(self) -> Taken {
        self.out
    }
}
